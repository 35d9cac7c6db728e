//! Stored packages back into models, and the files that all flavors share.
//!
//! Every package holds `model.json` (what the flavor needs to know, versioned) and
//! `preprocessor.json` (see [`crate::preprocess`]) beside the flavor's own weights.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch};
use mlops_core::{Error, Model, ModelPackage, Result, Signature};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    compress,
    data::{TableDataset, Task},
    gbdt, linear, mlp,
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
pub fn flavors() -> [&'static str; 4] {
    [gbdt::GbdtTrainer::FLAVOR, linear::LinearTrainer::FLAVOR, mlp::MlpTrainer::FLAVOR, compress::FLAVOR]
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
        compress::FLAVOR => Ok(Arc::new(compress::load(package)?)),
        other => Err(Error::unimplemented(format!(
            "model package has flavor {other:?}; mlops-train reads {}",
            flavors().join(", ")
        ))),
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
        if !preprocessor.inputs().eq(signature.inputs()) || signature.outputs().len() != 1 {
            return Err(Error::data_loss("preprocessor.json and the signature of the model package disagree"));
        }
        Ok(Self { signature, task, preprocessor })
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
