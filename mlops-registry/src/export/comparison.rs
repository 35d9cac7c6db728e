//! A few runs side by side.
//!
//! Invariant: every row has one value for each run, in the order in which the runs were named; a run that lacks the key
//! has none.

use std::{collections::BTreeSet, fmt::Write as _};

use mlops_core::{Error, Result, RunId, RunStatus, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    documents::escaped,
    tracking::{RunRecord, TrackingStore, record::status_name},
};

/// Most runs that are compared at once.
pub const COMPARED_MAX: usize = 100;

/// Who is compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedRun {
    /// Its id.
    pub id: RunId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub status: RunStatus,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; none while it is open.
    pub ended: Option<Timestamp>,
}

/// A param of all runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedParam {
    /// Its key.
    pub key: String,
    /// Its value in each run.
    pub values: Vec<Option<String>>,
    /// Whether the runs do not all have the same value; lacking it is a value here.
    pub differs: bool,
}

/// A metric of all runs. JSON has no number for NaN and infinities; they become null there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparedMetric {
    /// Its key.
    pub key: String,
    /// Its latest value in each run.
    pub values: Vec<Option<f64>>,
    /// Place in `values` of the lowest and of the highest; the first of equal ones. NaN is passed over.
    pub extremes: Option<(usize, usize)>,
}

/// What [`compare`] gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunComparison {
    /// The runs.
    pub runs: Vec<ComparedRun>,
    /// All params, by key.
    pub params: Vec<ComparedParam>,
    /// All metrics, by key.
    pub metrics: Vec<ComparedMetric>,
}

/// Compares the params and the latest metrics of runs.
///
/// # Errors
/// `InvalidArgument` when there are no runs or more than [`COMPARED_MAX`]; `NotFound` when one does not exist.
pub async fn compare(store: &dyn TrackingStore, runs: &[RunId]) -> Result<RunComparison> {
    if runs.is_empty() || COMPARED_MAX < runs.len() {
        return Err(Error::invalid_argument(format!(
            "{} runs are to be compared; name 1 to {COMPARED_MAX}",
            runs.len()
        )));
    }
    let mut records = Vec::with_capacity(runs.len());
    for id in runs {
        records.push(store.run(id).await?);
    }
    Ok(RunComparison::of(&records))
}

impl RunComparison {
    /// Compares runs that are at hand.
    #[must_use]
    pub fn of(records: &[RunRecord]) -> Self {
        let run = |run: &RunRecord| ComparedRun {
            id: run.id.clone(),
            name: run.name.clone(),
            status: run.status,
            started: run.started,
            ended: run.ended,
        };
        let params: BTreeSet<&String> = records.iter().flat_map(|run| run.params.keys()).collect();
        let metrics: BTreeSet<&String> = records.iter().flat_map(|run| run.metrics.keys()).collect();
        Self {
            runs: records.iter().map(run).collect(),
            params: params.into_iter().map(|key| param(key, records)).collect(),
            metrics: metrics.into_iter().map(|key| metric(key, records)).collect(),
        }
    }

    /// The params that are not the same in all runs.
    pub fn differing_params(&self) -> impl Iterator<Item = &ComparedParam> {
        self.params.iter().filter(|param| param.differs)
    }

    /// A table in Markdown: a column for each run, rows for the params that differ and for all metrics.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut out = String::from("|");
        row(&mut out, "", self.runs.iter().map(|run| format!("{} ({})", run.name, status_name(run.status))));
        out.push('|');
        (0..=self.runs.len()).for_each(|_| out.push_str("---|"));
        out.push('\n');
        for param in self.differing_params() {
            out.push('|');
            row(&mut out, &param.key, param.values.iter().map(|value| value.clone().unwrap_or_default()));
        }
        for metric in &self.metrics {
            out.push('|');
            let text = |value: &Option<f64>| value.map_or_else(String::new, |value| value.to_string());
            row(&mut out, &metric.key, metric.values.iter().map(text));
        }
        out
    }
}

fn param(key: &str, records: &[RunRecord]) -> ComparedParam {
    let values: Vec<_> = records.iter().map(|run| run.params.get(key).cloned()).collect();
    let differs = values.windows(2).any(|pair| matches!(pair, [a, b] if a != b));
    ComparedParam { key: key.to_owned(), values, differs }
}

fn metric(key: &str, records: &[RunRecord]) -> ComparedMetric {
    let values: Vec<_> = records.iter().map(|run| run.metrics.get(key).map(|metric| metric.value)).collect();
    let numbers = values.iter().enumerate().filter_map(|(at, value)| Some((at, (*value)?)));
    let extremes = numbers.filter(|(_, value)| !value.is_nan()).fold(None, |extremes, found| match extremes {
        None => Some((found, found)),
        Some((low, high)) => {
            Some((if found.1 < low.1 { found } else { low }, if high.1 < found.1 { found } else { high }))
        }
    });
    ComparedMetric { key: key.to_owned(), values, extremes: extremes.map(|(low, high)| (low.0, high.0)) }
}

fn row(out: &mut String, head: &str, cells: impl Iterator<Item = String>) {
    for cell in std::iter::once(head.to_owned()).chain(cells) {
        // Writing to a string does not fail.
        let _ = write!(out, " {} |", escaped(&cell));
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_a_run_becomes_markup() {
        let run = ComparedRun {
            id: RunId::new("r").unwrap(),
            name: "<b>&|*x*\n".into(),
            status: RunStatus::Running,
            started: Timestamp::from_millis(0),
            ended: None,
        };
        let metric = ComparedMetric { key: "a_b".into(), values: vec![Some(0.5)], extremes: Some((0, 0)) };
        let comparison = RunComparison { runs: vec![run], params: Vec::new(), metrics: vec![metric] };
        let expected = "|  | &lt;b&gt;&amp;\\|\\*x\\*  (RUNNING) |\n|---|---|\n| a\\_b | 0.5 |\n";
        assert_eq!(comparison.to_markdown(), expected);
    }
}
