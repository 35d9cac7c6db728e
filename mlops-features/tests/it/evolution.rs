//! Data versions, reads of the past, and columns that change while old readers and writers go on.

use std::{sync::Arc, time::Duration};

use mlops_core::{
    ErrorKind, Timestamp,
    arrow_array::{Array, Float64Array, RecordBatch},
    arrow_schema::{DataType, Field, Schema, SchemaRef},
    testing::ManualClock,
};
use mlops_features::{Compatibility, DataRef, FeatureStore, MemoryOnlineStore, Scan, Table, TableAt, TableSettings};

use crate::{
    data::{batch, clock, row, schema},
    table::ids,
};

fn with(fields: &[Field]) -> SchemaRef {
    let known = schema().fields().iter().map(|field| field.as_ref().clone()).collect::<Vec<_>>();
    Arc::new(Schema::new([known, fields.to_vec()].concat()))
}

fn wide() -> SchemaRef {
    with(&[Field::new("extra", DataType::Float64, true)])
}

async fn open(home: &tempfile::TempDir, schema: SchemaRef) -> mlops_core::Result<Table> {
    let location = home.path().join("events");
    Table::create_or_open("events", location.to_str().unwrap(), schema, clock(), TableSettings::default()).await
}

fn wide_batch(time: i64, id: i64, extra: f64) -> RecordBatch {
    let mut columns = batch(&[row(1, time, id)]).columns().to_vec();
    columns.push(Arc::new(Float64Array::from(vec![extra])));
    RecordBatch::try_new(wide(), columns).unwrap()
}

#[tokio::test]
async fn an_added_column_just_works_and_old_handles_read_and_write_on() {
    let home = tempfile::tempdir().unwrap();
    let old = open(&home, schema()).await.unwrap();
    old.append("b1", &batch(&[row(1, 1, 1)])).await.unwrap();
    let before = old.resolve(TableAt::Latest).await.unwrap();
    let new = open(&home, wide()).await.unwrap();
    new.append("b2", &wide_batch(2, 2, 0.5)).await.unwrap();
    old.append("b3", &batch(&[row(1, 3, 3)])).await.unwrap();
    let rows = new.scan_all(Scan::latest()).await.unwrap();
    assert_eq!(ids(&rows), [1, 2, 3]);
    let extra: Vec<bool> = rows.iter().map(|rows| rows.column_by_name("extra").unwrap().is_valid(0)).collect();
    assert_eq!(extra, [false, true, false]);
    let rows = old.scan_all(Scan::latest()).await.unwrap();
    assert_eq!((ids(&rows), rows[0].num_columns()), (vec![1, 2, 3], 5));
    // What a version contains does not depend on who looks at it.
    assert_eq!(new.digest(Some(before.version)).await.unwrap(), before.digest);
    new.verify(&before).await.unwrap();
    let wrong = mlops_features::DataVersion { version: before.version + 2, ..before };
    assert_eq!(new.verify(&wrong).await.unwrap_err().kind(), ErrorKind::DataLoss);
    // Old code opens the wider table, and need not know of the new column.
    let again = open(&home, schema()).await.unwrap();
    again.append("b4", &batch(&[row(1, 4, 4)])).await.unwrap();
    assert_eq!(again.num_rows(None).await.unwrap(), 4);
    // Who knows of a column must bring it.
    let error = new.append("b5", &batch(&[row(1, 5, 5)])).await.unwrap_err();
    assert!(error.message().contains("\"extra\" (Float64) is missing"), "{error}");
}

#[tokio::test]
async fn what_cannot_follow_is_refused_before_anything_is_written() {
    let home = tempfile::tempdir().unwrap();
    let table = open(&home, schema()).await.unwrap();
    let version = table.version().await.unwrap();
    let mut fields: Vec<Field> = schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields[4] = Field::new("n", DataType::Utf8, true);
    fields.push(Field::new("must", DataType::Int64, false));
    fields.push(Field::new("fine", DataType::Int64, true));
    let error = open(&home, Arc::new(Schema::new(fields))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    for part in ["\"n\" is Int64 and cannot become Utf8", "\"n_2\" of type Utf8", "\"must\"", "add it as nullable"] {
        assert!(error.message().contains(part), "{error}");
    }
    assert_eq!(table.version().await.unwrap(), version);
}

#[tokio::test]
async fn required_columns_may_become_nullable_only_for_readers_who_are_prepared() {
    let home = tempfile::tempdir().unwrap();
    let required = with(&[Field::new("must", DataType::Float64, false)]);
    let relaxed = with(&[Field::new("must", DataType::Float64, true)]);
    let table = open(&home, required).await.unwrap();
    for compatibility in [Compatibility::Forward, Compatibility::Full] {
        let error = table.evolve(&relaxed, compatibility).await.unwrap_err();
        assert!(error.message().contains("keep filling it"), "{error}");
    }
    let table = table.evolve(&schema(), Compatibility::Backward).await.unwrap();
    table.append("b", &batch(&[row(1, 1, 1)])).await.unwrap();
    assert_eq!(table.scan_all(Scan::latest()).await.unwrap()[0].column_by_name("must").unwrap().null_count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_may_add_the_same_column_at_once() {
    let home = tempfile::tempdir().unwrap();
    open(&home, schema()).await.unwrap();
    let openers = (0..4).map(|_| open(&home, wide()));
    for opened in futures::future::join_all(openers).await {
        assert_eq!(opened.unwrap().schema().fields().len(), 6);
    }
    assert_eq!(open(&home, wide()).await.unwrap().version().await.unwrap(), 1);
}

#[tokio::test]
async fn the_past_is_read_by_version_and_by_time() {
    let home = tempfile::tempdir().unwrap();
    let second = |count: u64| Timestamp::from_micros(1_735_689_600_000_000) + Duration::from_secs(count);
    let clock = Arc::new(ManualClock::at(second(0)));
    let store = FeatureStore::builder(home.path().to_str().unwrap())
        .with_clock(Arc::<ManualClock>::clone(&clock))
        .with_online(Arc::new(MemoryOnlineStore::default()))
        .with_table("events", schema())
        .build()
        .await
        .unwrap();
    let table = store.table("events").unwrap();
    for at in 1..=5_i64 {
        clock.set(second(at.cast_unsigned() * 10));
        table.append(&format!("b{at}"), &batch(&[row(1, at, at)])).await.unwrap();
    }
    for (time, rows) in [(10, 1), (19, 1), (20, 2), (50, 5), (500, 5)] {
        assert_eq!(ids(&table.scan_all(Scan::latest().as_of(second(time))).await.unwrap()).len(), rows, "{time}");
        let data: DataRef = format!("events@{}", second(time)).parse().unwrap();
        let by_time = store.resolve(&data).await.unwrap();
        let data: DataRef = format!("events@{}", by_time.version).parse().unwrap();
        assert_eq!(store.resolve(&data).await.unwrap(), by_time, "{time}");
    }
    let early = table.scan(Scan::latest().as_of(second(9))).await.map(|_| ()).unwrap_err();
    assert_eq!(early.kind(), ErrorKind::NotFound);
    assert_eq!(ids(&table.scan_all(Scan::latest().added_since(3)).await.unwrap()), [4, 5]);
}
