//! What makes a study, checked before there is one.

use mlops_core::{Error, Result};
use mlops_metrics::Direction;
use serde::Deserialize;

use super::{Study, TRIALS_MAX, VALUES_MAX};
use crate::search::{
    pruner::PrunerSettings,
    sampler::SamplerSettings,
    space::SearchSpace,
    trial::{Trial, TrialState},
};

/// Collects what makes a [`Study`].
#[derive(Debug, Clone)]
pub struct StudyBuilder {
    name: String,
    space: SearchSpace,
    directions: Vec<Direction>,
    sampler: SamplerSettings,
    pruner: Option<PrunerSettings>,
    seed: u64,
}

impl StudyBuilder {
    pub(super) fn new(space: SearchSpace, directions: Vec<Direction>) -> Self {
        let (sampler, name) = (SamplerSettings::default(), "study".to_owned());
        Self { name, space, directions, sampler, pruner: None, seed: 0 }
    }

    /// Names the study, from 1 to 512 bytes; otherwise `study`.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Chooses parameters this way; otherwise by TPE with its defaults.
    #[must_use]
    pub fn with_sampler(mut self, sampler: SamplerSettings) -> Self {
        self.sampler = sampler;
        self
    }

    /// Stops trials early this way; otherwise none.
    #[must_use]
    pub fn with_pruner(mut self, pruner: PrunerSettings) -> Self {
        self.pruner = Some(pruner);
        self
    }

    /// Draws from this seed; otherwise from zero.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Checks the space, the sampler and the pruner.
    ///
    /// # Errors
    /// `InvalidArgument` naming what is out of range, and for a population with a pruner that pauses trials.
    pub fn build(self) -> Result<Study> {
        self.space.validate()?;
        if !(1..=VALUES_MAX).contains(&self.directions.len()) || !(1..=512).contains(&self.name.len()) {
            return Err(Error::invalid_argument(format!(
                "a study needs from 1 to {VALUES_MAX} objectives and a name of 1 to 512 bytes"
            )));
        }
        self.sampler.build(&self.space, self.directions.len())?;
        if let Some(pruner) = &self.pruner {
            pruner.validate()?;
            if pruner.pauses() && matches!(self.sampler, SamplerSettings::Pbt(_)) {
                return Err(Error::invalid_argument(
                    "a population waits for trials that are paused; give pbt a pruner that stops them for good (`promote` \
                     false)",
                ));
            }
        }
        let Self { name, space, directions, sampler, pruner, seed } = self;
        Ok(Study { name, space, directions, sampler, pruner, seed, trials: Vec::new(), ended: 0, engine: None })
    }
}

/// A stored study before it was checked.
#[derive(Deserialize)]
pub(super) struct Unchecked {
    name: String,
    space: SearchSpace,
    directions: Vec<Direction>,
    sampler: SamplerSettings,
    #[serde(default)]
    pruner: Option<PrunerSettings>,
    seed: u64,
    trials: Vec<Trial>,
}

impl TryFrom<Unchecked> for Study {
    type Error = Error;

    fn try_from(stored: Unchecked) -> Result<Self> {
        let Unchecked { name, space, directions, sampler, pruner, seed, trials } = stored;
        let mut study = StudyBuilder { name, space, directions, sampler, pruner, seed }.build()?;
        let sound = trials.iter().enumerate().all(|(at, trial)| trial.number == at && study.is_sound(trial));
        if !sound || trials.len() > TRIALS_MAX {
            return Err(Error::data_loss(format!(
                "trials of a stored study must be numbered in order, belong to the space, have finite values for all \
                 objectives and be at most {TRIALS_MAX}"
            )));
        }
        study.ended = trials.iter().filter(|trial| trial.state.is_ended()).count();
        study.trials = trials;
        Ok(study)
    }
}

impl Study {
    /// Whether a stored trial may be one of this study.
    pub(crate) fn is_sound(&self, trial: &Trial) -> bool {
        let counted = match trial.state {
            TrialState::Complete => trial.values.len() == self.directions.len(),
            _ => trial.values.is_empty(),
        };
        let mut numbers = trial.values.iter().chain(&trial.constraints).chain(trial.reports.values());
        counted
            && numbers.all(|value| value.is_finite())
            && trial.ended.is_some() == trial.state.is_ended()
            && self.space.contains(&trial.params)
    }
}
