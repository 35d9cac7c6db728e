//! Everything that shall be defined, as one value.

use mlops_core::{Digest, Result};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    FeatureService, FeatureView, LabelView, OnDemandView, Source, all_faults,
    diff::{label_changes, on_demand_changes, service_changes, source_changes, view_changes},
    first_duplicate,
    plan::{Change, Subject, SubjectKind},
};

/// Sources, views and services that shall be in force together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Definitions {
    sources: Vec<Source>,
    views: Vec<FeatureView>,
    on_demand: Vec<OnDemandView>,
    labels: Vec<LabelView>,
    services: Vec<FeatureService>,
}

impl Definitions {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a source.
    pub fn with_source(mut self, source: Source) -> Self {
        self.sources.push(source);
        self
    }

    /// Adds a view.
    pub fn with_view(mut self, view: FeatureView) -> Self {
        self.views.push(view);
        self
    }

    /// Adds a view that is computed on demand.
    pub fn with_on_demand_view(mut self, view: OnDemandView) -> Self {
        self.on_demand.push(view);
        self
    }

    /// Adds a label view.
    pub fn with_label_view(mut self, view: LabelView) -> Self {
        self.labels.push(view);
        self
    }

    /// Adds a service.
    pub fn with_service(mut self, service: FeatureService) -> Self {
        self.services.push(service);
        self
    }

    /// The sources.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The views.
    #[must_use]
    pub fn views(&self) -> &[FeatureView] {
        &self.views
    }

    /// The views that are computed on demand.
    #[must_use]
    pub fn on_demand_views(&self) -> &[OnDemandView] {
        &self.on_demand
    }

    /// The label views.
    #[must_use]
    pub fn label_views(&self) -> &[LabelView] {
        &self.labels
    }

    /// The services.
    #[must_use]
    pub fn services(&self) -> &[FeatureService] {
        &self.services
    }

    pub(super) fn check(&self) -> Result<()> {
        // All kinds of views are asked for as `view:name`, so they share their names.
        let views = self.views.iter().map(FeatureView::name).chain(self.on_demand.iter().map(OnDemandView::name));
        let views = views.chain(self.labels.iter().map(LabelView::name));
        let twice = [
            ("source", first_duplicate(self.sources.iter().map(Source::name))),
            ("view", first_duplicate(views)),
            ("feature service", first_duplicate(self.services.iter().map(FeatureService::name))),
        ];
        let fault = |(what, name): (&str, Option<&str>)| Some(format!("{what} \"{}\" is defined twice", name?));
        all_faults("definitions", &twice.into_iter().filter_map(fault).collect::<Vec<_>>())
    }
}

/// What sources, views and services have in common.
pub trait Definition: Clone + PartialEq + Serialize + DeserializeOwned + sealed::Sealed {
    /// The name.
    fn name(&self) -> &str;

    /// A digest of everything on which a value depends.
    ///
    /// # Errors
    /// `Internal` when the definition cannot be written as JSON, which no valid definition does.
    fn digest(&self) -> Result<Digest>;

    /// What it is called in a plan.
    fn subject(&self) -> Subject;

    /// What a plan says when it is new.
    fn summary(&self) -> String;

    /// What differs in `new`.
    fn changes(&self, new: &Self) -> Vec<Change>;

    /// Checks what was read back.
    ///
    /// # Errors
    /// `InvalidArgument` that lists every fault.
    fn check(&self) -> Result<()>;
}

impl Definition for FeatureView {
    fn name(&self) -> &str {
        self.name()
    }
    fn digest(&self) -> Result<Digest> {
        self.digest()
    }
    fn subject(&self) -> Subject {
        Subject::new(SubjectKind::View, self.name())
    }
    fn summary(&self) -> String {
        let count = self.feature_names().count();
        format!("is added: {count} features of {} from table \"{}\"", self.entity().name(), self.table())
    }
    fn changes(&self, new: &Self) -> Vec<Change> {
        view_changes(self, new)
    }
    fn check(&self) -> Result<()> {
        self.checked()
    }
}

impl Definition for OnDemandView {
    fn name(&self) -> &str {
        self.name()
    }
    fn digest(&self) -> Result<Digest> {
        self.digest()
    }
    fn subject(&self) -> Subject {
        Subject::new(SubjectKind::OnDemandView, self.name())
    }
    fn summary(&self) -> String {
        let (outputs, code) = (self.outputs().len(), self.code_version());
        format!("is added: {outputs} features by code \"{code}\"")
    }
    fn changes(&self, new: &Self) -> Vec<Change> {
        on_demand_changes(self, new)
    }
    fn check(&self) -> Result<()> {
        self.checked()
    }
}

impl Definition for LabelView {
    fn name(&self) -> &str {
        self.name()
    }
    fn digest(&self) -> Result<Digest> {
        self.digest()
    }
    fn subject(&self) -> Subject {
        Subject::new(SubjectKind::LabelView, self.name())
    }
    fn summary(&self) -> String {
        let count = self.labels().len();
        format!("is added: {count} labels of {} from table \"{}\"", self.entity().name(), self.table())
    }
    fn changes(&self, new: &Self) -> Vec<Change> {
        label_changes(self, new)
    }
    fn check(&self) -> Result<()> {
        self.checked()
    }
}

impl Definition for Source {
    fn name(&self) -> &str {
        self.name()
    }
    fn digest(&self) -> Result<Digest> {
        self.digest()
    }
    fn subject(&self) -> Subject {
        Subject::new(SubjectKind::Source, self.name())
    }
    fn summary(&self) -> String {
        format!("is added: {}", self.kind())
    }
    fn changes(&self, new: &Self) -> Vec<Change> {
        source_changes(self, new)
    }
    fn check(&self) -> Result<()> {
        self.checked()
    }
}

impl Definition for FeatureService {
    fn name(&self) -> &str {
        self.name()
    }
    fn digest(&self) -> Result<Digest> {
        self.digest()
    }
    fn subject(&self) -> Subject {
        Subject::new(SubjectKind::Service, self.name())
    }
    fn summary(&self) -> String {
        match self.labels().len() {
            0 => format!("is added: {} features", self.features().len()),
            labels => format!("is added: {} features, {labels} labels", self.features().len()),
        }
    }
    fn changes(&self, new: &Self) -> Vec<Change> {
        service_changes(self, new)
    }
    fn check(&self) -> Result<()> {
        self.checked()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::FeatureView {}
    impl Sealed for crate::FeatureService {}
    impl Sealed for crate::LabelView {}
    impl Sealed for crate::OnDemandView {}
    impl Sealed for crate::Source {}
}
