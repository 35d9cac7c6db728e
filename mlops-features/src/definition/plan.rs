//! What applying a set of definitions would change, and whom it would hurt.
//!
//! Invariant: a change is destructive when a value or a name that someone reads today would become another or vanish.
//! Everything else is additive (nobody who reads today sees a difference) or metadata (no value depends on it).

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::Definitions;

/// How much a change hurts, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeClass {
    /// Owner, description, tags: no value depends on it.
    Metadata,
    /// Something new beside what is there.
    Additive,
    /// A value or a name that is there becomes another or vanishes.
    Destructive,
}

/// What kind of definition is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    /// A table.
    Table,
    /// Where a table's rows come from.
    Source,
    /// A feature view.
    View,
    /// A view computed on demand.
    OnDemandView,
    /// A label view.
    LabelView,
    /// A feature service.
    Service,
}

/// One definition by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// What kind of definition.
    pub kind: SubjectKind,
    /// Its name.
    pub name: Arc<str>,
}

impl Subject {
    pub(crate) fn new(kind: SubjectKind, name: &str) -> Self {
        Self { kind, name: name.into() }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            SubjectKind::Table => "table",
            SubjectKind::Source => "source",
            SubjectKind::View => "feature view",
            SubjectKind::OnDemandView => "on-demand view",
            SubjectKind::LabelView => "label view",
            SubjectKind::Service => "feature service",
        };
        write!(f, "{kind} \"{}\"", self.name)
    }
}

/// One difference between what is applied and what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// How much it hurts.
    pub class: ChangeClass,
    /// What it changes.
    pub subject: Subject,
    /// The difference, in words.
    pub what: String,
}

impl Change {
    pub(crate) fn new(class: ChangeClass, subject: &Subject, what: impl Into<String>) -> Self {
        Self { class, subject: subject.clone(), what: what.into() }
    }
}

/// Which plans may be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Additive and metadata changes.
    #[default]
    Safe,
    /// Destructive changes too.
    Destructive,
}

/// Every difference between the definitions in force and those wanted. Writes nothing.
///
/// Its text is for people, one change a line, grouped by definition: `+` adds, `~` is metadata, `!` destroys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub(super) revision: u64,
    pub(super) changes: Vec<Change>,
    pub(super) wanted: Definitions,
}

impl Plan {
    /// The differences, grouped by definition.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether everything is as wanted already.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes that need [`Permission::Destructive`].
    pub fn destructive(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.class == ChangeClass::Destructive)
    }

    /// What shall be in force.
    pub fn wanted(&self) -> &Definitions {
        &self.wanted
    }

    /// Adds what happens to tables, in front.
    pub(crate) fn with_table_changes(mut self, mut changes: Vec<Change>) -> Self {
        changes.append(&mut self.changes);
        Self { changes, ..self }
    }

    fn count(&self, class: ChangeClass) -> usize {
        self.changes.iter().filter(|change| change.class == class).count()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no changes; everything is as defined\n");
        }
        let mut before = None;
        for change in &self.changes {
            if before != Some(&change.subject) {
                writeln!(f, "{}", change.subject)?;
                before = Some(&change.subject);
            }
            let sign = match change.class {
                ChangeClass::Additive => '+',
                ChangeClass::Metadata => '~',
                ChangeClass::Destructive => '!',
            };
            writeln!(f, "  {sign} {}", change.what)?;
        }
        writeln!(
            f,
            "{} additive, {} metadata, {} destructive",
            self.count(ChangeClass::Additive),
            self.count(ChangeClass::Metadata),
            self.count(ChangeClass::Destructive)
        )
    }
}
