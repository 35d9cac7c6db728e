//! The outcome of a window as a section of a monitoring report.

use mlops_metrics::Interval;

use super::{
    compare::PerformanceVerdict,
    fairness::{FairnessReport, FairnessVerdict},
    report::{MetricReport, PerformanceHeadline, PerformanceReport},
    slices::SlicesReport,
};
use crate::{
    report::{Cell, Heading, Section, Status, Table},
    stats::float,
};

impl PerformanceReport {
    /// This report as a section for people: metrics with their intervals and reference values, worst slices, fairness.
    #[must_use]
    pub fn section(&self) -> Section {
        let status = match self.verdict {
            PerformanceHeadline::Ok => Status::Good,
            PerformanceHeadline::Degraded => Status::Bad,
            PerformanceHeadline::Insufficient => Status::Attention,
        };
        let mut metrics = Table::new([
            Heading::text("Metric"),
            Heading::number("Value"),
            Heading::number("Reference"),
            Heading::number("Difference"),
            Heading::number("p"),
            Heading::number("Would notice"),
            Heading::text("Verdict"),
        ]);
        for metric in &self.metrics {
            metrics = metrics.with_row(metric_row(metric));
        }
        let mut section = Section::new("Performance", status).with_summary(self.to_string()).with_table(metrics);
        if let Some(slices) = &self.slices {
            section = section.with_table(slices.table());
        }
        for fairness in &self.fairness {
            section = section.with_table(fairness.table());
        }
        section
    }
}

fn metric_row(metric: &MetricReport) -> [Cell; 7] {
    let (status, words) = match metric.verdict {
        PerformanceVerdict::Ok => (Status::Good, "as before".to_owned()),
        PerformanceVerdict::Degraded => (Status::Bad, "worse".to_owned()),
        PerformanceVerdict::Improved => (Status::Good, "better".to_owned()),
        PerformanceVerdict::Insufficient { n, min_n } => (Status::Attention, format!("{n} of {min_n} rows")),
        PerformanceVerdict::NoReference => (Status::Neutral, "nothing to compare with".to_owned()),
        PerformanceVerdict::Undefined => (Status::Attention, metric.note.clone().unwrap_or_default()),
    };
    [
        Cell::text(metric.metric.to_string()),
        with_interval(metric.value, metric.interval.as_ref()),
        Cell::measured(metric.reference, None),
        with_interval(metric.difference, metric.difference_interval.as_ref()),
        Cell::measured(metric.p, None),
        Cell::measured(metric.mde, None),
        Cell::status(status, words),
    ]
}

fn with_interval(value: Option<f64>, interval: Option<&Interval>) -> Cell {
    Cell::measured(value, interval.map(|interval| (interval.low, interval.high)))
}

impl SlicesReport {
    fn table(&self) -> Table {
        let mut table = Table::new([
            Heading::text("Slice"),
            Heading::number("Rows"),
            Heading::number("Value"),
            Heading::number("Other rows"),
            Heading::number("Gap"),
            Heading::text("Verdict"),
        ])
        .with_caption(format!("Worst slices by {}, of {} that were compared", self.metric, self.tested));
        for slice in &self.worst {
            let conditions =
                slice.conditions.iter().map(|condition| format!("{} is {}", condition.column, condition.level));
            let verdict = if slice.significant {
                Cell::status(Status::Bad, "worse")
            } else {
                Cell::status(Status::Neutral, "within chance")
            };
            table = table.with_row([
                Cell::text(conditions.collect::<Vec<_>>().join(" and ")),
                Cell::Number(float(slice.n)),
                Cell::Number(slice.value),
                Cell::Number(slice.rest),
                with_interval(Some(slice.gap), slice.interval.as_ref()),
                verdict,
            ]);
        }
        table
    }
}

impl FairnessReport {
    fn table(&self) -> Table {
        let mut table = Table::new([
            Heading::text("Metric"),
            Heading::number("Value"),
            Heading::number("Limit"),
            Heading::text("Between"),
            Heading::text("Verdict"),
        ])
        .with_caption(format!("Fairness by {}", self.attribute));
        for value in &self.metrics {
            let (status, words) = match value.verdict {
                FairnessVerdict::Ok => (Status::Good, "within the limit"),
                FairnessVerdict::Watch => (Status::Attention, "beyond it, perhaps by chance"),
                FairnessVerdict::Unfair => (Status::Bad, "beyond the limit"),
                FairnessVerdict::Insufficient => (Status::Attention, "too few rows"),
            };
            let gap = value.gap.as_ref();
            table = table.with_row([
                Cell::text(value.metric.to_string()),
                with_interval(gap.map(|gap| gap.value), gap.and_then(|gap| gap.interval.as_ref())),
                Cell::Number(value.limit),
                gap.map_or(Cell::Empty, |gap| Cell::text(format!("{} and {}", gap.highest, gap.lowest))),
                Cell::status(status, words),
            ]);
        }
        table
    }
}
