//! What a worker needs to train the stretches that [`Pbt`](super::Pbt) proposes: which member a trial is of, and the
//! directories of checkpoints.

use std::{collections::BTreeSet, path::PathBuf};

use mlops_core::{Error, Result};

use super::{
    sampler::{Pbt, Roster, SamplerSettings, stretch_parent},
    study::Study,
};
use crate::checkpoint::Checkpoints;

/// One member of a population in one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Stretch {
    /// The member, from zero.
    pub member: usize,
    /// The generation, from zero.
    pub generation: usize,
    /// The trial whose checkpoint training goes on from; it begins anew when there is none.
    pub parent: Option<usize>,
    /// How many stretches the parent's checkpoint has behind it. Without `synchronous`, or after failures, that may be
    /// more or fewer than `generation`.
    pub trained: usize,
}

impl Study {
    /// Which stretch of a population's training a trial is; none for unknown trials and other samplers.
    #[must_use]
    pub fn stretch(&self, number: usize) -> Option<Stretch> {
        let SamplerSettings::Pbt(settings) = self.sampler() else { return None };
        let (member, generation) = Roster::of(self.trials(), settings.population).place(number)?;
        let parent_of = |number: usize| {
            let parent = self.trials().get(number).and_then(stretch_parent);
            // Stored trials may say anything; this way the line has an end.
            parent.filter(|parent| *parent < number)
        };
        let trained = std::iter::successors(parent_of(number), |number| parent_of(*number)).count();
        Some(Stretch { member, generation, parent: parent_of(number), trained })
    }
}

/// Where the checkpoints of a population lie: a directory for each trial in one that all workers reach.
///
/// Where rows are held out by chance, seed and share must be those of the other fit: train all members with one seed,
/// and keep
/// `validation_share` and whether to stop early out of the space.
///
/// ```
/// use mlops_train::{
///     Direction, FitContext, MlpSettings, MlpTrainer, SamplerSettings, SearchSpace, Study, TableDataset,
///     search::{PbtSettings, Population},
/// };
/// # use std::sync::Arc;
/// # use mlops_core::arrow_array::{ArrayRef, Float64Array, RecordBatch};
/// # let x: Vec<f64> = (0..200).map(|i| f64::from(i % 40) / 40.0).collect();
/// # let y: Vec<f64> = x.iter().map(|x| 2.0 * x).collect();
/// # let batch = RecordBatch::try_from_iter([
/// #     ("x", Arc::new(Float64Array::from(x)) as ArrayRef), ("y", Arc::new(Float64Array::from(y)) as ArrayRef),
/// # ])?;
/// # let data = TableDataset::regression(batch, "y").build()?;
/// # let home = tempfile::tempdir().expect("a directory");
/// let space = SearchSpace::new().with_log_float("learning_rate", 1e-4, 0.1);
/// let pbt = SamplerSettings::Pbt(PbtSettings { population: 4, generations: 3, ..PbtSettings::default() });
/// let mut study = Study::builder(space, Direction::Minimize).with_sampler(pbt).build()?;
/// let population = Population::new(home.path());
/// for _ in 0..4 * 3 {
///     let trial = study.ask()?;
///     let trained = study.stretch(trial.number).expect("a population").trained;
///     let mut settings: MlpSettings = trial.params.to_settings()?;
///     (settings.training.epochs, settings.hidden_layers) = (2 * (trained + 1), 0);
///     let context = FitContext::new(1).with_checkpoints(population.checkpoints(&study, trial.number)?);
///     let model = MlpTrainer.fit_settings(&data, &settings, &context)?;
///     study.tell(trial.number, model.history().last().and_then(|epoch| epoch.valid_loss).unwrap_or(f64::NAN))?;
///     population.sweep(&study)?;
/// }
/// assert!(study.best().is_some());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Population {
    directory: PathBuf,
}

impl Population {
    /// A population whose checkpoints lie below `directory`, which is made when it is absent.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Where a trial keeps its checkpoints, beginning with those of its parent.
    ///
    /// # Errors
    /// `NotFound` when the trial is not a stretch of a population.
    pub fn checkpoints(&self, study: &Study, number: usize) -> Result<Checkpoints> {
        let stretch = study.stretch(number).ok_or_else(|| {
            Error::not_found(format!("trial {number} of study {:?} is not a stretch of a population", study.name()))
        })?;
        let own = Checkpoints::new(self.of(number));
        Ok(stretch.parent.map_or(own.clone(), |parent| own.with_origin(self.of(parent))))
    }

    /// Removes the checkpoints of trials that have ended and that no stretch will go on from, but those of the best
    /// trial. Another worker may do the same meanwhile. A fit of a trial that was given up for dead may still write:
    /// see [`Checkpoints::remove`].
    ///
    /// # Errors
    /// `FailedPrecondition` when the study has no population; `PermissionDenied` and `Unavailable` naming the path for
    /// what the disk refuses.
    pub fn sweep(&self, study: &Study) -> Result<()> {
        let SamplerSettings::Pbt(settings) = study.sampler() else {
            return Err(Error::failed_precondition(format!("study {:?} has no population", study.name())));
        };
        let mut kept: BTreeSet<usize> = Pbt::new(settings)?.needed(study.trials()).into_iter().collect();
        kept.extend(study.best().map(|best| best.number));
        for trial in study.trials().iter().filter(|trial| trial.state.is_ended() && !kept.contains(&trial.number)) {
            Checkpoints::new(self.of(trial.number)).remove()?;
        }
        Ok(())
    }

    fn of(&self, number: usize) -> PathBuf {
        self.directory.join(format!("trial-{number:06}"))
    }
}
