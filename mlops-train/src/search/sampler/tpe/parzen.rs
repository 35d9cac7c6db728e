//! A density over parameters from observed ones: one kernel per observation and one prior, kept while observations come
//! and go.
//!
//! Invariant: every kernel is a product over parameters, all components have positive density everywhere in the space,
//! and the density depends on the observations alone, not on the order in which they came. Components are in the order
//! of their trials. Follows Optuna 5.0.

#![allow(
    clippy::indexing_slicing,
    reason = "components are below the common length of the vectors, which grow and shrink together"
)]

use pulp::NullaryFnOnce;

use super::{
    axis::{Axis, Term},
    exp::exp_negative,
};
use crate::{
    rng::SeededRng,
    search::space::ParamSpace,
    strands::{dot, largest},
};

/// Components that are summed at a time; their kernels fit the first-level cache.
pub(super) const BLOCK: usize = 256;

/// Latest observations with full weight.
const FULL: usize = 25;

/// Exponents this far below the largest are nothing beside it, however many they are.
const NOTHING: f32 = 40.0;

/// How observations weigh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ages {
    /// Those before the latest 25 the less the older they are.
    Fade,
    /// All alike.
    Equal,
}

/// A mixture of product kernels.
#[derive(Debug, Clone)]
pub(super) struct Parzen {
    axes: Vec<Axis>,
    numbers: Vec<usize>,
    constants: Vec<f32>,
    ages: Ages,
    /// Weights of the components, brought up to their number when asked for.
    weights: Vec<f32>,
    /// Sum of the weights and of the prior's, which is one.
    total: f64,
}

/// The density at a point as far as it was summed: `e^largest sum`, over the prior and the components from `left` on.
#[derive(Debug)]
pub(super) struct Partial<'a> {
    terms: Vec<Term<'a>>,
    constants: &'a [f32],
    weights: &'a [f32],
    total: f64,
    pub(super) left: usize,
    largest: f32,
    sum: f64,
}

impl Ages {
    /// Weight of observation `index` of `n`: all one below 25, else rising linearly from `1/n` to one for all but the
    /// latest 25.
    fn weight(self, index: usize, n: usize) -> f64 {
        let ramp = n.saturating_sub(FULL);
        if self == Self::Equal || index >= ramp {
            return 1.0;
        }
        let least = 1.0 / n as f64;
        if ramp < 2 { least } else { least + (1.0 - least) * index as f64 / (ramp - 1) as f64 }
    }
}

impl Parzen {
    /// The density before any observation; the least width of a kernel is `narrow` times Optuna's.
    pub(super) fn new(spaces: &[&ParamSpace], ages: Ages, narrow: f64) -> Self {
        let axes = spaces.iter().map(|space| Axis::new(space, narrow)).collect();
        Self { axes, numbers: Vec::new(), constants: Vec::new(), ages, weights: Vec::new(), total: 1.0 }
    }

    /// Observes the point of a trial.
    pub(super) fn insert(&mut self, number: usize, point: &[f64]) {
        let Err(at) = self.numbers.binary_search(&number) else { return };
        self.numbers.insert(at, number);
        self.constants.insert(at, 0.0);
        let numbers = &self.numbers;
        let mut changed: Vec<usize> =
            self.axes.iter_mut().zip(point).flat_map(|(axis, &value)| axis.insert(at, value, numbers)).collect();
        changed.push(at);
        self.refresh(changed);
    }

    /// Forgets the point of a trial.
    pub(super) fn remove(&mut self, number: usize) {
        let Ok(at) = self.numbers.binary_search(&number) else { return };
        self.numbers.remove(at);
        self.constants.remove(at);
        let numbers = &self.numbers;
        let changed = self.axes.iter_mut().flat_map(|axis| axis.remove(at, number, numbers)).collect();
        self.refresh(changed);
    }

    fn refresh(&mut self, mut changed: Vec<usize>) {
        changed.sort_unstable();
        changed.dedup();
        for component in changed {
            self.constants[component] = self.axes.iter().map(|axis| axis.constant(component)).sum::<f64>() as f32;
        }
    }

    /// A point drawn from the density.
    pub(super) fn draw(&self, spaces: &[&ParamSpace], rng: &mut SeededRng) -> Vec<f64> {
        let n = self.numbers.len();
        let total = (0..n).map(|index| self.ages.weight(index, n)).sum::<f64>() + 1.0;
        let mut left = rng.uniform() * total;
        let component = (0..n).find(|&index| {
            left -= self.ages.weight(index, n);
            left < 0.0
        });
        self.axes.iter().zip(spaces).map(|(axis, space)| axis.draw(component, space, rng)).collect()
    }

    /// The logarithm of the density at a point.
    #[cfg(test)]
    pub(super) fn log_density(&mut self, point: &[f64]) -> f64 {
        let mut parts = self.partials(&[point.to_vec()]);
        while parts[0].left > 0 {
            parts[0].extend();
        }
        parts[0].log()
    }

    /// Densities at points of which only the prior's part is summed yet.
    pub(super) fn partials<'a>(&'a mut self, points: &[Vec<f64>]) -> Vec<Partial<'a>> {
        for point in points {
            self.axes.iter_mut().zip(point).for_each(|(axis, &value)| axis.prepare(value));
        }
        let left = self.numbers.len();
        if self.weights.len() != left {
            self.weights = (0..left).map(|index| self.ages.weight(index, left) as f32).collect();
            self.total = self.weights.iter().map(|&weight| f64::from(weight)).sum::<f64>() + 1.0;
        }
        let part = |point: &Vec<f64>| {
            let axes = || self.axes.iter().zip(point);
            Partial {
                terms: axes().map(|(axis, &value)| axis.term(value)).collect(),
                constants: &self.constants,
                weights: &self.weights,
                total: self.total,
                left,
                largest: axes().map(|(axis, &value)| axis.prior(value)).sum::<f64>() as f32,
                sum: 1.0,
            }
        };
        points.iter().map(part).collect()
    }
}

