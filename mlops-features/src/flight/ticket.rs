//! What a client asks for, as the JSON of a ticket or a command. Unknown fields are refused, so that a misspelled bound
//! is not an unbounded question.

use std::collections::BTreeMap;

use mlops_core::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::Knowledge;

/// A question. Times are microseconds since 1970 in UTC.
///
/// ```
/// use mlops_features::flight::{FlightTicket, OnlineTicket};
///
/// let entities = [("driver_id".to_owned(), vec![1001.into()])].into();
/// let asked = OnlineTicket { service: Some("activity".into()), entities, ..Default::default() };
/// let ticket = FlightTicket::Online(asked);
/// assert_eq!(
///     String::from_utf8(ticket.to_bytes()?)?,
///     r#"{"online":{"service":"activity","entities":{"driver_id":[1001]}}}"#
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlightTicket {
    /// Features as they stand for some entities.
    Online(OnlineTicket),
    /// Features as they stood for each row of a spine.
    TrainingSet(TrainingSetTicket),
}

/// Columns of JSON values by name: numbers, texts, booleans; a time is an RFC 3339 text or whole seconds.
type Columns = BTreeMap<String, Vec<Json>>;

/// Which features of which entities.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnlineTicket {
    /// The features of this service, or else
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// these, each as `view:feature`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// The join keys, and the request data of on-demand views.
    pub entities: Columns,
    /// As they stood at this time; now, when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
}

/// A training set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingSetTicket {
    /// The service whose features and labels are the columns.
    pub service: String,
    /// The rows.
    pub spine: Spine,
    /// Which events a row may see.
    #[serde(default)]
    pub knowledge: Knowledge,
    /// Versions to read by table; of others the newest, or that of `as_of`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<String, u64>,
    /// Reads tables as they stood at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
    /// Labels are as they were known at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels_known_by: Option<Timestamp>,
}

/// Rows of keys and times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spine {
    /// These: the join keys, `event_timestamp`, and the request data of on-demand views.
    Rows(Columns),
    /// Those of a table of the store.
    Table(SpineTable),
}

/// Rows of a table of the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpineTable {
    /// Name of the table.
    pub name: String,
    /// Which version; the newest when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Its time column, `event_timestamp` when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// These columns in this order, the time column among them; all when none are given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Only rows after this time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Timestamp>,
    /// and up to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl FlightTicket {
    /// The JSON.
    ///
    /// # Errors
    /// `Internal` when it cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::internal("a ticket cannot be written").with_source(error))
    }

    /// Reads the JSON of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// `InvalidArgument` when it is longer, or not of the form.
    pub fn parse(bytes: &[u8], bytes_max: usize) -> Result<Self> {
        if bytes.len() > bytes_max {
            return Err(Error::invalid_argument(format!(
                "the ticket has {} bytes; at most {bytes_max} are allowed; name a table as the spine of many rows",
                bytes.len()
            )));
        }
        serde_json::from_slice(bytes)
            .map_err(|error| Error::invalid_argument(format!("the ticket is not of the form: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_read_as_it_was_written() {
        let text = r#"{"training_set":{"service":"s","spine":{"table":{"name":"t","version":7,"after":5}},"knowledge":"known","versions":{"a":1}}}"#;
        let ticket = FlightTicket::parse(text.as_bytes(), 1_000).unwrap();
        let FlightTicket::TrainingSet(asked) = &ticket else { panic!("a training set") };
        assert_eq!((asked.knowledge, asked.versions.get("a")), (Knowledge::Known, Some(&1)));
        assert_eq!(String::from_utf8(ticket.to_bytes().unwrap()).unwrap(), text);
    }

    #[test]
    fn what_is_no_ticket_is_refused() {
        for (text, bytes_max, says) in [
            ("", 99, "EOF"),
            ("{}", 99, "expected value"),
            (r#"{"online":{"entities":{},"as_off":1}}"#, 99, "unknown field `as_off`"),
            (r#"{"offline":{}}"#, 99, "unknown variant `offline`"),
            (r#"{"online":{"entities":{"k":[1]}}}"#, 32, "the ticket has 33 bytes; at most 32"),
        ] {
            let error = FlightTicket::parse(text.as_bytes(), bytes_max).unwrap_err();
            assert_eq!(error.kind(), mlops_core::ErrorKind::InvalidArgument);
            assert!(error.message().contains(says), "{text}: {error}");
        }
        assert!(FlightTicket::parse(br#"{"online":{"entities":{"k":[1]}}}"#, 33).is_ok());
    }
}
