//! Features that are computed when they are asked for, from other features and from what only the request knows.
//!
//! The definition is data; the code is a [`crate::Transformation`] that a program brings along. A closure cannot be
//! hashed, so the definition says by [`OnDemandView::code_version`] which code it means.

use std::sync::Arc;

use arrow_schema::{DataType, Field};
use mlops_core::{Digest, Error, FeatureRef, Result};
use serde::{Deserialize, Serialize};

use super::{FEATURES_MAX, Metadata, all_faults, check_name, first_duplicate};

/// A feature of a feature view, under the name that the code knows it by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnDemandInput {
    /// What the code calls it.
    pub name: Arc<str>,
    /// The feature.
    pub feature: FeatureRef,
}

/// Typed features made of other features and request data, the same in training sets and in serving.
///
/// ```
/// use mlops_core::arrow_schema::DataType;
/// use mlops_features::OnDemandView;
///
/// let view = OnDemandView::builder("risk", "2025-06-01")
///     .with_input("cards:spent_1h".parse()?)
///     .with_request("amount", DataType::Float64)
///     .with_output("share_of_hour", DataType::Float64)
///     .build()?;
/// assert_eq!(view.output_names().collect::<Vec<_>>(), ["share_of_hour"]);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnDemandView {
    name: Arc<str>,
    code_version: Arc<str>,
    inputs: Vec<OnDemandInput>,
    request: Vec<Field>,
    outputs: Vec<Field>,
    #[serde(default)]
    metadata: Metadata,
}

impl OnDemandView {
    /// Begins a view called `name` whose code is `code_version`: any text, such as a release or a hash of the source.
    /// Whoever changes what the code computes changes it too.
    pub fn builder(name: impl AsRef<str>, code_version: impl AsRef<str>) -> OnDemandViewBuilder {
        OnDemandViewBuilder {
            view: Self {
                name: name.as_ref().into(),
                code_version: code_version.as_ref().into(),
                inputs: Vec::new(),
                request: Vec::new(),
                outputs: Vec::new(),
                metadata: Metadata::default(),
            },
        }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which code computes it.
    #[must_use]
    pub fn code_version(&self) -> &str {
        &self.code_version
    }

    /// The features that it is made of.
    #[must_use]
    pub fn inputs(&self) -> &[OnDemandInput] {
        &self.inputs
    }

    /// What a request must bring along, in a training set as columns of the spine.
    #[must_use]
    pub fn request(&self) -> &[Field] {
        &self.request
    }

    /// The features that it gives.
    #[must_use]
    pub fn outputs(&self) -> &[Field] {
        &self.outputs
    }

    /// Their names, in order of definition.
    pub fn output_names(&self) -> impl Iterator<Item = &str> {
        self.outputs.iter().map(|field| field.name().as_str())
    }

    /// Owner, description and tags.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// A digest of everything on which a value depends, the version of the code among it.
    ///
    /// # Errors
    /// `Internal` when the definition cannot be written as JSON, which no valid definition does.
    pub fn digest(&self) -> Result<Digest> {
        let types = |fields: &[Field]| -> Vec<(String, DataType)> {
            fields.iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
        };
        let values = (&self.name, &self.code_version, &self.inputs, types(&self.request), types(&self.outputs));
        let fail = |error| Error::internal("on-demand view cannot be written as json").with_source(error);
        Ok(Digest::of(&serde_json::to_vec(&values).map_err(fail)?))
    }

    /// Refuses a definition that no builder would have built.
    pub(super) fn checked(&self) -> Result<()> {
        all_faults(&format!("on-demand view \"{}\"", self.name), &faults(self))
    }
}

/// Collects the parts of an [`OnDemandView`].
#[derive(Debug, Clone)]
#[must_use]
pub struct OnDemandViewBuilder {
    view: OnDemandView,
}

impl OnDemandViewBuilder {
    /// The code reads `feature` of a feature view, by the feature's own name.
    pub fn with_input(self, feature: FeatureRef) -> Self {
        let name: Arc<str> = feature.feature().into();
        self.with_input_as(name, feature)
    }

