//! The Spark engine against the kernels of this process, where the environment names a server, and what happens
//! without one.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mlops_core::{
    ErrorKind, FeatureReader as _, FeatureRef, Result, Timestamp,
    arrow_array::{
        Array as _, ArrayRef, BinaryArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int32Array,
        RecordBatch, StringArray, TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array,
        builder::{FixedSizeListBuilder, Float32Builder},
    },
};
use mlops_features::{
    Aggregation, Bound, ComputeEngine, Entity, FeatureService, FeatureStore, FeatureView, Function, JoinView,
    Knowledge, LabelView, Latest, LocalEngine, MemoryOnlineStore, OfflineStore, PointInTimeJoin, Quantile, WindowJoin,
    engine::spark::{SparkEngine, SparkSettings},
    offline::HistoricalOptions,
};
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::data::{clock, ints, row, schema, times};

#[allow(clippy::disallowed_methods, reason = "the server is named by an environment variable")]
fn server() -> Option<String> {
    let address = std::env::var("MLOPS_TEST_SPARK").ok();
    if address.is_none() {
        println!("skipped: MLOPS_TEST_SPARK names no server");
    }
    address
}

fn engine(address: &str, staging: Option<PathBuf>) -> SparkEngine {
    let inline_bytes_max = if staging.is_some() { 0 } else { 1 << 20 };
    SparkEngine::new(address, SparkSettings { inline_bytes_max, staging, ..SparkSettings::default() }).unwrap()
}

