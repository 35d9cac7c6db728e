//! Assessments as rows.

use std::collections::BTreeMap;

use mlops_core::{Error, Result};
use mlops_store::{MetaStoreExt as _, Transaction, TransactionExt as _, params};

use super::{SqlTraceStore, require_trace};
use crate::{
    retry::on_conflict,
    rows::{from_json, places, texts, to_json},
    traces::{Assessment, AssessmentUpdate, CreateAssessment},
};

fn unknown(id: &str, assessment: &str) -> Error {
    Error::not_found(format!("Assessment with ID '{assessment}' not found for trace '{id}'")).with("trace", id)
}

impl SqlTraceStore {
    pub(super) async fn add_assessment(&self, id: &str, create: CreateAssessment) -> Result<Assessment> {
        create.check()?;
        let made = Assessment::of(create, id, self.next_id("a-")?, self.now());
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            require_trace(tx.as_mut(), id).await?;
            if let Some(overridden) = &made.overrides {
                set_valid(tx.as_mut(), id, overridden, false).await?;
            }
            insert_assessment(tx.as_mut(), &made).await?;
            tx.commit().await
        })?;
        Ok(made)
    }

    pub(super) async fn assessment_of(&self, id: &str, assessment: &str) -> Result<Assessment> {
        let sql = "SELECT content FROM trace_assessment WHERE trace_id = $1 AND id = $2";
        match self.meta.query_opt(sql, params![id, assessment]).await? {
            Some(row) => from_json("assessment", &row),
            None if self.infos(&[id.to_owned()]).await?.is_empty() => Err(super::unknown(id)),
            None => Err(unknown(id, assessment)),
        }
    }

    pub(super) async fn change_assessment(
        &self,
        id: &str,
        assessment: &str,
        update: AssessmentUpdate,
    ) -> Result<Assessment> {
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            require_trace(tx.as_mut(), id).await?;
            let found = read(tx.as_mut(), id, assessment).await?.ok_or_else(|| unknown(id, assessment))?;
            let changed = found.updated(update.clone(), self.now())?;
            write(tx.as_mut(), &changed).await?;
            tx.commit().await?;
            Ok(changed)
        })
    }

    pub(super) async fn remove_assessment(&self, id: &str, assessment: &str) -> Result<()> {
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            require_trace(tx.as_mut(), id).await?;
            let Some(found) = read(tx.as_mut(), id, assessment).await? else { return Ok(()) };
            if let Some(overridden) = &found.overrides {
                match set_valid(tx.as_mut(), id, overridden, true).await {
                    Err(error) if error.kind() != mlops_core::ErrorKind::NotFound => return Err(error),
                    // It may have been deleted meanwhile.
                    _ => {}
                }
            }
            tx.execute("DELETE FROM trace_assessment WHERE trace_id = $1 AND id = $2", params![id, assessment]).await?;
            tx.commit().await
        })
    }

    pub(super) async fn assessments_of(&self, ids: &[String]) -> Result<BTreeMap<String, Vec<Assessment>>> {
        let sql = format!(
            "SELECT trace_id, content FROM trace_assessment WHERE trace_id IN ({}) ORDER BY created, position, id",
            places(1, ids.len())
        );
        let mut found: BTreeMap<String, Vec<Assessment>> = BTreeMap::new();
        for row in self.meta.query(&sql, &texts(ids)).await? {
            found.entry(row.get("trace_id")?).or_default().push(from_json("assessment", &row)?);
        }
        Ok(found)
    }
}

async fn read(tx: &mut dyn Transaction, id: &str, assessment: &str) -> Result<Option<Assessment>> {
    let sql = "SELECT content FROM trace_assessment WHERE trace_id = $1 AND id = $2";
    let row = tx.query_opt(sql, params![id, assessment]).await?;
    row.map(|row| from_json("assessment", &row)).transpose()
}

async fn write(tx: &mut dyn Transaction, assessment: &Assessment) -> Result<()> {
    let sql = "UPDATE trace_assessment SET content = $1 WHERE trace_id = $2 AND id = $3";
    let values = params![to_json("assessment", assessment)?, &assessment.trace_id, &assessment.id];
    tx.execute(sql, values).await.map(drop)
}

async fn set_valid(tx: &mut dyn Transaction, id: &str, assessment: &str, valid: bool) -> Result<()> {
    let found = read(tx, id, assessment).await?.ok_or_else(|| unknown(id, assessment))?;
    write(tx, &Assessment { valid, ..found }).await
}

pub(super) async fn insert_assessment(tx: &mut dyn Transaction, assessment: &Assessment) -> Result<()> {
    let content = to_json("assessment", assessment)?;
    let values = params![&assessment.trace_id, &assessment.id, assessment.created, content];
    // More than one may be made in a millisecond.
    let sql = "INSERT INTO trace_assessment (trace_id, id, created, content, position) VALUES ($1, $2, $3, $4,
        (SELECT COALESCE(MAX(position), 0) + 1 FROM trace_assessment WHERE trace_id = $1))";
    tx.execute(sql, values).await.map(drop)
}
