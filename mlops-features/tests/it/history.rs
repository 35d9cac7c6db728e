//! From events to training sets and online features, through the front door.

use std::{sync::Arc, time::Duration};

use mlops_core::{
    BatchCheck, CheckFailure, CheckOutcome, ErrorKind, EventBus, EventFilter, Fact, FeatureReader, InProcessBus,
    PrometheusMeter, Result, Timestamp,
    arrow_array::{
        ArrayRef, Float64Array, RecordBatch,
        cast::AsArray,
        types::{Float64Type, Int64Type},
    },
    testing::RecordingHandler,
};
use mlops_features::{
    Aggregation, Entity, FeatureService, FeatureStore, FeatureStoreBuilder, FeatureView, Function, MemoryOnlineStore,
    OfflineStore, Scan,
};

use crate::{
    checks::NotNegative,
    data::{batch, clock, ints, row, schema, times},
    log_lines::LogLines,
};

const fn micros(count: u64) -> Duration {
    Duration::from_micros(count)
}

fn view() -> FeatureView {
    FeatureView::builder("v", Entity::new("e", ["k"]).unwrap(), "events")
        .with_event_id("id")
        .with_column("n")
        .with_ttl(micros(20))
        .with_aggregation(Aggregation::new("sum_10", Function::Sum, "x", micros(10)))
        .with_aggregation(Aggregation::new("count_10", Function::Count, "x", micros(10)))
        .build()
        .unwrap()
}

fn builder(home: &tempfile::TempDir) -> FeatureStoreBuilder {
    FeatureStore::builder(home.path().to_str().unwrap())
        .with_clock(clock())
        .with_table("events", schema())
        .with_view(view())
        .with_service(FeatureService::new("s", refs()).unwrap())
}

fn refs() -> Vec<mlops_core::FeatureRef> {
    ["v:count_10", "v:n", "v:sum_10"].iter().map(|text| text.parse().unwrap()).collect()
}

fn entities(keys: &[Option<i64>]) -> RecordBatch {
    RecordBatch::try_from_iter([("k", ints(keys.iter().copied()))]).unwrap()
}

async fn ask(
    store: &FeatureStore,
    keys: &[Option<i64>],
    at: i64,
) -> (Vec<Option<i64>>, Vec<Option<i64>>, Vec<Option<f64>>) {
    let answer = store.get_online(&refs(), &entities(keys), Timestamp::from_micros(at)).await.unwrap();
    (
        answer.column(1).as_primitive::<Int64Type>().iter().collect(),
        answer.column(2).as_primitive::<Int64Type>().iter().collect(),
        answer.column(3).as_primitive::<Float64Type>().iter().collect(),
    )
}

