//! Changing a table's columns without breaking anyone who reads or writes it.
//!
//! Invariant: whether a change is allowed is decided before anything is written, and all reasons are named. A row that
//! is in the table reads back as it was; a column that it is older than is null.
//!
//! | change | backward | forward | full |
//! |---|---|---|---|
//! | a nullable column is added | yes | yes | yes |
//! | a nullable column is left out: it stays, new rows are null | yes | yes | yes |
//! | a required column becomes nullable, or is left out | yes | no | no |
//! | a required column is added, a column becomes required | no | no | no |
//! | a column gets another type | no | no | no |
//!
//! The last two cannot be kept by a table whose old files stay as they are.

use std::fmt;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use deltalake::{DeltaTableError, kernel::transaction::CommitProperties, kernel::transaction::TransactionError};
use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{Table, arrow_schema_of, delta_error, schema};
use crate::definition::all_faults;

/// Whom a change of columns must not break (the words of schema registries).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compatibility {
    /// Readers of the new columns can read rows of the old.
    Backward,
    /// Readers of the old columns can read rows of the new.
    Forward,
    /// Both.
    #[default]
    Full,
}

/// One change that a table can make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Adds a nullable column.
    Add(Field),
    /// Lets a required column be null.
    Relax(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(field) => {
                write!(f, "column \"{}\" ({}) is added; it is null so far", field.name(), field.data_type())
            }
            Self::Relax(name) => write!(f, "column \"{name}\" may be null from now on"),
        }
    }
}

impl Table {
    /// Gives the table the columns of `wanted`, as far as `compatibility` allows, and a handle that has them. Other
    /// handles keep the columns they were opened with and go on reading and writing. Repeating the call changes
    /// nothing.
    ///
    /// # Errors
    /// `FailedPrecondition` that says for every refused column why, and what to do instead; nothing was written then.
    /// `Conflict` when other writers were faster more often than the settings allow.
    #[tracing::instrument(skip_all, fields(table = self.name()))]
    pub async fn evolve(&self, wanted: &SchemaRef, compatibility: Compatibility) -> Result<Self> {
        for _ in 0..=self.inner.settings.commit_retries_max {
            let table = self.latest().await?;
            let found = arrow_schema_of(self.name(), &table)?;
            let steps = steps(self.name(), &found, wanted, compatibility)?;
            let once = CommitProperties::default().with_max_retries(0);
            let relaxed = steps.iter().find_map(|step| if let Step::Relax(name) = step { Some(name) } else { None });
            let done = if let Some(name) = relaxed {
                table.drop_column_not_null().with_column(name).with_commit_properties(once).await
            } else if steps.is_empty() {
                return Ok(self.declaring(table, found, wanted));
            } else {
                let added = steps
                    .iter()
                    .filter_map(|step| if let Step::Add(field) = step { Some(field.clone()) } else { None });
                let added = schema::to_delta(self.name(), &Schema::new(added.collect::<Vec<_>>()))?;
                table.add_columns().with_fields(added).with_commit_properties(once).await
            };
            match done {
                // Reads the table again: there may be more to do, and someone else may have done it.
                Ok(_) => {}
                Err(error) if is_race(&error) => {}
                Err(error) => return Err(delta_error(self.name(), error)),
            }
        }
        Err(Error::conflict(format!("table \"{}\": other writers were faster; change its columns again", self.name())))
    }

    /// What [`Table::evolve`] would do.
    pub(crate) async fn steps_to(&self, wanted: &Schema, compatibility: Compatibility) -> Result<Vec<Step>> {
        let table = self.latest().await?;
        steps(self.name(), &arrow_schema_of(self.name(), &table)?, wanted, compatibility)
    }
}

/// Whether another writer took the version.
pub(super) fn is_race(error: &DeltaTableError) -> bool {
    matches!(
        error,
        DeltaTableError::VersionAlreadyExists(_)
            | DeltaTableError::Transaction {
                source: TransactionError::MaxCommitAttempts(_) | TransactionError::CommitConflict(_),
            }
    )
}

/// What it takes to get from `found` to `wanted`.
fn steps(table: &str, found: &Schema, wanted: &Schema, compatibility: Compatibility) -> Result<Vec<Step>> {
    let (mut steps, mut faults) = (Vec::new(), Vec::new());
    for new in wanted.fields() {
        let step = match found.field_with_name(new.name()) {
            Err(_) => added(new),
            Ok(old) => altered(old, new, compatibility),
        };
        step.map_or_else(|fault| faults.push(fault), |step| steps.extend(step));
    }
    let left_out = found.fields().iter().filter(|old| wanted.field_with_name(old.name()).is_err());
    for old in left_out.filter(|old| !old.is_nullable()) {
        relaxed(old, compatibility).map_or_else(|fault| faults.push(fault), |step| steps.push(step));
    }
    match all_faults(&format!("table \"{table}\" has another schema"), &faults) {
        Ok(()) => Ok(steps),
        Err(error) => Err(Error::failed_precondition(error.message()).with("table", table)),
    }
}

