//! A search: its space, its trials, and what to try next.
//!
//! Invariant: the proposal of trial `n` is a function of the seed, `n` and the trials told so far,
//! so a study that is stored and read back goes on as if nothing had happened.

use mlops_core::{Error, Result};
use mlops_metrics::Direction;
use serde::{Deserialize, Serialize};

use super::{sampler::Sampler, space::SearchSpace, tpe};
use crate::{params::Params, rng::SeededRng};

/// Trials that one study may hold.
const TRIALS_MAX: usize = 100_000;

/// What became of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TrialState {
    /// Asked for and not told yet.
    Running,
    /// Told a value.
    Complete {
        /// The value of the objective.
        value: f64,
    },
    /// Ended without a value; proposals ignore it.
    Failed,
}

/// One set of parameters and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Its number, counting from zero.
    pub number: usize,
    /// What to try.
    pub params: Params,
    /// What became of it.
    #[serde(flatten)]
    pub state: TrialState,
}

impl Trial {
    /// The value, once complete.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        match self.state {
            TrialState::Complete { value } => Some(value),
            TrialState::Running | TrialState::Failed => None,
        }
    }
}

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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Study {
    space: SearchSpace,
    direction: Direction,
    sampler: Sampler,
    seed: u64,
    trials: Vec<Trial>,
}

#[derive(Deserialize)]
struct Unchecked {
    space: SearchSpace,
    direction: Direction,
    sampler: Sampler,
    seed: u64,
    trials: Vec<Trial>,
}

impl TryFrom<Unchecked> for Study {
    type Error = Error;

    fn try_from(stored: Unchecked) -> Result<Self> {
        let Unchecked { space, direction, sampler, seed, trials } = stored;
        let mut study = Study::builder(space, direction).with_sampler(sampler).with_seed(seed).build()?;
        let numbered = trials.iter().enumerate().all(|(at, trial)| trial.number == at);
        let finite = trials.iter().filter_map(Trial::value).all(f64::is_finite);
        if !numbered || !finite || trials.len() > TRIALS_MAX {
            return Err(Error::data_loss(format!(
                "trials of a stored study must be numbered in order, have finite values and be at most {TRIALS_MAX}"
            )));
        }
        study.trials = trials;
        Ok(study)
    }
}

/// Collects what makes a [`Study`].
#[derive(Debug, Clone)]
pub struct StudyBuilder {
    space: SearchSpace,
    direction: Direction,
    sampler: Sampler,
    seed: u64,
}

impl StudyBuilder {
    /// Chooses parameters this way; otherwise by TPE with its defaults.
    #[must_use]
    pub fn with_sampler(mut self, sampler: Sampler) -> Self {
        self.sampler = sampler;
        self
    }

    /// Draws from this seed; otherwise from zero.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Checks the space and the sampler.
    ///
    /// # Errors
    /// `InvalidArgument` naming what is out of range.
    pub fn build(self) -> Result<Study> {
        self.space.validate()?;
        self.sampler.validate()?;
        let Self { space, direction, sampler, seed } = self;
        Ok(Study { space, direction, sampler, seed, trials: Vec::new() })
    }
}

impl Study {
    /// A study over `space`.
    #[must_use]
    pub fn builder(space: SearchSpace, direction: Direction) -> StudyBuilder {
        StudyBuilder { space, direction, sampler: Sampler::default(), seed: 0 }
    }

    /// Proposes the next trial, which counts as running until told.
    ///
    /// # Errors
    /// `ResourceExhausted` when the study holds 100,000 trials.
    pub fn ask(&mut self) -> Result<Trial> {
        let number = self.trials.len();
        let mut rng = SeededRng::new(self.seed, 10 + number as u64);
        let params = match &self.sampler {
            Sampler::Random => self.space.draw(&mut rng),
            Sampler::Tpe(settings) => tpe::propose(&self.space, self.direction, &self.trials, settings, &mut rng),
        };
        self.push(params)
    }

    /// Adds a trial of the caller's own, such as the parameters in service.
    ///
    /// # Errors
    /// `InvalidArgument` when the parameters do not belong to the space; as [`Study::ask`].
    pub fn enqueue(&mut self, params: Params) -> Result<Trial> {
        if !self.space.contains(&params) {
            return Err(Error::invalid_argument("parameters of the trial do not belong to the search space"));
        }
        self.push(params)
    }

    fn push(&mut self, params: Params) -> Result<Trial> {
        if self.trials.len() >= TRIALS_MAX {
            return Err(Error::resource_exhausted(format!("a study holds at most {TRIALS_MAX} trials")));
        }
        let trial = Trial { number: self.trials.len(), params, state: TrialState::Running };
        self.trials.push(trial.clone());
        Ok(trial)
    }

    /// Tells the value of a trial. Telling the same value again changes nothing; a value that is
    /// not finite counts as failure.
    ///
    /// # Errors
    /// `NotFound` for an unknown number, `AlreadyExists` when the trial ended otherwise.
    pub fn tell(&mut self, number: usize, value: f64) -> Result<()> {
        let state = if value.is_finite() { TrialState::Complete { value } } else { TrialState::Failed };
        self.end(number, state)
    }

    /// Tells that a trial has no value.
    ///
    /// # Errors
    /// As [`Study::tell`].
    pub fn fail(&mut self, number: usize) -> Result<()> {
        self.end(number, TrialState::Failed)
    }

    fn end(&mut self, number: usize, state: TrialState) -> Result<()> {
        let Some(trial) = self.trials.get_mut(number) else {
            return Err(Error::not_found(format!("study has no trial {number}")));
        };
        if trial.state != TrialState::Running && trial.state != state {
            return Err(Error::already_exists(format!("trial {number} has ended with another result")));
        }
        trial.state = state;
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

    /// The complete trial with the best value, the earliest of equals.
    #[must_use]
    pub fn best(&self) -> Option<&Trial> {
        let complete = self.trials.iter().filter_map(|trial| Some((self.direction.loss(trial.value()?), trial)));
        complete.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, trial)| trial)
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

    /// Which values are better.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }
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

    fn best_of(sampler: &Sampler, seed: u64) -> f64 {
        let mut study =
            Study::builder(space(), Direction::Minimize).with_sampler(sampler.clone()).with_seed(seed).build().unwrap();
        study.optimize(60, branin, |_, _| ()).unwrap();
        study.best().unwrap().value().unwrap()
    }

    #[test]
    fn tpe_beats_random_on_branin() {
        let median = |sampler: &Sampler| {
            let mut values: Vec<f64> = (0..21).map(|seed| best_of(sampler, seed)).collect();
            values.sort_by(f64::total_cmp);
            values[10]
        };
        let (tpe, random) = (median(&Sampler::default()), median(&Sampler::Random));
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
        let sampler = Sampler::Tpe(TpeSettings { startup_trials: 3, candidates: 8 });
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
