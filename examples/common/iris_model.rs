//! A model that is a plain Rust closure: which of the three species of Fisher's iris data a flower is nearest to.
//!
//! The centers are the means of the three classes of that data set (Fisher 1936; 50 flowers each), so no training is
//! needed. `X` has sepal length and width, petal length and width in centimeters.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, FixedSizeListArray, Float32Array, Int64Array, RecordBatch, cast::AsArray, types::Float32Type,
};
use arrow_schema::{DataType as ArrowType, Field};
use mlops::{
    Result,
    core::{DataType, Model, Signature, TensorSpec},
    serve::ClosureModel,
};

/// Means of setosa, versicolor and virginica.
const CENTERS: [[f32; 4]; 3] =
    [[5.006, 3.428, 1.462, 0.246], [5.936, 2.770, 4.260, 1.326], [6.588, 2.974, 5.552, 2.026]];

/// Input `X`, outputs `label` and `probabilities`: the softmax of the negative squared distances.
pub(crate) fn iris_model() -> Result<Arc<dyn Model>> {
    let inputs = [TensorSpec::tensor("X", DataType::Float32, [4])];
    let outputs =
        [TensorSpec::column("label", DataType::Int64), TensorSpec::tensor("probabilities", DataType::Float32, [3])];
    let signature = Signature::new(inputs, outputs)?;
    Ok(Arc::new(ClosureModel::new(signature, nearest)))
}

fn nearest(batch: &RecordBatch) -> Result<RecordBatch> {
    let flowers = batch.column(0).as_fixed_size_list().values().as_primitive::<Float32Type>();
    let (mut labels, mut probabilities) = (Vec::new(), Vec::new());
    for flower in flowers.values().chunks(4) {
        let distances = CENTERS.map(|center| center.iter().zip(flower).map(|(c, x)| (c - x).powi(2)).sum::<f32>());
        // A flower that is not finite is nearest to none; the model then says so by equal shares.
        let least = distances.iter().copied().fold(f32::INFINITY, f32::min);
        let weights = distances.map(|distance| if least.is_finite() { (least - distance).exp() } else { 1.0 });
        let all: f32 = weights.iter().sum();
        let best = distances.iter().position(|distance| *distance == least).unwrap_or(0);
        labels.push(i64::try_from(best).unwrap_or(0));
        probabilities.extend(weights.map(|weight| weight / all));
    }
    let part = Arc::new(Field::new_list_field(ArrowType::Float32, true));
    let probabilities: ArrayRef =
        Arc::new(FixedSizeListArray::try_new(part, 3, Arc::new(Float32Array::from(probabilities)), None)?);
    let labels: ArrayRef = Arc::new(Int64Array::from(labels));
    Ok(RecordBatch::try_from_iter([("label", labels), ("probabilities", probabilities)])?)
}
