//! A transformer over the columns of a table (FT-Transformer; Gorishniy et al., "Revisiting Deep
//! Learning Models for Tabular Data", 2021).
//!
//! Every column becomes a vector (a token): a number scales a learnt vector, a category picks one, and
//! each column adds a bias of its own. A learnt token in front of them gathers, through blocks of
//! attention between all tokens, what the output is read from. Blocks normalize what they read rather
//! than what they write, and the first one's attention reads its tokens as they are.
//!
//! Gradients run on a Burn device in the loop of [`crate::neural`]; prediction is a plain forward pass
//! over the exported weights, row by row.

mod codec;
mod learner;
mod model;
mod network;
mod settings;

pub use model::{FtTransformerModel, FtTransformerTrainer};
pub use settings::FtTransformerSettings;

pub(crate) use model::load;