    /// The code reads `feature` as `name`, which tells features of one name in two views apart.
    pub fn with_input_as(mut self, name: impl AsRef<str>, feature: FeatureRef) -> Self {
        self.view.inputs.push(OnDemandInput { name: name.as_ref().into(), feature });
        self
    }

    /// The code reads `name`, which every request must bring along as `data_type`.
    pub fn with_request(mut self, name: impl Into<String>, data_type: DataType) -> Self {
        self.view.request.push(Field::new(name, data_type, true));
        self
    }

    /// The code gives the feature `name` of `data_type`.
    pub fn with_output(mut self, name: impl Into<String>, data_type: DataType) -> Self {
        self.view.outputs.push(Field::new(name, data_type, true));
        self
    }

    /// Who answers for it and what it is for.
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.view.metadata = metadata;
        self
    }

    /// Checks the whole.
    ///
    /// # Errors
    /// `InvalidArgument` that lists every fault: invalid or repeated names, no input or output, an empty version.
    pub fn build(self) -> Result<OnDemandView> {
        self.view.checked()?;
        Ok(self.view)
    }
}

fn faults(view: &OnDemandView) -> Vec<String> {
    let mut faults = Vec::new();
    let inputs = view.inputs.iter().map(|input| ("input", input.name.as_ref()));
    let request = view.request.iter().map(|field| ("request column", field.name().as_str()));
    let read: Vec<(&str, &str)> = inputs.chain(request).collect();
    let outputs = view.output_names().map(|name| ("output", name));
    for (what, name) in [("on-demand view name", view.name())].into_iter().chain(read.iter().copied()).chain(outputs) {
        faults.extend(check_name(what, name).err().map(|error| error.to_string()));
    }
    if view.code_version.is_empty() {
        faults.push("the version of the code is empty; name the code, for example by a date or a hash".into());
    }
    if read.is_empty() {
        faults.push("nothing is read; add an input or request data".into());
    }
    match view.outputs.len() {
        0 => faults.push("no output".into()),
        1..=FEATURES_MAX => {}
        many => faults.push(format!("{many} outputs; at most {FEATURES_MAX} are allowed")),
    }
    if let Some(twice) = first_duplicate(read.iter().map(|(_, name)| *name)) {
        faults.push(format!("\"{twice}\" is read twice; give one of them another name"));
    }
    if let Some(twice) = first_duplicate(view.output_names()) {
        faults.push(format!("output \"{twice}\" is defined twice"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_listed_and_the_digest_is_of_what_values_depend_on() {
        let error = OnDemandView::builder("a:b", "").build().unwrap_err();
        for part in ["\"a:b\"", "version of the code", "nothing is read", "no output"] {
            assert!(error.message().contains(part), "{error}");
        }
        let view = |version: &str, output: DataType| {
            OnDemandView::builder("risk", version)
                .with_input("v:x".parse().unwrap())
                .with_request("amount", DataType::Float64)
                .with_output("y", output)
        };
        let twice = view("1", DataType::Int64).with_input_as("amount", "w:x".parse().unwrap()).build();
        assert!(twice.unwrap_err().message().contains("\"amount\" is read twice"));
        let digest = |view: OnDemandViewBuilder| view.build().unwrap().digest().unwrap();
        let first = digest(view("1", DataType::Int64));
        let owned = Metadata { owner: Some("ann".into()), ..Metadata::default() };
        assert_eq!(first, digest(view("1", DataType::Int64).with_metadata(owned)));
        assert_ne!(first, digest(view("2", DataType::Int64)));
        assert_ne!(first, digest(view("1", DataType::Float64)));
    }

    #[test]
    fn it_is_read_back_as_it_was_written() {
        let view = OnDemandView::builder("risk", "1").with_request("a", DataType::Int64);
        let view = view.with_output("y", DataType::Float64).build().unwrap();
        let text = serde_json::to_string(&view).unwrap();
        assert_eq!(serde_json::from_str::<OnDemandView>(&text).unwrap(), view);
    }
}
