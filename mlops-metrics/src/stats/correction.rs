//! Many tests at once: p-values adjusted so that each can be held against the same level.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// What is bounded over all tests.
///
/// ```
/// use mlops_metrics::stats::Correction;
///
/// assert_eq!(Correction::Holm.adjust(&[0.01, 0.04, 0.03])?, [0.03, 0.06, 0.06]);
/// assert_eq!(Correction::BenjaminiHochberg.adjust(&[0.01, 0.04, 0.03])?, [0.03, 0.04, 0.04]);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Correction {
    /// Nothing: p-values stay as they are.
    None,
    /// The chance of any false finding, by n times each p-value.
    Bonferroni,
    /// The same, by Holm's steps (Scandinavian Journal of Statistics 6, 1979); never weaker.
    #[default]
    Holm,
    /// The expected share of false findings, of independent tests (Benjamini and Hochberg, JRSS B
    /// 57, 1995).
    BenjaminiHochberg,
    /// The same, whatever the dependence (Benjamini and Yekutieli, Annals of Statistics 29, 2001).
    BenjaminiYekutieli,
}

impl Correction {
    /// Adjusted p-values in the order of `p_values`.
    ///
    /// # Errors
    /// `InvalidArgument` when a p-value is not within 0 and 1.
    pub fn adjust(self, p_values: &[f64]) -> Result<Vec<f64>> {
        if let Some(wrong) = p_values.iter().find(|p| !(0.0..=1.0).contains(*p)) {
            return Err(Error::invalid_argument(format!("p-values must lie within 0 and 1, found {wrong}")));
        }
        let n = p_values.len() as f64;
        Ok(match self {
            Self::None => p_values.to_vec(),
            Self::Bonferroni => p_values.iter().map(|p| (n * p).min(1.0)).collect(),
            // The k-th smallest counts n - k + 1 times, and none less than one before it.
            Self::Holm => stepped(p_values, false, |rank| n - rank + 1.0),
            Self::BenjaminiHochberg => stepped(p_values, true, |rank| n / rank),
            Self::BenjaminiYekutieli => {
                let harmonic: f64 = (1..=p_values.len()).map(|i| 1.0 / i as f64).sum();
                stepped(p_values, true, |rank| harmonic * n / rank)
            }
        })
    }
}

/// Scales each p-value by a factor of its rank, then makes them rise with the rank: from the
/// smallest up by running maxima, or from the largest down by running minima.
fn stepped(p_values: &[f64], from_largest: bool, factor: impl Fn(f64) -> f64) -> Vec<f64> {
    let mut order: Vec<(usize, f64)> = p_values.iter().copied().enumerate().collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut scaled: Vec<(usize, f64)> =
        order.iter().zip(1..).map(|(&(row, p), rank)| (row, p * factor(f64::from(rank)))).collect();
    if from_largest {
        scaled.reverse();
    }
    let mut adjusted = vec![0.0; p_values.len()];
    let mut running = if from_largest { 1.0 } else { 0.0 };
    for (row, p) in scaled {
        running = if from_largest { p.min(running) } else { p.max(running).min(1.0) };
        if let Some(slot) = adjusted.get_mut(row) {
            *slot = running;
        }
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Correction; 5] = [
        Correction::None,
        Correction::Bonferroni,
        Correction::Holm,
        Correction::BenjaminiHochberg,
        Correction::BenjaminiYekutieli,
    ];

    #[test]
    fn order_and_bounds_are_kept() {
        let p_values = [0.2, 0.001, 0.04, 0.04, 0.9, 0.0];
        for correction in ALL {
            let adjusted = correction.adjust(&p_values).unwrap();
            for (i, a) in adjusted.iter().enumerate() {
                assert!(*a >= p_values[i] && *a <= 1.0, "{correction:?}");
                for (j, b) in adjusted.iter().enumerate() {
                    assert!(p_values[i] > p_values[j] || a <= b, "{correction:?} {i} {j}");
                }
            }
            assert!(correction.adjust(&[]).unwrap().is_empty());
            assert!(correction.adjust(&[f64::NAN]).is_err() && correction.adjust(&[1.1]).is_err());
        }
    }

    #[test]
    fn a_single_test_needs_no_correction() {
        for correction in ALL {
            assert_eq!(correction.adjust(&[0.03]).unwrap(), [0.03], "{correction:?}");
        }
    }
}
