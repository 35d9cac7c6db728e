//! Gauss and Legendre's rule on [0, 1].
//!
//! Invariant: `n` points integrate polynomials up to degree `2 n - 1` exactly; all weights are
//! positive and sum to one, so that sums of terms of one sign lose no digits.

/// Points and weights of the rule with `points` points, in ascending order.
///
/// Roots of the Legendre polynomial by Newton's method from Tricomi's first guess; weights
/// `2 / ((1 - x^2) P'(x)^2)` (Abramowitz and Stegun 25.4.29), halved for the unit interval.
pub(super) fn gauss_legendre(points: usize) -> Vec<(f64, f64)> {
    let n = points as f64;
    let mut rule: Vec<(f64, f64)> = (1..=points)
        .map(|index| {
            let mut x = (std::f64::consts::PI * (index as f64 - 0.25) / (n + 0.5)).cos();
            let mut slope = 1.0;
            for _ in 0..NEWTON_STEPS {
                let (value, derivative) = legendre(points, x);
                slope = derivative;
                x -= value / derivative;
            }
            (0.5 * (1.0 - x), 1.0 / ((1.0 - x * x) * slope * slope))
        })
        .collect();
    rule.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    rule
}

/// Quadratic convergence from Tricomi's guess needs four; two more cost nothing.
const NEWTON_STEPS: usize = 6;

/// The Legendre polynomial of degree `n` at `x` in (-1, 1), and its derivative, by Bonnet's recursion.
fn legendre(n: usize, x: f64) -> (f64, f64) {
    let (mut before, mut current) = (1.0, x);
    for degree in 2..=n {
        let degree = degree as f64;
        let next = ((2.0 * degree - 1.0) * x * current - (degree - 1.0) * before) / degree;
        (before, current) = (current, next);
    }
    let derivative = n as f64 * (x * current - before) / (x * x - 1.0);
    (current, derivative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_are_integrated_exactly() {
        for points in [1, 2, 3, 4, 5, 8, 16, 33, 64] {
            let rule = gauss_legendre(points);
            assert!(rule.iter().all(|&(x, w)| x > 0.0 && x < 1.0 && w > 0.0));
            for degree in 0..2 * points as i32 {
                let integral: f64 = rule.iter().map(|(x, w)| w * x.powi(degree)).sum();
                let expected = 1.0 / f64::from(degree + 1);
                assert!((integral - expected).abs() < 1e-14, "{points} {degree}: {integral} {expected}");
            }
        }
    }
}
