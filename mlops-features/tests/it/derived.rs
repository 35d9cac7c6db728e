//! Tables made of other tables, by code or SQL: every commit once, whatever is killed, and down to what is served.
#![allow(
    clippy::disallowed_methods,
    reason = "the test tells its child process where to write by an environment variable"
)]

use std::{path::Path, sync::Arc};

use mlops_core::{
    ErrorKind, FeatureReader as _, Result, Timestamp,
    arrow_array::{Array, Float64Array, Int64Array, RecordBatch, cast::AsArray, types::Float64Type, types::Int64Type},
    testing::{SplitMix64, acknowledge, run_and_kill},
};
use mlops_features::{
    Derivation, Entity, FeatureStore, FeatureStoreBuilder, FeatureView, MemoryOnlineStore, Permission, Scan, Source,
    lineage::{ColumnId, Lineage, LineageGraph},
};

use crate::{
    checks::NotNegative,
    data::{Row, batch, clock, ints, row, schema},
    kills::{kills, wait_for_kill},
};

const QUERY: &str = "SELECT k, event_timestamp, id, x * 2 AS x, n FROM raw WHERE n % 2 = 0";

fn derived(derivation: Derivation) -> Source {
    Source::table("even", "raw", derivation).build().unwrap()
}

fn sql() -> Source {
    derived(Derivation::Sql { query: QUERY.into() })
}

fn coded(version: &str) -> Source {
    derived(Derivation::Code { version: version.into() })
}

/// What [`QUERY`] does.
fn even(rows: &RecordBatch) -> Result<RecordBatch> {
    let n = rows.column(4).as_primitive::<Int64Type>();
    let is_even = n.iter().map(|n| Some(n? % 2 == 0)).collect();
    let kept = arrow_select::filter::filter_record_batch(rows, &is_even)?;
    let mut columns = kept.columns().to_vec();
    let x = kept.column(3).as_primitive::<Float64Type>();
    columns[3] = Arc::new(x.iter().map(|x| Some(x? * 2.0)).collect::<Float64Array>());
    Ok(RecordBatch::try_new(kept.schema(), columns)?)
}

fn builder(home: &Path) -> FeatureStoreBuilder {
    let view = FeatureView::builder("v", Entity::new("e", ["k"]).unwrap(), "even").with_column("x").with_column("n");
    FeatureStore::builder(home.to_str().unwrap())
        .with_clock(clock())
        .with_online(Arc::new(MemoryOnlineStore::default()))
        .with_table("raw", schema())
        .with_table("even", schema())
        .with_view(view.build().unwrap())
}

async fn append(store: &FeatureStore, ids: impl IntoIterator<Item = i64>) {
    for id in ids {
        let rows: Vec<Row> = (4 * id..4 * id + 4).map(|id| row(id % 3, id, id)).collect();
        store.ingestor("raw").unwrap().append(&format!("b{id}"), &batch(&rows)).await.unwrap();
    }
}

async fn run(store: &FeatureStore) -> (u64, u64) {
    let receipt = store.source("even").unwrap().run().await.unwrap();
    (receipt.rows, receipt.quarantined)
}

async fn rows(store: &FeatureStore) -> Vec<RecordBatch> {
    store.table("even").unwrap().scan_all(Scan::latest()).await.unwrap()
}

async fn numbers(store: &FeatureStore) -> Vec<i64> {
    let of = |batch: &RecordBatch| batch.column(4).as_primitive::<Int64Type>().values().to_vec();
    rows(store).await.iter().flat_map(of).collect()
}

#[tokio::test]
async fn code_and_sql_make_the_same_rows_of_every_commit_once() {
    let mut found = Vec::new();
    for source in [sql(), coded("1")] {
        let home = tempfile::tempdir().unwrap();
        let store = builder(home.path()).with_source(source).with_table_code("even", even).build().await.unwrap();
        append(&store, 0..3).await;
        assert_eq!(run(&store).await, (6, 0));
        assert_eq!(run(&store).await, (0, 0));
        append(&store, 3..5).await;
        assert_eq!(run(&store).await, (4, 0));
        assert_eq!(numbers(&store).await, (0..10).map(|n| 2 * n).collect::<Vec<_>>());
        // A commit of which nothing is left stands in nobody's way.
        let odd = batch(&[row(1, 1, 101)]);
        store.ingestor("raw").unwrap().append("odd", &odd).await.unwrap();
        assert_eq!(run(&store).await, (0, 0));
        append(&store, 5..6).await;
        assert_eq!(run(&store).await, (2, 0));
        found.push(rows(&store).await);
    }
    assert_eq!(found[0], found[1]);
}

