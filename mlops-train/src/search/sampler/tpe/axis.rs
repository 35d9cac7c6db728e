//! The kernels of one parameter, one per component of the mixture, and what each says about a point.
//!
//! Invariant: for a point of the space, `constants[i] + term(point, i)` is the logarithm of the density (for numbers
//! without steps) or probability of component `i`; `constants` has the parts that do not depend on the point. Terms are
//! in single precision, which tells candidates apart as well and sums four times as fast: relative errors of a density
//! are up to about 1e-4 with the default `good_width` and grow as that shrinks.

#![allow(
    clippy::indexing_slicing,
    reason = "components, classes and choices are below the lengths built together in this file"
)]

use std::{borrow::Cow, collections::HashMap};

use super::{
    normal::{mass, truncated},
    widths::Widths,
};
use crate::{
    rng::SeededRng,
    search::space::{ParamSpace, Range},
};

/// Most values whose probabilities are tabulated.
const TABLE_MAX: f64 = 256.0;

/// Kernels that one table may have before those out of use are dropped.
const CLASSES_MAX: usize = 4_096;

/// The kernels of one parameter.
#[derive(Debug, Clone)]
pub(super) enum Axis {
    /// A number without steps, or with so many that the density over a step is nearly flat.
    Smooth(Smooth),
    /// A number with few values: probabilities by kernel and value.
    Table(Table),
    /// One of several choices.
    Choice(Choice),
}

/// Kernels with a density.
#[derive(Debug, Clone)]
pub(super) struct Smooth {
    widths: Widths,
    /// Means of the components in [0, 1] between the bounds.
    means: Vec<f32>,
    /// `1 / (width sqrt 2)` of each component, the width in shares of the range.
    scales: Vec<f32>,
    norms: Vec<f64>,
    steps: Option<Range>,
}

/// Kernels whose probabilities are tabulated; components with equal mean and width are one class.
#[derive(Debug, Clone)]
pub(super) struct Table {
    widths: Widths,
    range: Range,
    class_of: Vec<u32>,
    /// Mean, width, and the probability within the bounds of each class.
    classes: Vec<(f64, f64, f64)>,
    by_bits: HashMap<(u64, u64), u32>,
    /// Log probabilities of classes, by value; filled as far as they were asked for.
    rows: Vec<Vec<f32>>,
}

/// Choices smoothed by one prior pseudo-count.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    count: usize,
    seen: Vec<u32>,
}

/// What an axis adds to the exponents of components for one point.
#[derive(Debug)]
pub(super) enum Term<'a> {
    /// `-((point - mean) scale)^2`.
    Square { point: f32, means: &'a [f32], scales: &'a [f32] },
    /// The same for a step from `point - half` to `point + half`: the density there, times the step, corrected for its
    /// curvature.
    Step { step: Step, means: &'a [f32], scales: &'a [f32] },
    /// The value of each component's class.
    Class { of: &'a [u32], values: Cow<'a, [f32]> },
}

impl Axis {
    /// No kernels yet; the least width of those to come is `narrow` times Optuna's.
    pub(super) fn new(space: &ParamSpace, narrow: f64) -> Self {
        let (Some(range), Some((low, high))) = (space.range(), space.interval()) else {
            return Self::Choice(Choice { count: space.count().unwrap_or(1.0) as usize, seen: Vec::new() });
        };
        let widths = Widths::new(low, high, narrow);
        match range.count() {
            Some(count) if count <= TABLE_MAX => Self::Table(Table::new(widths, range, count as usize)),
            _ => Self::Smooth(Smooth {
                widths,
                means: Vec::new(),
                scales: Vec::new(),
                norms: Vec::new(),
                steps: Some(range).filter(|range| range.step.is_some()),
            }),
        }
    }

    /// Adds an observation as component `at`; returns the components whose constant may be new.
    pub(super) fn insert(&mut self, at: usize, point: f64, numbers: &[usize]) -> Vec<usize> {
        match self {
            Self::Smooth(smooth) => {
                let changed = smooth.widths.insert(at, point, numbers);
                smooth.means.insert(at, 0.0);
                smooth.scales.insert(at, 0.0);
                smooth.norms.insert(at, 0.0);
                smooth.refresh(&changed);
                changed
            }
            Self::Table(table) => {
                let changed = table.widths.insert(at, point, numbers);
                table.class_of.insert(at, 0);
                table.refresh(&changed);
                Vec::new()
            }
            Self::Choice(choice) => {
                choice.seen.insert(at, point as u32);
                Vec::new()
            }
        }
    }

    /// Removes component `at` of trial `number`; `numbers` are the trials that remain.
    pub(super) fn remove(&mut self, at: usize, number: usize, numbers: &[usize]) -> Vec<usize> {
        match self {
            Self::Smooth(smooth) => {
                let changed = smooth.widths.remove(at, number, numbers);
                smooth.means.remove(at);
                smooth.scales.remove(at);
                smooth.norms.remove(at);
                smooth.refresh(&changed);
                changed
            }
            Self::Table(table) => {
                let changed = table.widths.remove(at, number, numbers);
                table.class_of.remove(at);
                table.refresh(&changed);
                Vec::new()
            }
            Self::Choice(choice) => {
                choice.seen.remove(at);
                Vec::new()
            }
        }
    }

