//! Metrics of calls made at probability one half.

use mlops_core::Result;

use crate::metric::{Metric, Rows, undefined};

/// Scores from here on are called positive.
const THRESHOLD: f64 = 0.5;

/// Weights of the four outcomes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Confusion {
    true_negative: f64,
    false_positive: f64,
    false_negative: f64,
    true_positive: f64,
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

impl Confusion {
    pub(crate) fn of(rows: &Rows<'_>) -> Self {
        let mut confusion = Self::default();
        for (label, score, weight) in rows.iter() {
            let cell = match (label > 0.5, score >= THRESHOLD) {
                (false, false) => &mut confusion.true_negative,
                (false, true) => &mut confusion.false_positive,
                (true, false) => &mut confusion.false_negative,
                (true, true) => &mut confusion.true_positive,
            };
            *cell += weight;
        }
        confusion
    }

    fn positives(&self) -> f64 {
        self.true_positive + self.false_negative
    }

    fn negatives(&self) -> f64 {
        self.true_negative + self.false_positive
    }

    fn called(&self) -> f64 {
        self.true_positive + self.false_positive
    }

    pub(crate) fn accuracy(&self) -> f64 {
        ratio(self.true_positive + self.true_negative, self.positives() + self.negatives())
    }

    pub(crate) fn balanced_accuracy(&self) -> Result<f64> {
        if self.positives() <= 0.0 || self.negatives() <= 0.0 {
            return Err(undefined(Metric::BalancedAccuracy, "labels have one class"));
        }
        Ok(0.5 * (self.recall() + ratio(self.true_negative, self.negatives())))
    }

    pub(crate) fn precision(&self) -> f64 {
        ratio(self.true_positive, self.called())
    }

    pub(crate) fn recall(&self) -> f64 {
        ratio(self.true_positive, self.positives())
    }

    pub(crate) fn f1(&self) -> f64 {
        ratio(2.0 * self.true_positive, self.positives() + self.called())
    }

    pub(crate) fn mcc(&self) -> f64 {
        let uncalled = self.true_negative + self.false_negative;
        let scale = (self.positives() * self.negatives() * self.called() * uncalled).sqrt();
        ratio(self.true_positive * self.true_negative - self.false_positive * self.false_negative, scale)
    }
}
