//! The stored form of a reference profile: JSON, version 1 or 2.
//!
//! ```text
//! { "format": "mlops.reference_profile", "format_version": 1, "rows": 1000,
//!   "columns": [
//!     { "name": "amount", "data_type": "Float64", "nulls": 2,
//!       "kind": "numeric", "nans": 0, "infinities": 0, "values": [0.5, 1.5, ...] },
//!     { "name": "channel", "data_type": "String", "nulls": 0,
//!       "kind": "categorical", "levels": {"app": 600, "web": 390}, "other": 10 },
//!     { "name": "id", "data_type": "String", "nulls": 0, "kind": "opaque" } ] }
//! ```
//!
//! `values` are finite and ascending, at most `rows` less the missing ones. Level counts and
//! `other` and `nulls` add up to `rows`. Version 2 is written when a column came from the profile of a stream: a numeric
//! column may then have `counts` of its distinct `values`, adding up to `rows` less the missing ones, with `rank_error`
//! and `share_error`; a categorical one may have `level_error`. Invariant: whatever bytes come in, reading ends in a
//! profile that keeps these rules or in an error, in bounded memory.

use std::collections::{BTreeMap, HashSet};

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{
    profile::{ColumnProfile, ReferenceProfile, Runs},
    sample::{CategoricalSample, ColumnSample, NumericSample, RankError, Values},
};

const FORMAT: &str = "mlops.reference_profile";
const FORMAT_VERSION: u32 = 2;
/// Without weights and errors.
const FORMAT_VERSION_PLAIN: u32 = 1;
/// Largest profile that is read or written.
pub const PROFILE_BYTES_MAX: usize = 256 << 20;
/// Most values or levels of one column.
pub(crate) const VALUES_MAX: usize = 1_000_000;
/// Counts beyond this have no exact double.
const ROWS_MAX: u64 = 1 << 53;

#[derive(Serialize, Deserialize)]
struct Document {
    format: String,
    format_version: u32,
    rows: u64,
    columns: Vec<Column>,
}

#[derive(Serialize, Deserialize)]
struct Column {
    name: String,
    data_type: String,
    nulls: u64,
    #[serde(flatten)]
    content: Content,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Content {
    Numeric {
        nans: u64,
        infinities: u64,
        values: Vec<f64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weights: Option<Weights>,
    },
    Categorical {
        levels: BTreeMap<String, u64>,
        other: u64,
        #[serde(default, skip_serializing_if = "is_zero")]
        level_error: u64,
    },
    Opaque,
}

#[derive(Serialize, Deserialize)]
struct Weights {
    counts: Vec<u64>,
    rank_error: f64,
    share_error: f64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Read before the rest, so that a newer layout is told apart from damage.
#[derive(Deserialize)]
struct Header {
    format: String,
    format_version: u32,
}

impl ReferenceProfile {
    /// The bytes to store in a model package. The same profile gives the same bytes.
    ///
    /// # Errors
    /// `ResourceExhausted` when they are more than [`PROFILE_BYTES_MAX`]: keep fewer values.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let columns: Vec<Column> = self.columns.iter().map(write_column).collect();
        let plain = columns.iter().all(|column| match &column.content {
            Content::Numeric { weights, .. } => weights.is_none(),
            Content::Categorical { level_error, .. } => *level_error == 0,
            Content::Opaque => true,
        });
        let format_version = if plain { FORMAT_VERSION_PLAIN } else { FORMAT_VERSION };
        let document = Document { format: FORMAT.to_owned(), format_version, rows: self.rows, columns };
        let bytes = serde_json::to_vec(&document)
            .map_err(|error| Error::internal("reference profile cannot be written as JSON").with_source(error))?;
        if bytes.len() > PROFILE_BYTES_MAX {
            return Err(Error::resource_exhausted(format!(
                "reference profile takes {} bytes, at most {PROFILE_BYTES_MAX} are allowed; lower sample_values_max",
                bytes.len()
            )));
        }
        Ok(bytes)
    }

