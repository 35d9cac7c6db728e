//! Reading runs.
//!
//! Invariant: a run is one row of one query, however much it logged: the database gathers its params, tags and latest
//! metrics as JSON. Rows cost more than bytes do, and a page of runs would else be ten thousand of them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use mlops_core::{Metric, Result, Timestamp};
use mlops_store::{Dialect, Row, Value};

use super::{SqlTrackingStore, cache::Revision};
use crate::{
    bound::{Bound, listing},
    search::{
        Columns, SearchColumns,
        sql::{gathered, ungathered, unreadable},
    },
    tracking::record::{DatasetInput, ExperimentId, RunRecord, parse_status},
};

impl SqlTrackingStore {
    /// These runs, in their order, with what `columns` name; those that are gone are left out.
    pub(super) async fn read_runs(&self, runs: &[Revision], columns: &SearchColumns) -> Result<Vec<Arc<RunRecord>>> {
        let mut found = self.records(runs, columns).await?;
        Ok(runs.iter().filter_map(|run| found.remove(&run.run)).collect())
    }

    /// The same by number: as they were in these revisions, or as they are by now.
    pub(super) async fn records(
        &self,
        runs: &[Revision],
        columns: &SearchColumns,
    ) -> Result<HashMap<i64, Arc<RunRecord>>> {
        let cache = self.cache.as_deref().filter(|_| *columns == SearchColumns::default());
        let mut found = cache.map_or_else(HashMap::new, |cache| cache.get(runs));
        let missing = runs.iter().filter(|run| !found.contains_key(&run.run));
        let listed: Vec<Value> = missing.map(|run| Value::from(run.run)).collect();
        let read = self.records_where("r.seq", &listed, columns).await?;
        let read: Vec<(Revision, Arc<RunRecord>)> = read.into_iter().map(|(run, it)| (run, Arc::new(it))).collect();
        if let Some(cache) = cache {
            cache.keep(read.iter().map(|(run, record)| (*run, record)));
        }
        found.extend(read.into_iter().map(|(run, record)| (run.run, record)));
        Ok(found)
    }

    /// The runs that have one of the values in a column.
    pub(super) async fn records_where(
        &self,
        column: &str,
        listed: &[Value],
        columns: &SearchColumns,
    ) -> Result<Vec<(Revision, RunRecord)>> {
        let (sql, fixed) = statement(self.meta.dialect(), column, columns);
        let mut found = Vec::with_capacity(listed.len());
        for (sql, values) in listing(&sql, &fixed, listed) {
            for row in self.meta.query(&sql, &values).await? {
                found.push((Revision { run: row.get("seq")?, number: row.get("revision")? }, read(&row)?));
            }
        }
        Ok(found)
    }
}

/// The query, with `{list}` for the values that `column` may have.
fn statement(dialect: Dialect, column: &str, columns: &SearchColumns) -> (String, Vec<Value>) {
    let mut bound = Bound::default();
    let mut part = |chosen: &Columns, items: &str, from: &str, key: &str| {
        let among = match chosen {
            Columns::All => String::new(),
            Columns::Only(keys) if keys.is_empty() => return "NULL".to_owned(),
            Columns::Only(keys) => format!(" AND {key} IN ({})", bound.list(keys.iter())),
        };
        gathered(dialect, items, &format!("{from}{among}"))
    };
    let latest = "tracking_metric_latest l JOIN tracking_metric_key k ON k.id = l.key WHERE l.run = r.seq";
    let metrics = part(&columns.metrics, "k.key, l.at, l.step, l.bits", latest, "k.key");
    let params = part(&columns.params, "p.key, p.value", "tracking_run_param p WHERE p.run = r.seq", "p.key");
    let tags = part(&columns.tags, "t.key, t.value", "tracking_run_tag t WHERE t.run = r.seq", "t.key");
    let datasets = gathered(dialect, "d.input", "tracking_input d WHERE d.run_id = r.id");
    let sql = format!(
        "SELECT r.seq, r.revision, r.id, r.experiment, r.name, r.user_name, r.status, r.started, r.ended,
            r.artifact_uri, r.deleted, {metrics} AS metrics, {params} AS params, {tags} AS tags, {datasets} AS datasets
        FROM tracking_run r WHERE {column} IN ({{list}})"
    );
    (sql, bound.0)
}

fn read(row: &Row) -> Result<RunRecord> {
    let metrics: Vec<(String, i64, i64, i64)> = ungathered(row, "metrics")?;
    let metric = |(key, at, step, bits): (String, i64, i64, i64)| {
        let value = f64::from_bits(bits.cast_unsigned());
        (key.clone(), Metric { key, value, timestamp: Timestamp::from_micros(at), step })
    };
    let mut datasets = Vec::new();
    for text in ungathered::<Vec<String>>(row, "datasets")? {
        datasets.push(serde_json::from_str::<DatasetInput>(&text).map_err(unreadable("datasets"))?);
    }
    datasets.sort_by(|a, b| (&a.dataset.name, &a.dataset.digest).cmp(&(&b.dataset.name, &b.dataset.digest)));
    Ok(RunRecord {
        id: row.get::<String>("id")?.parse()?,
        experiment: ExperimentId(row.get("experiment")?),
        name: row.get("name")?,
        user: row.get("user_name")?,
        status: parse_status(&row.get::<String>("status")?)?,
        started: row.get("started")?,
        ended: row.get("ended")?,
        artifact_uri: row.get("artifact_uri")?,
        deleted: row.get("deleted")?,
        params: BTreeMap::from_iter(ungathered::<Vec<(String, String)>>(row, "params")?),
        metrics: metrics.into_iter().map(metric).collect(),
        tags: BTreeMap::from_iter(ungathered::<Vec<(String, String)>>(row, "tags")?),
        datasets,
    })
}
