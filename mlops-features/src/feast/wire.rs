//! Requests, field for field. Fields that Feast has and that change nothing here are accepted and ignored.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, MapAccess, Visitor},
};
use serde_json::Value;

use super::error::{Answer, Failure};

/// Reads a body, whatever its content type says.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Answer<T> {
    serde_json::from_slice(body).map_err(|error| Failure::shape(&error.to_string()))
}

/// Named columns of JSON values, in the order of the request.
#[derive(Debug, Default)]
pub(super) struct Columns(pub(super) Vec<(String, Vec<Value>)>);

impl Columns {
    pub(super) fn get(&self, name: &str) -> Option<&[Value]> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, values)| values.as_slice())
    }

    /// How many rows the columns have; none when they differ or there is no column.
    pub(super) fn rows(&self) -> Option<usize> {
        let rows = self.0.first()?.1.len();
        self.0.iter().all(|(_, values)| values.len() == rows).then_some(rows)
    }
}

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Columns;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of lists")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Columns, M::Error> {
                let mut columns = Columns::default();
                while let Some((name, values)) = map.next_entry::<String, Vec<Value>>()? {
                    if columns.get(&name).is_some() {
                        return Err(de::Error::custom(format_args!("column {name:?} occurs twice")));
                    }
                    columns.0.push((name, values));
                }
                Ok(columns)
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// `POST /get-online-features`.
#[derive(Debug, Deserialize)]
pub(super) struct GetOnlineFeatures {
    pub(super) entities: Columns,
    pub(super) features: Option<Vec<String>>,
    pub(super) feature_service: Option<String>,
    #[serde(default)]
    pub(super) full_feature_names: bool,
}

/// `POST /search`. Clients of several versions call the vector differently.
#[derive(Debug, Deserialize)]
pub(super) struct Search {
    #[serde(default)]
    pub(super) features: Option<Vec<String>>,
    pub(super) feature_service: Option<String>,
    #[serde(default)]
    pub(super) full_feature_names: bool,
    #[serde(alias = "embedding", alias = "query_embedding")]
    pub(super) query: Option<Vec<f64>>,
    pub(super) query_string: Option<String>,
    pub(super) top_k: usize,
    pub(super) distance_metric: Option<String>,
    pub(super) filters: Option<Value>,
}

/// `POST /write-to-online-store`.
#[derive(Debug, Deserialize)]
pub(super) struct WriteToOnlineStore {
    pub(super) feature_view_name: String,
    pub(super) df: Columns,
}

/// `POST /push`.
#[derive(Debug, Deserialize)]
pub(super) struct Push {
    pub(super) push_source_name: String,
    pub(super) df: Columns,
    #[serde(default)]
    pub(super) to: PushTo,
}

/// Where pushed rows go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PushTo {
    #[default]
    Online,
    Offline,
    OnlineAndOffline,
}

/// `POST /materialize` and, with `end_ts` alone, `/materialize-incremental`.
#[derive(Debug, Deserialize)]
pub(super) struct Materialize {
    pub(super) start_ts: Option<String>,
    pub(super) end_ts: Option<String>,
    pub(super) feature_views: Option<Vec<String>>,
    #[serde(default)]
    pub(super) disable_event_timestamp: bool,
    pub(super) version: Option<String>,
}
