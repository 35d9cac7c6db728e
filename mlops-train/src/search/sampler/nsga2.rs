//! The non-dominated sorting genetic algorithm.
//!
//! Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II" (IEEE TEC 6(2), 2002), with uniform
//! crossover as in Optuna: each parameter comes from either parent, and is drawn anew with a small probability.
//!
//! Invariant: generation `g` is what trials with the attribute `nsga2` equal to `g` are bred from; it is full once as
//! many trials of it have ended as the population holds.

use std::collections::BTreeMap;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Proposal, Sampler, StudyView};
use crate::{
    rng::SeededRng,
    search::{pareto, trial::Trial},
};

const GENERATION: &str = "nsga2";

/// Settings of NSGA-II.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nsga2Settings {
    /// Trials of a generation, 2 to 10,000. Default 50.
    pub population: usize,
    /// Probability that a child has two parents rather than one. Default 0.9.
    pub crossover: f64,
    /// Probability that a parameter of a child with two parents comes from the second. Default 0.5.
    pub swap: f64,
    /// Probability that a parameter is drawn anew; by default one in the number of parameters.
    pub mutation: Option<f64>,
}

impl Default for Nsga2Settings {
    fn default() -> Self {
        Self { population: 50, crossover: 0.9, swap: 0.5, mutation: None }
    }
}

/// Proposes children of the best trials so far.
#[derive(Debug, Clone)]
pub struct Nsga2 {
    settings: Nsga2Settings,
    /// Generation that is being filled, and how many trials of it have ended.
    generation: u64,
    ended: usize,
    /// Numbers of the parents, best first, with front and room.
    parents: Vec<(usize, (usize, f64))>,
    members: Vec<usize>,
}

impl Nsga2 {
    /// A first generation.
    ///
    /// # Errors
    /// `InvalidArgument` when a setting is out of range.
    pub fn new(settings: &Nsga2Settings) -> Result<Self> {
        let share = |value: f64| (0.0..=1.0).contains(&value);
        let shares = share(settings.crossover) && share(settings.swap) && settings.mutation.is_none_or(share);
        if !(2..=10_000).contains(&settings.population) || !shares {
            return Err(Error::invalid_argument(
                "nsga2 needs a population from 2 to 10000 and probabilities within 0 and 1",
            ));
        }
        Ok(Self { settings: settings.clone(), generation: 0, ended: 0, parents: Vec::new(), members: Vec::new() })
    }

    /// The better of two parents drawn at random.
    fn tournament(&self, rng: &mut SeededRng) -> Option<usize> {
        let mut pick = || self.parents.get(rng.below(self.parents.len())).copied();
        let (first, second) = (pick()?, pick()?);
        let better = pareto::by_front_and_room(first.1, second.1).is_le();
        Some(if better { first.0 } else { second.0 })
    }

    /// The next generation's parents: the best of this generation and its parents together.
    fn advance(&mut self, view: &StudyView<'_>) {
        let numbers = self.members.drain(..).chain(self.parents.iter().map(|(number, _)| *number));
        let trials: Vec<&Trial> = numbers.filter_map(|number| view.trials.get(number)).collect();
        let elite = pareto::best(view, &trials, self.settings.population);
        self.parents = pareto::fronts(view, &elite, usize::MAX)
            .into_iter()
            .enumerate()
            .flat_map(|(front, trials)| {
                let rooms = pareto::crowding(view, &trials);
                trials.into_iter().zip(rooms).map(move |(trial, room)| (trial.number, (front, room)))
            })
            .collect();
        self.parents.sort_by_key(|(number, _)| *number);
        self.generation += 1;
        self.ended = 0;
    }
}

impl Sampler for Nsga2 {
    fn observe(&mut self, view: &StudyView<'_>, trial: &Trial) {
        let generation = trial.attributes.get(GENERATION).and_then(Value::as_u64);
        if !trial.state.is_ended() || generation.is_some_and(|generation| generation > self.generation) {
            return;
        }
        if trial.value().is_some() {
            self.members.push(trial.number);
        }
        if generation == Some(self.generation) && trial.value().is_some() {
            self.ended += 1;
        }
        if self.ended >= self.settings.population {
            self.advance(view);
        }
    }

    fn propose(&mut self, view: &StudyView<'_>, number: usize) -> Result<Proposal> {
        let mut rng = view.rng(number);
        let attributes = BTreeMap::from([(GENERATION.to_owned(), Value::from(self.generation))]);
        let (Some(first), Some(second)) = (self.tournament(&mut rng), self.tournament(&mut rng)) else {
            return Ok(Proposal { params: view.space.draw(&mut rng), attributes });
        };
        let second = if rng.uniform() < self.settings.crossover { second } else { first };
        let mutation = self.settings.mutation.unwrap_or(1.0 / view.space.len().max(1) as f64);
        let params = view.space.fill(|name, space| {
            let parent = if rng.uniform() < self.settings.swap { second } else { first };
            let inherited = view.trials.get(parent).and_then(|trial| trial.params.get(name));
            match inherited {
                Some(value) if rng.uniform() >= mutation => value.clone(),
                _ => space.draw(&mut rng),
            }
        });
        Ok(Proposal { params, attributes })
    }
}
