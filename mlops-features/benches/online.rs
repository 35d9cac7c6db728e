//! What serving and writing features in process costs: `cargo bench -p mlops-features --bench online`.
//!
//! 15 features of 3 views (per view 3 doubles, an integer and a text) over 20,000 entities, as in
//! `../shared/baselines/features_gen.py`. Before the benchmarks it prints percentiles of single reads.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark fails by panicking")]

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use divan::{Bencher, counter::ItemsCount};
use mlops_core::{
    Clock, FeatureReader, FeatureRef, SystemClock, Timestamp,
    arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit},
    testing::SplitMix64,
};
use mlops_features::{
    Durability, Entity, FeatureStore, FeatureStoreSettings, FeatureView, MemoryOnlineStore, OnlineStore,
    online::RedbSettings,
};
use tokio::runtime::Runtime;

const ENTITIES: i64 = 20_000;
const VIEWS: [&str; 3] = ["fv1", "fv2", "fv3"];
const FEATURES: [&str; 5] = ["a", "b", "c", "d", "e"];
const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);
const STORES: [&str; 2] = ["memory", "redb"];

fn main() {
    for name in STORES {
        for entities in [1, 100] {
            print_percentiles(name, entities);
        }
    }
    divan::main();
}

/// A store in a temporary directory with its runtime.
struct World {
    runtime: Runtime,
    store: FeatureStore,
    _home: tempfile::TempDir,
}

static MEMORY: LazyLock<World> = LazyLock::new(|| filled(Some(Arc::new(MemoryOnlineStore::default()))));
static REDB: LazyLock<World> = LazyLock::new(|| filled(None));

fn world(name: &str) -> &'static World {
    if name == "memory" { &MEMORY } else { &REDB }
}

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields = vec![Field::new("entity", DataType::Int64, true), Field::new("event_timestamp", time, true)];
    let types = [DataType::Float64, DataType::Float64, DataType::Float64, DataType::Int64, DataType::Utf8];
    fields.extend(FEATURES.iter().zip(types).map(|(name, data_type)| Field::new(*name, data_type, true)));
    Arc::new(Schema::new(fields))
}

/// One row for each of `keys`, at `time`.
fn rows(keys: &[i64], time: i64, seed: u64) -> RecordBatch {
    let doubles = |column| Arc::new(Float64Array::from(SplitMix64::new(seed + column).bell(keys.len()))) as ArrayRef;
    let times = TimestampMicrosecondArray::from(vec![time; keys.len()]).with_timezone("UTC");
    let texts = StringArray::from_iter_values(keys.iter().map(|key| format!("category-{}", key % 50)));
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(keys.to_vec())), Arc::new(times)];
    columns.extend([doubles(0), doubles(1), doubles(2)]);
    columns.extend([Arc::new(Int64Array::from(keys.to_vec())) as ArrayRef, Arc::new(texts)]);
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn opened(online: Option<Arc<dyn OnlineStore>>, durability: Durability) -> World {
    let runtime = Runtime::new().unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut builder = FeatureStore::builder(home.path().display().to_string()).with_settings(FeatureStoreSettings {
        online: RedbSettings { durability, ..RedbSettings::default() },
        ..FeatureStoreSettings::default()
    });
    for name in VIEWS {
        let view = FeatureView::builder(name, Entity::new("entity", ["entity"]).unwrap(), name);
        let view = FEATURES.iter().fold(view, |view, feature| view.with_column(feature));
        builder = builder.with_table(name, schema()).with_view(view.build().unwrap());
    }
    if let Some(online) = online {
        builder = builder.with_online(online);
    }
    let store = runtime.block_on(builder.build()).unwrap();
    World { runtime, store, _home: home }
}

fn filled(online: Option<Arc<dyn OnlineStore>>) -> World {
    let world = opened(online, Durability::PerWrite);
    let keys: Vec<i64> = (0..ENTITIES).collect();
    for (seed, view) in (0..).zip(VIEWS) {
        world.runtime.block_on(world.store.writer().push(view, &rows(&keys, 1, seed))).unwrap();
    }
    world
}

fn features() -> Vec<FeatureRef> {
    VIEWS.iter().flat_map(|view| FEATURES.map(|name| format!("{view}:{name}").parse().unwrap())).collect()
}