/// Every way on which rows reach a server.
fn engines(address: &str, directory: &Path) -> [SparkEngine; 2] {
    [engine(address, None), engine(address, Some(directory.join("staging")))]
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn write(path: &Path, batch: &RecordBatch) {
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

/// A column of every kind that is kept, with the values that are easily lost.
fn features(rows: usize) -> Vec<(&'static str, ArrayRef)> {
    let none = |at: usize| at % 5 == 3;
    let odd = |at: usize| {
        [f64::NAN, -0.0, f64::NEG_INFINITY, f64::from_bits(0x7ff8_0000_0000_0001), 1e-310][(at + at / 5) % 5]
    };
    let some = |at: usize| (!none(at)).then_some(at);
    let all = || (0..rows).map(some);
    let mut vectors = FixedSizeListBuilder::new(Float32Builder::new(), 2);
    for at in 0..rows {
        vectors.values().append_slice(&[at as f32, -0.0]);
        vectors.append(!none(at));
    }
    let millis: TimestampMillisecondArray = all().map(|at| at.map(|at| at as i64 - 7)).collect();
    vec![
        ("f64", Arc::new(all().map(|at| at.map(odd)).collect::<Float64Array>())),
        ("f32", Arc::new(all().map(|at| at.map(|at| at as f32 / 3.0)).collect::<Float32Array>())),
        ("i64", ints(all().map(|at| at.map(|at| (1 << 53) + at as i64)))),
        ("i32", Arc::new(all().map(|at| at.map(|at| at as i32)).collect::<Int32Array>())),
        ("bool", Arc::new(all().map(|at| at.map(|at| at % 2 == 0)).collect::<BooleanArray>())),
        ("date", Arc::new(all().map(|at| at.map(|at| at as i32 - 3)).collect::<Date32Array>())),
        ("text", Arc::new(all().map(|at| at.map(|at| format!("\u{e9}'`{at}"))).collect::<StringArray>())),
        ("bytes", Arc::new(all().map(|at| at.map(|at| vec![at as u8, 0, 255])).collect::<BinaryArray>())),
        ("naive", Arc::new(millis.clone())),
        ("zoned", Arc::new(millis.with_timezone("Europe/Berlin"))),
        ("vector", Arc::new(vectors.finish())),
    ]
}

/// Bits, so that NaN equals NaN.
fn same(left: &RecordBatch, right: &RecordBatch) -> bool {
    left.schema() == right.schema()
        && left.columns().iter().zip(right.columns()).all(|(left, right)| left.to_data() == right.to_data())
}

type Event = (Option<i64>, Option<i64>, Option<i64>, Option<bool>);

fn events() -> impl Strategy<Value = Vec<Event>> {
    let time = || proptest::option::weighted(0.9, -4_i64..12);
    let event = (proptest::option::weighted(0.9, -1_i64..3), time(), time(), proptest::option::of(any::<bool>()));
    proptest::collection::vec(event, 0..40)
}

fn source(events: &[Event]) -> RecordBatch {
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("k", ints(events.iter().map(|event| event.0))),
        ("event_timestamp", times(events.iter().map(|event| event.1))),
        ("created", times(events.iter().map(|event| event.2))),
    ];
    columns.extend(features(events.len()));
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn spine(rows: &[Event]) -> RecordBatch {
    let columns = [("k", ints(rows.iter().map(|row| row.0))), ("event_timestamp", times(rows.iter().map(|row| row.1)))];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn view(name: &str, batch: &RecordBatch, file: Option<&Path>) -> JoinView {
    let view = match file {
        Some(path) => JoinView::parquet(name, [path.to_owned()]).unwrap(),
        None => JoinView::new(name, batch.schema(), vec![batch.clone()]),
    };
    let names: Vec<String> = batch.schema_ref().fields().iter().skip(3).map(|field| field.name().clone()).collect();
    names.iter().fold(view.with_created("created").with_key("k", "k"), |view, from| {
        view.with_feature(from, format!("{name}_{from}"))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]
    #[test]
    fn joins_and_latest_rows_have_the_bits_of_the_kernels(
        asked in events(), of_a in events(), of_b in events(), ttl in 0_u64..6, known: bool, exclusive: bool,
        start in -6_i64..6, length in 1_i64..12,
    ) {
        let Some(address) = server() else { return Ok(()) };
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (source(&of_a), source(&of_b));
        let path = directory.path().join("b.parquet");
        write(&path, &b);
        let knowledge = if known { Knowledge::Known } else { Knowledge::Event };
        let bound = if exclusive { Bound::Exclusive } else { Bound::Inclusive };
        let of_b = view("b", &b, Some(&path));
        let of_a = view("a", &a, None).with_ttl(Duration::from_micros(ttl)).with_event_timestamp_as("a_at").with_bound(bound);
        let join = PointInTimeJoin::new(spine(&asked)).with_knowledge(knowledge).with_view(of_a).with_view(of_b.clone());
        let (start, end) = (Timestamp::from_micros(start), Timestamp::from_micros(start + length));
        let latest = Latest::new(of_b, start, end).unwrap();
        runtime().block_on(async {
            let joined = LocalEngine.join(&join).await.unwrap();
            let newest = LocalEngine.latest(&latest).await.unwrap();
            for engine in engines(&address, directory.path()) {
                prop_assert!(same(&engine.join(&join).await.unwrap(), &joined));
                prop_assert!(same(&engine.latest(&latest).await.unwrap(), &newest));
            }
            let left = std::fs::read_dir(directory.path().join("staging")).map_or(0, Iterator::count);
            prop_assert_eq!(left, 0, "staged files");
            Ok(())
        })?;
    }

    #[test]
    fn windows_have_the_bits_of_the_kernels(asked in events(), events in events(), width in 1_u64..9, known: bool, back: bool) {
        let Some(address) = server() else { return Ok(()) };
        let directory = tempfile::tempdir().unwrap();
        let columns = [
            ("back", Arc::new(events.iter().map(|event| event.3).collect::<BooleanArray>()) as ArrayRef),
            ("id", ints((0..events.len() as i64).map(|at| Some(at % 3)))),
        ];
        let plain = source(&events);
        let both = plain.schema_ref().fields().iter().map(|field| field.name().as_str()).zip(plain.columns().iter().cloned());
        let both = both.chain(columns).map(|(name, column)| (name, column, true));
        let batch = RecordBatch::try_from_iter_with_nullable(both).unwrap();
        let mut view = FeatureView::builder("w", Entity::new("k", ["k"]).unwrap(), "t").with_created("created").with_event_id("id");
        if back {
            view = view.with_retraction("back");
        }
        let median = Function::ApproxQuantile(Quantile::new(0.5).unwrap());
        for (function, columns) in [
            (Function::Count, ["f64", "text"]), (Function::Sum, ["f64", "i32"]), (Function::Std, ["f32", "i64"]),
            (Function::Min, ["f64", "date"]), (Function::Last, ["naive", "text"]), (Function::LastN(3), ["zoned", "bool"]),
            (Function::ApproxDistinct, ["f64", "i64"]), (median, ["f32", "f64"]),
        ] {
            for (column, width) in columns.into_iter().zip([width, 2 * width]) {
                let name = format!("{function}_{column}");
                view = view.with_aggregation(Aggregation::new(name, function, column, Duration::from_micros(width)));
            }
        }
        let knowledge = if known { Knowledge::Known } else { Knowledge::Event };
        let windows = WindowJoin::new(spine(&asked), view.build().unwrap(), batch.schema(), vec![batch]).unwrap();
        let windows = windows.with_knowledge(knowledge);
        runtime().block_on(async {
            let expected = LocalEngine.windows(&windows).await.unwrap();
            for engine in engines(&address, directory.path()) {
                prop_assert!(same(&engine.windows(&windows).await.unwrap(), &expected));
            }
            Ok(())
        })?;
    }
}

/// The same training set, labels included, from the same store, whoever computes it; and what is materialized by way of
/// the engine is served.
#[tokio::test]
async fn a_feature_store_computes_on_the_server() {
    let Some(address) = server() else { return };
    let home = tempfile::tempdir().unwrap();
    let view = |name: &str| FeatureView::builder(name, Entity::new("k", ["k"]).unwrap(), "events").with_column("x");
    let windows = view("v").with_ttl(Duration::from_micros(30)).with_aggregation(Aggregation::new(
        "sum",
        Function::Sum,
        "x",
        Duration::from_micros(20),
    ));
    let label = |name: &str, function, width| Aggregation::new(name, function, "n", Duration::from_micros(width));
    let fate = LabelView::builder("fate", Entity::new("k", ["k"]).unwrap(), "events")
        .with_delay(Duration::from_micros(2))
        .with_label(label("soon", Function::Count, 10))
        .with_label(label("next", Function::First, 10))
        .with_label(label("later", Function::Sum, 25));
    let service = FeatureService::new("s", ["v:sum", "v:x"].map(|name| name.parse().unwrap())).unwrap();
    let service =
        service.with_labels(["fate:soon", "fate:next", "fate:later"].map(|name| name.parse().unwrap())).unwrap();
    let open = async || {
        FeatureStore::builder(home.path().to_str().unwrap())
            .with_clock(clock())
            .with_online(Arc::new(MemoryOnlineStore::default()))
            .with_table("events", schema())
            .with_view(windows.clone().build().unwrap())
            .with_view(view("plain").with_column("n").build().unwrap())
            .with_label_view(fate.clone().build().unwrap())
            .with_service(service.clone())
            .build()
            .await
            .unwrap()
    };
    let store = open().await;
    for (id, range) in [0..40, 40..90].into_iter().enumerate() {
        let rows: Vec<_> = range.map(|at| row(at % 4, at, at)).collect();
        store.ingestor("events").unwrap().append(&format!("b{id}"), &crate::data::batch(&rows)).await.unwrap();
    }
    let asked: Vec<Event> = (0..60).map(|at| (Some(at % 5), Some(at * 2), None, None)).collect();
    let spine = spine(&asked);
    // The windows of later rows have not closed then.
    let options = HistoricalOptions { labels_known_by: Some(Timestamp::from_micros(100)), ..Default::default() };
    let local = store.offline().get_historical_opts(&spine, &service, &options).await.unwrap();
    let soon = local.batch.column_by_name("soon").unwrap();
    assert!((1..59).contains(&soon.null_count()), "{soon:?}");
    let features: Vec<FeatureRef> = ["plain:n", "plain:x"].map(|name| name.parse().unwrap()).into();
    let until = Timestamp::from_micros(70);
    store.materializer().run("plain", until).await.unwrap();
    let keys = spine.project(&[0]).unwrap();
    let served = store.get_online(&features, &keys, until).await.unwrap();
    for engine in engines(&address, home.path()) {
        let engine: Arc<dyn ComputeEngine> = Arc::new(engine);
        let offline = store.offline().with_engine(Arc::clone(&engine));
        let remote = offline.get_historical_opts(&spine, &service, &options).await.unwrap();
        assert!(same(&remote.batch, &local.batch));
        assert_eq!(remote.data_versions, local.data_versions);
        let other = open().await;
        let receipt = other.materializer().with_engine(engine).run("plain", until).await.unwrap();
        assert_eq!((receipt.rows, receipt.until), (4, until));
        assert!(same(&other.get_online(&features, &keys, until).await.unwrap(), &served));
    }
}

fn one_row() -> PointInTimeJoin {
    let batch = source(&[(Some(1), Some(1), Some(1), None)]);
    PointInTimeJoin::new(spine(&[(Some(1), Some(2), None, None)])).with_view(view("a", &batch, None))
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("sc://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = engine(&address, None).join(&one_row()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains(&address), "{error}");
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("sc://{}", listener.local_addr().unwrap());
    let hang_up = tokio::spawn(async move {
        while let Ok((mut peer, _)) = listener.accept().await {
            let _written = peer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let error = engine(&address, None).join(&one_row()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    hang_up.abort();
}

/// Passes bytes on to `server` and back, but of what comes back only the first `most`.
async fn cut_after(listener: TcpListener, server: String, most: usize) -> std::io::Result<()> {
    loop {
        let (mut client, _) = listener.accept().await?;
        let mut upstream = TcpStream::connect(&server).await?;
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = upstream.split();
        let back = async {
            let (mut left, mut buffer) = (most, [0; 64]);
            while left > 0 {
                let count = from_server.read(&mut buffer).await?.min(left);
                if count == 0 {
                    break;
                }
                to_client.write_all(&buffer[..count]).await?;
                left -= count;
            }
            Ok::<_, std::io::Error>(())
        };
        tokio::select! {
            _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
            _ = back => {}
        }
    }
}

/// The connection is cut after so many bytes of what the server says, wherever that is: within the handshake, before
/// the answer, in its middle.
#[tokio::test]
async fn a_server_that_is_lost_is_unavailable_and_never_a_short_answer() {
    let Some(address) = server() else { return };
    let expected = LocalEngine.join(&one_row()).await.unwrap();
    let mut whole = 0;
    for most in [0, 9, 40, 80, 120, 160, 200, 300, 400, 800, 1 << 20] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("sc://{}", listener.local_addr().unwrap());
        let server = address.trim_start_matches("sc://").trim_end_matches('/').to_owned();
        let cutting = tokio::spawn(cut_after(listener, server, most));
        let engine = engine(&proxy, None);
        let asked: Result<RecordBatch> = engine.join(&one_row()).await;
        match asked {
            Ok(answer) => {
                assert!(same(&answer, &expected));
                whole += 1;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{most}: {error}"),
        }
        cutting.abort();
    }
    assert!((1..10).contains(&whole), "{whole} of 11 questions were answered");
}

#[tokio::test]
async fn what_a_server_would_change_is_refused_by_name() {
    let engine = engine("sc://127.0.0.1:1", None);
    let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1]).with_timezone("UTC"));
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    let unsigned: ArrayRef = Arc::new(UInt64Array::from(vec![1]));
    let micros = times([Some(1)]);
    let cases: [(ArrayRef, ArrayRef, ArrayRef, &str); 3] = [
        (Arc::clone(&floats), Arc::clone(&micros), Arc::clone(&floats), "join key \"k\" is Float64"),
        (ints([Some(1)]), nanos, floats, "\"event_timestamp\" has nanoseconds"),
        (ints([Some(1)]), micros, unsigned, "column \"v\" is UInt64"),
    ];
    for (k, time, v, message) in cases {
        let batch = RecordBatch::try_from_iter([("k", k), ("event_timestamp", time), ("v", v)]).unwrap();
        let view = JoinView::new("a", batch.schema(), vec![batch.clone()]).with_key("k", "k").with_feature("v", "w");
        let join = PointInTimeJoin::new(batch).with_view(view);
        let error = engine.join(&join).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().contains(message), "{error}");
    }
}

#[tokio::test]
async fn rows_that_need_staging_say_so() {
    let settings = SparkSettings { inline_bytes_max: 10, ..SparkSettings::default() };
    let engine = SparkEngine::new("sc://127.0.0.1:1", settings).unwrap();
    let error = engine.join(&one_row()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    assert!(error.message().contains("inline_bytes_max, 10 bytes"), "{error}");
}
