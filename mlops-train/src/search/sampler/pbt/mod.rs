//! Population based training.
//!
//! Jaderberg et al., "Population Based Training of Neural Networks" (2017), arXiv:1711.09846. A trial is a *stretch*:
//! one member of the population trained for one generation. Before each further stretch the worst members give up what
//! they learnt and go on from a copy of one of the best (exploit, by truncation), with parameters near those of that
//! one (explore); the others go on as they are. What is copied is the checkpoint of the trial that the attribute
//! `pbt:parent` names; see [`Study::stretch`](crate::search::Study::stretch).
//!
//! Invariant: all state is in the trials. With `synchronous` a stretch is a function of the seed, its member, its
//! generation and the results of the generation before, so it depends neither on how many workers there are nor on how
//! fast they are.

mod explore;
mod roster;

use std::collections::BTreeMap;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::roster::{GENERATION, Lines, MEMBER, PARENT};
pub(crate) use self::roster::{Roster, parent};
use super::{Proposal, Sampler, StudyView};
use crate::{
    params::Params,
    rng::SeededRng,
    search::trial::{Trial, TrialState},
};

/// Settings of population based training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PbtSettings {
    /// Members of the population, 2 to 1,000. Default 10.
    pub population: usize,
    /// Stretches that each member is trained for, 1 to 10,000. Default 10.
    pub generations: usize,
    /// Share of the members that are replaced by copies of as many of the best, in (0, 1/2]; at least one. Default
    /// 0.25.
    pub quantile: f64,
    /// Probability that a parameter of a copy is drawn anew rather than perturbed, in [0, 1]. Default 0.25.
    pub resample: f64,
    /// How far a parameter is perturbed, in (0, 1): numbers whose bounds are above zero are multiplied by one more or
    /// less this, others moved by this share of their range; choices are kept. Default 0.2.
    pub perturbation: f64,
    /// Whether a generation begins after all members have ended the one before. Otherwise a member is compared with the
    /// last results of the others, nobody waits, and what is proposed depends on who was faster. Default true.
    pub synchronous: bool,
}

impl Default for PbtSettings {
    fn default() -> Self {
        Self { population: 10, generations: 10, quantile: 0.25, resample: 0.25, perturbation: 0.2, synchronous: true }
    }
}

impl PbtSettings {
    /// How many members are replaced at a time.
    fn replaced(&self) -> usize {
        let wanted = (self.population as f64 * self.quantile).ceil() as usize;
        wanted.clamp(1, self.population / 2)
    }
}

/// Proposes the stretches of a population.
#[derive(Debug, Clone)]
pub struct Pbt {
    settings: PbtSettings,
    lines: Lines,
}

impl Pbt {
    /// A sampler with these settings.
    ///
    /// # Errors
    /// `InvalidArgument` when one is out of range.
    pub fn new(settings: &PbtSettings) -> Result<Self> {
        let sound = (2..=1_000).contains(&settings.population)
            && (1..=10_000).contains(&settings.generations)
            && settings.quantile > 0.0
            && settings.quantile <= 0.5
            && (0.0..=1.0).contains(&settings.resample)
            && settings.perturbation > 0.0
            && settings.perturbation < 1.0;
        if !sound {
            return Err(Error::invalid_argument(
                "pbt needs a population of 2 to 1000, 1 to 10000 generations, quantile in (0, 0.5], resample in [0, 1] and \
                 perturbation in (0, 1)",
            ));
        }
        Ok(Self { settings: settings.clone(), lines: Lines::new(settings.population) })
    }

    /// The member and the generation to train next: of the earliest generation the first member.
    fn next(&self, roster: &Roster<'_>) -> Result<(usize, usize)> {
        let PbtSettings { population, generations, synchronous, .. } = self.settings;
        let earliest = (0..population)
            .filter(|&member| roster.is_free(member) && roster.begun(member) < generations)
            .min_by_key(|&member| (roster.begun(member), member));
        let Some(member) = earliest else {
            if (0..population).all(|member| roster.is_free(member)) {
                return Err(Error::resource_exhausted(format!(
                    "all {population} members of the population were trained for {generations} generations"
                )));
            }
            return Err(waits());
        };
        let generation = roster.begun(member);
        if synchronous && !(0..population).all(|other| roster.has_ended(other, generation)) {
            return Err(waits());
        }
        Ok((member, generation))
    }

