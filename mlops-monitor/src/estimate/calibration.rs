//! Turning scores into probabilities that mean what they say.
//!
//! Invariant: an [`IsotonicCalibration`] is a function that never falls; it is made, and read back, only as such.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::stats::{count_of, float};

/// Bins of the calibration error that decides whether to calibrate, as NannyML's.
const BINS: usize = 10;
/// Parts of the reference of which each is calibrated by the others.
const FOLDS: usize = 10;

/// Whether scores are calibrated before they are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CalibrationRule {
    /// When it lowers the expected calibration error on rows of the reference that it has not seen.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never: the scores are probabilities already.
    Never,
}

/// Isotonic regression: the non-decreasing function that is nearest to the labels in squares, by pooling adjacent
/// violators (Ayer et al., Annals of Mathematical Statistics 26, 1955).
///
/// Equal scores are pooled first by their weighted mean. Between the thresholds it is linear, beyond them constant: as
/// scikit-learn's `IsotonicRegression(out_of_bounds="clip")`.
///
/// ```
/// use mlops_monitor::estimate::IsotonicCalibration;
///
/// let calibration = IsotonicCalibration::fit(&[0.1, 0.2, 0.3, 0.4], &[0.0, 1.0, 0.0, 1.0], None)?;
/// assert_eq!(calibration.thresholds(), [(0.1, 0.0), (0.2, 0.5), (0.3, 0.5), (0.4, 1.0)]);
/// assert_eq!(calibration.calibrate(0.25), 0.5);
/// assert_eq!(calibration.calibrate(7.0), 1.0);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(f64, f64)>", into = "Vec<(f64, f64)>")]
pub struct IsotonicCalibration {
    thresholds: Vec<(f64, f64)>,
}

#[derive(Clone, Copy)]
struct Block {
    first: f64,
    last: f64,
    weight: f64,
    total: f64,
}

impl Block {
    fn value(&self) -> f64 {
        self.total / self.weight
    }
}

impl IsotonicCalibration {
    /// Learns the function from scores and what became of them, in any order; rows of weight zero do not count.
    ///
    /// # Errors
    /// `InvalidArgument` when lengths differ, nothing counts, or a number is not finite or a weight negative.
    pub fn fit(scores: &[f64], labels: &[f64], weights: Option<&[f64]>) -> Result<Self> {
        let mut rows: Vec<(f64, f64, f64)> = match weights {
            Some(weights) => {
                same_length("weights", scores.len(), weights.len())?;
                scores.iter().zip(labels).zip(weights).map(|((x, y), w)| (*x, *y, *w)).collect()
            }
            None => scores.iter().zip(labels).map(|(x, y)| (*x, *y, 1.0)).collect(),
        };
        same_length("labels", scores.len(), labels.len())?;
        if rows.iter().any(|(x, y, w)| !(x.is_finite() && y.is_finite() && w.is_finite() && *w >= 0.0)) {
            return Err(Error::invalid_argument(
                "isotonic calibration: scores, labels and weights must be finite, weights not negative",
            ));
        }
        rows.retain(|(_, _, weight)| *weight > 0.0);
        rows.sort_by(|left, right| left.0.total_cmp(&right.0));
        let blocks = pool(&rows);
        if blocks.is_empty() {
            return Err(Error::invalid_argument("isotonic calibration: at least one row of positive weight is needed"));
        }
        Ok(Self { thresholds: thresholds(&blocks) })
    }

    /// The probability that stands for a score; NaN for NaN.
    #[must_use]
    pub fn calibrate(&self, score: f64) -> f64 {
        if score.is_nan() {
            return f64::NAN;
        }
        let above = self.thresholds.partition_point(|(at, _)| *at <= score);
        let below = above.checked_sub(1).and_then(|i| self.thresholds.get(i));
        match (below, self.thresholds.get(above)) {
            (Some(&(low, from)), Some(&(high, to))) => from + (to - from) / (high - low) * (score - low),
            (Some(&(_, value)), None) | (None, Some(&(_, value))) => value,
            (None, None) => f64::NAN,
        }
    }

    /// Scores with their probabilities, between which the function is linear; ascending in both.
    #[must_use]
    pub fn thresholds(&self) -> &[(f64, f64)] {
        &self.thresholds
    }
}