    /// The part of a component's exponent that does not depend on the point.
    pub(super) fn constant(&self, component: usize) -> f64 {
        match self {
            Self::Smooth(smooth) => smooth.norms[component],
            Self::Table(_) | Self::Choice(_) => 0.0,
        }
    }

    /// A point drawn from a component; from the prior for none.
    pub(super) fn draw(&self, component: Option<usize>, space: &ParamSpace, rng: &mut SeededRng) -> f64 {
        let widths = match self {
            Self::Smooth(smooth) => &smooth.widths,
            Self::Table(table) => &table.widths,
            Self::Choice(choice) => return choice.draw(component, rng) as f64,
        };
        let (mean, width) = component.map_or(widths.prior(), |at| (widths.means[at], widths.widths[at]));
        space.snap(truncated(mean, width, widths.low, widths.high, rng))
    }

    /// Tabulates what [`Axis::term`] and [`Axis::prior`] will be asked about a point.
    pub(super) fn prepare(&mut self, point: f64) {
        if let Self::Table(table) = self {
            table.fill(point);
        }
    }

    /// What a prepared point adds to each component.
    pub(super) fn term(&self, point: f64) -> Term<'_> {
        match self {
            Self::Smooth(smooth) => {
                let (means, scales) = (smooth.means.as_slice(), smooth.scales.as_slice());
                match smooth.steps {
                    None => Term::Square { point: smooth.widths.unit(point) as f32, means, scales },
                    Some(range) => Term::Step { step: Step::around(range, point, &smooth.widths), means, scales },
                }
            }
            Self::Table(table) => Term::Class { of: &table.class_of, values: Cow::Borrowed(table.row(point)) },
            Self::Choice(choice) => {
                let values = (0..choice.count).map(|seen| choice.log_probability(Some(seen), point) as f32).collect();
                Term::Class { of: &choice.seen, values: Cow::Owned(values) }
            }
        }
    }

    /// The logarithm of what the prior says of a prepared point, on the scale of `constant + term`.
    pub(super) fn prior(&self, point: f64) -> f64 {
        match self {
            Self::Smooth(smooth) => {
                let (mean, width) = smooth.widths.prior();
                let norm = norm(&smooth.widths, mean, width);
                match smooth.steps {
                    None => norm - ((point - mean) / width).powi(2) / 2.0,
                    Some(range) => {
                        let step = Step::around(range, point, &smooth.widths);
                        norm + step.exponent(smooth.widths.unit(mean), smooth.widths.scale(width))
                    }
                }
            }
            Self::Table(table) => f64::from(table.row(point)[0]),
            Self::Choice(choice) => choice.log_probability(None, point),
        }
    }
}

/// Logarithm of what a normal density is divided by.
fn norm(widths: &Widths, mean: f64, width: f64) -> f64 {
    let inside = mass((widths.low - mean) / width, (widths.high - mean) / width);
    -(width * std::f64::consts::TAU.sqrt() * inside).ln()
}

/// Ends of the step around a point, on the axis.
fn edges(range: Range, point: f64) -> (f64, f64) {
    let half = range.step.unwrap_or(0.0) / 2.0;
    let value = if range.log { point.exp() } else { point };
    (range.axis(value - half), range.axis(value + half))
}

/// One step on the axis of a number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// In [0, 1] between the bounds.
    middle: f64,
    /// In shares of the range.
    width: f64,
    /// On the axis itself.
    log_width: f64,
}

impl Step {
    fn around(range: Range, point: f64, widths: &Widths) -> Self {
        let (from, to) = edges(range, point);
        let (first, last) = (widths.unit(from), widths.unit(to));
        Self { middle: (first + last) / 2.0, width: last - first, log_width: (to - from).ln() }
    }

    /// Logarithm of the integral of `e^(-z^2)`, `z` as in [`Term::Square`], over the step.
    ///
    /// Up to half a kernel's width: the middle's value times `1 + h^2 He2(z)/24 + h^4 He4(z)/1920 + h^6 He6(z)/322560`
    /// with `z` and the step `h` in widths and Hermite's polynomials `He`, the Taylor series of the mean density;
    /// beyond, Simpson's rule. To 1e-8 relative where the density is not negligible.
    #[inline]
    pub(super) fn exponent(self, mean: f64, scale: f64) -> f64 {
        let z = (self.middle - mean) * scale * std::f64::consts::SQRT_2;
        let h = self.width * scale * std::f64::consts::SQRT_2;
        let (z2, h2) = (z * z, h * h);
        if h > 0.5 {
            return simpson(z, h) + self.log_width;
        }
        if h2 * z2 > 16.0 {
            return self.log_width - 0.5 * z2;
        }
        let second = h2 * (z2 - 1.0) / 24.0;
        let fourth = h2 * h2 * (z2 * (z2 - 6.0) + 3.0) / 1_920.0;
        let sixth = h2 * h2 * h2 * (z2 * (z2 * (z2 - 15.0) + 45.0) - 15.0) / 322_560.0;
        let more = second + fourth + sixth;
        let log = if more.abs() < 0.01 {
            more * (1.0 - more * (0.5 - more * (1.0 / 3.0 - more * 0.25)))
        } else {
            more.ln_1p()
        };
        self.log_width - 0.5 * z2 + log
    }
}

