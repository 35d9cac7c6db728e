//! Views computed when they are asked for: the same code in training sets and in serving, over the same columns.

use std::{sync::Arc, time::Duration};

use mlops_core::{
    Error, ErrorKind, FeatureReader, FeatureRef, Result, Timestamp,
    arrow_array::{
        Array, ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray,
        cast::AsArray,
        types::{Float64Type, Int64Type},
    },
    arrow_schema::{DataType, TimeUnit},
};
use mlops_features::{
    Aggregation, Entity, FeatureService, FeatureStatus, FeatureStore, FeatureStoreBuilder, FeatureView, Function,
    MemoryOnlineStore, OfflineStore, OnDemandView, Permission,
};
use proptest::prelude::*;

use crate::data::{Row, batch, clock, ints, row, schema, times};

const FEATURES: [&str; 6] = ["od:ratio", "v:x", "od:label", "v:sum_5", "od:known", "w:n"];

fn views() -> [FeatureView; 2] {
    let entity = || Entity::new("e", ["k"]).unwrap();
    let sum = Aggregation::new("sum_5", Function::Sum, "x", Duration::from_micros(5));
    let v = FeatureView::builder("v", entity(), "events").with_event_id("id").with_column("x").with_column("n");
    let w = FeatureView::builder("w", entity(), "events").with_event_id("id").with_column("n");
    let ttl = Duration::from_micros(9);
    [v.with_aggregation(sum).build().unwrap(), w.with_ttl(ttl).build().unwrap()]
}

/// Reads two features of one name, windows, and two columns of the request, one of which is called as a feature.
fn definition(version: &str) -> OnDemandView {
    OnDemandView::builder("od", version)
        .with_input("v:sum_5".parse().unwrap())
        .with_input_as("young_n", "w:n".parse().unwrap())
        .with_input_as("any_n", "v:n".parse().unwrap())
        .with_request("n", DataType::Float64)
        .with_request("name", DataType::Utf8)
        .with_output("ratio", DataType::Float64)
        .with_output("label", DataType::Utf8)
        .with_output("known", DataType::Boolean)
        .build()
        .unwrap()
}

fn code(inputs: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let column = |name: &str| inputs.column_by_name(name).ok_or_else(|| Error::internal(format!("no {name}")));
    let sum = column("sum_5")?.as_primitive::<Float64Type>();
    let (young, any) = (column("young_n")?.as_primitive::<Int64Type>(), column("any_n")?.as_primitive::<Int64Type>());
    let (amount, name) = (column("n")?.as_primitive::<Float64Type>(), column("name")?.as_string::<i32>());
    let rows = 0..inputs.num_rows();
    let ratio: Float64Array = rows
        .clone()
        .map(|row| {
            let sum = sum.is_valid(row).then(|| sum.value(row))?;
            amount.is_valid(row).then(|| (amount.value(row) + 0.1).sin() / (sum + 1e-3))
        })
        .collect();
    let label: StringArray =
        rows.clone().map(|row| any.is_valid(row).then(|| format!("{}/{}", name.value(row), any.value(row)))).collect();
    let known: BooleanArray = rows.map(|row| Some(young.is_valid(row))).collect();
    Ok(vec![Arc::new(ratio), Arc::new(label), Arc::new(known)])
}

fn builder(home: &tempfile::TempDir) -> FeatureStoreBuilder {
    let builder = FeatureStore::builder(home.path().to_str().unwrap())
        .with_clock(clock())
        .with_online(Arc::new(MemoryOnlineStore::default()))
        .with_table("events", schema());
    views().into_iter().fold(builder, FeatureStoreBuilder::with_view)
}

async fn store(home: &tempfile::TempDir) -> FeatureStore {
    builder(home).with_on_demand_view(definition("1"), code).build().await.unwrap()
}

fn features() -> Vec<FeatureRef> {
    FEATURES.iter().map(|text| text.parse().unwrap()).collect()
}

/// Keys with request data, the event times of a spine in front when there are any.
fn entities(amounts: &[Option<f64>; 4], at: Option<i64>) -> RecordBatch {
    let time = at.map(|at| ("event_timestamp", times([Some(at); 4])));
    let amount: ArrayRef = Arc::new(amounts.iter().copied().collect::<Float64Array>());
    let name: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c", "d"]));
    let columns = [("k", ints([Some(0), Some(1), Some(7), None])), ("n", amount), ("name", name)];
    RecordBatch::try_from_iter(columns.into_iter().chain(time)).unwrap()
}

