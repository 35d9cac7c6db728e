//! Tables: exactly-once appends, order, versions, schema.

use std::sync::Arc;

use mlops_core::{
    ErrorKind, Timestamp,
    arrow_array::{Array, RecordBatch, cast::AsArray, types::Int64Type},
    arrow_schema::{DataType, Field, Schema},
};
use mlops_features::{AppendReceipt, Scan, Table, TableSettings};

use crate::data::{batch, clock, row, schema};

async fn open(location: &str) -> Table {
    Table::create_or_open("events", location, schema(), clock(), TableSettings::default()).await.unwrap()
}

pub(crate) fn ids(batches: &[RecordBatch]) -> Vec<i64> {
    let column =
        |batch: &RecordBatch| batch.column_by_name("id").unwrap().as_primitive::<Int64Type>().values().to_vec();
    batches.iter().flat_map(column).collect()
}

#[tokio::test]
async fn a_batch_is_appended_once_and_read_in_order_of_commit() {
    let home = tempfile::tempdir().unwrap();
    let table = open(home.path().to_str().unwrap()).await;
    let first = table.append("b1", &batch(&[row(1, 50, 1), row(2, 10, 2)])).await.unwrap();
    assert_eq!(first, AppendReceipt { version: 1, rows: 2, duplicate: false });
    table.append("b2", &batch(&[row(1, 5, 3)])).await.unwrap();
    let again = table.append("b1", &batch(&[row(9, 9, 9)])).await.unwrap();
    assert_eq!(again, AppendReceipt { version: 2, rows: 0, duplicate: true });
    assert_eq!(ids(&table.scan_all(Scan::latest()).await.unwrap()), [1, 2, 3]);
    assert_eq!(ids(&table.scan_all(Scan::latest().at_version(1)).await.unwrap()), [1, 2]);
    assert_eq!((table.num_rows(None).await.unwrap(), table.num_rows(Some(1)).await.unwrap()), (3, 2));
    assert_ne!(table.digest(None).await.unwrap(), table.digest(Some(1)).await.unwrap());
    let missing = table.scan_all(Scan::latest().at_version(7)).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn the_same_batches_give_the_same_digest_in_another_place() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (open(one.path().to_str().unwrap()).await, open(two.path().to_str().unwrap()).await);
    for table in [&one, &two] {
        table.append("b", &batch(&[row(1, 1, 1)])).await.unwrap();
    }
    assert_eq!(one.digest(None).await.unwrap(), two.digest(None).await.unwrap());
}

#[tokio::test]
async fn a_time_range_is_exact_and_columns_come_as_asked() {
    let home = tempfile::tempdir().unwrap();
    let table = open(home.path().to_str().unwrap()).await;
    for at in 0..5 {
        table.append(&format!("b{at}"), &batch(&[row(1, at * 10, at), row(1, at * 10 + 5, at + 100)])).await.unwrap();
    }
    let micros = |at| Some(Timestamp::from_micros(at));
    let scan = Scan::latest().with_columns(["x", "id"]).with_time("event_timestamp", micros(5), micros(25));
    let batches = table.scan_all(scan).await.unwrap();
    assert_eq!(ids(&batches), [1, 101, 2, 102]);
    let fields: Vec<_> = batches[0].schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(fields, ["x", "id"]);
}

#[tokio::test]
async fn large_batches_become_several_files_in_order() {
    let home = tempfile::tempdir().unwrap();
    let settings = TableSettings { file_rows_max: 7, row_group_rows_max: 3, scan_batch_rows: 2, ..Default::default() };
    let location = home.path().to_str().unwrap();
    let table = Table::create_or_open("events", location, schema(), clock(), settings).await.unwrap();
    let rows: Vec<_> = (0..50).map(|i| row(1, 100 - i, i)).collect();
    table.append("b", &batch(&rows)).await.unwrap();
    assert_eq!(ids(&table.scan_all(Scan::latest()).await.unwrap()), (0..50).collect::<Vec<_>>());
    assert_eq!(table.num_rows(None).await.unwrap(), 50);
}

#[tokio::test]
async fn batches_and_tables_of_another_schema_are_refused_by_column() {
    let home = tempfile::tempdir().unwrap();
    let table = open(home.path().to_str().unwrap()).await;
    let good = batch(&[row(1, 1, 1)]);
    let error = table.append("b", &good.project(&[0, 1, 2, 3]).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("\"n\" (Int64) is missing"), "{error}");
    let unsigned = Arc::new(Schema::new(vec![Field::new("u", DataType::UInt64, true)]));
    let elsewhere = home.path().join("unsigned");
    let settings = TableSettings::default();
    let error = Table::create_or_open("t", elsewhere.to_str().unwrap(), unsigned, clock(), settings.clone()).await;
    assert!(error.unwrap_err().message().contains("\"u\" is UInt64"));
    let other = Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8, true)]));
    let error = Table::create_or_open("events", home.path().to_str().unwrap(), other, clock(), settings).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_writers_with_the_same_ids_commit_each_once() {
    let home = tempfile::tempdir().unwrap();
    let location = home.path().to_str().unwrap().to_owned();
    let writers = (0..4).map(|writer| {
        let location = location.clone();
        tokio::spawn(async move {
            let table = open(&location).await;
            let mut added = 0;
            for id in 0..6_i64 {
                let id = if writer % 2 == 0 { id } else { 5 - id };
                added += table.append(&format!("b{id}"), &batch(&[row(1, id, id)])).await.unwrap().rows;
            }
            added
        })
    });
    let mut added = 0;
    for writer in writers.collect::<Vec<_>>() {
        added += writer.await.unwrap();
    }
    let mut found = ids(&open(&location).await.scan_all(Scan::latest()).await.unwrap());
    found.sort_unstable();
    assert_eq!((added, found), (6, (0..6).collect::<Vec<_>>()));
}

#[tokio::test]
async fn lists_and_nulls_survive() {
    use mlops_core::arrow_array::{ListArray, types::Float32Type};
    let home = tempfile::tempdir().unwrap();
    let lists = ListArray::from_iter_primitive::<Float32Type, _, _>([Some(vec![Some(1.5), None]), None]);
    let schema = Arc::new(Schema::new(vec![Field::new("e", lists.data_type().clone(), true)]));
    let rows = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(lists)]).unwrap();
    let location = home.path().to_str().unwrap();
    let table = Table::create_or_open("t", location, schema, clock(), TableSettings::default()).await.unwrap();
    table.append("b", &rows).await.unwrap();
    let back = table.scan_all(Scan::latest()).await.unwrap();
    let (back, rows) = (back[0].column(0).as_list::<i32>(), rows.column(0).as_list::<i32>());
    assert_eq!((back.values(), back.nulls(), back.offsets()), (rows.values(), rows.nulls(), rows.offsets()));
}

#[tokio::test]
async fn an_empty_batch_uses_its_id() {
    let home = tempfile::tempdir().unwrap();
    let table = open(home.path().to_str().unwrap()).await;
    assert_eq!(table.append("b", &batch(&[])).await.unwrap().rows, 0);
    assert!(table.append("b", &batch(&[row(1, 1, 1)])).await.unwrap().duplicate);
    assert_eq!(table.append("", &batch(&[])).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
}
