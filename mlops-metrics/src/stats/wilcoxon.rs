//! Wilcoxon's signed-rank test (Biometrics Bulletin 1, 1945), as SciPy has it.

use mlops_core::Result;

use super::{TestResult, no_spread, normal_cdf, paired_differences};

/// What becomes of differences of zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ZeroRule {
    /// They are left out (Wilcoxon).
    #[default]
    LeaveOut,
    /// They are ranked and then left out (Pratt, JASA 54, 1959).
    Pratt,
}

/// Which distribution the p-value is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WilcoxonMode {
    /// The exact one up to 50 pairs without ties and zeros, or 13 with them, else the normal one without correction.
    #[default]
    Auto,
    /// The normal one, with or without a continuity correction of one half.
    Normal {
        /// Whether it is corrected.
        continuity: bool,
    },
}

/// Pairs up to which the exact distribution is taken, without and with ties or zeros.
const EXACT_MAX: usize = 50;
const TIED_EXACT_MAX: usize = 13;

/// The test of paired differences, first minus second; the statistic is the smaller of the sums of
/// ranks of positive and of negative differences.
///
/// ```
/// use mlops_metrics::stats::{WilcoxonMode, ZeroRule, wilcoxon};
///
/// let test = wilcoxon(&[1.0, 3.0, 5.0, 9.0], &[0.0, 1.0, 2.0, 5.0], ZeroRule::LeaveOut, WilcoxonMode::Auto)?;
/// assert_eq!((test.statistic, test.p_value), (0.0, 0.125));
/// # Ok::<(), mlops_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument` when lengths differ or a number is not finite; `FailedPrecondition` for fewer
/// than two pairs or when all differences are zero.
pub fn wilcoxon(first: &[f64], second: &[f64], zeros: ZeroRule, mode: WilcoxonMode) -> Result<TestResult> {
    let mut differences = paired_differences("Wilcoxon's test", first, second)?;
    let with_zeros = differences.len();
    if zeros == ZeroRule::LeaveOut {
        differences.retain(|d| *d != 0.0);
    }
    let zero_count = differences.iter().filter(|d| **d == 0.0).count();
    if differences.len() == zero_count {
        return Err(no_spread("Wilcoxon's test"));
    }
    let ranks = Ranks::of(&differences);
    let statistic = ranks.positive.min(ranks.negative);
    let untied = ranks.ties == 0.0 && differences.len() == with_zeros && zero_count == 0;
    let exact_max = if untied { EXACT_MAX } else { TIED_EXACT_MAX };
    let p_value = match mode {
        WilcoxonMode::Auto if with_zeros <= exact_max => exact(statistic, &ranks.doubled),
        WilcoxonMode::Auto => ranks.normal(differences.len(), zero_count, 0.0),
        WilcoxonMode::Normal { continuity } => {
            ranks.normal(differences.len(), zero_count, if continuity { 0.5 } else { 0.0 })
        }
    };
    Ok(TestResult { statistic, p_value })
}

struct Ranks {
    positive: f64,
    negative: f64,
    /// Sum of t^3 - t over groups of t equal sizes that are not zero.
    ties: f64,
    /// Twice the rank of each difference that is not zero: a whole number, ties or not.
    doubled: Vec<usize>,
}

impl Ranks {
    fn of(differences: &[f64]) -> Self {
        let mut ordered = differences.to_vec();
        ordered.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
        let (mut sums, mut before) = (Self { positive: 0.0, negative: 0.0, ties: 0.0, doubled: Vec::new() }, 0.0);
        for tied in ordered.chunk_by(|a, b| a.abs() == b.abs()) {
            let size = tied.len() as f64;
            let rank = before + (size + 1.0) / 2.0;
            sums.positive += rank * tied.iter().filter(|d| **d > 0.0).count() as f64;
            sums.negative += rank * tied.iter().filter(|d| **d < 0.0).count() as f64;
            if tied.first().is_some_and(|d| *d != 0.0) {
                sums.ties += size * (size * size - 1.0);
                sums.doubled.extend(tied.iter().map(|_| (2.0 * rank) as usize));
            }
            before += size;
        }
        sums
    }

