//! Stored packages back into models, and the files that all flavors share.
//!
//! Every package holds `model.json` (what the flavor needs to know, versioned). Those of trainers of tables hold
//! `preprocessor.json` (see [`crate::preprocess`]) beside the flavor's own weights; one that is made of other models
//! holds the files of these.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch};
use mlops_core::{DataType, Error, Model, ModelPackage, Result, Signature, TensorSpec};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    autoencoder, compress,
    data::{TableDataset, Task},
    ft_transformer, gbdt, linear, mlp, one_vs_rest,
    preprocess::Preprocessor,
};

/// The layout of `model.json` that this version writes and reads.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// Path of the fitted preprocessor.
pub(crate) const PREPROCESSOR_FILE: &str = "preprocessor.json";

/// Path of the flavor's description.
pub(crate) const MODEL_FILE: &str = "model.json";

/// Bytes that one JSON file of a package may have.
const JSON_BYTES_MAX: usize = 256 << 20;

/// The flavors that [`load_package`] reads.
#[must_use]
pub fn flavors() -> [&'static str; 7] {
    [
        gbdt::GbdtTrainer::FLAVOR,
        linear::LinearTrainer::FLAVOR,
        mlp::MlpTrainer::FLAVOR,
        ft_transformer::FtTransformerTrainer::FLAVOR,
        autoencoder::AutoencoderTrainer::FLAVOR,
        one_vs_rest::OneVsRestTrainer::FLAVOR,
        compress::FLAVOR,
    ]
}

/// Makes a model of a package that one of this crate's trainers wrote.
///
/// # Errors
/// `Unimplemented` for another flavor; `NotFound` when a file is missing, `DataLoss` when one is
/// damaged, `FailedPrecondition` when it is of a newer format.
pub fn load_package(package: &ModelPackage) -> Result<Arc<dyn Model>> {
    match package.manifest.flavor.as_str() {
        gbdt::GbdtTrainer::FLAVOR => Ok(Arc::new(gbdt::load(package)?)),
        linear::LinearTrainer::FLAVOR => Ok(Arc::new(linear::load(package)?)),
        mlp::MlpTrainer::FLAVOR => Ok(Arc::new(mlp::load(package)?)),
        ft_transformer::FtTransformerTrainer::FLAVOR => Ok(Arc::new(ft_transformer::load(package)?)),
        autoencoder::AutoencoderTrainer::FLAVOR => Ok(Arc::new(autoencoder::load(package)?)),
        one_vs_rest::OneVsRestTrainer::FLAVOR => Ok(Arc::new(one_vs_rest::load(package)?)),
        compress::FLAVOR => Ok(Arc::new(compress::load(package)?)),
        other => Err(Error::unimplemented(format!(
            "model package has flavor {other:?}; mlops-train reads {}",
            flavors().join(", ")
        ))),
    }
}

/// `model.json`: what models of every flavor say of themselves, and what one flavor adds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Description<S, T> {
    format_version: u32,
    /// None in packages of autoencoders, which predict no label, of before.
    #[serde(default)]
    task: Option<Task>,
    classes: Option<[String; 2]>,
    pub(crate) seed: u64,
    pub(crate) settings: S,
    #[serde(flatten)]
    pub(crate) own: T,
}

impl<S: Serialize + DeserializeOwned, T: Serialize + DeserializeOwned> Description<S, T> {
    pub(crate) fn new(data: &TableDataset, seed: u64, settings: S, own: T) -> Self {
        let (task, classes) = (Some(data.task()), data.classes().cloned());
        Self { format_version: FORMAT_VERSION, task, classes, seed, settings, own }
    }

    /// Reads and checks what all flavors write; `task` is that of a flavor whose packages may not tell it.
    pub(crate) fn load(package: &ModelPackage, task: Option<Task>) -> Result<(Shell, Self)> {
        let description: Self = read_json(package, MODEL_FILE)?;
        check_format(description.format_version)?;
        let untold = || Error::data_loss(format!("{MODEL_FILE} of the model package does not tell its task"));
        let task = description.task.or(task).ok_or_else(untold)?;
        Ok((Shell::load(package, task)?, description))
    }
}

/// What models of all flavors have in common.
#[derive(Debug, Clone)]
pub(crate) struct Shell {
    pub(crate) signature: Signature,
    pub(crate) task: Task,
    pub(crate) preprocessor: Preprocessor,
}

impl Shell {
    pub(crate) fn new(data: &TableDataset, preprocessor: Preprocessor) -> Result<Self> {
        Ok(Self { signature: data.signature()?, task: data.task(), preprocessor })
    }

    /// Reads and checks the shared files of a package.
    pub(crate) fn load(package: &ModelPackage, task: Task) -> Result<Self> {
        let preprocessor: Preprocessor = read_json(package, PREPROCESSOR_FILE)?;
        preprocessor.check()?;
        let signature = package.manifest.signature.clone();
        let double = |output: &TensorSpec| output.data_type == DataType::Float64;
        if !preprocessor.inputs().eq(signature.inputs()) || !signature.outputs().first().is_some_and(double) {
            return Err(Error::data_loss("preprocessor.json and the signature of the model package disagree"));
        }
        Ok(Self { signature, task, preprocessor })
    }

    /// The package of a model: its description, its preprocessor, what else is its own (path and
    /// bytes), and notes for whoever looks at the manifest.
    pub(crate) fn package<const N: usize>(
        &self,
        flavor: &str,
        description: &impl Serialize,
        weights: Option<(&str, Vec<u8>)>,
        notes: [(&str, String); N],
    ) -> Result<ModelPackage> {
        let mut package = ModelPackage::new(flavor, self.signature.clone())
            .with_file(MODEL_FILE, to_json(MODEL_FILE, description)?)
            .with_file(PREPROCESSOR_FILE, to_json(PREPROCESSOR_FILE, &self.preprocessor)?);
        if let Some((path, bytes)) = weights {
            package = package.with_file(path, bytes);
        }
        package.manifest.notes.extend(notes.map(|(key, value)| (key.to_owned(), value)));
        Ok(package)
    }

    /// One column of predictions under the name that the signature gives it.
    pub(crate) fn output(&self, values: Vec<f64>) -> Result<RecordBatch> {
        let column: ArrayRef = Arc::new(Float64Array::from(values));
        Ok(RecordBatch::try_new(self.signature.output_schema(), vec![column])?)
    }
}

/// Writes a part of a package as JSON.
pub(crate) fn to_json<T: Serialize>(path: &str, value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::internal(format!("{path} of a model package cannot be written")).with_source(error))
}

/// Reads a part of a package.
pub(crate) fn read_json<T: DeserializeOwned>(package: &ModelPackage, path: &str) -> Result<T> {
    let bytes = package.file(path)?;
    if bytes.len() > JSON_BYTES_MAX {
        return Err(Error::data_loss(format!("{path} of the model package is longer than {JSON_BYTES_MAX} bytes")));
    }
    serde_json::from_slice(bytes)
        .map_err(|error| Error::data_loss(format!("{path} of the model package is damaged")).with_source(error))
}

/// Refuses a newer layout of `model.json`.
pub(crate) fn check_format(found: u32) -> Result<()> {
    if found == FORMAT_VERSION {
        return Ok(());
    }
    Err(Error::failed_precondition(format!(
        "{MODEL_FILE} has format {found}, this version reads {FORMAT_VERSION}; upgrade mlops"
    )))
}
