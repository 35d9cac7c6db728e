//! Finding models: MLflow's filter grammar, orders by objects, datasets.

use std::cmp::Ordering;

use mlops_core::{Error, Result};
use mlops_store::Value;

use super::{
    SqlLoggedModelStore,
    read::{MODELS_AT_ONCE, places},
};
use crate::{
    limits::SEARCH_EXPERIMENTS_MAX,
    logged_models::record::{DatasetFilter, LoggedModel, LoggedModelOrder, LoggedModelSearch, ModelMetric},
    search::{Fields, Filter, Operand, Page, compare_operands, cut},
    tracking::ExperimentId,
};

/// A model as a search sees it: with the points that count.
struct Seen<'a> {
    model: &'a LoggedModel,
    datasets: &'a [DatasetFilter],
}

impl Seen<'_> {
    fn counts(&self, point: &ModelMetric) -> bool {
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

fn attribute(model: &LoggedModel, key: &str) -> Operand {
    let millis = |time: mlops_core::Timestamp| Operand::Number(time.as_millis() as f64);
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

fn check_order(order: &LoggedModelOrder) -> Result<()> {
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
        search.order_by.iter().try_for_each(check_order)?;
        if let Some(unnamed) = search.datasets.iter().position(|dataset| dataset.name.is_empty()) {
            return Err(Error::invalid_argument(format!(
                "`dataset_name` in the `datasets` clause must be specified; datasets[{unnamed}] has none"
            )));
        }
        let mut found = self.matching(experiments, search, &filter).await?;
        let by_key = |a: &LoggedModel, b: &LoggedModel| {
            let compare =
                |order: &LoggedModelOrder| compare_operands(&rank(a, order), &rank(b, order), !order.ascending);
            search.order_by.iter().map(compare).find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
        };
        found.sort_by(|a, b| by_key(a, b).then(b.created.cmp(&a.created)).then(a.id.cmp(&b.id)));
        let LoggedModelSearch { filter, datasets, order_by, view, page } = search;
        cut(found, page, &format!("logged models {experiments:?} {filter} {datasets:?} {order_by:?} {view:?}"))
    }

    async fn matching(
        &self,
        experiments: &[ExperimentId],
        search: &LoggedModelSearch,
        filter: &Filter,
    ) -> Result<Vec<LoggedModel>> {
        if experiments.len() > SEARCH_EXPERIMENTS_MAX {
            return Err(Error::invalid_argument(format!(
                "a search can name at most {SEARCH_EXPERIMENTS_MAX} experiments, found {}",
                experiments.len()
            )));
        }
        if experiments.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!("SELECT * FROM logged_model WHERE experiment IN ({})", places(experiments.len()));
        let values: Vec<Value> = experiments.iter().map(|id| Value::from(id.0)).collect();
        let mut rows = Vec::new();
        for row in self.meta.query(&sql, &values).await? {
            if search.view.admits(row.get("deleted")?) {
                rows.push(row);
            }
        }
        let mut found = Vec::new();
        // A chunk at a time, so that memory holds what matches and not everything there is.
        for rows in rows.chunks(MODELS_AT_ONCE) {
            found.extend(self.complete(rows).await?.into_iter().filter(|model| {
                let seen = Seen { model, datasets: &search.datasets };
                let measured = seen.datasets.is_empty() || model.metrics.iter().any(|point| seen.counts(point));
                measured && filter.admits(&seen)
            }));
        }
        Ok(found)
    }
}
