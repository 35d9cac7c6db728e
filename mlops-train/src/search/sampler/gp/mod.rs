//! A Gaussian process over the values seen, and the point with the largest expected improvement.
//!
//! Settings are those of Optuna 5.0's sampler, but values are warped first ([`mod@warp`]). What takes time is bounded,
//! whatever the number of trials. The process is decomposed once for each proposal, with the cube of its points: beyond
//! [`GpSettings::points_max`] the best half and the latest half of the trials are kept. Its lengths, scale and noise
//! need some dozens of decompositions: beyond [`FITTED_MAX`] they are learnt from the best half and the latest half of
//! so many. Trials that run are added by their border, with the square of the points, the latest [`RUNNING_MAX`] of
//! them.

mod acquisition;
mod lbfgs;
mod linalg;
mod process;
mod warp;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use self::{
    acquisition::Acquisition,
    lbfgs::Descent,
    process::{Hyperparameters, Process},
    warp::warp,
};
use super::{Proposal, Sampler, StudyView};
use crate::{
    params::Params,
    rng::SeededRng,
    search::{
        space::ParamSpace,
        trial::{Trial, TrialState},
    },
};

/// Points that lengths, scale and noise of the process are learnt from.
const FITTED_MAX: usize = 200;

/// Trials that run which the process takes up.
const RUNNING_MAX: usize = 200;

/// Values up to which steps are tried one by one.
const TRIED_MAX: f64 = 16.0;

/// Settings of the Gaussian process sampler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GpSettings {
    /// Complete trials before which parameters are drawn evenly. Default 10.
    pub startup_trials: usize,
    /// Points at which the search for the best one begins, 16 to 100,000. Default 1,024.
    pub candidates: usize,
    /// How many of them are improved, 1 to 100. Default 10.
    pub local_searches: usize,
    /// Trials that the process learns from, 10 to 2,000. Default 300.
    pub points_max: usize,
}

impl Default for GpSettings {
    fn default() -> Self {
        Self { startup_trials: 10, candidates: 1_024, local_searches: 10, points_max: 300 }
    }
}

/// Proposes by a Gaussian process; parameters that depend on others are drawn evenly.
#[derive(Debug, Clone)]
pub struct Gp {
    settings: GpSettings,
}

/// One coordinate of the process.
#[derive(Debug)]
struct Coordinate<'a> {
    name: &'a str,
    space: &'a ParamSpace,
    /// Coordinates that are tried one by one.
    tried: Option<Vec<f64>>,
    choice: bool,
}

impl Gp {
    /// A sampler with these settings.
    ///
    /// # Errors
    /// `InvalidArgument` when one is out of range.
    pub fn new(settings: &GpSettings) -> Result<Self> {
        let sound = (16..=100_000).contains(&settings.candidates)
            && (1..=100).contains(&settings.local_searches)
            && (10..=2_000).contains(&settings.points_max);
        if !sound {
            return Err(Error::invalid_argument(
                "gp needs 16 to 100000 candidates, 1 to 100 local searches and 10 to 2000 points",
            ));
        }
        Ok(Self { settings: settings.clone() })
    }
}

/// A complete trial and its value; more is better.
type Seen<'a> = (f64, &'a Trial);

/// At most `most` trials: all, or the best half and the latest half, in the order of their numbers.
fn best_and_latest(mut complete: Vec<Seen<'_>>, most: usize) -> Vec<Seen<'_>> {
    if complete.len() <= most {
        return complete;
    }
    let latest = complete.split_off(complete.len() - most / 2);
    let feasible_first =
        |a: &Seen<'_>, b: &Seen<'_>| a.1.violation().total_cmp(&b.1.violation()).then(b.0.total_cmp(&a.0));
    complete.sort_by(feasible_first);
    complete.truncate(most - latest.len());
    complete.sort_by_key(|(_, trial)| trial.number);
    complete.into_iter().chain(latest).collect()
}

/// Trials as a process sees them.
struct Points<'a> {
    learnt: Vec<Seen<'a>>,
    at: Vec<Vec<f64>>,
    choices: Vec<bool>,
    /// Rows that lengths, scale and noise are learnt from.
    fitted: Vec<usize>,
}

impl<'a> Points<'a> {
    /// None when a trial has no place, because the space has changed.
    fn of(view: &StudyView<'a>, coordinates: &[Coordinate<'_>], most: usize) -> Option<Self> {
        let complete = view.trials.iter().filter_map(|trial| Some((-view.loss(trial)?, trial))).collect();
        let learnt = best_and_latest(complete, most);
        let at = learnt.iter().map(|(_, trial)| place(coordinates, trial)).collect::<Option<_>>()?;
        let row = |(_, trial): &Seen<'_>| learnt.binary_search_by_key(&trial.number, |(_, trial)| trial.number).ok();
        let fitted = best_and_latest(learnt.clone(), FITTED_MAX).iter().filter_map(row).collect();
        Some(Self { at, fitted, choices: coordinates.iter().map(|c| c.choice).collect(), learnt })
    }

    /// The process of standardized values at these points.
    fn process(&self, values: &[f64]) -> Option<Process> {
        let chosen = self.fitted.iter().filter_map(|&row| Some((self.at.get(row)?.clone(), *values.get(row)?)));
        let (points, fitted): (Vec<Vec<f64>>, Vec<f64>) = chosen.unzip();
        let hyperparameters = Hyperparameters::fit(&points, &fitted, &self.choices);
        Process::new(self.at.clone(), values, self.choices.clone(), hyperparameters)
    }
}

