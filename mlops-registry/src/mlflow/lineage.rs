//! What runs read and made: datasets, logged models and the history of models that older clients keep in a tag.

use std::{borrow::Borrow, collections::BTreeSet};

use mlops_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::{Api, Inner, answer, place::part, request::Params};
use crate::{
    DatasetInput, ExperimentId, LoggedDataset, LoggedModelStore, ModelOutput, PageRequest, RunModels, RunRecord,
    Search, View,
    limits::{DATASET_DIGEST_MAX, check_length},
    tracking::DATASET_CONTEXT_TAG,
};

/// The tag in which older clients keep the models that a run logged, as a list in JSON.
const HISTORY_TAG: &str = "mlflow.log-model.history";
/// Most experiments in one search for datasets.
const EXPERIMENTS_MAX: usize = 20;
/// Most datasets that one search gives.
const DATASETS_MAX: usize = 1_000;
/// How many runs are read at once in search of their datasets.
const RUNS_AT_ONCE: usize = 1_000;

impl Inner {
    /// The store of logged models, or how to get one.
    pub(super) fn models(&self) -> Result<&dyn LoggedModelStore> {
        Ok(part(&self.logged_models, "logged models", "with_logged_models")?.as_ref())
    }

    /// The models that each of the runs read and made; nothing when this server keeps none.
    pub(super) async fn models_of<R: Borrow<RunRecord>>(&self, runs: &[R]) -> Result<Vec<RunModels>> {
        let Some(store) = &self.logged_models else { return Ok(Vec::new()) };
        let ids: Vec<_> = runs.iter().map(|run| run.borrow().id.clone()).collect();
        store.models_of_runs(&ids).await
    }
}

pub(super) async fn log_inputs(api: Api, params: Params) -> Result<Value> {
    let run = params.run_id()?;
    let inputs = params.objects("datasets")?.iter().map(dataset_input).collect::<Result<Vec<_>>>()?;
    let models = params.objects("models")?.iter().map(Params::model_id).collect::<Result<Vec<_>>>()?;
    // Both calls may be repeated, so a client whose call broke between them sends it again.
    if !models.is_empty() {
        api.models()?.link_input_models(&run, &models).await?;
    }
    api.tracking.log_inputs(&run, &inputs).await?;
    Ok(json!({}))
}

fn dataset_input(input: &Params) -> Result<DatasetInput> {
    let dataset = input.object("dataset")?;
    check_length("dataset digest", dataset.required("digest")?, DATASET_DIGEST_MAX)?;
    let dataset = LoggedDataset {
        name: dataset.required("name")?.to_owned(),
        digest: dataset.required("digest")?.to_owned(),
        source_type: dataset.required("source_type")?.to_owned(),
        source: dataset.required("source")?.to_owned(),
        schema: dataset.owned("schema")?,
        profile: dataset.owned("profile")?,
    };
    Ok(DatasetInput { dataset, tags: input.pairs("tags")? })
}

pub(super) async fn log_outputs(api: Api, params: Params) -> Result<Value> {
    let run = params.run_id()?;
    let output = |output: &Params| -> Result<ModelOutput> {
        Ok(ModelOutput { model: output.model_id()?, step: output.int("step")?.unwrap_or_default() })
    };
    params.given_list("models")?;
    let outputs = params.objects("models")?.iter().map(output).collect::<Result<Vec<_>>>()?;
    api.models()?.link_output_models(&run, &outputs).await?;
    Ok(json!({}))
}

/// Appends a model to the history of a run.
pub(super) async fn log_model(api: Api, params: Params) -> Result<Value> {
    let (run, text) = (params.run_id()?, params.required("model_json")?);
    let model: Value = serde_json::from_str(text).map_err(|error| {
        Error::invalid_argument(format!("Malformed model info. \n {text} \n is not a valid JSON.")).with_source(error)
    })?;
    api.tracking.append_run_tag(&run, HISTORY_TAG, &history_entry(&model)?).await?;
    Ok(json!({}))
}

/// What the history says of a model: where it is and its flavors, without their configuration.
fn history_entry(model: &Value) -> Result<Value> {
    const NEEDED: [&str; 4] = ["artifact_path", "flavors", "utc_time_created", "run_id"];
    let missing: Vec<&str> = NEEDED.into_iter().filter(|name| model.get(name).is_none()).collect();
    if !missing.is_empty() {
        let missing = missing.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
        return Err(Error::invalid_argument(format!("Model json is missing mandatory fields: {{{missing}}}")));
    }
    let mut entry: Map<String, Value> = ["run_id", "artifact_path", "utc_time_created", "model_uuid"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), model.get(name)?.clone())))
        .collect();
    let mut flavors = model.get("flavors").cloned().unwrap_or_default();
    for flavor in flavors.as_object_mut().into_iter().flat_map(Map::values_mut) {
        if let Some(fields) = flavor.as_object_mut() {
            fields.remove("config");
        }
    }
    entry.insert("flavors".to_owned(), flavors);
    Ok(Value::Object(entry))
}

/// The datasets that the runs of some experiments read.
pub(super) async fn search_datasets(api: Api, params: Params) -> Result<Value> {
    let experiments = params.texts("experiment_ids")?;
    if experiments.is_empty() {
        return Err(Error::invalid_argument("SearchDatasets request must specify at least one experiment_id."));
    }
    if experiments.len() > EXPERIMENTS_MAX {
        return Err(Error::invalid_argument(format!(
            "SearchDatasets request cannot specify more than {EXPERIMENTS_MAX} experiment_ids. Received {} experiment_ids.",
            experiments.len()
        )));
    }
    let experiments = params.experiment_ids()?;
    let mut found = BTreeSet::new();
    let mut search = Search::new().with_view(View::All).with_max_results(RUNS_AT_ONCE);
    loop {
        let page = api.tracking.search_runs(&experiments, &search).await?;
        for run in &page.items {
            found.extend(run.datasets.iter().map(|input| {
                let (dataset, context) = (&input.dataset, input.tags.get(DATASET_CONTEXT_TAG).cloned());
                (run.experiment, dataset.name.clone(), dataset.digest.clone(), context)
            }));
        }
        search.page = PageRequest { token: page.next_page_token, ..search.page };
        if search.page.token.is_none() || found.len() >= DATASETS_MAX {
            break;
        }
    }
    let summary = |(experiment, name, digest, context): (ExperimentId, String, String, Option<String>)| {
        answer::object([
            ("experiment_id", experiment.to_string().into()),
            ("name", name.into()),
            ("digest", digest.into()),
            ("context", context.into()),
        ])
    };
    Ok(answer::object([("dataset_summaries", found.into_iter().take(DATASETS_MAX).map(summary).collect())]))
}
