//! `runs/create-promptlab-run`: what a page of MLflow keeps of one try of a prompt, as a run that has ended.
//!
//! The table of the result is kept. MLflow also writes a Python model that repeats the try through a gateway; that is
//! not done here, as it would need its packages.

use bytes::Bytes;
use mlops_core::{Action, Error, Result, RunStatus};
use serde_json::{Value, json};

use super::{Api, Inner, request::Params, run_answer, runs::asked_run};
use crate::{Batch, RunRecord, RunUpdate};

const TABLE: &str = "eval_results_table.json";

pub(super) async fn create(api: Api, params: Params) -> Result<Value> {
    let asked = Asked::read(&params)?;
    let run = asked_run(&params)?;
    // So that a try that cannot be kept leaves no run behind.
    asked.batch.check()?;
    let run = api.tracking.create_run(run).await?;
    let kept = asked.keep(&api, &run).await;
    let status = if kept.is_ok() { RunStatus::Finished } else { RunStatus::Failed };
    let update = RunUpdate { status: Some(status), ended: Some(api.clock.now()), name: None };
    let ended = api.tracking.update_run(&run.id, update).await;
    // Why nothing was kept says more than why the run could not be ended.
    kept?;
    ended?;
    Ok(json!({ "run": run_answer::run(&api.tracking.run(&run.id).await?, None) }))
}

/// A try: what was asked, of whom, and what came out.
struct Asked {
    batch: Batch,
    /// Names and values of the table's only row.
    row: Vec<(String, String)>,
}

impl Asked {
    fn read(params: &Params) -> Result<Self> {
        let said = |name: &str| match params.value(name) {
            Some(_) => Ok(()),
            None => Err(Error::invalid_argument(format!("CreatePromptlabRun request must specify {name}."))),
        };
        let needed =
            ["experiment_id", "prompt_template", "prompt_parameters", "model_route", "model_input", "mlflow_version"];
        needed.into_iter().try_for_each(said)?;
        let mut asked: Vec<(String, String)> = params.pairs("model_parameters")?;
        for name in ["model_route", "prompt_template"] {
            asked.push((name.to_owned(), params.required(name)?.to_owned()));
        }
        let mut row: Vec<(String, String)> = params.pairs("prompt_parameters")?;
        for (name, field) in [("prompt", "model_input"), ("output", "model_output")] {
            row.push((name.to_owned(), params.owned(field)?.unwrap_or_default()));
        }
        row.extend(params.pairs::<Vec<_>>("model_output_parameters")?);
        // As pages read it, with the spacing that they compare.
        let artifacts = format!("[{{\"path\": \"{TABLE}\", \"type\": \"table\"}}]");
        let tags = [("mlflow.loggedArtifacts", artifacts.as_str()), ("mlflow.runSourceType", "PROMPT_ENGINEERING")];
        let tags = tags.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Ok(Self { batch: Batch { params: asked, tags, ..Batch::default() }, row })
    }

    async fn keep(self, api: &Inner, run: &RunRecord) -> Result<()> {
        api.tracking.log_batch(&run.id, &self.batch).await?;
        let (columns, values): (Vec<String>, Vec<String>) = self.row.into_iter().unzip();
        let table = json!({ "columns": columns, "data": [values] }).to_string();
        let (files, path) = api.artifacts.below(&run.artifact_uri, TABLE, Action::Write).await?;
        files.put(&path, Bytes::from(table)).await
    }
}
