//! Tests of two samples of numbers beside Kolmogorov and Smirnov's.
//!
//! Each reports an effect that does not grow with the number of rows. Where a distance has no law of its own
//! (Wasserstein's, energy) the p-value is that of the named test of the same question.

use serde::{Deserialize, Serialize};

use super::{DriftDetector, DriftTest, Thresholds, Verdict};
use crate::{
    sample::{ColumnKind, ColumnSample, Values},
    stats::{
        KsMode, KsStatistic, Moments, TTest, Tail, anderson_darling, anderson_darling_tail, cramer_von_mises,
        detectable_d, energy, float, ks_p_value, ks_statistic, kuiper, mann_whitney, moments, quantile, student_t,
        wasserstein, welch_t,
    },
};

/// The 97.5 % and the 80 % point of the standard normal law together: a two-sided test at 5 % finds a shift of so many
/// standard errors with 80 % power.
const NORMAL_REACH: f64 = 1.959_963_984_540_054 + 0.841_621_233_572_914_4;
/// Root of the 95 % point of Cramer and von Mises' limit law, plus the 80 % point along its widest direction (1 / pi).
const CRAMER_REACH: f64 = 0.679_235 + 0.841_621_233_572_914_4 / std::f64::consts::PI;
/// The 95 % point of Kuiper's limit law, plus half of the normal 80 % point.
const KUIPER_REACH: f64 = 1.747_3 + 0.841_621_233_572_914_4 / 2.0;
/// Standard deviations in the interquartile range of a normal law.
const NORMAL_IQR: f64 = 1.348_979_500_392_163_6;

/// Which test, and what its effect is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TwoSampleTest {
    /// Kuiper's: V = D+ + D-, 0 to 1.
    Kuiper,
    /// Cramer and von Mises': root mean square distance between the distribution functions, 0 to 0.58.
    CramerVonMises,
    /// Anderson and Darling's, with p from 0.25 down to 0.001; the effect is Kolmogorov's D.
    AndersonDarling,
    /// Mann and Whitney's: the rank-biserial correlation 2 P(current > reference) - 1 without its sign, 0 to 1.
    MannWhitney,
    /// Student's t: difference of the means in pooled standard deviations (Cohen's d).
    StudentT,
    /// Welch's t: difference of the means in standard deviations.
    WelchT,
    /// Wasserstein's distance in interquartile ranges of the reference; p of Kolmogorov and Smirnov.
    Wasserstein,
    /// The energy distance over the root of the interquartile range of the reference; p of Cramer and von Mises.
    Energy,
}

/// A test of two samples of numbers.
///
/// ```
/// use mlops_monitor::{ColumnSample, DriftDetector, NumericSample, TwoSample, TwoSampleTest, Verdict};
///
/// let column = |shift: f64| {
///     ColumnSample::numeric(NumericSample::new((0..200).map(|i| f64::from(i) / 200.0 + shift).collect()))
/// };
/// let test = TwoSample::new(TwoSampleTest::Wasserstein).test(&column(0.0), &column(0.5));
/// assert_eq!(test.verdict, Verdict::Drift);
/// assert!((test.effect - 1.0).abs() < 0.01, "half a unit is one interquartile range here");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct TwoSample {
    /// Which test.
    pub test: TwoSampleTest,
    /// When it counts as drift.
    pub thresholds: Thresholds,
}

/// What a test found: its statistic, effect, tail, and the smallest effect it could have found.
struct Found {
    statistic: f64,
    effect: f64,
    tail: Tail,
    mde: f64,
}

impl TwoSample {
    /// With a threshold at what a shift of about a quarter of a standard deviation makes.
    #[must_use]
    pub fn new(test: TwoSampleTest) -> Self {
        let effect_min = match test {
            TwoSampleTest::Kuiper | TwoSampleTest::AndersonDarling => crate::settings::KS_D_MIN,
            TwoSampleTest::CramerVonMises => 0.07,
            TwoSampleTest::MannWhitney => 0.14,
            TwoSampleTest::StudentT | TwoSampleTest::WelchT => 0.25,
            TwoSampleTest::Wasserstein => 0.185,
            TwoSampleTest::Energy => 0.16,
        };
        Self { test, thresholds: Thresholds::effect(effect_min) }
    }

