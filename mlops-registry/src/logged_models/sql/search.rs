//! Finding models: MLflow's filter grammar, orders by objects, datasets.
//!
//! Invariant: as of [`crate::search::sql`]. A clause on a metric and an order by one look at all points of a model.

use async_trait::async_trait;
use mlops_core::{Error, Result, Timestamp};
use mlops_store::Dialect;

use super::{SqlLoggedModelStore, read::MODELS_AT_ONCE};
use crate::{
    bound::Bound,
    limits::SEARCH_EXPERIMENTS_MAX,
    logged_models::record::{DatasetFilter, LoggedModel, LoggedModelOrder, LoggedModelSearch, ModelMetric},
    retry::Statement,
    search::{
        Clause, Fields, Filter, Literal, Operand, Page, Test, View,
        sql::{NEVER, SortValue, Term, check_order, is_inexact, page, position, text_test, time_test},
        value_order::{MISSING_ORDER, NAN_ORDER, value_test},
        walk::{Candidates, walk},
    },
    tracking::ExperimentId,
};

/// Most datasets in one search.
const DATASETS_MAX: usize = 100;
/// Most datasets that all clauses on metrics together may have to compare with.
const COMPARISONS_MAX: usize = 2_000;

/// A model as a search sees it: with the points that count.
pub(super) struct Seen<'a> {
    pub(super) model: &'a LoggedModel,
    pub(super) datasets: &'a [DatasetFilter],
}

impl Seen<'_> {
    pub(super) fn counts(&self, point: &ModelMetric) -> bool {
        self.datasets.is_empty() || self.datasets.iter().any(|dataset| dataset.admits(point))
    }
}

const ATTRIBUTES: &[(&str, bool)] = &[
    ("name", false),
    ("model_id", false),
    ("model_type", false),
    ("status", false),
    ("source_run_id", false),
    ("experiment_id", false),
    ("artifact_location", false),
    ("creation_time", true),
    ("creation_timestamp", true),
    ("creation_timestamp_ms", true),
    ("last_updated_timestamp", true),
    ("last_updated_timestamp_ms", true),
];

impl Fields for Seen<'_> {
    const GROUPS: &'static [(&'static str, &'static str)] =
        &[("metrics", "metrics"), ("params", "params"), ("tags", "tags")];
    const ATTRIBUTES: &'static [(&'static str, bool)] = ATTRIBUTES;
    const LISTED: &'static [&'static str] = &[
        "params",
        "tags",
        "name",
        "model_id",
        "model_type",
        "status",
        "source_run_id",
        "experiment_id",
        "artifact_location",
    ];
    const NULLABLE: &'static [&'static str] = &[];

    fn field(&self, group: &str, key: &str) -> Operand {
        let text = |value: Option<&String>| value.map_or(Operand::Missing, |value| Operand::Text(value.clone()));
        match group {
            "metrics" => {
                let points = self.model.metrics.iter().filter(|point| point.metric.key == key && self.counts(point));
                Operand::Numbers(points.map(|point| point.metric.value).collect())
            }
            "params" => text(self.model.params.get(key)),
            "tags" => text(self.model.tags.get(key)),
            _ => attribute(self.model, key),
        }
    }
}

pub(super) fn attribute(model: &LoggedModel, key: &str) -> Operand {
    let millis = |time: Timestamp| Operand::Number(time.as_millis() as f64);
    match key {
        "name" => Operand::Text(model.name.clone()),
        "model_id" => Operand::Text(model.id.to_string()),
        "model_type" => Operand::Text(model.model_type.clone()),
        "status" => Operand::Text(model.status.name().to_owned()),
        "source_run_id" => model.source_run.as_ref().map_or(Operand::Missing, |run| Operand::Text(run.to_string())),
        "experiment_id" => Operand::Text(model.experiment.to_string()),
        "artifact_location" => Operand::Text(model.artifact_uri.clone()),
        "creation_time" | "creation_timestamp" | "creation_timestamp_ms" => millis(model.created),
        _ => millis(model.updated),
    }
}

