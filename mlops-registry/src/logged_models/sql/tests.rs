//! Searches of logged models against a plain reference, and an older database.

use std::{cmp::Ordering, collections::BTreeSet};

use mlops_core::{Metric, RunId, Timestamp, testing::ManualClock};
use mlops_store::{MetaStoreExt as _, Migrations, SqliteMetaStore, params};

use super::{
    search::{Seen, attribute},
    *,
};
#[cfg(feature = "postgres")]
use crate::search::testing::postgres;
use crate::{
    Batch, CreateExperiment, CreateLoggedModel, CreateRun, DatasetFilter, ExperimentId, LoggedModel, LoggedModelOrder,
    LoggedModelSearch, LoggedModelStatus, LoggedModelStore as _, ModelMetric, SqlTrackingStore, View,
    search::{
        Filter, Operand, compare_operands,
        testing::{Chance, TEXTS, text_clause, text_list},
        value_order::order_of,
    },
};

const VALUES: [f64; 9] = [-1.5, -0.0, 0.0, 0.25, 1.0, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
const KEYS: [&str; 3] = ["m", "n", "none"];

fn pairs(chance: &Chance) -> Vec<(String, String)> {
    let some = ["m", "n"].into_iter().filter(|_| chance.below(3) > 0);
    some.map(|key| (key.to_owned(), chance.of(&TEXTS).to_owned())).collect()
}

fn point(model: &LoggedModelId, chance: &Chance) -> ModelMetric {
    let dataset = |chance: &Chance| (chance.below(3) > 0).then(|| chance.of(&["d", "e"]).to_owned());
    ModelMetric {
        model: model.clone(),
        metric: Metric {
            key: chance.of(&["m", "n"]).to_owned(),
            value: chance.of(&VALUES),
            timestamp: Timestamp::from_millis(chance.below(4) as i64),
            step: chance.below(3) as i64,
        },
        run: None,
        dataset_name: dataset(chance),
        dataset_digest: dataset(chance),
    }
}

/// Models that have and lack things in every combination that matters, in three experiments.
async fn random_models(
    tracking: &SqlTrackingStore,
    store: &SqlLoggedModelStore,
    clock: &ManualClock,
    chance: &Chance,
) -> Vec<LoggedModel> {
    let mut experiments = vec![ExperimentId(0)];
    for name in ["a", "b"] {
        experiments.push(tracking.create_experiment(name, CreateExperiment::default()).await.unwrap());
    }
    let mut runs: Vec<RunId> = Vec::new();
    for _ in 0..2 {
        runs.push(tracking.create_run(CreateRun::new(ExperimentId(0))).await.unwrap().id);
    }
    let mut all = Vec::new();
    for _ in 0..40 {
        clock.set(Timestamp::from_millis(chance.of(&[1, 2, 3, 5])));
        let create = CreateLoggedModel {
            model_type: chance.of(&TEXTS).to_owned(),
            source_run: (chance.below(2) == 0).then(|| runs[chance.below(2)].clone()),
            params: pairs(chance),
            tags: pairs(chance),
            ..CreateLoggedModel::new(experiments[chance.below(3)])
        };
        let name = chance.of(&["a", "A", "ab", "Ärger", "ärger", "kelvin", "\u{212a}elvin", "z_"]);
        let id = store.create_logged_model(create.with_name(name)).await.unwrap().id;
        for run in &runs {
            let points = (0..chance.below(7)).map(|_| point(&id, chance)).collect();
            tracking.log_batch(run, &Batch { model_metrics: points, ..Batch::default() }).await.unwrap();
        }
        clock.set(Timestamp::from_millis(chance.of(&[5, 6, 7])));
        if chance.below(2) == 0 {
            let status = chance.of(&LoggedModelStatus::ALL);
            store.finalize_logged_model(&id, status).await.unwrap();
        }
        if chance.below(5) == 0 {
            store.delete_logged_model(&id).await.unwrap();
        }
        all.push(store.logged_model(&id, View::All).await.unwrap());
    }
    all
}

fn random_filter(chance: &Chance) -> String {
    let texts = ["name", "model_id", "model_type", "status", "source_run_id", "experiment_id", "artifact_location"];
    let operator = |chance: &Chance| chance.of(&["=", "!=", "<", "<=", ">", ">="]);
    let clause = |_| match chance.below(6) {
        0 => text_clause(chance.of(&texts), chance),
        1 => text_clause(&format!("{}.{}", chance.of(&["params", "tags"]), chance.of(&KEYS)), chance),
        2 => {
            let subject = chance.of(&["params.m", "tags.n", "name", "status", "experiment_id", "source_run_id"]);
            format!("{subject} {}IN {}", chance.of(&["", "NOT "]), text_list(chance))
        }
        3 => format!("experiment_id {} '{}'", chance.of(&["=", "!=", "LIKE"]), chance.of(&["0", "1", "2"])),
        4 => {
            let time = chance.of(&["creation_timestamp", "last_updated_timestamp", "creation_timestamp_ms"]);
            format!("{time} {} {}", operator(chance), chance.of(&["1", "2", "2.5", "5", "6", "1e300", "-1e999"]))
        }
        _ => {
            let value = chance.of(&["-2", "0", "-0.0", "0.25", "1", "1e300", "1e999", "-1e999"]);
            format!("metrics.{} {} {value}", chance.of(&KEYS), operator(chance))
        }
    };
    (0..chance.below(3)).map(clause).collect::<Vec<_>>().join(" AND ")
}

fn random_search(chance: &Chance) -> LoggedModelSearch {
    let fields = [
        "name",
        "model_id",
        "status",
        "source_run_id",
        "experiment_id",
        "creation_timestamp",
        "last_updated_timestamp",
        "metrics.m",
        "metrics.n",
        "metrics.none",
    ];
    let dataset = |chance: &Chance, none: usize| (chance.below(3) > none).then(|| chance.of(&["d", "e"]).to_owned());
    let order = |_| LoggedModelOrder {
        field: chance.of(&fields).to_owned(),
        ascending: chance.below(2) == 0,
        dataset_name: dataset(chance, 1),
        dataset_digest: dataset(chance, 1),
    };
    let order_by = (0..chance.below(4)).map(order).collect();
    let datasets = if chance.below(3) == 0 { 1 + chance.below(2) } else { 0 };
    let datasets = (0..datasets)
        .map(|_| DatasetFilter { name: chance.of(&["d", "e", "f"]).to_owned(), digest: dataset(chance, 0) })
        .collect();
    let view = chance.of(&[View::ActiveOnly, View::DeletedOnly, View::All]);
    let mut search = LoggedModelSearch { order_by, datasets, view, ..LoggedModelSearch::new() };
    search.page.max_results = Some(1 + chance.below(9));
    search.with_filter(random_filter(chance))
}

/// The value to order by: of a metric the last one by time, then step, on the dataset that the key names.
fn rank(model: &LoggedModel, order: &LoggedModelOrder) -> Operand {
    let Some(key) = order.field.strip_prefix("metrics.") else { return attribute(model, &order.field) };
    let wanted = |asked: &Option<String>, held: &Option<String>| asked.is_none() || asked == held;
    let counts = |point: &&ModelMetric| {
        point.metric.key == key
            && wanted(&order.dataset_name, &point.dataset_name)
            && wanted(&order.dataset_digest, &point.dataset_digest)
    };
    let last = model.metrics.iter().filter(counts).max_by_key(|point| (point.metric.timestamp, point.metric.step));
    last.map_or(Operand::Missing, |point| Operand::Number(point.metric.value))
}

/// What the documentation promises.
fn expected(all: &[LoggedModel], experiments: &[ExperimentId], search: &LoggedModelSearch) -> Vec<LoggedModelId> {
    let filter = Filter::parse::<Seen<'_>>(&search.filter).unwrap();
    let admits = |model: &&LoggedModel| {
        let seen = Seen { model, datasets: &search.datasets };
        let measured = search.datasets.is_empty() || model.metrics.iter().any(|point| seen.counts(point));
        experiments.contains(&model.experiment) && search.view.admits(model.deleted) && measured && filter.admits(&seen)
    };
    let mut found: Vec<&LoggedModel> = all.iter().filter(admits).collect();
    let by_key = |a: &LoggedModel, b: &LoggedModel| {
        let compare = |order: &LoggedModelOrder| compare_operands(&rank(a, order), &rank(b, order), !order.ascending);
        search.order_by.iter().map(compare).find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
    };
    found.sort_by(|a, b| by_key(a, b).then(b.created.cmp(&a.created)).then(a.id.cmp(&b.id)));
    found.into_iter().map(|model| model.id.clone()).collect()
}

async fn searches_agree_with_the_reference(meta: Arc<dyn MetaStore>, seed: u64) {
    let (chance, clock) = (Chance::new(seed), Arc::new(ManualClock::at(Timestamp::from_millis(1))));
    let tracking = SqlTrackingStore::builder(Arc::clone(&meta)).build().await.unwrap();
    let store = SqlLoggedModelStore::builder(meta, Arc::new(tracking.clone()))
        .with_clock(Arc::<ManualClock>::clone(&clock))
        .build()
        .await
        .unwrap();
    let all = random_models(&tracking, &store, &clock, &chance).await;
    let experiments: BTreeSet<ExperimentId> = all.iter().map(|model| model.experiment).collect();
    let experiments: Vec<ExperimentId> = experiments.into_iter().collect();
    assert_eq!(experiments.len(), 3);
    let (mut sum, mut empty) = (0, 0);
    for _ in 0..600 {
        let mut search = random_search(&chance);
        let among = &experiments[..chance.below(4)];
        let expected = expected(&all, among, &search);
        let mut found = Vec::new();
        loop {
            let page = store.search_logged_models(among, &search).await.unwrap();
            found.extend(page.items);
            search.page.token = page.next_page_token;
            if search.page.token.is_none() {
                break;
            }
            assert!(found.len() <= all.len(), "pages that do not end: {search:?}");
        }
        assert!(found.iter().all(|model| all.contains(model) || model.metrics.iter().any(|p| p.metric.value.is_nan())));
        let found: Vec<LoggedModelId> = found.into_iter().map(|model| model.id).collect();
        assert_eq!(found, expected, "{search:?}");
        sum += found.len();
        empty += usize::from(found.is_empty());
    }
    assert!(sum > 2_000 && empty < 500, "{sum} found, {empty} found nothing");
}

#[tokio::test]
async fn random_searches_find_what_the_reference_finds() {
    let meta = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
    searches_agree_with_the_reference(meta, 20_261_126).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn postgres_searches_find_what_the_reference_finds() {
    let Some(meta) = postgres("logged_model_searches").await else { return };
    searches_agree_with_the_reference(meta, 20_261_127).await;
}

#[tokio::test]
async fn points_of_version_1_are_ordered() {
    let meta: Arc<dyn MetaStore> = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
    let first = Migrations { namespace: MIGRATIONS.namespace, steps: &MIGRATIONS.steps[..1] };
    meta.migrate(&first).await.unwrap();
    for (step, value) in VALUES.into_iter().chain([-f64::NAN]).enumerate() {
        let sql =
            "INSERT INTO logged_model_point (model, key, at, step, run_id, bits) VALUES ('m-1', 'k', 1, $1, 'r', $2)";
        meta.execute(sql, params![step as i64, value.to_bits().cast_signed()]).await.unwrap();
    }
    meta.migrate(&MIGRATIONS).await.unwrap();
    let rows = meta.query("SELECT value_order, bits FROM logged_model_point", &[]).await.unwrap();
    assert_eq!(rows.len(), VALUES.len() + 1);
    for row in rows {
        let value = f64::from_bits(row.get::<i64>("bits").unwrap().cast_unsigned());
        assert_eq!(row.get::<i64>("value_order").unwrap(), order_of(value), "{value}");
    }
}

/// Records that come and go while one pages neither repeat nor hide others.
#[tokio::test]
async fn pages_go_on_behind_the_last_model() {
    let meta: Arc<dyn MetaStore> = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
    let tracking = SqlTrackingStore::builder(Arc::clone(&meta)).build().await.unwrap();
    let store = SqlLoggedModelStore::builder(meta, Arc::new(tracking)).build().await.unwrap();
    let named = async |name: &str| {
        store.create_logged_model(CreateLoggedModel::new(ExperimentId(0)).with_name(name)).await.unwrap().id
    };
    for name in ["b", "d", "f", "h"] {
        named(name).await;
    }
    let mut search = LoggedModelSearch::new().with_order("name", true);
    search.page.max_results = Some(2);
    let first = store.search_logged_models(&[ExperimentId(0)], &search).await.unwrap();
    named("a").await;
    named("g").await;
    store.delete_logged_model(&first.items[0].id).await.unwrap();
    search.page = crate::PageRequest { max_results: Some(10), token: first.next_page_token };
    let rest = store.search_logged_models(&[ExperimentId(0)], &search).await.unwrap().items;
    assert_eq!(rest.iter().map(|model| model.name.as_str()).collect::<Vec<_>>(), ["f", "g", "h"]);
}
