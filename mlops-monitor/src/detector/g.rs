//! The G test of homogeneity: the likelihood ratio instead of Pearson's statistic.
//!
//! Effect: Cramer's V, so that its verdicts compare with those of [`super::ChiSquared`]. Its tail keeps the exponent of
//! the exact test however small it gets, which Pearson's does not.

use super::{
    DriftDetector, DriftTest, Thresholds,
    levels::{aligned_counts, both, conclude, pool_rare},
    sketched::Counted,
};
use crate::{
    sample::{ColumnKind, ColumnSample},
    stats::g_test,
};

/// G test on levels; levels are matched and pooled as by [`super::ChiSquared`].
///
/// ```
/// use mlops_monitor::{CategoricalSample, ColumnSample, DriftDetector, G, Verdict};
///
/// let column = |web, app| ColumnSample::categorical(CategoricalSample::new([("web", web), ("app", app)]));
/// let test = G::default().test(&column(700, 300), &column(300, 700));
/// assert_eq!(test.verdict, Verdict::Drift);
/// assert!((test.statistic - 329.131_514_020_2).abs() < 1e-8 && (test.effect - 0.4).abs() < 1e-12);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct G {
    /// Levels whose expected count on the smaller side is below this are pooled; zero pools none. 5 by default.
    pub expected_min: f64,
    /// When it counts as drift; the effect is Cramer's V.
    pub thresholds: Thresholds,
}

impl Default for G {
    fn default() -> Self {
        Self { expected_min: 5.0, thresholds: Thresholds::effect(crate::settings::CRAMERS_V_MIN) }
    }
}

impl DriftDetector for G {
    fn name(&self) -> &'static str {
        "g"
    }

    fn applies_to(&self, kind: ColumnKind) -> bool {
        kind == ColumnKind::Categorical
    }

    fn test(&self, reference: &ColumnSample, current: &ColumnSample) -> DriftTest {
        let blank = DriftTest::degenerate(self.name(), (reference.len(), current.len()), self.thresholds)
            .unbounded_if(reference.is_sketched() || current.is_sketched());
        let Some((left, right)) = both(reference, current) else { return blank };
        let counted = pool_rare(&Counted::exact(aligned_counts(left, right)), self.expected_min);
        let Some(test) = g_test(&counted.left, &counted.right) else { return blank };
        conclude(blank, (&counted.left, &counted.right), (test.statistic, test.tail), self.thresholds)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};
    use crate::sample::CategoricalSample;

    fn column(counts: &[(&str, u64)]) -> ColumnSample {
        ColumnSample::categorical(CategoricalSample::new(counts.iter().copied()))
    }

    #[test]
    fn three_levels_match_scipy() {
        // scipy 1.17.1: chi2_contingency([[120, 60, 20], [90, 60, 50]], correction=False, lambda_="log-likelihood").
        let test = G::default()
            .test(&column(&[("a", 120), ("b", 60), ("c", 20)]), &column(&[("a", 90), ("b", 60), ("c", 50)]));
        assert!((test.statistic / 17.583_274_737_435_243 - 1.0).abs() < 1e-12, "{test:?}");
        assert!((test.p() / 0.000_151_998_885_600_942_38 - 1.0).abs() < 1e-10, "{test:?}");
        assert!((test.effect / 0.207_019_667_802_706_25 - 1.0).abs() < 1e-12, "{test:?}");
        assert_eq!(test.verdict, Verdict::Drift);
    }

    #[test]
    fn a_million_levels_take_one_pass_and_a_level_of_one_side_counts() {
        let many = |levels: std::ops::Range<u64>, times: u64| {
            let counts = levels.map(|level| (format!("{level:07}"), times));
            ColumnSample::categorical(CategoricalSample::new(counts))
        };
        let none_pooled = G { expected_min: 0.0, ..G::default() };
        // Half of the levels are new: G = 2 (2 * 5e5 * 10 ln 2).
        let moved = none_pooled.test(&many(0..1_000_000, 10), &many(500_000..1_500_000, 10));
        assert!((moved.statistic / (2e7 * std::f64::consts::LN_2) - 1.0).abs() < 1e-9, "{moved:?}");
        assert_eq!(moved.verdict, Verdict::Drift);
        // One value each: all of them are rare, nothing can be said.
        assert_eq!(G::default().test(&many(0..1_000, 1), &many(500..1_500, 1)).verdict, Verdict::Degenerate);
    }

    #[test]
    fn bad_input_has_a_verdict() {
        let full = column(&[("a", 300), ("b", 300)]);
        let one = column(&[("a", 500)]);
        assert_eq!(G::default().test(&one, &one).verdict, Verdict::Degenerate);
        assert_eq!(G::default().test(&full, &one).verdict, Verdict::Drift);
        assert!(matches!(G::default().test(&full, &column(&[])).verdict, Verdict::Insufficient { n: 0, .. }));
        assert_eq!(G::default().test(&full, &ColumnSample::opaque(900)).verdict, Verdict::Degenerate);
    }
}
