//! Tables to learn from: an Arrow batch whose columns and labels have been checked once, so that
//! no trainer has to.

mod column;
mod dataset;
mod label;

pub(crate) use column::{Column, decode, numbers, values};
pub use dataset::{TableDataset, TableDatasetBuilder};
pub use label::Task;
