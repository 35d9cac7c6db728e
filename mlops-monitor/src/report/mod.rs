//! The outcome of comparing one window with the reference.
//!
//! Invariant: columns are ordered by severity, worst first; all numbers behind a verdict are in
//! the report. Rendering is in `json` and `html`.

mod explain;
mod format;
mod histogram;
mod html;
mod json;
mod markdown;
mod monitoring;
mod rows;
mod section;
mod series;
mod summary;

use mlops_core::{Event, Fact, ModelName, Timestamp, Version};

pub(crate) use format::plural;
pub use histogram::Histogram;
pub use html::{COLUMNS_MAX, DETAILS_MAX};
pub(crate) use json::test as test_json;
pub use markdown::MARKDOWN_BYTES_MAX;
pub use monitoring::MonitoringReport;
pub use section::{
    Band, CHARTS_MAX, Cell, Heading, LINES_MAX, Line, LineChart, POINTS_MAX, SECTIONS_MAX, Section, Status,
    TABLE_COLUMNS_MAX, TABLE_ROWS_MAX, Table,
};
pub use series::{ColumnSeries, RowOrder, SERIES_COLUMNS_MAX, STRETCHES_MAX, SeriesBuilder, WindowSeries};
pub use summary::{LevelShift, Spread};

use crate::{
    detector::{DriftTest, Verdict},
    multivariate::RowReport,
    profile::ColumnProfile,
    sample::{ColumnKind, ColumnSample},
    stats::{Tail, float},
};

/// The verdict on a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Headline {
    /// At least one column was compared and none drifted.
    Ok,
    /// A column drifted, is missing, or has a type that cannot be compared; or whole rows drifted.
    Drift,
    /// No column had enough rows to be compared.
    Insufficient,
}

impl Headline {
    /// The name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Drift => "drift",
            Self::Insufficient => "insufficient",
        }
    }
}

/// The verdict on a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColumnVerdict {
    /// No test found drift that matters.
    Ok,
    /// At least one test did.
    Drift,
    /// The window lacks the column.
    Missing,
    /// The window's type cannot be compared with the reference.
    Retyped,
    /// Too few values on one side.
    Insufficient {
        /// Values on the smaller side.
        n: u64,
        /// Values that are needed.
        min_n: u64,
    },
    /// Nothing to compare: one constant on both sides, or values without a comparison.
    Degenerate,
}

impl ColumnVerdict {
    /// The name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Drift => "drift",
            Self::Missing => "missing",
            Self::Retyped => "retyped",
            Self::Insufficient { .. } => "insufficient",
            Self::Degenerate => "degenerate",
        }
    }

    /// Whether it makes the window one that drifted.
    #[must_use]
    pub fn is_drift(self) -> bool {
        matches!(self, Self::Drift | Self::Missing | Self::Retyped)
    }

    fn order(self) -> u8 {
        match self {
            Self::Missing | Self::Retyped => 0,
            Self::Drift => 1,
            Self::Ok => 2,
            Self::Insufficient { .. } => 3,
            Self::Degenerate => 4,
        }
    }
}

/// A difference between the schema of the reference and that of the window.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaChange {
    /// The window lacks a column.
    Missing {
        /// The column.
        column: String,
        /// Its type in the reference.
        expected: String,
    },
    /// A column has another type.
    Retyped {
        /// The column.
        column: String,
        /// Its type in the reference.
        expected: String,
        /// Its type in the window.
        found: String,
        /// Whether values could be compared all the same, as integers with floats.
        comparable: bool,
    },
    /// The reference does not know a column. Not drift by itself.
    New {
        /// The column.
        column: String,
        /// Its type in the window.
        found: String,
    },
}

/// What was found in one column.
#[derive(Debug, Clone)]
pub struct ColumnReport {
    /// The column's name.
    pub name: String,
    /// How its values were compared.
    pub kind: ColumnKind,
    /// Its type in the reference.
    pub data_type: String,
    /// Reference values that took part; fewer than its rows when the profile is thinned.
    pub n_ref: u64,
    /// Current values that took part.
    pub n_cur: u64,
    /// Share of reference rows without a usable value.
    pub missing_ref: f64,
    /// Share of current rows without a usable value; NaN when there are no rows.
    pub missing_cur: f64,
    /// The tests that ran, in fixed order: KS or chi-squared, PSI, share of missing values.
    pub tests: Vec<DriftTest>,
    /// The conclusion.
    pub verdict: ColumnVerdict,
    /// Both distributions in the same few bins, where there is something to show.
    pub histogram: Option<Histogram>,
    /// Some current levels that the reference does not have, most frequent first.
    pub unseen_levels: Vec<String>,
    /// Where the numbers of the reference lie.
    pub reference: Option<Spread>,
    /// Where the numbers of the window lie.
    pub current: Option<Spread>,
    /// The levels whose shares changed most, largest change first.
    pub levels: Vec<LevelShift>,
    /// Mean and standard deviation of the reference, also where levels are numbers.
    pub(crate) center: Option<(f64, f64)>,
}