impl Partial<'_> {
    /// The logarithm of what is summed so far; never falls as more is summed.
    pub(super) fn log(&self) -> f64 {
        f64::from(self.largest) + (self.sum / self.total).ln()
    }

    /// Sums one more block of components, the latest of those that are left.
    pub(super) fn extend(&mut self) {
        pulp::Arch::new().dispatch(Extend(self));
    }

    #[inline(always)]
    fn extend_here(&mut self) {
        let from = self.left.saturating_sub(BLOCK);
        let mut buffer = [0.0_f32; BLOCK];
        let exponents = &mut buffer[..self.left - from];
        exponents.copy_from_slice(&self.constants[from..self.left]);
        for term in &self.terms {
            term.add(from, exponents);
        }
        let most = largest(exponents);
        if most > self.largest {
            self.sum *= f64::from(self.largest - most).exp();
            self.largest = most;
        }
        if most > self.largest - NOTHING {
            for exponent in exponents.iter_mut() {
                *exponent = exp_negative(*exponent - self.largest);
            }
            self.sum += f64::from(dot(exponents, &self.weights[from..self.left]));
        }
        self.left = from;
    }
}

/// One more block. Not a closure: the compiler keeps a large one out of the code that it writes for newer processors.
struct Extend<'a, 'b>(&'a mut Partial<'b>);

impl NullaryFnOnce for Extend<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.0.extend_here();
    }
}

impl Term<'_> {
    /// Adds what the term says of the components from `from` on.
    #[inline(always)]
    fn add(&self, from: usize, exponents: &mut [f32]) {
        let to = from + exponents.len();
        match self {
            Term::Square { point, means, scales } => {
                for ((exponent, mean), scale) in exponents.iter_mut().zip(&means[from..to]).zip(&scales[from..to]) {
                    let z = (point - mean) * scale;
                    *exponent -= z * z;
                }
            }
            Term::Step { step, means, scales } => {
                for ((exponent, mean), scale) in exponents.iter_mut().zip(&means[from..to]).zip(&scales[from..to]) {
                    *exponent += step.exponent(f64::from(*mean), f64::from(*scale)) as f32;
                }
            }
            Term::Class { of, values } => {
                for (exponent, &class) in exponents.iter_mut().zip(&of[from..to]) {
                    *exponent += values[class as usize];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::SearchSpace;

    fn observe(space: &SearchSpace, points: &[Vec<f64>]) -> Parzen {
        let spaces: Vec<&ParamSpace> = space.iter().map(|(_, space)| space).collect();
        let mut parzen = Parzen::new(&spaces, Ages::Fade, 1.0);
        points.iter().enumerate().for_each(|(number, point)| parzen.insert(number, point));
        parzen
    }

    #[test]
    fn young_trials_weigh_fully() {
        let weights = |n| (0..n).map(|index| Ages::Fade.weight(index, n)).collect::<Vec<_>>();
        assert_eq!(weights(3), [1.0; 3]);
        assert_eq!(weights(28)[..4], [1.0 / 28.0, (1.0 / 28.0 + 1.0) / 2.0, 1.0, 1.0]);
    }

    #[test]
    fn densities_sum_to_one() {
        let space =
            SearchSpace::new().with_float("x", -1.0, 3.0).with_log_int("n", 1, 20).with_categorical("c", [1, 2, 3]);
        // Names order the parameters: c, n, x.
        let mut parzen =
            observe(&space, &[vec![0.0, 2.0_f64.ln(), 0.5], vec![2.0, 15.0_f64.ln(), 2.5], vec![2.0, 0.0, 2.9]]);
        let mut total = 0.0;
        for choice in 0..3 {
            for n in 1..=20 {
                for step in 0..200 {
                    let x = -1.0 + 4.0 * (f64::from(step) + 0.5) / 200.0;
                    total += parzen.log_density(&[f64::from(choice), f64::from(n).ln(), x]).exp() * 4.0 / 200.0;
                }
            }
        }
        assert!((total - 1.0).abs() < 1e-4, "{total}");
    }

    #[test]
    fn many_steps_sum_to_one_as_well() {
        for space in [SearchSpace::new().with_int("n", 1, 900), SearchSpace::new().with_log_int("n", 1, 900)] {
            let range = space.get("n").unwrap().range().unwrap();
            let points: Vec<Vec<f64>> = [3.0, 500.0, 510.0, 899.0].iter().map(|&n| vec![range.axis(n)]).collect();
            let mut parzen = observe(&space, &points);
            let total: f64 = (1..=900).map(|n| parzen.log_density(&[range.axis(f64::from(n))]).exp()).sum();
            assert!((total - 1.0).abs() < 1e-5, "{total}");
        }
    }

    #[test]
    fn draws_stay_inside() {
        let space = SearchSpace::new().with_int("n", -2, 2).with_float("x", 0.0, 1.0);
        let spaces: Vec<&ParamSpace> = space.iter().map(|(_, space)| space).collect();
        let mut parzen = observe(&space, &[vec![-2.0, 1.0], vec![2.0, 0.0]]);
        let mut rng = SeededRng::new(4, 0);
        for _ in 0..1_000 {
            let point = parzen.draw(&spaces, &mut rng);
            assert!((-2.0..=2.0).contains(&point[0]) && point[0].fract() == 0.0);
            assert!((0.0..=1.0).contains(&point[1]));
            assert!(parzen.log_density(&point).is_finite());
        }
    }
}
