//! Which output of a model is explained.

use arrow_array::{Array, RecordBatch, cast::AsArray, types};
use mlops_core::{Error, Model, Result};

/// The output of this name, or the first, as numbers.
///
/// # Errors
/// What the model returns; `FailedPrecondition` when it has no such output or that is not a column
/// of floating-point numbers without nulls.
pub(super) fn answers(model: &dyn Model, rows: &RecordBatch, output: Option<&str>) -> Result<Vec<f64>> {
    let answer = model.predict(rows)?;
    let column = match output {
        Some(name) => answer.column_by_name(name),
        None => answer.columns().first(),
    };
    let numbers = column.filter(|column| column.null_count() == 0).and_then(|column| {
        let doubles = column.as_primitive_opt::<types::Float64Type>().map(|doubles| doubles.values().to_vec());
        let singles = || column.as_primitive_opt::<types::Float32Type>();
        doubles.or_else(|| singles().map(|singles| singles.values().iter().map(|&value| f64::from(value)).collect()))
    });
    match numbers {
        Some(numbers) if numbers.len() == rows.num_rows() => Ok(numbers),
        _ => {
            let name = output.map_or("its first output".to_owned(), |name| format!("output {name:?}"));
            let message = format!("explaining a model needs floating-point numbers without nulls as {name}");
            Err(Error::failed_precondition(message))
        }
    }
}
