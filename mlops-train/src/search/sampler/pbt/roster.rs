//! Which trial is which member's, read from the trials alone.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::search::trial::{RETRY_OF, Trial};

/// Attributes of a trial: its member, its generation, and the trial whose checkpoint it goes on from.
pub(super) const MEMBER: &str = "pbt:member";
pub(super) const GENERATION: &str = "pbt:generation";
pub(super) const PARENT: &str = "pbt:parent";

/// The trials of each member by generation; of trials that were tried again the last one.
///
/// Trials that a caller enqueued have no attributes: each is the first generation of the next member that has not
/// begun.
#[derive(Debug)]
pub(crate) struct Roster<'a> {
    members: Vec<Vec<&'a Trial>>,
    places: BTreeMap<usize, (usize, usize)>,
}

fn number(trial: &Trial, attribute: &str) -> Option<usize> {
    trial.attributes.get(attribute).and_then(Value::as_u64).and_then(|value| usize::try_from(value).ok())
}

/// The trial that one goes on from.
pub(crate) fn parent(trial: &Trial) -> Option<usize> {
    number(trial, PARENT)
}

impl<'a> Roster<'a> {
    pub(crate) fn of(trials: &'a [Trial], population: usize) -> Self {
        let mut roster = Self { members: vec![Vec::new(); population], places: BTreeMap::new() };
        trials.iter().for_each(|trial| roster.add(trial));
        roster
    }

    fn add(&mut self, trial: &'a Trial) {
        let named = number(trial, MEMBER).zip(number(trial, GENERATION));
        let again = || number(trial, RETRY_OF).and_then(|number| self.places.get(&number).copied());
        let free = || self.members.iter().position(Vec::is_empty).map(|member| (member, 0));
        let Some((member, generation)) = named.or_else(again).or_else(free) else { return };
        let Some(line) = self.members.get_mut(member) else { return };
        if generation > line.len() {
            return;
        }
        line.truncate(generation);
        line.push(trial);
        self.places.insert(trial.number, (member, generation));
    }

    /// Member and generation of a trial.
    pub(crate) fn place(&self, number: usize) -> Option<(usize, usize)> {
        self.places.get(&number).copied()
    }

    /// How many generations of a member have begun.
    pub(super) fn begun(&self, member: usize) -> usize {
        self.members.get(member).map_or(0, Vec::len)
    }

    pub(super) fn trial(&self, member: usize, generation: usize) -> Option<&'a Trial> {
        self.members.get(member)?.get(generation).copied()
    }

    /// Whether no trial of a member is under way.
    pub(super) fn is_free(&self, member: usize) -> bool {
        self.members.get(member).and_then(|line| line.last()).is_none_or(|trial| trial.state.is_ended())
    }

    /// Whether a member has ended all generations before one.
    pub(super) fn has_ended(&self, member: usize, generation: usize) -> bool {
        self.begun(member) > generation || (self.begun(member) == generation && self.is_free(member))
    }

    pub(super) fn last_ended(&self, member: usize) -> Option<&'a Trial> {
        self.members.get(member)?.iter().rfind(|trial| trial.state.is_ended()).copied()
    }

    /// The last trial of a member that has a value, and so a checkpoint.
    pub(super) fn last_complete(&self, member: usize) -> Option<&'a Trial> {
        self.members.get(member)?.iter().rfind(|trial| trial.value().is_some()).copied()
    }
}
