//! ONNX models, evaluated by `mlops-onnx` in this process.
//!
//! The package's signature is what clients see; it may name columns where the file has one wide input.

use std::sync::Arc;

use bytes::Bytes;
use mlops_core::{Model, ModelPackage, Result, ResultExt};
use mlops_onnx::{Limits, OnnxModel};

use super::ONNX_FILE;
use crate::runtime::Runtime;

/// The flavor of packages that hold an ONNX model.
pub const ONNX_FLAVOR: &str = "onnx";

/// Loads packages of flavor [`ONNX_FLAVOR`].
///
/// ```
/// use std::sync::Arc;
/// use mlops_serve::{OnnxRuntime, Runtimes};
///
/// let runtimes = Runtimes::new().with_runtime(Arc::new(OnnxRuntime::default()));
/// assert_eq!(runtimes.flavors().collect::<Vec<_>>(), ["onnx"]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct OnnxRuntime {
    limits: Limits,
}

impl OnnxRuntime {
    /// Loads and runs models under these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// The package of a file without a manifest, with the signature that the file tells of itself.
    ///
    /// # Errors
    /// As [`OnnxModel::with_limits`].
    pub fn package(&self, file: impl Into<Bytes>) -> Result<ModelPackage> {
        let file = file.into();
        let model = OnnxModel::with_limits(&file, &self.limits)?;
        Ok(ModelPackage::new(ONNX_FLAVOR, model.signature().clone()).with_file(ONNX_FILE, file))
    }
}

impl Runtime for OnnxRuntime {
    fn flavors(&self) -> Vec<String> {
        vec![ONNX_FLAVOR.into()]
    }

    fn load(&self, package: &ModelPackage) -> Result<Arc<dyn Model>> {
        let model = OnnxModel::with_limits(package.file(ONNX_FILE)?, &self.limits).context(ONNX_FILE)?;
        let wanted = &package.manifest.signature;
        let model = if model.signature() == wanted {
            model
        } else {
            model.with_signature(wanted.clone()).context("the package's signature does not fit model.onnx")?
        };
        Ok(Arc::new(model))
    }
}
