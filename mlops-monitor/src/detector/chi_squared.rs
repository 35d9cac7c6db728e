//! The chi-squared test of homogeneity: any change in how often levels occur.
//!
//! Effect: Cramer's V. Both sides count as samples; treating the reference as the true law (a
//! goodness-of-fit test) would find drift where there is none. Rare levels are pooled until the
//! law holds.

use super::{DriftDetector, DriftTest, Thresholds, Verdict};
use crate::{
    sample::{CategoricalSample, ColumnKind, ColumnSample, Values},
    stats::{Continuity, chi_squared, detectable_noncentrality, float},
};

/// Chi-squared test on levels.
///
/// Levels that only one side knows take part; values pooled as `other` on either side are one
/// level, and so are current levels that a pooled reference does not name.
///
/// ```
/// use mlops_monitor::{CategoricalSample, ChiSquared, ColumnSample, DriftDetector, Verdict};
///
/// let column = |web, app| ColumnSample::categorical(CategoricalSample::new([("web", web), ("app", app)]));
/// let test = ChiSquared::default().test(&column(700, 300), &column(300, 700));
/// assert_eq!(test.verdict, Verdict::Drift);
/// assert!((test.statistic - 320.0).abs() < 1e-9 && (test.effect - 0.4).abs() < 1e-12);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ChiSquared {
    /// Correction of 2x2 tables.
    pub continuity: Continuity,
    /// Levels whose expected count on the smaller side is below this are pooled; zero pools
    /// none. Cochran (Biometrics 10, 1954) asks for 5.
    pub expected_min: f64,
    /// When it counts as drift; the effect is Cramer's V.
    pub thresholds: Thresholds,
}

impl Default for ChiSquared {
    fn default() -> Self {
        let thresholds = Thresholds::effect(crate::settings::CRAMERS_V_MIN);
        Self { continuity: Continuity::None, expected_min: 5.0, thresholds }
    }
}

impl DriftDetector for ChiSquared {
    fn name(&self) -> &'static str {
        "chi_squared"
    }

    fn applies_to(&self, kind: ColumnKind) -> bool {
        kind == ColumnKind::Categorical
    }

    fn test(&self, reference: &ColumnSample, current: &ColumnSample) -> DriftTest {
        let (n_ref, n_cur) = (reference.len(), current.len());
        let blank = DriftTest::degenerate(self.name(), (n_ref, n_cur), self.thresholds);
        let (Values::Categorical(left), Values::Categorical(right)) = (reference.values(), current.values()) else {
            return blank;
        };
        let (left, right) = self.pool_rare(aligned_counts(left, right));
        let Some(test) = chi_squared(&left, &right, self.continuity) else { return blank };
        let verdict = if test.degrees_of_freedom == 0 { Verdict::Degenerate } else { Verdict::Ok };
        let noncentrality = detectable_noncentrality(test.degrees_of_freedom);
        let mde = (noncentrality / (float(n_ref) + float(n_cur))).sqrt().min(1.0);
        let (statistic, effect) = (test.statistic, test.cramers_v);
        DriftTest { statistic, tail: Some(test.tail), effect, mde, verdict, ..blank }
            .judge(test.tail, self.thresholds.alpha)
    }
}

impl ChiSquared {
    fn pool_rare(&self, (left, right): (Vec<u64>, Vec<u64>)) -> (Vec<u64>, Vec<u64>) {
        let (n, m) = (float(left.iter().sum()), float(right.iter().sum()));
        let smaller = n.min(m) / (n + m);
        let (mut kept, mut rare) = ((Vec::new(), Vec::new()), (0, 0));
        for (&a, &b) in left.iter().zip(&right) {
            if float(a + b) * smaller < self.expected_min {
                rare = (rare.0 + a, rare.1 + b);
            } else {
                kept.0.push(a);
                kept.1.push(b);
            }
        }
        if rare != (0, 0) {
            kept.0.push(rare.0);
            kept.1.push(rare.1);
        }
        kept
    }
}

/// Counts of both sides level by level: the union of levels in order of name, then the pool.
pub(super) fn aligned_counts(left: &CategoricalSample, right: &CategoricalSample) -> (Vec<u64>, Vec<u64>) {
    let mut counts: (Vec<u64>, Vec<u64>) = left.levels().map(|(level, count)| (count, right.count(level))).unzip();
    let unseen = right.levels().filter(|(level, _)| left.count(level) == 0);
    let mut pool = (left.other(), right.other());
    if pool == (0, 0) {
        for (_, count) in unseen {
            counts.0.push(0);
            counts.1.push(count);
        }
    } else {
        pool.1 += unseen.map(|(_, count)| count).sum::<u64>();
        counts.0.push(pool.0);
        counts.1.push(pool.1);
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(counts: &[(&str, u64)]) -> ColumnSample {
        ColumnSample::categorical(CategoricalSample::new(counts.iter().copied()))
    }

    #[test]
    fn unseen_levels_take_part() {
        let test =
            ChiSquared::default().test(&column(&[("a", 50), ("b", 50)]), &column(&[("a", 40), ("b", 40), ("c", 20)]));
        assert!((test.statistic - 200.0 / 9.0).abs() < 1e-12);
    }

    #[test]
    fn rare_levels_are_one() {
        let rare = [("a", 500), ("b", 1), ("c", 2), ("d", 1)];
        let test = ChiSquared::default().test(&column(&rare), &column(&[("a", 500), ("e", 4)]));
        assert_eq!((test.statistic, test.p()), (0.0, 1.0));
    }

    #[test]
    fn one_level_everywhere_is_degenerate() {
        let test = ChiSquared::default().test(&column(&[("a", 200)]), &column(&[("a", 300)]));
        assert_eq!((test.verdict, test.p()), (Verdict::Degenerate, 1.0));
    }
}
