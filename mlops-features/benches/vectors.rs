//! What a search among vectors costs, exactly and by a graph: `cargo bench -p mlops-features --bench vectors`.
//!
//! 64 numbers a vector around 200 centres, 10 neighbours by cosine. Before the benchmarks it prints what the graph finds
//! of the nearest, and what building took, then the same once two of three vectors were replaced by others.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::sync::{Arc, LazyLock};

use divan::Bencher;
use mlops_core::{
    Clock, FeatureRef, SystemClock, Timestamp,
    arrow_array::{
        ArrayRef, Int64Array, ListArray, RecordBatch, TimestampMicrosecondArray, cast::AsArray, types::Float32Type,
        types::Int64Type,
    },
    arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit},
    testing::SplitMix64,
};
use mlops_features::{
    Entity, FeatureStore, FeatureView, HnswSettings, MemoryOnlineStore, Metric, VectorIndex, VectorQuery, VectorSearch,
};
use tokio::runtime::Runtime;

const LENGTH: u64 = 64;
const CENTRES: u64 = 200;
const NEIGHBOURS: usize = 10;
const QUESTIONS: u64 = 200;
const COUNTS: [u64; 2] = [20_000, 100_000];
const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

fn main() {
    for count in COUNTS {
        print_recall(count);
    }
    divan::main();
}

fn vector(number: u64) -> Vec<Option<f32>> {
    let (noise, centres) = (SplitMix64::new(1), SplitMix64::new(2));
    let part = |part| {
        let centre = centres.uniform(number % CENTRES * LENGTH + part) - 0.5;
        Some((centre + 0.3 * (noise.uniform(number * LENGTH + part) - 0.5)) as f32)
    };
    (0..LENGTH).map(part).collect()
}

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Float32, true)));
    let fields = [("entity", DataType::Int64), ("event_timestamp", time), ("embedding", list)];
    Arc::new(Schema::new(fields.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec()))
}

/// For each of `entities` a row of `time`, its vector is another one for each time.
fn rows(entities: &[u64], time: u64) -> RecordBatch {
    let keys = Int64Array::from_iter_values(entities.iter().map(|entity| *entity as i64));
    let times = TimestampMicrosecondArray::from_iter_values(entities.iter().map(|_| time as i64)).with_timezone("UTC");
    let vectors = entities.iter().map(|entity| Some(vector(entity + 1_000_000 * time)));
    let vectors = ListArray::from_iter_primitive::<Float32Type, _, _>(vectors);
    let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(times), Arc::new(vectors)];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn built(search: VectorSearch, count: u64) -> VectorIndex {
    let home = tempfile::tempdir().unwrap();
    let view = FeatureView::builder("items", Entity::new("item", ["entity"]).unwrap(), "items");
    let view = view.with_column("embedding").with_vector_search(search).build().unwrap();
    let store = FeatureStore::builder(home.path().display().to_string())
        .with_online(Arc::new(MemoryOnlineStore::default()))
        .with_table("items", schema())
        .with_view(view);
    let feature: FeatureRef = "items:embedding".parse().unwrap();
    let index = RUNTIME.block_on(async {
        let store = store.build().await.unwrap();
        store.vector_index(&feature, mlops_features::Scan::latest()).await.unwrap()
    });
    write(&index, 0..count, 1);
    index
}

fn write(index: &VectorIndex, entities: impl Iterator<Item = u64>, time: u64) {
    let entities: Vec<u64> = entities.collect();
    for entities in entities.chunks(10_000) {
        index.push(&rows(entities, time)).unwrap();
    }
}

fn hnsw() -> VectorSearch {
    VectorSearch::Hnsw(HnswSettings::default())
}

static EXACT: LazyLock<[VectorIndex; 2]> = LazyLock::new(|| COUNTS.map(|count| built(VectorSearch::Exact, count)));
static GRAPH: LazyLock<[VectorIndex; 2]> = LazyLock::new(|| COUNTS.map(|count| built(hnsw(), count)));

/// The index of `count` vectors.
fn of(indexes: &'static [VectorIndex; 2], count: u64) -> &'static VectorIndex {
    indexes.iter().find(|index| index.len() as u64 == count).unwrap()
}

/// Question `number`, near to vectors that are there and none of them.
fn question(number: u64) -> VectorQuery {
    let one = ListArray::from_iter_primitive::<Float32Type, _, _>([Some(vector(10_000_000 + number))]);
    VectorQuery::new(&one, NEIGHBOURS, Metric::Cosine).unwrap()
}

fn found(index: &VectorIndex, question: &VectorQuery) -> Vec<i64> {
    let answer = RUNTIME.block_on(index.search(question, NOW)).unwrap();
    answer.column_by_name("entity").unwrap().as_primitive::<Int64Type>().values().to_vec()
}

fn print_recall(count: u64) {
    let clock = SystemClock::new();
    let timed = |work: &dyn Fn()| {
        let start = clock.monotonic();
        work();
        clock.monotonic() - start
    };
    let (exact, graph) = (built(VectorSearch::Exact, 0), built(hnsw(), 0));
    let (all, some) = (|| 0..count, || (0..count).filter(|entity| entity % 3 > 0));
    write(&exact, all(), 1);
    let took = timed(&|| write(&graph, all(), 1));
    println!("{count} vectors: graph built in {took:?}, finds {:.4} of the nearest", recall(&exact, &graph));
    write(&exact, some(), 2);
    let took = timed(&|| write(&graph, some(), 2));
    println!("{count} vectors: two of three replaced in {took:?}, finds {:.4} of the nearest", recall(&exact, &graph));
}

/// Which share of the nearest a graph finds.
fn recall(exact: &VectorIndex, graph: &VectorIndex) -> f64 {
    let common = |question: VectorQuery| {
        let exact = found(exact, &question);
        found(graph, &question).iter().filter(|entity| exact.contains(entity)).count()
    };
    (0..QUESTIONS).map(question).map(common).sum::<usize>() as f64 / (QUESTIONS as usize * NEIGHBOURS) as f64
}

#[divan::bench(args = COUNTS)]
fn exact(bencher: Bencher<'_, '_>, count: u64) {
    let index = of(&EXACT, count);
    let mut number = 0;
    bencher.bench_local(|| {
        number += 1;
        found(index, &question(number))
    });
}

#[divan::bench(args = COUNTS)]
fn hnsw_walk(bencher: Bencher<'_, '_>, count: u64) {
    let index = of(&GRAPH, count);
    let mut number = 0;
    bencher.bench_local(|| {
        number += 1;
        found(index, &question(number))
    });
}
