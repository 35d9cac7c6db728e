//! The prediction log: bounded, exactly once, labels by id.

use std::sync::Arc;

use mlops_core::{
    Delivery, ModelName, PredictionBatch, PredictionSink, Timestamp, Version,
    arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, cast::AsArray, types::Int64Type},
};
use mlops_features::{PredictionLog, PredictionLogSettings, join_labels};

use crate::data::clock;

fn floats(name: &str, values: &[f64]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([(name, Arc::new(Float64Array::from(values.to_vec())) as ArrayRef, true)])
        .unwrap()
}

fn prediction(id: &str, at: i64, rows: usize) -> PredictionBatch {
    PredictionBatch {
        request_id: id.into(),
        model: ModelName::new("m").unwrap(),
        version: Version(3),
        variant: "champion".into(),
        at: Timestamp::from_micros(at),
        inputs: floats("amount", &vec![1.0; rows]),
        outputs: floats("score", &vec![0.5; rows]),
    }
}

async fn open(location: &str, rows_max: usize) -> PredictionLog {
    let settings = PredictionLogSettings { buffer_rows_max: rows_max, ..Default::default() };
    let (inputs, outputs) = (floats("amount", &[]).schema(), floats("score", &[]).schema());
    PredictionLog::open(location, inputs, outputs, clock(), settings).await.unwrap()
}

#[tokio::test]
async fn a_full_buffer_sheds_and_a_replayed_flush_writes_once() {
    let home = tempfile::tempdir().unwrap();
    let location = home.path().to_str().unwrap();
    let log = open(location, 3).await;
    assert_eq!(log.append(prediction("a", 1, 2)), Delivery::Accepted);
    assert_eq!(log.append(prediction("b", 2, 2)), Delivery::Dropped);
    assert_eq!((log.dropped(), log.buffered_rows()), (1, 2));
    assert!(!log.flush_as("batch-1").await.unwrap().unwrap().duplicate);
    assert_eq!(log.flush_as("batch-1").await.unwrap(), None);
    drop(log);
    let log = open(location, 3).await;
    let _ = log.append(prediction("a", 1, 2));
    assert!(log.flush_as("batch-1").await.unwrap().unwrap().duplicate);
    for _ in 0..2 {
        let _ = log.append(prediction("b", 2, 1));
        log.flush().await.unwrap();
    }
    let all = log.read(None, None).await.unwrap();
    assert_eq!(all.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["a", "a", "b"]);
    assert_eq!(all.column(1).as_primitive::<Int64Type>().values(), &[0, 1, 0]);
    assert_eq!(log.read(Some(Timestamp::from_micros(1)), None).await.unwrap().num_rows(), 1);
    assert_eq!(log.table().num_rows(None).await.unwrap(), 3);
}

#[tokio::test]
async fn labels_join_by_request_and_row() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path().to_str().unwrap(), 100).await;
    for (id, rows) in [("a", 1), ("b", 2), ("c", 1)] {
        let _ = log.append(prediction(id, 1, rows));
    }
    log.flush().await.unwrap();
    let labels = RecordBatch::try_from_iter([
        ("request_id", Arc::new(StringArray::from(vec!["c", "a", "zzz", "c"])) as ArrayRef),
        ("label", Arc::new(BooleanArray::from(vec![false, false, true, true])) as ArrayRef),
    ])
    .unwrap();
    let joined = join_labels(&log.read(None, None).await.unwrap(), &labels).unwrap();
    assert_eq!(joined.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["a", "c"]);
    let found: Vec<_> = joined.column_by_name("label").unwrap().as_boolean().iter().flatten().collect();
    assert_eq!(found, [false, true]);
}

#[tokio::test]
async fn columns_that_clash_or_do_not_fit_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let location = home.path().to_str().unwrap();
    let (same, settings) = (floats("score", &[]).schema(), PredictionLogSettings::default());
    let error = PredictionLog::open(location, Arc::clone(&same), same, clock(), settings).await.unwrap_err();
    assert!(error.message().contains("\"score\""), "{error}");
    let log = open(location, 10).await;
    let misfit = PredictionBatch { inputs: floats("other", &[1.0]), ..prediction("a", 1, 1) };
    assert_eq!(log.append(misfit), Delivery::Dropped);
}