#[tokio::test]
async fn a_table_follows_another_as_it_is_and_takes_columns_by_other_names() {
    let home = tempfile::tempdir().unwrap();
    let same = Source::table("even", "raw", Derivation::Same).with_column("n", "id").build().unwrap();
    let store = builder(home.path()).with_source(same).build().await.unwrap();
    append(&store, 0..2).await;
    assert_eq!((run(&store).await, numbers(&store).await), ((8, 0), (0..8).collect()));
}

#[tokio::test]
async fn rows_that_break_a_rule_are_set_aside_and_code_that_fails_stops_before_its_commit() {
    let home = tempfile::tempdir().unwrap();
    let moody = |rows: &RecordBatch| {
        let first = rows.column(2).as_primitive::<Int64Type>().value(0);
        match first {
            8 => Err(mlops_core::Error::invalid_argument("no eights")),
            12 => panic!("no twelves"),
            _ => {
                let mut columns = rows.columns().to_vec();
                let n = rows.column(4).as_primitive::<Int64Type>();
                columns[4] = Arc::new(n.iter().map(|n| n.map(|n| if n == 5 { -5 } else { n })).collect::<Int64Array>());
                Ok(RecordBatch::try_new(rows.schema(), columns)?)
            }
        }
    };
    let with = || builder(home.path()).with_source(coded("1")).with_check("even", Arc::new(NotNegative));
    let store = with().with_table_code("even", moody).build().await.unwrap();
    append(&store, 0..4).await;
    let error = store.source("even").unwrap().run().await.unwrap_err();
    for part in ["source \"even\"", "commit 3 of table \"raw\"", "no eights"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(numbers(&store).await, [0, 1, 2, 3, 4, 6, 7]);
    let rejected = store.ingestor("even").unwrap().rejected().await.unwrap();
    assert_eq!(rejected.iter().map(|batch| batch.rows).sum::<u64>(), 1);
    // Mended code goes on where the other stopped.
    let passes = |rows: &RecordBatch| {
        if rows.column(2).as_primitive::<Int64Type>().value(0) == 12 { panic!("12") } else { Ok(rows.clone()) }
    };
    let store = with().with_table_code("even", passes).build().await.unwrap();
    let error = store.source("even").unwrap().run().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Internal && error.to_string().contains("its code panicked"), "{error}");
    let store = with().with_table_code("even", |rows: &RecordBatch| Ok(rows.clone())).build().await.unwrap();
    assert_eq!(run(&store).await, (4, 0));
    assert_eq!(numbers(&store).await, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
}

#[tokio::test]
async fn what_cannot_be_derived_is_refused_by_name() {
    let home = tempfile::tempdir().unwrap();
    let store = builder(home.path()).with_source(coded("1")).build().await.unwrap();
    let error = store.source("even").unwrap().run().await.unwrap_err();
    assert!(error.kind() == ErrorKind::FailedPrecondition && error.to_string().contains("with_table_code"), "{error}");
    let bad = derived(Derivation::Sql { query: "SELECT k, event_timestamp, id, x FROM raw".into() });
    let store = builder(home.path()).with_source(bad).build().await.unwrap();
    let error = store.source("even").unwrap().run().await.unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidArgument && error.to_string().contains("no column \"n\""), "{error}");
    let back = Source::table("raw", "even", Derivation::Same).build().unwrap();
    let error = builder(home.path()).with_source(coded("1")).with_source(back).build().await.unwrap_err();
    assert!(error.message().contains("table \"even\" is derived from itself by way of others"), "{error}");
    let nowhere = Source::table("even", "nowhere", Derivation::Same).build().unwrap();
    let error = builder(home.path()).with_source(nowhere).build().await.unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.message().contains("\"nowhere\""), "{error}");
}

