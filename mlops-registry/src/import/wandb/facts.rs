//! All that the folders of one run tell, apart from the points of its history.
//!
//! Invariant: of each kind of key at most [`KEYS_MAX`] are held.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    time::Duration,
};

use mlops_core::{Metric, Result, RunId, RunStatus, Timestamp};
use serde_json::Value;

use super::{
    entry::{About, Entry, Row},
    part::Part,
    values,
};
use crate::{
    import::report::ImportReport,
    tracking::{ExperimentId, RunRecord},
};

/// Most keys of a config, of a summary and of a history.
const KEYS_MAX: usize = 100_000;
/// Most keys that one note names.
const KEYS_NAMED: usize = 10;

#[derive(Debug, Default)]
pub(super) struct Facts {
    about: About,
    config: BTreeMap<String, Value>,
    summary: BTreeMap<String, Value>,
    metrics: BTreeSet<String>,
    other: BTreeSet<String>,
    exit: Option<(i64, i64)>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    last_step: i64,
    too_many: bool,
}

impl Facts {
    /// Reads all folders of a run.
    pub(super) fn read(parts: &[Part], report: &mut ImportReport) -> Result<Self> {
        let mut facts = Self::default();
        for part in parts {
            // A run that is taken up again has not ended where it was left.
            facts.exit = None;
            part.scan(0, report, &mut |entry, _| {
                facts.take(entry);
                ControlFlow::Continue(())
            })?;
        }
        let place = parts.first().map(Part::place).unwrap_or_default();
        if facts.too_many {
            report.skip(&place, format!("of config, summary and history, {KEYS_MAX} keys each are read"));
        }
        if !facts.other.is_empty() {
            let named: Vec<&str> = facts.other.iter().take(KEYS_NAMED).map(String::as_str).collect();
            let count = facts.other.len();
            report.skip(place, format!("values of {count} keys that are no numbers, such as {}", named.join(", ")));
        }
        Ok(facts)
    }

    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::About(about) => self.about.merge(*about),
            Entry::Config(changes) => change(&mut self.config, changes, &mut self.too_many),
            Entry::Summary(changes) => change(&mut self.summary, changes, &mut self.too_many),
            Entry::Exit { code, runtime_s } => self.exit = Some((code, runtime_s)),
            Entry::Row(row) => self.row(row),
        }
    }

    fn row(&mut self, row: Row) {
        let began = row.time.zip(row.runtime_s).map(|(time, runtime)| time - duration(runtime));
        self.first = self.first.or(began).or(row.time);
        self.last = self.last.max(row.time);
        self.last_step = self.last_step.max(row.step.unwrap_or(0));
        for (keys, new) in [
            (&mut self.metrics, row.values.into_iter().map(|(key, _)| key).collect::<Vec<_>>()),
            (&mut self.other, row.other),
        ] {
            for key in new {
                if keys.len() < KEYS_MAX {
                    keys.insert(key);
                } else {
                    self.too_many |= !keys.contains(&key);
                }
            }
        }
    }

    /// The run as it is imported; its `metrics` are those that only the summary has.
    pub(super) fn record(self, id: RunId, experiment: ExperimentId) -> RunRecord {
        let started = self.about.started().or(self.first).unwrap_or_default();
        let by_exit = self.exit.map(|(code, _)| if code == 0 { RunStatus::Finished } else { RunStatus::Failed });
        let status = self.about.status().or(by_exit).unwrap_or(RunStatus::Running);
        let ran = self.exit.map(|(_, seconds)| started + duration(seconds as f64));
        let ended = ran.max(self.last).max(Some(started));
        let ended = ended.filter(|_| status.is_end());
        let (metrics, texts) = self.summary(ended.or(self.last).unwrap_or(started));
        let mut params = BTreeMap::new();
        for (key, value) in self.config.into_iter().filter(|(key, _)| !key.starts_with('_')) {
            values::flatten(&key, value, &mut |key, value| drop(params.insert(key, values::text(&value))));
        }
        let mut tags = tags(&self.about);
        tags.extend(texts);
        RunRecord {
            name: self.about.name.filter(|name| !name.is_empty()).unwrap_or_else(|| id.to_string()),
            user: self.about.user.unwrap_or_default(),
            id,
            experiment,
            status,
            started,
            ended,
            artifact_uri: String::new(),
            deleted: false,
            params,
            metrics,
            tags,
            datasets: Vec::new(),
        }
    }

    /// Numbers that the history does not have as points, and texts as tags.
    fn summary(&self, timestamp: Timestamp) -> (BTreeMap<String, Metric>, Vec<(String, String)>) {
        let (mut metrics, mut texts) = (BTreeMap::new(), Vec::new());
        let mut take = |key: String, value: Value| match (values::number(&value), value) {
            (Some(value), _) if !self.metrics.contains(&key) => {
                let metric = Metric { key: key.clone(), value, timestamp, step: self.last_step };
                metrics.insert(key, metric);
            }
            (None, Value::String(text)) if !self.other.contains(&key) => {
                texts.push((format!("wandb.summary.{key}"), text));
            }
            _ => {}
        };
        for (key, value) in self.summary.iter().filter(|(key, _)| !key.starts_with('_')) {
            if !values::is_medium(value) && !key.ends_with("._type") {
                values::flatten(key, value.clone(), &mut take);
            }
        }
        (metrics, texts)
    }
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default()
}

fn change(map: &mut BTreeMap<String, Value>, changes: Vec<(String, Option<Value>)>, too_many: &mut bool) {
    for (key, value) in changes {
        match value {
            Some(value) if map.len() < KEYS_MAX || map.contains_key(&key) => drop(map.insert(key, value)),
            Some(_) => *too_many = true,
            None => drop(map.remove(&key)),
        }
    }
}

/// What W&B knows of a run beyond what a run has here.
fn tags(about: &About) -> BTreeMap<String, String> {
    let known = [
        ("wandb.url", &about.url),
        ("wandb.entity", &about.entity),
        ("wandb.group", &about.group),
        ("wandb.job_type", &about.job_type),
        ("wandb.sweep", &about.sweep),
        ("wandb.host", &about.host),
        ("mlflow.note.content", &about.notes),
        ("mlflow.source.name", &about.program),
        ("mlflow.source.git.commit", &about.commit),
    ];
    let known = known.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text.clone()?)));
    let mut tags: BTreeMap<_, _> = known.filter(|(_, text)| !text.is_empty()).collect();
    if !about.tags.is_empty() {
        tags.insert("wandb.tags".to_owned(), Value::from(about.tags.clone()).to_string());
    }
    tags
}
