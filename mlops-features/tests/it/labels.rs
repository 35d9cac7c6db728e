//! Labels in training sets: seen forward, as far as they were known, and never served.

use std::{sync::Arc, time::Duration};

use mlops_core::{
    Clock as _, ErrorKind, FeatureReader, Timestamp,
    arrow_array::{Array, ArrayRef, Float64Array, RecordBatch, cast::AsArray, types::Float64Type, types::Int64Type},
    arrow_schema::{DataType, Field, Schema, SchemaRef},
    testing::ManualClock,
};
use mlops_features::{
    Aggregation, DefinitionStore, Entity, FeatureService, FeatureStore, FeatureStoreBuilder, FeatureView, Function,
    LabelView, MemoryOnlineStore, OfflineStore, OnDemandView, Permission, offline::HistoricalOptions,
};

use crate::data::{batch, ints, row, schema, time_type, times};

fn outcome_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("event_timestamp", time_type(), true),
        Field::new("loss", DataType::Int64, true),
        Field::new("seen", time_type(), true),
    ]))
}

/// Key, time, loss, when it was recorded.
fn outcomes(rows: &[(i64, i64, i64, i64)]) -> RecordBatch {
    let columns = vec![
        ints(rows.iter().map(|row| Some(row.0))),
        times(rows.iter().map(|row| Some(row.1))),
        ints(rows.iter().map(|row| Some(row.2))),
        times(rows.iter().map(|row| Some(row.3))),
    ];
    RecordBatch::try_new(outcome_schema(), columns).unwrap()
}

fn label_view(window: u64) -> LabelView {
    let label = |name, function| Aggregation::new(name, function, "loss", Duration::from_micros(window));
    LabelView::builder("fate", Entity::new("e", ["k"]).unwrap(), "outcomes")
        .with_created("seen")
        .with_label(label("lost", Function::Count))
        .with_label(label("first_loss", Function::First))
        .build()
        .unwrap()
}

fn service() -> FeatureService {
    let features = ["v:x", "od:doubled"].map(|name| name.parse().unwrap());
    let service = FeatureService::new("s", features).unwrap();
    service.with_labels(["fate:first_loss", "fate:lost"].map(|name| name.parse().unwrap())).unwrap()
}

fn doubled(inputs: &RecordBatch) -> mlops_core::Result<Vec<ArrayRef>> {
    let x = inputs.column(0).as_primitive::<Float64Type>();
    Ok(vec![Arc::new(x.unary::<_, Float64Type>(|x| 2.0 * x))])
}

fn builder(home: &tempfile::TempDir, clock: &Arc<ManualClock>) -> FeatureStoreBuilder {
    let entity = || Entity::new("e", ["k"]).unwrap();
    let on_demand = OnDemandView::builder("od", "1").with_input("v:x".parse().unwrap());
    FeatureStore::builder(home.path().to_str().unwrap())
        .with_clock(Arc::<ManualClock>::clone(clock))
        .with_online(Arc::new(MemoryOnlineStore::default()))
        .with_table("events", schema())
        .with_table("outcomes", outcome_schema())
        .with_view(FeatureView::builder("v", entity(), "events").with_column("x").build().unwrap())
        .with_on_demand_view(on_demand.with_output("doubled", DataType::Float64).build().unwrap(), doubled)
        .with_label_view(label_view(100))
        .with_service(service())
}

fn spine(rows: &[(i64, i64)]) -> RecordBatch {
    let (keys, moments) = (ints(rows.iter().map(|row| Some(row.0))), times(rows.iter().map(|row| Some(row.1))));
    RecordBatch::try_from_iter([("k", keys), ("event_timestamp", moments)]).unwrap()
}

fn column(batch: &RecordBatch, name: &str) -> Vec<Option<i64>> {
    batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().iter().collect()
}

