//! From table to online store: ranges, chunks, progress, cancellation, kills, and following a table.
#![allow(
    clippy::disallowed_methods,
    reason = "the test tells its child process where to write by an environment variable"
)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use mlops_core::{
    ErrorKind, FeatureReader, FeatureRef, PrometheusMeter, Timestamp,
    arrow_array::{RecordBatch, cast::AsArray, types::Int64Type},
    arrow_schema::{Field, Schema},
    testing::{SplitMix64, acknowledge, run_and_kill},
};
use mlops_features::{
    Aggregation, Durability, Entity, FeatureStore, FeatureStoreBuilder, FeatureStoreSettings, FeatureView, Function,
    LocalEngine, MaterializeProgress, MemoryOnlineStore, OnlineStore, online::RedbSettings,
};
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::{
    data::{Row, batch, clock, ints, row, schema},
    kills::{kills, wait_for_kill},
};

const fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn view() -> FeatureView {
    FeatureView::builder("v", Entity::new("e", ["k"]).unwrap(), "events")
        .with_event_id("id")
        .with_column("n")
        .with_aggregation(Aggregation::new("count", Function::Count, "n", Duration::from_micros(10_000)))
        .build()
        .unwrap()
}

fn builder(home: &str) -> FeatureStoreBuilder {
    FeatureStore::builder(home).with_clock(clock()).with_table("events", schema()).with_view(view()).with_settings(
        FeatureStoreSettings {
            materialize_rows_per_chunk: 20,
            materialize_rows_per_write: 7,
            online: RedbSettings { durability: Durability::Relaxed, ..RedbSettings::default() },
            ..FeatureStoreSettings::default()
        },
    )
}

async fn memory(home: &tempfile::TempDir) -> FeatureStore {
    builder(home.path().to_str().unwrap()).with_online(Arc::new(MemoryOnlineStore::default())).build().await.unwrap()
}

/// Batches of ten rows at the times `range`, of one entity.
async fn fill(store: &FeatureStore, range: std::ops::Range<i64>) {
    for first in range.clone().step_by(10) {
        let rows: Vec<Row> = (first..range.end.min(first + 10)).map(|time| row(1, time, time)).collect();
        store.ingestor("events").unwrap().append(&format!("b{first}"), &batch(&rows)).await.unwrap();
    }
}

/// The latest number and the count at `time`.
async fn served(store: &FeatureStore, time: i64) -> (Option<i64>, Option<i64>) {
    let features: [FeatureRef; 2] = ["v:n", "v:count"].map(|text| text.parse().unwrap());
    let entities = RecordBatch::try_from_iter([("k", ints([Some(1)]))]).unwrap();
    let answer = store.get_online(&features, &entities, at(time)).await.unwrap();
    let one = |column: usize| answer.column(column).as_primitive::<Int64Type>().iter().next().flatten();
    (one(1), one(2))
}

#[tokio::test]
async fn ranges_are_half_open_and_the_watermark_jumps_no_gap() {
    let home = tempfile::tempdir().unwrap();
    let store = memory(&home).await;
    fill(&store, 0..100).await;
    let materializer = store.materializer();
    let watermark = async || store.online().watermark(&online_name(&store)).await.unwrap();
    let receipt = materializer.run_range("v", at(20), at(30)).await.unwrap();
    assert_eq!((receipt.rows, receipt.after, receipt.until), (10, Some(at(19)), at(29)));
    assert_eq!((served(&store, 99).await, watermark().await), ((Some(29), Some(10)), None));
    let receipt = materializer.run_incremental("v", at(10)).await.unwrap();
    assert_eq!((receipt.rows, watermark().await), (10, Some(at(9))));
    // The same range of the same data is done; of newer data it is not.
    assert_eq!(materializer.run_range("v", at(20), at(30)).await.unwrap().rows, 0);
    store.ingestor("events").unwrap().append("late", &batch(&[row(1, 25, 1_025)])).await.unwrap();
    assert_eq!(materializer.run_range("v", at(20), at(30)).await.unwrap().rows, 11);
    assert_eq!(watermark().await, Some(at(9)), "10 to 19 are missing yet");
    assert_eq!(materializer.run_range("v", at(10), at(20)).await.unwrap().rows, 10);
    assert_eq!(watermark().await, Some(at(19)));
    assert_eq!(materializer.run_incremental("v", at(100)).await.unwrap().rows, 81);
    assert_eq!(materializer.run_incremental("v", at(100)).await.unwrap().rows, 0);
    assert_eq!((served(&store, 99).await, watermark().await), ((Some(99), Some(101)), Some(at(99))));
    let empty = materializer.run_range("v", at(5), at(5)).await.unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::InvalidArgument);
}

