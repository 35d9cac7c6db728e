//! Minimization of smooth functions within bounds by projected L-BFGS.
//!
//! Directions by the two-loop recursion over the coordinates that are free to move (Nocedal and Wright, "Numerical
//! Optimization", 7.2; Bertsekas 1982 for the projection), steps halved until the value falls enough.

#![allow(clippy::indexing_slicing, reason = "coordinates are below the dimension")]

use crate::strands::dot;

/// Steps that are remembered.
const MEMORY: usize = 8;

/// When to stop, and where the coordinates may lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Descent<'a> {
    pub(super) bounds: Option<&'a [(f64, f64)]>,
    pub(super) steps_max: usize,
    /// Largest coordinate of the projected gradient that counts as none.
    pub(super) tolerance: f64,
}

impl Descent<'_> {
    /// A local minimum near `x` and its value. `function` gives value and gradient; not finite where it cannot.
    pub(super) fn minimize(self, mut x: Vec<f64>, function: impl Fn(&[f64]) -> (f64, Vec<f64>)) -> (Vec<f64>, f64) {
        let (mut value, mut gradient) = function(&x);
        let mut memory: Vec<(Vec<f64>, Vec<f64>, f64)> = Vec::new();
        for _ in 0..self.steps_max {
            let free: Vec<bool> = (0..x.len()).map(|at| self.is_free(at, x[at], gradient[at])).collect();
            let largest =
                free.iter().zip(&gradient).filter(|(free, _)| **free).fold(0.0, |a: f64, (_, g)| a.max(g.abs()));
            if !value.is_finite() || largest <= self.tolerance {
                break;
            }
            let mut direction = two_loops(&gradient, &free, &memory);
            if dot(&direction, &gradient) >= 0.0 {
                memory.clear();
                direction = masked(&gradient, &free).iter().map(|g| -g).collect();
            }
            let longest = if memory.is_empty() { (1.0 / largest).min(1.0) } else { 1.0 };
            let Some((next, next_value, next_gradient)) =
                self.step(&x, value, &gradient, &direction, longest, &function)
            else {
                if memory.is_empty() {
                    break;
                }
                memory.clear();
                continue;
            };
            let s: Vec<f64> = next.iter().zip(&x).map(|(a, b)| a - b).collect();
            let y: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
            let curvature = dot(&s, &y);
            if curvature > 1e-10 * dot(&y, &y) {
                memory.push((s, y, 1.0 / curvature));
                if memory.len() > MEMORY {
                    memory.remove(0);
                }
            }
            let gained = value - next_value;
            (x, value, gradient) = (next, next_value, next_gradient);
            if gained <= 1e-10 * value.abs().max(1.0) {
                break;
            }
        }
        (x, value)
    }

    fn is_free(self, at: usize, x: f64, slope: f64) -> bool {
        self.bounds.is_none_or(|bounds| !(x <= bounds[at].0 && slope > 0.0 || x >= bounds[at].1 && slope < 0.0))
    }

    fn project(self, at: usize, x: f64) -> f64 {
        self.bounds.map_or(x, |bounds| x.clamp(bounds[at].0, bounds[at].1))
    }

    /// The first step, halved each time, that gains a part of what the slope promises.
    fn step(
        self,
        x: &[f64],
        value: f64,
        gradient: &[f64],
        direction: &[f64],
        longest: f64,
        function: &impl Fn(&[f64]) -> (f64, Vec<f64>),
    ) -> Option<(Vec<f64>, f64, Vec<f64>)> {
        const HALVINGS_MAX: i32 = 25;
        (0..HALVINGS_MAX).find_map(|halvings| {
            let length = longest * 0.5_f64.powi(halvings);
            let next: Vec<f64> = (0..x.len()).map(|at| self.project(at, x[at] + length * direction[at])).collect();
            let promised: f64 = next.iter().zip(x).zip(gradient).map(|((a, b), g)| (a - b) * g).sum();
            if promised >= 0.0 {
                return None;
            }
            let (next_value, next_gradient) = function(&next);
            let enough = next_value.is_finite() && next_value <= value + 1e-4 * promised;
            enough.then_some((next, next_value, next_gradient))
        })
    }
}

fn masked(gradient: &[f64], free: &[bool]) -> Vec<f64> {
    gradient.iter().zip(free).map(|(g, free)| if *free { *g } else { 0.0 }).collect()
}

/// The direction of descent that remembered steps suggest.
fn two_loops(gradient: &[f64], free: &[bool], memory: &[(Vec<f64>, Vec<f64>, f64)]) -> Vec<f64> {
    let mut q = masked(gradient, free);
    let mut alphas = Vec::with_capacity(memory.len());
    for (s, y, rho) in memory.iter().rev() {
        let alpha = rho * dot(s, &q);
        q.iter_mut().zip(y).for_each(|(q, y)| *q -= alpha * y);
        alphas.push(alpha);
    }
    if let Some((s, y, _)) = memory.last() {
        let scale = dot(s, y) / dot(y, y);
        q.iter_mut().for_each(|q| *q *= scale);
    }
    for ((s, y, rho), alpha) in memory.iter().zip(alphas.into_iter().rev()) {
        let beta = rho * dot(y, &q);
        q.iter_mut().zip(s).for_each(|(q, s)| *q += (alpha - beta) * s);
    }
    masked(&q, free).iter().map(|q| -q).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rosenbrock(x: &[f64]) -> (f64, Vec<f64>) {
        let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
        (a * a + 100.0 * b * b, vec![-2.0 * a - 400.0 * x[0] * b, 200.0 * b])
    }

    #[test]
    fn finds_minima_inside_and_on_the_bounds() {
        let descent = Descent { bounds: None, steps_max: 200, tolerance: 1e-8 };
        let (x, value) = descent.minimize(vec![-1.2, 1.0], rosenbrock);
        assert!(value < 1e-10 && (x[0] - 1.0).abs() < 1e-4, "{x:?} {value}");
        let bounds = [(-2.0, 0.5), (-2.0, 2.0)];
        let (x, _) = Descent { bounds: Some(&bounds), ..descent }.minimize(vec![-1.2, 1.0], rosenbrock);
        assert!((x[0] - 0.5).abs() < 1e-9 && (x[1] - 0.25).abs() < 1e-5, "{x:?}");
    }
}
