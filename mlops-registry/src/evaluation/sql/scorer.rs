//! Scorers as rows, one a version.

use std::collections::BTreeSet;

use mlops_core::{Error, Result};
use mlops_store::{MetaStoreExt as _, TransactionExt as _, Value, params};

use super::SqlEvaluationStore;
use crate::{
    ExperimentId,
    evaluation::{RegisterScorer, Scorer},
    retry::on_conflict,
    rows::{from_json, to_json},
};

fn unknown(experiment: ExperimentId, name: &str, version: Option<u64>) -> Error {
    let version = version.map(|version| format!(" and version {version}")).unwrap_or_default();
    Error::not_found(format!("Scorer with name '{name}'{version} not found for experiment {experiment}."))
        .with("scorer", name)
}

/// Most scorers, or versions of one, of a list.
const LISTED_MAX: usize = 10_000;
/// Experiments that one statement names.
const EXPERIMENTS_AT_ONCE: usize = 500;
/// Whose version is the newest of its scorer.
const NEWEST: &str = "version = (SELECT MAX(n.version) FROM evaluation_scorer n \
                      WHERE n.experiment = s.experiment AND n.name = s.name)";
/// The newest version of one scorer.
const LAST: &str = "SELECT content FROM evaluation_scorer WHERE experiment = $1 AND name = $2 \
                    ORDER BY version DESC LIMIT 1";

fn at_most(count: usize) -> Result<()> {
    if count <= LISTED_MAX {
        return Ok(());
    }
    Err(Error::resource_exhausted(format!("there are more than {LISTED_MAX} scorers or versions; delete some first")))
}

impl SqlEvaluationStore {
    pub(super) async fn add_scorer(&self, register: RegisterScorer) -> Result<Scorer> {
        register.check()?;
        let RegisterScorer { experiment, name, serialized } = register;
        let (fresh, created) = (self.next_id("sc-")?, self.now());
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let row = tx.query_opt(LAST, params![experiment.0, &name]).await?;
            let last: Option<Scorer> = row.as_ref().map(|row| from_json("scorer", row)).transpose()?;
            let (id, version) = last.map_or_else(|| (fresh.clone(), 0), |last| (last.id, last.version));
            let (name, serialized) = (name.clone(), serialized.clone());
            let scorer = Scorer { id, experiment, name, version: version + 1, serialized, created };
            let values = params![experiment.0, &scorer.name, scorer.version, to_json("scorer", &scorer)?];
            tx.execute("INSERT INTO evaluation_scorer VALUES ($1, $2, $3, $4)", values).await?;
            tx.commit().await?;
            Ok(scorer)
        })
    }

    pub(super) async fn latest_scorers(&self, experiments: &[ExperimentId]) -> Result<Vec<Scorer>> {
        if experiments.is_empty() {
            return self.listed(NEWEST, "experiment, name", &[]).await;
        }
        let experiments: Vec<u64> = experiments.iter().map(|id| id.0).collect::<BTreeSet<_>>().into_iter().collect();
        let mut latest = Vec::new();
        for some in experiments.chunks(EXPERIMENTS_AT_ONCE) {
            let places: Vec<String> = (1..=some.len()).map(|at| format!("${at}")).collect();
            let which = format!("experiment IN ({}) AND {NEWEST}", places.join(", "));
            let values: Vec<Value> = some.iter().map(|id| Value::from(*id)).collect();
            latest.extend(self.listed(&which, "experiment, name", &values).await?);
            at_most(latest.len())?;
        }
        Ok(latest)
    }

    pub(super) async fn versions_of(&self, experiment: ExperimentId, name: &str) -> Result<Vec<Scorer>> {
        let found = self.listed("experiment = $1 AND name = $2", "version", params![experiment.0, name]).await?;
        if found.is_empty() { Err(unknown(experiment, name, None)) } else { Ok(found) }
    }

    async fn listed(&self, which: &str, order: &str, values: &[Value]) -> Result<Vec<Scorer>> {
        let sql =
            format!("SELECT content FROM evaluation_scorer s WHERE {which} ORDER BY {order} LIMIT {}", LISTED_MAX + 1);
        let rows = self.meta.query(&sql, values).await?;
        at_most(rows.len())?;
        rows.iter().map(|row| from_json("scorer", row)).collect()
    }

    pub(super) async fn one_scorer(&self, of: ExperimentId, name: &str, version: Option<u64>) -> Result<Scorer> {
        let row = match version {
            None => self.meta.query_opt(LAST, params![of.0, name]).await?,
            Some(version) => {
                let sql = "SELECT content FROM evaluation_scorer WHERE experiment = $1 AND name = $2 AND version = $3";
                self.meta.query_opt(sql, params![of.0, name, version]).await?
            }
        };
        row.as_ref().map(|row| from_json("scorer", row)).transpose()?.ok_or_else(|| unknown(of, name, version))
    }

    pub(super) async fn remove_scorer(&self, of: ExperimentId, name: &str, version: Option<u64>) -> Result<()> {
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let sql = "DELETE FROM evaluation_scorer WHERE experiment = $1 AND name = $2";
            let gone = match version {
                None => tx.execute(sql, params![of.0, name]).await?,
                Some(version) => tx.execute(&format!("{sql} AND version = $3"), params![of.0, name, version]).await?,
            };
            if gone == 0 {
                return Err(unknown(of, name, version));
            }
            tx.commit().await
        })
    }
}
