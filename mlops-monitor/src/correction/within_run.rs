//! Corrections for the number of tests of one run.
//!
//! Invariant: a corrected tail is the smallest level at which its test would be an alarm under the procedure, so
//! comparing it with a level is all that is left to do.

use serde::{Deserialize, Serialize};

use crate::stats::{Tail, count_of, float};

/// How the tails of one run are corrected for their number.
///
/// The first two bound the chance of any false alarm in the run (family-wise error rate) however the tests depend on
/// each other. The last two bound the expected share of false ones among the alarms of the run (false discovery rate)
/// and find more.
///
/// ```
/// use mlops_monitor::{Correction, stats::Tail};
///
/// let p = [0.01, 0.04, 0.03].map(|p: f64| Tail::from_ln(p.ln()));
/// let holm = Correction::Holm.adjust(&p);
/// assert!((holm[0].p() - 0.03).abs() < 1e-12 && (holm[1].p() - 0.06).abs() < 1e-12);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Correction {
    /// m p. Needs nothing of the tests.
    Bonferroni,
    /// max over k <= i of (m - k + 1) p_(k): never above Bonferroni's, and needs no more (Holm, Scand. J. Stat. 6, 1979).
    Holm,
    /// As [`benjamini_hochberg`].
    #[default]
    BenjaminiHochberg,
    /// Benjamini and Hochberg's times 1 + 1/2 + ... + 1/m, which holds for tests that depend on each other in any way
    /// (Benjamini, Yekutieli, Ann. Stat. 29, 2001).
    BenjaminiYekutieli,
}

impl Correction {
    /// The corrected tail of each, in the order given; at most one.
    #[must_use]
    pub fn adjust(&self, tails: &[Tail]) -> Vec<Tail> {
        let ln_count = float(count_of(tails.len())).ln();
        match self {
            Self::Bonferroni => tails.iter().map(|tail| Tail::from_ln(tail.ln() + ln_count)).collect(),
            Self::Holm => holm(tails),
            Self::BenjaminiHochberg => step_up(tails, ln_count),
            Self::BenjaminiYekutieli => {
                let harmonic: f64 = (1..=count_of(tails.len())).map(|k| 1.0 / float(k)).sum();
                step_up(tails, ln_count + harmonic.ln())
            }
        }
    }
}

/// The corrected tail of each, in the order given: q_(i) = min over k >= i of p_(k) m / k.
///
/// Controls the false discovery rate for independent or positively dependent tests (Benjamini,
/// Hochberg, JRSS B 57, 1995; Benjamini, Yekutieli, Ann. Stat. 29, 2001).
///
/// ```
/// use mlops_monitor::{benjamini_hochberg, stats::Tail};
///
/// let p = [0.01, 0.04, 0.03].map(|p: f64| Tail::from_ln(p.ln()));
/// let q: Vec<f64> = benjamini_hochberg(&p).iter().map(|q| (q.p() * 1e9).round() / 1e9).collect();
/// assert_eq!(q, [0.03, 0.04, 0.04]);
/// ```
#[must_use]
pub fn benjamini_hochberg(tails: &[Tail]) -> Vec<Tail> {
    Correction::BenjaminiHochberg.adjust(tails)
}

/// min over k >= i of p_(k) exp(ln_factor) / k.
fn step_up(tails: &[Tail], ln_factor: f64) -> Vec<Tail> {
    let mut least = 0.0_f64;
    let ranked = ascending(tails).into_iter().enumerate().rev();
    in_order_given(ranked.map(|(rank, (index, ln_p))| {
        least = least.min(ln_p + ln_factor - float(count_of(rank + 1)).ln());
        (index, Tail::from_ln(least))
    }))
}

fn holm(tails: &[Tail]) -> Vec<Tail> {
    let mut most = f64::NEG_INFINITY;
    let ranked = ascending(tails).into_iter().enumerate();
    in_order_given(ranked.map(|(rank, (index, ln_p))| {
        most = most.max(ln_p + float(count_of(tails.len() - rank)).ln());
        (index, Tail::from_ln(most))
    }))
}

/// Places and logarithms, smallest first.
fn ascending(tails: &[Tail]) -> Vec<(usize, f64)> {
    let mut order: Vec<(usize, f64)> = tails.iter().map(|tail| tail.ln()).enumerate().collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    order
}

