//! Traces as rows: info, tags, metadata, links to runs.

use std::collections::BTreeMap;

use mlops_core::{Error, Result, RunId};
use mlops_store::{Row, Transaction, params};

use super::{SqlTraceStore, assessment::insert_assessment, require_trace, schema::TABLES};
use crate::{
    ExperimentId,
    limits::{TRACE_TAG_VALUE_MAX, check_key, truncated},
    retry::on_conflict,
    rows::{places, texts},
    traces::{Assessment, TOKENS_METADATA, TRACE_IDS_MAX, TraceInfo, TraceSelection, record::check_trace_id},
};

/// Most traces that are linked in one call.
const LINKS_MAX: usize = 100;
/// Most links of a run to traces that have not come yet.
const WAITING_LINKS_MAX: usize = 10_000;
/// How many traces one statement deletes.
const DELETE_AT_ONCE: u64 = 500;

pub(super) fn check_ids(ids: &[String], max: usize) -> Result<()> {
    if ids.len() > max {
        return Err(Error::invalid_argument(format!("at most {max} trace ids at once, found {}", ids.len())));
    }
    Ok(())
}

impl SqlTraceStore {
    pub(super) async fn put_info(&self, info: TraceInfo) -> Result<TraceInfo> {
        info.check()?;
        let info = info.cut();
        let assessments = self.named(&info)?;
        on_conflict!(self.try_put(&info, &assessments))?;
        let found = self.infos(std::slice::from_ref(&info.id)).await?;
        found.into_iter().next().ok_or_else(|| super::unknown(&info.id))
    }

    /// The assessments of a new trace under ids of their own.
    fn named(&self, info: &TraceInfo) -> Result<Vec<Assessment>> {
        let name =
            |assessment: &Assessment| Ok(Assessment::of(assessment.body(), &info.id, self.next_id("a-")?, self.now()));
        info.assessments.iter().map(name).collect()
    }

    async fn try_put(&self, info: &TraceInfo, assessments: &[Assessment]) -> Result<()> {
        let mut tx = self.meta.begin().await?;
        let sql = "INSERT INTO trace_info VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9) ON CONFLICT (id) DO UPDATE SET
            own_tokens = CASE WHEN excluded.own_tokens = 1 THEN 1 ELSE trace_info.own_tokens END,
            experiment = excluded.experiment, started = excluded.started, duration_ms = excluded.duration_ms,
            state = excluded.state, client_request_id = excluded.client_request_id,
            request_preview = COALESCE(excluded.request_preview, trace_info.request_preview),
            response_preview = COALESCE(excluded.response_preview, trace_info.response_preview), finalized = 1";
        let values = params![
            &info.id,
            info.experiment.0,
            info.started,
            info.duration_ms,
            info.state.name(),
            info.client_request_id.clone(),
            info.request_preview.clone(),
            info.response_preview.clone(),
            info.metadata.contains_key(TOKENS_METADATA)
        ];
        tx.execute(sql, values).await?;
        put_pairs(tx.as_mut(), Pairs::Tags, &info.id, &info.tags).await?;
        put_pairs(tx.as_mut(), Pairs::Metadata, &info.id, &info.metadata).await?;
        for assessment in assessments {
            insert_assessment(tx.as_mut(), assessment).await?;
        }
        tx.commit().await
    }

