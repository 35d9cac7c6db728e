//! Several models on several data sets, by their ranks.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::TestResult;
use crate::distribution::chi_squared_tail;

/// Friedman's test and the mean ranks behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Friedman {
    /// Chi-squared with as many degrees of freedom as models less one.
    pub test: TestResult,
    /// The mean rank of each model, 1 for the highest value; ties share their mean rank.
    pub mean_ranks: Vec<f64>,
}

/// Friedman's test (JASA 32, 1937), corrected for ties: do models differ at all? Each block holds
/// the values of all models on one data set or fold.
///
/// ```
/// let blocks = [vec![0.8, 0.7, 0.6], vec![0.9, 0.8, 0.5], vec![0.7, 0.6, 0.65]];
/// let friedman = mlops_metrics::stats::friedman(&blocks)?;
/// assert_eq!(friedman.mean_ranks[0], 1.0);
/// # Ok::<(), mlops_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument` when blocks differ in length or a number is not finite; `FailedPrecondition`
/// for fewer than two blocks or three models, or when every block ties all models.
pub fn friedman(blocks: &[Vec<f64>]) -> Result<Friedman> {
    let models = blocks.first().map_or(0, Vec::len);
    if blocks.iter().any(|block| block.len() != models || !block.iter().all(|value| value.is_finite())) {
        return Err(Error::invalid_argument("Friedman's test needs as many finite values of models in every block"));
    }
    if blocks.len() < 2 || models < 3 {
        return Err(Error::failed_precondition(format!(
            "Friedman's test needs two blocks of three models, found {} of {models}",
            blocks.len()
        )));
    }
    let (mut sums, mut ties) = (vec![0.0; models], 0.0);
    for block in blocks {
        ties += add_ranks(block, &mut sums);
    }
    let (n, k) = (blocks.len() as f64, models as f64);
    let scale = 1.0 - ties / (n * k * (k * k - 1.0));
    if scale <= 0.0 {
        return Err(Error::failed_precondition("Friedman's test needs models that differ; every block ties them all"));
    }
    let squares: f64 = sums.iter().map(|sum| sum * sum).sum();
    let statistic = (12.0 / (n * k * (k + 1.0)) * squares - 3.0 * n * (k + 1.0)) / scale;
    let test = TestResult { statistic, p_value: chi_squared_tail(statistic, k - 1.0) };
    Ok(Friedman { test, mean_ranks: sums.iter().map(|sum| sum / n).collect() })
}

/// Adds the ranks of a block; the sum of t^3 - t over its groups of t ties.
fn add_ranks(block: &[f64], sums: &mut [f64]) -> f64 {
    let mut order: Vec<(f64, usize)> = block.iter().copied().zip(0..).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut before, mut ties) = (0.0, 0.0);
    for tied in order.chunk_by(|a, b| a.0 == b.0) {
        let size = tied.len() as f64;
        for (_, model) in tied {
            if let Some(sum) = sums.get_mut(*model) {
                *sum += before + (size + 1.0) / 2.0;
            }
        }
        before += size;
        ties += size * (size * size - 1.0);
    }
    ties
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_match_scipy() {
        // scipy.stats.friedmanchisquare([1, 2, 2], [3, 2, 4], [2, 2, 9]) of 1.17.1, models as samples.
        let blocks = [vec![1.0, 3.0, 2.0], vec![2.0, 2.0, 2.0], vec![2.0, 4.0, 9.0]];
        let friedman = friedman(&blocks).unwrap();
        assert!((friedman.test.statistic - 2.999_999_999_999_999_6).abs() < 1e-12, "{friedman:?}");
        assert!((friedman.test.p_value - 0.223_130_160_148_429_9).abs() < 1e-12, "{friedman:?}");
    }

    #[test]
    fn wrong_blocks_are_refused() {
        assert!(friedman(&[vec![1.0, 2.0, 3.0], vec![1.0, 2.0]]).is_err());
        assert!(friedman(&[vec![1.0, 2.0, 3.0]]).is_err() && friedman(&[]).is_err());
        assert!(friedman(&[vec![1.0; 3], vec![2.0; 3]]).is_err());
    }
}
