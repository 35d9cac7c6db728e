//! A multi-layer perceptron for tables, trained on Burn.
//!
//! Gradients and Adam run on Burn's flex device; prediction is a plain forward pass over the
//! exported weights, so that a server needs no tensor library and a row's result never depends on
//! its batch.

mod codec;
mod fit;
mod model;
mod network;
mod settings;

pub use model::{MlpModel, MlpTrainer};
pub use settings::MlpSettings;

pub(crate) use model::load;
