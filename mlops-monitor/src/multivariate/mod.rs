//! Tests of whole rows: a change in how columns go together that no column shows alone.
//!
//! | test | finds | costs |
//! |---|---|---|
//! | [`Mmd`] | any change of the joint distribution | the square of the rows, which are bounded |
//! | [`PcaReconstruction`] | rows that leave the linear structure of the reference | little; its state is stored |
//! | `DomainClassifier` (feature `domain-classifier`) | what a forest can tell apart, with the columns by name | a forest for each fold |
//!
//! Each runs on its own, or within a [`crate::Monitor`] by [`RowTests`].
//!
//! Invariant: the same batches, settings and seed give the same result; memory and time are bounded by the settings,
//! whatever the number of rows. Mixed columns become numbers in one place ([`EncoderSettings`] says how).

#[cfg(feature = "domain-classifier")]
mod domain_classifier;
mod eigen;
mod encoder;
mod matrix;
mod mmd;
mod pca;
mod row_tests;

use std::fmt;

use arrow_array::RecordBatch;
use mlops_core::{Error, Result};
use serde::{Serialize, Serializer};

#[cfg(feature = "domain-classifier")]
pub use domain_classifier::{AUC_MIN, AucTest, DomainClassifier, DomainClassifierSettings};
pub use encoder::EncoderSettings;
pub use mmd::{MMD_MIN, Mmd, MmdSettings};
pub use pca::{FittedPca, PcaReconstruction, PcaSettings};
pub use row_tests::{RowReport, RowTests};

use crate::{
    detector::{DriftTest, Thresholds},
    report,
};

/// Columns that a result names at most.
pub const TOP_COLUMNS: usize = 10;

/// Compares whole rows of a current window with those of the reference.
///
/// Columns are matched by name; those of the current window alone are left out, and so are types without an order or
/// levels, which the result lists.
pub trait MultivariateDetector: fmt::Debug + Send + Sync + 'static {
    /// The stable name in reports and metrics, such as `mmd`.
    fn name(&self) -> &'static str;

    /// The smallest p-value that it can give, above zero for tests by permutations.
    fn p_min(&self) -> f64 {
        0.0
    }

    /// Runs the test. Windows with too few rows, or that are constant, have a verdict that says so.
    ///
    /// # Errors
    /// `FailedPrecondition` when the current window lacks a column of the reference or holds another kind of values in
    /// it; `InvalidArgument` when no column can be compared, or when they make more features than the settings allow.
    fn test(&self, reference: &RecordBatch, current: &RecordBatch) -> Result<MultivariateTest>;
}

/// What a test of whole rows found.
///
/// Serializes to `{name, statistic, p, log10_p, effect, effect_low, effect_high, effect_min, mde, verdict, undecided,
/// n_ref, n_cur, n_min, interval, band,
/// columns: [{column, weight}], skipped}`; numbers that do not exist are `null` in JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct MultivariateTest {
    /// Statistic, tail, effect, detectable effect, compared rows and verdict.
    pub test: DriftTest,
    /// 95 % confidence interval of the effect, where the test has one.
    pub interval: Option<[f64; 2]>,
    /// Where the statistic of a window lies as long as nothing changes, where the test knows it.
    pub band: Option<[f64; 2]>,
    /// The columns that differ most, at most [`TOP_COLUMNS`], the largest weight first; each test says what weights are.
    pub columns: Vec<ColumnWeight>,
    /// Columns of types that could not take part.
    pub skipped: Vec<String>,
}

/// How much a column adds to a difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnWeight {
    /// The column.
    pub column: String,
    /// Its weight, above zero.
    pub weight: f64,
}

impl MultivariateTest {
    /// A test that had nothing to compute.
    fn degenerate(name: &'static str, n: (u64, u64), thresholds: Thresholds, skipped: &[String]) -> Self {
        let test = DriftTest::degenerate(name, n, thresholds);
        Self { test, interval: None, band: None, columns: Vec::new(), skipped: skipped.to_vec() }
    }

    /// Whether the statistic has left its band; false without one.
    #[must_use]
    pub fn outside_band(&self) -> bool {
        self.band.is_some_and(|[low, high]| self.test.statistic < low || self.test.statistic > high)
    }
}

impl Serialize for MultivariateTest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut value = report::test_json(&self.test);
        if let Some(object) = value.as_object_mut() {
            let more = serde_json::json!({
                "n_ref": self.test.n_ref, "n_cur": self.test.n_cur, "n_min": self.test.n_min,
                "interval": self.interval, "band": self.band, "columns": self.columns, "skipped": self.skipped,
            });
            object.extend(more.as_object().cloned().unwrap_or_default());
        }
        value.serialize(serializer)
    }
}

/// The largest of the weights above zero, in order.
fn top(names: impl Iterator<Item = (String, f64)>) -> Vec<ColumnWeight> {
    let mut columns: Vec<ColumnWeight> =
        names.filter(|(_, weight)| *weight > 0.0).map(|(column, weight)| ColumnWeight { column, weight }).collect();
    columns.sort_by(|a, b| b.weight.total_cmp(&a.weight).then_with(|| a.column.cmp(&b.column)));
    columns.truncate(TOP_COLUMNS);
    columns
}

/// Collects what is wrong with settings and says it all at once.
#[derive(Debug)]
struct Faults {
    what: &'static str,
    found: Vec<String>,
}

impl Faults {
    fn of(what: &'static str) -> Self {
        Self { what, found: Vec::new() }
    }

    fn check(&mut self, fine: bool, name: &str, range: &str, found: &dyn fmt::Display) {
        if !fine {
            self.found.push(format!("{name} must be {range}, found {found}"));
        }
    }

    /// The settings that every test has.
    fn check_common(&mut self, thresholds: Thresholds, rows_max: usize, rows_limit: usize) {
        let Thresholds { effect_min, alpha, .. } = thresholds;
        self.check(effect_min.is_finite() && effect_min >= 0.0, "effect_min", "finite and at least 0", &effect_min);
        self.check(alpha > 0.0 && alpha < 1.0, "alpha", "above 0 and below 1", &alpha);
        self.check((2..=rows_limit).contains(&rows_max), "rows_max", &format!("2 to {rows_limit}"), &rows_max);
    }

    fn into_result(self) -> Result<()> {
        if self.found.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("{} settings: {}", self.what, self.found.join("; "))))
    }
}

#[cfg(test)]
mod tests;
