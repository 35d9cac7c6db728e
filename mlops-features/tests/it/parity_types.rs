//! What is served is what would be trained on, for values that are easily lost: every type, NaN with a payload, minus
//! zero, infinities, integers beyond 2^53, composite keys, ties that creation times break, events that are taken back,
//! and what code on demand makes of all that.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mlops_core::{
    Error, FeatureRef, Result, Timestamp,
    arrow_array::{
        Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int8Array, Int16Array,
        Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray,
        builder::{Float32Builder, ListBuilder},
        cast::AsArray,
        types::Float64Type,
    },
    arrow_schema::DataType,
};
use mlops_features::{
    Aggregation, Entity, FeatureService, FeatureStore, FeatureStoreSettings, FeatureView, Function, MemoryOnlineStore,
    OfflineStore, OnDemandView, Quantile,
};
use proptest::prelude::*;

use crate::data::{clock, ints, times};

/// Both keys, event time, creation time, and a number that the cells are made of.
#[derive(Debug, Clone)]
struct Event {
    k: Option<i64>,
    j: Option<&'static str>,
    time: i64,
    created: Option<i64>,
    seed: u64,
    /// Which event it takes back, by place, if it does.
    undoes: Option<usize>,
}

const KEYS: [&str; 4] = ["", "1", "12", "\u{e9}\0"];

fn events() -> impl Strategy<Value = Vec<Event>> {
    let k = proptest::option::weighted(0.95, prop_oneof![Just(1), Just(11), Just(i64::MIN)]);
    let j = proptest::option::weighted(0.95, proptest::sample::select(KEYS.as_slice()));
    let created = proptest::option::weighted(0.8, 0_i64..12);
    let undoes = proptest::option::weighted(0.2, 0_usize..40);
    let event = (k, j, 0_i64..30, created, any::<u64>(), undoes);
    let event = event.prop_map(|(k, j, time, created, seed, undoes)| Event { k, j, time, created, seed, undoes });
    proptest::collection::vec(event, 0..40).prop_map(|mut events| {
        for place in 0..events.len() {
            let target = events[place].undoes.filter(|of| *of < events.len() && *of != place);
            let target = target.filter(|of| events[*of].undoes.is_none());
            if let Some(of) = target {
                let Event { k, j, time, .. } = events[of];
                events[place] = Event { k, j, time, ..events[place] };
            }
            events[place].undoes = target;
        }
        events
    })
}

fn float(seed: u64) -> f64 {
    let odd =
        [f64::NAN, f64::from_bits(0x7ff8_0000_0000_0001), -0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY, 1e-310, 1e308];
    match seed % 16 {
        at @ 0..8 => odd[at as usize],
        _ => (seed >> 20) as f64 / 7.0 - 1e12,
    }
}

