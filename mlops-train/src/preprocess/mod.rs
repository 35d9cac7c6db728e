//! What is learnt about columns before a model sees them: categories, medians, means.
//!
//! Invariant: fitted on training rows only and stored within the model, so that training and
//! serving turn the same row into the same numbers.

mod fit;
mod matrix;
mod median;
mod plan;
mod quantile;
mod target;
mod transform;

pub use fit::{CategoryEncoding, PreprocessorSettings};
pub use matrix::Matrix;
pub use plan::Preprocessor;

pub(crate) use plan::{ColumnPlan, Step};