    pub(super) async fn infos(&self, ids: &[String]) -> Result<Vec<TraceInfo>> {
        check_ids(ids, TRACE_IDS_MAX)?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!("SELECT * FROM trace_info WHERE id IN ({})", places(1, ids.len()));
        let rows = self.meta.query(&sql, &texts(ids)).await?;
        let mut found: BTreeMap<String, TraceInfo> =
            self.complete(&rows).await?.into_iter().map(|info| (info.id.clone(), info)).collect();
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    pub(super) async fn homes(&self, ids: &[String]) -> Result<BTreeMap<String, ExperimentId>> {
        check_ids(ids, TRACE_IDS_MAX)?;
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let sql = format!("SELECT id, experiment FROM trace_info WHERE id IN ({})", places(1, ids.len()));
        let rows = self.meta.query(&sql, &texts(ids)).await?;
        rows.iter().map(|row| Ok((row.get("id")?, ExperimentId(row.get("experiment")?)))).collect()
    }

    /// Adds tags, metadata and assessments to rows of `trace_info`.
    pub(super) async fn complete(&self, rows: &[Row]) -> Result<Vec<TraceInfo>> {
        let mut infos = rows.iter().map(read_info).collect::<Result<Vec<_>>>()?;
        if infos.is_empty() {
            return Ok(infos);
        }
        let ids: Vec<String> = infos.iter().map(|info| info.id.clone()).collect();
        let (mut tags, mut metadata) =
            (self.pairs_of(Pairs::Tags, &ids).await?, self.pairs_of(Pairs::Metadata, &ids).await?);
        let mut assessments = self.assessments_of(&ids).await?;
        for info in &mut infos {
            info.tags = tags.remove(&info.id).unwrap_or_default();
            info.metadata = metadata.remove(&info.id).unwrap_or_default();
            info.assessments = assessments.remove(&info.id).unwrap_or_default();
        }
        Ok(infos)
    }

    async fn pairs_of(&self, pairs: Pairs, ids: &[String]) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        let table = pairs.table();
        let sql = format!("SELECT trace_id, key, value FROM {table} WHERE trace_id IN ({})", places(1, ids.len()));
        let mut found: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for row in self.meta.query(&sql, &texts(ids)).await? {
            found.entry(row.get("trace_id")?).or_default().insert(row.get("key")?, row.get("value")?);
        }
        Ok(found)
    }

    pub(super) async fn tag(&self, id: &str, tags: &[(String, String)]) -> Result<()> {
        tags.iter().try_for_each(|(key, _)| check_key("trace tag key", key))?;
        let tags: BTreeMap<String, String> =
            tags.iter().map(|(key, value)| (key.clone(), truncated(value, TRACE_TAG_VALUE_MAX).to_owned())).collect();
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            require_trace(tx.as_mut(), id).await?;
            put_pairs(tx.as_mut(), Pairs::Tags, id, &tags).await?;
            tx.commit().await
        })
    }

    pub(super) async fn untag(&self, id: &str, key: &str) -> Result<()> {
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            require_trace(tx.as_mut(), id).await?;
            if tx.execute("DELETE FROM trace_tag WHERE trace_id = $1 AND key = $2", params![id, key]).await? == 0 {
                return Err(Error::not_found(format!("No trace tag with key '{key}' for trace with ID '{id}'")));
            }
            tx.commit().await
        })
    }

    pub(super) async fn remove(&self, experiment: ExperimentId, selection: &TraceSelection) -> Result<u64> {
        if selection.ids.is_none() && selection.until.is_none() {
            return Err(Error::invalid_argument("which traces to delete? give ids or max_timestamp_millis"));
        }
        check_ids(selection.ids.as_deref().unwrap_or_default(), TRACE_IDS_MAX)?;
        let (mut removed, max) = (0, selection.max.unwrap_or(u64::MAX));
        while removed < max {
            let part = (max - removed).min(DELETE_AT_ONCE);
            let gone: u64 = on_conflict!(self.try_remove(experiment, selection, part))?;
            removed += gone;
            if gone < part {
                break;
            }
        }
        Ok(removed)
    }

    async fn try_remove(&self, experiment: ExperimentId, selection: &TraceSelection, part: u64) -> Result<u64> {
        let mut tx = self.meta.begin().await?;
        let mut values = params![experiment.0, part].to_vec();
        let mut sql = "SELECT id FROM trace_info WHERE experiment = $1".to_owned();
        if let Some(until) = selection.until {
            values.push(until.into());
            sql.push_str(" AND started <= $3");
        }
        if let Some(ids) = &selection.ids {
            if ids.is_empty() {
                return Ok(0);
            }
            sql.push_str(&format!(" AND id IN ({})", places(values.len() + 1, ids.len())));
            values.extend(texts(ids));
        }
        sql.push_str(" ORDER BY started, id LIMIT $2");
        let ids = tx.query(&sql, &values).await?.iter().map(|row| row.get("id")).collect::<Result<Vec<String>>>()?;
        if ids.is_empty() {
            return Ok(0);
        }
        for (table, column) in TABLES {
            let sql = format!("DELETE FROM {table} WHERE {column} IN ({})", places(1, ids.len()));
            tx.execute(&sql, &texts(&ids)).await?;
        }
        tx.commit().await?;
        Ok(ids.len() as u64)
    }

    pub(super) async fn link(&self, ids: &[String], run: &RunId) -> Result<()> {
        if ids.len() > LINKS_MAX {
            let message = format!("Cannot link more than {LINKS_MAX} traces to a run in one call, got {}", ids.len());
            return Err(Error::invalid_argument(message));
        }
        ids.iter().try_for_each(|id| check_trace_id(id))?;
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            for id in ids {
                let sql = "INSERT INTO trace_run VALUES ($1, $2) ON CONFLICT (trace_id, run_id) DO NOTHING";
                tx.execute(sql, params![id, run.as_str()]).await?;
            }
            check_waiting(tx.as_mut(), ids, run).await?;
            tx.commit().await
        })
    }
}

