//! An estimate as a section of a monitoring report.
//!
//! Invariant: numbers that do not exist are empty cells, and the verdicts are those of the estimate.

use std::fmt::Display;

use super::band::{EstimateVerdict, MetricEstimate, PerformanceEstimate};
use crate::report::{Cell, Heading, Section, Status, Table, plural};

impl<M: Display + PartialEq> PerformanceEstimate<M> {
    /// This estimate as a section for people: every metric with its band, what it was on the reference, and its
    /// thresholds.
    #[must_use]
    pub fn section(&self) -> Section {
        let judged = self.metrics.iter().map(|metric| status(metric.verdict));
        let status = judged.max().unwrap_or(Status::Neutral);
        let mut metrics = Table::new([
            Heading::text("Metric"),
            Heading::number("Estimate"),
            Heading::number("Reference"),
            Heading::number("Alert below"),
            Heading::number("Alert above"),
            Heading::text("Verdict"),
        ]);
        for metric in &self.metrics {
            metrics = metrics.with_row(row(metric));
        }
        Section::new("Estimated performance", status).with_summary(self.summary()).with_table(metrics)
    }

    fn summary(&self) -> String {
        let alerts = self.metrics.iter().filter(|metric| metric.verdict == EstimateVerdict::Alert);
        let names: Vec<String> = alerts.map(|metric| metric.metric.to_string()).collect();
        let found = if names.is_empty() {
            "No estimate is beyond its thresholds".to_owned()
        } else {
            format!("Beyond the thresholds: {}", names.join(", "))
        };
        let skipped = if self.skipped == 0 { String::new() } else { format!(", {} left out", self.skipped) };
        let rows = plural(usize::try_from(self.n).unwrap_or(usize::MAX), "row");
        format!(
            "{found}. Estimated without labels from {rows}{skipped}; a changed relation between inputs and outcome is not seen."
        )
    }
}

fn status(verdict: EstimateVerdict) -> Status {
    match verdict {
        EstimateVerdict::Ok => Status::Good,
        EstimateVerdict::Alert => Status::Bad,
        EstimateVerdict::Insufficient { .. } | EstimateVerdict::Degenerate => Status::Attention,
    }
}

fn row<M: Display>(metric: &MetricEstimate<M>) -> [Cell; 6] {
    let words = match metric.verdict {
        EstimateVerdict::Ok => "as expected".to_owned(),
        EstimateVerdict::Alert => "beyond the thresholds".to_owned(),
        EstimateVerdict::Insufficient { n, min_n } => format!("{n} of {min_n} rows"),
        EstimateVerdict::Degenerate => "not defined here".to_owned(),
    };
    let known = |value: f64| (!value.is_nan()).then_some(value);
    [
        Cell::text(metric.metric.to_string()),
        Cell::measured(known(metric.value), known(metric.lower).zip(known(metric.upper))),
        Cell::measured(known(metric.reference), None),
        Cell::measured(metric.alert_lower, None),
        Cell::measured(metric.alert_upper, None),
        Cell::status(status(metric.verdict), words),
    ]
}

#[cfg(test)]
mod tests {
    use mlops_core::testing::SplitMix64;

    use super::*;
    use crate::estimate::{Cbpe, CbpeMetric, CbpeReference, CbpeSettings, LossMetric};

    #[test]
    fn an_alert_is_bad_and_named() {
        // Labels by chance, so that the metrics of chunks differ as they do in life.
        let random = SplitMix64::new(5);
        let scores: Vec<f64> = (0..2_000).map(|i| if i % 2 == 0 { 0.9 } else { 0.2 }).collect();
        let predictions: Vec<bool> = scores.iter().map(|score| *score >= 0.5).collect();
        let labels: Vec<bool> = scores.iter().zip(0..).map(|(score, row)| random.uniform(row) < *score).collect();
        let reference = CbpeReference { scores: &scores, predictions: &predictions, labels: &labels };
        let metrics = vec![CbpeMetric::Accuracy, CbpeMetric::Precision];
        let cbpe = Cbpe::fit(reference, CbpeSettings { metrics, ..CbpeSettings::default() }).unwrap();

        let section = cbpe.estimate(&[0.2; 300], &[false; 300]).unwrap().section();
        assert_eq!(section.status, Status::Bad);
        assert!(section.summary.starts_with("Beyond the thresholds: accuracy. "), "{}", section.summary);
        let rows = &section.tables[0].rows;
        assert!(matches!(rows[0][1], Cell::Interval(value, low, high) if low < value && value < high), "{rows:?}");
        assert_eq!((&rows[1][1], &rows[1][5]), (&Cell::Empty, &Cell::status(Status::Attention, "not defined here")));

        let section = cbpe.estimate(&scores, &predictions).unwrap().section();
        assert_eq!((section.status, section.tables[0].rows.len()), (Status::Good, 2));
        let few = cbpe.estimate(&[0.2, f64::NAN], &[false, true]).unwrap().section();
        assert_eq!(few.status, Status::Attention);
        assert!(few.summary.contains("from 1 row, 1 left out"), "{}", few.summary);
        assert_eq!(few.tables[0].rows[0][5], Cell::status(Status::Attention, "1 of 100 rows"));
    }

    #[test]
    fn losses_are_shown_as_well() {
        let metric = MetricEstimate {
            metric: LossMetric::Rmse,
            value: 3.0,
            lower: 2.5,
            upper: 3.5,
            standard_error: 1.0 / 6.0,
            reference: 2.0,
            alert_lower: Some(1.0),
            alert_upper: Some(2.8),
            verdict: EstimateVerdict::Alert,
        };
        let section = PerformanceEstimate { n: 9, skipped: 0, metrics: vec![metric] }.section();
        assert_eq!((section.status, &section.tables[0].rows[0][0]), (Status::Bad, &Cell::text("rmse")));
        assert_eq!(section.tables[0].rows[0][1..5].iter().filter(|cell| **cell == Cell::Empty).count(), 0);
    }
}
