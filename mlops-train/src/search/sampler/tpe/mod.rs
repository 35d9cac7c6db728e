//! The tree-structured Parzen estimator: draw from the density of good trials, keep the candidate that is most likelier
//! under it than under the rest.
//!
//! Bergstra et al., "Algorithms for Hyper-Parameter Optimization" (2011), in the form that Optuna 5.0 gives it: joint
//! over the parameters that all trials have, alone for the others; the best `min(ceil(0.1 n), 25)` trials against the
//! rest; trials that still run count among the rest, so that parallel askers spread out. Three things are others by
//! default, because the best values of several hundred seeds are lower with them: kernels of good trials may be
//! narrower, there are more candidates, and the first trials are points of a Sobol sequence. [`TpeSettings::optuna`]
//! has none of them.
//!
//! Densities are kept while trials come: a proposal sums only as many kernels as it takes to tell which candidate wins.

mod axis;
mod choose;
mod exp;
mod normal;
mod parzen;
mod split;
mod widths;

use std::collections::{BTreeMap, BTreeSet};

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use self::{
    choose::choose,
    parzen::{Ages, Parzen},
    split::Ranking,
};
use super::{Proposal, Qmc, Sampler, StudyView};
use crate::{
    params::{ParamValue, Params},
    rng::SeededRng,
    search::{
        space::{ParamSpace, SearchSpace},
        trial::{Trial, TrialState},
    },
};

/// Settings of the tree-structured Parzen estimator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TpeSettings {
    /// Ended trials before which parameters are drawn evenly. Default 10.
    pub startup_trials: usize,
    /// Whether these first trials are points of a scrambled Sobol sequence, as far as it has dimensions, instead of
    /// random ones. Default true.
    pub startup_sobol: bool,
    /// Candidates drawn per proposal, 1 to 10,000. Default 64; of more than a thousand ended trials fewer, in inverse
    /// proportion but at least 24 (or this number when it is less), so that the time of a proposal grows no further.
    pub candidates: usize,
    /// Least width of the kernels of good trials in shares of the least that Optuna allows, 0.01 to 1.
    /// Default 0.35.
    pub good_width: f64,
    /// Whether parameters are drawn jointly; by default for one objective only.
    pub multivariate: Option<bool>,
    /// Whether parameters that depend on others are drawn jointly among those that occur together. Default false.
    pub group: bool,
    /// Whether trials that still run count among the rest. Default true.
    pub constant_liar: bool,
}

impl Default for TpeSettings {
    fn default() -> Self {
        Self {
            startup_trials: 10,
            startup_sobol: true,
            candidates: 64,
            good_width: 0.35,
            multivariate: None,
            group: false,
            constant_liar: true,
        }
    }
}

impl TpeSettings {
    /// The defaults of Optuna 5.0's `TPESampler`, whose proposals have the same distribution.
    #[must_use]
    pub fn optuna() -> Self {
        Self { startup_sobol: false, candidates: FEWEST, good_width: 1.0, ..Self::default() }
    }

    /// Candidates of a proposal that learns from `ended` trials.
    fn candidates_after(&self, ended: usize) -> usize {
        let fewer = self.candidates * MANY / ended.max(MANY);
        fewer.max(FEWEST.min(self.candidates))
    }
}

/// Candidates of Optuna, below which no number is lowered.
const FEWEST: usize = 24;
/// Ended trials above which candidates become fewer.
const MANY: usize = 1_000;

/// Parameters that are drawn together, with the two densities over them.
#[derive(Debug, Clone)]
struct Estimator {
    names: Vec<String>,
    good: Parzen,
    rest: Parzen,
}

/// Proposes by the tree-structured Parzen estimator.
#[derive(Debug, Clone)]
pub struct Tpe {
    settings: TpeSettings,
    sobol: Option<Qmc>,
    multivariate: bool,
    several: bool,
    /// With several objectives: whether the sides are those of all ended trials, and the good ones when they were.
    divided: bool,
    good: BTreeSet<usize>,
    ranking: Ranking,
    /// Trials in the densities, with whether they are good.
    sides: BTreeMap<usize, bool>,
    /// Sets of names drawn jointly: the intersection of all ended trials' parameters, or groups.
    joint: Option<Vec<BTreeSet<String>>>,
    estimators: BTreeMap<Vec<String>, Estimator>,
}