#[tokio::test]
async fn edges_ttl_and_missing_entities_online() {
    let home = tempfile::tempdir().unwrap();
    let store = builder(&home).with_online(Arc::new(MemoryOnlineStore::default())).build().await.unwrap();
    let rows = [(Some(1), Some(10), 1, Some(0.5), Some(7)), (Some(1), Some(15), 2, Some(0.25), Some(8))];
    store.writer().push("v", &batch(&rows)).await.unwrap();
    // At 20 the window (10, 20] no longer holds the event at 10; at 15 the one at 15 is in.
    assert_eq!(ask(&store, &[Some(1)], 20).await, (vec![Some(1)], vec![Some(8)], vec![Some(0.25)]));
    assert_eq!(ask(&store, &[Some(1)], 15).await, (vec![Some(2)], vec![Some(8)], vec![Some(0.75)]));
    // Events after the moment asked about are ignored.
    assert_eq!(ask(&store, &[Some(1)], 14).await, (vec![Some(1)], vec![None], vec![Some(0.5)]));
    // Time to live is inclusive at 35 and over at 36.
    assert_eq!(ask(&store, &[Some(1)], 35).await.1, [Some(8)]);
    assert_eq!(ask(&store, &[Some(1)], 36).await.1, [None]);
    // A stranger has empty windows, a null key nothing.
    assert_eq!(ask(&store, &[Some(9), None], 15).await, (vec![Some(0), None], vec![None, None], vec![None, None]));
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let store = builder(&home).with_online(Arc::new(MemoryOnlineStore::default())).build().await.unwrap();
    let at = Timestamp::from_micros(1);
    let ask = async |feature: &str, entities: RecordBatch| {
        store.get_online(&[feature.parse().unwrap()], &entities, at).await.unwrap_err().kind()
    };
    assert_eq!(ask("w:n", entities(&[Some(1)])).await, ErrorKind::NotFound);
    assert_eq!(ask("v:zz", entities(&[Some(1)])).await, ErrorKind::NotFound);
    let floats = Arc::new(Float64Array::from(vec![1.0])) as ArrayRef;
    assert_eq!(ask("v:n", RecordBatch::try_from_iter([("k", floats)]).unwrap()).await, ErrorKind::InvalidArgument);
    let clash = RecordBatch::try_from_iter([("k", ints([Some(1)])), ("n", ints([Some(1)]))]).unwrap();
    assert_eq!(ask("v:n", clash).await, ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn push_and_materialization_are_idempotent_together() {
    let home = tempfile::tempdir().unwrap();
    let store = builder(&home).build().await.unwrap();
    let (early, late) = (batch(&[row(1, 10, 1), row(2, 11, 2)]), batch(&[row(1, 14, 3), row(1, 14, 4)]));
    let ingestor = store.ingestor("events").unwrap();
    ingestor.append("b1", &early).await.unwrap();
    ingestor.append("b2", &late).await.unwrap();
    store.writer().push("v", &early).await.unwrap();
    let pushed = store.materializer().run("v", Timestamp::from_micros(20)).await.unwrap();
    assert_eq!((pushed.rows, pushed.after), (4, None), "a push makes nothing complete");
    let expected = ask(&store, &[Some(1), Some(2)], 15).await;
    assert_eq!(expected.0, [Some(3), Some(1)]);
    store.writer().push("v", &late).await.unwrap();
    store.writer().push("v", &early).await.unwrap();
    assert_eq!(store.materializer().run("v", Timestamp::from_micros(20)).await.unwrap().rows, 0);
    store.materializer().backfill("v", None, Timestamp::from_micros(20)).await.unwrap();
    assert_eq!(ask(&store, &[Some(1), Some(2)], 15).await, expected);
}

#[tokio::test]
async fn bad_batches_go_to_quarantine_and_facts_are_announced() {
    let home = tempfile::tempdir().unwrap();
    let (bus, seen) = (Arc::new(InProcessBus::default()), Arc::new(RecordingHandler::default()));
    bus.subscribe(EventFilter::all(), Arc::<RecordingHandler>::clone(&seen));
    let store = builder(&home).with_bus(bus).with_check("events", Arc::new(NotNegative)).build().await.unwrap();
    let ingestor = store.ingestor("events").unwrap();
    assert!(ingestor.append("good", &batch(&[row(1, 1, 1)])).await.unwrap().accepted());
    let bad = batch(&[row(1, 2, -2), row(1, 2, 2)]);
    for duplicate in [false, true] {
        let receipt = ingestor.append("bad", &bad).await.unwrap();
        assert_eq!((receipt.accepted(), receipt.duplicate, receipt.failures[0].rows.len()), (false, duplicate, 1));
    }
    assert_eq!(store.table("events").unwrap().num_rows(None).await.unwrap(), 1);
    let quarantined = ingestor.quarantine_table().unwrap().scan_all(Scan::latest()).await.unwrap();
    let reasons = quarantined[0].column_by_name("quarantine_reasons").unwrap().as_string::<i32>();
    assert_eq!(reasons.iter().collect::<Vec<_>>(), [Some("not_negative: below 0"); 2]);
    store.materializer().run("v", Timestamp::from_micros(5)).await.unwrap();
    let facts: Vec<Fact> = seen.events().into_iter().map(|event| event.fact).collect();
    assert!(matches!(
        facts.as_slice(),
        [Fact::BatchIngested { rows: 1, .. }, Fact::QualityFailed { .. }, Fact::FeaturesMaterialized { rows: 1, .. }]
    ));
    let error = ingestor.append("null", &batch(&[(Some(1), None, 1, None, None), row(1, 1, 1)])).await.unwrap_err();
    assert!(error.message().contains("null in 1 of 2 rows"), "{error}");
}

#[tokio::test]
async fn a_view_is_measured_and_judged_as_a_whole() {
    let home = tempfile::tempdir().unwrap();
    let meter = Arc::new(PrometheusMeter::default());
    let store = builder(&home).with_meter(Arc::<PrometheusMeter>::clone(&meter)).build().await.unwrap();
    let rows = [row(1, 10, 1), (Some(2), Some(12), 2, None, Some(-5)), (Some(3), Some(40), 3, Some(0.5), None)];
    store.ingestor("events").unwrap().append("b", &batch(&rows)).await.unwrap();
    let at = Timestamp::from_micros(15);
    let found = store.inspect("v", at, Arc::new(NotNegative)).await.unwrap();
    let names: Vec<_> = found.values.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["k", "event_timestamp", "n", "sum_10", "count_10"]);
    assert_eq!(found.values.column(0), &ints([Some(1), Some(2)]), "3 was not seen by then");
    assert_eq!(found.values.column(1), &times([Some(15); 2]));
    assert_eq!(found.outcome.failures[0].rows, [1]);
    let page = meter.render();
    for line in [
        "mlops_features_view_entities{view=\"v\"} 2",
        "mlops_features_view_missing_ratio{view=\"v\",feature=\"n\"} 0",
        "mlops_features_view_missing_ratio{view=\"v\",feature=\"sum_10\"} 0.5",
    ] {
        assert!(page.contains(line), "{line} {page}");
    }
    let unknown = store.inspect("w", at, Arc::new(NotNegative)).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}

#[derive(Debug)]
struct Doubts(usize);

impl BatchCheck for Doubts {
    fn check(&self, _: &RecordBatch) -> Result<CheckOutcome> {
        let doubt = |number| CheckFailure {
            rule: format!("rule_{number}"),
            column: Some("n".into()),
            message: "2 rows look odd".into(),
            rows: vec![0, 1],
        };
        Ok(CheckOutcome { failures: Vec::new(), warnings: (0..self.0).map(doubt).collect() })
    }
}

#[tokio::test]
async fn warnings_of_a_batch_that_passes_are_logged_once_and_bounded() {
    let home = tempfile::tempdir().unwrap();
    let store = builder(&home).with_check("events", Arc::new(Doubts(20))).build().await.unwrap();
    let ingestor = store.ingestor("events").unwrap();
    let log = LogLines::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    for duplicate in [false, true] {
        let receipt = ingestor.append("odd", &batch(&[row(1, 1, 1), row(1, 2, 1)])).await.unwrap();
        assert_eq!((receipt.accepted(), receipt.duplicate), (true, duplicate));
    }
    let warnings = log.containing("warning");
    assert_eq!(warnings.len(), 17, "{warnings:?}");
    for part in ["batch_id=odd", "table=events", "rule=rule_0", "column=n", "rows=2", "2 rows look odd"] {
        assert!(warnings[0].contains(part), "{part}: {}", warnings[0]);
    }
    assert!(warnings[16].contains("more=4"), "{}", warnings[16]);
}

#[tokio::test]
async fn a_training_set_has_the_spine_then_the_service_and_names_its_data() {
    let home = tempfile::tempdir().unwrap();
    let store = builder(&home).build().await.unwrap();
    let ingestor = store.ingestor("events").unwrap();
    ingestor.append("b1", &batch(&[row(1, 10, 1), row(1, 20, 2)])).await.unwrap();
    let spine = RecordBatch::try_from_iter([
        ("k", ints([Some(1), Some(1), Some(2), None])),
        ("event_timestamp", times([Some(20), Some(19), Some(20), Some(20)])),
    ])
    .unwrap();
    let service = store.service("s").unwrap();
    let set = store.offline().get_historical(&spine, service).await.unwrap();
    let names: Vec<_> = set.batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["k", "event_timestamp", "count_10", "n", "sum_10"]);
    let column = |at: usize| set.batch.column(at).as_primitive::<Int64Type>().iter().collect::<Vec<_>>();
    assert_eq!(column(2), [Some(1), Some(1), Some(0), None]);
    assert_eq!(column(3), [Some(2), Some(1), None, None]);
    let before = set.data_versions["events"].clone();
    ingestor.append("b2", &batch(&[row(1, 20, 3)])).await.unwrap();
    let options = mlops_features::offline::HistoricalOptions {
        versions: [("events".to_owned(), before.version)].into(),
        ..Default::default()
    };
    let pinned = store.offline().get_historical_opts(&spine, service, &options).await.unwrap();
    assert_eq!((pinned.batch, &pinned.data_versions["events"]), (set.batch, &before));
    let newest = store.offline().get_historical(&spine, service).await.unwrap();
    assert_eq!(newest.batch.column(3).as_primitive::<Int64Type>().value(0), 3, "ties go to the later commit");
}

