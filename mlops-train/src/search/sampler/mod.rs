//! How the next parameters are chosen.
//!
//! A [`Sampler`] sees parameters by name: values of two parameters with equal bounds are never confused. Which sampler
//! a study uses is plain data ([`SamplerSettings`]); what a sampler has learnt is rebuilt from the trials, so that it
//! need not be stored.

mod cmaes;
mod gp;
mod grid;
mod nsga2;
mod pbt;
mod qmc;
mod random;
pub(crate) mod tpe;

use std::{collections::BTreeMap, fmt};

use mlops_core::{Error, Result};
use mlops_metrics::Direction;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use self::pbt::{Roster, parent as stretch_parent};
pub use self::{
    cmaes::{CmaEs, CmaEsSettings},
    gp::{Gp, GpSettings},
    grid::{Grid, GridSettings},
    nsga2::{Nsga2, Nsga2Settings},
    pbt::{Pbt, PbtSettings},
    qmc::Qmc,
    random::Random,
    tpe::{Tpe, TpeSettings},
};
use super::{space::SearchSpace, trial::Trial};
use crate::{params::Params, rng::SeededRng};

/// What a sampler sees of a study.
#[derive(Debug, Clone, Copy)]
pub struct StudyView<'a> {
    /// What is searched.
    pub space: &'a SearchSpace,
    /// Which values of each objective are better.
    pub directions: &'a [Direction],
    /// All trials in order of their numbers.
    pub trials: &'a [Trial],
    /// The seed of the study.
    pub seed: u64,
}

impl StudyView<'_> {
    /// The generator of one trial's proposal.
    pub(crate) fn rng(&self, number: usize) -> SeededRng {
        SeededRng::new(self.seed, 10 + number as u64)
    }

    /// The values of a trial as something to minimize.
    pub(crate) fn losses(&self, trial: &Trial) -> Vec<f64> {
        self.directions.iter().zip(&trial.values).map(|(direction, &value)| direction.loss(value)).collect()
    }

    /// The first value of a trial as something to minimize, once complete.
    pub(crate) fn loss(&self, trial: &Trial) -> Option<f64> {
        Some(self.directions.first()?.loss(trial.value()?))
    }
}

/// Parameters to try next.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Proposal {
    /// A value for each parameter that exists.
    pub params: Params,
    /// What the sampler wants to find again in [`Trial::attributes`].
    pub attributes: BTreeMap<String, Value>,
}

impl From<Params> for Proposal {
    fn from(params: Params) -> Self {
        Self { params, attributes: BTreeMap::new() }
    }
}

/// A way to choose the next parameters.
///
/// A proposal is a function of the view (its seed included) and the trial's number: a sampler that has observed all
/// trials of a stored study goes on as the one did that saw them happen.
pub trait Sampler: fmt::Debug + Send + Sync {
    /// Takes notice of a trial that began, was paused or ended. Trials that ended come in the order of their ends; a
    /// trial may be seen in its last state only.
    fn observe(&mut self, view: &StudyView<'_>, trial: &Trial);

    /// Values for every parameter that exists, all inside their bounds.
    ///
    /// # Errors
    /// `ResourceExhausted` when there is nothing left to try, `Unavailable` when there will be once a running trial is
    /// told.
    fn propose(&mut self, view: &StudyView<'_>, number: usize) -> Result<Proposal>;
}

/// Which sampler a study uses, as plain data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum SamplerSettings {
    /// Every value alike, every trial alone.
    Random,
    /// Every combination once, in an order drawn from the seed.
    Grid(GridSettings),
    /// Points of a scrambled Sobol sequence: even, but blind to values.
    Qmc,
    /// The tree-structured Parzen estimator.
    Tpe(TpeSettings),
    /// A Gaussian process and its expected improvement.
    Gp(GpSettings),
    /// Covariance matrix adaptation with margin.
    CmaEs(CmaEsSettings),
    /// The non-dominated sorting genetic algorithm.
    Nsga2(Nsga2Settings),
    /// Population based training: a trial is a stretch of one member's training.
    Pbt(PbtSettings),
}

impl Default for SamplerSettings {
    fn default() -> Self {
        Self::Tpe(TpeSettings::default())
    }
}

impl SamplerSettings {
    /// A sampler by its usual name, with its defaults: `random`, `grid`, `qmc`, `tpe`, `tpe_optuna`, `gp`, `cmaes`,
    /// `nsga2` or `pbt`.
    ///
    /// # Errors
    /// `InvalidArgument` for another name.
    pub fn by_name(name: &str) -> Result<Self> {
        Ok(match name {
            "random" => Self::Random,
            "grid" => Self::Grid(GridSettings::default()),
            "qmc" => Self::Qmc,
            "tpe" => Self::Tpe(TpeSettings::default()),
            "tpe_optuna" => Self::Tpe(TpeSettings::optuna()),
            "gp" => Self::Gp(GpSettings::default()),
            "cmaes" => Self::CmaEs(CmaEsSettings::default()),
            "nsga2" => Self::Nsga2(Nsga2Settings::default()),
            "pbt" => Self::Pbt(PbtSettings::default()),
            _ => {
                return Err(Error::invalid_argument(format!(
                    "unknown sampler {name:?}, expected random, grid, qmc, tpe, tpe_optuna, gp, cmaes, nsga2 or pbt"
                )));
            }
        })
    }

    /// A sampler that has seen nothing yet.
    ///
    /// # Errors
    /// `InvalidArgument` when its settings are out of range, or it cannot search this space for so many objectives.
    pub fn build(&self, space: &SearchSpace, objectives: usize) -> Result<Box<dyn Sampler>> {
        let one = |name: &str| match objectives {
            1 => Ok(()),
            _ => Err(Error::invalid_argument(format!("sampler {name} is for one objective, found {objectives}"))),
        };
        Ok(match self {
            Self::Random => Box::new(Random),
            Self::Grid(settings) => Box::new(Grid::new(settings, space)?),
            Self::Qmc => Box::new(Qmc::new(space)?),
            Self::Tpe(settings) => Box::new(Tpe::new(settings, space, objectives)?),
            Self::Gp(settings) => {
                one("gp")?;
                Box::new(Gp::new(settings)?)
            }
            Self::CmaEs(settings) => {
                one("cmaes")?;
                Box::new(CmaEs::new(settings, space)?)
            }
            Self::Nsga2(settings) => Box::new(Nsga2::new(settings)?),
            Self::Pbt(settings) => {
                one("pbt")?;
                Box::new(Pbt::new(settings)?)
            }
        })
    }
}
