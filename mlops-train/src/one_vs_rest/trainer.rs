//! Fits the models, class after class.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::{Field, Schema};
use mlops_core::{DataType, Error, ModelPackage, Result, ResultExt, Signature, TensorSpec};

use super::model::{Description, OneVsRestModel};
use crate::{
    autoencoder::AutoencoderTrainer,
    compress,
    data::{Classes, Roles, TableDataset, role_methods},
    package::flavors,
    params::Params,
    trainer::{FitContext, TrainedModel, Trainer},
};

/// Classes that one model may tell apart; each costs a fit.
pub(super) const CLASSES_MAX: usize = 100;

/// Fits one model per class with another trainer.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::{
///     Model,
///     arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, cast::AsArray},
/// };
/// use mlops_train::{FitContext, GbdtTrainer, OneVsRestTrainer, Params, TrainedModel, load_package};
///
/// let width: Vec<f64> = (0..300).map(|i| f64::from(i % 30)).collect();
/// let kind: Vec<&str> = width.iter().map(|w| ["small", "medium", "large"][(w / 10.0) as usize]).collect();
/// let batch = RecordBatch::try_from_iter([
///     ("width", Arc::new(Float64Array::from(width)) as ArrayRef),
///     ("kind", Arc::new(StringArray::from(kind.clone())) as ArrayRef),
/// ])?;
/// let trainer = OneVsRestTrainer::new(GbdtTrainer);
/// let model = trainer.fit(&batch, "kind", &Params::new().with("rounds", 20), &FitContext::new(7))?;
/// assert_eq!(model.classes(), ["large", "medium", "small"]);
///
/// let output = load_package(&model.to_package()?)?.predict(&batch)?;
/// let called = output.column_by_name("class").expect("the class that is called").as_string::<i32>();
/// assert!(called.iter().zip(kind).all(|(called, kind)| called == Some(kind)));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct OneVsRestTrainer {
    base: Arc<dyn Trainer>,
    roles: Roles,
}

impl OneVsRestTrainer {
    /// The flavor of its packages.
    pub const FLAVOR: &'static str = "mlops.one_vs_rest";

    /// Fits with `base`, which learns two classes: [`crate::GbdtTrainer`], [`crate::LinearTrainer`],
    /// [`crate::MlpTrainer`] or [`crate::FtTransformerTrainer`], or a trainer around one of these, of the same name.
    #[must_use]
    pub fn new(base: impl Trainer) -> Self {
        Self { base: Arc::new(base), roles: Roles::default() }
    }

    role_methods!();

    /// Fits a model for each class that the label column has: distinct texts, numbers or switches, from 2 to 100.
    ///
    /// Checkpoints, where the context wants any, lie in a directory `class-N` for each class below the one it names:
    /// [`crate::Checkpoints::list`] tells those of one such directory, [`crate::Checkpoints::remove`] of the whole
    /// removes them all.
    ///
    /// # Errors
    /// Those of the trainer; `InvalidArgument` for one whose packages this crate cannot read back as models of two
    /// classes, and naming the column when labels are missing or have too few or too many distinct values. The message
    /// names the class whose model could not be fitted.
    pub fn fit(
        &self,
        batch: &RecordBatch,
        label: &str,
        params: &Params,
        context: &FitContext,
    ) -> Result<OneVsRestModel> {
        self.check_base()?;
        let column = batch.column_by_name(label).ok_or_else(|| {
            Error::invalid_argument(format!("label column {label:?} is missing")).with("column", label)
        })?;
        let classes = Classes::of(label, column)?;
        let count = classes.names.len();
        if !(2..=CLASSES_MAX).contains(&count) {
            return Err(Error::invalid_argument(format!(
                "label column {label:?} must have from 2 to {CLASSES_MAX} classes, found {count}; use \
                 TableDataset::regression for numbers"
            )));
        }
        let mut parts = Vec::with_capacity(count);
        for (class, name) in classes.names.iter().enumerate() {
            let data = self.dataset(batch, label, &classes.is(class))?;
            let context = context.for_part(&format!("class-{class}"));
            let part = self.base.fit(&data, params, &context);
            parts.push(part.context(format!("the model of class {name:?}"))?);
        }
        package(&classes.names, self.base.name(), context.seed(), &parts).and_then(OneVsRestModel::of_package)
    }

    /// Packages are read back by the flavor that a trainer is named by, which is better told before the fits.
    fn check_base(&self) -> Result<()> {
        let fitting = |flavor: &&str| ![Self::FLAVOR, AutoencoderTrainer::FLAVOR, compress::FLAVOR].contains(flavor);
        let known: Vec<&str> = flavors().into_iter().filter(fitting).collect();
        if known.contains(&self.base.name()) {
            return Ok(());
        }
        Err(Error::invalid_argument(format!(
            "trainer {:?} makes no models of two classes that a package of several could hold; there are {}",
            self.base.name(),
            known.join(", ")
        )))
    }

    /// The rows with the label replaced by whether it is one class.
    fn dataset(&self, batch: &RecordBatch, label: &str, is_class: &[bool]) -> Result<TableDataset> {
        let schema = batch.schema();
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            let is_label = field.name() == label;
            let flags = || Arc::new(BooleanArray::from(is_class.to_vec())) as ArrayRef;
            columns.push(if is_label { flags() } else { Arc::clone(column) });
            let plain = || Arc::new(Field::new(label, arrow_schema::DataType::Boolean, false));
            fields.push(if is_label { plain() } else { Arc::clone(field) });
        }
        let binary = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        TableDataset::classification(binary, label).with_roles(self.roles.clone()).build()
    }
}

/// One package of all models: each one's files lie below a directory for its class.
fn package(classes: &[String], base: &str, seed: u64, parts: &[Arc<dyn TrainedModel>]) -> Result<ModelPackage> {
    let first = parts.first().ok_or_else(|| Error::internal("there is no model of a class"))?;
    let outputs = [
        TensorSpec::column("class", DataType::String),
        TensorSpec::tensor("probabilities", DataType::Float64, [classes.len()]),
    ];
    let signature = Signature::new(first.signature().inputs().iter().cloned(), outputs)?;
    let description = Description::new(classes, base, parts.iter().map(|part| part.steps()).sum());
    let mut package = description.write(ModelPackage::new(OneVsRestTrainer::FLAVOR, signature))?;
    for (class, part) in parts.iter().enumerate() {
        for (path, bytes) in part.to_package()?.files() {
            package = package.with_file(format!("{}{path}", Description::folder(class)), bytes.clone());
        }
    }
    let notes = [("seed", seed.to_string()), ("classes", classes.len().to_string()), ("base", base.to_owned())];
    package.manifest.notes.extend(notes.map(|(key, value)| (key.to_owned(), value)));
    Ok(package)
}