    /// The trial to go on from, and whether it is another member's.
    fn parent<'a>(
        &self,
        view: &StudyView<'_>,
        roster: &Roster<'a>,
        (member, generation): (usize, usize),
        rng: &mut SeededRng,
    ) -> (Option<&'a Trial>, bool) {
        let standing = |of: usize| match self.settings.synchronous {
            true => roster.trial(of, generation - 1),
            false => roster.last_ended(of),
        };
        // Members without a result come last.
        let rank = |trial: Option<&Trial>| match trial.and_then(|trial| Some((trial, view.loss(trial)?))) {
            Some((trial, loss)) => (trial.violation(), loss),
            None => (f64::INFINITY, f64::INFINITY),
        };
        let mut order: Vec<(usize, Option<&Trial>)> =
            (0..self.settings.population).map(|of| (of, standing(of))).collect();
        order.sort_by(|a, b| {
            let (a, b) = (rank(a.1), rank(b.1));
            a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
        });
        let replaced = self.settings.replaced();
        let place = order.iter().position(|(of, _)| *of == member).unwrap_or(0);
        let failed = standing(member).is_none_or(|trial| trial.value().is_none());
        let best: Vec<&Trial> =
            order.iter().take(replaced).filter_map(|(_, trial)| *trial).filter(|t| t.value().is_some()).collect();
        let gives_up = failed || place >= order.len() - replaced;
        match best.get(rng.below(best.len())) {
            Some(trial) if gives_up => (Some(trial), true),
            _ => (roster.last_complete(member), failed),
        }
    }
}

fn waits() -> Error {
    Error::unavailable("every stretch that may begin is being trained; ask again when one of them was told")
}

impl Sampler for Pbt {
    fn observe(&mut self, _: &StudyView<'_>, _: &Trial) {}

    fn propose(&mut self, view: &StudyView<'_>, _: usize) -> Result<Proposal> {
        self.lines.extend(view.trials);
        let roster = Roster::with(&self.lines, view.trials);
        let (member, generation) = self.next(&roster)?;
        let mut rng = view.rng(generation * self.settings.population + member);
        let (parent, changes) = match generation {
            0 => (None, true),
            _ => self.parent(view, &roster, (member, generation), &mut rng),
        };
        let params: Params = match parent {
            None => view.space.draw(&mut rng),
            Some(parent) if changes => explore::near(&self.settings, view.space, &parent.params, &mut rng),
            Some(parent) => parent.params.clone(),
        };
        let mut attributes = BTreeMap::from([
            (MEMBER.to_owned(), Value::from(member)),
            (GENERATION.to_owned(), Value::from(generation)),
        ]);
        attributes.extend(parent.map(|parent| (PARENT.to_owned(), Value::from(parent.number))));
        Ok(Proposal { params, attributes })
    }
}

impl Pbt {
    /// Trials whose checkpoints may still be gone on from: of the generation that others are compared with, the last of
    /// each member, and parents of trials under way.
    pub(crate) fn needed(&self, trials: &[Trial]) -> Vec<usize> {
        let population = self.settings.population;
        let roster = Roster::of(trials, population);
        let begun = (0..population).map(|member| roster.begun(member)).min().unwrap_or(0);
        let mut needed = Vec::new();
        for member in 0..population {
            needed.extend(roster.last_complete(member).map(|trial| trial.number));
            let recent = (begun.saturating_sub(1)..roster.begun(member)).filter_map(|at| roster.trial(member, at));
            needed.extend(recent.filter(|trial| trial.state == TrialState::Complete).map(|trial| trial.number));
        }
        needed.extend(trials.iter().filter(|trial| !trial.state.is_ended()).filter_map(parent));
        needed
    }
}