#[tokio::test]
async fn a_store_opens_again_with_its_tables_and_values() {
    let home = tempfile::tempdir().unwrap();
    let store = builder(&home).build().await.unwrap();
    store.ingestor("events").unwrap().append("b", &batch(&[row(1, 10, 1)])).await.unwrap();
    store.materializer().run("v", Timestamp::from_micros(30)).await.unwrap();
    drop(store);
    let store = builder(&home).build().await.unwrap();
    assert_eq!(ask(&store, &[Some(1)], 12).await.1, [Some(1)]);
    assert!(store.ingestor("events").unwrap().append("b", &batch(&[row(1, 10, 1)])).await.unwrap().duplicate);
}

#[tokio::test]
async fn windows_and_columns_respect_what_was_known() {
    use mlops_core::arrow_schema::{Field, Schema};
    let home = tempfile::tempdir().unwrap();
    let fields = schema().fields().iter().map(|field| field.as_ref().clone()).collect::<Vec<_>>();
    let created = Field::new("created", crate::data::time_type(), true);
    let with_created = Arc::new(Schema::new([fields, vec![created]].concat()));
    let view = FeatureView::builder("v", Entity::new("e", ["k"]).unwrap(), "late")
        .with_created("created")
        .with_column("n")
        .with_aggregation(Aggregation::new("count_10", Function::Count, "x", micros(10)))
        .build()
        .unwrap();
    let store = FeatureStore::builder(home.path().to_str().unwrap())
        .with_clock(clock())
        .with_table("late", Arc::clone(&with_created))
        .with_view(view)
        .build()
        .await
        .unwrap();
    let mut columns = batch(&[row(1, 10, 1), row(1, 11, 2), row(1, 12, 3)]).columns().to_vec();
    columns.push(times([Some(10), Some(16), None]));
    let events = RecordBatch::try_new(with_created, columns).unwrap();
    store.ingestor("late").unwrap().append("b", &events).await.unwrap();
    let spine =
        RecordBatch::try_from_iter([("k", ints([Some(1), Some(1)])), ("event_timestamp", times([Some(15), Some(16)]))])
            .unwrap();
    let service = FeatureService::new("s", ["v:n", "v:count_10"].map(|text| text.parse().unwrap())).unwrap();
    for (knowledge, latest, counts) in
        [(mlops_features::Knowledge::Event, [3, 3], [3, 3]), (mlops_features::Knowledge::Known, [1, 2], [1, 2])]
    {
        let options = mlops_features::offline::HistoricalOptions { knowledge, ..Default::default() };
        let set = store.offline().get_historical_opts(&spine, &service, &options).await.unwrap().batch;
        assert_eq!(set.column(2).as_primitive::<Int64Type>().values(), &latest);
        assert_eq!(set.column(3).as_primitive::<Int64Type>().values(), &counts);
    }
}
