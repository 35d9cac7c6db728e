//! Covariance matrix adaptation with margin for the numbers; choices and parameters that depend on others are learnt
//! one by one with the tree-structured Parzen estimator.
//!
//! Invariant: the state is what the trials with the attribute `cmaes:generation` made of it in the order of their ends.

mod eigen;
mod evolution;
mod margin;

use std::collections::BTreeMap;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::{evolution::Evolution, margin::Margin};
use super::{Proposal, Sampler, StudyView, Tpe, TpeSettings};
use crate::{
    params::Params,
    rng::SeededRng,
    search::{
        space::{ParamSpace, SearchSpace},
        trial::Trial,
    },
};

const GENERATION: &str = "cmaes:generation";
const POINT: &str = "cmaes:point";

/// Settings of the evolution strategy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CmaEsSettings {
    /// Trials of a generation, 4 to 10,000; by default `4 + 3 ln(dimensions)`.
    pub population: Option<usize>,
    /// First standard deviation as a share of each range. Default a sixth.
    pub sigma: f64,
}

impl Default for CmaEsSettings {
    fn default() -> Self {
        Self { population: None, sigma: 1.0 / 6.0 }
    }
}

/// Proposes by covariance matrix adaptation.
#[derive(Debug, Clone)]
pub struct CmaEs {
    names: Vec<String>,
    strategy: Option<(Evolution, Margin)>,
    /// Points of the generation's trials that are complete, with violation and loss.
    told: Vec<(f64, f64, Vec<f64>)>,
    others: Tpe,
}

impl CmaEs {
    /// A strategy that starts in the middle of a space.
    ///
    /// # Errors
    /// `InvalidArgument` when a setting is out of range.
    pub fn new(settings: &CmaEsSettings, space: &SearchSpace) -> Result<Self> {
        let sized = settings.population.is_none_or(|population| (4..=10_000).contains(&population));
        if !sized || !(1e-8..=10.0).contains(&settings.sigma) {
            return Err(Error::invalid_argument("cmaes needs a population from 4 to 10000 and sigma from 1e-8 to 10"));
        }
        let numbers: Vec<(&str, &ParamSpace)> = space
            .iter()
            .filter(|(name, param)| param.range().is_some() && !param.is_single() && space.condition(name).is_none())
            .collect();
        let dimension = numbers.len();
        let strategy = (dimension > 0).then(|| {
            let usual = 4 + (3.0 * (dimension as f64).ln()).floor() as usize;
            let population = settings.population.unwrap_or(usual);
            let counts = numbers.iter().map(|(_, param)| param.count().filter(|_| is_even(param))).collect();
            let evolution = Evolution::new(vec![0.5; dimension], settings.sigma, population);
            (evolution, Margin::new(counts, population))
        });
        let names = numbers.into_iter().map(|(name, _)| name.to_owned()).collect();
        Ok(Self { names, strategy, told: Vec::new(), others: Tpe::new(&TpeSettings::optuna(), space, 1)? })
    }

    /// A vector of the strategy whose smooth coordinates lie in [0, 1], and the same on the steps.
    fn draw(&self, rng: &mut SeededRng) -> Option<(Vec<f64>, Vec<f64>)> {
        let (evolution, margin) = self.strategy.as_ref()?;
        let inside = |x: &[f64]| x.iter().enumerate().all(|(at, x)| !margin.is_smooth(at) || (0.0..=1.0).contains(x));
        let mut x = evolution.draw(rng);
        for _ in 0..10 * evolution.dimension {
            if inside(&x) {
                break;
            }
            x = evolution.draw(rng);
        }
        for (at, x) in x.iter_mut().enumerate() {
            if margin.is_smooth(at) {
                *x = x.clamp(0.0, 1.0);
            }
        }
        let encoded = margin.encode(&x, &evolution.mean);
        Some((x, encoded))
    }
}

/// Whether steps are even on the axis; those of logarithms are not and count as smooth.
fn is_even(param: &ParamSpace) -> bool {
    param.range().is_some_and(|range| !range.log)
}

/// The value at a coordinate: steps from the first to the last, else places in the interval.
fn value_at(param: &ParamSpace, coordinate: f64) -> crate::params::ParamValue {
    match param.range().filter(|range| range.step.is_some() && !range.log) {
        Some(range) => param.at(range.low + (range.high - range.low) * coordinate),
        None => param.at_unit(coordinate),
    }
}

impl Sampler for CmaEs {
    fn observe(&mut self, view: &StudyView<'_>, trial: &Trial) {
        self.others.observe(view, trial);
        let Some((evolution, margin)) = self.strategy.as_mut() else { return };
        let (Some(loss), Some(generation)) = (view.loss(trial), trial.attributes.get(GENERATION)) else { return };
        let point: Option<Vec<f64>> = trial
            .attributes
            .get(POINT)
            .and_then(Value::as_array)
            .and_then(|point| point.iter().map(Value::as_f64).collect());
        let point = point.filter(|point| point.len() == evolution.dimension);
        let (Some(point), true) = (point, generation.as_u64() == Some(evolution.generation)) else { return };
        self.told.push((trial.violation(), loss, point));
        if self.told.len() < evolution.population {
            return;
        }
        self.told.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let best_first: Vec<Vec<f64>> = self.told.drain(..).map(|(_, _, point)| point).collect();
        evolution.learn(&best_first);
        margin.correct(evolution);
    }

    fn propose(&mut self, view: &StudyView<'_>, number: usize) -> Result<Proposal> {
        let mut rng = view.rng(number);
        let mut attributes = BTreeMap::new();
        let mut fixed = Params::new();
        if let (Some((x, encoded)), Some((evolution, _))) = (self.draw(&mut rng), &self.strategy) {
            attributes.insert(GENERATION.to_owned(), Value::from(evolution.generation));
            attributes.insert(POINT.to_owned(), Value::from(x));
            for (name, coordinate) in self.names.iter().zip(encoded) {
                if let Some(param) = view.space.get(name) {
                    fixed.insert(name.clone(), value_at(param, coordinate));
                }
            }
        }
        let ready = self.others.is_ready();
        let params = view.space.fill(|name, space| match fixed.get(name) {
            Some(value) => value.clone(),
            None if ready && !space.is_single() => {
                self.others.draw_one(view, name, &mut rng).unwrap_or_else(|| space.draw(&mut rng))
            }
            None => space.draw(&mut rng),
        });
        Ok(Proposal { params, attributes })
    }
}
