//! Which trial is which member's, read from the trials alone.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::Value;

use crate::search::trial::{RETRY_OF, Trial};

/// Attributes of a trial: its member, its generation, and the trial whose checkpoint it goes on from.
pub(super) const MEMBER: &str = "pbt:member";
pub(super) const GENERATION: &str = "pbt:generation";
pub(super) const PARENT: &str = "pbt:parent";

/// The numbers of each member's trials by generation; of trials that were tried again the last one.
///
/// Trials that a caller enqueued have no attributes: each is the first generation of the next member that has not
/// begun.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    members: Vec<Vec<usize>>,
    places: BTreeMap<usize, (usize, usize)>,
    /// How many trials were looked at.
    seen: usize,
}

/// The lines together with the trials they are of.
#[derive(Debug)]
pub(crate) struct Roster<'a> {
    lines: Cow<'a, Lines>,
    trials: &'a [Trial],
}

fn number(trial: &Trial, attribute: &str) -> Option<usize> {
    trial.attributes.get(attribute).and_then(Value::as_u64).and_then(|value| usize::try_from(value).ok())
}

/// The trial that one goes on from.
pub(crate) fn parent(trial: &Trial) -> Option<usize> {
    number(trial, PARENT)
}

impl Lines {
    pub(super) fn new(population: usize) -> Self {
        Self { members: vec![Vec::new(); population], places: BTreeMap::new(), seen: 0 }
    }

    /// Takes notice of trials that are new.
    pub(super) fn extend(&mut self, trials: &[Trial]) {
        trials.iter().skip(self.seen).for_each(|trial| self.add(trial));
        self.seen = trials.len();
    }

    fn add(&mut self, trial: &Trial) {
        let named = number(trial, MEMBER).zip(number(trial, GENERATION));
        let again = || number(trial, RETRY_OF).and_then(|number| self.places.get(&number).copied());
        let free = || self.members.iter().position(Vec::is_empty).map(|member| (member, 0));
        let Some((member, generation)) = named.or_else(again).or_else(free) else { return };
        let Some(line) = self.members.get_mut(member) else { return };
        if generation > line.len() {
            return;
        }
        line.truncate(generation);
        line.push(trial.number);
        self.places.insert(trial.number, (member, generation));
    }
}

impl<'a> Roster<'a> {
    pub(crate) fn of(trials: &'a [Trial], population: usize) -> Self {
        let mut lines = Lines::new(population);
        lines.extend(trials);
        Self { lines: Cow::Owned(lines), trials }
    }

    /// With lines that have seen all of the trials.
    pub(super) fn with(lines: &'a Lines, trials: &'a [Trial]) -> Self {
        Self { lines: Cow::Borrowed(lines), trials }
    }

    fn line(&self, member: usize) -> impl DoubleEndedIterator<Item = &'a Trial> {
        let numbers = self.lines.members.get(member).map(Vec::as_slice).unwrap_or_default();
        numbers.iter().filter_map(|&number| self.trials.get(number))
    }

    /// Member and generation of a trial.
    pub(crate) fn place(&self, number: usize) -> Option<(usize, usize)> {
        self.lines.places.get(&number).copied()
    }

    /// How many generations of a member have begun.
    pub(super) fn begun(&self, member: usize) -> usize {
        self.lines.members.get(member).map_or(0, Vec::len)
    }

    pub(super) fn trial(&self, member: usize, generation: usize) -> Option<&'a Trial> {
        self.trials.get(*self.lines.members.get(member)?.get(generation)?)
    }

    /// Whether no trial of a member is under way.
    pub(super) fn is_free(&self, member: usize) -> bool {
        self.line(member).next_back().is_none_or(|trial| trial.state.is_ended())
    }

    /// Whether a member has ended all generations before one.
    pub(super) fn has_ended(&self, member: usize, generation: usize) -> bool {
        self.begun(member) > generation || (self.begun(member) == generation && self.is_free(member))
    }

    pub(super) fn last_ended(&self, member: usize) -> Option<&'a Trial> {
        self.line(member).rfind(|trial| trial.state.is_ended())
    }

    /// The last trial of a member that has a value, and so a checkpoint.
    pub(super) fn last_complete(&self, member: usize) -> Option<&'a Trial> {
        self.line(member).rfind(|trial| trial.value().is_some())
    }
}
