//! Anderson and Darling's two-sample test, which weighs the tails.
//!
//! Source: Scholz and Stephens, Journal of the American Statistical Association 82, 1987, for k = 2 samples, midranks.

use super::{Tail, count_of, float, location::sum, merge::Groups};

/// Significance levels of the table, and where the standardised statistic reaches them for two samples.
#[allow(clippy::approx_constant, reason = "2.718 is a quantile here, not Euler's number")]
const TABLE: [(f64, f64); 7] =
    [(0.25, 0.325), (0.1, 1.226), (0.05, 1.961), (0.025, 2.718), (0.01, 3.752), (0.005, 4.592), (0.001, 6.546)];
/// Least-squares parabola of ln p over the table: ln p = c + b A + a A^2.
const PARABOLA: [f64; 3] = [0.018_198_094_574_111_47, -1.008_226_564_465_251_5, -1.077_770_279_820_484];

/// The standardised statistic of two ascending samples; `None` when a side is empty, there are fewer than four values or
/// all are equal.
#[must_use]
pub fn anderson_darling(reference: &[f64], current: &[f64]) -> Option<f64> {
    let (n, m) = (count_of(reference.len()), count_of(current.len()));
    let first = reference.first().or(current.first())?;
    let constant = reference.iter().chain(current).all(|value| value == first);
    if n == 0 || m == 0 || n + m < 4 || constant {
        return None;
    }
    let (a, b, total) = (float(n), float(m), float(n + m));
    let (mut seen_ref, mut seen_all) = (0_u64, 0_u64);
    let pieces = Groups::new(reference, current).map(|group| {
        let size = group.reference + group.current;
        let (rank, rank_ref) = (float(seen_all) + float(size) / 2.0, float(seen_ref) + float(group.reference) / 2.0);
        seen_all += size;
        seen_ref += group.reference;
        let weight = float(size) / total / (rank * (total - rank) - total * float(size) / 4.0);
        // The deviation of the current sample is that of the reference with the other sign.
        let deviation = total * rank_ref - rank * a;
        weight * deviation * deviation
    });
    let statistic = sum(pieces) * (1.0 / a + 1.0 / b) * (total - 1.0) / total;
    Some((statistic - 1.0) / variance(a, b).sqrt())
}

fn variance(n: f64, m: f64) -> f64 {
    let (total, k) = (n + m, 2.0);
    let inverse = 1.0 / n + 1.0 / m;
    // h = sum 1/i for i < N; g = sum over i of (sum of 1/j, j from N - i + 1 to N - 1) / ... as in section 2.
    let (mut h, mut g) = (0.0, 0.0);
    let mut j = total - 1.0;
    let mut next = 2.0;
    while j > 1.0 {
        h += 1.0 / j;
        g += h / next;
        j -= 1.0;
        next += 1.0;
    }
    h += 1.0;
    let a = (4.0 * g - 6.0) * (k - 1.0) + (10.0 - 6.0 * g) * inverse;
    let b = (2.0 * g - 4.0) * k * k + 8.0 * h * k + (2.0 * g - 14.0 * h - 4.0) * inverse - 8.0 * h + 4.0 * g - 6.0;
    let c = (6.0 * h + 2.0 * g - 2.0) * k * k + (4.0 * h - 4.0 * g + 6.0) * k + (2.0 * h - 6.0) * inverse + 4.0 * h;
    let d = (2.0 * h + 6.0) * k * k - 4.0 * h * k;
    (((a * total + b) * total + c) * total + d) / ((total - 1.0) * (total - 2.0) * (total - 3.0))
}

/// The p-value by interpolating the published table, from 0.25 down to 0.001; outside, the nearer end.
#[must_use]
pub fn anderson_darling_tail(statistic: f64) -> Tail {
    let (most, least) = (TABLE.first(), TABLE.last());
    match (most, least) {
        (Some((p, at)), _) if statistic < *at => Tail::from_ln(p.ln()),
        (_, Some((p, at))) if statistic > *at => Tail::from_ln(p.ln()),
        _ => {
            let [a, b, c] = PARABOLA;
            Tail::from_ln((a * statistic + b) * statistic + c)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parabola_passes_near_the_table() {
        for (p, at) in TABLE {
            assert!((anderson_darling_tail(at).p() / p - 1.0).abs() < 0.06, "{at}");
        }
        assert_eq!(anderson_darling_tail(-1.0).p(), 0.25);
        assert!((anderson_darling_tail(50.0).p() - 0.001).abs() < 1e-15);
    }

    #[test]
    fn constant_and_tiny_samples_have_no_statistic() {
        assert!(anderson_darling(&[1.0; 5], &[1.0; 5]).is_none());
        assert!(anderson_darling(&[1.0], &[2.0, 3.0]).is_none());
    }
}
