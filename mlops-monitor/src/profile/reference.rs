//! What the training data of a model looked like: the reference that later windows meet.
//!
//! Invariant: bounded. A column is at most a fixed number of sorted values or counted levels,
//! however many rows it had, and reading refuses anything larger. It is stored in the model's
//! package as [`ReferenceProfile::FILE_NAME`]; the layout is in `reference_format`.

use std::collections::HashSet;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType as ArrowType;
use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::Profile;
use crate::{
    extract,
    sample::{CategoricalSample, ColumnKind, ColumnSample, Values},
    stats::count_of,
};

/// How much a profile keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProfileSettings {
    /// Values kept of a numeric column, 1 to 1,000,000.
    pub sample_values_max: usize,
    /// Levels kept apart in a categorical column, 1 to 1,000,000; rarer ones are pooled.
    pub levels_max: usize,
    /// A column of integers with at most so many distinct values, each twice on average, is
    /// categorical.
    pub integer_levels_max: usize,
}

impl Default for ProfileSettings {
    fn default() -> Self {
        Self { sample_values_max: 10_000, levels_max: 1_000, integer_levels_max: 20 }
    }
}

/// Text with fewer values than this is not taken for identifiers.
const IDENTIFIER_ROWS_MIN: u64 = 20;

/// One column of a profile.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnProfile {
    pub(crate) name: String,
    pub(crate) data_type: String,
    pub(crate) sample: ColumnSample,
}

impl ColumnProfile {
    /// The column's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its type; the layouts of text (large, view, dictionary) share one.
    #[must_use]
    pub fn data_type(&self) -> &str {
        &self.data_type
    }

    /// What is known of its values.
    #[must_use]
    pub fn sample(&self) -> &ColumnSample {
        &self.sample
    }
}

/// A bounded summary of reference data, from batches or from the [`Profile`] of a stream.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Float64Array, RecordBatch};
/// use mlops_monitor::{ProfileSettings, ReferenceProfile};
///
/// let amounts: ArrayRef = Arc::new(Float64Array::from_iter_values((0..1000).map(f64::from)));
/// let batch = RecordBatch::try_from_iter([("amount", amounts)])?;
/// let profile = ReferenceProfile::from_batch(&batch, &ProfileSettings::default())?;
///
/// let bytes = profile.to_bytes()?;
/// assert_eq!(ReferenceProfile::from_bytes(&bytes)?, profile);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceProfile {
    pub(crate) rows: u64,
    pub(crate) columns: Vec<ColumnProfile>,
}

impl ReferenceProfile {
    /// The file in a model package that holds the profile.
    pub const FILE_NAME: &'static str = "reference_profile.json";

    /// Summarizes one batch.
    ///
    /// # Errors
    /// As [`ReferenceProfile::from_batches`].
    pub fn from_batch(batch: &RecordBatch, settings: &ProfileSettings) -> Result<Self> {
        Self::from_batches(std::slice::from_ref(batch), settings)
    }

    /// Summarizes batches of one schema. The result does not depend on the order of rows.
    ///
    /// # Errors
    /// `InvalidArgument` when there is no batch, schemas differ, a column name appears twice, or
    /// a setting is out of range.
    pub fn from_batches(batches: &[RecordBatch], settings: &ProfileSettings) -> Result<Self> {
        settings.validate()?;
        let Some(first) = batches.first() else {
            return Err(Error::invalid_argument("a reference profile needs at least one batch, found none"));
        };
        let schema = first.schema();
        let mut seen = HashSet::new();
        if let Some(twice) = schema.fields().iter().find(|field| !seen.insert(field.name())) {
            return Err(Error::invalid_argument(format!("reference column {:?} appears twice", twice.name())));
        }
        let rows = batches.iter().map(|batch| count_of(batch.num_rows())).sum();
        let columns = schema.fields().iter().map(|field| {
            let column = extract::joined_column(batches, field.name()).ok_or_else(|| {
                let name = field.name();
                Error::invalid_argument(format!(
                    "reference column {name:?} is missing or of another type in a later batch"
                ))
            })?;
            Ok(column_profile(field.name(), &column, settings))
        });
        Ok(Self { rows, columns: columns.collect::<Result<_>>()? })
    }

    /// Takes over what a profile of a stream says, for [`crate::Monitor::builder`]. Kinds are found by the same rules as
    /// in [`ReferenceProfile::from_batches`]; of the settings only `integer_levels_max` counts, for the profile has
    /// bounds of its own. Columns that the profile holds exactly are compared exactly, others with their error.
    ///
    /// # Errors
    /// `InvalidArgument` when a setting is out of range.
    pub fn from_profile(profile: &Profile, settings: &ProfileSettings) -> Result<Self> {
        settings.validate()?;
        let summary = profile.summary()?;
        let columns = summary.columns().iter().map(|column| ColumnProfile {
            name: column.name().to_owned(),
            data_type: column.data_type().to_owned(),
            sample: column.sample(column.kind(settings.integer_levels_max, IDENTIFIER_ROWS_MIN)),
        });
        Ok(Self { rows: summary.rows(), columns: columns.collect() })
    }

