//! Trigger decisions as rows.

use async_trait::async_trait;
use mlops_core::{Digest, Error, Result, Timestamp};
use mlops_store::{MetaStoreExt as _, Row, Transaction, TransactionExt as _, params};

use super::{SqlJournal, firing::insert_firing, from_json, parse_word, read_all, to_json, with_retry, word};
use crate::{
    journal::{DecisionJournal, PastFiring, Rule, Sighting, TriggerHistory},
    trigger::{Decision, DecisionRecord},
};

const ONE: &str = "SELECT * FROM pipeline_decision WHERE trigger_name = $1 AND event_key = $2";

fn read_decision(row: &Row) -> Result<DecisionRecord> {
    Ok(DecisionRecord {
        trigger: row.get("trigger_name")?,
        event_key: row.get::<String>("event_key")?.parse()?,
        at: row.get("at")?,
        kind: parse_word(row.get("kind")?)?,
        evidence: row.get("evidence")?,
        topics: from_json(&row.get::<String>("topics")?)?,
        decision: from_json(&row.get::<String>("decision")?)?,
        announced: row.get("announced")?,
    })
}

async fn history(tx: &mut dyn Transaction, sighting: &Sighting) -> Result<TriggerHistory> {
    let sql = "SELECT MAX(at) AS at FROM pipeline_decision WHERE trigger_name = $1 AND fired = 1";
    let fired_at: Option<Timestamp> = tx.query_one(sql, params![&sighting.trigger]).await?.get("at")?;
    let sql = "SELECT at, topics FROM pipeline_decision WHERE trigger_name = $1 AND fired = 1 AND at > $2";
    let rows = tx.query(sql, params![&sighting.trigger, sighting.fired_since]).await?;
    let firings = read_all(&rows, |row| {
        Ok(PastFiring { at: row.get("at")?, topics: from_json(&row.get::<String>("topics")?)? })
    })?;
    let sql = "SELECT at, evidence FROM pipeline_decision WHERE trigger_name = $1 AND at > $2 AND at <= $3
        ORDER BY at DESC, event_key LIMIT $4";
    let after = fired_at.unwrap_or(Timestamp::MIN);
    let rows = tx.query(sql, params![&sighting.trigger, after, sighting.at, sighting.events_max]).await?;
    let events = read_all(&rows, |row| Ok((row.get("at")?, row.get("evidence")?)))?;
    Ok(TriggerHistory { firings, events })
}

impl SqlJournal {
    async fn try_decide(&self, sighting: &Sighting, rule: &Rule<'_>) -> Result<DecisionRecord> {
        let mut tx = self.meta.begin().await?;
        let key = sighting.event_key.to_string();
        if let Some(row) = tx.query_opt(ONE, params![&sighting.trigger, &key]).await? {
            return read_decision(&row);
        }
        let (decision, firing) = rule(&history(tx.as_mut(), sighting).await?);
        let record = DecisionRecord {
            trigger: sighting.trigger.clone(),
            event_key: sighting.event_key,
            at: sighting.at,
            kind: sighting.kind,
            evidence: sighting.evidence,
            topics: sighting.topics.clone(),
            announced: false,
            decision,
        };
        let fired = matches!(record.decision, Decision::Fired { .. });
        let sql = "INSERT INTO pipeline_decision VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)";
        let (topics, decision) = (to_json(&record.topics)?, to_json(&record.decision)?);
        let values =
            params![&record.trigger, key, record.at, word(&record.kind)?, record.evidence, topics, fired, decision];
        tx.execute(sql, values).await?;
        if let Some(firing) = firing {
            insert_firing(tx.as_mut(), &firing).await?;
        }
        tx.commit().await?;
        Ok(record)
    }
}

#[async_trait]
impl DecisionJournal for SqlJournal {
    async fn decide(&self, sighting: &Sighting, rule: &Rule<'_>) -> Result<DecisionRecord> {
        with_retry(|| self.try_decide(sighting, rule)).await
    }

    async fn mark_announced(&self, trigger: &str, event_key: &Digest) -> Result<()> {
        let sql = "UPDATE pipeline_decision SET announced = 1 WHERE trigger_name = $1 AND event_key = $2";
        match self.meta.execute(sql, params![trigger, event_key.to_string()]).await? {
            0 => Err(Error::not_found(format!("trigger {trigger:?} has not decided upon this event"))),
            _ => Ok(()),
        }
    }

    async fn unannounced(&self, trigger: &str, limit: u32) -> Result<Vec<DecisionRecord>> {
        let sql = "SELECT * FROM pipeline_decision WHERE trigger_name = $1 AND fired = 1 AND announced = 0
            ORDER BY at, event_key LIMIT $2";
        read_all(&self.meta.query(sql, params![trigger, limit]).await?, read_decision)
    }

    async fn decisions(&self, trigger: &str, limit: u32) -> Result<Vec<DecisionRecord>> {
        let sql = "SELECT * FROM pipeline_decision WHERE trigger_name = $1 ORDER BY at DESC, event_key LIMIT $2";
        read_all(&self.meta.query(sql, params![trigger, limit]).await?, read_decision)
    }
}
