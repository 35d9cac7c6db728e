//! Hyper-parameter search by asking and telling.
//!
//! A [`Study`] proposes parameters, the caller evaluates them wherever it likes and tells the
//! value. All state is plain data: a study that was stored and read back proposes what it would
//! have proposed without the interruption.
//!
//! | look for | in |
//! |---|---|
//! | parameters, their bounds, and which of them depend on another | [`SearchSpace`] |
//! | how the next parameters are chosen | [`Sampler`], [`SamplerSettings`] |
//! | which trials are stopped early | [`PrunerSettings`] |
//! | which parameters matter | [`importance()`] |
//! | charts in one HTML page | [`plot`] |
//! | training whose parameters change on the way, by a population | [`PbtSettings`], [`Population`] |
//! | a study that several workers share (feature `study-sql`) | `SharedStudy` |

mod hypervolume;
mod importance;
#[cfg(feature = "study-sql")]
mod optuna;
mod pareto;
pub mod plot;
mod population;
mod pruner;
mod sampler;
#[cfg(feature = "study-sql")]
mod shared;
mod space;
mod study;
mod trial;

pub use importance::importance;
#[cfg(feature = "study-sql")]
pub use optuna::{export_optuna, import_optuna};
pub use population::{Population, Stretch};
pub use pruner::{
    HalvingSettings, HyperbandSettings, PatienceSettings, PercentileSettings, PrunerSettings, ThresholdSettings,
    WilcoxonSettings,
};
pub use sampler::{
    CmaEs, CmaEsSettings, Gp, GpSettings, Grid, GridSettings, Nsga2, Nsga2Settings, Pbt, PbtSettings, Proposal, Qmc,
    Random, Sampler, SamplerSettings, StudyView, Tpe, TpeSettings,
};
#[cfg(feature = "study-sql")]
pub use shared::{SharedSettings, SharedStudy};
pub use space::{Condition, ParamSpace, SearchSpace};
pub use study::{Outcome, Study, StudyBuilder};
pub use trial::{Trial, TrialState};
