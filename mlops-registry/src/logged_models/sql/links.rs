//! Which runs read and made which models.

use std::collections::{BTreeSet, HashMap};

use mlops_core::{Error, Result, RunId};
use mlops_store::{Dialect, MetaStore as _, Value, params};

use super::SqlLoggedModelStore;
use crate::{
    bound::listing,
    limits::BATCH_DATASETS_MAX,
    logged_models::record::{LoggedModelId, ModelOutput, RunModels},
    retry::{Statement, on_conflict},
    rows::to_json,
};

/// Inputs, which have no step, and outputs, each in the order they were linked. For SQLite the runs are one value: a
/// hundred of them, twice, would take longer to be bound than to be looked for.
const LINKS_OF_JSON: &str = "SELECT i.run_id, i.model, NULL AS step, i.seq
    FROM json_each($1) asked CROSS JOIN logged_model_input i ON i.run_id = asked.value
    UNION ALL SELECT o.run_id, o.model, o.step, o.seq
    FROM json_each($1) asked CROSS JOIN logged_model_output o ON o.run_id = asked.value ORDER BY seq";
/// The same of a list.
const LINKS: &str = "SELECT run_id, model, NULL AS step, seq FROM logged_model_input WHERE run_id IN ({list})
    UNION ALL SELECT run_id, model, step, seq FROM logged_model_output WHERE run_id IN ({list}) ORDER BY seq";

impl SqlLoggedModelStore {
    pub(super) async fn link_inputs(&self, run: &RunId, models: &[LoggedModelId]) -> Result<()> {
        let sql =
            "INSERT INTO logged_model_input (run_id, model) VALUES ($1, $2) ON CONFLICT (run_id, model) DO NOTHING";
        let statement = |model: &LoggedModelId| (sql.to_owned(), params![run.as_str(), model.as_str()].to_vec());
        self.link(run, models.iter().map(statement).collect()).await
    }

    pub(super) async fn link_outputs(&self, run: &RunId, models: &[ModelOutput]) -> Result<()> {
        let sql = "INSERT INTO logged_model_output (run_id, model, step) VALUES ($1, $2, $3)
            ON CONFLICT (run_id, model, step) DO NOTHING";
        let statement =
            |output: &ModelOutput| (sql.to_owned(), params![run.as_str(), output.model.as_str(), output.step].to_vec());
        self.link(run, models.iter().map(statement).collect()).await
    }

    async fn link(&self, run: &RunId, statements: Vec<Statement>) -> Result<()> {
        if statements.len() > BATCH_DATASETS_MAX {
            return Err(Error::invalid_argument(format!(
                "at most {BATCH_DATASETS_MAX} models at once, found {}",
                statements.len()
            )));
        }
        if self.tracking.run(run).await?.deleted {
            return Err(Error::failed_precondition(format!(
                "The run {run} must be in the 'active' state; it is deleted, restore it first"
            )));
        }
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            for (sql, values) in &statements {
                tx.execute(sql, values).await?;
            }
            tx.commit().await
        })
    }

    pub(super) async fn links_of(&self, runs: &[RunId]) -> Result<Vec<RunModels>> {
        let mut found: HashMap<String, RunModels> = HashMap::new();
        let distinct: BTreeSet<&str> = runs.iter().map(RunId::as_str).collect();
        let statements = match self.meta.dialect() {
            Dialect::Sqlite => {
                vec![(LINKS_OF_JSON.to_owned(), vec![Value::from(to_json("a list of runs", &distinct)?)])]
            }
            Dialect::Postgres => listing(LINKS, &[], &distinct.into_iter().map(Value::from).collect::<Vec<_>>()),
        };
        for (sql, values) in statements {
            for row in self.meta.query(&sql, &values).await? {
                let models = found.entry(row.get("run_id")?).or_default();
                let model = row.get::<String>("model")?.parse()?;
                match row.get::<Option<i64>>("step")? {
                    None => models.inputs.push(model),
                    Some(step) => models.outputs.push(ModelOutput { model, step }),
                }
            }
        }
        Ok(runs.iter().map(|run| found.get(run.as_str()).cloned().unwrap_or_default()).collect())
    }
}
