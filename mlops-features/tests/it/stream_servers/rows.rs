//! Messages of which some are no rows and some are refused, and the store that takes them in.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use mlops_core::{
    Result,
    arrow_array::{Array, cast::AsArray, types::Int64Type},
};
use mlops_features::{FeatureStore, MemoryOnlineStore, Scan, StreamIngestor, StreamSettings};

use super::Broker;
use crate::{
    checks::NotNegative,
    data::{clock, schema},
    table::ids,
};

/// Message `id`: 1 of 13 has a negative number, 1 of 17 is no row.
fn message(id: i64) -> String {
    if is_poison(id) {
        return format!("{{\"k\": 1, \"id\": {id}, \"event_timestamp\": ");
    }
    let number = if is_negative(id) { -1 } else { 1 };
    format!("{{\"k\": 1, \"id\": {id}, \"event_timestamp\": {}, \"n\": {number}}}", 10 * id)
}

fn is_poison(id: i64) -> bool {
    id % 17 == 5
}

fn is_negative(id: i64) -> bool {
    id % 13 == 4
}

pub(super) fn messages(ids: Range<i64>) -> Vec<String> {
    ids.map(message).collect()
}

pub(super) async fn store(home: &str) -> FeatureStore {
    FeatureStore::builder(home)
        .with_clock(clock())
        .with_online(Arc::new(MemoryOnlineStore::default()))
        .with_table("events", schema())
        .with_check("events", Arc::new(NotNegative))
        .build()
        .await
        .unwrap()
}

pub(super) async fn ingestor(
    store: &FeatureStore,
    broker: &dyn Broker,
    follow: bool,
    rows_per_commit_max: usize,
) -> Result<Arc<StreamIngestor>> {
    let source = broker.source("events", schema(), follow).await?;
    let settings = StreamSettings { rows_per_commit_max, ..StreamSettings::default() };
    Ok(Arc::new(StreamIngestor::new(store.ingestor("events").unwrap(), source, settings)?))
}

/// Every message of `0..end` is where it belongs, once.
pub(super) async fn check_all_is_there(store: &FeatureStore, end: i64) {
    let gate = store.ingestor("events").unwrap();
    let mut table = ids(&store.table("events").unwrap().scan_all(Scan::latest()).await.unwrap());
    table.sort_unstable();
    let kept = |id: &i64| !is_poison(*id) && !is_negative(*id);
    assert_eq!(table, (0..end).filter(kept).collect::<Vec<_>>());

    gate.rejected().await.unwrap();
    let (mut negative, mut poison) = (Vec::new(), BTreeMap::new());
    for rows in gate.quarantine_table().unwrap().scan_all(Scan::latest()).await.unwrap() {
        let (ids, payloads) = (rows.column_by_name("id").unwrap(), rows.column_by_name("quarantine_payload").unwrap());
        let (ids, payloads) = (ids.as_primitive::<Int64Type>(), payloads.as_binary::<i32>());
        for row in 0..rows.num_rows() {
            if payloads.is_valid(row) {
                *poison.entry(String::from_utf8(payloads.value(row).to_vec()).unwrap()).or_insert(0) += 1;
            } else {
                negative.push(ids.value(row));
            }
        }
    }
    negative.sort_unstable();
    let expected: Vec<i64> = (0..end).filter(|id| is_negative(*id) && !is_poison(*id)).collect();
    assert_eq!(negative, expected);
    let expected: BTreeMap<String, i32> = (0..end).filter(|id| is_poison(*id)).map(|id| (message(id), 1)).collect();
    assert_eq!(poison, expected);
}