fn share(part: u64, whole: u64) -> f64 {
    float(part) / float(whole)
}

impl ColumnReport {
    pub(crate) fn uncompared(reference: &ColumnProfile, verdict: ColumnVerdict) -> Self {
        Self { verdict, ..Self::compared(reference, &ColumnSample::opaque(0), Vec::new(), (None, Vec::new())) }
    }

    pub(crate) fn compared(
        reference: &ColumnProfile,
        current: &ColumnSample,
        tests: Vec<DriftTest>,
        (histogram, unseen_levels): (Option<Histogram>, Vec<String>),
    ) -> Self {
        let sample = reference.sample();
        let spread = Spread::of(sample);
        Self {
            name: reference.name().to_owned(),
            kind: sample.kind(),
            data_type: reference.data_type().to_owned(),
            n_ref: sample.len(),
            n_cur: current.len(),
            missing_ref: share(sample.missing(), sample.rows()),
            missing_cur: share(current.missing(), current.rows()),
            tests,
            verdict: ColumnVerdict::Degenerate,
            histogram,
            reference: spread,
            current: Spread::of(current),
            levels: LevelShift::largest(sample, current, &unseen_levels),
            center: spread.map(|spread| (spread.mean, spread.std)).or_else(|| summary::level_center(sample)),
            unseen_levels,
        }
    }

    /// Draws the column's verdict from its tests.
    pub(crate) fn conclude(&mut self) {
        if self.tests.is_empty() {
            return;
        }
        let any = |wanted: Verdict| self.tests.iter().any(|test| test.verdict == wanted);
        let short = self.tests.iter().find_map(|test| match test.verdict {
            Verdict::Insufficient { n, min_n } => Some(ColumnVerdict::Insufficient { n, min_n }),
            _ => None,
        });
        self.verdict = match short {
            _ if any(Verdict::Drift) => ColumnVerdict::Drift,
            Some(short) => short,
            None if any(Verdict::Ok) => ColumnVerdict::Ok,
            None => ColumnVerdict::Degenerate,
        };
    }

    /// How far its worst test is beyond the threshold; one is just there.
    #[must_use]
    pub fn severity(&self) -> f64 {
        let tests = self.tests.iter();
        if self.verdict == ColumnVerdict::Drift {
            tests.filter(|test| test.verdict == Verdict::Drift).map(DriftTest::severity).fold(0.0, f64::max)
        } else {
            tests.map(DriftTest::severity).fold(0.0, f64::max)
        }
    }

    /// Whether no drift was found and the error of a sketch leaves that open, see [`DriftTest::is_undecided`].
    #[must_use]
    pub fn is_undecided(&self) -> bool {
        self.verdict == ColumnVerdict::Ok && self.tests.iter().any(DriftTest::is_undecided)
    }

    /// The smallest effect that its first test would have found with 80 % power; NaN without one.
    #[must_use]
    pub fn mde(&self) -> f64 {
        self.tests.first().map_or(f64::NAN, |test| test.mde)
    }
}

/// One window against the reference.
#[derive(Debug, Clone)]
pub struct DriftReport {
    window_end: Timestamp,
    rows_ref: u64,
    rows_cur: u64,
    schema_changes: Vec<SchemaChange>,
    columns: Vec<ColumnReport>,
    rows: Vec<RowReport>,
    series: Option<WindowSeries>,
}

impl DriftReport {
    pub(crate) fn new(
        window_end: Timestamp,
        (rows_ref, rows_cur): (u64, u64),
        schema_changes: Vec<SchemaChange>,
        mut columns: Vec<ColumnReport>,
        rows: Vec<RowReport>,
    ) -> Self {
        columns.sort_by(|a, b| {
            let order = a.verdict.order().cmp(&b.verdict.order());
            order.then_with(|| b.severity().total_cmp(&a.severity())).then_with(|| a.name.cmp(&b.name))
        });
        Self { window_end, rows_ref, rows_cur, schema_changes, columns, rows, series: None }
    }

    /// The verdict on the window.
    #[must_use]
    pub fn verdict(&self) -> Headline {
        let any = |wanted: fn(ColumnVerdict) -> bool| self.columns.iter().any(|column| wanted(column.verdict));
        if any(ColumnVerdict::is_drift) || self.rows_drifted() {
            Headline::Drift
        } else if any(|verdict| verdict == ColumnVerdict::Ok)
            || !any(|v| matches!(v, ColumnVerdict::Insufficient { .. }))
        {
            Headline::Ok
        } else {
            Headline::Insufficient
        }
    }