/// The blocks of equal value of ascending rows.
fn pool(rows: &[(f64, f64, f64)]) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for tied in rows.chunk_by(|left, right| left.0 == right.0) {
        let Some(&(at, ..)) = tied.first() else { continue };
        let weight = tied.iter().map(|(_, _, weight)| weight).sum();
        let total = tied.iter().map(|(_, label, weight)| label * weight).sum();
        let mut block = Block { first: at, last: at, weight, total };
        while let Some(before) = blocks.last().copied().filter(|before| before.value() >= block.value()) {
            blocks.pop();
            block.first = before.first;
            block.weight += before.weight;
            block.total += before.total;
        }
        blocks.push(block);
    }
    blocks
}

fn thresholds(blocks: &[Block]) -> Vec<(f64, f64)> {
    let ends = |block: &Block| {
        let last = (block.last > block.first).then_some((block.last, block.value()));
        std::iter::once((block.first, block.value())).chain(last)
    };
    blocks.iter().flat_map(ends).collect()
}

impl TryFrom<Vec<(f64, f64)>> for IsotonicCalibration {
    type Error = Error;

    fn try_from(thresholds: Vec<(f64, f64)>) -> Result<Self> {
        let finite = thresholds.iter().all(|(at, value)| at.is_finite() && value.is_finite());
        let rising = thresholds.is_sorted_by(|left, right| left.0 < right.0 && left.1 <= right.1);
        if thresholds.is_empty() || !finite || !rising {
            return Err(Error::invalid_argument(
                "isotonic calibration: thresholds must be finite, not empty, and ascending in score and value",
            ));
        }
        Ok(Self { thresholds })
    }
}

impl From<IsotonicCalibration> for Vec<(f64, f64)> {
    fn from(calibration: IsotonicCalibration) -> Self {
        calibration.thresholds
    }
}

/// The expected calibration error over bins of equally many rows: the mean over rows of |mean probability - share of
/// positives| of their bin (Naeini, Cooper, Hauskrecht, AAAI 2015, with quantile bins).
///
/// There are half as many bins as rows when fewer than twice as many rows as bins are there; rows that do not fill a bin
/// go to the last one. `None` for fewer than four rows or no bins.
#[must_use]
pub fn expected_calibration_error(probabilities: &[f64], labels: &[bool], bins: usize) -> Option<f64> {
    let mut rows: Vec<(f64, f64)> =
        probabilities.iter().zip(labels).map(|(p, label)| (*p, f64::from(u8::from(*label)))).collect();
    let n = rows.len();
    let bins = if n <= 2 * bins { n / 2 } else { bins };
    if bins < 2 {
        return None;
    }
    rows.sort_by(|left, right| left.0.total_cmp(&right.0));
    let width = n / bins;
    let full = n / width;
    let gaps = (0..full).map(|bin| {
        let end = if bin + 1 == full { n } else { (bin + 1) * width };
        let rows = rows.get(bin * width..end).unwrap_or_default();
        // Sum of differences over the bin: its weight times the difference of means.
        rows.iter().map(|(p, label)| p - label).sum::<f64>().abs()
    });
    Some(gaps.sum::<f64>() / float(count_of(n)))
}

/// The calibration that `rule` asks for, if any.
pub(super) fn choose(rule: CalibrationRule, scores: &[f64], labels: &[bool]) -> Result<Option<IsotonicCalibration>> {
    let wanted = match rule {
        CalibrationRule::Always => true,
        CalibrationRule::Never => false,
        CalibrationRule::Auto => improves(scores, labels)?,
    };
    if wanted { IsotonicCalibration::fit(scores, &as_numbers(labels), None).map(Some) } else { Ok(None) }
}

/// Whether calibration lowers the error on rows that it has not seen: the reference is cut into parts of like
/// composition, each is calibrated by the others, and the error of all is compared with that of the raw scores.
fn improves(scores: &[f64], labels: &[bool]) -> Result<bool> {
    let folds = stratified(scores, labels);
    let mut calibrated = vec![0.0; scores.len()];
    for fold in 0..FOLDS {
        let weights: Vec<f64> = folds.iter().map(|of| f64::from(u8::from(*of != fold))).collect();
        if weights.iter().all(|weight| *weight == 0.0) {
            return Ok(false);
        }
        let calibration = IsotonicCalibration::fit(scores, &as_numbers(labels), Some(&weights))?;
        for ((slot, score), _) in calibrated.iter_mut().zip(scores).zip(&folds).filter(|(_, of)| **of == fold) {
            *slot = calibration.calibrate(*score);
        }
    }
    let before = expected_calibration_error(scores, labels, BINS);
    let after = expected_calibration_error(&calibrated, labels, BINS);
    Ok(before.zip(after).is_some_and(|(before, after)| after < before))
}

