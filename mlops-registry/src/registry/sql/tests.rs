//! Searches of models and versions against a plain reference.

use std::{collections::BTreeSet, sync::Arc};

use mlops_core::{ModelName, Timestamp, Version, testing::ManualClock};
use mlops_store::{BlobStore, MetaStore, SqliteMetaStore};

use super::*;
#[cfg(feature = "postgres")]
use crate::search::testing::postgres;
use crate::{
    Actor, CreateModel, CreateVersion, ModelRegistry, ModelVersion, MoveAlias, RegisteredModel, Search,
    search::{
        Fields, Filter, OrderKey, Page, compare_by,
        testing::{Chance, TEXTS, text_clause, text_list},
    },
};

const KEYS: [&str; 4] = ["m", "n", "none", PROMPT_TAG];

/// Models and versions that have and lack things in every combination that matters.
async fn random_models(registry: &SqlModelRegistry, clock: &ManualClock, chance: &Chance) {
    let tags = |chance: &Chance| {
        let mut tags = BTreeMap::new();
        for key in ["m", "n"] {
            if chance.below(3) > 0 {
                tags.insert(key.to_owned(), chance.of(&TEXTS).to_owned());
            }
        }
        if chance.below(4) == 0 {
            tags.insert(PROMPT_TAG.to_owned(), chance.of(&["true", "false"]).to_owned());
        }
        tags
    };
    for (i, name) in ["a", "A", "ab", "Ärger", "ärger", "b", "kelvin", "z%", "z_", "zz"].into_iter().enumerate() {
        clock.set(Timestamp::from_millis(chance.of(&[1, 2, 3, 5])));
        let name = ModelName::new(name).unwrap();
        registry.create_model(&name, CreateModel { tags: tags(chance), ..CreateModel::default() }).await.unwrap();
        for number in 1..=chance.below(6) as u64 {
            clock.set(Timestamp::from_millis(chance.of(&[5, 6, 7])));
            let run_id = (chance.below(2) == 0).then(|| format!("{:032x}", chance.below(3)).parse().unwrap());
            let options = CreateVersion { tags: tags(chance), run_id, ..CreateVersion::default() };
            let uri = format!("s3://{}", chance.of(&TEXTS));
            registry.create_version_from_uri(&name, &uri, options).await.unwrap();
            let version = Version(number);
            if chance.below(3) == 0 {
                let alias = chance.of(&["champion", "next"]).parse().unwrap();
                registry.set_alias(&name, &alias, version, MoveAlias::default()).await.unwrap();
            } else if chance.below(6) == 0 && i > 0 {
                registry.delete_version(&name, version, &Actor::default()).await.unwrap();
            }
        }
    }
}

/// A filter over subjects of texts, times and whole numbers.
fn random_filter(chance: &Chance, texts: &[&str], listed: &[&str], numbers: &[&str]) -> String {
    let operator = |chance: &Chance| chance.of(&["=", "!=", "<", "<=", ">", ">="]);
    let clause = |_| match chance.below(5) {
        0 | 1 => text_clause(chance.of(texts), chance),
        2 => text_clause(&format!("tags.`{}`", chance.of(&KEYS)), chance),
        3 => format!("{} {}IN {}", chance.of(listed), chance.of(&["", "NOT "]), text_list(chance)),
        _ => {
            let number = chance.of(&["0", "1", "2", "2.5", "5", "6", "1e300", "-1e999"]);
            format!("{} {} {number}", chance.of(numbers), operator(chance))
        }
    };
    (0..chance.below(3)).map(clause).collect::<Vec<_>>().join(" AND ")
}

fn random_order(mut search: Search, chance: &Chance, keys: &[&str]) -> Search {
    let mut named = BTreeSet::new();
    for _ in 0..chance.below(4) {
        let key = chance.of(keys);
        if named.insert(key) {
            search = search.with_order(format!("{key} {}", chance.of(&["ASC", "DESC"])));
        }
    }
    search.with_max_results(1 + chance.below(7))
}

