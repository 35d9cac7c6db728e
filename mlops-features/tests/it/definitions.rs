//! Definitions as versions: plans that name what hurts, a durable history, references to versions.

use std::{sync::Arc, time::Duration};

use mlops_core::{
    ErrorKind, FeatureReader, FeatureRef, Timestamp,
    arrow_array::{Array, RecordBatch, cast::AsArray, types::Float64Type},
};
use mlops_features::{
    Aggregation, ChangeClass, DefinitionStore, Definitions, Entity, FeatureService, FeatureStore, FeatureStoreBuilder,
    FeatureView, FeatureViewBuilder, Function, MemoryOnlineStore, OfflineStore, OnlineStore, Permission, Plan,
};

use crate::data::{batch, clock, ints, row, schema, times};

fn view() -> FeatureViewBuilder {
    FeatureView::builder("v", Entity::new("e", ["k"]).unwrap(), "events").with_event_id("id").with_column("n")
}

fn sum(micros: u64) -> Aggregation {
    Aggregation::new("spent", Function::Sum, "x", Duration::from_micros(micros))
}

fn service(features: &[&str]) -> FeatureService {
    FeatureService::new("s", features.iter().map(|text| text.parse().unwrap())).unwrap()
}

fn builder(home: &tempfile::TempDir, view: FeatureViewBuilder) -> FeatureStoreBuilder {
    FeatureStore::builder(home.path().to_str().unwrap())
        .with_clock(clock())
        .with_online(Arc::new(MemoryOnlineStore::default()))
        .with_table("events", schema())
        .with_view(view.build().unwrap())
}

async fn apply(builder: FeatureStoreBuilder, permission: Permission) -> (Plan, FeatureStore) {
    let plan = builder.plan().await.unwrap();
    let store = builder.apply(&plan, permission).await.unwrap();
    (plan, store)
}

/// Version in force of view `v`.
fn current(store: &FeatureStore) -> u32 {
    store.definitions().views()["v"].current().unwrap().version
}

#[tokio::test]
async fn a_plan_says_in_words_what_changes_and_whom_it_hurts() {
    let home = tempfile::tempdir().unwrap();
    let first =
        builder(&home, view().with_aggregation(sum(10)).with_owner("ann")).with_service(service(&["v:n", "v:spent"]));
    let (plan, _) = apply(first, Permission::Safe).await;
    assert_eq!(
        plan.to_string(),
        "table \"events\"\n  + is created: 5 columns\n\
         feature view \"v\"\n  + is added: 2 features of e from table \"events\"\n\
         feature service \"s\"\n  + is added: 2 features\n\
         3 additive, 0 metadata, 0 destructive\n"
    );
    let second = builder(&home, view().with_aggregation(sum(20)).with_column("x").with_owner("bob"))
        .with_service(service(&["v:n"]));
    let plan = second.plan().await.unwrap();
    assert_eq!(
        plan.to_string(),
        "feature view \"v\"\n  + feature \"x\" is added: latest x\n  \
         ! feature \"spent\": sum of x over 10µs -> sum of x over 20µs; values change\n  \
         ~ owner: \"ann\" -> \"bob\"\n  \
         + v1 becomes v2; v1 stays readable by its number\n\
         feature service \"s\"\n  ! feature \"v:spent\" is removed\n  \
         + v1 becomes v2; v1 stays readable by its number\n\
         3 additive, 1 metadata, 2 destructive\n"
    );
    let refused = second.apply(&plan, Permission::Safe).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::FailedPrecondition);
    for part in ["feature \"spent\"", "\"v:spent\" is removed", "permit them"] {
        assert!(refused.message().contains(part), "{refused}");
    }
    let same =
        builder(&home, view().with_aggregation(sum(10)).with_owner("ann")).with_service(service(&["v:n", "v:spent"]));
    let (plan, store) = apply(same, Permission::Safe).await;
    assert_eq!((plan.is_empty(), plan.to_string().as_str()), (true, "no changes; everything is as defined\n"));
    assert_eq!(store.definitions().revision(), 1, "nothing was refused halfway and nothing is written twice");
}

#[tokio::test]
async fn metadata_never_makes_a_version_and_never_touches_data() {
    let home = tempfile::tempdir().unwrap();
    let online: Arc<dyn OnlineStore> = Arc::new(MemoryOnlineStore::default());
    let open = |view| builder(&home, view).with_online(Arc::clone(&online));
    let (_, store) = apply(open(view()), Permission::Safe).await;
    store.ingestor("events").unwrap().append("b", &batch(&[row(1, 10, 7)])).await.unwrap();
    store.materializer().run("v", Timestamp::from_micros(20)).await.unwrap();
    let changed = open(view().with_owner("ann").with_description("what n was").with_tag("team", "risk"));
    let (plan, store) = apply(changed, Permission::Safe).await;
    assert!(plan.changes().iter().all(|change| change.class == ChangeClass::Metadata), "{plan}");
    assert_eq!((plan.changes().len(), current(&store), store.definitions().revision()), (3, 1, 2));
    assert_eq!(store.view("v").unwrap().metadata().owner.as_deref(), Some("ann"));
    let entities = RecordBatch::try_from_iter([("k", ints([Some(1)]))]).unwrap();
    let served = store.get_online(&["v:n".parse().unwrap()], &entities, Timestamp::from_micros(20)).await.unwrap();
    assert_eq!(served.column(1).null_count(), 0, "what is online stays there");
}

