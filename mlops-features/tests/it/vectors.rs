//! Nearest neighbours online and offline: what is newest is found, what is too old or no vector is not.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use axum::{
    body::{Body, to_bytes},
    http::Request,
};
use mlops_core::{
    Error, ErrorKind, FeatureRef, Result, Timestamp,
    arrow_array::{
        BooleanArray, FixedSizeListArray, ListArray, RecordBatch, StringArray,
        cast::AsArray,
        types::{Float32Type, Float64Type, Int64Type, UInt32Type},
    },
    arrow_schema::{DataType, Field, Schema, SchemaRef},
};
use mlops_features::{
    Entity, FeatureService, FeatureStore, FeatureStoreSettings, FeatureView, HnswSettings, MemoryOnlineStore, Metric,
    OnlineStore, Scan, VectorQuery, VectorSearch,
    feast::FeastServer,
    online::{ReadKeys, ScanPage, WriteBatch},
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use crate::data::{clock, ints, time_type, times};

fn schema() -> SchemaRef {
    let vector = DataType::List(Arc::new(Field::new_list_field(DataType::Float32, true)));
    Arc::new(Schema::new(vec![
        Field::new("doc", DataType::Int64, true),
        Field::new("lang", DataType::Utf8, true),
        Field::new("event_timestamp", time_type(), true),
        Field::new("title", DataType::Utf8, true),
        Field::new("embedding", vector, true),
    ]))
}

/// Document, time, vector.
type Row<'a> = (i64, i64, Option<&'a [Option<f32>]>);

fn batch(rows: &[Row<'_>]) -> RecordBatch {
    let vectors = rows.iter().map(|(_, _, vector)| vector.map(|vector| vector.to_vec()));
    let language = |doc: i64| if doc % 2 == 0 { "de" } else { "en" };
    RecordBatch::try_new(
        schema(),
        vec![
            ints(rows.iter().map(|(doc, ..)| Some(*doc))),
            Arc::new(rows.iter().map(|(doc, ..)| Some(language(*doc))).collect::<StringArray>()),
            times(rows.iter().map(|(_, time, _)| Some(*time))),
            Arc::new(rows.iter().map(|(doc, ..)| Some(format!("title {doc}"))).collect::<StringArray>()),
            Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(vectors)),
        ],
    )
    .unwrap()
}

async fn store(home: &tempfile::TempDir, online: Arc<dyn OnlineStore>) -> FeatureStore {
    store_with(home, online, VectorSearch::Exact, FeatureStoreSettings::default()).await
}

async fn store_with(
    home: &tempfile::TempDir,
    online: Arc<dyn OnlineStore>,
    search: VectorSearch,
    settings: FeatureStoreSettings,
) -> FeatureStore {
    let view = FeatureView::builder("docs", Entity::new("doc", ["doc", "lang"]).unwrap(), "docs");
    let view = view.with_column("title").with_column("embedding").with_ttl(std::time::Duration::from_micros(1_000));
    let view = view.with_vector_search(search);
    FeatureStore::builder(home.path().to_str().unwrap())
        .with_settings(settings)
        .with_clock(clock())
        .with_online(online)
        .with_table("docs", schema())
        .with_view(view.build().unwrap())
        .with_service(
            FeatureService::new("read", ["docs:title", "docs:embedding"].map(|name| name.parse().unwrap())).unwrap(),
        )
        .build()
        .await
        .unwrap()
}

fn embedding() -> FeatureRef {
    "docs:embedding".parse().unwrap()
}