fn in_order_given(corrected: impl Iterator<Item = (usize, Tail)>) -> Vec<Tail> {
    let mut corrected: Vec<(usize, Tail)> = corrected.collect();
    corrected.sort_by_key(|(index, _)| *index);
    corrected.into_iter().map(|(_, tail)| tail).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, RecordBatch};
    use mlops_core::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::{Monitor, MonitorSettings, ProfileSettings, ReferenceProfile};

    const ALL: [Correction; 4] =
        [Correction::Bonferroni, Correction::Holm, Correction::BenjaminiHochberg, Correction::BenjaminiYekutieli];

    fn tails(p: &[f64]) -> Vec<Tail> {
        p.iter().map(|p| Tail::from_ln(p.ln())).collect()
    }

    /// statsmodels 0.15.0: `multipletests([0.01, 0.04, 0.03, 0.005, 0.55, 0.04, 0.2, 1e-12], method=...)[1]`.
    #[test]
    fn corrected_values_are_those_of_statsmodels() {
        let raw = tails(&[0.01, 0.04, 0.03, 0.005, 0.55, 0.04, 0.2, 1e-12]);
        let expected: [(Correction, [f64; 8]); 4] = [
            (Correction::Bonferroni, [0.08, 0.32, 0.24, 0.04, 1.0, 0.32, 1.0, 8e-12]),
            (Correction::Holm, [0.06, 0.16, 0.15, 0.035, 0.55, 0.16, 0.4, 8e-12]),
            (
                Correction::BenjaminiHochberg,
                [
                    0.026_666_666_666_666_67,
                    0.053_333_333_333_333_34,
                    0.053_333_333_333_333_34,
                    0.02,
                    0.55,
                    0.053_333_333_333_333_34,
                    0.228_571_428_571_428_6,
                    8e-12,
                ],
            ),
            (
                Correction::BenjaminiYekutieli,
                [
                    0.072_476_190_476_190_47,
                    0.144_952_380_952_380_94,
                    0.144_952_380_952_380_94,
                    0.054_357_142_857_142_854,
                    1.0,
                    0.144_952_380_952_380_94,
                    0.621_224_489_795_918_3,
                    2.174_285_714_285_714e-11,
                ],
            ),
        ];
        for (correction, expected) in expected {
            for (found, expected) in correction.adjust(&raw).into_iter().zip(expected) {
                assert!((found.p() / expected - 1.0).abs() < 1e-12, "{correction:?}: {} is not {expected}", found.p());
            }
        }
    }

    #[test]
    fn tails_below_the_smallest_double_stay_apart() {
        let far = [Tail::from_ln(-5_000.0), Tail::from_ln(-4_000.0), Tail::ONE];
        for correction in ALL {
            let found = correction.adjust(&far);
            assert!(found[0] < found[1] && found[1] < found[2], "{correction:?} {found:?}");
            assert!((found[0].ln() + 5_000.0).abs() < 2.0);
            assert_eq!(correction.adjust(&[]), []);
        }
    }

    #[test]
    fn a_monitor_corrects_as_its_settings_say_and_its_least_tail_stands_for_the_run() {
        let batch = |shift: f64, rows: u32| {
            let column = |step: u32| -> ArrayRef {
                let values = (0..rows).map(|i| f64::from(i * step % 97) + shift * f64::from(step));
                Arc::new(Float64Array::from_iter_values(values))
            };
            RecordBatch::try_from_iter([("a", column(1)), ("b", column(5)), ("c", column(0))]).unwrap()
        };
        for correction in ALL {
            let profile = ReferenceProfile::from_batch(&batch(0.0, 500), &ProfileSettings::default()).unwrap();
            let settings = MonitorSettings { correction, ..MonitorSettings::default() };
            let monitor = Monitor::builder(profile).with_settings(settings).build().unwrap();
            let report = monitor.observe(&batch(2.0, 500), Timestamp::from_millis(0));
            let tests = report.columns().iter().flat_map(|column| &column.tests).filter(|test| test.counts());
            let (raw, found): (Vec<Tail>, Vec<Tail>) = tests.filter_map(|test| test.tail.zip(test.corrected)).unzip();
            assert!(raw.len() > 3);
            assert_eq!(found, correction.adjust(&raw), "{correction:?}");
            let least = found.iter().map(|tail| tail.ln()).fold(0.0, f64::min);
            assert!(least < 0.0 && report.tail() == Some(Tail::from_ln(least)));
            assert_eq!(monitor.observe(&batch(2.0, 20), Timestamp::from_millis(0)).tail(), None, "too few rows");
        }
    }

    proptest! {
        #[test]
        fn never_below_the_raw_value_and_in_its_order(ln in proptest::collection::vec(-2_000.0..0.0_f64, 1..40)) {
            let raw: Vec<Tail> = ln.iter().map(|ln| Tail::from_ln(*ln)).collect();
            let [bonferroni, holm, hochberg, yekutieli] = ALL.map(|correction| correction.adjust(&raw));
            for i in 0..raw.len() {
                // Rounding of sums of logarithms.
                let slack = 1e-9;
                prop_assert!(raw[i].ln() <= hochberg[i].ln() + slack && hochberg[i].ln() <= holm[i].ln() + slack);
                prop_assert!(holm[i].ln() <= bonferroni[i].ln() + slack && hochberg[i] <= yekutieli[i]);
                for corrected in [&bonferroni, &holm, &hochberg, &yekutieli] {
                    for j in 0..raw.len() {
                        prop_assert!(raw[i] > raw[j] || corrected[i] <= corrected[j]);
                    }
                }
            }
        }
    }
}
