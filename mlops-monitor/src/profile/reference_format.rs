//! The stored form of a reference profile: JSON, version 1.
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
//! `other` and `nulls` add up to `rows`. Invariant: whatever bytes come in, reading ends in a
//! profile that keeps these rules or in an error, in bounded memory.

use std::collections::{BTreeMap, HashSet};

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{
    profile::{ColumnProfile, ReferenceProfile},
    sample::{CategoricalSample, ColumnSample, NumericSample, Values},
};

const FORMAT: &str = "mlops.reference_profile";
const FORMAT_VERSION: u32 = 1;
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
    Numeric { nans: u64, infinities: u64, values: Vec<f64> },
    Categorical { levels: BTreeMap<String, u64>, other: u64 },
    Opaque,
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
        let columns = self.columns.iter().map(write_column).collect();
        let document = Document { format: FORMAT.to_owned(), format_version: FORMAT_VERSION, rows: self.rows, columns };
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
            Content::Numeric { nans: sample.nans(), infinities: sample.infinities(), values: sample.values().to_vec() }
        }
        Values::Categorical(sample) => Content::Categorical {
            levels: sample.levels().map(|(level, count)| (level.to_owned(), count)).collect(),
            other: sample.other(),
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
        Content::Numeric { nans, infinities, values } => {
            let missing = nulls.saturating_add(nans).saturating_add(infinities);
            let room = rows.checked_sub(missing).ok_or_else(|| damaged("more missing values than rows"))?;
            if values.len() > VALUES_MAX || values.len() as u64 > room {
                return Err(damaged("more values than rows or than allowed"));
            }
            if !values.is_sorted() || values.iter().any(|value| !value.is_finite()) {
                return Err(damaged("values must be finite and ascending"));
            }
            ColumnSample::numeric(NumericSample::new(values).with_counts(nans, infinities))
        }
        Content::Categorical { levels, other } => {
            if levels.len() > VALUES_MAX {
                return Err(damaged("more levels than allowed"));
            }
            let sample = CategoricalSample::new(levels).with_other(other);
            if sample.total().checked_add(nulls) != Some(rows) {
                return Err(damaged("counts do not add up to its rows"));
            }
            ColumnSample::categorical(sample)
        }
        Content::Opaque => ColumnSample::opaque(rows - nulls),
    };
    Ok(ColumnProfile { sample: sample.with_nulls(nulls).out_of(rows), name, data_type })
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
        assert!(message("\"format_version\":1", "\"format_version\":2").starts_with("FailedPrecondition"));
        assert!(message("[0.5,1.5]", "[1.5,0.5]").contains("ascending"));
        assert!(message("[0.5,1.5]", "[0.5,1.5,2.5]").contains("more values"));
        assert!(message("\"app\":3", "\"app\":4").contains("\"channel\""));
        assert!(message("\"app\":3", "\"app\":18446744073709551615").contains("add up"));
        assert!(message("\"id\"", "\"amount\"").contains("twice"));
        assert!(message("\"rows\":4", "\"rows\":18446744073709551615").contains("claims"));
        assert!(message("mlops.reference_profile", "x").contains("not a reference profile"));
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