fn added(new: &Field) -> std::result::Result<Option<Step>, String> {
    if new.is_nullable() {
        return Ok(Some(Step::Add(new.clone())));
    }
    Err(format!(
        "column \"{}\" cannot be added as required, because the rows that are there have no value for it; add it as \
         nullable",
        new.name()
    ))
}

fn altered(old: &Field, new: &Field, compatibility: Compatibility) -> std::result::Result<Option<Step>, String> {
    let name = old.name();
    if !old.data_type().equals_datatype(new.data_type()) {
        let (from, to) = (old.data_type(), new.data_type());
        let reason = if widens(from, to) {
            "the files that are there stay as they are, and readers of the old type would fail"
        } else {
            "values that are there are of the old type"
        };
        return Err(format!(
            "column \"{name}\" is {from} and cannot become {to}: {reason}; add a column \"{name}_2\" of type {to}, fill \
             it in new batches, and let a new version of the views read it"
        ));
    }
    match (old.is_nullable(), new.is_nullable()) {
        (true, false) => Err(format!(
            "column \"{name}\" cannot become required, because rows that are there may have no value; keep it nullable \
             and let a batch check refuse nulls"
        )),
        (false, true) => relaxed(old, compatibility).map(Some),
        _ => Ok(None),
    }
}

fn relaxed(old: &Field, compatibility: Compatibility) -> std::result::Result<Step, String> {
    if compatibility == Compatibility::Backward {
        return Ok(Step::Relax(old.name().clone()));
    }
    Err(format!(
        "column \"{}\" is required, and readers that count on it would meet nulls; keep filling it, or change the table \
         with backward compatibility once every reader is prepared",
        old.name()
    ))
}

/// Whether every value of `from` is one of `to`.
fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    let bits = |data_type: &DataType| match data_type {
        T::Int8 => Some(8),
        T::Int16 => Some(16),
        T::Int32 => Some(32),
        T::Int64 => Some(64),
        _ => None,
    };
    let integers = bits(from).zip(bits(to)).is_some_and(|(from, to)| from < to);
    integers || matches!((from, to), (T::Float32, T::Float64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(fields: &[(&str, DataType, bool)]) -> Schema {
        Schema::new(
            fields.iter().map(|(name, kind, nullable)| Field::new(*name, kind.clone(), *nullable)).collect::<Vec<_>>(),
        )
    }

    fn check(new: &[(&str, DataType, bool)], mode: Compatibility, expected: std::result::Result<&[&str], &str>) {
        let old = schema(&[("a", DataType::Int32, true), ("r", DataType::Int64, false)]);
        match (steps("t", &old, &schema(new), mode), expected) {
            (Ok(steps), Ok(expected)) => {
                let found: Vec<String> = steps.iter().map(ToString::to_string).collect();
                assert_eq!(found.len(), expected.len(), "{found:?}");
                assert!(found.iter().zip(expected).all(|(found, part)| found.contains(part)), "{found:?}");
            }
            (Err(error), Err(expected)) => assert!(error.message().contains(expected), "{error}"),
            (found, _) => panic!("{mode:?} {new:?}: {found:?}"),
        }
    }

    #[test]
    fn the_table_of_changes_holds() {
        use Compatibility::{Backward, Forward, Full};
        use DataType::{Int32, Int64, Utf8};
        for mode in [Backward, Forward, Full] {
            let same = [("a", Int32, true), ("r", Int64, false)];
            check(&same, mode, Ok(&[]));
            check(&[same[0].clone(), same[1].clone(), ("n", Utf8, true)], mode, Ok(&["\"n\" (Utf8) is added"]));
            check(&[same[0].clone(), same[1].clone(), ("n", Utf8, false)], mode, Err("add it as nullable"));
            check(&[("r", Int64, false)], mode, Ok(&[]));
            check(&[("a", Int32, false), ("r", Int64, false)], mode, Err("cannot become required"));
            check(&[("a", Int64, true), ("r", Int64, false)], mode, Err("files that are there stay"));
            check(&[("a", Utf8, true), ("r", Int64, false)], mode, Err("add a column \"a_2\""));
            let relaxed = [("a", Int32, true), ("r", Int64, true)];
            let expected: std::result::Result<&[&str], &str> =
                if mode == Backward { Ok(&["\"r\" may be null"]) } else { Err("keep filling it") };
            check(&relaxed, mode, expected);
            check(&[("a", Int32, true)], mode, expected);
        }
    }
}