/// Entity rows drawn from all entities.
fn entities(count: usize, seed: u64) -> RecordBatch {
    let random = SplitMix64::new(seed);
    let keys: Int64Array = (0..count as u64).map(|at| Some((random.uniform(at) * ENTITIES as f64) as i64)).collect();
    RecordBatch::try_from_iter([("entity", Arc::new(keys) as ArrayRef)]).unwrap()
}

/// Percentiles of single calls with a compiled plan, every call another question.
fn print_percentiles(name: &str, count: usize) {
    const CALLS: usize = 20_000;
    let (world, clock) = (world(name), SystemClock::new());
    let reader = world.store.reader();
    let plan = reader.plan(&features()).unwrap();
    let calls = CALLS / count.min(20);
    let mut times: Vec<Duration> = world.runtime.block_on(async {
        let mut times = Vec::with_capacity(calls);
        for call in 0..calls {
            let entities = entities(count, call as u64);
            let start = clock.monotonic();
            let found = reader.read(&plan, &entities, NOW).await.unwrap();
            times.push(clock.monotonic() - start);
            assert_eq!(found.columns()[14].null_count(), 0);
        }
        times
    });
    times.sort_unstable();
    let at = |share: f64| times[(share * (calls - 1) as f64) as usize];
    println!("{name:>6} {count:>3} entities x 15 features: p50 {:?} p99 {:?} p99.9 {:?}", at(0.5), at(0.99), at(0.999));
}

/// A compiled service: what a server does.
#[divan::bench(args = STORES, consts = [1, 100])]
fn planned<const N: usize>(bencher: Bencher<'_, '_>, name: &str) {
    let world = world(name);
    let reader = world.store.reader();
    let plan = reader.plan(&features()).unwrap();
    let entities = entities(N, 7);
    bencher
        .counter(ItemsCount::new(N))
        .bench_local(|| world.runtime.block_on(reader.read(&plan, &entities, NOW)).unwrap());
}

/// The port of the core, which compiles the question at each call and names the columns of the answer, so features of
/// one view only.
#[divan::bench(args = STORES, consts = [1, 100])]
fn by_name<const N: usize>(bencher: Bencher<'_, '_>, name: &str) {
    let world = world(name);
    let (mut features, entities) = (features(), entities(N, 7));
    features.truncate(FEATURES.len());
    bencher
        .counter(ItemsCount::new(N))
        .bench_local(|| world.runtime.block_on(world.store.get_online(&features, &entities, NOW)).unwrap());
}

/// 100,000 rows of new entities in one durable write, keys in random order.
#[divan::bench(args = STORES, sample_count = 5, sample_size = 1)]
fn write_100_000(bencher: Bencher<'_, '_>, name: &str) {
    let random = SplitMix64::new(3);
    let keys: Vec<i64> = (0..100_000).map(|at| (random.uniform(at) * 1e15) as i64).collect();
    let batch = rows(&keys, 1, 5);
    let fresh = || {
        let memory: Arc<dyn OnlineStore> = Arc::new(MemoryOnlineStore::default());
        opened((name == "memory").then_some(memory), Durability::PerWrite)
    };
    bencher
        .counter(ItemsCount::new(keys.len()))
        .with_inputs(fresh)
        .bench_local_refs(|world| world.runtime.block_on(world.store.writer().push("fv1", &batch)).unwrap());
}

/// The next event of 100,000 entities that are there.
#[divan::bench(args = STORES, sample_count = 5, sample_size = 1)]
fn overwrite_100_000(bencher: Bencher<'_, '_>, name: &str) {
    let keys: Vec<i64> = (0..100_000).collect();
    let (first, second) = (rows(&keys, 1, 5), rows(&keys, 2, 6));
    let fresh = || {
        let memory: Arc<dyn OnlineStore> = Arc::new(MemoryOnlineStore::default());
        let world = opened((name == "memory").then_some(memory), Durability::PerWrite);
        world.runtime.block_on(world.store.writer().push("fv1", &first)).unwrap();
        world
    };
    bencher
        .counter(ItemsCount::new(keys.len()))
        .with_inputs(fresh)
        .bench_local_refs(|world| world.runtime.block_on(world.store.writer().push("fv1", &second)).unwrap());
}