/// What an attribute is to the database.
enum Column {
    Text(&'static str),
    NullableText(&'static str),
    Time(&'static str),
}

fn column(key: &str) -> Column {
    match key {
        "name" => Column::Text("r.name"),
        "model_id" => Column::Text("r.id"),
        "model_type" => Column::Text("r.model_type"),
        "status" => Column::Text("r.status"),
        "source_run_id" => Column::NullableText("r.source_run"),
        // A text to filters and in order, as MLflow has it.
        "experiment_id" => Column::Text("CAST(r.experiment AS TEXT)"),
        "artifact_location" => Column::Text("r.artifact_uri"),
        "creation_time" | "creation_timestamp" | "creation_timestamp_ms" => Column::Time("r.created"),
        _ => Column::Time("r.updated"),
    }
}

fn check_key(order: &LoggedModelOrder) -> Result<()> {
    let bad = |why: &str| Err(Error::invalid_argument(format!("Invalid order by field name: {}. {why}", order.field)));
    match order.field.split_once('.') {
        Some(("metrics", key)) if !key.is_empty() => Ok(()),
        Some(_) => bad("Only metrics are supported."),
        None if ATTRIBUTES.iter().any(|(name, _)| *name == order.field) => Ok(()),
        None => bad("Name an attribute or metrics.<key>."),
    }
}

impl SqlLoggedModelStore {
    pub(super) async fn find(
        &self,
        experiments: &[ExperimentId],
        search: &LoggedModelSearch,
    ) -> Result<Page<LoggedModel>> {
        let filter = Filter::parse::<Seen<'_>>(&search.filter)?;
        search.order_by.iter().try_for_each(check_key)?;
        check_order(search.order_by.len())?;
        if let Some(unnamed) = search.datasets.iter().position(|dataset| dataset.name.is_empty()) {
            return Err(Error::invalid_argument(format!(
                "`dataset_name` in the `datasets` clause must be specified; datasets[{unnamed}] has none"
            )));
        }
        let measures = filter.clauses().iter().filter(|clause| clause.group == "metrics").count();
        if search.datasets.len() > DATASETS_MAX || search.datasets.len() * measures > COMPARISONS_MAX {
            return Err(Error::invalid_argument(format!(
                "a search can name at most {DATASETS_MAX} datasets, and {COMPARISONS_MAX} for all clauses on metrics \
                 together, found {} and {measures} such clauses",
                search.datasets.len()
            )));
        }
        if experiments.len() > SEARCH_EXPERIMENTS_MAX {
            return Err(Error::invalid_argument(format!(
                "a search can name at most {SEARCH_EXPERIMENTS_MAX} experiments, found {}",
                experiments.len()
            )));
        }
        let inexact = filter.clauses().iter().filter(|clause| is_inexact(&clause.test)).cloned().collect();
        let found = Found { store: self, experiments, search, filter: &filter, inexact: Filter::of(inexact) };
        let LoggedModelSearch { filter, datasets, order_by, view, page } = search;
        walk(&found, page, &format!("logged models {experiments:?} {filter} {datasets:?} {order_by:?} {view:?}")).await
    }
}

/// What a search finds.
struct Found<'a> {
    store: &'a SqlLoggedModelStore,
    experiments: &'a [ExperimentId],
    search: &'a LoggedModelSearch,
    filter: &'a Filter,
    /// The clauses on which the filter has the last word.
    inexact: Filter,
}

#[async_trait]
impl Candidates for Found<'_> {
    type Record = LoggedModel;

    fn residual(&self) -> bool {
        !self.inexact.clauses().is_empty()
    }

    async fn behind(&self, after: Option<&[SortValue]>, limit: usize) -> Result<Vec<(LoggedModel, Vec<SortValue>)>> {
        if self.experiments.is_empty() {
            return Ok(Vec::new());
        }
        let ((sql, values), terms) = self.statement(self.store.meta.dialect(), after, limit)?;
        let rows = self.store.meta.query(&sql, &values).await?;
        let mut found = Vec::with_capacity(rows.len());
        for rows in rows.chunks(MODELS_AT_ONCE) {
            for (model, row) in self.store.complete(rows).await?.into_iter().zip(rows) {
                found.push((model, position(&terms, row)?));
            }
        }
        Ok(found)
    }

    fn admits(&self, model: &LoggedModel) -> bool {
        self.inexact.admits(&Seen { model, datasets: &self.search.datasets })
    }
}

impl Found<'_> {
    /// The statement for up to `limit` models behind `after`, and their sort keys.
    fn statement(&self, dialect: Dialect, after: Option<&[SortValue]>, limit: usize) -> Result<(Statement, Vec<Term>)> {
        let mut bound = Bound::default();
        // Written out, for they are numbers, and parameters are needed for the clauses.
        let experiments: Vec<String> = self.experiments.iter().map(|id| id.0.to_string()).collect();
        let mut conditions = vec![format!("r.experiment IN ({})", experiments.join(", "))];
        match self.search.view {
            View::ActiveOnly => conditions.push("r.deleted = 0".to_owned()),
            View::DeletedOnly => conditions.push("r.deleted <> 0".to_owned()),
            View::All => {}
        }
        let measured = measured(&self.search.datasets, &mut bound);
        if !measured.is_empty() {
            conditions.push(format!("EXISTS (SELECT 1 FROM logged_model_point p WHERE p.model = r.id{measured})"));
        }
        let clauses = self.filter.clauses().iter();
        conditions.extend(clauses.map(|clause| condition(dialect, clause, &measured, &mut bound)));
        let mut terms: Vec<Term> = Vec::new();
        for order in &self.search.order_by {
            terms.extend(sort_keys(order, &mut bound));
        }
        terms.extend([Term::integer("r.created", true), Term::text("r.id", false)]);
        let statement = page(dialect, ("r.*", "logged_model r"), conditions, (&terms, after), limit, bound)?;
        Ok((statement, terms))
    }
}