    /// Rows of the data it was made from.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The columns, in the order of the schema.
    #[must_use]
    pub fn columns(&self) -> &[ColumnProfile] {
        &self.columns
    }

    /// One column by name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&ColumnProfile> {
        self.columns.iter().find(|column| column.name == name)
    }
}

impl ProfileSettings {
    fn validate(&self) -> Result<()> {
        let allowed = 1..=super::reference_format::VALUES_MAX;
        for (name, value) in [("sample_values_max", self.sample_values_max), ("levels_max", self.levels_max)] {
            if !allowed.contains(&value) {
                let most = allowed.end();
                return Err(Error::invalid_argument(format!("{name} must be from 1 to {most}, found {value}")));
            }
        }
        Ok(())
    }
}

fn column_profile(name: &str, column: &ArrayRef, settings: &ProfileSettings) -> ColumnProfile {
    let rows = count_of(column.len());
    let sample = full_sample(column, settings);
    let nulls = sample.nulls();
    let sample = match sample.values() {
        Values::Numeric(values) => ColumnSample::numeric(values.thinned(settings.sample_values_max)),
        Values::Categorical(values) => ColumnSample::categorical(values.pooled(settings.levels_max)),
        Values::Opaque => ColumnSample::opaque(rows.saturating_sub(nulls)),
    };
    let sample = sample.with_nulls(nulls).out_of(rows);
    ColumnProfile { name: name.to_owned(), data_type: extract::type_name(column.data_type()), sample }
}

/// All values of a column, compared in the way that its type and its values suggest.
fn full_sample(column: &ArrayRef, settings: &ProfileSettings) -> ColumnSample {
    let kind = extract::natural_kind(column.data_type());
    if extract::is_integer(column.data_type()) {
        let sample = extract::sample(column, ColumnKind::Categorical);
        if let Values::Categorical(levels) = sample.values()
            && levels.levels().count() <= settings.integer_levels_max
            && repeats(levels)
        {
            return sample;
        }
    }
    let sample = extract::sample(column, kind);
    match sample.values() {
        Values::Categorical(levels)
            if is_text(column.data_type()) && levels.total() >= IDENTIFIER_ROWS_MIN && !repeats(levels) =>
        {
            extract::sample(column, ColumnKind::Opaque)
        }
        _ => sample,
    }
}

/// Whether levels come back: at least twice each on average. Identifiers do not.
fn repeats(sample: &CategoricalSample) -> bool {
    count_of(sample.levels().count()).saturating_mul(2) <= sample.total()
}

fn is_text(data_type: &ArrowType) -> bool {
    extract::type_name(data_type) == "String"
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float64Array, Int64Array, StringArray};

    use super::*;

    fn profile_of(column: ArrayRef) -> ColumnSample {
        let batch = RecordBatch::try_from_iter([("c", column)]).unwrap();
        ReferenceProfile::from_batch(&batch, &ProfileSettings::default()).unwrap().columns[0].sample.clone()
    }

    #[test]
    fn kinds_follow_types_and_values() {
        let integers = |modulus: i64| Arc::new(Int64Array::from_iter_values((0..1000).map(|i| i % modulus)));
        assert_eq!(profile_of(integers(7)).kind(), ColumnKind::Categorical);
        assert_eq!(profile_of(integers(700)).kind(), ColumnKind::Numeric);
        let text = |modulus: usize| {
            Arc::new(StringArray::from_iter_values((0..1000).map(|i| format!("{}", i % modulus)))) as ArrayRef
        };
        assert_eq!(profile_of(text(50)).kind(), ColumnKind::Categorical);
        assert_eq!(profile_of(text(1000)).kind(), ColumnKind::Opaque);
    }

    #[test]
    fn large_columns_are_thinned_and_know_it() {
        let sample = profile_of(Arc::new(Float64Array::from_iter_values((0..50_000).map(f64::from))));
        assert_eq!((sample.len(), sample.rows()), (10_000, 50_000));
    }

    #[test]
    fn batches_must_agree() {
        let batch =
            |name: &str| RecordBatch::try_from_iter([(name, Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
        let settings = ProfileSettings::default();
        let error = ReferenceProfile::from_batches(&[batch("a"), batch("b")], &settings).unwrap_err();
        assert!(error.message().contains("\"a\""));
        assert!(ReferenceProfile::from_batches(&[], &settings).is_err());
        assert_eq!(ReferenceProfile::from_batches(&[batch("a"), batch("a")], &settings).unwrap().rows(), 2);
    }
}
