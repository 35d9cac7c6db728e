//! The expected value of a metric when each row is positive with a known chance.
//!
//! With chances of zero and one these are the realised metrics, so that one set of formulas serves both. Every metric
//! comes with its influence function: how much each row moves it. The mean square of the influences over n is the
//! sampling variance on n rows (Hampel, JASA 69, 1974); for a share it is p (1 - p) / n, for the area under the curve
//! that of DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988).

use super::{
    metric::CbpeMetric,
    ranking::{Ranking, average_precision, roc_auc},
};
use crate::stats::{count_of, float};

/// A window: scores rank the rows, chances say how likely each is positive, called are those predicted positive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) scores: &'a [f64],
    pub(super) chances: &'a [f64],
    pub(super) called: &'a [bool],
}

/// A metric's value and what each row adds to it, over all rows zero.
pub(super) struct Expected {
    pub(super) value: f64,
    pub(super) influences: Vec<f64>,
}

impl<'a> Rows<'a> {
    /// Some of the rows; `None` when they are not there.
    pub(super) fn slice(&self, range: std::ops::Range<usize>) -> Option<Rows<'a>> {
        Some(Rows {
            scores: self.scores.get(range.clone())?,
            chances: self.chances.get(range.clone())?,
            called: self.called.get(range)?,
        })
    }

    /// The value; `None` where the metric does not exist, such as precision when nothing is called.
    pub(super) fn value(&self, metric: &CbpeMetric) -> Option<f64> {
        match metric {
            CbpeMetric::RocAuc => roc_auc(&self.ranking()).map(|(value, _)| value),
            CbpeMetric::AveragePrecision => average_precision(&self.ranking()).map(|(value, _)| value),
            _ => self.ratio(metric).map(|(value, _)| value),
        }
    }

    /// The value with its influences.
    pub(super) fn expected(&self, metric: &CbpeMetric) -> Option<Expected> {
        let n = float(count_of(self.chances.len()));
        let (value, influences) = match metric {
            CbpeMetric::RocAuc => roc_auc(&self.ranking())?,
            CbpeMetric::AveragePrecision => average_precision(&self.ranking())?,
            _ => {
                let (value, below) = self.ratio(metric)?;
                let parts =
                    self.parts(metric).map(|(numerator, denominator)| (numerator - value * denominator) / below);
                (value, parts.collect())
            }
        };
        Some(Expected { value, influences: influences.into_iter().map(|influence| influence * n).collect() })
    }

    fn ranking(&self) -> Ranking {
        Ranking::new(self.scores, self.chances)
    }

    /// Sum of numerators over that of denominators, and the latter.
    fn ratio(&self, metric: &CbpeMetric) -> Option<(f64, f64)> {
        let (above, below) = self
            .parts(metric)
            .fold((0.0, 0.0), |(above, below), (numerator, denominator)| (above + numerator, below + denominator));
        (below > 0.0).then_some((above / below, below))
    }

    fn parts(&self, metric: &CbpeMetric) -> impl Iterator<Item = (f64, f64)> {
        self.chances.iter().zip(self.called).map(move |(chance, called)| parts(metric, *chance, *called))
    }
}

/// What a row adds to numerator and denominator of a ratio.
fn parts(metric: &CbpeMetric, chance: f64, called: bool) -> (f64, f64) {
    let rest = 1.0 - chance;
    let (hit, alarm) = if called { (chance, rest) } else { (0.0, 0.0) };
    let (miss, quiet) = if called { (0.0, 0.0) } else { (chance, rest) };
    match metric {
        CbpeMetric::Accuracy => (hit + quiet, 1.0),
        CbpeMetric::Precision => (hit, hit + alarm),
        CbpeMetric::Recall => (hit, chance),
        CbpeMetric::Specificity => (quiet, rest),
        CbpeMetric::F1 => (2.0 * hit, 2.0 * hit + alarm + miss),
        CbpeMetric::TruePositive => (hit, 1.0),
        CbpeMetric::FalsePositive => (alarm, 1.0),
        CbpeMetric::FalseNegative => (miss, 1.0),
        CbpeMetric::TrueNegative => (quiet, 1.0),
        CbpeMetric::BusinessValue(value) => {
            let gains = value.true_positive * hit + value.false_positive * alarm;
            (gains + value.false_negative * miss + value.true_negative * quiet, 1.0)
        }
        // They are no ratios of sums; `Rows::value` has them elsewhere.
        CbpeMetric::RocAuc | CbpeMetric::AveragePrecision => (0.0, 0.0),
    }
}

/// Mean square of the influences: the variance of the metric on one row.
pub(super) fn row_variance(influences: &[f64]) -> f64 {
    influences.iter().map(|influence| influence * influence).sum::<f64>() / float(count_of(influences.len()))
}