async fn check(rows: &[Row], at: i64, amounts: [Option<f64>; 4], pushed: bool) {
    let home = tempfile::tempdir().unwrap();
    let store = store(&home).await;
    let events = batch(rows);
    store.ingestor("events").unwrap().append("b", &events).await.unwrap();
    for view in ["v", "w"] {
        if pushed {
            store.writer().push(view, &events).await.unwrap();
        } else {
            store.materializer().run(view, Timestamp::from_micros(60)).await.unwrap();
        }
    }
    // The request's column `n` is in the way of the feature of that name in a batch, so it is asked for by a service of
    // the others, and read by the plan.
    let plan = store.reader().plan(&features()).unwrap();
    let asked = entities(&amounts, None);
    let served = store.reader().read(&plan, &asked, Timestamp::from_micros(at)).await.unwrap();
    let others: Vec<FeatureRef> = features().into_iter().filter(|feature| feature.feature() != "n").collect();
    let service = FeatureService::new("s", others.clone()).unwrap();
    let trained = store.offline().get_historical(&entities(&amounts, Some(at)), &service).await.unwrap().batch;
    for (place, feature) in features().iter().enumerate() {
        let column = &served.columns()[place];
        if let Some(trained) = trained.column_by_name(feature.feature()).filter(|_| others.contains(feature)) {
            assert_eq!(column.to_data(), trained.to_data(), "{feature}");
        }
        for row in 0..asked.num_rows() {
            let one = store.reader().read(&plan, &asked.slice(row, 1), Timestamp::from_micros(at)).await.unwrap();
            assert_eq!(one.columns()[place].to_data(), column.slice(row, 1).to_data(), "{feature} of row {row} alone");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn what_is_computed_online_is_what_is_computed_offline_bit_for_bit(
        rows in proptest::collection::vec(
            (0_i64..3, 0_i64..40, proptest::option::weighted(0.8, -1e6..1e6), proptest::option::of(-99_i64..99)), 0..40),
        at in 40_i64..55,
        amounts in proptest::array::uniform4(proptest::option::weighted(0.8, -1e3..1e3)),
        pushed in any::<bool>(),
    ) {
        let rows: Vec<Row> = rows.into_iter().zip(0..).map(|((k, t, x, n), id)| (Some(k), Some(t), id, x, n)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(&rows, at, amounts, pushed));
    }
}

#[tokio::test]
async fn many_rows_at_once_are_what_each_of_them_is_alone() {
    let home = tempfile::tempdir().unwrap();
    let store = store(&home).await;
    store.writer().push("v", &batch(&[row(1, 10, 5)])).await.unwrap();
    let rows = 1_000;
    let keys = ints((0..rows).map(Some));
    let amount: ArrayRef = Arc::new((0..rows).map(|row| Some(row as f64)).collect::<Float64Array>());
    let name: ArrayRef = Arc::new((0..rows).map(|row| Some(row.to_string())).collect::<StringArray>());
    let asked = RecordBatch::try_from_iter([("k", keys), ("n", amount), ("name", name)]).unwrap();
    let plan = store.reader().plan(&features()).unwrap();
    let now = Timestamp::from_micros(12);
    let all = store.reader().read(&plan, &asked, now).await.unwrap();
    for row in [0, 1, 999] {
        let one = store.reader().read(&plan, &asked.slice(row, 1), now).await.unwrap();
        for (one, all) in one.columns().iter().zip(all.columns()) {
            assert_eq!(one.to_data(), all.slice(row, 1).to_data());
        }
    }
    let (label, known) = (2, 4);
    assert_eq!(all.columns()[label].as_string::<i32>().value(1), "1/5");
    assert_eq!(all.status(label, 0), FeatureStatus::NullValue, "the code gave none");
    assert_eq!((all.status(known, 0), all.event_timestamp(known, 0)), (FeatureStatus::Present, None));
}

#[tokio::test]
async fn a_request_without_its_data_is_told_what_is_missing() {
    let home = tempfile::tempdir().unwrap();
    let store = store(&home).await;
    let (asked, now) = (entities(&[Some(1.0); 4], None), Timestamp::from_micros(1));
    let ratio = ["od:ratio".parse().unwrap()];
    let fails = async |columns: &[usize]| {
        let error = store.get_online(&ratio, &asked.project(columns).unwrap(), now).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        error.message().to_owned()
    };
    let message = fails(&[0]).await;
    assert!(message.contains("\"od\"") && message.contains("\"n\"") && message.contains("\"name\""), "{message}");
    assert!(!fails(&[0, 1]).await.contains("\"n\""));
    let spine = entities(&[Some(1.0); 4], Some(5));
    let service = FeatureService::new("s", ratio.clone()).unwrap();
    let lacking = store.offline().get_historical(&spine.project(&[0, 2, 3]).unwrap(), &service).await.unwrap_err();
    assert!(lacking.kind() == ErrorKind::InvalidArgument && lacking.message().contains("\"n\" (Float64) is missing"));
    let wrong = RecordBatch::try_from_iter([("k", ints([Some(1)])), ("n", ints([Some(1)])), ("name", ints([None]))]);
    let error = store.get_online(&ratio, &wrong.unwrap(), now).await.unwrap_err();
    assert!(error.message().contains("\"n\" must be Float64; it is Int64"), "{error}");
    let unknown = store.get_online(&["od:no".parse().unwrap()], &asked, now).await.unwrap_err();
    assert!(unknown.kind() == ErrorKind::NotFound && unknown.message().contains("ratio, label, known"), "{unknown}");
}

#[tokio::test]
async fn code_that_breaks_its_word_fails_the_read_and_nothing_else() {
    type Code = fn(&RecordBatch) -> Result<Vec<ArrayRef>>;
    let cases: [(Code, ErrorKind, &str); 5] = [
        (|_| Ok(Vec::new()), ErrorKind::Internal, "gave 0 columns"),
        (|_| Ok(vec![ints([Some(1)])]), ErrorKind::Internal, "\"y\" as Int64"),
        (|_| Ok(vec![Arc::new(Float64Array::from(vec![1.0; 9]))]), ErrorKind::Internal, "9 values"),
        (|_| panic!("a bug"), ErrorKind::Internal, "panicked"),
        (|_| Err(Error::invalid_argument("not today")), ErrorKind::InvalidArgument, "not today"),
    ];
    for (code, kind, message) in cases {
        let home = tempfile::tempdir().unwrap();
        let view = OnDemandView::builder("od", "1").with_input("v:x".parse().unwrap());
        let view = view.with_output("y", DataType::Float64).build().unwrap();
        let store = builder(&home).with_on_demand_view(view, code).build().await.unwrap();
        let (asked, now) = (entities(&[None; 4], None), Timestamp::from_micros(1));
        let error = store.get_online(&["od:y".parse().unwrap()], &asked, now).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.message().contains("\"od\"") && error.message().contains(message), "{error}");
        assert!(store.get_online(&["v:x".parse().unwrap()], &asked, now).await.is_ok());
    }
}

#[tokio::test]
async fn it_is_planned_applied_and_versioned_like_every_definition() {
    let home = tempfile::tempdir().unwrap();
    let service = || FeatureService::new("s", ["od:known".parse().unwrap()]).unwrap();
    let with = |version: &str| builder(&home).with_on_demand_view(definition(version), code).with_service(service());
    let plan = with("1").plan().await.unwrap();
    assert!(plan.to_string().contains("on-demand view \"od\"\n  + is added: 3 features by code \"1\"\n"), "{plan}");
    with("1").apply(&plan, Permission::Safe).await.unwrap();
    assert!(with("1").plan().await.unwrap().is_empty());
    let plan = with("2").plan().await.unwrap();
    let said =
        "on-demand view \"od\"\n  ! code: 1 -> 2; values change\n  + v1 becomes v2; v1 stays readable by its number\n";
    assert!(plan.to_string().contains(said), "{plan}");
    assert!(with("2").apply(&plan, Permission::Safe).await.unwrap_err().message().contains("on-demand view \"od\""));
    let store = with("2").apply(&plan, Permission::Destructive).await.unwrap();
    let (asked, now) = (entities(&[Some(1.0); 4], None), Timestamp::from_micros(1));
    let ask = async |store: &FeatureStore, feature: &str| {
        store.get_online(&[feature.parse().unwrap()], &asked, now).await.map(|_| ()).map_err(|error| error.kind())
    };
    assert_eq!(ask(&store, "od@v2:known").await, Ok(()));
    assert_eq!(ask(&store, "od@v1:known").await, Err(ErrorKind::FailedPrecondition), "the code of v1 is not here");
    assert_eq!(ask(&store, "od@v3:known").await, Err(ErrorKind::NotFound));
    let without = builder(&home).build().await.unwrap();
    assert_eq!(without.on_demand_view("od").unwrap().code_version(), "2");
    assert_eq!(ask(&without, "od:known").await, Err(ErrorKind::FailedPrecondition));
    let old = with("1").build().await.unwrap();
    assert_eq!(ask(&old, "od@v1:known").await, Ok(()), "a program of the older release asks for its own");
    let removed = builder(&home).plan().await.unwrap();
    assert!(removed.to_string().contains("on-demand view \"od\"\n  ! is removed\n"), "{removed}");
    // `od@v1` means one view, whatever its kind, also when it was removed.
    let shadow = FeatureView::builder("od", Entity::new("e", ["k"]).unwrap(), "events").with_event_id("id");
    let shadow = shadow.with_column("x").build().unwrap();
    let error = builder(&home).with_view(shadow.clone()).build().await.unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains("\"od\""), "{error}");
    builder(&home).apply(&removed, Permission::Destructive).await.unwrap();
    let error = builder(&home).with_view(shadow).plan().await.unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains("an on-demand view"), "{error}");
}

#[tokio::test]
async fn a_definition_that_cannot_be_computed_is_refused_with_every_fault() {
    let home = tempfile::tempdir().unwrap();
    let view = OnDemandView::builder("od", "1")
        .with_input("v:no".parse().unwrap())
        .with_input("nowhere:x".parse().unwrap())
        .with_output("y", DataType::Duration(TimeUnit::Second));
    let store = builder(&home).with_on_demand_view(view.build().unwrap(), code).build().await;
    let error = store.unwrap_err();
    for part in ["\"no\"", "nowhere:x", "Duration"] {
        assert!(error.message().contains(part), "{error}");
    }
    let twice = OnDemandView::builder("v", "1").with_request("a", DataType::Int64).with_output("y", DataType::Int64);
    let error = builder(&home).with_on_demand_view(twice.build().unwrap(), code).build().await.unwrap_err();
    assert!(error.message().contains("\"v\""), "{error}");
}
