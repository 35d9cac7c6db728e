//! A multi-layer perceptron for tables, trained on Burn.
//!
//! Gradients run on a Burn device in the loop of [`crate::neural`]; prediction is a plain forward pass over the
//! exported weights, so that a server needs no tensor library and a row's result never depends on
//! its batch.

mod codec;
mod learner;
mod model;
mod network;
mod settings;

pub use model::{MlpModel, MlpTrainer};
pub use settings::MlpSettings;

pub(crate) use codec::{WEIGHTS_FILE, decode, encode};
pub(crate) use learner::BurnNetwork;
pub(crate) use model::load;
pub(crate) use network::Network;
