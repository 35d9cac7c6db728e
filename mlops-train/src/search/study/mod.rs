//! A search: its space, its trials, and what to try next.
//!
//! Invariant: the proposal of trial `n` is a function of the seed, `n` and the trials told so far,
//! so a study that is stored and read back goes on as if nothing had happened.

mod builder;
mod engine;

#[cfg(feature = "study-sql")]
use std::collections::BTreeMap;

use mlops_core::{Error, Result};
use mlops_metrics::Direction;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::builder::StudyBuilder;
use self::{builder::Unchecked, engine::Engine};
use super::{
    pareto,
    pruner::{Judgement, PrunerSettings},
    sampler::{Proposal, Sampler, SamplerSettings, StudyView},
    space::SearchSpace,
    trial::{Trial, TrialState},
};
use crate::params::Params;

/// Trials that one study may hold.
pub(crate) const TRIALS_MAX: usize = 100_000;

/// Reports that one trial may have.
const REPORTS_MAX: usize = 100_000;

/// Notes that one trial may have, bytes of a note's name as Optuna stores it at most, and bytes of a note as JSON.
const USER_ATTRIBUTES_MAX: usize = 1_000;
const USER_ATTRIBUTE_NAME_MAX: usize = 512;
const USER_ATTRIBUTE_BYTES_MAX: usize = 64 << 10;

/// Objectives and constraints that one study may have.
pub(crate) const VALUES_MAX: usize = 100;

/// A search over a space; plain data between calls.
///
/// ```
/// use mlops_train::{Direction, SearchSpace, Study};
///
/// let space = SearchSpace::new().with_float("x", -5.0, 5.0);
/// let mut study = Study::builder(space, Direction::Minimize).with_seed(3).build()?;
/// study.optimize(60, |trial| Ok((trial.params.number("x")? - 2.0).powi(2)), |_, _| ())?;
/// let best = study.best().expect("sixty trials are complete");
/// assert!((best.params.number("x")? - 2.0).abs() < 0.3);
///
/// let stored = serde_json::to_string(&study).expect("a study is plain data");
/// let mut resumed: Study = serde_json::from_str(&stored).expect("it reads back");
/// assert_eq!(resumed.ask()?, study.ask()?);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Study {
    name: String,
    space: SearchSpace,
    directions: Vec<Direction>,
    sampler: SamplerSettings,
    #[serde(skip_serializing_if = "Option::is_none")]
    pruner: Option<PrunerSettings>,
    seed: u64,
    trials: Vec<Trial>,
    /// How many trials have ended.
    #[serde(skip)]
    ended: usize,
    /// What the sampler has learnt; rebuilt from the trials when absent.
    #[serde(skip)]
    engine: Option<Engine>,
}

impl Clone for Study {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            space: self.space.clone(),
            directions: self.directions.clone(),
            sampler: self.sampler.clone(),
            pruner: self.pruner.clone(),
            seed: self.seed,
            trials: self.trials.clone(),
            ended: self.ended,
            engine: None,
        }
    }
}

/// Equal settings and trials.
impl PartialEq for Study {
    fn eq(&self, other: &Self) -> bool {
        let key = |s: &Self| (s.name.clone(), s.sampler.clone(), s.pruner.clone(), s.seed, s.directions.clone());
        key(self) == key(other) && self.space == other.space && self.trials == other.trials
    }
}

/// What a trial came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A value for each objective, and how far each constraint is violated (not above zero where it is kept).
    Complete {
        /// Values of the objectives.
        values: Vec<f64>,
        /// Violations of the constraints.
        constraints: Vec<f64>,
    },
    /// It was stopped early.
    Pruned,
    /// It has no value.
    Failed,
}

impl Study {
    /// A study over `space`.
    #[must_use]
    pub fn builder(space: SearchSpace, direction: Direction) -> StudyBuilder {
        StudyBuilder::new(space, vec![direction])
    }