    /// End of the window.
    #[must_use]
    pub fn window_end(&self) -> Timestamp {
        self.window_end
    }

    /// Rows of the reference data and of the window.
    #[must_use]
    pub fn rows(&self) -> (u64, u64) {
        (self.rows_ref, self.rows_cur)
    }

    /// What changed in the schema.
    #[must_use]
    pub fn schema_changes(&self) -> &[SchemaChange] {
        &self.schema_changes
    }

    /// Every column of the reference, worst first.
    #[must_use]
    pub fn columns(&self) -> &[ColumnReport] {
        &self.columns
    }

    /// Columns that drifted, are missing or cannot be compared, worst first.
    pub fn drifted(&self) -> impl Iterator<Item = &ColumnReport> {
        self.columns.iter().filter(|column| column.verdict.is_drift())
    }

    /// What tests of whole rows came to, in their order; empty without any.
    #[must_use]
    pub fn row_reports(&self) -> &[RowReport] {
        &self.rows
    }

    /// Whether a test of whole rows found drift.
    #[must_use]
    pub fn rows_drifted(&self) -> bool {
        self.row_tests().any(|test| test.verdict == Verdict::Drift)
    }

    fn row_tests(&self) -> impl Iterator<Item = &DriftTest> {
        self.rows.iter().filter_map(|report| report.outcome.as_ref().ok()).map(|found| &found.test)
    }

    /// Columns without drift whose verdict the error of a sketch leaves open, worst first.
    pub fn undecided(&self) -> impl Iterator<Item = &ColumnReport> {
        self.columns.iter().filter(|column| column.is_undecided())
    }

    /// One p-value for the whole run: the smallest corrected tail of its tests. `None` when no test could have found
    /// anything.
    ///
    /// Without drift P(tail <= x) <= x: under Bonferroni, Holm and Benjamini-Yekutieli for tests that depend on each
    /// other in any way, under Benjamini-Hochberg (then it is the p-value of Simes, Biometrika 73, 1986) for
    /// independent or positively dependent ones. It knows nothing of effects and missing columns, so an alarm may ask
    /// for [`DriftReport::verdict`] as well, which makes false ones only rarer. See [`crate::AlarmBudget`].
    #[must_use]
    pub fn tail(&self) -> Option<Tail> {
        let tests = self.columns.iter().flat_map(|column| &column.tests).chain(self.row_tests());
        // The others carry a tail that nothing has corrected.
        let counted = tests.filter(|test| test.counts());
        counted.filter_map(|test| test.corrected).min_by(|a, b| a.ln().total_cmp(&b.ln()))
    }

    /// Adds the values of the window over time, for pages and JSON; verdicts do not depend on it.
    #[must_use]
    pub fn with_series(mut self, series: WindowSeries) -> Self {
        self.series = Some(series);
        self
    }

    /// The values of the window over time, when they are known.
    #[must_use]
    pub fn series(&self) -> Option<&WindowSeries> {
        self.series.as_ref()
    }

    /// One sentence for a log line or an alert.
    #[must_use]
    pub fn headline(&self) -> String {
        let (drifted, all) = (self.drifted().count(), self.columns.len());
        let rows = self.rows_cur;
        let columns = if all == 1 { "column" } else { "columns" };
        match self.verdict() {
            Headline::Drift if drifted == 0 => format!("drift of whole rows, in none of {all} {columns} ({rows} rows)"),
            Headline::Drift => format!("drift in {drifted} of {all} {columns} ({rows} rows)"),
            Headline::Ok => format!("no drift in {all} {columns} ({rows} rows)"),
            Headline::Insufficient => format!("too few rows for a verdict ({rows} rows)"),
        }
    }

    /// The event to publish, dated at the end of the window; `None` when nothing drifted. It names the columns that
    /// drifted; when whole rows alone did, those that differ most, if any are known.
    #[must_use]
    pub fn event(&self, model: &ModelName, version: Version) -> Option<Event> {
        if self.verdict() != Headline::Drift {
            return None;
        }
        let mut columns: Vec<String> = self.drifted().map(|column| column.name.clone()).collect();
        if columns.is_empty() {
            let found = self.rows.iter().filter_map(|report| report.outcome.as_ref().ok());
            let found = found.filter(|found| found.test.verdict == Verdict::Drift);
            for weight in found.flat_map(|found| &found.columns) {
                if !columns.contains(&weight.column) {
                    columns.push(weight.column.clone());
                }
            }
        }
        let window_end = self.window_end;
        let fact = Fact::DriftDetected { model: model.clone(), version, columns, window_end };
        Some(Event::new(window_end, fact))
    }
}