fn query(vector: &[f32], neighbours: usize, metric: Metric) -> VectorQuery {
    let vector = Some(vector.iter().copied().map(Some).collect::<Vec<_>>());
    VectorQuery::new(&ListArray::from_iter_primitive::<Float32Type, _, _>([vector]), neighbours, metric).unwrap()
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// Documents and distances of an answer.
fn found(answer: &RecordBatch) -> Vec<(i64, f32)> {
    let documents = answer.column_by_name("doc").unwrap().as_primitive::<Int64Type>();
    let distances = answer.column_by_name("distance").unwrap().as_primitive::<Float32Type>();
    documents.values().iter().copied().zip(distances.values().iter().copied()).collect()
}

fn documents(answer: &RecordBatch) -> Vec<i64> {
    found(answer).into_iter().map(|(document, _)| document).collect()
}

#[tokio::test]
async fn the_newest_vectors_are_found_and_what_is_written_later_is_found_at_once() {
    let home = tempfile::tempdir().unwrap();
    let store = store(&home, Arc::new(MemoryOnlineStore::default())).await;
    let (near, far, other) = ([Some(1.0), Some(0.0)], [Some(0.0), Some(2.0)], [Some(3.0), Some(3.0)]);
    let push = async |rows: &[Row<'_>]| store.writer().push("docs", &batch(rows)).await.unwrap();
    push(&[(1, 100, Some(&near)), (2, 100, Some(&far)), (3, 100, Some(&other)), (4, 100, None)]).await;
    let ask = async |metric, time| {
        let query = query(&[1.0, 0.0], 10, metric);
        store.nearest(&embedding(), &query, at(time)).await.unwrap()
    };
    let answer = ask(Metric::L2, 200).await;
    assert_eq!(found(&answer), [(1, 0.0), (2, 5.0_f32.sqrt()), (3, 13.0_f32.sqrt())]);
    let names: Vec<_> = answer.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["query", "doc", "lang", "event_timestamp", "distance"]);
    assert_eq!(answer.column(2).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["en", "de", "en"]);
    assert_eq!(documents(&ask(Metric::Dot, 200).await), [3, 1, 2]);
    assert_eq!(documents(&ask(Metric::Cosine, 200).await), [1, 3, 2]);

    // A newer event replaces, an older one does not, a null takes away, another entity is added.
    push(&[(1, 150, Some(&far)), (2, 50, Some(&near)), (3, 160, None), (5, 170, Some(&near))]).await;
    assert_eq!(found(&ask(Metric::L2, 200).await), [(5, 0.0), (1, 5.0_f32.sqrt()), (2, 5.0_f32.sqrt())]);
    // As online reads: what happens later and what is too old is not there.
    assert_eq!(documents(&ask(Metric::L2, 160).await), [1, 2]);
    assert_eq!(documents(&ask(Metric::L2, 1_100).await), [5, 1, 2]);
    assert_eq!(documents(&ask(Metric::L2, 1_101).await), [5, 1]);
    assert_eq!(documents(&ask(Metric::L2, 2_000).await), [0; 0]);
    assert_eq!(
        documents(&store.nearest(&embedding(), &query(&[1.0, 0.0], 1, Metric::L2), at(200)).await.unwrap()),
        [5]
    );
}

/// On one line, so that what is nearest is known: an updated vector is not found where it was, nor one that is too old.
#[tokio::test]
async fn a_graph_of_vectors_follows_writes_and_honours_time_to_live() {
    let home = tempfile::tempdir().unwrap();
    let settings = HnswSettings { metric: Metric::L2, exact_below: 50, ..HnswSettings::default() };
    let online = Arc::new(MemoryOnlineStore::default());
    let store = store_with(&home, online, VectorSearch::Hnsw(settings), FeatureStoreSettings::default()).await;
    let push = async |docs: std::ops::Range<i64>, time: i64, place: fn(i64) -> Option<i64>| {
        #[allow(clippy::cast_precision_loss, reason = "small")]
        let vectors: Vec<_> = docs.clone().map(|doc| place(doc).map(|place| [Some(place as f32), Some(0.0)])).collect();
        let rows: Vec<Row<'_>> =
            docs.zip(&vectors).map(|(doc, vector)| (doc, time, vector.as_ref().map(|v| v.as_slice()))).collect();
        store.writer().push("docs", &batch(&rows)).await.unwrap();
    };
    let ask = async |place: f32, time| {
        let answer = store.nearest(&embedding(), &query(&[place, 0.0], 3, Metric::L2), at(time)).await.unwrap();
        let mut found = documents(&answer);
        found.sort_unstable();
        found
    };
    push(0..500, 100, Some).await;
    assert_eq!(ask(250.0, 200).await, [249, 250, 251]);
    push(200..300, 150, |doc| Some(doc + 10_000)).await;
    assert_eq!(ask(250.2, 200).await, [199, 300, 301], "they were moved away");
    assert_eq!(ask(10_250.0, 200).await, [249, 250, 251]);
    push(250..251, 160, |_| None).await;
    assert_eq!(ask(10_250.2, 200).await, [249, 251, 252], "one was taken away");
    assert_eq!(ask(10.0, 1_101).await, [200, 201, 202], "the others are too old");
    let dot = store.nearest(&embedding(), &query(&[1.0, 0.0], 1, Metric::Dot), at(200)).await.unwrap();
    assert_eq!(documents(&dot), [299], "by another distance it is exact");
}

#[tokio::test]
async fn vectors_beyond_the_bound_stop_searches_and_no_writes() {
    let home = tempfile::tempdir().unwrap();
    let settings = FeatureStoreSettings { vector_bytes_max: 2_000, ..FeatureStoreSettings::default() };
    let online = Arc::new(MemoryOnlineStore::default());
    let store = store_with(&home, online, VectorSearch::Exact, settings).await;
    let vector = [Some(1.0)];
    let rows =
        |docs: std::ops::Range<i64>| docs.map(|doc| (doc, 100, Some(vector.as_slice()))).collect::<Vec<Row<'_>>>();
    let ask = async || store.nearest(&embedding(), &query(&[1.0], 10, Metric::L2), at(200)).await;
    store.writer().push("docs", &batch(&rows(0..3))).await.unwrap();
    assert_eq!(ask().await.unwrap().num_rows(), 3);
    store.writer().push("docs", &batch(&rows(3..100))).await.unwrap();
    for _ in 0..2 {
        let error = ask().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
        assert!(error.message().contains("vector_bytes_max"), "{error}");
        store.forget_vectors(&embedding()).await;
    }
    let index = store.vector_index(&embedding(), Scan::latest()).await.unwrap();
    let error = index.push(&batch(&rows(0..100))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
}

#[test]
fn searches_that_no_index_could_do_are_refused() {
    let view = |search| {
        let view = FeatureView::builder("docs", Entity::new("doc", ["doc"]).unwrap(), "docs").with_column("embedding");
        view.with_vector_search(search).build()
    };
    let hnsw = |change: fn(&mut HnswSettings)| {
        let mut settings = HnswSettings::default();
        change(&mut settings);
        VectorSearch::Hnsw(settings)
    };
    let changes: [fn(&mut HnswSettings); 5] = [
        |settings| settings.m = 1,
        |settings| settings.m = 257,
        |settings| settings.ef_construction = 0,
        |settings| settings.ef_search = 70_000,
        |settings| settings.metric = Metric::Dot,
    ];
    for change in changes {
        assert_eq!(view(hnsw(change)).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    let (exact, graph) = (view(VectorSearch::Exact).unwrap(), view(hnsw(|_| {})).unwrap());
    assert_eq!(exact.digest().unwrap(), graph.digest().unwrap(), "no value depends on it");
    let written = serde_json::to_string(&graph).unwrap();
    assert_eq!(serde_json::from_str::<FeatureView>(&written).unwrap(), graph);
    assert!(!serde_json::to_string(&exact).unwrap().contains("vector_search"), "earlier builds read it as before");
}

#[tokio::test]
async fn what_is_no_vector_is_found_by_nobody_and_never_lets_an_older_one_back() {
    let home = tempfile::tempdir().unwrap();
    let store = store(&home, Arc::new(MemoryOnlineStore::default())).await;
    let good = [Some(1.0), Some(1.0)];
    let rows: [Row<'_>; 7] = [
        (1, 100, Some(&[Some(f32::NAN), Some(1.0)])),
        (2, 100, Some(&[Some(1.0), None])),
        (3, 100, Some(&[])),
        (4, 100, Some(&[Some(f32::INFINITY), Some(1.0)])),
        (5, 100, Some(&[Some(0.0), Some(0.0)])),
        (6, 100, Some(&[Some(1.0), Some(1.0), Some(1.0)])),
        (7, 100, Some(&good)),
    ];
    let older: Vec<Row<'_>> = (1..7).map(|doc| (doc, 50, Some(good.as_slice()))).collect();
    store.writer().push("docs", &batch(&rows)).await.unwrap();
    store.writer().push("docs", &batch(&older)).await.unwrap();
    let ask = async |vector: &[f32], metric| store.nearest(&embedding(), &query(vector, 10, metric), at(200)).await;
    assert_eq!(documents(&ask(&[1.0, 1.0], Metric::L2).await.unwrap()), [7, 5]);
    assert_eq!(documents(&ask(&[1.0, 1.0], Metric::Cosine).await.unwrap()), [7], "zeros have no direction");
    assert_eq!(documents(&ask(&[1.0, 1.0, 1.0], Metric::Cosine).await.unwrap()), [6], "vectors of another length");
    let error = ask(&[1.0; 4], Metric::L2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.message().contains("\"docs:embedding\" have 2 or 3 numbers; one of 4"), "{error}");
    for (feature, kind) in [
        ("docs:title", ErrorKind::InvalidArgument),
        ("docs:nothing", ErrorKind::NotFound),
        ("others:embedding", ErrorKind::NotFound),
    ] {
        let query = query(&[1.0], 1, Metric::L2);
        let error = store.nearest(&feature.parse().unwrap(), &query, at(200)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
}

#[test]
fn questions_that_have_no_answer_are_refused() {
    let ask = |rows: Vec<Option<Vec<Option<f32>>>>, neighbours, metric| {
        VectorQuery::new(&ListArray::from_iter_primitive::<Float32Type, _, _>(rows), neighbours, metric)
    };
    let one = || vec![Some(vec![Some(1.0)])];
    let refused = [
        ask(one(), 0, Metric::L2),
        ask(one(), 10_001, Metric::L2),
        ask(Vec::new(), 1, Metric::L2),
        ask(vec![None], 1, Metric::L2),
        ask(vec![Some(vec![])], 1, Metric::L2),
        ask(vec![Some(vec![Some(1.0)]), Some(vec![Some(1.0), Some(2.0)])], 1, Metric::L2),
        ask(vec![Some(vec![None])], 1, Metric::L2),
        ask(vec![Some(vec![Some(f32::NAN)])], 1, Metric::L2),
        ask(vec![Some(vec![Some(0.0)])], 1, Metric::Cosine),
        VectorQuery::new(&StringArray::from(vec!["1"]), 1, Metric::L2),
        VectorQuery::new(&ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1)])]), 1, Metric::L2),
    ];
    for (number, refused) in refused.into_iter().enumerate() {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument, "{number}");
    }
    assert!(ask(vec![Some(vec![Some(0.0)])], 1, Metric::L2).is_ok());
    let wide = FixedSizeListArray::from_iter_primitive::<Float64Type, _, _>([Some([Some(0.5), Some(2.0)])], 2);
    assert_eq!(VectorQuery::new(&wide, 1, Metric::Dot).unwrap().vectors(), [vec![0.5, 2.0]]);
}