    /// Reads what [`ReferenceProfile::to_bytes`] wrote.
    ///
    /// # Errors
    /// `DataLoss` when the bytes are damaged or not a profile, `FailedPrecondition` when they are
    /// of a newer format, `ResourceExhausted` when they exceed [`PROFILE_BYTES_MAX`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > PROFILE_BYTES_MAX {
            return Err(Error::resource_exhausted(format!(
                "reference profile has {} bytes, at most {PROFILE_BYTES_MAX} are read",
                bytes.len()
            )));
        }
        let damaged = |error| Error::data_loss("reference profile is not readable").with_source(error);
        let header: Header = serde_json::from_slice(bytes).map_err(damaged)?;
        if header.format != FORMAT {
            return Err(Error::data_loss(format!("not a reference profile: format must be {FORMAT:?}")));
        }
        let found = header.format_version;
        if found > FORMAT_VERSION {
            return Err(Error::failed_precondition(format!(
                "reference profile has format {found}, this version reads up to {FORMAT_VERSION}; upgrade mlops"
            )));
        }
        read_document(serde_json::from_slice(bytes).map_err(damaged)?)
    }
}

fn write_column(column: &ColumnProfile) -> Column {
    let content = match column.sample.values() {
        Values::Numeric(sample) => {
            let (nans, infinities) = (sample.nans(), sample.infinities());
            let runs = sample.weights().map(|_| sample.runs());
            let values =
                runs.as_ref().map_or_else(|| sample.values().to_vec(), |runs| runs.iter().map(|run| run.0).collect());
            let weights = runs.map(|runs| {
                let RankError { rank: rank_error, share: share_error } = sample.error();
                Weights { counts: runs.iter().map(|run| run.1).collect(), rank_error, share_error }
            });
            Content::Numeric { nans, infinities, values, weights }
        }
        Values::Categorical(sample) => Content::Categorical {
            levels: sample.levels().map(|(level, count)| (level.to_owned(), count)).collect(),
            other: sample.other(),
            level_error: sample.level_error(),
        },
        Values::Opaque => Content::Opaque,
    };
    let (name, data_type) = (column.name.clone(), column.data_type.clone());
    Column { name, data_type, nulls: column.sample.nulls(), content }
}

