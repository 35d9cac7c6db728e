//! What the tables keep, against plain references: an older database, random searches, random points.

use std::collections::{BTreeMap, BTreeSet};

use mlops_core::{Metric, RunId, RunStatus, Timestamp, testing::SplitMix64};
use mlops_store::{Migrations, SqliteMetaStore};

use super::{cache::Revision, *};
#[cfg(feature = "postgres")]
use crate::search::testing::postgres;
use crate::{
    Batch, CreateRun, DatasetInput, ExperimentId, LoggedDataset, PageRequest, RunRecord, RunUpdate, Search,
    TrackingStore as _, View,
    search::{
        Columns, Filter, OrderKey, SearchColumns, compare_by,
        testing::{Chance, TEXTS, text_clause, text_list},
        value_order::order_of,
    },
    tracking::{
        sample::{self, HistorySample},
        segment::{Point, normalize},
    },
};

async fn store() -> SqlTrackingStore {
    SqlTrackingStore::builder(Arc::new(SqliteMetaStore::in_memory().await.unwrap())).build().await.unwrap()
}

async fn start(store: &SqlTrackingStore) -> RunId {
    store.create_run(CreateRun::new(ExperimentId(0))).await.unwrap().id
}

fn metric(key: &str, value: f64, at_ms: i64, step: i64) -> Metric {
    Metric { key: key.to_owned(), value, timestamp: Timestamp::from_millis(at_ms), step }
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

async fn log(store: &SqlTrackingStore, run: &RunId, metrics: Vec<Metric>) {
    store.log_batch(run, &Batch { metrics, ..Batch::default() }).await.unwrap();
}

/// A whole history by pages of a size.
async fn history(store: &SqlTrackingStore, run: &RunId, key: &str, size: usize) -> Vec<Point> {
    let (mut request, mut points) = (PageRequest { max_results: Some(size), token: None }, Vec::new());
    loop {
        let page = store.metric_history(run, key, &request).await.unwrap();
        assert!(page.items.len() == size || page.next_page_token.is_none());
        points.extend(page.items.iter().map(Point::from));
        request.token = page.next_page_token;
        if request.token.is_none() {
            return points;
        }
    }
}

async fn segments(store: &SqlTrackingStore) -> u64 {
    let row = store.meta.query_one("SELECT COUNT(*) AS n FROM tracking_segment", &[]).await.unwrap();
    row.get("n").unwrap()
}

#[tokio::test]
async fn a_database_of_version_1_is_converted() {
    let meta: Arc<dyn MetaStore> = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
    let first = Migrations { namespace: "tracking", steps: &schema::MIGRATIONS.steps[..1] };
    meta.migrate(&first).await.unwrap();
    let values = [1.5, -2.5, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0];
    let text = |i: usize| format!("{i:032x}");
    meta.execute("INSERT INTO tracking_experiment VALUES (0, 'Default', 'a/0', 0, 1, 1)", &[]).await.unwrap();
    for (i, value) in values.iter().enumerate() {
        let (id, bits) = (text(i), value.to_bits().cast_signed());
        let sql =
            "INSERT INTO tracking_run (id, experiment, name, user_name, status, started, ended, artifact_uri, deleted)
            VALUES ($1, 0, $2, 'u', 'RUNNING', $3, NULL, 'uri', 0)";
        meta.execute(sql, params![&id, format!("run {i}"), 1_000_i64]).await.unwrap();
        meta.execute("INSERT INTO tracking_param VALUES ($1, 'p', $2)", params![&id, format!("{i}")]).await.unwrap();
        meta.execute("INSERT INTO tracking_tag VALUES ($1, 't', 'v')", params![&id]).await.unwrap();
        meta.execute("INSERT INTO tracking_latest VALUES ($1, 'm', 7, 3, $2)", params![&id, bits]).await.unwrap();
        for step in 0..=3_i64 {
            let bits = if step == 3 { bits } else { 0 };
            let sql = "INSERT INTO tracking_metric VALUES ($1, 'm', 7, $2, $3)";
            meta.execute(sql, params![&id, step, bits]).await.unwrap();
        }
    }
    let input = serde_json::to_string(&dataset("d", "train")).unwrap();
    let sql = "INSERT INTO tracking_input VALUES ($1, 'd', '1', $2)";
    meta.execute(sql, params![text(0), input]).await.unwrap();

    let store = SqlTrackingStore::builder(Arc::clone(&meta)).build().await.unwrap();
    for (i, value) in values.iter().enumerate() {
        let run = store.run(&RunId::new(text(i)).unwrap()).await.unwrap();
        assert_eq!(run.metrics["m"].value.to_bits(), value.to_bits());
        assert_eq!((run.metrics["m"].step, run.metrics["m"].timestamp.as_micros()), (3, 7));
        assert_eq!((run.params["p"].as_str(), run.tags["t"].as_str()), (i.to_string().as_str(), "v"));
        assert_eq!(run.datasets.len(), usize::from(i == 0));
        let points = history(&store, &run.id, "m", 3).await;
        assert_eq!(points.iter().map(|point| point.step).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(points[3].bits, value.to_bits());
    }
    // The order that SQL computed is the one that new points get.
    let rows = meta.query("SELECT value_order, bits FROM tracking_metric_latest", &[]).await.unwrap();
    for row in rows {
        let value = f64::from_bits(row.get::<i64>("bits").unwrap().cast_unsigned());
        assert_eq!(row.get::<i64>("value_order").unwrap(), order_of(value), "{value}");
    }
    let search = Search::new().with_filter("metrics.m > -3").with_order("metrics.m DESC");
    let found = store.search_runs(&[ExperimentId(0)], &search).await.unwrap().items;
    assert_eq!(
        found.iter().map(|run| run.name.as_str()).collect::<Vec<_>>(),
        ["run 4", "run 0", "run 6", "run 7", "run 1"]
    );
    assert!(meta.query("SELECT run_id FROM tracking_metric", &[]).await.unwrap().is_empty());
    SqlTrackingStore::builder(meta).build().await.unwrap();
}

#[tokio::test]
async fn single_points_gather_in_few_segments() {
    let (store, random) = (store().await, SplitMix64::new(5));
    let run = start(&store).await;
    let mut expected = Vec::new();
    for i in 0..3_000_u64 {
        // A clock that jumps, steps that repeat, and every tenth point twice.
        let (at, step) = ((random.bits(i) % 5_000) as i64, (i / 7) as i64);
        let point = metric("m", (i % 10) as f64, at, step);
        log(&store, &run, vec![point.clone()]).await;
        if i % 10 == 0 {
            log(&store, &run, vec![point.clone()]).await;
        }
        expected.push(Point::from(&point));
    }
    normalize(&mut expected);
    assert_eq!(history(&store, &run, "m", 999).await, expected);
    assert!(segments(&store).await < 30, "{}", segments(&store).await);
    let record = store.run(&run).await.unwrap();
    let latest = expected.iter().max_by_key(|point| (point.step, point.at, point.value() as i64)).unwrap();
    assert_eq!(Point::from(&record.metrics["m"]), *latest);
}

#[tokio::test]
async fn batches_become_large_segments_and_repeated_ones_change_nothing() {
    let store = store().await;
    let run = start(&store).await;
    let batch = |from: i64| (from..from + 1_000).map(|i| metric("m", i as f64, i, i)).collect::<Vec<_>>();
    for part in 0..40 {
        log(&store, &run, batch(part * 1_000)).await;
        log(&store, &run, batch(part * 1_000)).await;
    }
    let points = history(&store, &run, "m", 7_000).await;
    assert_eq!(points.iter().map(|point| point.step).collect::<Vec<_>>(), (0..40_000).collect::<Vec<_>>());
    assert!(segments(&store).await <= 20, "{}", segments(&store).await);
    // Many keys at once, some of them new, and a page of exactly the rest.
    let many: Vec<Metric> = (0..900).map(|i| metric(&format!("k{i}"), 1.0, 1, 0)).collect();
    log(&store, &run, many).await;
    assert_eq!(store.run(&run).await.unwrap().metrics.len(), 901);
    let whole = PageRequest { max_results: Some(40_000), token: None };
    assert_eq!(store.metric_history(&run, "m", &whole).await.unwrap().next_page_token, None);
    assert!(store.metric_history(&run, "none", &whole).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn samples_and_charts_are_those_of_the_whole_history() {
    let (store, random) = (store().await, SplitMix64::new(9));
    let runs = [start(&store).await, start(&store).await];
    for (run, count) in runs.iter().zip([3_000, 700]) {
        for part in (0..count).step_by(500) {
            let point = |i: i64| metric("m", (i % 17) as f64, (random.bits(i as u64) % 9_000) as i64, i / 2);
            log(&store, run, (part..count.min(part + 500)).map(point).collect()).await;
        }
    }
    let sample = HistorySample::new("m").with_points_max(40);
    let paged = sample::sampled(&sample::Paged(&store), &runs, &sample).await.unwrap();
    assert_eq!(store.metric_history_sampled(&runs, &sample).await.unwrap(), paged);
    assert_eq!((paged[0].1.first().unwrap().step, paged[0].1.last().unwrap().step), (0, 1_499));
    let chart = store.metric_chart(&runs[0], &sample).await.unwrap();
    assert_eq!(chart, sample::chart(&sample::Paged(&store), &runs[0], &sample).await.unwrap());
    assert!(chart.len() == 40 && chart.is_sorted_by_key(|metric| metric.step));
    let part = store.metric_chart(&runs[0], &sample.with_steps(10, 20)).await.unwrap();
    assert_eq!(part.iter().map(|metric| metric.step).collect::<BTreeSet<_>>(), (10..=20).collect());
}

#[tokio::test]
async fn a_repeated_point_never_becomes_the_latest_again() {
    let store = store().await;
    let run = start(&store).await;
    for value in [f64::NAN, 0.0, f64::NAN, -0.0] {
        log(&store, &run, vec![metric("m", value, 1, 1)]).await;
        assert!(store.run(&run).await.unwrap().metrics["m"].value.is_nan(), "zero and NaN count as equal");
    }
    assert_eq!(history(&store, &run, "m", 10).await.len(), 3);
}

#[tokio::test]
async fn damaged_segments_are_reported() {
    let store = store().await;
    let run = start(&store).await;
    log(&store, &run, vec![metric("m", 1.0, 1, 1)]).await;
    store.meta.execute("UPDATE tracking_segment SET points = $1", params![vec![1_u8, 1, 0, 0]]).await.unwrap();
    let error = store.metric_history(&run, "m", &PageRequest::default()).await.unwrap_err();
    assert_eq!(error.kind(), mlops_core::ErrorKind::DataLoss);
}

fn dataset(name: &str, context: &str) -> DatasetInput {
    let dataset = LoggedDataset { name: name.to_owned(), digest: "1".to_owned(), ..LoggedDataset::default() };
    DatasetInput { dataset, tags: [pair(crate::tracking::DATASET_CONTEXT_TAG, context)].into() }
}

const NUMBERS: [f64; 9] = [0.0, -0.0, 1.0, -1.0, 2.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-300];

/// Runs of two experiments that have and lack things in every combination that matters.
async fn random_runs(store: &SqlTrackingStore, chance: &Chance, count: usize) -> Vec<ExperimentId> {
    let second = store.create_experiment("second", crate::CreateExperiment::default()).await.unwrap();
    let experiments = vec![ExperimentId(0), second];
    for _ in 0..count {
        let started = Timestamp::from_micros(chance.of(&[-1_500, -1, 0, 999, 1_000, 1_001, 2_000, 5_000]));
        let run = CreateRun {
            name: Some(chance.of(&TEXTS).to_owned()),
            user: chance.of(&TEXTS).to_owned(),
            started: Some(started),
            ..CreateRun::new(chance.of(&experiments))
        };
        let id = store.create_run(run).await.unwrap().id;
        let mut batch = Batch::default();
        for key in ["m", "n"] {
            if chance.below(3) > 0 {
                batch.metrics.push(metric(key, chance.of(&NUMBERS), 1, 1));
            }
            if chance.below(3) > 0 {
                batch.params.push(pair(key, chance.of(&TEXTS)));
            }
            if chance.below(3) > 0 {
                batch.tags.push(pair(key, chance.of(&TEXTS)));
            }
        }
        store.log_batch(&id, &batch).await.unwrap();
        if chance.below(2) == 0 {
            let input = dataset(chance.of(&TEXTS[1..]), chance.of(&["train", "Test"]));
            store.log_inputs(&id, &[input]).await.unwrap();
        }
        if chance.below(2) == 0 {
            let ended = Some(Timestamp::from_micros(chance.of(&[0, 1_999, 2_000, 3_000])));
            let update = RunUpdate { status: Some(RunStatus::Finished), ended, name: None };
            store.update_run(&id, update).await.unwrap();
        }
        if chance.below(5) == 0 {
            store.delete_run(&id).await.unwrap();
        }
    }
    experiments
}

fn random_clause(chance: &Chance) -> String {
    let operator = chance.of(&["=", "!=", "<", "<=", ">", ">="]);
    match chance.below(9) {
        0 | 1 => {
            let number = chance.of(&["0", "1", "-1", "2.5", "1e999", "-1e999", "-0.5"]);
            format!("metrics.{} {operator} {number}", chance.of(&["m", "n", "none"]))
        }
        2 => text_clause(chance.of(&["params.m", "parameters.n"]), chance),
        3 => text_clause(chance.of(&["tags.m", "tags.n", "tags.none"]), chance),
        4 => format!("{} IS {}NULL", chance.of(&["tags.m", "params.n"]), chance.of(&["", "NOT "])),
        5 => text_clause(chance.of(&["run_name", "user_id", "status", "artifact_uri"]), chance),
        6 => format!(
            "{} {operator} {}",
            chance.of(&["start_time", "end_time", "created"]),
            chance.of(&["-1", "0", "1", "1.5", "2", "1e300"])
        ),
        7 => text_clause(chance.of(&["datasets.name", "datasets.digest", "datasets.context"]), chance),
        _ => {
            format!("datasets.{} {}IN {}", chance.of(&["name", "context"]), chance.of(&["", "NOT "]), text_list(chance))
        }
    }
}

fn random_search(chance: &Chance) -> Search {
    let clauses: Vec<String> = (0..chance.below(3)).map(|_| random_clause(chance)).collect();
    let mut search = Search::new().with_filter(clauses.join(" AND "));
    let keys = [
        "metrics.m",
        "metrics.n",
        "metrics.none",
        "params.m",
        "tags.n",
        "start_time",
        "end_time",
        "run_name",
        "status",
        "run_id",
        "datasets.name",
    ];
    let mut named = BTreeSet::new();
    for _ in 0..chance.below(4) {
        let key = chance.of(&keys);
        if named.insert(key) {
            search = search.with_order(format!("{key} {}", chance.of(&["ASC", "DESC"])));
        }
    }
    search.view = chance.of(&[View::ActiveOnly, View::All, View::DeletedOnly]);
    search.with_max_results(1 + chance.below(12))
}

/// What the documentation promises, evaluated over records.
fn expected(all: &[Arc<RunRecord>], experiments: &[ExperimentId], search: &Search) -> Vec<RunId> {
    let filter = Filter::parse::<RunRecord>(&search.filter).unwrap();
    let order = OrderKey::parse_all::<RunRecord>(&search.order_by).unwrap();
    let admits = |run: &&RunRecord| {
        experiments.contains(&run.experiment) && search.view.admits(run.deleted) && filter.admits(*run)
    };
    let mut found: Vec<&RunRecord> = all.iter().map(Arc::as_ref).filter(admits).collect();
    found.sort_by(|a, b| {
        compare_by(&order, *a, *b).then(b.started.cmp(&a.started)).then_with(|| a.id.as_str().cmp(b.id.as_str()))
    });
    found.into_iter().map(|run| run.id.clone()).collect()
}

pub(super) async fn searches_agree_with_the_reference(store: &SqlTrackingStore, seed: u64) {
    let chance = Chance::new(seed);
    let experiments = random_runs(store, &chance, 60).await;
    let rows = store.meta.query("SELECT seq FROM tracking_run ORDER BY seq", &[]).await.unwrap();
    // None has this revision, so all are read.
    let numbers: Vec<Revision> = rows.iter().map(|row| Revision { run: row.get("seq").unwrap(), number: -1 }).collect();
    let all = store.read_runs(&numbers, &SearchColumns::default()).await.unwrap();
    assert_eq!(all.len(), 60);
    for _ in 0..400 {
        let mut search = random_search(&chance);
        let among = chance.of(&[&experiments[..1], &experiments[..], &experiments[1..]]);
        let expected = expected(&all, among, &search);
        assert_eq!(store.count_runs(among, &search).await.unwrap(), expected.len() as u64, "{search:?}");
        let mut found = Vec::new();
        loop {
            let page = store.search_runs(among, &search).await.unwrap();
            found.extend(page.items.iter().map(|run| run.id.clone()));
            search.page.token = page.next_page_token;
            if search.page.token.is_none() {
                break;
            }
            assert!(found.len() <= expected.len(), "pages that do not end: {search:?}");
        }
        assert_eq!(found, expected, "{search:?} in {among:?}");
    }
}

#[tokio::test]
async fn random_searches_find_what_the_reference_finds() {
    searches_agree_with_the_reference(&store().await, 20_261_125).await;
}

#[tokio::test]
async fn the_longest_filter_and_order_are_taken() {
    let store = store().await;
    let run = start(&store).await;
    let clauses = vec!["tag.x IS NULL"; 900];
    let search = Search::new().with_filter(clauses.join(" AND "));
    assert_eq!(store.search_runs(&[ExperimentId(0)], &search).await.unwrap().items[0].id, run);
    let ordered = |count: usize| (0..count).fold(Search::new(), |search, i| search.with_order(format!("tags.k{i}")));
    assert_eq!(store.search_runs(&[ExperimentId(0)], &ordered(32)).await.unwrap().items.len(), 1);
    assert!(store.search_runs(&[ExperimentId(0)], &ordered(33)).await.is_err());
}

#[tokio::test]
async fn pages_are_not_moved_by_runs_that_come_or_go() {
    let store = store().await;
    let mut runs = Vec::new();
    for i in 0..4 {
        let run = start(&store).await;
        log(&store, &run, vec![metric("m", f64::from(i), 1, 1)]).await;
        runs.push(run);
    }
    let mut search = Search::new().with_order("metrics.m").with_max_results(2);
    search.page.token = store.search_runs(&[ExperimentId(0)], &search).await.unwrap().next_page_token;
    store.delete_run(&runs[0]).await.unwrap();
    let late = start(&store).await;
    log(&store, &late, vec![metric("m", -1.0, 1, 1)]).await;
    let second = store.search_runs(&[ExperimentId(0)], &search).await.unwrap();
    assert_eq!(second.items.iter().map(|run| run.id.clone()).collect::<Vec<_>>(), runs[2..]);
    assert_eq!(second.next_page_token, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_items_that_are_appended_at_once_none_is_lost() {
    let store = store().await;
    let run = start(&store).await;
    let append = |i: i32| {
        let (store, run) = (store.clone(), run.clone());
        tokio::spawn(async move { store.append_run_tag(&run, "list", &i.into()).await })
    };
    for task in Vec::from_iter((0..50).map(append)) {
        task.await.unwrap().unwrap();
    }
    let mut items: Vec<i32> = serde_json::from_str(&store.run(&run).await.unwrap().tags["list"]).unwrap();
    items.sort_unstable();
    assert_eq!(items, Vec::from_iter(0..50));
}

/// What searches give is what was written, whoever wrote it: two stores over one database stand for two processes, each of
/// which keeps runs of its own.
#[tokio::test]
async fn kept_runs_show_every_change_at_once() {
    let meta: Arc<dyn MetaStore> = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
    let mut stores = Vec::new();
    // The last one keeps so little that runs come and go.
    for bytes in [1 << 20, 1 << 20, 12_000] {
        stores.push(SqlTrackingStore::builder(Arc::clone(&meta)).with_cached_bytes(bytes).build().await.unwrap());
    }
    let plain = SqlTrackingStore::builder(meta).with_cached_bytes(0).build().await.unwrap();
    let chance = Chance::new(20_261_127);
    let experiments = random_runs(&plain, &chance, 12).await;
    let search = Search::new().with_view(View::All);
    let runs: Vec<RunId> =
        plain.search_runs(&experiments, &search).await.unwrap().items.iter().map(|run| run.id.clone()).collect();
    for change in 0..300_u32 {
        let (writer, run) = (&stores[chance.below(3)], &runs[chance.below(runs.len())]);
        // What is refused, such as changing a run that is deleted, changes nothing.
        drop(random_change(writer, run, &chance, change).await);
        // As text, for a metric may be NaN.
        let found = async |store: &SqlTrackingStore| {
            format!("{:#?}", store.search_runs(&experiments, &search).await.unwrap().items)
        };
        let expected = found(&plain).await;
        for (place, store) in stores.iter().enumerate() {
            assert_eq!(found(store).await, expected, "{change}, store {place}");
        }
    }
}

async fn random_change(store: &SqlTrackingStore, run: &RunId, chance: &Chance, change: u32) -> Result<()> {
    let mut batch = Batch::default();
    match chance.below(10) {
        0 => batch.metrics.push(metric(chance.of(&["m", "n"]), f64::from(change), i64::from(change), 1)),
        1 => batch.params.push(pair(&format!("p{}", change % 20), chance.of(&TEXTS))),
        2 => batch.tags.push(pair(chance.of(&["m", "mlflow.runName"]), &format!("value {change}"))),
        3 => return store.delete_run_tag(run, "m").await,
        4 => return store.append_run_tag(run, "list", &change.into()).await,
        5 => {
            let status = chance.of(&[RunStatus::Running, RunStatus::Failed, RunStatus::Finished]);
            let ended = Some(Timestamp::from_millis(i64::from(change)));
            return store.update_run(run, RunUpdate { status: Some(status), ended, name: None }).await.map(drop);
        }
        6 => return store.delete_run(run).await,
        7 => return store.restore_run(run).await,
        8 => return store.log_inputs(run, &[dataset(&format!("d{change}"), "train")]).await,
        _ => {
            let experiment = store.run(run).await?.experiment;
            let deleted = store.delete_experiment(experiment).await;
            return if change.is_multiple_of(4) { deleted } else { store.restore_experiment(experiment).await };
        }
    }
    store.log_batch(run, &batch).await
}

#[tokio::test]
async fn a_search_brings_along_what_it_names() {
    let store = store().await;
    let run = start(&store).await;
    let batch = Batch {
        metrics: vec![metric("a", 1.0, 1, 1), metric("b", 1.0, 1, 1)],
        params: vec![pair("p", "1"), pair("q", "2")],
        tags: vec![pair("t", "1")],
        ..Batch::default()
    };
    store.log_batch(&run, &batch).await.unwrap();
    let columns =
        SearchColumns { metrics: Columns::only(["b", "none"]), params: Columns::only::<&str>([]), tags: Columns::All };
    // An inexact clause is decided by all columns all the same.
    let search = Search::new().with_filter("params.q ILIKE '2'").with_columns(columns);
    let found = store.search_runs(&[ExperimentId(0)], &search).await.unwrap().items.remove(0);
    assert_eq!(found.metrics.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!((&found.params, found.tags.len()), (&BTreeMap::new(), 2));
    let many = Columns::only((0..1_001).map(|i| format!("k{i}")));
    let search = Search::new().with_columns(SearchColumns { metrics: many, ..SearchColumns::default() });
    assert!(store.search_runs(&[ExperimentId(0)], &search).await.is_err());
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn postgres_searches_find_what_the_reference_finds() {
    let Some(meta) = postgres("run_searches").await else { return };
    let store = SqlTrackingStore::builder(meta).build().await.unwrap();
    searches_agree_with_the_reference(&store, 20_261_126).await;
}
