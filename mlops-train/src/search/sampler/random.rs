//! Every value alike, every trial alone.

use mlops_core::Result;

use super::{Proposal, Sampler, StudyView};
use crate::search::trial::Trial;

/// Draws each parameter evenly.
#[derive(Debug, Clone, Copy, Default)]
pub struct Random;

impl Sampler for Random {
    fn observe(&mut self, _: &StudyView<'_>, _: &Trial) {}

    fn propose(&mut self, view: &StudyView<'_>, number: usize) -> Result<Proposal> {
        Ok(view.space.draw(&mut view.rng(number)).into())
    }
}
