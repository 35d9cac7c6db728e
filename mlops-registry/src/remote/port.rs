//! The calls of the port, each as one or two of MLflow's.

use std::sync::Arc;

use async_trait::async_trait;
use mlops_core::{ErrorKind, Metric, Result, RunId};
use serde_json::{Map, Value, json};

use super::{
    MlflowRemote,
    http::{
        Sending::{Once, Repeatable},
        is_unknown_call,
    },
    read,
};
use crate::{
    Batch, CreateExperiment, CreateRun, DatasetInput, Experiment, ExperimentId, PageRequest, RunRecord, RunUpdate,
    TrackingStore,
    search::{Page, Search, View},
    tracking::{appended, record::status_name},
};

fn pairs<'a>(entries: impl IntoIterator<Item = (&'a String, &'a String)>) -> Value {
    entries.into_iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

/// The fields that are there.
fn body<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

fn metric(metric: &Metric) -> Value {
    let value = match metric.value {
        value if value.is_nan() => json!("NaN"),
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        value => json!(value),
    };
    json!({ "key": metric.key, "value": value, "timestamp": metric.timestamp.as_millis(), "step": metric.step })
}

fn search_body(search: &Search, view: &str) -> Value {
    let stage = match search.view {
        View::ActiveOnly => "ACTIVE_ONLY",
        View::DeletedOnly => "DELETED_ONLY",
        View::All => "ALL",
    };
    body([
        ("filter", json!(search.filter)),
        ("order_by", json!(search.order_by)),
        (view, json!(stage)),
        ("max_results", json!(search.page.max_results)),
        ("page_token", json!(search.page.token)),
    ])
}

#[async_trait]
impl TrackingStore for MlflowRemote {
    async fn create_experiment(&self, name: &str, options: CreateExperiment) -> Result<ExperimentId> {
        let fields = [
            ("name", json!(name)),
            ("artifact_location", json!(options.artifact_location)),
            ("tags", pairs(&options.tags)),
        ];
        let answer = self.post("experiments/create", &body(fields), Once).await?;
        read::text(&answer, "experiment_id")?.parse()
    }

    async fn experiment(&self, id: ExperimentId) -> Result<Experiment> {
        let answer = self.get("experiments/get", &[("experiment_id", id.to_string())]).await?;
        read::experiment(read::object(&answer, "experiment")?)
    }

