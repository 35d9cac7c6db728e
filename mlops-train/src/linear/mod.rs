//! Logistic and linear regression: the baseline that every other model has to beat.
//!
//! Newton's method on the penalized mean loss, which a logistic regression reaches to the last
//! digits within ten steps and a linear one in a single step. Nothing is drawn and sums run in row
//! order, so the same data and settings give the same bytes.

mod cholesky;
mod curvature;
mod model;
mod newton;
mod passes;
mod settings;

pub use model::{LinearModel, LinearTrainer};
pub use settings::LinearSettings;

pub(crate) use model::load;