/// Where a trial lies; none when it lacks a coordinate.
fn place(coordinates: &[Coordinate<'_>], trial: &Trial) -> Option<Vec<f64>> {
    coordinates.iter().map(|coordinate| coordinate.of(&trial.params)).collect()
}

impl<'a> Coordinate<'a> {
    fn all(view: &StudyView<'a>) -> Vec<Self> {
        view.space
            .iter()
            .filter(|(name, space)| !space.is_single() && view.space.condition(name).is_none())
            .map(|(name, space)| Self::new(name, space))
            .collect()
    }

    fn new(name: &'a str, space: &'a ParamSpace) -> Self {
        let choice = space.range().is_none();
        let count = space.count().filter(|&count| choice || count <= TRIED_MAX);
        let tried = count.map(|count| {
            let value = |at: usize| match space.range() {
                None => at as f64,
                Some(range) => space.unit(range.axis(range.low + at as f64 * range.step.unwrap_or(1.0))),
            };
            (0..count as usize).map(value).collect()
        });
        Self { name, space, tried, choice }
    }

    /// Where a trial's value lies.
    fn of(&self, params: &Params) -> Option<f64> {
        let point = self.space.point(params.get(self.name)?)?;
        Some(if self.choice { point } else { self.space.unit(point) })
    }

    /// The nearest coordinate that belongs to a value.
    fn snap(&self, at: f64) -> f64 {
        match (self.choice, self.space.point(&self.space.at_unit(at))) {
            (false, Some(point)) if self.space.count().is_some() => self.space.unit(point),
            _ => at,
        }
    }

    fn draw(&self, rng: &mut SeededRng) -> f64 {
        match &self.tried {
            Some(values) => values.get(rng.below(values.len())).copied().unwrap_or(0.0),
            None => self.snap(rng.uniform()),
        }
    }
}

/// Values with mean zero and deviation one, and what was subtracted and divided by.
fn standardize(values: &[f64]) -> (Vec<f64>, f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt().max(1e-12);
    (values.iter().map(|value| (value - mean) / deviation).collect(), mean, deviation)
}

impl Gp {
    fn acquisition(
        &self,
        view: &StudyView<'_>,
        coordinates: &[Coordinate<'_>],
    ) -> Option<(Acquisition, Option<Vec<f64>>)> {
        let points = Points::of(view, coordinates, self.settings.points_max)?;
        let learnt = &points.learnt;
        let (values, _, _) = standardize(&warp(&learnt.iter().map(|(value, _)| *value).collect::<Vec<_>>()));
        let feasible = learnt.iter().zip(&values).enumerate().filter(|(_, ((_, trial), _))| trial.is_feasible());
        let best = feasible.max_by(|a, b| a.1.1.total_cmp(b.1.1)).map(|(row, (_, value))| (row, *value));
        let start = best.and_then(|(row, _)| points.at.get(row).cloned());
        let mut constraints = Vec::new();
        for constraint in 0..learnt.iter().map(|(_, trial)| trial.constraints.len()).min().unwrap_or(0) {
            let slack = |trial: &Trial| trial.constraints.get(constraint).map_or(0.0, |violation| -violation);
            let (slacks, mean, deviation) =
                standardize(&learnt.iter().map(|(_, trial)| slack(trial)).collect::<Vec<_>>());
            constraints.push((points.process(&slacks)?, -mean / deviation));
        }
        let mut process = points.process(&values)?;
        let running = view.trials.iter().filter(|trial| trial.state == TrialState::Running);
        let running: Vec<Vec<f64>> = running.filter_map(|trial| place(coordinates, trial)).collect();
        let earlier = running.len().saturating_sub(RUNNING_MAX);
        running.into_iter().skip(earlier).for_each(|point| process.believe(point));
        Some((Acquisition { objective: (process, best.map(|(_, value)| value)), constraints }, start))
    }

    /// The point with the largest promise that local searches find.
    fn maximize(
        &self,
        acquisition: &Acquisition,
        coordinates: &[Coordinate<'_>],
        known: Option<Vec<f64>>,
        rng: &mut SeededRng,
    ) -> Vec<f64> {
        let mut drawn: Vec<(f64, Vec<f64>)> = (0..self.settings.candidates)
            .map(|_| coordinates.iter().map(|coordinate| coordinate.draw(rng)).collect::<Vec<f64>>())
            .map(|x| (acquisition.value(&x), x))
            .collect();
        drawn.sort_by(|a, b| b.0.total_cmp(&a.0));
        let starts = spread(drawn, self.settings.local_searches, rng);
        starts
            .into_iter()
            .chain(known)
            .map(|x| improve(acquisition, coordinates, x))
            .map(|x| x.iter().zip(coordinates).map(|(x, coordinate)| coordinate.snap(*x)).collect::<Vec<f64>>())
            .map(|x| (acquisition.value(&x), x))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, x)| x)
            .unwrap_or_default()
    }
}

/// The first point and others drawn with probabilities in proportion to what they promise.
fn spread(mut ranked: Vec<(f64, Vec<f64>)>, count: usize, rng: &mut SeededRng) -> Vec<Vec<f64>> {
    let Some(&(top, _)) = ranked.first() else { return Vec::new() };
    let mut chosen = vec![ranked.remove(0).1];
    while chosen.len() < count && !ranked.is_empty() {
        let weight = |(value, _): &(f64, Vec<f64>)| (value - top).exp();
        let mut left = rng.uniform() * ranked.iter().map(weight).sum::<f64>();
        let at = ranked.iter().position(|candidate| {
            left -= weight(candidate);
            left < 0.0
        });
        chosen.push(ranked.remove(at.unwrap_or(0)).1);
    }
    chosen
}

/// Climbs from a point: smooth coordinates by their gradient, the others one by one, until neither gains.
fn improve(acquisition: &Acquisition, coordinates: &[Coordinate<'_>], mut x: Vec<f64>) -> Vec<f64> {
    const ROUNDS_MAX: usize = 5;
    let lengths = acquisition.objective.0.lengths();
    let smooth: Vec<usize> =
        (0..x.len()).filter(|&at| coordinates.get(at).is_some_and(|c| c.tried.is_none())).collect();
    let length = |at: usize| lengths.get(at).copied().unwrap_or(1.0);
    let bounds: Vec<(f64, f64)> = smooth.iter().map(|&at| (0.0, 1.0 / length(at))).collect();
    for _ in 0..ROUNDS_MAX {
        if !smooth.is_empty() {
            let put = |scaled: &[f64]| {
                let mut x = x.clone();
                for (&at, value) in smooth.iter().zip(scaled) {
                    if let Some(slot) = x.get_mut(at) {
                        *slot = (value * length(at)).clamp(0.0, 1.0);
                    }
                }
                x
            };
            let start = smooth.iter().map(|&at| x.get(at).copied().unwrap_or(0.5) / length(at)).collect();
            let descent = Descent { bounds: Some(&bounds), steps_max: 60, tolerance: 1e-2 };
            let (best, _) = descent.minimize(start, |scaled| {
                let (value, slope) = acquisition.slope(&put(scaled));
                (-value, smooth.iter().map(|&at| -slope.get(at).copied().unwrap_or(0.0) * length(at)).collect())
            });
            x = put(&best);
        }
        if !try_values(acquisition, coordinates, &mut x) {
            break;
        }
    }
    x
}

/// Sets each coordinate with few values to the best of them; whether anything changed.
fn try_values(acquisition: &Acquisition, coordinates: &[Coordinate<'_>], x: &mut [f64]) -> bool {
    let mut changed = false;
    let mut best = acquisition.value(x);
    for (at, coordinate) in coordinates.iter().enumerate() {
        for &value in coordinate.tried.iter().flatten() {
            let Some(old) = x.get_mut(at).filter(|old| **old != value).map(|old| std::mem::replace(old, value)) else {
                continue;
            };
            let promise = acquisition.value(x);
            if promise > best {
                (best, changed) = (promise, true);
            } else if let Some(slot) = x.get_mut(at) {
                *slot = old;
            }
        }
    }
    changed
}

impl Sampler for Gp {
    fn observe(&mut self, _: &StudyView<'_>, _: &Trial) {}

    fn propose(&mut self, view: &StudyView<'_>, number: usize) -> Result<Proposal> {
        let mut rng = view.rng(number);
        let complete = view.trials.iter().filter(|trial| trial.value().is_some()).count();
        let coordinates = Coordinate::all(view);
        if complete < self.settings.startup_trials.max(2) || coordinates.is_empty() {
            return Ok(view.space.draw(&mut rng).into());
        }
        let Some((acquisition, known)) = self.acquisition(view, &coordinates) else {
            return Ok(view.space.draw(&mut rng).into());
        };
        let x = self.maximize(&acquisition, &coordinates, known, &mut rng);
        let values: Params = coordinates
            .iter()
            .zip(x)
            .map(|(c, x)| (c.name, if c.choice { c.space.at(x) } else { c.space.at_unit(x) }))
            .collect();
        let params = view.space.fill(|name, space| match values.get(name) {
            Some(value) => value.clone(),
            None => space.draw(&mut rng),
        });
        Ok(params.into())
    }
}