/// Refuses links to traces that have not come, when the run has too many such ones: nothing else removes them.
async fn check_waiting(tx: &mut dyn Transaction, ids: &[String], run: &RunId) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let known = format!("SELECT id FROM trace_info WHERE id IN ({})", places(1, ids.len()));
    if tx.query(&known, &texts(ids)).await?.len() == ids.len() {
        return Ok(());
    }
    let waiting = "SELECT trace_id FROM trace_run r WHERE r.run_id = $1
        AND NOT EXISTS (SELECT 1 FROM trace_info t WHERE t.id = r.trace_id) LIMIT $2";
    if tx.query(waiting, params![run.as_str(), WAITING_LINKS_MAX as u64 + 1]).await?.len() <= WAITING_LINKS_MAX {
        return Ok(());
    }
    Err(Error::resource_exhausted(format!(
        "run {run} is linked to {WAITING_LINKS_MAX} traces that have not come yet; send those first"
    )))
}

/// The two kinds of pairs of a trace.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pairs {
    Tags,
    Metadata,
}

impl Pairs {
    fn table(self) -> &'static str {
        match self {
            Self::Tags => "trace_tag",
            Self::Metadata => "trace_metadata",
        }
    }
}

/// Sets pairs of a trace.
pub(super) async fn put_pairs(
    tx: &mut dyn Transaction,
    pairs: Pairs,
    id: &str,
    values: &BTreeMap<String, String>,
) -> Result<()> {
    write_pairs(tx, (pairs, "UPDATE SET value = excluded.value"), id, values).await
}

/// Sets those pairs of a trace whose keys it does not have.
pub(super) async fn add_pairs(
    tx: &mut dyn Transaction,
    pairs: Pairs,
    id: &str,
    values: &BTreeMap<String, String>,
) -> Result<()> {
    write_pairs(tx, (pairs, "NOTHING"), id, values).await
}

async fn write_pairs(
    tx: &mut dyn Transaction,
    (pairs, otherwise): (Pairs, &str),
    id: &str,
    values: &BTreeMap<String, String>,
) -> Result<()> {
    let table = pairs.table();
    let sql = format!("INSERT INTO {table} VALUES ($1, $2, $3) ON CONFLICT (trace_id, key) DO {otherwise}");
    for (key, value) in values {
        tx.execute(&sql, params![id, key, value]).await?;
    }
    Ok(())
}

pub(super) fn read_info(row: &Row) -> Result<TraceInfo> {
    let id: String = row.get("id")?;
    Ok(TraceInfo {
        duration_ms: row.get("duration_ms")?,
        state: row.get::<String>("state")?.parse()?,
        client_request_id: row.get("client_request_id")?,
        request_preview: row.get("request_preview")?,
        response_preview: row.get("response_preview")?,
        ..TraceInfo::new(id, ExperimentId(row.get("experiment")?), row.get("started")?)
    })
}