    /// Two-sided, zeros taken out of mean and variance (Cureton, JASA 62, 1967).
    fn normal(&self, n: usize, zeros: usize, continuity: f64) -> f64 {
        let (n, zeros) = (n as f64, zeros as f64);
        let mean = (n * (n + 1.0) - zeros * (zeros + 1.0)) / 4.0;
        let squares = n * (n + 1.0) * (2.0 * n + 1.0) - zeros * (zeros + 1.0) * (2.0 * zeros + 1.0);
        let error = ((squares - self.ties / 2.0) / 24.0).sqrt();
        let distance = ((self.positive - mean).abs() - continuity).max(0.0);
        (2.0 * normal_cdf(-distance / error)).min(1.0)
    }
}

/// Twice the probability of a sum of at most `statistic` when each rank, of which twice is given, is in it by a coin.
fn exact(statistic: f64, doubled: &[usize]) -> f64 {
    // Probabilities of twice the sums, rank by rank.
    let mut shares = vec![0.0; doubled.iter().sum::<usize>() + 1];
    if let Some(first) = shares.first_mut() {
        *first = 1.0;
    }
    for &rank in doubled {
        for sum in (0..shares.len()).rev() {
            let with = sum.checked_sub(rank).and_then(|less| shares.get(less)).copied().unwrap_or(0.0);
            if let Some(share) = shares.get_mut(sum) {
                *share = 0.5 * (*share + with);
            }
        }
    }
    (2.0 * shares.iter().take((2.0 * statistic) as usize + 1).sum::<f64>()).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_and_zeros_match_scipy() {
        // scipy.stats.wilcoxon(a, b, zero_method, method="approx", correction) of 1.17.1.
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 2.0, 9.0, 1.5];
        let b = [1.0, 1.0, 2.0, 6.0, 1.0, 3.0, 5.0, 2.0, 12.0, 0.5];
        let check = |zeros, continuity, statistic: f64, p: f64| {
            let test = wilcoxon(&a, &b, zeros, WilcoxonMode::Normal { continuity }).unwrap();
            assert_eq!(test.statistic, statistic);
            assert!((test.p_value - p).abs() < 1e-12, "{zeros:?} {continuity}: {}", test.p_value);
        };
        check(ZeroRule::LeaveOut, false, 11.0, 0.323_405_490_343_674_3);
        check(ZeroRule::LeaveOut, true, 11.0, 0.359_169_207_953_828_56);
        check(ZeroRule::Pratt, false, 15.0, 0.257_190_046_154_461_7);
        check(ZeroRule::Pratt, true, 15.0, 0.279_450_297_860_585_6);
    }

    #[test]
    fn few_pairs_with_ties_or_zeros_are_exact() {
        // scipy.stats.wilcoxon(a, b, zero_method) of 1.17.1: over all signs of up to 13 pairs.
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 2.0, 9.0, 1.5, 3.0, 4.0, 5.0, 6.0];
        let b = [1.0, 1.0, 2.0, 6.0, 1.0, 3.0, 5.0, 2.0, 12.0, 0.5, 1.0, 7.0, 3.0, 2.0];
        let check = |pairs, zeros, p: f64| {
            let test = wilcoxon(&a[..pairs], &b[..pairs], zeros, WilcoxonMode::Auto).unwrap();
            assert!((test.p_value - p).abs() < 1e-12, "{pairs} {zeros:?}: {}", test.p_value);
        };
        check(10, ZeroRule::LeaveOut, 0.390_625);
        check(10, ZeroRule::Pratt, 0.304_687_5);
        check(13, ZeroRule::LeaveOut, 0.394_531_25);
        check(14, ZeroRule::LeaveOut, 0.220_611_314_573_012_64);
    }

    #[test]
    fn no_differences_are_refused() {
        assert!(wilcoxon(&[1.0, 1.0], &[1.0, 1.0], ZeroRule::Pratt, WilcoxonMode::Auto).is_err());
        assert!(wilcoxon(&[1.0, 1.0], &[1.0], ZeroRule::Pratt, WilcoxonMode::Auto).is_err());
    }
}
