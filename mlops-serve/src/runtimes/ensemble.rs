//! Ensembles that lie in packages as [`ENSEMBLE_FILE`], beside the models that they ask.

use std::sync::Arc;

use bytes::Bytes;
use mlops_core::{Error, Meter, Model, ModelPackage, Result, ResultExt};

use crate::{
    ensemble::{ENSEMBLE_FILE, EnsembleConfig, Functions},
    model::ServedModel,
    repository::Peers,
    runtime::Runtime,
};

/// The flavor of packages that hold an ensemble.
pub const ENSEMBLE_FLAVOR: &str = "ensemble";

/// Loads packages of flavor [`ENSEMBLE_FLAVOR`].
///
/// An ensemble is loaded when the models that it asks are in service; until then it is tried again at each
/// synchronisation.
///
/// ```
/// use std::sync::Arc;
/// use mlops_serve::{EnsembleRuntime, Runtimes};
///
/// let runtimes = Runtimes::new().with_runtime(Arc::new(EnsembleRuntime::default()));
/// assert_eq!(runtimes.flavors().collect::<Vec<_>>(), ["ensemble"]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct EnsembleRuntime {
    functions: Functions,
    meter: Option<Arc<dyn Meter>>,
}

impl EnsembleRuntime {
    /// Lets steps name `function`, such as a [`ClosureModel`](crate::ClosureModel).
    #[must_use]
    pub fn with_function(mut self, name: impl Into<String>, function: Arc<dyn Model>) -> Self {
        self.functions.insert(name.into(), function);
        self
    }

    /// Where measurements of steps go.
    #[must_use]
    pub fn with_meter(mut self, meter: Arc<dyn Meter>) -> Self {
        self.meter = Some(meter);
        self
    }

    /// The package of a description that says its inputs and outputs itself.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no description, or one that does not.
    pub fn package(file: impl Into<Bytes>) -> Result<ModelPackage> {
        let file = file.into();
        let signature = EnsembleConfig::from_json(&file)?.signature()?;
        let signature = signature.ok_or_else(|| {
            Error::invalid_argument(format!("{ENSEMBLE_FILE} without a manifest must have \"inputs\" and \"outputs\""))
        })?;
        Ok(ModelPackage::new(ENSEMBLE_FLAVOR, signature).with_file(ENSEMBLE_FILE, file))
    }
}

impl Runtime for EnsembleRuntime {
    fn flavors(&self) -> Vec<String> {
        vec![ENSEMBLE_FLAVOR.into()]
    }

    fn load(&self, _: &ModelPackage) -> Result<Arc<dyn Model>> {
        Err(Error::failed_precondition("an ensemble is loaded by the repository of the models that it asks"))
    }

    fn load_beside(&self, package: &ModelPackage, peers: &Peers) -> Result<ServedModel> {
        let config = EnsembleConfig::from_json(package.file(ENSEMBLE_FILE)?).context(ENSEMBLE_FILE)?;
        let mut builder = config.builder(Some(&package.manifest.signature), &self.functions).context(ENSEMBLE_FILE)?;
        if let Some(meter) = &self.meter {
            builder = builder.with_meter(Arc::clone(meter));
        }
        Ok(ServedModel::Ensemble(Arc::new(builder.build(peers)?)))
    }

    fn depends_on_others(&self) -> bool {
        true
    }
}