fn online_name(store: &FeatureStore) -> String {
    online_name_of(store, "v")
}

fn online_name_of(store: &FeatureStore, view: &str) -> String {
    // The records of a view are kept under its name and 12 digits of what they depend on; without a time to live that
    // is the digest of the view.
    format!("{view}@{}", store.view(view).unwrap().digest().unwrap().short())
}

#[tokio::test]
async fn a_run_tells_how_far_it_is_and_a_cancelled_one_is_taken_up() {
    let home = tempfile::tempdir().unwrap();
    let meter = Arc::new(PrometheusMeter::default());
    let online: Arc<dyn OnlineStore> = Arc::new(MemoryOnlineStore::default());
    let with_meter = builder(home.path().to_str().unwrap()).with_meter(Arc::<PrometheusMeter>::clone(&meter));
    let store = with_meter.with_online(online).build().await.unwrap();
    fill(&store, 0..100).await;
    let (seen, cancellation) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
    let watching = store.materializer().with_cancellation(cancellation.clone()).with_progress({
        let (seen, cancellation) = (Arc::clone(&seen), cancellation.clone());
        move |progress: &MaterializeProgress| {
            seen.lock().unwrap().push(progress.clone());
            if progress.chunks_done == 2 {
                cancellation.cancel();
            }
        }
    });
    let cancelled = watching.run("v", at(200)).await.unwrap_err();
    assert_eq!(cancelled.kind(), ErrorKind::Cancelled);
    let seen = seen.lock().unwrap().clone();
    let last = seen.last().unwrap();
    assert!(seen.len() == 2 && last.chunks >= 5 && last.rows < 60, "{seen:?}");
    let rest = store.materializer().run("v", at(200)).await.unwrap();
    assert_eq!((rest.rows + last.rows, rest.after), (100, Some(last.until)));
    assert_eq!(served(&store, 200).await, (Some(99), Some(100)));
    let page = meter.render();
    assert!(page.contains("mlops_features_materialized_rows_total{view=\"v\"} 100"), "{page}");
    assert!(page.contains("mlops_features_freshness_seconds{view=\"v\"} 1735689599.9998"), "{page}");
}

#[tokio::test]
async fn what_is_committed_late_goes_online_when_the_table_is_followed() {
    let home = tempfile::tempdir().unwrap();
    let store = memory(&home).await;
    fill(&store, 0..100).await;
    let materializer = store.materializer();
    let first = materializer.catch_up("v").await.unwrap();
    assert_eq!((first.rows, first.table_version), (100, Some(10)));
    assert_eq!(materializer.catch_up("v").await.unwrap().rows, 0);
    let late = [row(1, 50, 1_050), (None, Some(51), 1_051, None, Some(1)), row(1, 120, 120)];
    store.ingestor("events").unwrap().append("late", &batch(&late)).await.unwrap();
    let second = materializer.catch_up("v").await.unwrap();
    assert_eq!((second.rows, second.skipped, second.table_version), (2, 1, Some(11)));
    // The late event is in the window and does not hide the newer value.
    assert_eq!((served(&store, 119).await.1, served(&store, 120).await), (Some(101), (Some(120), Some(102))));

    let cancellation = CancellationToken::new();
    let following = tokio::spawn({
        let materializer = store.materializer().with_cancellation(cancellation.clone());
        async move { materializer.follow("v", Duration::from_millis(1)).await }
    });
    store.ingestor("events").unwrap().append("new", &batch(&[row(1, 130, 130)])).await.unwrap();
    while served(&store, 130).await.0 != Some(130) {
        tokio::task::yield_now().await;
    }
    cancellation.cancel();
    assert_eq!(following.await.unwrap().unwrap().rows, 1);
}