/// Deals the rows of each class to the parts in turn, by ascending score.
fn stratified(scores: &[f64], labels: &[bool]) -> Vec<usize> {
    let mut rows: Vec<(usize, f64, bool)> =
        scores.iter().zip(labels).enumerate().map(|(row, (score, label))| (row, *score, *label)).collect();
    rows.sort_by(|left, right| left.1.total_cmp(&right.1));
    let mut folds = vec![0; rows.len()];
    let mut seen = [0, 0];
    for (row, _, label) in rows {
        let [negatives, positives] = &mut seen;
        let seen = if label { positives } else { negatives };
        if let Some(fold) = folds.get_mut(row) {
            *fold = *seen % FOLDS;
        }
        *seen += 1;
    }
    folds
}

pub(super) fn as_numbers(labels: &[bool]) -> Vec<f64> {
    labels.iter().map(|label| f64::from(u8::from(*label))).collect()
}

/// Refuses columns of two lengths.
pub(super) fn same_length(what: &str, expected: usize, found: usize) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("{what} has {found} rows; {expected} are needed, one for each score")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn thresholds_are_those_of_scikit_learn() {
        // scikit-learn 1.9.1: IsotonicRegression(out_of_bounds="clip").fit(x, y, sample_weight=w), with ties in x.
        let x = [0.1, 0.1, 0.2, 0.3, 0.35, 0.35, 0.5, 0.6, 0.8, 0.9];
        let y = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0];
        let w = [1.0, 2.0, 1.0, 1.0, 3.0, 1.0, 0.5, 2.0, 1.0, 1.0];
        let calibration = IsotonicCalibration::fit(&x, &y, Some(&w)).unwrap();
        let expected = SKLEARN;
        for (at, value) in expected {
            assert!(
                (calibration.calibrate(at) - value).abs() < 1e-14,
                "{at}: {} != {value}",
                calibration.calibrate(at)
            );
        }
    }

    const SKLEARN: [(f64, f64); 8] = [
        (0.0, 0.391_304_347_826_087),
        (0.1, 0.391_304_347_826_087),
        (0.25, 0.391_304_347_826_087),
        (0.55, 0.391_304_347_826_087),
        (0.6, 0.391_304_347_826_087),
        (0.7, 0.695_652_173_913_043_4),
        (0.8, 1.0),
        (2.0, 1.0),
    ];

    #[test]
    fn the_error_over_equal_bins_is_the_mean_gap() {
        // Two bins of four: |0.2 - 0.25| and |0.8 - 0.75|.
        let p = [0.2, 0.2, 0.2, 0.2, 0.8, 0.8, 0.8, 0.8];
        let labels = [true, false, false, false, true, true, true, false];
        assert!((expected_calibration_error(&p, &labels, 2).unwrap() - 0.05).abs() < 1e-15);
        assert_eq!(expected_calibration_error(&[0.5], &[true], 10), None);
    }

    #[test]
    fn damaged_thresholds_are_refused() {
        for text in ["[]", "[[0.0,0.5],[0.0,0.6]]", "[[0.0,0.5],[0.1,0.4]]", "[[0.0,null]]"] {
            assert!(serde_json::from_str::<IsotonicCalibration>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_rises_keeps_the_mean_and_survives_storage(
            rows in prop::collection::vec((0.0..1.0_f64, any::<bool>()), 1..80),
        ) {
            let (scores, labels): (Vec<f64>, Vec<bool>) = rows.into_iter().unzip();
            let calibration = IsotonicCalibration::fit(&scores, &as_numbers(&labels), None).unwrap();
            let mut sorted = scores.clone();
            sorted.sort_by(f64::total_cmp);
            prop_assert!(sorted.iter().map(|score| calibration.calibrate(*score)).is_sorted());
            let mean = scores.iter().map(|score| calibration.calibrate(*score)).sum::<f64>();
            let positives = as_numbers(&labels).iter().sum::<f64>();
            prop_assert!((mean - positives).abs() < 1e-9);
            let text = serde_json::to_string(&calibration).unwrap();
            prop_assert_eq!(serde_json::from_str::<IsotonicCalibration>(&text).unwrap(), calibration);
        }
    }
}
