//! How alike two columns of numbers rise and fall.
//!
//! Invariant: swapping the columns changes nothing, and a constant column has no correlation.

use mlops_core::{Error, Result};

use crate::metric::undefined;

fn check(name: &str, x: &[f64], y: &[f64]) -> Result<()> {
    if x.len() != y.len() || x.is_empty() || !x.iter().chain(y).all(|value| value.is_finite()) {
        return Err(Error::invalid_argument(format!(
            "{name} needs as many finite numbers in both columns, at least one"
        )));
    }
    Ok(())
}

/// Pearson's correlation.
///
/// # Errors
/// `InvalidArgument` when lengths differ or are zero or a number is not finite;
/// `FailedPrecondition` when a column is constant.
pub fn pearson(x: &[f64], y: &[f64]) -> Result<f64> {
    check("pearson", x, y)?;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let (mut both, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let (dx, dy) = (x - mean_x, y - mean_y);
        both += dx * dy;
        xx += dx * dx;
        yy += dy * dy;
    }
    if xx <= 0.0 || yy <= 0.0 {
        return Err(undefined("pearson", "a column is constant"));
    }
    Ok((both / (xx.sqrt() * yy.sqrt())).clamp(-1.0, 1.0))
}

/// Spearman's correlation: Pearson's of ranks, ties sharing their mean rank.
///
/// # Errors
/// As [`pearson`].
pub fn spearman(x: &[f64], y: &[f64]) -> Result<f64> {
    check("spearman", x, y)?;
    pearson(&midranks(x), &midranks(y)).map_err(|_| undefined("spearman", "a column is constant"))
}

/// Ranks from 1, ties sharing their mean rank.
pub(crate) fn midranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<(f64, usize)> = values.iter().map(|value| value + 0.0).zip(0..).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut ranks, mut before) = (vec![0.0; values.len()], 0);
    for tied in order.chunk_by(|a, b| a.0 == b.0) {
        let rank = before as f64 + (tied.len() as f64 + 1.0) / 2.0;
        for (_, row) in tied {
            if let Some(slot) = ranks.get_mut(*row) {
                *slot = rank;
            }
        }
        before += tied.len();
    }
    ranks
}

/// Kendall's tau-b in n log n time (Knight, JASA 61, 1966): concordant less discordant pairs over
/// the geometric mean of the pairs that each column does not tie.
///
/// ```
/// let tau = mlops_metrics::kendall_tau(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0])?;
/// assert!((tau - 2.0 / 3.0).abs() < 1e-12);
/// # Ok::<(), mlops_core::Error>(())
/// ```
///
/// # Errors
/// As [`pearson`].
pub fn kendall_tau(x: &[f64], y: &[f64]) -> Result<f64> {
    check("kendall_tau", x, y)?;
    let mut rows: Vec<(f64, f64)> = x.iter().zip(y).map(|(x, y)| (x + 0.0, y + 0.0)).collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let pairs = |n: usize| n as f64 * (n as f64 - 1.0) / 2.0;
    let tied_x: f64 = rows.chunk_by(|a, b| a.0 == b.0).map(|tied| pairs(tied.len())).sum();
    let tied_both: f64 = rows.chunk_by(|a, b| a == b).map(|tied| pairs(tied.len())).sum();
    let mut column: Vec<f64> = rows.iter().map(|row| row.1).collect();
    let discordant = inversions(&mut column);
    let tied_y: f64 = column.chunk_by(|a, b| a == b).map(|tied| pairs(tied.len())).sum();
    let all = pairs(rows.len());
    let (free_x, free_y) = (all - tied_x, all - tied_y);
    if free_x <= 0.0 || free_y <= 0.0 {
        return Err(undefined("kendall_tau", "a column is constant"));
    }
    let excess = all - tied_x - tied_y + tied_both - 2.0 * discordant;
    Ok(excess / free_x.sqrt() / free_y.sqrt())
}

/// Sorts, and counts the pairs that were in descending order.
fn inversions(values: &mut [f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let (left, right) = values.split_at_mut(values.len() / 2);
    let mut count = inversions(left) + inversions(right);
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut lefts, mut rights) = (left.iter().peekable(), right.iter().peekable());
    while let Some(&&r) = rights.peek() {
        while let Some(&l) = lefts.next_if(|l| **l <= r) {
            merged.push(l);
        }
        count += lefts.len() as f64;
        merged.push(r);
        rights.next();
    }
    merged.extend(lefts.copied());
    values.copy_from_slice(&merged);
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tau-b by its definition over all pairs.
    fn by_pairs(x: &[f64], y: &[f64]) -> f64 {
        let sign = |a: f64, b: f64| if a == b { 0.0 } else { (a - b).signum() };
        let (mut sum, mut xx, mut yy) = (0.0, 0.0, 0.0);
        for i in 0..x.len() {
            for j in 0..i {
                let (a, b) = (sign(x[i], x[j]), sign(y[i], y[j]));
                sum += a * b;
                xx += a * a;
                yy += b * b;
            }
        }
        sum / f64::sqrt(xx * yy)
    }

    #[test]
    fn kendall_is_its_definition() {
        for seed in 1..40_u64 {
            let draw = |i: u64| crate::random::draw_below(seed, i, 2 + seed) as f64;
            let n = 2 + seed % 23;
            let (x, y): (Vec<f64>, Vec<f64>) = (0..n).map(|i| (draw(2 * i), draw(2 * i + 1))).unzip();
            let expected = by_pairs(&x, &y);
            match kendall_tau(&x, &y) {
                Ok(tau) => assert!((tau - expected).abs() < 1e-12, "{seed}: {tau} {expected}"),
                Err(_) => assert!(!expected.is_finite(), "{seed}"),
            }
        }
    }

    #[test]
    fn a_constant_column_has_no_correlation() {
        for correlation in [pearson, spearman, kendall_tau] {
            assert!(correlation(&[1.0, 1.0], &[1.0, 2.0]).is_err());
            assert!(correlation(&[1.0], &[1.0, 2.0]).is_err());
            assert!((correlation(&[1.0, 2.0, 4.0], &[5.0, 6.0, 8.0]).unwrap() - 1.0).abs() < 1e-15);
        }
    }
}