/// Rows and when each became known.
fn with_created(rows: &[Row], created: impl IntoIterator<Item = Option<i64>>) -> RecordBatch {
    let fields = schema().fields().iter().map(|field| field.as_ref().clone()).collect::<Vec<_>>();
    let schema = Schema::new([fields, vec![Field::new("created", crate::data::time_type(), true)]].concat());
    let mut columns = batch(rows).columns().to_vec();
    columns.push(crate::data::times(created));
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

#[tokio::test]
async fn of_equal_times_the_later_created_is_served_whatever_the_order() {
    let view = FeatureView::builder("v", Entity::new("e", ["k"]).unwrap(), "events").with_created("created");
    let rows = |id: i64, created: i64| with_created(&[row(1, 10, id)], [Some(created)]);
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let home = tempfile::tempdir().unwrap();
        let store = FeatureStore::builder(home.path().to_str().unwrap())
            .with_clock(clock())
            .with_online(Arc::new(MemoryOnlineStore::default()))
            .with_table("events", with_created(&[], []).schema())
            .with_view(view.clone().with_column("n").build().unwrap())
            .build()
            .await
            .unwrap();
        for number in order {
            let batch = rows(number, 20 + number);
            store.ingestor("events").unwrap().append(&format!("b{number}"), &batch).await.unwrap();
            store.materializer().catch_up("v").await.unwrap();
        }
        let entities = RecordBatch::try_from_iter([("k", ints([Some(1)]))]).unwrap();
        let answer = store.get_online(&["v:n".parse().unwrap()], &entities, at(10)).await.unwrap();
        assert_eq!(answer.column(1).as_primitive::<Int64Type>().value(0), 2, "{order:?}");
    }
}

/// A key, a time, when it became known, a number.
type Known = (Option<i64>, i64, Option<i64>, Option<i64>);

/// Latest values of two views over one table, one of them with windows, once every row was read and once an engine
/// found the latest.
async fn check_engine(rows: &[Known], cut: usize, steps: &[i64], range: (i64, i64)) {
    let home = tempfile::tempdir().unwrap();
    let view =
        |name: &str| FeatureView::builder(name, Entity::new("e", ["k"]).unwrap(), "events").with_created("created");
    let count = Aggregation::new("count", Function::Count, "n", Duration::from_micros(9));
    let open = async || {
        FeatureStore::builder(home.path().to_str().unwrap())
            .with_clock(clock())
            .with_online(Arc::new(MemoryOnlineStore::default()))
            .with_table("events", with_created(&[], []).schema())
            .with_view(view("plain").with_column("n").with_column("created").build().unwrap())
            .with_view(
                view("both").with_column("n").with_event_id("id").with_aggregation(count.clone()).build().unwrap(),
            )
            .build()
            .await
            .unwrap()
    };
    let (read, found) = (open().await, open().await);
    for (number, rows) in rows.chunks(cut).enumerate() {
        let plain: Vec<Row> = rows
            .iter()
            .zip(0..)
            .map(|((k, time, _, n), id)| (*k, Some(*time), (number * cut) as i64 + id, None, *n))
            .collect();
        let batch = with_created(&plain, rows.iter().map(|row| row.2));
        read.ingestor("events").unwrap().append(&format!("b{number}"), &batch).await.unwrap();
    }
    let engine = || found.materializer().with_engine(Arc::new(LocalEngine));
    let features: Vec<FeatureRef> = ["plain:n", "plain:created", "both:count"].map(|text| text.parse().unwrap()).into();
    let entities = RecordBatch::try_from_iter([("k", ints((0..5).map(Some)))]).unwrap();
    for step in steps {
        for name in ["plain", "both"] {
            let (one, other) =
                (read.materializer().run(name, at(*step)).await.unwrap(), engine().run(name, at(*step)).await.unwrap());
            assert_eq!((one.after, one.until, one.table_version), (other.after, other.until, other.table_version));
            assert!(if name == "plain" { other.rows <= one.rows && other.rows <= 4 } else { other.rows == one.rows });
            let key = online_name_of(&read, name);
            assert_eq!(read.online().watermark(&key).await.unwrap(), found.online().watermark(&key).await.unwrap());
        }
        let asked = read.get_online(&features, &entities, at(*step)).await.unwrap();
        assert_eq!(asked, found.get_online(&features, &entities, at(*step)).await.unwrap());
    }
    read.materializer().run_range("plain", at(range.0), at(range.0 + range.1)).await.unwrap();
    engine().run_range("plain", at(range.0), at(range.0 + range.1)).await.unwrap();
    assert_eq!(engine().run_range("plain", at(range.0), at(range.0 + range.1)).await.unwrap().rows, 0, "it is done");
    let asked = read.get_online(&features, &entities, at(99)).await.unwrap();
    assert_eq!(asked, found.get_online(&features, &entities, at(99)).await.unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn the_latest_rows_that_an_engine_finds_are_served_as_if_every_row_was_read(
        rows in proptest::collection::vec(
            (proptest::option::weighted(0.9, 0_i64..4), 0_i64..25, proptest::option::weighted(0.8, 0_i64..9), proptest::option::weighted(0.8, 0_i64..99)), 0..60),
        cut in 1_usize..30, steps in proptest::collection::vec(0_i64..30, 0..4), range in (-2_i64..20, 1_i64..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check_engine(&rows, cut, &steps, range));
    }
}

const HOME: &str = "MLOPS_FEATURES_MATERIALIZE_HOME";
/// After about as many kills a store has all there is.
const KILLS_PER_STORE: u64 = 5;
const EVENTS: i64 = 2_000;

/// The child: materializes in small chunks and says so after each, until it is killed.
#[test]
fn child() {
    let Ok(home) = std::env::var(HOME) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = builder(&home).build().await.unwrap();
        let telling = || {
            store
                .materializer()
                .with_progress(|progress: &MaterializeProgress| acknowledge(progress.chunks_done as u64))
        };
        telling().run_range("v", at(0), at(EVENTS / 2)).await.unwrap();
        telling().run("v", at(EVENTS)).await.unwrap();
        telling().catch_up("v").await.unwrap();
        wait_for_kill().await;
    });
}

