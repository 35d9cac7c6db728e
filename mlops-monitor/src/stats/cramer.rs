//! Cramer and von Mises' two-sample test: the mean squared distance between distribution functions.

use std::{
    collections::HashMap,
    f64::consts::{FRAC_PI_2, PI},
};

use super::{Tail, count_of, float, location::sum, merge::Groups};

/// Largest sample on either side for which the law is counted out.
pub const CRAMER_EXACT_MAX: u64 = 20;
/// Below this argument the limit law gives one.
const LIMIT_MIN: f64 = 0.003;
/// Points of the quadrature of one period.
const NODES: u32 = 240;
/// Periods of the alternating series; the last is below 1e-16 for every argument above [`LIMIT_MIN`].
const PERIODS: u32 = 40;

/// Outcome of [`cramer_von_mises`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CramerVonMises {
    /// Anderson's T with midranks (Annals of Mathematical Statistics 33, 1962).
    pub t: f64,
    /// T brought to the mean and variance of the limit law.
    pub standardised: f64,
    /// Values of the reference.
    pub n: u64,
    /// Values of the current sample.
    pub m: u64,
    /// Four times Anderson's U, a whole number.
    u_times_four: u128,
}

/// Compares two ascending samples of finite numbers; `None` when one is empty.
#[must_use]
pub fn cramer_von_mises(reference: &[f64], current: &[f64]) -> Option<CramerVonMises> {
    let (n, m) = (count_of(reference.len()), count_of(current.len()));
    if n == 0 || m == 0 {
        return None;
    }
    let (mut seen_ref, mut seen_cur) = (0_u64, 0_u64);
    let (mut in_ref, mut in_cur) = (0_u128, 0_u128);
    for group in Groups::new(reference, current) {
        // Twice the midrank of the group, and of each value less its place in its own sample, squared.
        let twice_rank = 2 * (seen_ref + seen_cur) + group.reference + group.current + 1;
        in_ref += squares(twice_rank, seen_ref, group.reference);
        in_cur += squares(twice_rank, seen_cur, group.current);
        seen_ref += group.reference;
        seen_cur += group.current;
    }
    let u_times_four = u128::from(n) * in_ref + u128::from(m) * in_cur;
    let (a, b) = (float(n), float(m));
    let (cells, total) = (a * b, a + b);
    #[allow(clippy::cast_precision_loss, reason = "the exact integer is rounded once")]
    let t = u_times_four as f64 / 4.0 / (cells * total) - (4.0 * cells - 1.0) / (6.0 * total);
    let mean = (1.0 + 1.0 / total) / 6.0;
    let variance = (total + 1.0) * (4.0 * cells * total - 3.0 * (a * a + b * b) - 2.0 * cells)
        / (45.0 * total * total * 4.0 * cells);
    let standardised = 1.0 / 6.0 + (t - mean) / (45.0 * variance).sqrt();
    Some(CramerVonMises { t, standardised, n, m, u_times_four })
}

/// Sum over `count` places after `seen` of (twice the rank - twice the place)^2.
fn squares(twice_rank: u64, seen: u64, count: u64) -> u128 {
    // With d the distance at the first place: sum (d - 2 k)^2 for k = 0..count.
    let d = i128::from(twice_rank) - 2 * (i128::from(seen) + 1);
    let c = i128::from(count);
    let total = c * d * d - 2 * d * c * (c - 1) + 2 * (c - 1) * c * (2 * c - 1) / 3;
    u128::try_from(total).unwrap_or(0)
}

impl CramerVonMises {
    /// The tail of the limit law, with full relative accuracy however small it is.
    #[must_use]
    pub fn limit_tail(&self) -> Tail {
        limit_tail(self.standardised)
    }

