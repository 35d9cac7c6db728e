//! The population stability index and the rules by which it survives empty bins.
//!
//! Invariant: symmetric in its two sides under every rule. The rules are named because published
//! thresholds only mean something together with one of them.

use serde::{Deserialize, Serialize};

use super::float;

/// What to do about shares of zero, whose logarithm does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZeroRule {
    /// Half a count is added to every bin on both sides: (count + 1/2) / (n + bins/2). Known to
    /// the sample size and consistent; the default.
    #[default]
    Laplace,
    /// A share of zero becomes this; shares are not scaled back to one. Credit-risk practice
    /// uses 1e-4.
    Floor(f64),
    /// Evidently's: a share of zero becomes 1e-4, or a millionth of the smallest other share of
    /// its side when that share is at most 1e-4.
    Evidently,
}

impl ZeroRule {
    /// The shares of counts, none of them zero under a rule with a positive floor; `None` without counts.
    pub(crate) fn shares_of(self, counts: &[u64]) -> Option<Vec<f64>> {
        let total = float(super::total_of(counts));
        if total == 0.0 {
            return None;
        }
        let plain = counts.iter().map(|&count| float(count) / total);
        let floored = |floor: f64, shares: &mut dyn Iterator<Item = f64>| -> Vec<f64> {
            shares.map(|share| if share == 0.0 { floor } else { share }).collect()
        };
        Some(match self {
            Self::Laplace => {
                let bins = float(super::count_of(counts.len()));
                counts.iter().map(|&count| (float(count) + 0.5) / (total + 0.5 * bins)).collect()
            }
            Self::Floor(floor) => floored(floor, &mut plain.clone()),
            Self::Evidently => {
                let least = plain.clone().filter(|&share| share > 0.0).fold(f64::INFINITY, f64::min);
                floored(if least <= 1e-4 { least / 1e6 } else { 1e-4 }, &mut plain.clone())
            }
        })
    }
}

/// sum (p - q) ln(p / q) over bins with reference shares p and current shares q; `None` when a
/// side has no counts.
///
/// When both samples come from one law, PSI / (1/n + 1/m) is about chi-squared with bins - 1
/// degrees of freedom (Yurdakul, Western Michigan University 2018), so a fixed threshold means
/// little in small samples.
///
/// ```
/// use mlops_monitor::stats::{ZeroRule, psi};
///
/// let value = psi(&[50, 50], &[80, 20], ZeroRule::Floor(1e-4)).expect("both sides have counts");
/// assert!((value - 0.3 * 4_f64.ln()).abs() < 1e-12);
/// ```
#[must_use]
pub fn psi(reference: &[u64], current: &[u64], rule: ZeroRule) -> Option<f64> {
    let (p, q) = (rule.shares_of(reference)?, rule.shares_of(current)?);
    Some(p.iter().zip(&q).map(|(p, q)| (p - q) * (p / q).ln()).sum())
}
