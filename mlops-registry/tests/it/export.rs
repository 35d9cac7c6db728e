//! Tables of runs and points, read back from batches and from Parquet files.

use std::{fs::File, sync::Arc};

use arrow_array::{Array as _, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray, cast::AsArray as _};
use mlops_core::{ErrorKind, Metric, RunId, RunStatus, Timestamp};
use mlops_registry::{
    Batch, Columns, CreateRun, ExperimentId, RunUpdate, Search, SearchColumns, SqlTrackingStore, TrackingStore,
    TrackingStoreExt as _, View,
    export::{self, BatchSource, HistoryScope, ParquetOptions, write_parquet},
};
use mlops_store::SqliteMetaStore;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

const RUNS: usize = 1_203;
const POINTS: i64 = 21_000;

fn point(key: &str, value: f64, step: i64) -> Metric {
    Metric { key: key.to_owned(), value, timestamp: Timestamp::from_millis(1_700_000_000_000 + step), step }
}

/// More runs than one page; the first has more points than one batch.
async fn store() -> (Arc<dyn TrackingStore>, ExperimentId, Vec<RunId>) {
    let meta = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
    let store: Arc<dyn TrackingStore> = Arc::new(SqlTrackingStore::builder(meta).build().await.unwrap());
    let experiment = store.ensure_experiment("fraud").await.unwrap();
    let mut ids = Vec::new();
    for number in 0..RUNS {
        let started = Some(Timestamp::from_millis(1_700_000_000_000 + number as i64));
        let name = Some(format!("run {number}"));
        let run = store.create_run(CreateRun { name, started, ..CreateRun::new(experiment) }).await.unwrap();
        let metrics = match number {
            0 => (0..500).map(|step| point("loss", 1.0 / step as f64, step)).collect(),
            1 => vec![point("loss", f64::NAN, 0), point("odd/one x", f64::NEG_INFINITY, 0)],
            _ => Vec::new(),
        };
        let params = vec![("lr".to_owned(), format!("0.{number}")), ("fixed".to_owned(), "a|b\nc".to_owned())];
        store.log_batch(&run.id, &Batch { metrics, params, ..Batch::default() }).await.unwrap();
        ids.push(run.id);
    }
    for start in (500..POINTS).step_by(500) {
        let metrics = (start..start + 500).map(|step| point("loss", 1.0 / step as f64, step)).collect();
        store.log_batch(&ids[0], &Batch { metrics, ..Batch::default() }).await.unwrap();
    }
    store.update_run(&ids[1], RunUpdate { status: Some(RunStatus::Failed), ..RunUpdate::default() }).await.unwrap();
    store.delete_run(&ids[2]).await.unwrap();
    (store, experiment, ids)
}

async fn batches(table: &mut dyn BatchSource) -> Vec<RecordBatch> {
    let mut found = Vec::new();
    while let Some(batch) = table.next().await.unwrap() {
        assert_eq!(batch.schema(), table.schema());
        found.push(batch);
    }
    found
}

fn text<'a>(batch: &'a RecordBatch, name: &str) -> &'a StringArray {
    batch.column_by_name(name).unwrap().as_string()
}

fn numbers<'a>(batch: &'a RecordBatch, name: &str) -> &'a Float64Array {
    batch.column_by_name(name).unwrap().as_primitive()
}

fn as_text(batches: &[RecordBatch]) -> Vec<String> {
    let row = |batch: &RecordBatch, at| format!("{:?}", batch.slice(at, 1).columns());
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |at| row(batch, at))).collect()
}

