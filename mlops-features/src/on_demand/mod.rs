//! Views that are computed when they are asked for: one piece of code over Arrow batches, run after the point-in-time
//! join for training sets and after the online read for serving.
//!
//! Invariant: both paths hand the same code the same columns (the inputs, then the request data, in the order of the
//! definition), so what it gives for a row is the same in both, bit for bit, if it treats rows one by one.

mod expansion;
mod offline;
mod resolved;

pub(crate) use expansion::{Expansion, Output};
pub use offline::OnDemandOfflineStore;
pub(crate) use resolved::{Code, OnDemandViews, ResolvedOnDemand};

use arrow_array::{ArrayRef, RecordBatch};
use mlops_core::Result;

/// The code of an on-demand view. Closures over batches are such code.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{cast::AsArray, types::Float64Type, *};
/// use mlops_features::Transformation;
///
/// let doubled = |inputs: &RecordBatch| {
///     let amount = inputs.column(0).as_primitive::<Float64Type>();
///     Ok(vec![Arc::new(amount.unary::<_, Float64Type>(|amount| 2.0 * amount)) as ArrayRef])
/// };
/// let inputs = RecordBatch::try_from_iter([("amount", Arc::new(Float64Array::from(vec![1.5])) as ArrayRef)])?;
/// assert_eq!(doubled.apply(&inputs)?[0].as_ref(), &Float64Array::from(vec![3.0]) as &dyn Array);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Transformation: Send + Sync + 'static {
    /// The outputs of the definition, in its order, one value for each row of `inputs`: its inputs and then its request
    /// data, by name. What a row gives must depend on that row alone, and on nothing but it: no clock, no draw, no
    /// other row. Values of entities that were never seen are null.
    ///
    /// # Errors
    /// Whatever stands in the way; the whole read fails with it. A panic is such an error too.
    fn apply(&self, inputs: &RecordBatch) -> Result<Vec<ArrayRef>>;
}

impl<F> Transformation for F
where
    F: Fn(&RecordBatch) -> Result<Vec<ArrayRef>> + Send + Sync + 'static,
{
    fn apply(&self, inputs: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self(inputs)
    }
}
