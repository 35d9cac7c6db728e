//! The prediction log: bounded, exactly once, labels by id.

use std::{pin::Pin, sync::Arc, task::Poll};

use mlops_core::{
    Delivery, ErrorKind, ModelName, PredictionBatch, PredictionSink, Timestamp, Version,
    arrow_array::{
        Array, ArrayRef, BooleanArray, FixedSizeListArray, Float64Array, RecordBatch, StringArray,
        cast::AsArray,
        types::{Float64Type, Int64Type, TimestampMicrosecondType},
    },
    arrow_schema::{DataType, Field, Schema},
};
use mlops_features::{
    LogWriter, LogWriterSettings, PredictionLog, PredictionLogSettings, Table, TableSettings, join_labels,
};

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
        propensity: None,
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

/// Polls a future once; it must not be done by then.
async fn begin<F: Future>(mut future: Pin<&mut F>) {
    let first = std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending()));
    assert!(first.await, "it was over at once");
}

#[tokio::test]
async fn a_flush_that_is_given_up_gives_its_rows_back_in_their_order() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path().to_str().unwrap(), 10).await;
    let _ = log.append(prediction("a", 1, 2));
    begin(std::pin::pin!(log.flush())).await;
    let _ = log.append(prediction("b", 2, 1));
    begin(std::pin::pin!(log.flush_as("batch"))).await;
    assert_eq!((log.buffered_rows(), log.dropped()), (3, 0));
    log.flush().await.unwrap();
    let all = log.read(None, None).await.unwrap();
    assert_eq!(all.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["a", "a", "b"]);
}

#[tokio::test]
async fn rows_that_are_being_written_count_as_held() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path().to_str().unwrap(), 4).await;
    let _ = log.append(prediction("a", 1, 3));
    {
        let mut flush = std::pin::pin!(log.flush());
        begin(flush.as_mut()).await;
        assert_eq!(log.buffered_rows(), 0);
        assert_eq!(log.append(prediction("b", 2, 2)), Delivery::Dropped);
        assert_eq!(log.append(prediction("c", 3, 1)), Delivery::Accepted);
        flush.await.unwrap();
    }
    assert_eq!(log.append(prediction("d", 4, 3)), Delivery::Accepted);
    assert_eq!((log.buffered_rows(), log.dropped()), (4, 1));
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
    let uneven = PredictionBatch { outputs: floats("score", &[1.0, 2.0]), ..prediction("a", 1, 1) };
    let long = "x".repeat(1025);
    for refused in [misfit, uneven, prediction(&long, 1, 1)] {
        assert_eq!(log.append(refused), Delivery::Dropped);
    }
    assert_eq!(log.append(prediction("a", 1, 1)), Delivery::Accepted);
}

#[tokio::test]
async fn many_predictions_are_rows_in_their_order_and_a_column_of_an_earlier_model_is_null() {
    let home = tempfile::tempdir().unwrap();
    let location = home.path().to_str().unwrap();
    open(location, 10).await;
    let settings = PredictionLogSettings::default();
    let columns = floats("other", &[]).schema();
    let log = PredictionLog::open(location, columns, floats("score", &[]).schema(), clock(), settings).await.unwrap();
    let mut rows = 0_i64;
    for number in 0..9_000 {
        let mut next = prediction(&number.to_string(), number, 1 + usize::try_from(number % 3).unwrap());
        next.inputs = floats("other", &vec![number as f64; next.inputs.num_rows()]);
        rows += i64::try_from(next.inputs.num_rows()).unwrap();
        assert_eq!(log.append(next), Delivery::Accepted);
    }
    assert_eq!(log.buffered_rows(), usize::try_from(rows).unwrap());
    log.flush().await.unwrap();
    let read = log.read(None, None).await.unwrap();
    assert_eq!((i64::try_from(read.num_rows()).unwrap(), read["amount"].null_count()), (rows, read.num_rows()));
    let (others, times) = (read["other"].as_primitive::<Float64Type>(), &read["at"]);
    let times = times.as_primitive::<TimestampMicrosecondType>();
    assert!(others.values().iter().zip(times.values()).all(|(other, at)| *other == *at as f64));
    assert!(times.values().is_sorted());
    assert_eq!(read["version"].as_primitive::<Int64Type>().values().iter().sum::<i64>(), 3 * rows);
    assert!(read["model"].as_string::<i32>().iter().all(|model| model == Some("m")));
}

