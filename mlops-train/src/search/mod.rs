//! Hyper-parameter search by asking and telling.
//!
//! A [`Study`] proposes parameters, the caller evaluates them wherever it likes and tells the
//! value. All state is plain data: a study that was stored and read back proposes what it would
//! have proposed without the interruption.

mod parzen;
mod sampler;
mod space;
mod study;
mod tpe;

pub use sampler::{Sampler, TpeSettings};
pub use space::{ParamSpace, SearchSpace};
pub use study::{Study, StudyBuilder, Trial, TrialState};
