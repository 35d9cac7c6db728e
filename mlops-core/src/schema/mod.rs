//! Types and shapes of what goes into and comes out of a model, and how they translate between
//! Arrow, the Open Inference protocol and MLflow signatures.

mod data_type;
mod nesting;
mod signature;

pub use data_type::DataType;
pub use nesting::nest;
pub use signature::{Signature, TensorSpec};
