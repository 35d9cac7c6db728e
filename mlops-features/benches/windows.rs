//! What windows cost in process, read, written and for a training set: `cargo bench -p mlops-features --bench windows`.
//!
//! One entity with so many events in the last 7 days, evenly spread, windows of an hour and of 7 days. `moments` are sum,
//! mean, standard deviation, greatest value and count, for which a tile keeps some numbers; `values` are the median and
//! the number of different values, all of them different, for which it keeps its values in order.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark fails by panicking")]

use std::{sync::Arc, time::Duration};

use divan::{Bencher, counter::ItemsCount};
use mlops_core::{
    FeatureRef, Timestamp,
    arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray},
    arrow_schema::SchemaRef,
    testing::SplitMix64,
};
use mlops_features::{
    Aggregation, ComputeEngine, Entity, FeatureStore, FeatureStoreSettings, FeatureView, Function, LocalEngine,
    MemoryOnlineStore, Quantile, ReadPlan, WindowJoin,
};
use tokio::runtime::Runtime;

const DAY: Duration = Duration::from_hours(24);
const WEEK: Duration = DAY.saturating_mul(7);
/// When the last event happened.
const NOW: i64 = 2_000_000_000_000_000;
const EVENTS: [usize; 3] = [100, 1_000, 10_000];

fn main() {
    divan::main();
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Moments,
    Values,
}

const KINDS: [Kind; 2] = [Kind::Moments, Kind::Values];

fn view(kind: Kind) -> FeatureView {
    use Function as F;
    let functions = match kind {
        Kind::Moments => vec![F::Sum, F::Mean, F::Std, F::Max, F::Count],
        Kind::Values => vec![F::ApproxQuantile(Quantile::new(0.5).unwrap()), F::ApproxDistinct],
    };
    let mut view = FeatureView::builder("v", Entity::new("e", ["k"]).unwrap(), "events");
    for function in functions {
        for window in [Duration::from_hours(1), WEEK] {
            let name = format!("{function}_{}", window.as_secs());
            view = view.with_aggregation(Aggregation::new(name, function, "x", window));
        }
    }
    view.build().unwrap()
}

/// `count` events of each of `entities` in the week before now.
fn events(entities: i64, count: usize) -> RecordBatch {
    let step = WEEK.as_micros() as i64 / count as i64;
    let rows = || (0..count as i64).flat_map(|at| (0..entities).map(move |entity| (entity, NOW - at * step)));
    let times = TimestampMicrosecondArray::from_iter_values(rows().map(|(_, time)| time)).with_timezone("UTC");
    let values = Float64Array::from(SplitMix64::new(1).bell(rows().count()));
    RecordBatch::try_from_iter_with_nullable([
        ("k", Arc::new(rows().map(|(entity, _)| Some(entity)).collect::<Int64Array>()) as ArrayRef, true),
        ("event_timestamp", Arc::new(times) as ArrayRef, true),
        ("x", Arc::new(values) as ArrayRef, true),
    ])
    .unwrap()
}

fn schema() -> SchemaRef {
    events(0, 1).schema()
}

struct World {
    runtime: Runtime,
    store: FeatureStore,
    plan: ReadPlan,
    _home: tempfile::TempDir,
}

fn world(kind: Kind, count: usize) -> World {
    let runtime = Runtime::new().unwrap();
    let home = tempfile::tempdir().unwrap();
    let settings = FeatureStoreSettings { events_per_key_max: 20_000, ..FeatureStoreSettings::default() };
    let view = view(kind);
    let features: Vec<FeatureRef> = view.feature_names().map(|name| FeatureRef::new("v", name).unwrap()).collect();
    let builder = FeatureStore::builder(home.path().display().to_string())
        .with_settings(settings)
        .with_table("events", schema())
        .with_view(view)
        .with_online(Arc::new(MemoryOnlineStore::default()));
    let store = runtime.block_on(builder.build()).unwrap();
    runtime.block_on(store.writer().push("v", &events(1, count))).unwrap();
    let plan = store.reader().plan(&features).unwrap();
    World { runtime, store, plan, _home: home }
}

fn read(bencher: Bencher<'_, '_>, kind: Kind, count: usize) {
    let world = world(kind, count);
    let entities = RecordBatch::try_from_iter([("k", Arc::new(Int64Array::from(vec![0])) as ArrayRef)]).unwrap();
    let reader = world.store.reader();
    let now = Timestamp::from_micros(NOW);
    bencher.bench_local(|| world.runtime.block_on(reader.read(&world.plan, &entities, now)).unwrap());
}

/// All windows of one entity.
#[divan::bench(args = EVENTS)]
fn read_moments(bencher: Bencher<'_, '_>, count: usize) {
    read(bencher, Kind::Moments, count);
}

#[divan::bench(args = EVENTS)]
fn read_values(bencher: Bencher<'_, '_>, count: usize) {
    read(bencher, Kind::Values, count);
}

/// The next event of an entity that has so many.
#[divan::bench(args = EVENTS, sample_count = 200, sample_size = 1)]
fn push_one(bencher: Bencher<'_, '_>, count: usize) {
    let world = world(Kind::Moments, count);
    let mut next = 0;
    let event = || {
        next += 1;
        let at = Arc::new(TimestampMicrosecondArray::from(vec![NOW + next]).with_timezone("UTC")) as ArrayRef;
        let columns = events(1, 1).columns().to_vec();
        RecordBatch::try_new(schema(), vec![Arc::clone(&columns[0]), at, Arc::clone(&columns[2])]).unwrap()
    };
    bencher
        .with_inputs(event)
        .bench_local_values(|event| world.runtime.block_on(world.store.writer().push("v", &event)).unwrap());
}

/// A spine of 100 rows for each of 20 entities, over the last day.
#[divan::bench(args = EVENTS, consts = [0, 1], sample_count = 10, sample_size = 1)]
fn training_set<const KIND: usize>(bencher: Bencher<'_, '_>, count: usize) {
    const ENTITIES: i64 = 20;
    let rows = || (0..100_i64).flat_map(|at| (0..ENTITIES).map(move |entity| (entity, NOW - at * 864_000_000)));
    let times = TimestampMicrosecondArray::from_iter_values(rows().map(|(_, time)| time)).with_timezone("UTC");
    let spine = RecordBatch::try_from_iter_with_nullable([
        ("k", Arc::new(rows().map(|(entity, _)| Some(entity)).collect::<Int64Array>()) as ArrayRef, true),
        ("event_timestamp", Arc::new(times) as ArrayRef, true),
    ])
    .unwrap();
    let events = events(ENTITIES, count);
    let join = WindowJoin::new(spine, view(KINDS[KIND]), events.schema(), vec![events]).unwrap();
    let runtime = Runtime::new().unwrap();
    bencher
        .counter(ItemsCount::new(100 * ENTITIES as usize))
        .bench_local(|| runtime.block_on(LocalEngine.windows(&join)).unwrap());
}