#[tokio::test]
async fn killed_runs_are_taken_up_and_end_like_one_that_was_not() {
    let kills = kills(KILLS_PER_STORE);
    for first in (0..kills).step_by(KILLS_PER_STORE as usize) {
        killed_and_taken_up(first..kills.min(first + KILLS_PER_STORE)).await;
    }
    println!("{kills} kills");
}

async fn killed_and_taken_up(kills: std::ops::Range<u64>) {
    let home = tempfile::tempdir().unwrap();
    let location = home.path().to_str().unwrap();
    {
        let store = builder(location).with_online(Arc::new(MemoryOnlineStore::default())).build().await.unwrap();
        let rows: Vec<Row> = (0..EVENTS).map(|time| row(time % 50, time, time)).collect();
        for (number, rows) in rows.chunks(500).enumerate() {
            store.ingestor("events").unwrap().append(&format!("b{number}"), &batch(rows)).await.unwrap();
        }
    }
    let random = SplitMix64::new(20_260_103);
    for kill in kills {
        let (acks, spins) =
            (1 + usize::try_from(random.bits(2 * kill) % 40).unwrap(), random.bits(2 * kill + 1) % 30_000);
        run_and_kill("materialization::child", &[(HOME, location)], acks, spins).expect("the child acknowledged");
    }
    let store = builder(location).build().await.unwrap();
    let whole = builder(location).with_online(Arc::new(MemoryOnlineStore::default())).build().await.unwrap();
    for store in [&store, &whole] {
        store.materializer().run("v", at(EVENTS)).await.unwrap();
    }
    let features: [FeatureRef; 2] = ["v:n", "v:count"].map(|text| text.parse().unwrap());
    let entities = RecordBatch::try_from_iter([("k", ints((0..51).map(Some)))]).unwrap();
    let mut answers = Vec::new();
    for store in [&store, &whole] {
        answers.push(store.get_online(&features, &entities, at(EVENTS)).await.unwrap());
    }
    assert_eq!(answers[0], answers[1]);
    let counts = answers[0].column(2).as_primitive::<Int64Type>();
    assert_eq!(counts.iter().flatten().sum::<i64>(), EVENTS, "every event once");
}

#[tokio::test]
async fn what_was_committed_since_the_last_look_is_applied_commit_by_commit() {
    let home = tempfile::tempdir().unwrap();
    let store = memory(&home).await;
    fill(&store, 0..10).await;
    store.materializer().catch_up("v").await.unwrap();
    // Seven commits of ten rows; a chunk has twenty. An old row comes last.
    fill(&store, 10..80).await;
    store.ingestor("events").unwrap().append("late", &batch(&[row(1, 5, 999)])).await.unwrap();
    let receipt = store.materializer().catch_up("v").await.unwrap();
    assert_eq!((receipt.rows, receipt.skipped), (71, 0));
    assert_eq!(served(&store, 100).await, (Some(79), Some(81)));
    let table = store.table("events").unwrap();
    assert_eq!(receipt.table_version, Some(table.version().await.unwrap()));
    assert_eq!(store.materializer().catch_up("v").await.unwrap().rows, 0);
}
