//! The definitions in force and every version that there was: what `view@v2:feature` resolves against.
//!
//! Invariants: a version's number and digest never change; two versions of one definition have different digests, so
//! going back to an earlier definition goes back to its number (and to its values online); what is removed keeps its
//! versions, so a reference to one of them still means the same.

use std::{collections::BTreeMap, sync::Arc};

use mlops_core::{Digest, Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Definition, Definitions, FeatureService, FeatureView, LabelView, OnDemandView, Source, all_faults,
    plan::{Change, ChangeClass, Plan},
};

/// The newest layout: definitions with tables that are derived from others, of which a reader of an older one knows
/// nothing.
const FORMAT: u32 = 4;
/// The layout of definitions with labels, which a reader of an older one would drop without a word.
const FORMAT_OF_LABELS: u32 = 3;
/// The layout of definitions with sources or views computed on demand, but no labels.
const FORMAT_OF_SOURCES: u32 = 2;
/// The layout of definitions that have neither.
const FORMAT_OF_VIEWS: u32 = 1;

/// One version of a definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versioned<T> {
    /// 1, 2, 3... in order of appearance.
    pub version: u32,
    /// Digest of everything on which a value depends.
    pub digest: Digest,
    /// When it was first applied.
    pub applied_at: Timestamp,
    /// The definition, with the metadata that was applied last.
    pub definition: T,
}

/// All versions of one definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions<T> {
    current: Option<u32>,
    versions: Vec<Versioned<T>>,
}

impl<T: Definition> Versions<T> {
    /// The version in force; none when the definition was removed.
    #[must_use]
    pub fn current(&self) -> Option<&Versioned<T>> {
        self.version(self.current?)
    }

    /// Version `number`.
    #[must_use]
    pub fn version(&self, number: u32) -> Option<&Versioned<T>> {
        self.versions.iter().find(|versioned| versioned.version == number)
    }

    /// Every version, oldest first.
    #[must_use]
    pub fn versions(&self) -> &[Versioned<T>] {
        &self.versions
    }

    /// Puts `definition` in force, as the version that has its digest or as a new one.
    fn put(&mut self, definition: &T, at: Timestamp) -> Result<()> {
        let digest = definition.digest()?;
        let version = match self.versions.iter_mut().find(|versioned| versioned.digest == digest) {
            Some(known) => {
                known.definition = definition.clone();
                known.version
            }
            None => {
                let version = self.versions.last().map_or(1, |last| last.version + 1);
                self.versions.push(Versioned { version, digest, applied_at: at, definition: definition.clone() });
                version
            }
        };
        self.current = Some(version);
        Ok(())
    }

    /// Every definition is what its builder would give, under its own digest.
    fn check(&self) -> Result<()> {
        for Versioned { version, digest, definition, .. } in &self.versions {
            definition.check()?;
            if definition.digest()? != *digest {
                let subject = definition.subject();
                return Err(Error::data_loss(format!("{subject} version {version} does not have its digest {digest}")));
            }
        }
        Ok(())
    }
}

/// The definitions of one store, as they were applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedDefinitions {
    format: u32,
    revision: u64,
    applied_at: Timestamp,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    sources: BTreeMap<Arc<str>, Versions<Source>>,
    views: BTreeMap<Arc<str>, Versions<FeatureView>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    on_demand_views: BTreeMap<Arc<str>, Versions<OnDemandView>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    label_views: BTreeMap<Arc<str>, Versions<LabelView>>,
    services: BTreeMap<Arc<str>, Versions<FeatureService>>,
}

impl Default for AppliedDefinitions {
    fn default() -> Self {
        Self {
            format: FORMAT_OF_VIEWS,
            revision: 0,
            applied_at: Timestamp::from_micros(0),
            sources: BTreeMap::new(),
            views: BTreeMap::new(),
            on_demand_views: BTreeMap::new(),
            label_views: BTreeMap::new(),
            services: BTreeMap::new(),
        }
    }
}

impl AppliedDefinitions {
    /// How often definitions were applied; 0 is never.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// When they were applied last.
    #[must_use]
    pub fn applied_at(&self) -> Timestamp {
        self.applied_at
    }