/// A store whose clock stands at 1,000, with one event at 10 and outcomes at 50 (recorded at 60) and 90 (at 2,000).
async fn store(home: &tempfile::TempDir) -> (FeatureStore, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1)));
    let store = builder(home, &clock).build().await.unwrap();
    store.ingestor("events").unwrap().append("e", &batch(&[row(1, 10, 3)])).await.unwrap();
    let rows = [(1, 50, 7, 60), (1, 90, 8, 2_000)];
    store.ingestor("outcomes").unwrap().append("o", &outcomes(&rows)).await.unwrap();
    (store, clock)
}

#[tokio::test]
async fn a_training_set_has_features_of_the_past_and_labels_of_the_future() {
    let home = tempfile::tempdir().unwrap();
    let (store, _) = store(&home).await;
    let spine = spine(&[(1, 20), (1, 50), (1, 950), (2, 20)]);
    let set = store.offline().get_historical(&spine, &service()).await.unwrap();
    let names: Vec<_> = set.batch.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["k", "event_timestamp", "x", "doubled", "first_loss", "lost"]);
    let doubled = Float64Array::from(vec![Some(2.0), Some(2.0), Some(2.0), None]);
    assert_eq!(set.batch.column(3).as_ref(), &doubled as &dyn Array);
    // The outcome at 90 was recorded after the commit, and the window of the third row was open then.
    assert_eq!(column(&set.batch, "lost"), [Some(1), Some(0), None, Some(0)]);
    assert_eq!(column(&set.batch, "first_loss"), [Some(7), None, None, None]);
    assert_eq!(set.data_versions.keys().collect::<Vec<_>>(), ["events", "outcomes"]);
    // Of a later time more is known; the same version of the table is read.
    let later = HistoricalOptions { labels_known_by: Some(Timestamp::from_micros(2_000)), ..Default::default() };
    let set = store.offline().get_historical_opts(&spine, &service(), &later).await.unwrap();
    assert_eq!(column(&set.batch, "lost"), [Some(2), Some(1), Some(0), Some(0)]);
    assert_eq!(column(&set.batch, "first_loss"), [Some(7), Some(8), None, None]);
}

#[tokio::test]
async fn a_training_set_as_of_a_time_does_not_change_when_outcomes_come_in() {
    let home = tempfile::tempdir().unwrap();
    let (store, clock) = store(&home).await;
    let spine = spine(&[(1, 20), (1, 950)]);
    let as_of = HistoricalOptions { as_of: Some(clock.now()), ..Default::default() };
    let before = store.offline().get_historical_opts(&spine, &service(), &as_of).await.unwrap();
    clock.set(Timestamp::from_millis(5));
    store
        .ingestor("outcomes")
        .unwrap()
        .append("late", &outcomes(&[(1, 60, 9, 70), (1, 1_000, 4, 1_001)]))
        .await
        .unwrap();
    let after = store.offline().get_historical_opts(&spine, &service(), &as_of).await.unwrap();
    assert_eq!(before.batch, after.batch);
    let now = store.offline().get_historical(&spine, &service()).await.unwrap();
    assert_eq!(column(&now.batch, "lost"), [Some(3), Some(1)]);
}

/// What version 1 cannot contain is not said to be nothing, however late one asks.
#[tokio::test]
async fn a_pinned_version_knows_nothing_from_the_next_commit_on() {
    let home = tempfile::tempdir().unwrap();
    let (store, clock) = store(&home).await;
    for (millis, id, outcome) in [(5, "second", (2, 3_000, 1, 3_000)), (9, "third", (1, 6_050, 4, 6_060))] {
        clock.set(Timestamp::from_millis(millis));
        store.ingestor("outcomes").unwrap().append(id, &outcomes(&[outcome])).await.unwrap();
    }
    let spine = spine(&[(1, 20), (1, 950), (1, 6_000)]);
    let late = Timestamp::from_millis(10);
    let newest = HistoricalOptions { labels_known_by: Some(late), ..Default::default() };
    let pinned = HistoricalOptions { versions: [("outcomes".to_owned(), 1)].into(), ..newest.clone() };
    let as_of = HistoricalOptions { labels_known_by: None, as_of: Some(late), ..pinned.clone() };
    let lost = async |options: &HistoricalOptions| {
        column(&store.offline().get_historical_opts(&spine, &service(), options).await.unwrap().batch, "lost")
    };
    assert_eq!(lost(&newest).await, [Some(2), Some(0), Some(1)]);
    assert_eq!(lost(&pinned).await, [Some(2), Some(0), None]);
    assert_eq!(lost(&as_of).await, [Some(2), Some(0), None]);
}