impl Tpe {
    /// An estimator that has seen nothing, for one or several objectives.
    ///
    /// # Errors
    /// `InvalidArgument` when candidates or the least width are out of range.
    pub fn new(settings: &TpeSettings, space: &SearchSpace, objectives: usize) -> Result<Self> {
        if !(1..=10_000).contains(&settings.candidates) {
            let found = settings.candidates;
            return Err(Error::invalid_argument(format!("candidates must be from 1 to 10000, found {found}")));
        }
        // Below, single precision no longer tells candidates apart.
        if !(0.01..=1.0).contains(&settings.good_width) {
            let found = settings.good_width;
            return Err(Error::invalid_argument(format!("good_width must be from 0.01 to 1, found {found}")));
        }
        Ok(Self {
            // More parameters than the sequence has dimensions are drawn at random.
            sobol: Some(space).filter(|_| settings.startup_sobol).and_then(|space| Qmc::new(space).ok()),
            multivariate: settings.multivariate.unwrap_or(settings.group || objectives == 1),
            several: objectives > 1,
            divided: false,
            good: BTreeSet::new(),
            settings: settings.clone(),
            ranking: Ranking::default(),
            sides: BTreeMap::new(),
            joint: None,
            estimators: BTreeMap::new(),
        })
    }

    /// Whether there are enough trials to learn from.
    pub(crate) fn is_ready(&self) -> bool {
        self.ranking.len() >= self.settings.startup_trials.max(1)
    }

    /// A value for one parameter, learnt from that parameter alone.
    pub(crate) fn draw_one(&mut self, view: &StudyView<'_>, name: &str, rng: &mut SeededRng) -> Option<ParamValue> {
        let names = vec![name.to_owned()];
        let point = self.draw(view, names, rng)?;
        Some(view.space.get(name)?.at(*point.first()?))
    }

    fn draw(&mut self, view: &StudyView<'_>, names: Vec<String>, rng: &mut SeededRng) -> Option<Vec<f64>> {
        let spaces: Option<Vec<&ParamSpace>> = names.iter().map(|name| view.space.get(name)).collect();
        let spaces = spaces?;
        let ages = if self.several { Ages::Equal } else { Ages::Fade };
        let sides = &self.sides;
        let estimator = self.estimators.entry(names.clone()).or_insert_with(|| {
            let good = Parzen::new(&spaces, ages, self.settings.good_width);
            let mut fresh = Estimator { good, rest: Parzen::new(&spaces, Ages::Fade, 1.0), names };
            for (&number, &good) in sides {
                fresh.place(view, number, Some(good));
            }
            fresh
        });
        let candidates = self.settings.candidates_after(self.ranking.len());
        Some(choose(&mut estimator.good, &mut estimator.rest, &spaces, candidates, rng))
    }

    /// Puts a trial on a side, or takes it out of the densities.
    fn place(&mut self, view: &StudyView<'_>, number: usize, good: Option<bool>) {
        if self.sides.get(&number).copied() == good {
            return;
        }
        match good {
            Some(good) => drop(self.sides.insert(number, good)),
            None => drop(self.sides.remove(&number)),
        }
        for estimator in self.estimators.values_mut() {
            estimator.place(view, number, good);
        }
    }

    /// Narrows the sets of names that are drawn jointly by the names of an ended trial.
    fn narrow(&mut self, space: &SearchSpace, params: &Params) {
        let free = |name: &&str| space.get(name).is_some_and(|param| !param.is_single());
        let names: BTreeSet<String> = params.iter().map(|(name, _)| name).filter(free).map(str::to_owned).collect();
        let narrowed = match (&self.joint, self.settings.group) {
            (None, _) => vec![names],
            (Some(joint), false) => joint.iter().map(|set| set.intersection(&names).cloned().collect()).collect(),
            (Some(joint), true) => divide(joint, names),
        };
        if self.joint.as_ref() != Some(&narrowed) {
            self.joint = Some(narrowed);
            self.estimators.clear();
        }
    }