    /// A study over `space` with several objectives.
    ///
    /// ```
    /// use mlops_train::{Direction, SearchSpace, Study, search::Outcome};
    ///
    /// let space = SearchSpace::new().with_float("x", 0.0, 2.0);
    /// let mut study = Study::multi_objective(space, [Direction::Minimize, Direction::Maximize]).build()?;
    /// for _ in 0..20 {
    ///     let trial = study.ask()?;
    ///     let x = trial.params.number("x")?;
    ///     study.tell_outcome(trial.number, Outcome::Complete { values: vec![x, x.sin()], constraints: vec![] })?;
    /// }
    /// assert!(!study.best_trials().is_empty());
    /// # Ok::<(), mlops_core::Error>(())
    /// ```
    #[must_use]
    pub fn multi_objective(space: SearchSpace, directions: impl IntoIterator<Item = Direction>) -> StudyBuilder {
        StudyBuilder::new(space, directions.into_iter().collect())
    }

    /// Proposes the next trial, which counts as running until told. With a pruner that pauses trials this may be one
    /// that has reports already: it goes on after the last of them.
    ///
    /// # Errors
    /// `ResourceExhausted` when the study holds 100,000 trials or its grid or population is used up; `Unavailable` when
    /// a population waits for trials that run.
    pub fn ask(&mut self) -> Result<Trial> {
        if let Some(number) = self.pruner.as_ref().and_then(|pruner| pruner.resumes(&self.view())) {
            return self.change(number, |trial| trial.state = TrialState::Running);
        }
        self.with_engine(|engine, view, bracket, number| engine.propose(view, bracket, number))
            .and_then(|proposal| self.push(proposal))
    }

    /// Proposes the next trial by a sampler of the caller's own, which must have observed all trials.
    ///
    /// # Errors
    /// Those of the sampler; `InvalidArgument` when it proposes what does not belong to the space; as [`Study::ask`].
    pub fn ask_with(&mut self, sampler: &mut dyn Sampler) -> Result<Trial> {
        let proposal = sampler.propose(&self.view(), self.trials.len())?;
        self.check(&proposal.params)?;
        let trial = self.push(proposal)?;
        sampler.observe(&self.view(), &trial);
        Ok(trial)
    }

    /// Adds a trial of the caller's own, such as the parameters in service.
    ///
    /// # Errors
    /// `InvalidArgument` when the parameters do not belong to the space; as [`Study::ask`].
    pub fn enqueue(&mut self, params: Params) -> Result<Trial> {
        self.check(&params)?;
        self.push(params.into())
    }

    fn check(&self, params: &Params) -> Result<()> {
        if self.space.contains(params) {
            return Ok(());
        }
        Err(Error::invalid_argument("parameters of the trial do not belong to the search space"))
    }

    fn push(&mut self, proposal: Proposal) -> Result<Trial> {
        if self.trials.len() >= TRIALS_MAX {
            return Err(Error::resource_exhausted(format!("a study holds at most {TRIALS_MAX} trials")));
        }
        let trial = Trial::begin(self.trials.len(), proposal.params, proposal.attributes);
        self.adopt(trial.clone());
        Ok(trial)
    }

    /// Puts a trial in its place, new or changed, and lets the sampler observe it.
    pub(crate) fn adopt(&mut self, trial: Trial) {
        let number = trial.number;
        let was_ended = self.trials.get(number).is_some_and(|old| old.state.is_ended());
        self.ended += usize::from(trial.state.is_ended() && !was_ended);
        match self.trials.get_mut(number) {
            Some(place) => *place = trial,
            None => self.trials.push(trial),
        }
        let view =
            StudyView { space: &self.space, directions: &self.directions, trials: &self.trials, seed: self.seed };
        if let (Some(engine), Some(trial)) = (self.engine.as_mut(), view.trials.get(number)) {
            engine.observe(&view, bracket(self.pruner.as_ref(), &self.name, number), trial);
        }
    }

    /// The same study before its first trial.
    #[cfg(feature = "study-sql")]
    pub(crate) fn without_trials(&self) -> Self {
        Self { trials: Vec::new(), ended: 0, ..self.clone() }
    }

    /// Begins a trial with the parameters and attributes of another.
    #[cfg(feature = "study-sql")]
    pub(crate) fn repeat(&mut self, params: Params, attributes: BTreeMap<String, Value>) -> Result<Trial> {
        self.push(Proposal { params, attributes })
    }

