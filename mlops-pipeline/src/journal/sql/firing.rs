//! Firings and schedule cursors as rows.

use async_trait::async_trait;
use mlops_core::{Error, Result, Timestamp};
use mlops_store::{MetaStoreExt as _, Row, Transaction, TransactionExt as _, Value, params};

use super::{SqlJournal, from_json, parse_word, read_all, to_json, with_retry, word};
use crate::journal::{Firing, FiringJournal, RunState};

fn read_firing(row: &Row) -> Result<Firing> {
    let outcome: Option<String> = row.get("outcome")?;
    Ok(Firing {
        run_key: row.get("run_key")?,
        dag: row.get("dag")?,
        due_at: row.get("due_at")?,
        source: parse_word(row.get("source")?)?,
        params: from_json(&row.get::<String>("params")?)?,
        outcome: outcome.map(parse_word).transpose()?,
    })
}

/// Keeps a firing; one whose run key is known stays as it is.
pub(super) async fn insert_firing(tx: &mut dyn Transaction, firing: &Firing) -> Result<()> {
    let sql =
        "INSERT INTO pipeline_firing (run_key, dag, due_at, source, params, outcome) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (run_key) DO NOTHING";
    let outcome = firing.outcome.map(|outcome| word(&outcome)).transpose()?;
    let values =
        params![&firing.run_key, &firing.dag, firing.due_at, word(&firing.source)?, to_json(&firing.params)?, outcome];
    tx.execute(sql, values).await.map(drop)
}

impl SqlJournal {
    async fn try_advance(&self, dag: &str, from: Option<Timestamp>, to: Timestamp, firings: &[Firing]) -> Result<bool> {
        let mut tx = self.meta.begin().await?;
        let row = tx.query_opt("SELECT at FROM pipeline_cursor WHERE dag = $1", params![dag]).await?;
        let at: Option<Timestamp> = row.map(|row| row.get("at")).transpose()?;
        if at != from {
            return Ok(false);
        }
        let sql =
            "INSERT INTO pipeline_cursor (dag, at) VALUES ($1, $2) ON CONFLICT (dag) DO UPDATE SET at = excluded.at";
        tx.execute(sql, params![dag, to]).await?;
        for firing in firings {
            insert_firing(tx.as_mut(), firing).await?;
        }
        tx.commit().await.map(|()| true)
    }
}

#[async_trait]
impl FiringJournal for SqlJournal {
    async fn cursor(&self, dag: &str) -> Result<Option<Timestamp>> {
        let row = self.meta.query_opt("SELECT at FROM pipeline_cursor WHERE dag = $1", params![dag]).await?;
        row.map(|row| row.get("at")).transpose()
    }

    async fn advance(&self, dag: &str, from: Option<Timestamp>, to: Timestamp, firings: &[Firing]) -> Result<bool> {
        with_retry(|| self.try_advance(dag, from, to, firings)).await
    }

    async fn outstanding(&self, dags: &[String], limit: u32) -> Result<Vec<Firing>> {
        if dags.is_empty() {
            return Ok(Vec::new());
        }
        let places: Vec<String> = (2..=dags.len() + 1).map(|place| format!("${place}")).collect();
        let sql = format!(
            "SELECT * FROM pipeline_firing WHERE outcome IS NULL AND dag IN ({}) ORDER BY due_at, run_key LIMIT $1",
            places.join(", ")
        );
        let values: Vec<Value> = std::iter::once(Value::from(limit)).chain(dags.iter().map(Value::from)).collect();
        read_all(&self.meta.query(&sql, &values).await?, read_firing)
    }

    async fn settle(&self, run_key: &str, outcome: RunState) -> Result<()> {
        let sql = "UPDATE pipeline_firing SET outcome = $1 WHERE run_key = $2";
        match self.meta.execute(sql, params![word(&outcome)?, run_key]).await? {
            0 => Err(Error::not_found(format!("the journal has no firing {run_key:?}"))),
            _ => Ok(()),
        }
    }

    async fn firings(&self, dag: &str, limit: u32) -> Result<Vec<Firing>> {
        let sql = "SELECT * FROM pipeline_firing WHERE dag = $1 ORDER BY due_at DESC, run_key LIMIT $2";
        read_all(&self.meta.query(sql, params![dag, limit]).await?, read_firing)
    }
}