    /// With several objectives, sides follow from all trials together.
    fn divide_all(&mut self, view: &StudyView<'_>) {
        let good = split::good_of_several(view, &self.ranking);
        let before = std::mem::replace(&mut self.good, good.clone());
        // Trials that ended since are among the rest.
        before.difference(&good).for_each(|&number| self.place(view, number, Some(false)));
        good.into_iter().for_each(|number| self.place(view, number, Some(true)));
    }
}

/// Splits sets by the names that occur together with others, as `_SearchSpaceGroup` does.
fn divide(sets: &[BTreeSet<String>], mut names: BTreeSet<String>) -> Vec<BTreeSet<String>> {
    let mut divided = Vec::new();
    for set in sets {
        divided.push(set.intersection(&names).cloned().collect());
        divided.push(set.difference(&names).cloned().collect());
        names = names.difference(set).cloned().collect();
    }
    divided.push(names);
    divided.retain(|set: &BTreeSet<String>| !set.is_empty());
    divided.sort_unstable();
    divided
}

impl Estimator {
    fn place(&mut self, view: &StudyView<'_>, number: usize, good: Option<bool>) {
        let Some(trial) = view.trials.get(number) else { return };
        let point = |name: &String| view.space.get(name)?.point(trial.params.get(name)?);
        let Some(point) = self.names.iter().map(point).collect::<Option<Vec<f64>>>() else { return };
        if good != Some(true) {
            self.good.remove(number);
        }
        if good != Some(false) {
            self.rest.remove(number);
        }
        match good {
            Some(true) => self.good.insert(number, &point),
            Some(false) => self.rest.insert(number, &point),
            None => {}
        }
    }
}

impl Sampler for Tpe {
    fn observe(&mut self, view: &StudyView<'_>, trial: &Trial) {
        // What runs is on neither side of the division.
        self.divided &= trial.state == TrialState::Running;
        match trial.state {
            TrialState::Failed => self.place(view, trial.number, None),
            TrialState::Running if self.settings.constant_liar => self.place(view, trial.number, Some(false)),
            TrialState::Running => {}
            TrialState::Complete | TrialState::Pruned | TrialState::Paused => {
                self.narrow(view.space, &trial.params);
                for (number, good) in self.ranking.insert(view, trial) {
                    self.place(view, number, Some(good && !self.several));
                }
            }
        }
    }

    fn propose(&mut self, view: &StudyView<'_>, number: usize) -> Result<Proposal> {
        let mut rng = view.rng(number);
        if !self.is_ready() {
            return match &mut self.sobol {
                Some(sobol) => sobol.propose(view, number),
                None => Ok(view.space.draw(&mut rng).into()),
            };
        }
        if self.several && !self.divided {
            self.divide_all(view);
            self.divided = true;
        }
        let mut values = BTreeMap::new();
        let mut sets = if self.multivariate { self.joint.clone().unwrap_or_default() } else { Vec::new() };
        let params = view.space.fill(|name, space| {
            // A set is drawn where one of its parameters exists: of groups most need not be.
            if let Some(place) = sets.iter().position(|set| set.contains(name)) {
                let names: Vec<String> = sets.swap_remove(place).into_iter().collect();
                if let Some(point) = self.draw(view, names.clone(), &mut rng) {
                    values.extend(names.into_iter().zip(point));
                }
            }
            match values.get(name) {
                Some(&point) => space.at(point),
                None if space.is_single() => space.at_unit(0.5),
                None => self.draw_one(view, name, &mut rng).unwrap_or_else(|| space.draw(&mut rng)),
            }
        });
        Ok(params.into())
    }
}
