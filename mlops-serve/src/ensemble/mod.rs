//! Models made of models: a graph of steps (preprocess, predict, combine, postprocess) that is served as one model.
//!
//! A step is a model that is at hand (a closure, or what another runtime loaded), a model of the same repository by name,
//! or a combination of earlier answers. Steps are wired by the names of tensors. Invariants: a graph is checked whole when
//! it is built, so that a request never meets a missing tensor, another type or a cycle; one prediction asks one version
//! of every model, whatever is swapped meanwhile; a failure names its step.

mod combine;
mod config;
mod graph;
mod inside;
mod model;
mod step;
mod triton;

pub use combine::Combination;
pub(crate) use config::Functions;
pub use config::{ENSEMBLE_FILE, EnsembleConfig, StepConfig};
pub use model::{Ensemble, EnsembleBuilder, StepStatistics};
pub use step::Step;
pub(crate) use triton::whole_number;
