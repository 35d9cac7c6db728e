//! The samplers of a study, one for each bracket of its pruner.
//!
//! Invariant: each has observed the trials of its bracket; a replay of the trials gives what watching them gave.

use std::collections::BTreeMap;

use mlops_core::Result;

use crate::search::{
    sampler::{Proposal, Sampler, SamplerSettings, StudyView},
    trial::Trial,
};

#[derive(Debug)]
pub(super) struct Engine {
    settings: SamplerSettings,
    samplers: BTreeMap<u64, Box<dyn Sampler>>,
}

impl Engine {
    /// Samplers that have observed all trials of the view: ended ones in the order of their ends, then the others.
    pub(super) fn replay(
        settings: &SamplerSettings,
        view: &StudyView<'_>,
        bracket: impl Fn(usize) -> u64,
    ) -> Result<Self> {
        let mut engine = Self { settings: settings.clone(), samplers: BTreeMap::new() };
        let mut trials: Vec<&Trial> = view.trials.iter().collect();
        trials.sort_by_key(|trial| (trial.ended.unwrap_or(usize::MAX), trial.number));
        for trial in trials {
            let bracket = bracket(trial.number);
            engine.sampler(view, bracket)?.observe(view, trial);
        }
        Ok(engine)
    }

    fn sampler(&mut self, view: &StudyView<'_>, bracket: u64) -> Result<&mut Box<dyn Sampler>> {
        Ok(match self.samplers.entry(bracket) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(self.settings.build(view.space, view.directions.len())?)
            }
        })
    }

    /// Lets the sampler of the bracket observe a trial.
    pub(super) fn observe(&mut self, view: &StudyView<'_>, bracket: u64, trial: &Trial) {
        // Settings were checked when the study was built, so there is always a sampler.
        if let Ok(sampler) = self.sampler(view, bracket) {
            sampler.observe(view, trial);
        }
    }

    pub(super) fn propose(&mut self, view: &StudyView<'_>, bracket: u64, number: usize) -> Result<Proposal> {
        self.sampler(view, bracket)?.propose(view, number)
    }
}
