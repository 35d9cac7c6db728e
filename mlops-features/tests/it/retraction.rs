//! Events that are taken back: gone from every window, offline and online, in whatever order the two arrive.

use std::{sync::Arc, time::Duration};

use mlops_core::{
    FeatureReader, FeatureRef, Timestamp,
    arrow_array::{BooleanArray, RecordBatch, cast::AsArray, types::Int64Type},
    arrow_schema::{DataType, Field, Schema, SchemaRef},
};
use mlops_features::{
    Aggregation, Entity, FeatureService, FeatureStore, FeatureView, Function, Knowledge, MemoryOnlineStore,
    OfflineStore, offline::HistoricalOptions,
};
use proptest::prelude::*;

use crate::data::{clock, ints, time_type, times};

/// Key, time, id, number, whether it takes back, when it became known.
type Row = (i64, i64, i64, i64, bool, i64);

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("event_timestamp", time_type(), true),
        Field::new("id", DataType::Int64, true),
        Field::new("n", DataType::Int64, true),
        Field::new("undo", DataType::Boolean, true),
        Field::new("created", time_type(), true),
    ]))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let undo: BooleanArray = rows.iter().map(|row| if row.4 { Some(true) } else { None }).collect();
    let columns = vec![
        ints(rows.iter().map(|row| Some(row.0))),
        times(rows.iter().map(|row| Some(row.1))),
        ints(rows.iter().map(|row| Some(row.2))),
        ints(rows.iter().map(|row| Some(row.3))),
        Arc::new(undo),
        times(rows.iter().map(|row| Some(row.5))),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn view() -> FeatureView {
    let aggregation = |name, function| Aggregation::new(name, function, "n", Duration::from_micros(10));
    FeatureView::builder("v", Entity::new("e", ["k"]).unwrap(), "events")
        .with_event_id("id")
        .with_created("created")
        .with_retraction("undo")
        .with_aggregation(aggregation("count", Function::Count))
        .with_aggregation(aggregation("sum", Function::Sum))
        .with_aggregation(aggregation("last", Function::Last))
        .build()
        .unwrap()
}

async fn store(home: &tempfile::TempDir, batches: &[RecordBatch]) -> FeatureStore {
    let store = FeatureStore::builder(home.path().to_str().unwrap())
        .with_clock(clock())
        .with_online(Arc::new(MemoryOnlineStore::default()))
        .with_table("events", schema())
        .with_view(view())
        .build()
        .await
        .unwrap();
    for (id, events) in batches.iter().enumerate() {
        store.ingestor("events").unwrap().append(&format!("b{id}"), events).await.unwrap();
    }
    store
}

fn refs() -> Vec<FeatureRef> {
    ["v:count", "v:sum", "v:last"].iter().map(|text| text.parse().unwrap()).collect()
}

async fn offline(store: &FeatureStore, keys: &[i64], at: i64, knowledge: Knowledge) -> RecordBatch {
    let spine = RecordBatch::try_from_iter([
        ("k", ints(keys.iter().map(|key| Some(*key)))),
        ("event_timestamp", times(keys.iter().map(|_| Some(at)))),
    ]);
    let service = FeatureService::new("s", refs()).unwrap();
    let options = HistoricalOptions { knowledge, ..HistoricalOptions::default() };
    store.offline().get_historical_opts(&spine.unwrap(), &service, &options).await.unwrap().batch
}

fn column(batch: &RecordBatch, name: &str) -> Vec<Option<i64>> {
    batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().iter().collect()
}

#[tokio::test]
async fn a_retraction_counts_from_when_it_was_known_and_only_for_its_event() {
    let home = tempfile::tempdir().unwrap();
    // Event 2 is taken back at 12; event 3 of the same time is not, nor is 2 of another time.
    let rows = [(1, 5, 1, 10, false, 5), (1, 6, 2, 20, false, 6), (1, 6, 3, 30, false, 6), (1, 6, 2, 0, true, 12)];
    let store = store(&home, &[batch(&rows), batch(&[(1, 7, 2, 40, false, 7)])]).await;
    for (at, knowledge, count, sum) in [
        (11, Knowledge::Event, 3, 80),
        (11, Knowledge::Known, 4, 100),
        (12, Knowledge::Known, 3, 80),
        // The window is (5, 15]: what lies exactly its length back is out.
        (15, Knowledge::Event, 2, 70),
    ] {
        let found = offline(&store, &[1], at, knowledge).await;
        let found = (column(&found, "count"), column(&found, "sum"));
        assert_eq!(found, (vec![Some(count)], vec![Some(sum)]), "{at} {knowledge:?}");
    }
}

#[test]
fn retractions_need_ids_and_windows_alone() {
    let builder = || FeatureView::builder("v", Entity::new("e", ["k"]).unwrap(), "events").with_retraction("undo");
    let sum = Aggregation::new("sum", Function::Sum, "n", Duration::from_micros(10));
    for view in [builder().with_aggregation(sum.clone()), builder().with_event_id("id").with_column("n")] {
        assert!(view.build().unwrap_err().message().contains("need an event id"));
    }
    assert!(builder().with_event_id("id").with_aggregation(sum).build().is_ok());
}

/// What is left of `rows` in `(at - 10, at]`, oldest first, by the definition.
fn left(rows: &[Row], key: i64, at: i64) -> Vec<i64> {
    let taken_back =
        |row: &Row| rows.iter().any(|other| other.4 && (other.0, other.1, other.2) == (row.0, row.1, row.2));
    let inside = |row: &&Row| !row.4 && row.0 == key && at - 10 < row.1 && row.1 <= at && !taken_back(row);
    let mut left: Vec<&Row> = rows.iter().filter(inside).collect();
    left.sort_by_key(|row| row.1);
    left.iter().map(|row| row.3).collect()
}

async fn check(rows: Vec<Row>, cut: usize, at: i64) {
    let home = tempfile::tempdir().unwrap();
    let batches: Vec<RecordBatch> = rows.chunks(cut).map(batch).collect();
    let store = store(&home, &batches).await;
    for events in &batches {
        store.writer().push("v", events).await.unwrap();
    }
    let keys = [0, 1];
    let entities = RecordBatch::try_from_iter([("k", ints(keys.map(Some)))]).unwrap();
    let pushed = store.get_online(&refs(), &entities, Timestamp::from_micros(at)).await.unwrap();
    store.materializer().run("v", Timestamp::from_micros(40)).await.unwrap();
    let materialized = store.get_online(&refs(), &entities, Timestamp::from_micros(at)).await.unwrap();
    let trained = offline(&store, &keys, at, Knowledge::Event).await;
    for (number, key) in keys.into_iter().enumerate() {
        let left = left(&rows, key, at);
        let count = Some(left.len() as i64);
        let sum = (!left.is_empty()).then(|| left.iter().sum());
        for (path, batch) in [("trained", &trained), ("pushed", &pushed), ("materialized", &materialized)] {
            assert_eq!(column(batch, "count")[number], count, "{path}");
            assert_eq!(column(batch, "sum")[number], sum, "{path}");
            assert_eq!(column(batch, "last")[number], column(&trained, "last")[number], "{path}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn served_equals_trained_equals_the_definition(
        rows in proptest::collection::vec((0_i64..2, 20_i64..30, 0_i64..3, -9_i64..9, any::<bool>()), 1..25),
        cut in 1_usize..12,
        at in 30_i64..42,
    ) {
        // An event is delivered once; a retraction may come any number of times.
        let mut seen = std::collections::BTreeSet::new();
        let fresh = |row: &(i64, i64, i64, i64, bool)| row.4 || seen.insert((row.0, row.1, row.2));
        let rows: Vec<Row> = rows.into_iter().filter(fresh).map(|(k, t, id, n, undo)| (k, t, id, n, undo, t)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(rows, cut, at));
    }
}
