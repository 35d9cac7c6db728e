//! What is unlike the training rows: a network that has to squeeze a row through a few numbers and
//! make it whole again fails on rows that are put together otherwise than those it learnt from
//! (Hawkins et al. 2002).
//!
//! The anomaly score is the mean squared error over the preprocessed numbers of a row: standardized
//! numbers, and a column of zeros and ones per category. Labels are not looked at; to learn from
//! normal rows alone, hand it those.

mod learner;
mod model;
mod settings;

pub use model::{AutoencoderModel, AutoencoderTrainer};
pub use settings::AutoencoderSettings;

pub(crate) use model::load;
