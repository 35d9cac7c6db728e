//! What compression saved and what it cost.

use std::time::Duration;

use mlops_core::{Clock, Error, Result};
use mlops_metrics::{Direction, Metric};
use serde::{Deserialize, Serialize};

use crate::{
    data::TableDataset,
    gate::{CheckResult, Verdict, latency_per_row},
    trainer::{TrainedModel, scores},
};

/// One model on the scales.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Bytes of the files of its package.
    pub bytes: u64,
    /// Median time for a row in a batch of all rows.
    pub latency_per_row: Duration,
    /// The metric on the rows.
    pub metric: f64,
}

/// A model before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompressionReport {
    /// Which metric was measured.
    pub metric: String,
    /// Whether more of it is better.
    pub more_is_better: bool,
    /// Rows that it was measured on.
    pub rows: usize,
    /// The model as it was.
    pub before: Measured,
    /// The model as it became.
    pub after: Measured,
}

/// Repetitions of the latency measurement.
const REPETITIONS: u32 = 5;

impl CompressionReport {
    /// Measures both models on `held_out` rows.
    ///
    /// # Errors
    /// What the models and the metric return.
    pub fn measure(
        before: &dyn TrainedModel,
        after: &dyn TrainedModel,
        held_out: &TableDataset,
        metric: Metric,
        clock: &dyn Clock,
    ) -> Result<Self> {
        let of = |model: &dyn TrainedModel| {
            let found = scores(model, held_out.batch())?;
            Ok::<_, Error>(Measured {
                bytes: model.to_package()?.files().map(|(_, bytes)| bytes.len() as u64).sum(),
                latency_per_row: latency_per_row(model, held_out.batch(), REPETITIONS, clock)?,
                metric: metric.compute_weighted(held_out.labels(), &found, held_out.weights())?,
            })
        };
        Ok(Self {
            metric: metric.name().to_owned(),
            more_is_better: metric.direction() == Direction::Maximize,
            rows: held_out.rows(),
            before: of(before)?,
            after: of(after)?,
        })
    }

    /// Bytes after, as a share of those before.
    #[must_use]
    pub fn size_ratio(&self) -> f64 {
        self.after.bytes as f64 / self.before.bytes as f64
    }

    /// Latency after, as a share of that before.
    #[must_use]
    pub fn latency_ratio(&self) -> f64 {
        self.after.latency_per_row.as_secs_f64() / self.before.latency_per_row.as_secs_f64()
    }

    /// By how much the metric got worse; negative when it got better.
    #[must_use]
    pub fn metric_loss(&self) -> f64 {
        let gain = self.after.metric - self.before.metric;
        if self.more_is_better { -gain } else { gain }
    }

    /// A table for people.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let (before, after) = (&self.before, &self.after);
        format!(
            "| | before | after | ratio |\n|---|---|---|---|\n| bytes | {} | {} | {:.3} |\n| latency per row | {:?} | {:?} | {:.3} |\n| {} on {} rows | {:.6} | {:.6} | worse by {:.6} |\n",
            before.bytes,
            after.bytes,
            self.size_ratio(),
            before.latency_per_row,
            after.latency_per_row,
            self.latency_ratio(),
            self.metric,
            self.rows,
            before.metric,
            after.metric,
            self.metric_loss()
        )
    }
}

/// What a compressed model must keep and reach; what is none is not asked.
///
/// ```
/// use std::time::Duration;
///
/// use mlops_train::compress::{CompressionGate, CompressionReport, Measured};
///
/// let measured = |bytes, metric| Measured { bytes, latency_per_row: Duration::from_micros(1), metric };
/// let (before, after) = (measured(1_000, 0.90), measured(300, 0.88));
/// let report = CompressionReport { metric: "roc_auc".into(), more_is_better: true, rows: 50, before, after };
/// let gate = CompressionGate { metric_loss_max: Some(0.01), size_ratio_max: Some(0.5), latency_ratio_max: None };
/// let verdict = gate.judge(&report);
/// assert!(!verdict.passed && verdict.failures().count() == 1);
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompressionGate {
    /// By how much the metric may get worse.
    pub metric_loss_max: Option<f64>,
    /// Largest share of the bytes that may remain.
    pub size_ratio_max: Option<f64>,
    /// Largest share of the latency that may remain.
    pub latency_ratio_max: Option<f64>,
}

impl CompressionGate {
    /// Checks every bound; a measure that is no number passes none.
    #[must_use]
    pub fn judge(&self, report: &CompressionReport) -> Verdict {
        let checks = [
            (format!("{} loss", report.metric), report.metric_loss(), self.metric_loss_max),
            ("size ratio".to_owned(), report.size_ratio(), self.size_ratio_max),
            ("latency ratio".to_owned(), report.latency_ratio(), self.latency_ratio_max),
        ];
        let check = |(name, found, bound): (String, f64, Option<f64>)| {
            let bound = bound?;
            Some(CheckResult { name, passed: found <= bound, detail: format!("{found:.6}, needs at most {bound}") })
        };
        let checks: Vec<CheckResult> = checks.into_iter().filter_map(check).collect();
        Verdict { passed: checks.iter().all(|check| check.passed), rows: report.rows, checks }
    }
}