fn read_document(document: Document) -> Result<ReferenceProfile> {
    let rows = document.rows;
    if rows > ROWS_MAX {
        return Err(Error::data_loss(format!("reference profile claims {rows} rows")));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = document.columns.iter().find(|column| !seen.insert(column.name.as_str())) {
        return Err(Error::data_loss(format!("reference profile has column {:?} twice", twice.name)));
    }
    let columns = document.columns.into_iter().map(|column| read_column(column, rows));
    Ok(ReferenceProfile { rows, columns: columns.collect::<Result<_>>()? })
}

fn read_column(column: Column, rows: u64) -> Result<ColumnProfile> {
    let Column { name, data_type, nulls, content } = column;
    let damaged = |what: &str| Error::data_loss(format!("reference profile of column {name:?}: {what}"));
    if nulls > rows {
        return Err(damaged("more nulls than rows"));
    }
    let sample = match content {
        Content::Numeric { nans, infinities, values, weights } => {
            let missing = nulls.saturating_add(nans).saturating_add(infinities);
            let room = rows.checked_sub(missing).ok_or_else(|| damaged("more missing values than rows"))?;
            if values.len() > VALUES_MAX || values.len() as u64 > room {
                return Err(damaged("more values than rows or than allowed"));
            }
            if !values.is_sorted() || values.iter().any(|value| !value.is_finite()) {
                return Err(damaged("values must be finite and ascending"));
            }
            let sample = match weights {
                None => NumericSample::new(values),
                Some(weights) => read_weighted(&values, &weights, room).ok_or_else(|| {
                    damaged("counts must be those of distinct values and add up, with errors from 0 to 1")
                })?,
            };
            ColumnSample::numeric(sample.with_counts(nans, infinities))
        }
        Content::Categorical { levels, other, level_error } => {
            if levels.len() > VALUES_MAX {
                return Err(damaged("more levels than allowed"));
            }
            let sample = CategoricalSample::new(levels).with_other(other);
            if sample.total().checked_add(nulls) != Some(rows) {
                return Err(damaged("counts do not add up to its rows"));
            }
            if level_error > other {
                return Err(damaged("levels are off by more than there are other values"));
            }
            ColumnSample::categorical(sample.with_level_error(level_error))
        }
        Content::Opaque => ColumnSample::opaque(rows - nulls),
    };
    Ok(ColumnProfile { sample: sample.with_nulls(nulls).out_of(rows), name, data_type })
}

fn read_weighted(values: &[f64], weights: &Weights, total: u64) -> Option<NumericSample> {
    let distinct = values.is_sorted_by(|a, b| a < b);
    let error = RankError { rank: weights.rank_error, share: weights.share_error };
    let sound = [error.rank, error.share].iter().all(|error| (0.0..=1.0).contains(error));
    if !distinct || !sound || weights.counts.len() != values.len() || weights.counts.contains(&0) {
        return None;
    }
    let runs = Runs::of_weighted(values.iter().copied().zip(weights.counts.iter().copied()).collect());
    (runs.total() == total).then(|| NumericSample::weighted(&runs, error))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Version 1 as it was first written; must be readable for ever.
    const VERSION_1: &str = r#"{"format":"mlops.reference_profile","format_version":1,"rows":4,"columns":[
        {"name":"amount","data_type":"Float64","nulls":1,"kind":"numeric","nans":1,"infinities":0,"values":[0.5,1.5]},
        {"name":"channel","data_type":"String","nulls":0,"kind":"categorical","levels":{"app":3},"other":1},
        {"name":"id","data_type":"String","nulls":0,"kind":"opaque"}]}"#;

    #[test]
    fn version_1_is_read_and_written_back() {
        let profile = ReferenceProfile::from_bytes(VERSION_1.as_bytes()).unwrap();
        let compact: String = VERSION_1.split("\n        ").collect();
        assert_eq!(String::from_utf8(profile.to_bytes().unwrap()).unwrap(), compact);
        assert_eq!(profile.column("amount").unwrap().sample().missing(), 2);
    }

    #[test]
    fn lies_are_found_and_named() {
        let message = |from: &str, to: &str| {
            let error = ReferenceProfile::from_bytes(VERSION_1.replace(from, to).as_bytes()).unwrap_err();
            format!("{}: {}", error.kind(), error.message())
        };
        assert!(message("\"format_version\":1", "\"format_version\":3").starts_with("FailedPrecondition"));
        assert!(message("[0.5,1.5]", "[1.5,0.5]").contains("ascending"));
        assert!(message("[0.5,1.5]", "[0.5,1.5,2.5]").contains("more values"));
        assert!(message("\"app\":3", "\"app\":4").contains("\"channel\""));
        assert!(message("\"app\":3", "\"app\":18446744073709551615").contains("add up"));
        assert!(message("\"id\"", "\"amount\"").contains("twice"));
        assert!(message("\"rows\":4", "\"rows\":18446744073709551615").contains("claims"));
        assert!(message("mlops.reference_profile", "x").contains("not a reference profile"));
    }

    /// Version 2 as it was first written; must be readable for ever.
    const VERSION_2: &str = r#"{"format":"mlops.reference_profile","format_version":2,"rows":9,"columns":[
        {"name":"amount","data_type":"Float64","nulls":1,"kind":"numeric","nans":1,"infinities":0,"values":[0.5,1.5],"weights":{"counts":[3,4],"rank_error":0.01,"share_error":0.02}},
        {"name":"channel","data_type":"String","nulls":0,"kind":"categorical","levels":{"app":7},"other":2,"level_error":1}]}"#;

    #[test]
    fn version_2_is_read_and_written_back() {
        let profile = ReferenceProfile::from_bytes(VERSION_2.as_bytes()).unwrap();
        let compact: String = VERSION_2.split("\n        ").collect();
        assert_eq!(String::from_utf8(profile.to_bytes().unwrap()).unwrap(), compact);
        assert_eq!(profile.column("amount").unwrap().sample().len(), 7);
        assert!(profile.columns().iter().all(|column| column.sample().is_sketched()));
        for (from, to) in [
            ("[3,4]", "[3,5]"),
            ("[3,4]", "[7]"),
            ("0.01", "-0.01"),
            ("0.5,", "1.5,"),
            ("level_error\":1", "level_error\":3"),
        ] {
            assert!(ReferenceProfile::from_bytes(VERSION_2.replace(from, to).as_bytes()).is_err(), "{to}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(ReferenceProfile::from_bytes(&bytes).is_err());
        }

        #[test]
        fn damage_never_panics(position in 0..VERSION_1.len(), byte in any::<u8>()) {
            let mut bytes = VERSION_1.as_bytes().to_vec();
            bytes[position] = byte;
            if let Ok(profile) = ReferenceProfile::from_bytes(&bytes) {
                let again = ReferenceProfile::from_bytes(&profile.to_bytes().unwrap()).unwrap();
                prop_assert_eq!(again, profile);
            }
        }
    }
}
