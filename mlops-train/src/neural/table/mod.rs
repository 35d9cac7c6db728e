//! What networks for tables have in common: preprocessed rows in batches, labels as targets, and
//! dense layers that predict on the host, so that a server needs no device and a row's result never
//! depends on its batch.

mod dense;
mod embedding;
mod fit;
mod inputs;
mod noise;
mod rows;
mod target;

pub(crate) use dense::{Dense, linear};
pub(crate) use embedding::{Embedding, EmbeddingSize};
pub(crate) use fit::TableFit;
pub(crate) use inputs::Inputs;
pub(crate) use noise::Noise;
pub(crate) use rows::TableBatch;
pub(crate) use target::{OutputScale, mean_loss};