    /// Adds a trial that another program ended.
    #[cfg(feature = "study-sql")]
    pub(crate) fn adopt_sound(&mut self, trial: Trial) -> Result<()> {
        if trial.number != self.trials.len() || self.trials.len() >= TRIALS_MAX {
            return Err(Error::resource_exhausted(format!("a study holds at most {TRIALS_MAX} trials")));
        }
        // A trial that failed before all its parameters were chosen teaches nothing; its place is kept.
        let trial = match trial.state {
            TrialState::Failed if !self.space.contains(&trial.params) => {
                let params = self.space.fill(|_, param| param.at_unit(0.5));
                Trial { params, ..trial }
            }
            _ => trial,
        };
        if !self.is_sound(&trial) {
            return Err(Error::data_loss(format!("trial {} does not belong to the space of its study", trial.number)));
        }
        self.adopt(trial);
        Ok(())
    }

    /// Takes over trials that others changed, with reports that are new: first those that begin, in the order of their
    /// numbers, then all as they are now, in the order of their ends.
    #[cfg(feature = "study-sql")]
    pub(crate) fn merge(&mut self, trials: &mut [Trial], reports: &[(usize, u64, f64)]) -> Result<()> {
        let damaged = || Error::data_loss(format!("a trial of study {:?} is damaged", self.name));
        for trial in &mut *trials {
            if let Some(old) = self.trials.get(trial.number) {
                trial.reports.clone_from(&old.reports);
            }
        }
        for &(number, step, value) in reports {
            let place = trials.binary_search_by_key(&number, |trial| trial.number).map_err(|_| damaged())?;
            if let Some(trial) = trials.get_mut(place) {
                trial.reports.insert(step, value);
            }
        }
        for trial in &*trials {
            if !self.is_sound(trial) {
                return Err(damaged());
            }
        }
        for trial in &*trials {
            match trial.number.cmp(&self.trials.len()) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => {
                    self.adopt(Trial::begin(trial.number, trial.params.clone(), trial.attributes.clone()));
                }
                std::cmp::Ordering::Greater => {
                    return Err(Error::data_loss(format!("study {:?} lacks trial {}", self.name, self.trials.len())));
                }
            }
        }
        trials.sort_by_key(|trial| (trial.ended.unwrap_or(usize::MAX), trial.number));
        trials.iter().for_each(|trial| self.adopt(trial.clone()));
        Ok(())
    }

    /// Changes a trial and returns it.
    fn change(&mut self, number: usize, change: impl FnOnce(&mut Trial)) -> Result<Trial> {
        let mut trial = self.trial(number)?.clone();
        change(&mut trial);
        self.adopt(trial.clone());
        Ok(trial)
    }

    /// Runs with what the sampler has learnt, which is rebuilt when absent, for the next trial.
    fn with_engine<T>(&mut self, run: impl FnOnce(&mut Engine, &StudyView<'_>, u64, usize) -> Result<T>) -> Result<T> {
        let view =
            StudyView { space: &self.space, directions: &self.directions, trials: &self.trials, seed: self.seed };
        let of = |number| bracket(self.pruner.as_ref(), &self.name, number);
        let engine = match &mut self.engine {
            Some(engine) => engine,
            None => self.engine.insert(Engine::replay(&self.sampler, &view, of)?),
        };
        let number = view.trials.len();
        run(engine, &view, of(number), number)
    }

    fn view(&self) -> StudyView<'_> {
        StudyView { space: &self.space, directions: &self.directions, trials: &self.trials, seed: self.seed }
    }

    fn trial(&self, number: usize) -> Result<&Trial> {
        self.trials.get(number).ok_or_else(|| Error::not_found(format!("study has no trial {number}")))
    }

    /// Reports a value on the way and asks whether to stop: true when the trial should be given up, after which
    /// [`Study::prune`] ends it (a paused one may come back from [`Study::ask`]). A value that is not finite is not
    /// kept, and stops the trial when there is a pruner.
    ///
    /// # Errors
    /// `NotFound` for an unknown number, `FailedPrecondition` when the trial does not run, `ResourceExhausted` beyond
    /// 100,000 reports.
    pub fn report(&mut self, number: usize, step: u64, value: f64) -> Result<bool> {
        let trial = self.trial(number)?;
        if trial.state != TrialState::Running {
            return Err(Error::failed_precondition(format!("trial {number} does not run, its reports are closed")));
        }
        if !value.is_finite() {
            return Ok(self.pruner.is_some());
        }
        if trial.reports.len() >= REPORTS_MAX {
            return Err(Error::resource_exhausted(format!(
                "trial {number} has {REPORTS_MAX} reports, the most it may"
            )));
        }
        let latest = trial.last_report().is_none_or(|(last, _)| step >= last);
        if let Some(trial) = self.trials.get_mut(number) {
            trial.reports.insert(step, value);
        }
        let judgement = match (&self.pruner, self.trials.get(number)) {
            (Some(pruner), Some(trial)) if latest => pruner.judge(&self.view(), &self.name, trial),
            _ => Judgement::Continue,
        };
        if judgement == Judgement::Pause {
            self.change(number, |trial| trial.state = TrialState::Paused)?;
        }
        Ok(judgement != Judgement::Continue)
    }

    /// Notes something about a trial that has not ended, such as the run it was tracked by or its number of trees; it
    /// is kept with the trial and goes to Optuna as a user attribute. A note of the same name is replaced.
    ///
    /// ```
    /// use mlops_train::{Direction, SearchSpace, Study};
    ///
    /// let mut study = Study::builder(SearchSpace::new().with_float("x", 0.0, 1.0), Direction::Minimize).build()?;
    /// let trial = study.ask()?;
    /// study.set_user_attribute(trial.number, "run_id", "7f3a")?;
    /// study.tell(trial.number, 0.5)?;
    /// assert_eq!(study.best().expect("one is complete").user_attributes["run_id"], "7f3a");
    /// # Ok::<(), mlops_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound` for an unknown number, `FailedPrecondition` when the trial has ended, `InvalidArgument` for a name
    /// that is empty or longer than 512 bytes, `ResourceExhausted` beyond 1,000 notes or 64 KiB of one as JSON.
    pub fn set_user_attribute(&mut self, number: usize, name: &str, value: impl Into<Value>) -> Result<()> {
        let (trial, value) = (self.trial(number)?, value.into());
        if trial.state.is_ended() {
            return Err(Error::failed_precondition(format!("trial {number} has ended, its attributes are closed")));
        }
        if !(1..=USER_ATTRIBUTE_NAME_MAX).contains(&name.len()) {
            let expected = format!("the name of a user attribute takes from 1 to {USER_ATTRIBUTE_NAME_MAX} bytes");
            return Err(Error::invalid_argument(format!("{expected}, found {}", name.len())));
        }
        let is_new = !trial.user_attributes.contains_key(name);
        if is_new && trial.user_attributes.len() >= USER_ATTRIBUTES_MAX {
            let fault = format!("trial {number} has {USER_ATTRIBUTES_MAX} user attributes, the most it may");
            return Err(Error::resource_exhausted(fault));
        }
        let bytes = value.to_string().len();
        if bytes > USER_ATTRIBUTE_BYTES_MAX {
            return Err(Error::resource_exhausted(format!(
                "user attribute {name:?} of trial {number} takes {bytes} bytes as JSON, at most \
                 {USER_ATTRIBUTE_BYTES_MAX} are kept; log large values as artifacts"
            )));
        }
        if let Some(trial) = self.trials.get_mut(number) {
            trial.user_attributes.insert(name.to_owned(), value);
        }
        Ok(())
    }

    /// Tells the value of a trial. Telling the same value again changes nothing; a value that is
    /// not finite counts as failure.
    ///
    /// # Errors
    /// `NotFound` for an unknown number, `AlreadyExists` when the trial ended otherwise, `InvalidArgument` when the
    /// study has several objectives.
    pub fn tell(&mut self, number: usize, value: f64) -> Result<()> {
        self.tell_outcome(number, Outcome::Complete { values: vec![value], constraints: Vec::new() })
    }

    /// Tells that a trial has no value.
    ///
    /// # Errors
    /// As [`Study::tell`].
    pub fn fail(&mut self, number: usize) -> Result<()> {
        self.tell_outcome(number, Outcome::Failed)
    }

    /// Tells that a trial was stopped early. A paused trial stays paused.
    ///
    /// # Errors
    /// As [`Study::tell`].
    pub fn prune(&mut self, number: usize) -> Result<()> {
        self.tell_outcome(number, Outcome::Pruned)
    }

    /// Tells what a trial came to. Telling the same again changes nothing; a value or constraint that is not finite
    /// counts as failure.
    ///
    /// # Errors
    /// `NotFound` for an unknown number, `AlreadyExists` when the trial ended otherwise, `InvalidArgument` for a wrong
    /// number of values or more than 100 constraints.
    pub fn tell_outcome(&mut self, number: usize, outcome: Outcome) -> Result<()> {
        let trial = self.trial(number)?;
        let (state, values, constraints) = match outcome {
            Outcome::Pruned if trial.state == TrialState::Paused => return Ok(()),
            Outcome::Pruned => (TrialState::Pruned, Vec::new(), Vec::new()),
            Outcome::Failed => (TrialState::Failed, Vec::new(), Vec::new()),
            Outcome::Complete { values, constraints } => {
                self.check_values(number, &values, &constraints)?;
                let finite = values.iter().chain(&constraints).all(|value| value.is_finite());
                if finite { (TrialState::Complete, values, constraints) } else { (TrialState::Failed, vec![], vec![]) }
            }
        };
        if trial.state.is_ended() {
            let same = trial.state == state && trial.values == values && trial.constraints == constraints;
            let differs = || Error::already_exists(format!("trial {number} has ended with another result"));
            return if same { Ok(()) } else { Err(differs()) };
        }
        let ended = self.ended;
        self.change(number, |trial| {
            (trial.state, trial.values, trial.constraints) = (state, values, constraints);
            trial.ended = Some(ended);
        })?;
        Ok(())
    }

    fn check_values(&self, number: usize, values: &[f64], constraints: &[f64]) -> Result<()> {
        if values.len() != self.directions.len() || constraints.len() > VALUES_MAX {
            return Err(Error::invalid_argument(format!(
                "trial {number} needs {} values and at most {VALUES_MAX} constraints, found {} and {}",
                self.directions.len(),
                values.len(),
                constraints.len()
            )));
        }
        Ok(())
    }

    /// Asks, evaluates and tells `n` times; `after_trial` sees the study and the trial after each.
    ///
    /// # Errors
    /// The first error of the objective, whose trial is kept as failed; as [`Study::ask`].
    pub fn optimize(
        &mut self,
        n: usize,
        mut objective: impl FnMut(&Trial) -> Result<f64>,
        mut after_trial: impl FnMut(&Self, &Trial),
    ) -> Result<()> {
        for _ in 0..n {
            let trial = self.ask()?;
            let outcome = objective(&trial);
            match &outcome {
                Ok(value) => self.tell(trial.number, *value)?,
                Err(_) => self.fail(trial.number)?,
            }
            if let Some(ended) = self.trials.get(trial.number) {
                after_trial(self, ended);
            }
            outcome?;
        }
        Ok(())
    }

    /// The complete and feasible trial with the best value of the first objective, the earliest of equals.
    #[must_use]
    pub fn best(&self) -> Option<&Trial> {
        let view = self.view();
        let complete = self.trials.iter().filter(|trial| trial.is_feasible());
        complete
            .filter_map(|trial| Some((view.loss(trial)?, trial)))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, trial)| trial)
    }

    /// The complete and feasible trials that no other one dominates: as good in every objective and better in one.
    #[must_use]
    pub fn best_trials(&self) -> Vec<&Trial> {
        let feasible: Vec<&Trial> = self.trials.iter().filter(|trial| trial.is_feasible()).collect();
        pareto::fronts(&self.view(), &feasible, 1).into_iter().next().unwrap_or_default()
    }

    /// All trials in order.
    #[must_use]
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// What is searched.
    #[must_use]
    pub fn space(&self) -> &SearchSpace {
        &self.space
    }

    /// Which values of the first objective are better.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.directions.first().copied().unwrap_or(Direction::Minimize)
    }

    /// Which values of each objective are better.
    #[must_use]
    pub fn directions(&self) -> &[Direction] {
        &self.directions
    }

    /// How parameters are chosen.
    #[must_use]
    pub fn sampler(&self) -> &SamplerSettings {
        &self.sampler
    }

    /// The study's name, by which stores and Hyperband know it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Which trials a sampler learns from together.