    /// The tail by counting all orders, for at most [`CRAMER_EXACT_MAX`] values on each side; it takes the values to be
    /// distinct.
    ///
    /// Lattice paths by Burr's recursion (Annals of Mathematical Statistics 34, 1963), in integers.
    #[must_use]
    pub fn exact_tail(&self) -> Option<Tail> {
        if self.n.max(self.m) > CRAMER_EXACT_MAX {
            return None;
        }
        let (n, m) = (self.n, self.m);
        let multiple = n / greatest_common_divisor(n, m) * m;
        let (a, b) = (multiple / n, multiple / m);
        let cells = i128::from(n * m);
        let u_times_four = i128::try_from(self.u_times_four).ok()?;
        let least = (i128::from(multiple * multiple * (n + m)) * (6 * u_times_four - 4 * cells * (4 * cells - 1)))
            .div_euclid(24 * cells * cells);
        // For every place along the reference, how many paths have which sum of squares.
        let mut columns: Vec<HashMap<u64, u128>> = vec![HashMap::new(); usize::try_from(n).ok()? + 1];
        columns.first_mut()?.insert(0, 1);
        for v in 0..=m {
            let mut left: HashMap<u64, u128> = HashMap::new();
            for (u, column) in (0..=n).zip(&mut columns) {
                for (sum, count) in std::mem::take(column) {
                    *left.entry(sum).or_default() += count;
                }
                let square = (a * u).abs_diff(b * v).pow(2);
                left = left.into_iter().map(|(sum, count)| (sum + square, count)).collect();
                column.clone_from(&left);
            }
        }
        let last = columns.last()?;
        let all: u128 = last.values().sum();
        let extreme: u128 = last.iter().filter(|(sum, _)| i128::from(**sum) >= least).map(|(_, count)| count).sum();
        #[allow(clippy::cast_precision_loss, reason = "the exact integers are rounded once")]
        let p = extreme as f64 / all as f64;
        Some(Tail::from_ln(p.ln()))
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// P(W >= x) for the limit W = sum of chi-squared variables over (j pi)^2.
///
/// Smirnov's inversion: (2/pi) sum_k (-1)^(k-1) of the integral from (2k-1) pi to 2k pi of sqrt(s / -sin s) / s
/// exp(-x s^2 / 2) ds. With s = (2k-1) pi + T sin^2 f the singular ends vanish, and the midpoint rule converges
/// geometrically.
fn limit_tail(x: f64) -> Tail {
    if x < LIMIT_MIN {
        return Tail::ONE;
    }
    // Relative to exp(-x pi^2 / 2).
    let period = |k: u32| {
        let start = (2.0 * f64::from(k) - 1.0) * PI;
        // Beyond, the integrand is below exp(-60) of its start.
        let length = PI.min(60.0 / (x * start));
        let step = FRAC_PI_2 / f64::from(NODES);
        let value = |node: u32| {
            let angle = (f64::from(node) + 0.5) * step;
            let (sin, cos) = angle.sin_cos();
            let t = length * sin * sin;
            let s = start + t;
            // -sin s on every one of these intervals; from the nearer end, where it is small.
            let height = if t < FRAC_PI_2 { t.sin() } else { (PI - length + length * cos * cos).sin() };
            let exponent = -x * ((start * start - PI * PI) / 2.0 + start * t + t * t / 2.0);
            (s / height).sqrt() / s * exponent.exp() * 2.0 * length * sin * cos * step
        };
        let area = sum((0..NODES).map(value));
        if k % 2 == 1 { area } else { -area }
    };
    let series = sum((1..=PERIODS).map(period));
    Tail::from_ln((2.0 / PI * series).ln() - x * PI * PI / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_law_has_its_published_points() {
        // Anderson and Darling, Annals of Mathematical Statistics 23, 1952, table 1.
        for (x, p) in [(0.347_30, 0.1), (0.461_36, 0.05), (0.743_46, 0.01), (1.167_86, 0.001), (0.046_01, 0.9)] {
            assert!((limit_tail(x).p() / p - 1.0).abs() < 2e-4, "{x}: {}", limit_tail(x).p());
        }
        assert_eq!(limit_tail(0.001), Tail::ONE);
        assert!((limit_tail(0.004).p() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn separated_samples_are_the_most_extreme_order() {
        let found = cramer_von_mises(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]).unwrap();
        assert!((found.exact_tail().unwrap().p() - 0.1).abs() < 1e-12, "2 of 20 orders");
        let alike = cramer_von_mises(&[1.0, 3.0, 5.0], &[2.0, 4.0, 6.0]).unwrap();
        assert!(alike.exact_tail().unwrap().p() > 0.8);
    }

    #[test]
    fn far_tails_go_on() {
        let (low, high) = (limit_tail(100.0).ln(), limit_tail(200.0).ln());
        assert!((low - high - 100.0 * PI * PI / 2.0).abs() < 1.0, "{low} {high}");
    }
}