/// What the documentation promises, evaluated over records that are in the order of a search without keys.
fn expected<T: Fields + Clone>(all: &[T], search: &Search, by_name: impl Fn(&T, &T) -> std::cmp::Ordering) -> Vec<T> {
    let filter = Filter::parse::<T>(&search.filter).unwrap();
    let order = OrderKey::parse_all::<T>(&search.order_by).unwrap();
    let mut found: Vec<T> = all.iter().filter(|record| filter.admits(*record)).cloned().collect();
    if !order.is_empty() {
        found.sort_by(|a, b| compare_by(&order, a, b).then_with(|| by_name(a, b)));
    }
    found
}

async fn walk<T>(mut search: Search, most: usize, page: impl AsyncFn(&Search) -> Page<T>) -> Vec<T> {
    let mut found = Vec::new();
    loop {
        let part = page(&search).await;
        found.extend(part.items);
        search.page.token = part.next_page_token;
        if search.page.token.is_none() {
            return found;
        }
        assert!(found.len() <= most, "pages that do not end: {search:?}");
    }
}

async fn searches_agree_with_the_reference(meta: Arc<dyn MetaStore>, seed: u64) {
    let (chance, clock) = (Chance::new(seed), Arc::new(ManualClock::at(Timestamp::from_millis(1))));
    let registry = SqlModelRegistry::builder(meta, BlobStore::in_memory())
        .with_clock(Arc::<ManualClock>::clone(&clock))
        .build()
        .await;
    let registry = registry.unwrap();
    random_models(&registry, &clock, &chance).await;

    let mut models = Vec::new();
    let mut versions: Vec<ModelVersion> = Vec::new();
    for row in registry.meta.query("SELECT name FROM registry_model", &[]).await.unwrap() {
        let name: ModelName = row.get::<String>("name").unwrap().parse().unwrap();
        models.push(registry.model(&name).await.unwrap());
        let sql = "SELECT version FROM registry_version WHERE model = $1 AND deleted = 0";
        for row in registry.meta.query(sql, params![name.as_str()]).await.unwrap() {
            versions.push(registry.version(&name, Version(row.get("version").unwrap())).await.unwrap());
        }
        let newest_first = |version: &ModelVersion| std::cmp::Reverse(version.version);
        let mut own: Vec<ModelVersion> = versions.iter().filter(|version| version.model == name).cloned().collect();
        own.sort_by_key(newest_first);
        let listed = walk(Search::new().with_max_results(2), own.len(), async |search| {
            registry.list_versions(&name, &search.page).await.unwrap()
        });
        assert_eq!(listed.await, own);
    }
    let by_name = |a: &RegisteredModel, b: &RegisteredModel| a.name.as_str().cmp(b.name.as_str());
    models.sort_by(by_name);
    let by_number =
        |a: &ModelVersion, b: &ModelVersion| (a.model.as_str(), b.version).cmp(&(b.model.as_str(), a.version));
    versions.sort_by(|a, b| b.updated.cmp(&a.updated).then_with(|| by_number(a, b)));
    assert!(models.len() == 10 && versions.len() > 12);

    let times = ["creation_timestamp", "last_updated_timestamp"];
    for _ in 0..300 {
        let filter = random_filter(&chance, &["name"], &["name"], &[&times[..], &["timestamp"]].concat());
        let search = random_order(
            Search::new().with_filter(filter),
            &chance,
            &["name", "timestamp", "creation_timestamp", "tags.m", "tags.`mlflow.prompt.is_prompt`"],
        );
        let found = walk(search.clone(), 10, async |search| registry.search_models(search).await.unwrap()).await;
        assert_eq!(found, expected(&models, &search, by_name), "{search:?}");

        let texts = ["name", "run_id", "source_path"];
        let filter = random_filter(&chance, &texts, &["name", "run_id"], &[&times[..], &["version_number"]].concat());
        let search = random_order(
            Search::new().with_filter(filter),
            &chance,
            &["name", "run_id", "source_path", "version_number", "creation_timestamp", "tags.n", "tags.none"],
        );
        let found = walk(search.clone(), 60, async |search| registry.search_versions(search).await.unwrap()).await;
        assert_eq!(found, expected(&versions, &search, by_number), "{search:?}");
    }
}

#[tokio::test]
async fn random_searches_find_what_the_reference_finds() {
    let meta = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
    searches_agree_with_the_reference(meta, 20_261_126).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn postgres_searches_find_what_the_reference_finds() {
    let Some(meta) = postgres("model_searches").await else { return };
    searches_agree_with_the_reference(meta, 20_261_127).await;
}