fn bracket(pruner: Option<&PrunerSettings>, study: &str, number: usize) -> u64 {
    pruner.map_or(0, |pruner| pruner.bracket(study, number))
}

#[cfg(test)]
mod tests {
    use mlops_core::ErrorKind;

    use super::*;
    use crate::search::TpeSettings;

    fn space() -> SearchSpace {
        SearchSpace::new().with_float("x", -5.0, 10.0).with_float("y", 0.0, 15.0)
    }

    /// Branin's function; its minimum is 0.397887.
    fn branin(trial: &Trial) -> Result<f64> {
        use std::f64::consts::PI;
        let (x, y) = (trial.params.number("x")?, trial.params.number("y")?);
        let inner = y - 5.1 / (4.0 * PI * PI) * x * x + 5.0 / PI * x - 6.0;
        Ok(inner * inner + 10.0 * (1.0 - 1.0 / (8.0 * PI)) * x.cos() + 10.0)
    }

    fn best_of(sampler: &SamplerSettings, seed: u64) -> f64 {
        let mut study =
            Study::builder(space(), Direction::Minimize).with_sampler(sampler.clone()).with_seed(seed).build().unwrap();
        study.optimize(60, branin, |_, _| ()).unwrap();
        study.best().unwrap().value().unwrap()
    }