fn batch(events: &[Event], first: usize) -> RecordBatch {
    let cell =
        |shift: u32| events.iter().map(move |event| (event.seed >> shift, event.seed.rotate_left(shift) % 7 != 0));
    let some = move |shift| cell(shift).map(|(seed, is_there)| is_there.then_some(seed));
    let mut lists = ListBuilder::new(Float32Builder::new());
    for seed in some(11) {
        let items = seed.map(|seed| (0..seed % 4).map(move |at| (at != 2).then(|| float(seed >> at) as f32)));
        lists.append_option(items);
    }
    // Not beyond what sums of forty hold.
    let big = |seed: u64| [1 << 57, -(1 << 57), (1 << 53) + 1, 0, 7][seed as usize % 5];
    let place = |(number, event): (usize, &Event)| Some(event.undoes.unwrap_or(first + number) as i64);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("k", ints(events.iter().map(|event| event.k))),
        ("j", Arc::new(events.iter().map(|event| event.j).collect::<StringArray>())),
        ("event_timestamp", times(events.iter().map(|event| Some(event.time)))),
        ("created", times(events.iter().map(|event| event.created))),
        ("id", ints((0..events.len()).map(|number| Some((first + number) as i64)))),
        ("event", ints(events.iter().enumerate().map(place))),
        ("undo", Arc::new(events.iter().map(|event| Some(event.undoes.is_some())).collect::<BooleanArray>())),
        ("double", Arc::new(some(1).map(|seed| seed.map(float)).collect::<Float64Array>())),
        ("single", Arc::new(some(2).map(|seed| seed.map(|seed| float(seed) as f32)).collect::<Float32Array>())),
        ("big", ints(some(3).map(|seed| seed.map(big)))),
        ("int", Arc::new(some(4).map(|seed| seed.map(|seed| seed as i32)).collect::<Int32Array>())),
        ("short", Arc::new(some(5).map(|seed| seed.map(|seed| seed as i16)).collect::<Int16Array>())),
        ("tiny", Arc::new(some(6).map(|seed| seed.map(|seed| seed as i8)).collect::<Int8Array>())),
        ("flag", Arc::new(some(7).map(|seed| seed.map(|seed| seed % 2 == 0)).collect::<BooleanArray>())),
        (
            "text",
            Arc::new(some(8).map(|seed| seed.map(|seed| format!("{}'\u{1f600}", seed % 9))).collect::<StringArray>()),
        ),
        ("bytes", Arc::new(some(9).map(|seed| seed.map(u64::to_le_bytes)).collect::<BinaryArray>())),
        ("day", Arc::new(some(10).map(|seed| seed.map(|seed| seed as i32 % 99_999)).collect::<Date32Array>())),
        (
            "naive",
            Arc::new(some(12).map(|seed| seed.map(|seed| (seed >> 16) as i64)).collect::<TimestampMicrosecondArray>()),
        ),
        ("list", Arc::new(lists.finish())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn builder(name: &str) -> mlops_features::FeatureViewBuilder {
    FeatureView::builder(name, Entity::new("e", ["k", "j"]).unwrap(), "events").with_created("created")
}

const COLUMNS: [&str; 12] =
    ["double", "single", "big", "int", "short", "tiny", "flag", "text", "day", "naive", "bytes", "list"];

fn latest(ttl: u64) -> FeatureView {
    let view = builder("latest").with_ttl(Duration::from_micros(ttl));
    COLUMNS.iter().fold(view, |view, name| view.with_column(name)).build().unwrap()
}

fn windows(name: &str, id: &str) -> mlops_features::FeatureViewBuilder {
    use Function as F;
    let median = F::ApproxQuantile(Quantile::new(0.5).unwrap());
    let numbers = [F::Sum, F::Mean, F::Std, F::Var, median]
        .map(|function| (function, ["double", "single", "big", "tiny"].as_slice()));
    let ordered = [F::Min, F::Max].map(|function| (function, ["double", "single", "big", "day", "naive"].as_slice()));
    let any = [F::Count, F::Last, F::First, F::ApproxDistinct].map(|function| (function, &COLUMNS[..10]));
    let lists = [(F::LastN(3), ["double", "text", "flag", "naive"].as_slice())];
    let all = numbers.into_iter().chain(ordered).chain(any).chain(lists);
    let view = builder(name).with_event_id(id);
    all.flat_map(|(function, columns)| columns.iter().map(move |column| (function, *column))).fold(
        view,
        |view, (function, column)| {
            let width = Duration::from_micros(3 + column.len() as u64 * 2);
            view.with_aggregation(Aggregation::new(format!("{name}_{function}_{column}"), function, column, width))
        },
    )
}

fn on_demand() -> OnDemandView {
    OnDemandView::builder("demand", "1")
        .with_input("latest:double".parse().unwrap())
        .with_input("windows:windows_sum_double".parse().unwrap())
        .with_request("amount", DataType::Float64)
        .with_output("ratio", DataType::Float64)
        .build()
        .unwrap()
}

fn ratio(inputs: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let column = |at: usize| inputs.columns().get(at).ok_or_else(|| Error::internal("a column is missing"));
    let (double, sum, amount) = (column(0)?, column(1)?, column(2)?);
    let of = |column: &ArrayRef, row: usize| {
        let column = column.as_primitive::<Float64Type>();
        column.is_valid(row).then(|| column.value(row))
    };
    let ratio = |row| Some(of(double, row).unwrap_or(-0.0) * of(amount, row)? / of(sum, row)?);
    Ok(vec![Arc::new((0..inputs.num_rows()).map(ratio).collect::<Float64Array>())])
}

/// Every pair of keys, strangers and nulls among them.
fn asked(at: Option<i64>) -> RecordBatch {
    let ks = [Some(1), Some(11), Some(i64::MIN), Some(2), None];
    let js = KEYS.iter().copied().map(Some).chain([Some("112"), None]);
    let pairs: Vec<_> = ks.into_iter().flat_map(|k| js.clone().map(move |j| (k, j))).collect();
    let amounts: Float64Array = (0..pairs.len()).map(|row| (row % 5 != 0).then(|| float(row as u64))).collect();
    let columns: [(&str, ArrayRef); 3] = [
        ("k", ints(pairs.iter().map(|pair| pair.0))),
        ("j", Arc::new(pairs.iter().map(|pair| pair.1).collect::<StringArray>())),
        ("amount", Arc::new(amounts)),
    ];
    let time = at.map(|at| ("event_timestamp", times(pairs.iter().map(|_| Some(at)))));
    RecordBatch::try_from_iter(columns.into_iter().chain(time)).unwrap()
}

async fn check(events: &[Event], cut: usize, ttl: u64, at: i64, pushed: bool, step: i64) {
    let home = tempfile::tempdir().unwrap();
    let batches: Vec<RecordBatch> =
        events.chunks(cut).enumerate().map(|(number, events)| batch(events, number * cut)).collect();
    let undone = windows("undone", "event").with_retraction("undo").build().unwrap();
    let views = [latest(ttl), windows("windows", "id").build().unwrap(), undone];
    let mut features: Vec<FeatureRef> = vec!["demand:ratio".parse().unwrap()];
    for view in &views {
        features.extend(view.feature_names().map(|name| FeatureRef::new(view.name(), name).unwrap()));
    }
    let settings = FeatureStoreSettings { materialize_rows_per_write: 5, ..FeatureStoreSettings::default() };
    let builder = FeatureStore::builder(home.path().to_str().unwrap())
        .with_clock(clock())
        .with_settings(settings)
        .with_online(Arc::new(MemoryOnlineStore::default()))
        .with_table("events", batch(&[], 0).schema())
        .with_on_demand_view(on_demand(), ratio);
    let store = views.iter().cloned().fold(builder, mlops_features::FeatureStoreBuilder::with_view);
    let store = store.build().await.unwrap();
    for (number, rows) in batches.iter().enumerate() {
        store.ingestor("events").unwrap().append(&format!("b{number}"), rows).await.unwrap();
    }
    for view in views.iter().map(FeatureView::name) {
        if pushed {
            for rows in &batches {
                store.writer().push(view, rows).await.unwrap();
                store.writer().push(view, rows).await.unwrap();
            }
        } else {
            store.materializer().run(view, Timestamp::from_micros(step)).await.unwrap();
            store.materializer().run(view, Timestamp::from_micros(30)).await.unwrap();
        }
    }
    let plan = store.reader().plan(&features).unwrap();
    let served = store.reader().read(&plan, &asked(None), Timestamp::from_micros(at)).await.unwrap();
    let service = FeatureService::new("s", features.clone()).unwrap();
    let trained = store.offline().get_historical(&asked(Some(at)), &service).await.unwrap().batch;
    let by_name: BTreeMap<&str, &ArrayRef> =
        trained.schema_ref().fields().iter().map(|field| field.name().as_str()).zip(trained.columns()).collect();
    for (feature, column) in features.iter().zip(served.columns()) {
        assert_eq!(column.to_data(), by_name[feature.feature()].to_data(), "{feature}, pushed {pushed}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn every_type_is_served_as_it_is_trained_on(
        events in events(), cut in 1_usize..20, ttl in 0_u64..20, at in 29_i64..50, pushed in any::<bool>(), step in 0_i64..30,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(&events, cut, ttl, at, pushed, step));
    }
}