#[tokio::test]
async fn every_version_of_a_view_is_read_by_its_number_offline_and_online() {
    let home = tempfile::tempdir().unwrap();
    let (_, store) = apply(builder(&home, view().with_aggregation(sum(10))), Permission::Safe).await;
    let events = [(Some(1), Some(5), 1, Some(1.0), None), (Some(1), Some(15), 2, Some(2.0), None)];
    store.ingestor("events").unwrap().append("b", &batch(&events)).await.unwrap();
    let (_, store) = apply(builder(&home, view().with_aggregation(sum(100))), Permission::Destructive).await;
    assert_eq!(current(&store), 2);
    for name in ["v", "v@v1", "v@v2"] {
        store.materializer().run(name, Timestamp::from_micros(20)).await.unwrap();
    }
    let spine = RecordBatch::try_from_iter([("k", ints([Some(1)])), ("event_timestamp", times([Some(20)]))]).unwrap();
    let entities = RecordBatch::try_from_iter([("k", ints([Some(1)]))]).unwrap();
    for (text, expected) in [("v:spent", 3.0), ("v@v1:spent", 2.0), ("v@v2:spent", 3.0)] {
        let trained = store.offline().get_historical(&spine, &service(&[text])).await.unwrap().batch;
        let feature: FeatureRef = text.parse().unwrap();
        let served = store.get_online(&[feature], &entities, Timestamp::from_micros(20)).await.unwrap();
        for column in [trained.column(2), served.column(1)] {
            assert_eq!(column.as_primitive::<Float64Type>().value(0), expected, "{text}");
        }
    }
    let missing = store.get_online(&["v@v3:spent".parse().unwrap()], &entities, Timestamp::from_micros(20)).await;
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
    // A service may keep to a version, even to one that the same plan makes.
    let pinned = builder(&home, view().with_aggregation(sum(7))).with_service(service(&["v@v1:spent"]));
    let (_, store) = apply(pinned, Permission::Destructive).await;
    let pinned = store.offline().get_historical(&spine, store.service("s").unwrap()).await.unwrap().batch;
    assert_eq!((pinned.column(2).as_primitive::<Float64Type>().value(0), current(&store)), (2.0, 3));
    let unknown = builder(&home, view().with_aggregation(sum(7))).with_service(service(&["v@v9:spent"]));
    let plan = unknown.plan().await.unwrap();
    assert_eq!(unknown.apply(&plan, Permission::Destructive).await.unwrap_err().kind(), ErrorKind::NotFound);
    // Going back is going back to the number, and to the values that are online under it.
    let (plan, store) = apply(builder(&home, view().with_aggregation(sum(10))), Permission::Destructive).await;
    assert!(plan.to_string().contains("goes back from v3 to v1"), "{plan}");
    assert_eq!((current(&store), store.definitions().views()["v"].versions().len()), (1, 3));
}

#[tokio::test]
async fn a_store_opens_with_what_was_applied_to_its_root() {
    let home = tempfile::tempdir().unwrap();
    apply(builder(&home, view()).with_service(service(&["v:n"])), Permission::Safe).await;
    let open = || {
        let online = Arc::new(MemoryOnlineStore::default());
        FeatureStore::builder(home.path().to_str().unwrap()).with_clock(clock()).with_online(online)
    };
    let store = open().build().await.unwrap();
    assert_eq!(store.service("s").unwrap().features().len(), 1);
    assert!(store.ingestor("events").unwrap().append("b", &batch(&[row(1, 1, 1)])).await.unwrap().accepted());
    // Applying nothing removes everything; the versions stay.
    let plan = open().plan().await.unwrap();
    assert_eq!(plan.destructive().count(), 2, "{plan}");
    let store = open().apply(&plan, Permission::Destructive).await.unwrap();
    assert_eq!(store.view("v").unwrap_err().kind(), ErrorKind::NotFound);
    assert!(store.definitions().views()["v"].current().is_none());
    assert!(store.definitions().views()["v"].version(1).is_some());
}

#[tokio::test]
async fn of_two_who_apply_at_once_one_plans_again() {
    let home = tempfile::tempdir().unwrap();
    let store = DefinitionStore::open(home.path().to_str().unwrap(), clock()).unwrap();
    let wanted = |name: &str| {
        let view = FeatureView::builder(name, Entity::new("e", ["k"]).unwrap(), "events").with_column("n");
        Definitions::new().with_view(view.build().unwrap())
    };
    let (one, two) = (store.plan(&wanted("a")).await.unwrap(), store.plan(&wanted("b")).await.unwrap());
    let (one, two) = tokio::join!(store.apply(&one, Permission::Safe), store.apply(&two, Permission::Safe));
    let won = [&one, &two].into_iter().filter(|result| result.is_ok()).count();
    let lost = [one, two].into_iter().filter_map(Result::err).next().unwrap();
    assert_eq!((won, lost.kind()), (1, ErrorKind::Conflict));
    assert_eq!(store.revisions().await.unwrap(), [1]);
}

#[tokio::test]
async fn damaged_or_newer_definitions_are_refused() {
    let home = tempfile::tempdir().unwrap();
    apply(builder(&home, view()), Permission::Safe).await;
    let path = home.path().join("definitions").join(format!("{:020}.json", 1));
    let written = std::fs::read_to_string(&path).unwrap();
    let store = DefinitionStore::open(home.path().to_str().unwrap(), clock()).unwrap();
    for (from, to, kind) in [
        ("\"format\": 1", "\"format\": 5", ErrorKind::FailedPrecondition),
        ("\"event_id\": \"id\"", "\"event_id\": \"n\"", ErrorKind::DataLoss),
        ("{", "", ErrorKind::DataLoss),
    ] {
        assert!(written.contains(from), "{written}");
        std::fs::write(&path, written.replacen(from, to, 1)).unwrap();
        assert_eq!(store.current().await.unwrap_err().kind(), kind, "{from}");
    }
}