    async fn experiment_by_name(&self, name: &str) -> Result<Option<Experiment>> {
        match self.get("experiments/get-by-name", &[("experiment_name", name.to_owned())]).await {
            Ok(answer) => read::experiment(read::object(&answer, "experiment")?).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn search_experiments(&self, search: &Search) -> Result<Page<Experiment>> {
        let answer = self.post("experiments/search", &search_body(search, "view_type"), Repeatable).await?;
        read::page(&answer, "experiments", read::experiment)
    }

    async fn rename_experiment(&self, id: ExperimentId, name: &str) -> Result<()> {
        let fields = json!({ "experiment_id": id.to_string(), "new_name": name });
        self.post("experiments/update", &fields, Repeatable).await.map(drop)
    }

    async fn delete_experiment(&self, id: ExperimentId) -> Result<()> {
        self.post("experiments/delete", &json!({ "experiment_id": id.to_string() }), Once).await.map(drop)
    }

    async fn restore_experiment(&self, id: ExperimentId) -> Result<()> {
        self.post("experiments/restore", &json!({ "experiment_id": id.to_string() }), Once).await.map(drop)
    }

    /// One call for each tag: when one is refused, those before it are set.
    async fn set_experiment_tags(&self, id: ExperimentId, tags: &[(String, String)]) -> Result<()> {
        for (key, value) in tags {
            let fields = json!({ "experiment_id": id.to_string(), "key": key, "value": value });
            self.post("experiments/set-experiment-tag", &fields, Repeatable).await?;
        }
        Ok(())
    }

    async fn delete_experiment_tag(&self, id: ExperimentId, key: &str) -> Result<()> {
        let fields = json!({ "experiment_id": id.to_string(), "key": key });
        self.post("experiments/delete-experiment-tag", &fields, Once).await.map(drop)
    }

    async fn create_run(&self, run: CreateRun) -> Result<RunRecord> {
        let fields = [
            ("experiment_id", json!(run.experiment.to_string())),
            ("run_name", json!(run.name)),
            ("user_id", json!(run.user)),
            ("start_time", json!(run.started.map(mlops_core::Timestamp::as_millis))),
            ("tags", pairs(&run.tags)),
        ];
        let answer = self.post("runs/create", &body(fields), Once).await?;
        read::run(read::object(&answer, "run")?)
    }

    async fn run(&self, id: &RunId) -> Result<RunRecord> {
        let answer = self.get("runs/get", &[("run_id", id.to_string())]).await?;
        read::run(read::object(&answer, "run")?)
    }

    async fn search_runs(&self, experiments: &[ExperimentId], search: &Search) -> Result<Page<Arc<RunRecord>>> {
        let mut fields = search_body(search, "run_view_type");
        let ids: Vec<String> = experiments.iter().map(ToString::to_string).collect();
        if let Some(fields) = fields.as_object_mut() {
            fields.insert("experiment_ids".to_owned(), json!(ids));
        }
        let answer = self.post("runs/search", &fields, Repeatable).await?;
        read::page(&answer, "runs", |run| read::run(run).map(Arc::new))
    }

    async fn update_run(&self, id: &RunId, update: RunUpdate) -> Result<RunRecord> {
        let fields = [
            ("run_id", json!(id.as_str())),
            ("status", json!(update.status.map(status_name))),
            ("end_time", json!(update.ended.map(mlops_core::Timestamp::as_millis))),
            ("run_name", json!(update.name)),
        ];
        self.post("runs/update", &body(fields), Repeatable).await?;
        self.run(id).await
    }

    async fn delete_run(&self, id: &RunId) -> Result<()> {
        self.post("runs/delete", &json!({ "run_id": id.as_str() }), Repeatable).await.map(drop)
    }

    async fn restore_run(&self, id: &RunId) -> Result<()> {
        self.post("runs/restore", &json!({ "run_id": id.as_str() }), Repeatable).await.map(drop)
    }

    async fn log_batch(&self, id: &RunId, batch: &Batch) -> Result<()> {
        let of = |list: &[(String, String)]| pairs(list.iter().map(|(key, value)| (key, value)));
        let metrics: Vec<Value> = batch.metrics.iter().map(metric).collect();
        let fields = json!({
            "run_id": id.as_str(),
            "metrics": metrics,
            "params": of(&batch.params),
            "tags": of(&batch.tags),
        });
        self.post("runs/log-batch", &fields, Repeatable).await.map(drop)
    }

    async fn delete_run_tag(&self, id: &RunId, key: &str) -> Result<()> {
        self.post("runs/delete-tag", &json!({ "run_id": id.as_str(), "key": key }), Once).await.map(drop)
    }

    /// In one step where the server is one of this crate. MLflow's own has no such call: there it reads, then writes, so an
    /// item that another appends in between is lost. When the answer does not arrive, the item may have been appended.
    async fn append_run_tag(&self, id: &RunId, key: &str, item: &Value) -> Result<()> {
        let fields = json!({ "run_id": id.as_str(), "key": key, "item_json": item.to_string() });
        match self.post("/3.0/mlops/runs/append-tag", &fields, Once).await {
            // There is no such call, or no such run; reading tells.
            Err(error) if is_unknown_call(&error) => {
                let record = self.run(id).await?;
                let list = appended(record.tags.get(key).map(String::as_str), item)?;
                self.log_batch(id, &Batch { tags: vec![(key.to_owned(), list)], ..Batch::default() }).await
            }
            outcome => outcome.map(drop),
        }
    }

    async fn metric_history(&self, id: &RunId, key: &str, page: &PageRequest) -> Result<Page<Metric>> {
        // Without a size the server sends everything.
        let size = page.max_results.unwrap_or(1_000);
        let mut query =
            vec![("run_id", id.to_string()), ("metric_key", key.to_owned()), ("max_results", size.to_string())];
        query.extend(page.token.clone().filter(|token| !token.is_empty()).map(|token| ("page_token", token)));
        let answer = self.get("metrics/get-history", &query).await?;
        read::page(&answer, "metrics", read::metric)
    }

    async fn log_inputs(&self, id: &RunId, inputs: &[DatasetInput]) -> Result<()> {
        let input = |input: &DatasetInput| {
            let dataset = body([
                ("name", json!(input.dataset.name)),
                ("digest", json!(input.dataset.digest)),
                ("source_type", json!(input.dataset.source_type)),
                ("source", json!(input.dataset.source)),
                ("schema", json!(input.dataset.schema)),
                ("profile", json!(input.dataset.profile)),
            ]);
            json!({ "tags": pairs(&input.tags), "dataset": dataset })
        };
        let datasets: Vec<Value> = inputs.iter().map(input).collect();
        self.post("runs/log-inputs", &json!({ "run_id": id.as_str(), "datasets": datasets }), Repeatable)
            .await
            .map(drop)
    }
}