    #[test]
    fn tpe_beats_random_on_branin() {
        let median = |sampler: &SamplerSettings| {
            let mut values: Vec<f64> = (0..21).map(|seed| best_of(sampler, seed)).collect();
            values.sort_by(f64::total_cmp);
            values[10]
        };
        let (tpe, random) = (median(&SamplerSettings::default()), median(&SamplerSettings::Random));
        println!("median best after 60 trials: tpe {tpe}, random {random}");
        assert!(tpe < random && tpe < 0.8, "{tpe} {random}");
    }

    #[test]
    fn a_stored_study_goes_on_as_if_nothing_had_happened() {
        let build = || Study::builder(space(), Direction::Maximize).with_seed(8).build().unwrap();
        let mut whole = build();
        whole.optimize(40, branin, |_, _| ()).unwrap();
        let mut first = build();
        first.optimize(23, branin, |_, _| ()).unwrap();
        let mut second: Study = serde_json::from_str(&serde_json::to_string(&first).unwrap()).unwrap();
        assert_eq!(second, first);
        second.optimize(17, branin, |_, _| ()).unwrap();
        assert_eq!(second, whole);
    }

    #[test]
    fn running_and_failed_trials_leave_the_search_going() {
        let sampler = SamplerSettings::Tpe(TpeSettings { startup_trials: 3, candidates: 8, ..TpeSettings::default() });
        let mut study = Study::builder(space(), Direction::Minimize).with_sampler(sampler).build().unwrap();
        let asked: Vec<Trial> = (0..6).map(|_| study.ask().unwrap()).collect();
        for trial in &asked[..4] {
            study.tell(trial.number, branin(trial).unwrap()).unwrap();
        }
        study.tell(4, f64::NAN).unwrap();
        assert_eq!(study.trials()[4].state, TrialState::Failed);
        let next = study.ask().unwrap();
        assert!(study.space().contains(&next.params));
        study.tell(0, branin(&asked[0]).unwrap()).unwrap();
        assert_eq!(study.tell(0, 1e9).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(study.tell(99, 0.0).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(study.enqueue(Params::new()).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn an_error_of_the_objective_ends_the_loop_and_is_remembered() {
        let mut study = Study::builder(space(), Direction::Minimize).build().unwrap();
        let mut seen = Vec::new();
        let outcome = study.optimize(
            5,
            |trial| if trial.number == 2 { Err(Error::cancelled("stop")) } else { branin(trial) },
            |_, trial| seen.push(trial.state),
        );
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Cancelled);
        assert_eq!((seen.len(), seen[2]), (3, TrialState::Failed));
        assert!(study.best().is_some());
    }

    #[test]
    fn damaged_state_is_refused() {
        let mut study = Study::builder(space(), Direction::Minimize).build().unwrap();
        study.ask().unwrap();
        let json = serde_json::to_string(&study).unwrap();
        assert!(serde_json::from_str::<Study>(&json.replace("\"number\":0", "\"number\":7")).is_err());
        assert!(serde_json::from_str::<Study>(&json.replace("\"high\":10.0", "\"high\":-6.0")).is_err());
    }
}
