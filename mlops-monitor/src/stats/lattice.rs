//! The exact law of the two-sample Kolmogorov-Smirnov statistic, with and without ties, by counting paths.
//!
//! Ordering both samples together draws a path from (0, 0) to (n, m); all C(n+m, n) paths are
//! equally likely under the null hypothesis, and |D| >= d means that the path touches
//! |i m - j n| >= h with h = d n m. Where values are tied the distribution functions jump over the inner points of a
//! group, so only points between groups can touch: this is the permutation law given the ties. Invariant: the share of touching paths is built from sums of
//! positive terms only, so the smallest tail has the same relative accuracy as the centre.
//!
//! Sources: Hodges, Arkiv for Matematik 3, 1958, section 2 (recursion turned to the complement); Schroeer, Trenkler,
//! Computational Statistics & Data Analysis 20, 1995 (ties).
#![allow(clippy::indexing_slicing, reason = "one row of m + 1 cells, indexed by j in 0..=m")]

use super::{float, gamma::ln_factorial};

/// Below this share the pass is repeated in log space, before doubles lose digits.
const LINEAR_MIN: f64 = 1e-280;

/// ln P(|D| >= h / (n m)) without ties for sample sizes n, m >= 1 and 0 <= h <= n m; O(n m) time, O(m) memory.
pub(crate) fn ln_exact_tail(n: u64, m: u64, h: u64) -> f64 {
    if h > 0 && h >= n.saturating_mul(m) {
        // Only the two paths along the edges.
        return std::f64::consts::LN_2 + ln_factorial(n) + ln_factorial(m) - ln_factorial(n + m);
    }
    tail(&Boundary { n, m, h, inside_group: &[] })
}

/// The same given the ties: `inside_group` says for every number of values seen, from 0 to n + m, whether the next value
/// equals the last one.
pub(crate) fn ln_tied_tail(n: u64, m: u64, h: u64, inside_group: &[bool]) -> f64 {
    tail(&Boundary { n, m, h, inside_group })
}

fn tail(boundary: &Boundary<'_>) -> f64 {
    if boundary.h == 0 {
        return 0.0;
    }
    let share = touching_share(boundary);
    if share > LINEAR_MIN { share.ln() } else { ln_touching_share(boundary) }
}

/// Where a path touches.
struct Boundary<'a> {
    n: u64,
    m: u64,
    h: u64,
    /// By the number of values seen; nothing means no ties.
    inside_group: &'a [bool],
}

impl Boundary<'_> {
    fn touches(&self, i: u64, j: u64) -> bool {
        (i * self.m).abs_diff(j * self.n) >= self.h
            && !self.inside_group.get((i + j) as usize).is_some_and(|inside| *inside)
    }
}

/// Share of the paths to (n, m) that touch the boundary.
fn touching_share(boundary: &Boundary<'_>) -> f64 {
    let Boundary { n, m, .. } = *boundary;
    let mut row = vec![0.0_f64; usize::try_from(m).unwrap_or(0) + 1];
    for i in 0..=n {
        let mut left = 0.0;
        for j in 0..=m {
            let cell = &mut row[j as usize];
            *cell = if boundary.touches(i, j) {
                1.0
            } else if i + j == 0 {
                0.0
            } else {
                // The last step of a random path to (i, j) comes from (i-1, j) with chance i/(i+j).
                (*cell * float(i) + left * float(j)) / float(i + j)
            };
            left = *cell;
        }
    }
    row[m as usize]
}

/// The same in log space.
fn ln_touching_share(boundary: &Boundary<'_>) -> f64 {
    let Boundary { n, m, .. } = *boundary;
    let mut row = vec![f64::NEG_INFINITY; usize::try_from(m).unwrap_or(0) + 1];
    let ln: Vec<f64> = (0..=n + m).map(|i| float(i).ln()).collect();
    for i in 0..=n {
        let mut left = f64::NEG_INFINITY;
        for j in 0..=m {
            let cell = &mut row[j as usize];
            *cell = if boundary.touches(i, j) {
                0.0
            } else if i + j == 0 {
                f64::NEG_INFINITY
            } else {
                let (from_below, from_left) = (*cell + ln[i as usize], left + ln[j as usize]);
                ln_add(from_below, from_left) - ln[(i + j) as usize]
            };
            left = *cell;
        }
    }
    row[m as usize]
}

/// ln(exp(a) + exp(b)).
fn ln_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_tables_by_hand() {
        // Two and two: 6 orders; |D| = 1 in 2 of them, |D| >= 1/2 in all.
        assert!((ln_exact_tail(2, 2, 4).exp() - 1.0 / 3.0).abs() < 1e-14);
        assert!((ln_exact_tail(2, 2, 2).exp() - 1.0).abs() < 1e-14);
        // Three and one: 4 orders, |D| = 1 when the one is first or last.
        assert!((ln_exact_tail(3, 1, 3).exp() - 0.5).abs() < 1e-14);
    }

    #[test]
    fn both_passes_agree() {
        for (n, m, h) in [(30, 40, 500), (60, 60, 2000), (7, 90, 300)] {
            let boundary = Boundary { n, m, h, inside_group: &[] };
            let (linear, log) = (touching_share(&boundary).ln(), ln_touching_share(&boundary));
            assert!((linear - log).abs() < 1e-11 * log.abs(), "{linear} {log}");
        }
    }

    #[test]
    fn deep_tails_approach_the_closed_form() {
        let closed = ln_exact_tail(600, 600, 360_000);
        let boundary = Boundary { n: 600, m: 600, h: 360_000, inside_group: &[] };
        assert!((ln_touching_share(&boundary) - closed).abs() < 1e-9 * closed.abs());
        assert!(closed < -800.0);
    }
}
