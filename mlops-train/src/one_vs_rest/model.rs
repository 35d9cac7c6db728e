//! The models of all classes as one.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use mlops_core::{DataType, Error, Model, ModelPackage, Result, Signature, TensorSpec, nest};
use serde::{Deserialize, Serialize};

use super::{OneVsRestTrainer, trainer::CLASSES_MAX};
use crate::{
    data::Classes,
    package::{self, FORMAT_VERSION, MODEL_FILE, load_package, read_json},
    trainer::{TrainedModel, scores},
};

/// `model.json` of this flavor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    format_version: u32,
    /// The flavor of the models.
    base: String,
    classes: Vec<String>,
    steps: usize,
}

impl Description {
    pub(super) fn new(classes: &[String], base: &str, steps: usize) -> Self {
        Self { format_version: FORMAT_VERSION, base: base.to_owned(), classes: classes.to_vec(), steps }
    }

    /// Where the files of a class's model lie in the package.
    pub(super) fn folder(class: usize) -> String {
        format!("class-{class}/")
    }

    pub(super) fn write(&self, package: ModelPackage) -> Result<ModelPackage> {
        Ok(package.with_file(MODEL_FILE, package::to_json(MODEL_FILE, self)?))
    }
}

/// One model per class; says which class is the most probable, and how probable each is.
///
/// Outputs are `class`, a text, and `probabilities`, one number per class in the order of
/// [`OneVsRestModel::classes`]; they sum up to one. Of equally probable classes the first is called.
#[derive(Debug)]
pub struct OneVsRestModel {
    description: Description,
    parts: Vec<Arc<dyn Model>>,
    package: ModelPackage,
}

impl OneVsRestModel {
    /// The classes, numbers in ascending order, else by name.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.description.classes
    }

    /// The place of every label among [`OneVsRestModel::classes`], as metrics of classes want them.
    ///
    /// # Errors
    /// `InvalidArgument` naming the column when labels are missing, or a class that the model does not know.
    pub fn class_indices(&self, label: &str, column: &ArrayRef) -> Result<Vec<usize>> {
        let found = Classes::of(label, column)?;
        let known = found.names.iter().map(|name| {
            self.classes().iter().position(|class| class == name).ok_or_else(|| {
                let message = format!("label column {label:?} has class {name:?}, which the model has not learnt");
                Error::invalid_argument(message).with("column", label)
            })
        });
        let places = known.collect::<Result<Vec<usize>>>()?;
        Ok(found.of_row.iter().filter_map(|&class| places.get(class).copied()).collect())
    }

    /// How probable each class is, by row and then by class. Where every model finds its class impossible all classes
    /// are equally probable; where one gives no number, neither does any class of the row.
    ///
    /// # Errors
    /// As [`Model::predict`].
    pub fn probabilities(&self, inputs: &RecordBatch) -> Result<Vec<f64>> {
        let columns = self.parts.iter().map(|part| scores(&**part, inputs)).collect::<Result<Vec<_>>>()?;
        let count = columns.len();
        let mut flat = Vec::with_capacity(inputs.num_rows() * count);
        for row in 0..inputs.num_rows() {
            let own = columns.iter().map(|column| column.get(row).copied().unwrap_or(0.0));
            let sum: f64 = own.clone().sum();
            flat.extend(own.map(|probability| if sum == 0.0 { 1.0 / count as f64 } else { probability / sum }));
        }
        Ok(flat)
    }

    /// Puts a model together from the package of one.
    pub(super) fn of_package(package: ModelPackage) -> Result<Self> {
        let damaged = |why: &str| Error::data_loss(format!("{MODEL_FILE} of the model package {why}"));
        let description: Description = read_json(&package, MODEL_FILE)?;
        package::check_format(description.format_version)?;
        let shape = [description.classes.len()];
        let outputs = package.manifest.signature.outputs();
        let fits = |output: &TensorSpec, data_type, row_shape: &[usize]| {
            output.data_type == data_type && output.row_shape == row_shape
        };
        let sound = matches!(outputs, [class, probabilities]
            if fits(class, DataType::String, &[]) && fits(probabilities, DataType::Float64, &shape));
        let count = (2..=CLASSES_MAX).contains(&description.classes.len());
        if !sound || !count || description.base == OneVsRestTrainer::FLAVOR {
            return Err(damaged("and its signature disagree"));
        }
        let inputs = package.manifest.signature.inputs();
        let output = [TensorSpec::column("probability", DataType::Float64)];
        let of_part = Signature::new(inputs.iter().cloned(), output)?;
        let part = |class: usize| {
            let folder = Description::folder(class);
            let own = package.files().filter_map(|(path, bytes)| Some((path.strip_prefix(&folder)?, bytes)));
            let part = ModelPackage::new(&description.base, of_part.clone());
            load_package(&own.fold(part, |part, (path, bytes)| part.with_file(path, bytes.clone())))
        };
        let parts = (0..description.classes.len()).map(part).collect::<Result<Vec<_>>>()?;
        Ok(Self { description, parts, package })
    }
}

impl Model for OneVsRestModel {
    fn signature(&self) -> &Signature {
        &self.package.manifest.signature
    }

    fn predict(&self, inputs: &RecordBatch) -> Result<RecordBatch> {
        let (probabilities, count) = (self.probabilities(inputs)?, self.parts.len());
        let called = probabilities.chunks(count).map(|row| {
            let best = (1..count).fold(0, |best, class| if row.get(class) > row.get(best) { class } else { best });
            self.description.classes.get(best).map(String::as_str)
        });
        let class: ArrayRef = Arc::new(called.collect::<StringArray>());
        let schema = self.signature().output_schema();
        let nested = nest(Arc::new(Float64Array::from(probabilities)), schema.field(1).data_type())?;
        Ok(RecordBatch::try_new(schema, vec![class, nested])?)
    }

    fn memory_bytes(&self) -> u64 {
        let files: usize = self.package.files().map(|(_, bytes)| bytes.len()).sum();
        self.parts.iter().map(|part| part.memory_bytes()).sum::<u64>() + files as u64
    }
}

impl TrainedModel for OneVsRestModel {
    fn to_package(&self) -> Result<ModelPackage> {
        Ok(self.package.clone())
    }

    /// Rounds, epochs or Newton steps of all models together.
    fn steps(&self) -> usize {
        self.description.steps
    }
}

/// Reads a model from its package.
///
/// # Errors
/// As [`crate::load_package`].
pub(crate) fn load(package: &ModelPackage) -> Result<OneVsRestModel> {
    OneVsRestModel::of_package(package.clone())
}
