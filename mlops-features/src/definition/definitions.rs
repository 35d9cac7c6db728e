//! Everything that shall be defined, as one value.

use mlops_core::{Digest, Result};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    FeatureService, FeatureView, all_faults,
    diff::{service_changes, view_changes},
    first_duplicate,
    plan::{Change, Subject, SubjectKind},
};

/// Views and services that shall be in force together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Definitions {
    views: Vec<FeatureView>,
    services: Vec<FeatureService>,
}

impl Definitions {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a view.
    pub fn with_view(mut self, view: FeatureView) -> Self {
        self.views.push(view);
        self
    }

    /// Adds a service.
    pub fn with_service(mut self, service: FeatureService) -> Self {
        self.services.push(service);
        self
    }

    /// The views.
    #[must_use]
    pub fn views(&self) -> &[FeatureView] {
        &self.views
    }

    /// The services.
    #[must_use]
    pub fn services(&self) -> &[FeatureService] {
        &self.services
    }

    pub(super) fn check(&self) -> Result<()> {
        let view = first_duplicate(self.views.iter().map(FeatureView::name));
        let service = first_duplicate(self.services.iter().map(FeatureService::name));
        let faults = view.map(|name| format!("feature view \"{name}\" is defined twice")).into_iter();
        let faults = faults.chain(service.map(|name| format!("feature service \"{name}\" is defined twice")));
        all_faults("definitions", &faults.collect::<Vec<_>>())
    }
}

/// What views and services have in common.
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
        format!("is added: {} features", self.features().len())
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
}