/// From files through two tables into the online store by one call; a change of code is a version of the source, and
/// columns lead back to the file.
#[tokio::test]
async fn one_call_goes_the_whole_way_and_lineage_knows_it() {
    let home = tempfile::tempdir().unwrap();
    let files = home.path().join("in");
    std::fs::create_dir_all(&files).unwrap();
    std::fs::write(files.join("a.csv"), "k,event_timestamp,id,x,n\n7,1970-01-01T00:00:00.000010Z,1,1.25,4\n").unwrap();
    let url = format!("{}/*.csv", files.display());
    let from_files = || Source::files("raw", &url, mlops_features::FileFormat::Csv).build().unwrap();
    let with = |source: Source| builder(home.path()).with_source(from_files()).with_source(source);
    let plan = with(sql()).plan().await.unwrap();
    assert!(plan.to_string().contains("is added: table \"raw\" by SELECT k,"), "{plan}");
    let store = with(sql()).apply(&plan, Permission::Safe).await.unwrap();
    let receipt = store.refresh("v", Timestamp::from_micros(100)).await.unwrap();
    assert_eq!((receipt.source.unwrap().rows, receipt.materialized.rows), (1, 1));
    let who = RecordBatch::try_from_iter([("k", ints([Some(7)]))]).unwrap();
    let answer = store.get_online(&["v:x".parse().unwrap()], &who, Timestamp::from_micros(100)).await.unwrap();
    assert_eq!(answer.column(1).as_ref(), &Float64Array::from(vec![2.5]) as &dyn Array);
    // A store that adds nothing knows both sources and their tables.
    let again = FeatureStore::builder(home.path().to_str().unwrap()).with_online(store.online()).build().await.unwrap();
    assert_eq!(again.refresh("v", Timestamp::from_micros(100)).await.unwrap().source.unwrap().rows, 0);
    let plan = with(coded("2")).plan().await.unwrap();
    assert!(plan.destructive().any(|change| change.what.contains("by code 2; values change")), "{plan}");

    let graph = Arc::new(LineageGraph::default());
    let traced = store.traced(
        Lineage::builder("test").with_clock(clock()).with_transport(Arc::<LineageGraph>::clone(&graph)).build(),
    );
    traced.source("raw").unwrap().run().await.unwrap();
    traced.source("even").unwrap().run().await.unwrap();
    traced.materializer().catch_up("v").await.unwrap();
    let up = graph.upstream(&ColumnId::new("test", "feature_view/v", "x"));
    let file = ColumnId::new("file", &url, "x");
    assert!(up.contains(&file), "{up:?}");
}

const HOME: &str = "MLOPS_FEATURES_DERIVED_HOME";
/// After about as many kills a table has all there is.
const KILLS_PER_STORE: u64 = 5;
const COMMITS: i64 = 60;

/// The child: derives commit by commit and says so before each, until it is killed.
#[test]
fn child() {
    let Ok(home) = std::env::var(HOME) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let telling = |rows: &RecordBatch| {
            acknowledge(1);
            even(rows)
        };
        let builder = builder(Path::new(&home)).with_source(coded("1")).with_table_code("even", telling);
        let store = builder.with_check("even", Arc::new(NotNegative)).build().await.unwrap();
        store.source("even").unwrap().run().await.unwrap();
        wait_for_kill().await;
    });
}

#[tokio::test]
async fn a_run_that_is_killed_loses_nothing_and_doubles_nothing() {
    let kills = kills(KILLS_PER_STORE);
    for first in (0..kills).step_by(KILLS_PER_STORE as usize) {
        killed_and_taken_up(first..kills.min(first + KILLS_PER_STORE)).await;
    }
    println!("{kills} kills");
}

async fn killed_and_taken_up(kills: std::ops::Range<u64>) {
    let home = tempfile::tempdir().unwrap();
    let with = || builder(home.path()).with_source(coded("1")).with_table_code("even", even);
    let store = with().with_check("even", Arc::new(NotNegative)).build().await.unwrap();
    for id in 0..COMMITS {
        // Every fifth commit has a row for the quarantine.
        let bad = (Some(1), Some(id), 1_000 + id, None, Some(if id % 5 == 0 { -2 } else { 1 }));
        let rows = [row(1, id, 2 * id), row(2, id, 2 * id + 1), bad];
        store.ingestor("raw").unwrap().append(&format!("b{id}"), &batch(&rows)).await.unwrap();
    }
    let random = SplitMix64::new(20_260_111);
    for kill in kills {
        let (acks, spins) =
            (1 + usize::try_from(random.bits(2 * kill) % 12).unwrap(), random.bits(2 * kill + 1) % 30_000);
        let envs = [(HOME, home.path().to_str().unwrap())];
        run_and_kill("derived::child", &envs, acks, spins).expect("the child acknowledged");
    }
    run(&store).await;
    assert_eq!(numbers(&store).await, (0..COMMITS).map(|n| 2 * n).collect::<Vec<_>>());
    let rejected = store.ingestor("even").unwrap().rejected().await.unwrap();
    assert_eq!(rejected.iter().map(|batch| batch.rows).sum::<u64>(), COMMITS as u64 / 5);
}
