//! Who answers for a definition and what it is for. Never part of a digest: no value depends on it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::plan::{Change, ChangeClass, Subject};

/// What people say about a definition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whatever else is to be said, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl Metadata {
    /// What differs from `self` in `new`.
    pub(super) fn changes(&self, new: &Self, subject: &Subject) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut compare = |what: &str, old: Option<&String>, new: Option<&String>| {
            if old != new {
                let text = |value: Option<&String>| value.map_or("none".to_owned(), |value| format!("\"{value}\""));
                let what = format!("{what}: {} -> {}", text(old), text(new));
                changes.push(Change::new(ChangeClass::Metadata, subject, what));
            }
        };
        compare("owner", self.owner.as_ref(), new.owner.as_ref());
        compare("description", self.description.as_ref(), new.description.as_ref());
        let names: std::collections::BTreeSet<_> = self.tags.keys().chain(new.tags.keys()).collect();
        for name in names {
            compare(&format!("tag {name}"), self.tags.get(name), new.tags.get(name));
        }
        changes
    }
}
