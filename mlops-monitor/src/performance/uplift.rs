//! What the model adds, measured against traffic that it did not decide on.
//!
//! Invariant: an uplift is trusted only while both sides have the shares they were meant to have; a
//! mismatch says that assignment or logging is broken, and then no difference means anything
//! (Fabijan et al., KDD 2019).

use mlops_metrics::{Interval, check_level, mover_difference, student_mean};
use serde::{Deserialize, Serialize};

use super::business::ValuedRow;
use crate::stats::{Tail, chi_squared_tail, count_of, float, moments, total_of, welch_t};

/// Below this p-value shares do not match.
const MISMATCH_P: f64 = 1e-4;

/// Traffic treated without the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldoutSettings {
    /// Variant under which its predictions are logged.
    pub variant: String,
    /// Share of all traffic that is meant to be in it, above 0 and below 1.
    pub share: f64,
}

impl HoldoutSettings {
    pub(crate) fn faults(&self) -> Option<String> {
        let share = self.share;
        (!(share > 0.0 && share < 1.0)).then(|| format!("holdout.share must be above 0 and below 1, found {share}"))
    }
}

/// Whether variants have the shares of traffic they should have.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SampleRatio {
    /// Pearson's chi-squared statistic.
    pub statistic: f64,
    /// Its p-value.
    pub p: f64,
    /// Whether p is below 1e-4.
    pub mismatch: bool,
}

/// Tests counts of variants against their shares; `None` without counts or when lengths differ or
/// shares are not positive.
///
/// ```
/// use mlops_monitor::performance::sample_ratio;
///
/// assert!(!sample_ratio(&[5_020, 4_980], &[0.5, 0.5]).expect("counts").mismatch);
/// assert!(sample_ratio(&[5_300, 4_700], &[0.5, 0.5]).expect("counts").mismatch);
/// ```
#[must_use]
pub fn sample_ratio(counts: &[u64], shares: &[f64]) -> Option<SampleRatio> {
    let (total, weight) = (float(total_of(counts)), shares.iter().sum::<f64>());
    let positive = shares.iter().all(|share| *share > 0.0 && share.is_finite());
    if counts.len() != shares.len() || counts.len() < 2 || !positive || total <= 0.0 {
        return None;
    }
    let terms = counts.iter().zip(shares).map(|(count, share)| {
        let expected = total * share / weight;
        (float(*count) - expected).powi(2) / expected
    });
    let statistic = terms.sum();
    let p = chi_squared_tail(statistic, count_of(counts.len()) - 1).p();
    Some(SampleRatio { statistic, p, mismatch: p < MISMATCH_P })
}

/// What the model adds a row, against the holdout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Uplift {
    /// Rows with a value that the model decided on.
    pub treated: u64,
    /// Rows with a value in the holdout.
    pub held_out: u64,
    /// Mean value of a treated row less that of a held out one.
    pub per_row: f64,
    /// Where the true difference lies.
    pub interval: Option<Interval>,
    /// Two-sided p-value of Welch's test; 1 without spread and difference.
    pub p: f64,
    /// Whether all predictions of the window were assigned as they should be.
    pub sample_ratio: Option<SampleRatio>,
    /// Whether shares match, so that the difference can be believed.
    pub trusted: bool,
}

/// The uplift of valued rows, with counts of (treated, held out) predictions assigned; `None` when
/// a side has fewer than two rows.
pub(crate) fn uplift(
    rows: &[ValuedRow],
    assigned: (u64, u64),
    holdout: &HoldoutSettings,
    level: f64,
) -> Option<Uplift> {
    check_level(level).ok()?;
    let side = |held_out: bool| -> Vec<f64> {
        rows.iter().filter(|row| row.held_out == held_out).map(|row| row.value).collect()
    };
    let (treated, held_out) = (moments(&side(false))?, moments(&side(true))?);
    if treated.n < 2 || held_out.n < 2 {
        return None;
    }
    let mean = |side: &crate::stats::Moments| {
        student_mean(side.n, side.mean, side.variance, level).map(|interval| (side.mean, interval))
    };
    let sample_ratio = sample_ratio(&[assigned.0, assigned.1], &[1.0 - holdout.share, holdout.share]);
    Some(Uplift {
        treated: treated.n,
        held_out: held_out.n,
        per_row: treated.mean - held_out.mean,
        interval: mean(&treated).zip(mean(&held_out)).map(|(treated, held_out)| mover_difference(treated, held_out)),
        p: welch_t(&held_out, &treated).map_or(Tail::ONE, |test| test.tail).p(),
        sample_ratio,
        trusted: sample_ratio.is_some_and(|ratio| !ratio.mismatch),
    })
}