/// That a point `p` was measured on one of these datasets; nothing when there are none.
fn measured(datasets: &[DatasetFilter], bound: &mut Bound) -> String {
    let one = |dataset: &DatasetFilter| {
        let digest = dataset.digest.as_deref();
        format!("({})", on_dataset(Some(dataset.name.as_str()), digest, bound).trim_start_matches(" AND "))
    };
    let any: Vec<String> = datasets.iter().map(one).collect();
    if any.is_empty() { String::new() } else { format!(" AND ({})", any.join(" OR ")) }
}

/// That a point `p` was measured on a dataset of this name and digest, as far as they are given.
fn on_dataset(name: Option<&str>, digest: Option<&str>, bound: &mut Bound) -> String {
    let columns = [("p.dataset_name", name), ("p.dataset_digest", digest)];
    let given = columns.into_iter().filter_map(|(column, text)| Some(format!(" AND {column} = {}", bound.add(text?))));
    given.collect()
}

/// A clause, for metrics on points of which `measured` says which count.
fn condition(dialect: Dialect, clause: &Clause, measured: &str, bound: &mut Bound) -> String {
    let (key, test) = (&clause.key, &clause.test);
    let value_in = |table: &str, bound: &mut Bound| {
        format!("(SELECT c.value FROM {table} c WHERE c.model = r.id AND c.key = {})", bound.add(key))
    };
    match clause.group {
        "metrics" => {
            let Test::Compare(operator, Literal::Number(value)) = test else { return NEVER.to_owned() };
            let (key, test) = (bound.add(key), value_test("p", operator, *value, bound));
            format!(
                "EXISTS (SELECT 1 FROM logged_model_point p WHERE p.model = r.id AND p.key = {key} AND {test}{measured})"
            )
        }
        "params" => text_test(dialect, &value_in("logged_model_param", bound), test, bound),
        "tags" => text_test(dialect, &value_in("logged_model_tag", bound), test, bound),
        _ => match column(key) {
            Column::Text(column) | Column::NullableText(column) => text_test(dialect, column, test, bound),
            Column::Time(column) => time_test(column, test, bound),
        },
    }
}

fn sort_keys(order: &LoggedModelOrder, bound: &mut Bound) -> Vec<Term> {
    let descending = !order.ascending;
    let Some(key) = order.field.strip_prefix("metrics.") else {
        return match column(&order.field) {
            Column::Text(column) => vec![Term::text(column, descending)],
            Column::NullableText(column) => Term::nullable_text(column, descending).into(),
            Column::Time(column) => Term::time(column, descending).into(),
        };
    };
    let key = bound.add(key);
    let on = on_dataset(order.dataset_name.as_deref(), order.dataset_digest.as_deref(), bound);
    // Numbers are turned round, so that what is no number comes last in either direction and is looked up once.
    let value = match descending {
        true => format!("CASE WHEN p.value_order < {NAN_ORDER} THEN -1 - p.value_order ELSE p.value_order END"),
        false => "p.value_order".to_owned(),
    };
    // The last point, by time and step.
    let last = format!(
        "SELECT {value} FROM logged_model_point p WHERE p.model = r.id AND p.key = {key}{on}
        ORDER BY p.at DESC, p.step DESC, p.run_id DESC LIMIT 1"
    );
    vec![Term::integer(format!("COALESCE(({last}), {MISSING_ORDER})"), false)]
}