    fn run(&self, left: &[f64], right: &[f64], ks: &KsStatistic) -> Option<Found> {
        let (n, m) = (float(ks.n), float(ks.m));
        let unit = (1.0 / n + 1.0 / m).sqrt();
        Some(match self.test {
            TwoSampleTest::Kuiper => {
                let (v, tail) = kuiper(ks);
                Found { statistic: v, effect: v, tail, mde: (KUIPER_REACH * unit).min(1.0) }
            }
            TwoSampleTest::CramerVonMises => {
                let test = cramer_von_mises(left, right)?;
                let effect = test.t.max(0.0).sqrt() * unit;
                let tail = test.exact_tail().unwrap_or_else(|| test.limit_tail());
                Found { statistic: test.t, effect, tail, mde: CRAMER_REACH * unit }
            }
            TwoSampleTest::AndersonDarling => {
                let statistic = anderson_darling(left, right)?;
                let tail = anderson_darling_tail(statistic);
                Found { statistic, effect: ks.d, tail, mde: detectable_d(ks.n, ks.m) }
            }
            TwoSampleTest::MannWhitney => {
                let test = mann_whitney(left, right)?;
                let effect = (2.0 * test.probability_of_superiority() - 1.0).abs();
                let tail = test.exact_tail().or_else(|| test.limit_tail())?;
                let mde = NORMAL_REACH * ((n + m + 1.0) / (3.0 * n * m)).sqrt();
                Found { statistic: test.u, effect, tail, mde: mde.min(1.0) }
            }
            TwoSampleTest::StudentT => means(&moments(left)?, &moments(right)?, student_t, unit)?,
            TwoSampleTest::WelchT => means(&moments(left)?, &moments(right)?, welch_t, unit)?,
            TwoSampleTest::Wasserstein => {
                let (statistic, range) = (wasserstein(left, right)?, spread(left)?);
                let tail = ks_p_value(ks, KsMode::Auto)?;
                let mde = NORMAL_REACH * unit / NORMAL_IQR;
                Found { statistic, effect: statistic / range, tail, mde }
            }
            TwoSampleTest::Energy => {
                let (statistic, range) = (energy(left, right)?, spread(left)?);
                let tail = cramer_von_mises(left, right)?.limit_tail();
                // A shift d of a normal law makes d / sqrt(sigma sqrt(pi)).
                let mde = NORMAL_REACH * unit / (std::f64::consts::PI.sqrt() * NORMAL_IQR).sqrt();
                Found { statistic, effect: statistic / range.sqrt(), tail, mde }
            }
        })
    }
}

fn means(left: &Moments, right: &Moments, test: fn(&Moments, &Moments) -> Option<TTest>, unit: f64) -> Option<Found> {
    let found = test(left, right)?;
    let (n, m) = (float(left.n), float(right.n));
    let pooled = ((n - 1.0) * left.variance + (m - 1.0) * right.variance) / (n + m - 2.0);
    let effect = ((left.mean - right.mean) / pooled.sqrt()).abs();
    Some(Found { statistic: found.t, effect, tail: found.tail, mde: NORMAL_REACH * unit })
}

/// The interquartile range of an ascending sample; where half of the values are one value, what it would be in a normal
/// law of the same deviation. `None` without any spread.
fn spread(sorted: &[f64]) -> Option<f64> {
    let range = quantile(sorted, 0.75)? - quantile(sorted, 0.25)?;
    let range = if range > 0.0 { range } else { moments(sorted)?.variance.sqrt() * NORMAL_IQR };
    (range > 0.0 && range.is_finite()).then_some(range)
}

