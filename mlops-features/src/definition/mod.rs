//! What a feature is, as data: entities, sources of tables, views over a table, window aggregations, views computed
//! on demand, label views, services.
//!
//! A definition is immutable once built and valid by construction; whatever changes a value is part of its digest.
//! Definitions are put in force by a [`Plan`] and kept, with all their versions, in a [`DefinitionStore`].

mod aggregation;
mod applied;
mod definitions;
mod diff;
mod entity;
mod function;
mod label;
mod metadata;
mod on_demand;
mod plan;
mod service;
mod source;
mod store;
mod view;

pub use aggregation::Aggregation;
pub(crate) use aggregation::is_timestamp;
pub use applied::{AppliedDefinitions, Versioned, Versions};
pub use definitions::{Definition, Definitions};
pub use entity::{Entity, JOIN_KEYS_MAX};
pub use function::{Function, LAST_N_MAX, Quantile};
pub use label::{LabelView, LabelViewBuilder};
pub use metadata::Metadata;
pub use on_demand::{OnDemandInput, OnDemandView, OnDemandViewBuilder};
pub use plan::{Change, ChangeClass, Permission, Plan, Subject, SubjectKind};
pub use service::FeatureService;
pub use source::{Derivation, FileFormat, Source, SourceBuilder, SourceKind};
pub use store::DefinitionStore;
pub(crate) use store::permitted;
pub use view::{CREATED, EVENT_TIMESTAMP, FEATURES_MAX, FeatureView, FeatureViewBuilder};

use mlops_core::{Error, Result};

/// Refuses names that a path, a reference `view:feature` or a log line could not carry.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    let bad = name.chars().find(|c| matches!(c, '/' | ':' | '@' | '\\') || c.is_control());
    match bad {
        _ if name.is_empty() => Err(Error::invalid_argument(format!("{what} is empty"))),
        _ if name.len() > mlops_core::id::NAME_BYTES_MAX => Err(Error::invalid_argument(format!(
            "{what} is {} bytes long; at most {} are allowed",
            name.len(),
            mlops_core::id::NAME_BYTES_MAX
        ))),
        Some(bad) => Err(Error::invalid_argument(format!(
            "{what} {name:?} contains {bad:?}; slashes, colons, @ and control characters are not allowed"
        ))),
        None => Ok(()),
    }
}

/// One error that lists every fault, or none.
pub(crate) fn all_faults(what: &str, faults: &[String]) -> Result<()> {
    if faults.is_empty() { Ok(()) } else { Err(Error::invalid_argument(format!("{what}: {}", faults.join("; ")))) }
}

/// The first name that occurs twice.
pub(crate) fn first_duplicate<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = hashbrown::HashSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}