#[tokio::test]
async fn tables_come_in_batches_and_the_same_from_a_file() {
    let (store, experiment, ids) = store().await;
    let search = Search::new().with_view(View::All).with_order("attributes.start_time ASC");
    let experiments = [experiment];
    let table = || export::runs(Arc::clone(&store), &experiments, &search);
    let runs = batches(&mut table().await.unwrap()).await;
    assert_eq!(runs.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [1_000, 203]);
    let first = &runs[0];
    let names: Vec<&str> = first.schema_ref().fields().iter().skip(9).map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["metrics.loss", "metrics.odd/one x", "params.fixed", "params.lr", "tags.mlflow.runName"]);
    assert_eq!(
        (text(first, "run_id").value(0), text(first, "run_id").value(999)),
        (ids[0].as_str(), ids[999].as_str())
    );
    assert_eq!((text(first, "status").value(1), text(first, "lifecycle_stage").value(2)), ("FAILED", "deleted"));
    let loss = numbers(first, "metrics.loss");
    assert!(loss.value(0) == 1.0 / 20_999.0 && loss.value(1).is_nan() && loss.is_null(2));
    assert_eq!(numbers(first, "metrics.odd/one x").value(1), f64::NEG_INFINITY);
    let started: &TimestampMillisecondArray = first.column_by_name("start_time").unwrap().as_primitive();
    assert_eq!(started.value(7), 1_700_000_000_007);
    assert!(first.column_by_name("end_time").unwrap().is_null(0));

    let scope = || HistoryScope::Search(vec![experiment], Box::new(search.clone()));
    let points = batches(&mut export::history(Arc::clone(&store), scope())).await;
    assert_eq!(points.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [10_000, 10_000, 1_000, 1, 1]);
    assert_eq!(numbers(&points[1], "value").value(5), 1.0 / 10_005.0);
    let named = HistoryScope::Runs(vec![ids[1].clone()]);
    assert_eq!(batches(&mut export::history(Arc::clone(&store), named)).await, points[3..]);

    let directory = tempfile::tempdir().unwrap();
    let options = ParquetOptions { group_rows: 5_000, ..ParquetOptions::default() };
    let mut sources: Vec<(Box<dyn BatchSource>, Vec<RecordBatch>)> = vec![
        (Box::new(table().await.unwrap()), runs),
        (Box::new(export::history(Arc::clone(&store), scope())), points),
    ];
    for (number, (source, want)) in sources.iter_mut().enumerate() {
        let path = directory.path().join(number.to_string());
        let rows = write_parquet(source.as_mut(), File::create(&path).unwrap(), &options).await.unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
        assert_eq!(reader.metadata().num_row_groups() as u64, rows.div_ceil(5_000));
        let found: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
        assert_eq!(as_text(&found), as_text(want));
    }
    let wrong = ParquetOptions { group_rows: 0, ..options };
    let refused = write_parquet(&mut table().await.unwrap(), Vec::new(), &wrong).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn chosen_columns_alone_are_exported_and_nothing_gives_no_batch() {
    let (store, experiment, _) = store().await;
    let only = |key: &str| Columns::Only([key.to_owned()].into());
    let columns = SearchColumns { metrics: only("odd/one x"), params: only("lr"), tags: only("none") };
    let search = Search::new().with_filter("params.lr = '0.1'");
    let search = search.with_columns(columns);
    let runs = batches(&mut export::runs(Arc::clone(&store), &[experiment], &search).await.unwrap()).await;
    assert_eq!((runs.len(), runs[0].num_rows(), runs[0].num_columns()), (1, 1, 11));
    let points =
        batches(&mut export::history(Arc::clone(&store), HistoryScope::Search(vec![experiment], Box::new(search))))
            .await;
    assert_eq!((points.len(), text(&points[0], "key").value(0)), (1, "odd/one x"));
    let none = Search::new().with_filter("params.lr = 'x'");
    let mut empty = export::runs(Arc::clone(&store), &[experiment], &none).await.unwrap();
    assert!(empty.next().await.unwrap().is_none());
    let wrong = Search::new().with_filter("params.lr =");
    assert_eq!(export::runs(store, &[experiment], &wrong).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn runs_stand_side_by_side() {
    let (store, _, ids) = store().await;
    let compared = export::compare(store.as_ref(), &ids[..3]).await.unwrap();
    let differing: Vec<&str> = compared.differing_params().map(|param| param.key.as_str()).collect();
    assert_eq!((differing, compared.params.len()), (vec!["lr"], 2));
    assert_eq!(compared.params[1].values, [Some("0.0".to_owned()), Some("0.1".to_owned()), Some("0.2".to_owned())]);
    let loss = &compared.metrics[0];
    assert_eq!((loss.key.as_str(), loss.extremes, loss.values[2]), ("loss", Some((0, 0)), None));
    assert_eq!(compared.metrics[1].extremes, Some((1, 1)));
    let table = compared.to_markdown();
    assert!(
        table.starts_with("|  | run 0 (RUNNING) | run 1 (FAILED) | run 2 (RUNNING) |\n|---|---|---|---|\n| lr | 0.0 |"),
        "{table}"
    );
    assert_eq!(table.lines().count(), 5, "{table}");

    let unknown = RunId::new("none").unwrap();
    assert_eq!(export::compare(store.as_ref(), &[unknown]).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(export::compare(store.as_ref(), &[]).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
}