/// Logarithm of the mean of `e^(-t^2/2)` for `t` within `h / 2` of `z`.
fn simpson(z: f64, h: f64) -> f64 {
    const STRIPS: u32 = 10;
    let at = |index: u32| z - h / 2.0 + h * f64::from(index) / f64::from(STRIPS);
    let nearest = f64::max(z.abs() - h / 2.0, 0.0);
    let top = -0.5 * nearest * nearest;
    let value = |index: u32| (-0.5 * at(index).powi(2) - top).exp();
    let weight = |index: u32| match index {
        0 | STRIPS => 1.0,
        odd if odd % 2 == 1 => 4.0,
        _ => 2.0,
    };
    let sum: f64 = (0..=STRIPS).map(|index| weight(index) * value(index)).sum();
    top + (sum / (3.0 * f64::from(STRIPS))).ln()
}

impl Smooth {
    fn refresh(&mut self, changed: &[usize]) {
        for &component in changed {
            let (mean, width) = (self.widths.means[component], self.widths.widths[component]);
            self.means[component] = self.widths.unit(mean) as f32;
            self.scales[component] = self.widths.scale(width) as f32;
            self.norms[component] = norm(&self.widths, mean, width);
        }
    }
}

impl Table {
    fn new(widths: Widths, range: Range, values: usize) -> Self {
        let mut table = Self {
            widths,
            range,
            class_of: Vec::new(),
            classes: Vec::new(),
            by_bits: HashMap::new(),
            rows: vec![Vec::new(); values],
        };
        table.forget();
        table
    }

    /// Drops all classes but the prior's, which is the first.
    fn forget(&mut self) {
        self.classes.clear();
        self.by_bits.clear();
        self.rows.iter_mut().for_each(Vec::clear);
        let (mean, width) = self.widths.prior();
        self.classify(mean, width);
    }

    fn classify(&mut self, mean: f64, width: f64) -> u32 {
        let next = self.classes.len() as u32;
        let class = *self.by_bits.entry((mean.to_bits(), width.to_bits())).or_insert(next);
        if class == next {
            let inside = mass((self.widths.low - mean) / width, (self.widths.high - mean) / width);
            self.classes.push((mean, width, inside));
        }
        class
    }

    fn refresh(&mut self, changed: &[usize]) {
        let all = changed.len() == self.class_of.len() || self.classes.len() + changed.len() > CLASSES_MAX;
        if all {
            self.forget();
        }
        let changed = if all { (0..self.class_of.len()).collect() } else { changed.to_vec() };
        for component in changed {
            self.class_of[component] = self.classify(self.widths.means[component], self.widths.widths[component]);
        }
    }

    fn index(&self, point: f64) -> usize {
        let value = if self.range.log { point.exp() } else { point };
        let index = ((value - self.range.low) / self.range.step.unwrap_or(1.0)).round() as usize;
        index.min(self.rows.len() - 1)
    }

    /// Computes log probabilities of a value under the classes that have none yet.
    fn fill(&mut self, point: f64) {
        let (from, to) = edges(self.range, point);
        let index = self.index(point);
        let row = &mut self.rows[index];
        for &(mean, width, inside) in self.classes.iter().skip(row.len()) {
            row.push((mass((from - mean) / width, (to - mean) / width) / inside).ln() as f32);
        }
    }

    /// Log probabilities of a prepared value under all classes.
    fn row(&self, point: f64) -> &[f32] {
        &self.rows[self.index(point)]
    }
}

impl Choice {
    fn log_probability(&self, seen: Option<usize>, point: f64) -> f64 {
        if self.seen.is_empty() {
            return -(self.count as f64).ln();
        }
        let Some(seen) = seen else { return -(self.count as f64).ln() };
        let share = 1.0 / (self.seen.len() + 1) as f64;
        let hit = if seen == point as usize { 1.0 } else { 0.0 };
        ((share + hit) / (1.0 + share * self.count as f64)).ln()
    }

    fn draw(&self, component: Option<usize>, rng: &mut SeededRng) -> usize {
        let uniform = rng.uniform();
        let Some(component) = component else { return ((uniform * self.count as f64) as usize).min(self.count - 1) };
        let share = 1.0 / (self.seen.len() + 1) as f64;
        let mut left = uniform * (1.0 + share * self.count as f64);
        for choice in 0..self.count {
            left -= share + if choice == self.seen[component] as usize { 1.0 } else { 0.0 };
            if left < 0.0 {
                return choice;
            }
        }
        self.count - 1
    }
}
