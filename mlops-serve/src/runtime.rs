//! Turning a stored package into a model: which loader reads which flavor.
//!
//! The application registers loaders; this crate knows none, so it depends on no learning library.

use std::{collections::BTreeMap, fmt, sync::Arc};

use mlops_core::{Error, Model, ModelPackage, Result};

/// The context key of a model's error that a value of a row causes, such as a category the model was not trained on. Such an
/// error on the made-up row of the warm-up is no failure of the model.
pub const INPUT_VALUE: &str = "input_value";

/// Loads packages of one or more flavors.
pub trait Runtime: fmt::Debug + Send + Sync + 'static {
    /// The flavors it reads, such as `mlops.gbdt`.
    fn flavors(&self) -> Vec<String>;

    /// Builds the model. Computation: the caller runs it off the async runtime.
    ///
    /// # Errors
    /// `DataLoss` for damaged files, `FailedPrecondition` for a format it does not know.
    fn load(&self, package: &ModelPackage) -> Result<Arc<dyn Model>>;
}

type Loader = dyn Fn(&ModelPackage) -> Result<Arc<dyn Model>> + Send + Sync;

/// Loaders by flavor.
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::{DataType, ModelPackage, Signature, TensorSpec};
/// use mlops_serve::{ClosureModel, Runtimes};
///
/// let runtimes = Runtimes::new().with("echo", |package: &ModelPackage| {
///     Ok(Arc::new(ClosureModel::new(package.manifest.signature.clone(), |batch| Ok(batch.clone()))))
/// });
/// let column = TensorSpec::column("x", DataType::Int64);
/// let package = ModelPackage::new("echo", Signature::new([column.clone()], [column])?);
/// assert_eq!(runtimes.load(&package)?.signature().inputs().len(), 1);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Runtimes {
    loaders: BTreeMap<String, Arc<Loader>>,
}

impl Runtimes {
    /// No loaders yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a loader for one flavor; a later one for the same flavor wins.
    #[must_use]
    pub fn with<F>(self, flavor: impl Into<String>, load: F) -> Self
    where
        F: Fn(&ModelPackage) -> Result<Arc<dyn Model>> + Send + Sync + 'static,
    {
        self.with_flavors([flavor.into()], load)
    }

    /// Adds one loader for several flavors.
    #[must_use]
    pub fn with_flavors<F>(mut self, flavors: impl IntoIterator<Item = impl Into<String>>, load: F) -> Self
    where
        F: Fn(&ModelPackage) -> Result<Arc<dyn Model>> + Send + Sync + 'static,
    {
        let loader: Arc<Loader> = Arc::new(load);
        for flavor in flavors {
            self.loaders.insert(flavor.into(), Arc::clone(&loader));
        }
        self
    }

    /// Adds every flavor of a runtime.
    #[must_use]
    pub fn with_runtime(self, runtime: Arc<dyn Runtime>) -> Self {
        let flavors = runtime.flavors();
        self.with_flavors(flavors, move |package| runtime.load(package))
    }

    /// The flavors that can be loaded.
    pub fn flavors(&self) -> impl Iterator<Item = &str> {
        self.loaders.keys().map(String::as_str)
    }

    /// Loads a package with the loader of its flavor.
    ///
    /// # Errors
    /// `FailedPrecondition` when no loader reads the flavor; otherwise the loader's error.
    pub fn load(&self, package: &ModelPackage) -> Result<Arc<dyn Model>> {
        let flavor = &package.manifest.flavor;
        match self.loaders.get(flavor) {
            Some(loader) => loader(package),
            None => Err(Error::failed_precondition(format!(
                "no runtime loads model flavor {flavor:?}; registered are {:?}",
                self.flavors().collect::<Vec<_>>()
            ))),
        }
    }
}

impl fmt::Debug for Runtimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.flavors()).finish()
    }
}