    /// Sources by name, removed ones too.
    #[must_use]
    pub fn sources(&self) -> &BTreeMap<Arc<str>, Versions<Source>> {
        &self.sources
    }

    /// Feature views by name, removed ones too.
    #[must_use]
    pub fn views(&self) -> &BTreeMap<Arc<str>, Versions<FeatureView>> {
        &self.views
    }

    /// Views computed on demand by name, removed ones too.
    #[must_use]
    pub fn on_demand_views(&self) -> &BTreeMap<Arc<str>, Versions<OnDemandView>> {
        &self.on_demand_views
    }

    /// Label views by name, removed ones too.
    #[must_use]
    pub fn label_views(&self) -> &BTreeMap<Arc<str>, Versions<LabelView>> {
        &self.label_views
    }

    /// Feature services by name, removed ones too.
    #[must_use]
    pub fn services(&self) -> &BTreeMap<Arc<str>, Versions<FeatureService>> {
        &self.services
    }

    /// What it takes to get from here to `wanted`, which is everything that shall be: a definition that is in force
    /// and not in `wanted` is removed.
    ///
    /// # Errors
    /// `InvalidArgument` when `wanted` has two definitions of one name, and when it has a view under a name that the
    /// other kind of view has or had: `view@v1` would mean two.
    pub fn plan(&self, wanted: &Definitions) -> Result<Plan> {
        wanted.check()?;
        self.check_kinds(wanted)?;
        let mut changes = differences(&self.sources, wanted.sources())?;
        changes.extend(differences(&self.views, wanted.views())?);
        changes.extend(differences(&self.on_demand_views, wanted.on_demand_views())?);
        changes.extend(differences(&self.label_views, wanted.label_views())?);
        changes.extend(differences(&self.services, wanted.services())?);
        Ok(Plan { revision: self.revision, changes, wanted: wanted.clone() })
    }

    fn check_kinds(&self, wanted: &Definitions) -> Result<()> {
        let kinds: [(&str, Vec<&str>, Vec<&str>); 3] = [
            ("a feature view", names(wanted.views()), known(&self.views)),
            ("an on-demand view", names(wanted.on_demand_views()), known(&self.on_demand_views)),
            ("a label view", names(wanted.label_views()), known(&self.label_views)),
        ];
        let mut faults = Vec::new();
        for (kind, wanted, _) in &kinds {
            let others = kinds.iter().filter(|(other, ..)| other != kind);
            for (other, _, known) in others {
                let clash = wanted.iter().filter(|name| known.contains(name));
                faults.extend(clash.map(|name| format!("\"{name}\" is or was {other}; choose another name")));
            }
        }
        all_faults("definitions", &faults)
    }

    /// The definitions after `plan`.
    pub(crate) fn after(&self, plan: &Plan, at: Timestamp) -> Result<Self> {
        let mut next = Self { revision: self.revision + 1, applied_at: at, ..self.clone() };
        put_all(&mut next.sources, plan.wanted.sources(), at)?;
        put_all(&mut next.views, plan.wanted.views(), at)?;
        put_all(&mut next.on_demand_views, plan.wanted.on_demand_views(), at)?;
        put_all(&mut next.label_views, plan.wanted.label_views(), at)?;
        put_all(&mut next.services, plan.wanted.services(), at)?;
        next.format = next.least_format();
        Ok(next)
    }

    /// The oldest layout that has everything which is there.
    fn least_format(&self) -> u32 {
        let mut sources = self.sources.values().flat_map(Versions::versions);
        if sources.any(|source| source.definition.input().is_some()) {
            FORMAT
        } else if self.has_labels() {
            FORMAT_OF_LABELS
        } else if self.sources.is_empty() && self.on_demand_views.is_empty() {
            FORMAT_OF_VIEWS
        } else {
            FORMAT_OF_SOURCES
        }
    }

    /// Whether a view of labels was ever applied, or a service that has some.
    fn has_labels(&self) -> bool {
        let mut services = self.services.values().flat_map(Versions::versions);
        !self.label_views.is_empty() || services.any(|service| !service.definition.labels().is_empty())
    }