/// Rows of two values each, as a model with a tensor input gets them.
fn pairs(values: &[f64]) -> RecordBatch {
    let values = Arc::new(Float64Array::from(values.to_vec()));
    let pairs =
        FixedSizeListArray::new(Arc::new(Field::new_list_field(values.data_type().clone(), true)), 2, values, None);
    RecordBatch::try_from_iter([("pair", Arc::new(pairs) as ArrayRef)]).unwrap()
}

#[tokio::test]
async fn tensors_are_kept_as_lists_beside_their_propensity() {
    let home = tempfile::tempdir().unwrap();
    let (inputs, outputs) = (pairs(&[]).schema(), floats("score", &[]).schema());
    let settings = PredictionLogSettings::default();
    let location = home.path().to_str().unwrap();
    let log = PredictionLog::open(location, inputs, outputs, clock(), settings).await.unwrap();
    let chosen =
        PredictionBatch { inputs: pairs(&[1.0, 2.0, 3.0, 4.0]), propensity: Some(0.25), ..prediction("a", 1, 2) };
    let certain = PredictionBatch { inputs: pairs(&[5.0, 6.0]), ..prediction("b", 2, 1) };
    for batch in [chosen, certain] {
        assert_eq!(log.append(batch), Delivery::Accepted);
    }
    log.flush().await.unwrap();
    let read = log.read(None, None).await.unwrap();
    let lists = read["pair"].as_list::<i32>();
    let lists: Vec<Vec<f64>> =
        lists.iter().flatten().map(|list| list.as_primitive::<Float64Type>().values().to_vec()).collect();
    assert_eq!(lists, [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
    let chances: Vec<_> = read["propensity"].as_primitive::<Float64Type>().iter().collect();
    assert_eq!(chances, [Some(0.25), Some(0.25), None]);
}

#[tokio::test]
async fn a_log_of_an_earlier_build_gets_what_it_lacks_and_a_column_keeps_its_type() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let made = open(&path("new"), 10).await;
    let fields = made.table().schema().fields().iter().filter(|field| field.name() != "propensity").cloned();
    let before = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    Table::create_or_open("prediction_log", &path("old"), before, clock(), TableSettings::default()).await.unwrap();
    let log = open(&path("old"), 10).await;
    assert_eq!(log.append(PredictionBatch { propensity: Some(0.5), ..prediction("a", 1, 1) }), Delivery::Accepted);
    log.flush().await.unwrap();
    let read = log.read(None, None).await.unwrap();
    assert_eq!(read["propensity"].as_primitive::<Float64Type>().value(0), 0.5);
    let outputs = Arc::new(Schema::new(vec![Field::new("score", DataType::Utf8, true)]));
    let (inputs, settings) = (floats("amount", &[]).schema(), PredictionLogSettings::default());
    let error = PredictionLog::open(&path("old"), inputs, outputs, clock(), settings).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.message().contains("\"score\""), "{error}");
}

#[tokio::test]
async fn a_writer_writes_in_time_when_half_is_full_and_at_the_end() {
    let home = tempfile::tempdir().unwrap();
    let log = Arc::new(open(home.path().to_str().unwrap(), 4).await);
    let start = |interval_ms| {
        LogWriter::start(Arc::clone(&log), &LogWriterSettings { interval_ms, ..LogWriterSettings::default() })
    };
    assert_eq!(start(0).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let written = async |rows| {
        while log.table().num_rows(None).await.unwrap() < rows {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let writer = start(20).unwrap();
    let _ = log.append(prediction("a", 1, 1));
    written(1).await;
    writer.stop().await.unwrap();
    // Nothing but a buffer that fills wakes this one.
    let writer = start(3_600_000).unwrap();
    let _ = log.append(prediction("b", 2, 2));
    written(3).await;
    let _ = log.append(prediction("c", 3, 1));
    assert!(writer.is_running());
    writer.stop().await.unwrap();
    assert_eq!(log.table().num_rows(None).await.unwrap(), 4);
    let _ = log.append(prediction("d", 4, 1));
    drop(start(3_600_000).unwrap());
    written(5).await;
}