#[tokio::test]
async fn a_filter_sees_join_keys_and_several_vectors_are_asked_at_once() {
    let home = tempfile::tempdir().unwrap();
    let store = store(&home, Arc::new(MemoryOnlineStore::default())).await;
    #[allow(clippy::cast_precision_loss, reason = "small")]
    let vectors: Vec<[Option<f32>; 1]> = (0..20_000).map(|doc| [Some(doc as f32)]).collect();
    let rows: Vec<Row<'_>> = (0..).zip(&vectors).map(|(doc, vector)| (doc, 100, Some(vector.as_slice()))).collect();
    store.writer().push("docs", &batch(&rows)).await.unwrap();
    let vectors = ListArray::from_iter_primitive::<Float32Type, _, _>([Some([Some(10.2)]), Some([Some(19_999.0)])]);
    let german = |entities: &RecordBatch| {
        let languages = entities.column_by_name("lang").unwrap().as_string::<i32>();
        Ok(languages.iter().map(|language| language.map(|language| language == "de")).collect::<BooleanArray>())
    };
    let query = VectorQuery::new(&vectors, 2, Metric::L2).unwrap();
    let answer = store.nearest(&embedding(), &query.clone().with_filter(german), at(200)).await.unwrap();
    assert_eq!(documents(&answer), [10, 12, 19_998, 19_996]);
    let numbers = answer.column(0).as_primitive::<UInt32Type>();
    assert_eq!(numbers.values(), &[0, 0, 1, 1]);
    let none = |_: &RecordBatch| Ok(BooleanArray::from(vec![true]));
    let error = store.nearest(&embedding(), &query.clone().with_filter(none), at(200)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    let fails = |_: &RecordBatch| Err(Error::unavailable("no list of documents"));
    let error = store.nearest(&embedding(), &query.with_filter(fails), at(200)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn materialized_rows_are_found_online_as_in_an_index_of_the_table() {
    let home = tempfile::tempdir().unwrap();
    let store = store(&home, Arc::new(MemoryOnlineStore::default())).await;
    let question = query(&[1.0, 0.5], 10, Metric::Cosine);
    assert_eq!(store.nearest(&embedding(), &question, at(900)).await.unwrap().num_rows(), 0);
    let random = mlops_core::testing::SplitMix64::new(7);
    #[allow(clippy::cast_precision_loss, reason = "small")]
    let number = |step: u64| Some((random.bits(step) % 1_000) as f32 - 500.0);
    let vectors: Vec<[Option<f32>; 2]> = (0..600).map(|step| [number(2 * step), number(2 * step + 1)]).collect();
    let rows: Vec<Row<'_>> = (0..)
        .zip(&vectors)
        .map(|(step, vector)| (step % 97, 1 + 31 * step % 800, (step % 11 > 0).then_some(vector.as_slice())))
        .collect();
    for (number, rows) in rows.chunks(150).enumerate() {
        let table = store.ingestor("docs").unwrap();
        table.append(&format!("batch-{number}"), &batch(rows)).await.unwrap();
    }
    store.materializer().run("docs", at(900)).await.unwrap();
    let online = store.nearest(&embedding(), &question, at(900)).await.unwrap();
    let index = store.vector_index(&embedding(), Scan::latest()).await.unwrap();
    assert_eq!(online.num_rows(), 10);
    assert_eq!(index.search(&question, at(900)).await.unwrap(), online);
    let nearest = [Some(2.0), Some(1.0)];
    index.push(&batch(&[(1_000, 850, Some(&nearest))])).unwrap();
    assert_eq!(documents(&index.search(&question, at(900)).await.unwrap())[0], 1_000);
    assert_eq!(store.nearest(&embedding(), &question, at(900)).await.unwrap(), online, "an index is of its own");
}

/// A store whose writes are applied and then fail, while it is told to.
#[derive(Debug, Default)]
struct Unsure(MemoryOnlineStore, std::sync::atomic::AtomicBool);

#[async_trait]
impl OnlineStore for Unsure {
    async fn write(&self, batch: WriteBatch) -> Result<()> {
        self.0.write(batch).await?;
        match self.1.load(Ordering::SeqCst) {
            true => Err(Error::unavailable("the connection broke")),
            false => Ok(()),
        }
    }
    async fn read(&self, reads: Vec<ReadKeys>) -> Result<Vec<Vec<Option<bytes::Bytes>>>> {
        self.0.read(reads).await
    }
    async fn scan(&self, table: &str, from: Option<bytes::Bytes>, records_max: usize) -> Result<ScanPage> {
        self.0.scan(table, from, records_max).await
    }
    async fn watermark(&self, table: &str) -> Result<Option<Timestamp>> {
        self.0.watermark(table).await
    }
    async fn flush(&self) -> Result<()> {
        self.0.flush().await
    }
}

#[tokio::test]
async fn writes_of_doubt_and_of_others_are_found_by_reading_again() {
    let (home, other_home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let online = Arc::new(Unsure::default());
    let one = store(&home, Arc::clone(&online) as Arc<dyn OnlineStore>).await;
    let other = store(&other_home, Arc::clone(&online) as Arc<dyn OnlineStore>).await;
    let ask = async || {
        let answer = one.nearest(&embedding(), &query(&[1.0], 10, Metric::L2), at(200)).await;
        documents(&answer.unwrap())
    };
    let vector = [Some(1.0)];
    let push =
        async |store: &FeatureStore, doc| store.writer().push("docs", &batch(&[(doc, 100, Some(&vector))])).await;
    assert_eq!(ask().await, [0; 0]);
    push(&one, 1).await.unwrap();
    assert_eq!(ask().await, [1]);
    online.1.store(true, Ordering::SeqCst);
    push(&one, 2).await.unwrap_err();
    online.1.store(false, Ordering::SeqCst);
    assert_eq!(ask().await, [1, 2], "it was written all the same");
    push(&other, 3).await.unwrap();
    assert_eq!(ask().await, [1, 2]);
    one.forget_vectors(&embedding()).await;
    assert_eq!(ask().await, [1, 2, 3]);
}

/// A store whose writes and scans wait at a gate, and say when they have come there.
#[derive(Debug)]
struct Gated {
    store: MemoryOnlineStore,
    came: Semaphore,
    gate: Semaphore,
    scans: AtomicUsize,
}

impl Gated {
    fn new(open: usize) -> Arc<Self> {
        let (came, gate) = (Semaphore::new(0), Semaphore::new(open));
        Arc::new(Self { store: MemoryOnlineStore::default(), came, gate, scans: AtomicUsize::new(0) })
    }

    async fn pass(&self) {
        self.came.add_permits(1);
        self.gate.acquire().await.unwrap().forget();
    }

    /// Begins `work` and drops it once it stands at the gate.
    async fn begun(&self, work: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = work => panic!("it went through a closed gate"),
            come = self.came.acquire() => come.unwrap().forget(),
        }
    }
}

#[async_trait]
impl OnlineStore for Gated {
    async fn write(&self, batch: WriteBatch) -> Result<()> {
        self.pass().await;
        self.store.write(batch).await
    }
    async fn read(&self, reads: Vec<ReadKeys>) -> Result<Vec<Vec<Option<bytes::Bytes>>>> {
        self.store.read(reads).await
    }
    async fn scan(&self, table: &str, from: Option<bytes::Bytes>, records_max: usize) -> Result<ScanPage> {
        self.scans.fetch_add(1, Ordering::SeqCst);
        self.pass().await;
        self.store.scan(table, from, records_max).await
    }
    async fn watermark(&self, table: &str) -> Result<Option<Timestamp>> {
        self.store.watermark(table).await
    }
    async fn flush(&self) -> Result<()> {
        self.store.flush().await
    }
}

#[tokio::test]
async fn writes_that_are_dropped_are_found_once_they_are_through() {
    let home = tempfile::tempdir().unwrap();
    let gated = Gated::new(0);
    let store = store(&home, Arc::clone(&gated) as Arc<dyn OnlineStore>).await;
    let vector = [Some(1.0)];
    let push = async |doc| {
        store.writer().push("docs", &batch(&[(doc, 100, Some(&vector))])).await.unwrap();
    };
    let ask = async || documents(&store.nearest(&embedding(), &query(&[1.0], 10, Metric::L2), at(200)).await.unwrap());
    // Before there is an index: the first search waits for it.
    gated.begun(push(1)).await;
    gated.gate.add_permits(2);
    assert_eq!(ask().await, [1]);
    gated.came.forget_permits(1);
    // And with an index: the next write waits for it.
    gated.begun(push(2)).await;
    gated.gate.add_permits(2);
    push(3).await;
    assert_eq!(ask().await, [1, 2, 3]);
}

#[tokio::test]
async fn an_index_is_built_once_though_its_search_is_dropped() {
    let home = tempfile::tempdir().unwrap();
    let gated = Gated::new(1);
    let store = store(&home, Arc::clone(&gated) as Arc<dyn OnlineStore>).await;
    store.writer().push("docs", &batch(&[(1, 100, Some(&[Some(1.0)]))])).await.unwrap();
    gated.came.forget_permits(1);
    let ask = async || documents(&store.nearest(&embedding(), &query(&[1.0], 10, Metric::L2), at(200)).await.unwrap());
    gated.begun(async { drop(ask().await) }).await;
    gated.gate.add_permits(10);
    assert_eq!(ask().await, [1]);
    assert_eq!(gated.scans.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_filter_may_write_into_the_index_that_is_searched() {
    let home = tempfile::tempdir().unwrap();
    let store = store(&home, Arc::new(MemoryOnlineStore::default())).await;
    let index = store.vector_index(&embedding(), Scan::latest()).await.unwrap();
    let vector = [Some(1.0)];
    index.push(&batch(&[(1, 100, Some(&vector))])).unwrap();
    let writes = {
        let index = index.clone();
        move |entities: &RecordBatch| {
            index.push(&batch(&[(2, 100, Some(&[Some(1.0)]))]))?;
            Ok(BooleanArray::from(vec![true; entities.num_rows()]))
        }
    };
    let question = query(&[1.0], 10, Metric::L2);
    assert_eq!(documents(&index.search(&question.clone().with_filter(writes), at(200)).await.unwrap()), [1]);
    assert_eq!(documents(&index.search(&question, at(200)).await.unwrap()), [1, 2]);
}

#[tokio::test]
async fn feast_clients_find_entities_with_their_features_and_distances() {
    let home = tempfile::tempdir().unwrap();
    let store = store(&home, Arc::new(MemoryOnlineStore::default())).await;
    let now = store.clock().now().as_micros();
    let (near, far) = ([Some(1.0), Some(0.0)], [Some(0.0), Some(2.0)]);
    let rows: [Row<'_>; 3] = [(1, now, Some(&far)), (2, now, Some(&near)), (3, now - 5_000, Some(&near))];
    store.writer().push("docs", &batch(&rows)).await.unwrap();
    let app = FeastServer::builder(store).build().router();
    let post = async |path: &str, body: Value| {
        let request = Request::post(path).body(Body::from(body.to_string())).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    for (path, name) in [("/search", "query"), ("/retrieve-online-documents", "embedding")] {
        let asked = json!({ "features": ["docs:embedding", "docs:title"], name: [1.0, 0.0], "top_k": 5,
            "distance_metric": "cosine", "api_version": 2, "query_string": null });
        let (status, answer) = post(path, asked).await;
        assert_eq!(status, 200, "{answer}");
        let names = json!(["doc", "lang", "embedding", "title", "distance"]);
        assert_eq!(answer["metadata"]["feature_names"], names);
        let values = |at: usize| answer["results"][at]["values"].clone();
        assert_eq!((values(0), values(3)), (json!([2, 1]), json!(["title 2", "title 1"])));
        assert_eq!((values(2), values(4)), (json!([[1.0, 0.0], [0.0, 2.0]]), json!([0.0, 1.0])));
        assert_eq!(answer["results"][4]["statuses"], json!(["PRESENT", "PRESENT"]));
    }
    for (filters, docs) in [
        (json!({ "type": "eq", "key": "title", "value": "title 1" }), json!([1])),
        (json!({ "type": "ne", "key": "doc", "value": 2 }), json!([1])),
        (json!({ "type": "in", "key": "lang", "value": ["de", "fr"] }), json!([2])),
        (
            json!({ "type": "or", "filters": [
            { "type": "eq", "key": "title", "value": "title 2" }, { "type": "lt", "key": "doc", "value": 2 }] }),
            json!([2]),
        ),
        (json!({ "type": "nin", "key": "title", "value": ["title 1", "title 2"] }), json!([])),
    ] {
        let asked = json!({ "features": ["docs:title"], "query": [1.0, 0.0], "top_k": 1, "filters": filters });
        let (status, answer) = post("/search", asked).await;
        assert_eq!((status, &answer["results"][0]["values"]), (200, &docs), "{filters} {answer}");
    }
    let by_service = json!({ "feature_service": "read", "query": [1.0, 0.0], "top_k": 1, "full_feature_names": true });
    let names = json!(["doc", "lang", "docs__title", "docs__embedding", "distance"]);
    assert_eq!(post("/search", by_service).await.1["metadata"]["feature_names"], names);
    let by_view = json!({ "features": ["docs:title"], "query": [1.0, 0.0], "top_k": 1 });
    assert_eq!(post("/search", by_view).await.1["results"][0]["values"], json!([2]));
    for (change, status) in [
        (json!({ "query": null }), 400),
        (json!({ "query": null, "query_string": "words" }), 501),
        (json!({ "filters": { "type": "eq", "key": "doc", "value": "1" } }), 400),
        (json!({ "filters": { "type": "eq", "key": "price", "value": 1 } }), 404),
        (json!({ "filters": { "type": "eq", "key": "embedding", "value": [1] } }), 400),
        (json!({ "distance_metric": "hamming" }), 400),
        (json!({ "query": [1.0] }), 400),
        (json!({ "top_k": 0 }), 400),
        (json!({ "top_k": 1_000_000 }), 400),
        (json!({ "features": ["others:x"] }), 404),
        (json!({ "features": null }), 400),
        (json!({ "feature_service": "none" }), 404),
        (json!({ "features": ["docs:title", "docs:distance"] }), 400),
        (json!({ "top_k": "all" }), 422),
    ] {
        let mut asked = json!({ "features": ["docs:title"], "query": [1.0, 0.0], "top_k": 1 });
        asked.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(post("/search", asked).await.0, status, "{change}");
    }
}