    /// Whether the same definitions are in force, with the same history.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        let Self { sources, views, on_demand_views, label_views, services, .. } = self;
        sources == &other.sources
            && views == &other.views
            && on_demand_views == &other.on_demand_views
            && label_views == &other.label_views
            && services == &other.services
    }

    pub(super) fn from_json(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let damaged = |error| Error::data_loss("the applied definitions are not readable").with_source(error);
        let Head { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if !(FORMAT_OF_VIEWS..=FORMAT).contains(&format) {
            return Err(Error::failed_precondition(format!(
                "the applied definitions have format {format}; this version reads {FORMAT_OF_VIEWS} to {FORMAT}"
            )));
        }
        let read: Self = serde_json::from_slice(bytes).map_err(damaged)?;
        read.sources.values().try_for_each(Versions::check)?;
        read.views.values().try_for_each(Versions::check)?;
        read.on_demand_views.values().try_for_each(Versions::check)?;
        read.label_views.values().try_for_each(Versions::check)?;
        read.services.values().try_for_each(Versions::check)?;
        Ok(read)
    }
}

fn names<T: Definition>(definitions: &[T]) -> Vec<&str> {
    definitions.iter().map(Definition::name).collect()
}

fn known<T>(applied: &BTreeMap<Arc<str>, Versions<T>>) -> Vec<&str> {
    applied.keys().map(AsRef::as_ref).collect()
}

fn differences<T: Definition>(applied: &BTreeMap<Arc<str>, Versions<T>>, wanted: &[T]) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for old in applied.values().filter_map(Versions::current).map(|versioned| &versioned.definition) {
        if !wanted.iter().any(|new| new.name() == old.name()) {
            changes.push(Change::new(ChangeClass::Destructive, &old.subject(), "is removed"));
        }
    }
    for new in wanted {
        let versions = applied.get(new.name());
        let Some(current) = versions.and_then(Versions::current) else {
            changes.push(Change::new(ChangeClass::Additive, &new.subject(), new.summary()));
            continue;
        };
        changes.extend(current.definition.changes(new));
        let digest = new.digest()?;
        if digest != current.digest {
            let known = versions.and_then(|versions| versions.versions.iter().find(|known| known.digest == digest));
            let next = versions.and_then(|versions| versions.versions.last()).map_or(1, |last| last.version + 1);
            let what = match known {
                Some(known) => format!("goes back from v{} to v{}", current.version, known.version),
                None => {
                    format!("v{} becomes v{next}; v{} stays readable by its number", current.version, current.version)
                }
            };
            changes.push(Change::new(ChangeClass::Additive, &new.subject(), what));
        }
    }
    Ok(changes)
}

fn put_all<T: Definition>(applied: &mut BTreeMap<Arc<str>, Versions<T>>, wanted: &[T], at: Timestamp) -> Result<()> {
    for (_, versions) in applied.iter_mut().filter(|(name, _)| !wanted.iter().any(|new| new.name() == name.as_ref())) {
        versions.current = None;
    }
    for definition in wanted {
        let empty = || Versions { current: None, versions: Vec::new() };
        applied.entry(definition.name().into()).or_insert_with(empty).put(definition, at)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::Derivation;

    #[test]
    fn definitions_have_the_oldest_format_that_holds_them() {
        let service = || FeatureService::new("s", ["v:x".parse().unwrap()]).unwrap();
        let labelled = service().with_labels(["fate:lost".parse().unwrap()]).unwrap();
        let stream = Source::stream("t", "s").build().unwrap();
        let derived = Source::table("t", "u", Derivation::Same).build().unwrap();
        for (wanted, format) in [
            (Definitions::new().with_service(service()), FORMAT_OF_VIEWS),
            (Definitions::new().with_service(labelled.clone()), FORMAT_OF_LABELS),
            (Definitions::new().with_source(stream), FORMAT_OF_SOURCES),
            (Definitions::new().with_service(labelled).with_source(derived), FORMAT),
        ] {
            let applied = AppliedDefinitions::default();
            let plan = applied.plan(&wanted).unwrap();
            assert_eq!(applied.after(&plan, Timestamp::from_micros(1)).unwrap().format, format);
        }
    }
}
