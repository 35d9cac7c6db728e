//! Tables to learn from: an Arrow batch whose columns and labels have been checked once, so that
//! no trainer has to.

mod column;
mod dataset;
mod label;
mod roles;

pub(crate) use column::{Column, decode, numbers, texts, value_type, values};
pub(crate) use dataset::plain;
pub use dataset::{TableDataset, TableDatasetBuilder};
pub(crate) use label::Classes;
pub use label::{Task, label_classes};
pub(crate) use roles::{Roles, role_methods};