impl DriftDetector for TwoSample {
    fn name(&self) -> &'static str {
        match self.test {
            TwoSampleTest::Kuiper => "kuiper",
            TwoSampleTest::CramerVonMises => "cramer_von_mises",
            TwoSampleTest::AndersonDarling => "anderson_darling",
            TwoSampleTest::MannWhitney => "mann_whitney",
            TwoSampleTest::StudentT => "student_t",
            TwoSampleTest::WelchT => "welch_t",
            TwoSampleTest::Wasserstein => "wasserstein",
            TwoSampleTest::Energy => "energy",
        }
    }

    fn applies_to(&self, kind: ColumnKind) -> bool {
        kind == ColumnKind::Numeric
    }

    fn test(&self, reference: &ColumnSample, current: &ColumnSample) -> DriftTest {
        let blank = DriftTest::degenerate(self.name(), (reference.len(), current.len()), self.thresholds);
        let (Values::Numeric(left), Values::Numeric(right)) = (reference.values(), current.values()) else {
            return blank;
        };
        let (left, right) = (left.values(), right.values());
        let Some(ks) = ks_statistic(left, right) else { return blank };
        let Some(Found { statistic, effect, tail, mde }) = self.run(left, right, &ks) else { return blank };
        let constant = ks.h == 0 && left.first() == left.last();
        let verdict = if constant { Verdict::Degenerate } else { Verdict::Ok };
        DriftTest { statistic, tail: Some(tail), effect, mde, verdict, ..blank }
            .unbounded_if(reference.is_sketched() || current.is_sketched())
            .judge(tail, self.thresholds.alpha)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::NumericSample;
    use mlops_core::testing::SplitMix64;

    const ALL: [TwoSampleTest; 8] = [
        TwoSampleTest::Kuiper,
        TwoSampleTest::CramerVonMises,
        TwoSampleTest::AndersonDarling,
        TwoSampleTest::MannWhitney,
        TwoSampleTest::StudentT,
        TwoSampleTest::WelchT,
        TwoSampleTest::Wasserstein,
        TwoSampleTest::Energy,
    ];

    fn column(values: Vec<f64>) -> ColumnSample {
        ColumnSample::numeric(NumericSample::new(values))
    }

    #[test]
    fn a_shift_of_half_a_deviation_is_found_in_either_direction_and_none_without() {
        let bell = |seed: u64, shift: f64| {
            column(SplitMix64::new(seed).bell(2_000).into_iter().map(|value| value + shift).collect())
        };
        // `bell` has deviation one.
        let half = 0.5;
        for test in ALL.map(TwoSample::new) {
            assert_eq!(test.test(&bell(1, 0.0), &bell(2, 0.0)).verdict, Verdict::Ok, "{}", test.name());
            for shift in [half, -half] {
                let found = test.test(&bell(1, 0.0), &bell(2, shift));
                assert_eq!(found.verdict, Verdict::Drift, "{} {found:?}", test.name());
                assert!(found.mde > 0.0 && found.mde < found.effect_min, "{} {found:?}", test.name());
            }
        }
    }

    #[test]
    fn a_quarter_of_a_deviation_is_near_every_threshold() {
        let bell = |shift: f64| SplitMix64::new(9).bell(20_000).into_iter().map(|value| value + shift).collect();
        for test in ALL.map(TwoSample::new) {
            let found = test.test(&column(bell(0.0)), &column(bell(0.25)));
            let share = found.effect / found.effect_min;
            assert!((0.85..1.2).contains(&share), "{} is at {share} of its threshold", test.name());
        }
    }

    #[test]
    fn constants_and_empty_sides_say_nothing() {
        for test in ALL.map(TwoSample::new) {
            let same = test.test(&column(vec![3.0; 500]), &column(vec![3.0; 500]));
            assert_eq!(same.verdict, Verdict::Degenerate, "{}", test.name());
            let empty = test.test(&column(vec![1.0; 500]), &column(Vec::new()));
            assert!(matches!(empty.verdict, Verdict::Insufficient { .. }), "{}", test.name());
        }
    }
}
