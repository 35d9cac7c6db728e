//! The chi-squared test of homogeneity: any change in how often levels occur.
//!
//! Effect: Cramer's V. Both sides count as samples; treating the reference as the true law (a
//! goodness-of-fit test) would find drift where there is none. Rare levels are pooled until the
//! law holds.

use super::{
    DriftDetector, DriftTest, Thresholds,
    levels::{aligned_counts, both, conclude, pool_rare},
    sketched::{Counted, chi_squared_bounds, frequent_counts},
};
use crate::{
    sample::{ColumnKind, ColumnSample},
    stats::{ChiSquaredResult, Continuity, chi_squared, chi_squared_tail, float, total_of},
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
        let blank = DriftTest::degenerate(self.name(), (reference.len(), current.len()), self.thresholds);
        let Some((left, right)) = both(reference, current) else { return blank };
        let sketched = left.level_error() > 0 || right.level_error() > 0;
        let counted = if sketched { frequent_counts(left, right) } else { Counted::exact(aligned_counts(left, right)) };
        let counted = pool_rare(&counted, self.expected_min);
        let Some(found) = chi_squared(&counted.left, &counted.right, self.continuity) else { return blank };
        let table = (counted.left.as_slice(), counted.right.as_slice());
        let test = conclude(blank, table, (found.statistic, found.tail), self.thresholds);
        if sketched { within_error(&test, &counted, &found, self.thresholds.alpha) } else { test }
    }
}

/// Adds what the counts leave open; the p-value is that of the smallest statistic possible.
fn within_error(test: &DriftTest, counted: &Counted, found: &ChiSquaredResult, alpha: f64) -> DriftTest {
    let (low, high) = chi_squared_bounds(counted);
    let rows = float(total_of(&counted.left)) + float(total_of(&counted.right));
    let effect = |statistic: f64| (statistic / rows).sqrt().min(1.0);
    let error_low = (test.effect - effect(low)).max(0.0);
    let error_high = (effect(high) - test.effect).max(0.0);
    let tail = chi_squared_tail(low.min(found.statistic), found.degrees_of_freedom);
    DriftTest { tail: Some(tail), error_low, error_high, ..test.clone() }.judge(tail, alpha)
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};
    use crate::sample::CategoricalSample;

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
