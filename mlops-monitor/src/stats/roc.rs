//! The area under the ROC curve with DeLong's variance.
//!
//! Invariant: ties count half, exactly; time is linear in the sorted scores.
//!
//! Apart from `mlops_metrics::stats::auc_variance`, which takes labels and two rows of each class: here sides come
//! sorted, may have one value or infinite ones, and the variance without any signal is known as well.
//!
//! Source: DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988.

use super::{Tail, chi_squared_tail, float, mann_whitney, merge::Groups};

/// How well scores tell positives from negatives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RocAuc {
    /// Chance that a positive scores higher than a negative, ties counting half.
    pub auc: f64,
    /// DeLong's variance of the estimate; zero when a side has one value or the sides do not overlap.
    pub variance: f64,
    /// Its variance if the scores said nothing: that of Mann and Whitney's U, corrected for ties.
    pub null_variance: f64,
}

/// AUC of ascending scores; `None` when one side is empty.
///
/// With V_j the share of negatives below positive j and W_i the share of positives above negative i, the variance is
/// var(V) / m + var(W) / n for m positives and n negatives.
///
/// ```
/// use mlops_monitor::stats::roc_auc;
///
/// let found = roc_auc(&[0.1, 0.35, 0.4], &[0.35, 0.8]).expect("both sides have scores");
/// assert!((found.auc - 4.5 / 6.0).abs() < 1e-15);
/// ```
#[must_use]
pub fn roc_auc(negatives: &[f64], positives: &[f64]) -> Option<RocAuc> {
    let ranks = mann_whitney(negatives, positives)?;
    let (n, m) = (float(ranks.n), float(ranks.m));
    let auc = 1.0 - ranks.probability_of_superiority();
    let (mut below, mut seen) = (0.0, 0.0);
    let (mut squares_v, mut squares_w) = (0.0, 0.0);
    for group in Groups::new(negatives, positives) {
        let (a, b) = (float(group.reference), float(group.current));
        let (v, w) = ((below + a / 2.0) / n - auc, 1.0 - (seen + b / 2.0) / m - auc);
        squares_v += b * v * v;
        squares_w += a * w * w;
        below += a;
        seen += b;
    }
    let over = |squares: f64, size: f64| if size > 1.0 { squares / (size - 1.0) / size } else { 0.0 };
    let total = n + m;
    let spread = (total + 1.0) - ranks.ties / (total * (total - 1.0)).max(1.0);
    let null_variance = (spread / (12.0 * n * m)).max(0.0);
    Some(RocAuc { auc, variance: over(squares_v, m) + over(squares_w, n), null_variance })
}

impl RocAuc {
    /// One-sided tail of an AUC as large when the scores say nothing, by the normal limit; `None` when all scores are
    /// equal.
    #[must_use]
    pub fn tail(&self) -> Option<Tail> {
        let z_squared = (self.auc - 0.5) * (self.auc - 0.5) / self.null_variance;
        if z_squared.is_nan() || self.null_variance <= 0.0 {
            return None;
        }
        let half = chi_squared_tail(z_squared, 1).ln() - std::f64::consts::LN_2;
        Some(Tail::from_ln(if self.auc >= 0.5 { half } else { (-half.exp()).ln_1p() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(n: u32, step: u32, modulus: u32, shift: f64) -> Vec<f64> {
        let mut values: Vec<f64> = (0..n).map(|i| f64::from(i * step % modulus) / 8.0 + shift).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    #[test]
    fn area_and_variance_match_scikit_learn_and_the_definition() {
        // scikit-learn 1.9.1, numpy 2.4.6: x = [i * 7 % 23 / 8 for i in range(40)];
        // y = [i * 5 % 19 / 8 + .5 for i in range(25)]; p = (y[:, None] > x) + (y[:, None] == x) / 2;
        // roc_auc_score([0] * 40 + [1] * 25, x + y); var(p.mean(1), ddof=1) / 25 + var(p.mean(0), ddof=1) / 40;
        // the tail: scipy 1.17.1 mannwhitneyu(y, x, alternative="greater", use_continuity=False, method="asymptotic").
        let found = roc_auc(&scores(40, 7, 23, 0.0), &scores(25, 5, 19, 0.5)).unwrap();
        assert!((found.auc / 0.5485 - 1.0).abs() < 1e-14, "{found:?}");
        assert!((found.variance / 0.005186302884615385 - 1.0).abs() < 1e-12, "{found:?}");
        assert!(
            (found.tail().unwrap().p() / 0.25634765737413856 - 1.0).abs() < 1e-10,
            "{:?}",
            found.tail().unwrap().p()
        );
    }

    #[test]
    fn area_and_variance_are_those_of_the_metrics() {
        let (negatives, positives) = (scores(40, 7, 23, 0.0), scores(25, 5, 19, 0.5));
        let labels: Vec<f64> = [vec![0.0; 40], vec![1.0; 25]].concat();
        let (auc, variance) =
            mlops_metrics::stats::auc_variance(&labels, &[negatives.clone(), positives.clone()].concat()).unwrap();
        let found = roc_auc(&negatives, &positives).unwrap();
        assert!((found.auc - auc).abs() < 1e-14 && (found.variance / variance - 1.0).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn ends_of_the_scale() {
        let apart = roc_auc(&[1.0, 2.0], &[3.0, 4.0]).unwrap();
        assert_eq!((apart.auc, apart.variance), (1.0, 0.0));
        assert!(roc_auc(&[3.0, 4.0], &[1.0, 2.0]).unwrap().tail().unwrap().p() > 0.9);
        let same = roc_auc(&[1.0; 3], &[1.0; 5]).unwrap();
        assert_eq!((same.auc, same.tail()), (0.5, None));
        assert!(roc_auc(&[], &[1.0]).is_none());
        assert_eq!(roc_auc(&[1.0], &[2.0]).unwrap().variance, 0.0);
    }
}