#[tokio::test]
async fn labels_are_applied_versioned_and_never_served() {
    let home = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1)));
    let wanted = builder(&home, &clock);
    let plan = wanted.plan().await.unwrap();
    assert!(
        plan.to_string().contains("label view \"fate\"\n  + is added: 2 labels of e from table \"outcomes\""),
        "{plan}"
    );
    let store = wanted.apply(&plan, Permission::Safe).await.unwrap();
    assert!(store.views().all(|view| view.name() != "fate"));
    let who = spine(&[(1, 20)]);
    let served = store.reader().read(store.service_plan("s").unwrap(), &who, Timestamp::from_micros(20)).await.unwrap();
    assert_eq!(served.columns().len(), 2, "the features alone");
    let asked = store.get_online(&["fate:lost".parse().unwrap()], &who, Timestamp::from_micros(20)).await.unwrap_err();
    assert_eq!(asked.kind(), ErrorKind::NotFound);
    let until = Timestamp::from_millis(1);
    assert_eq!(store.materializer().run("fate", until).await.unwrap_err().kind(), ErrorKind::NotFound);
    // A longer window is another version; training sets of the first stay what they were.
    let definitions = DefinitionStore::open(home.path().to_str().unwrap(), Arc::<ManualClock>::clone(&clock)).unwrap();
    let longer = plan.wanted().clone();
    let fresh = longer
        .label_views()
        .iter()
        .fold(mlops_features::Definitions::new(), |all, _| all.with_label_view(label_view(200)));
    let fresh = longer.views().iter().cloned().fold(fresh, mlops_features::Definitions::with_view);
    let fresh = longer.on_demand_views().iter().cloned().fold(fresh, mlops_features::Definitions::with_on_demand_view);
    let fresh = longer.services().iter().cloned().fold(fresh, mlops_features::Definitions::with_service);
    let plan = definitions.plan(&fresh).await.unwrap();
    assert_eq!(plan.destructive().count(), 2, "{plan}");
    definitions.apply(&plan, Permission::Destructive).await.unwrap();
    let store = builder(&home, &clock).build().await.unwrap();
    assert_eq!(store.label_view("fate@v1").unwrap(), &label_view(100));
    assert_eq!(store.label_view("fate@v2").unwrap(), &label_view(200));
}

#[tokio::test]
async fn a_label_is_no_feature_and_a_feature_no_label() {
    let home = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1)));
    let refused = |service: FeatureService| {
        let builder = builder(&home, &clock).with_service(service);
        async move { builder.build().await.unwrap_err() }
    };
    let service = |features: &str| FeatureService::new("t", [features.parse().unwrap()]).unwrap();
    let error = refused(service("fate:lost")).await;
    assert!(error.message().contains("\"fate:lost\" is a label, which nothing can serve"), "{error}");
    let error = refused(service("v:x").with_labels(["od:doubled".parse().unwrap()]).unwrap()).await;
    assert!(error.message().contains("of a label view that is not defined"), "{error}");
    let error = refused(service("v:x").with_labels(["fate:found".parse().unwrap()]).unwrap()).await;
    assert!(error.message().contains("it has lost, first_loss"), "{error}");
    let error = service("v:x").with_labels(["fate:x".parse().unwrap()]).unwrap_err();
    assert!(error.message().contains("called \"x\""), "{error}");
    let entity = Entity::new("e", ["k"]).unwrap();
    let clash = FeatureView::builder("fate", entity, "events").with_column("x").build().unwrap();
    let error = builder(&home, &clock).with_view(clash).build().await.unwrap_err();
    assert!(error.message().contains("view \"fate\" is added twice"), "{error}");
}
