//! Turning a stored package into a model: which loader reads which flavor.
//!
//! The application registers loaders; this crate knows none, so it depends on no learning library.

use std::{collections::BTreeMap, fmt, sync::Arc};

use mlops_core::{Error, Model, ModelPackage, Result};

use crate::{model::ServedModel, repository::Peers};

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

    /// Builds the model where it may ask others, `peers`, or is served in a way of its own; as [`Runtime::load`] otherwise.
    ///
    /// # Errors
    /// As [`Runtime::load`]; `Unavailable` while a model that it asks is not in service.
    fn load_beside(&self, package: &ModelPackage, peers: &Peers) -> Result<ServedModel> {
        let _ = peers;
        self.load(package).map(ServedModel::Rows)
    }

    /// Whether what loading ends in depends on more than the package, such as other models or another server: a failure is
    /// then tried again at the next synchronisation, whatever its kind. Not so unless a runtime says it.
    fn depends_on_others(&self) -> bool {
        false
    }
}

type Load = dyn Fn(&ModelPackage, &Peers) -> Result<ServedModel> + Send + Sync;

/// How one flavor is loaded.
#[derive(Clone)]
struct Loader {
    load: Arc<Load>,
    depends_on_others: bool,
}

/// Loaders by flavor.
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::{DataType, ModelPackage, Signature, TensorSpec};
/// use mlops_serve::{ClosureModel, Peers, Runtimes, ServedModel};
///
/// let runtimes = Runtimes::new().with("echo", |package: &ModelPackage| {
///     Ok(Arc::new(ClosureModel::new(package.manifest.signature.clone(), |batch| Ok(batch.clone()))))
/// });
/// let column = TensorSpec::column("x", DataType::Int64);
/// let package = ModelPackage::new("echo", Signature::new([column.clone()], [column])?);
/// assert!(matches!(runtimes.load(&package, &Peers::default())?, ServedModel::Rows(_)));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Runtimes {
    loaders: BTreeMap<String, Loader>,
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
    pub fn with_flavors<F>(self, flavors: impl IntoIterator<Item = impl Into<String>>, load: F) -> Self
    where
        F: Fn(&ModelPackage) -> Result<Arc<dyn Model>> + Send + Sync + 'static,
    {
        let load: Arc<Load> = Arc::new(move |package, _| load(package).map(ServedModel::Rows));
        self.with_loader(flavors, &Loader { load, depends_on_others: false })
    }

    fn with_loader(mut self, flavors: impl IntoIterator<Item = impl Into<String>>, loader: &Loader) -> Self {
        for flavor in flavors {
            self.loaders.insert(flavor.into(), loader.clone());
        }
        self
    }

    /// Adds every flavor of a runtime.
    #[must_use]
    pub fn with_runtime(self, runtime: Arc<dyn Runtime>) -> Self {
        let (flavors, depends_on_others) = (runtime.flavors(), runtime.depends_on_others());
        let load: Arc<Load> = Arc::new(move |package, peers| runtime.load_beside(package, peers));
        self.with_loader(flavors, &Loader { load, depends_on_others })
    }

    /// The flavors that can be loaded.
    pub fn flavors(&self) -> impl Iterator<Item = &str> {
        self.loaders.keys().map(String::as_str)
    }

    /// Whether packages of a flavor fail for other reasons than what is in them.
    pub(crate) fn depends_on_others(&self, flavor: &str) -> bool {
        self.loaders.get(flavor).is_some_and(|loader| loader.depends_on_others)
    }

    /// Loads a package with the loader of its flavor, beside `peers`.
    ///
    /// # Errors
    /// `FailedPrecondition` when no loader reads the flavor; otherwise the loader's error.
    pub fn load(&self, package: &ModelPackage, peers: &Peers) -> Result<ServedModel> {
        let flavor = &package.manifest.flavor;
        match self.loaders.get(flavor) {
            Some(loader) => (loader.load)(package, peers),
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
