//! The perceptron as a differentiable score, by Burn's automatic differentiation.

use arrow_array::RecordBatch;
use burn::tensor::{Device, Tensor, TensorData, activation::relu};
use mlops_core::{Error, Result};

use super::{
    context::ExplainContext,
    integrated::{Differentiable, IntegratedGradients, IntegratedGradientsSettings, integrated_gradients},
};
use crate::{
    mlp::MlpModel,
    neural::table::{Inputs, linear},
    preprocess::Matrix,
};

impl MlpModel {
    /// Integrated gradients of the raw score (log odds in a classification) by raw column: what
    /// the numbers that a column became contribute, added up. The baseline is zero after
    /// preprocessing: numbers at their mean, no category.
    ///
    /// # Errors
    /// `InvalidArgument` when rows do not fit the model or for settings out of range; `Cancelled`,
    /// `DeadlineExceeded`.
    pub fn integrated_gradients(
        &self,
        rows: &RecordBatch,
        settings: &IntegratedGradientsSettings,
        context: &ExplainContext,
    ) -> Result<IntegratedGradients> {
        let preprocessor = &self.shell().preprocessor;
        self.check_plain("the integrated gradient")?;
        // Cut off as the network's own inputs are, in the same precision.
        let inputs = Inputs::new(&preprocessor.transform(rows)?);
        let numbers = (0..inputs.rows()).flat_map(|row| inputs.row(row).iter().map(|&value| f64::from(value)));
        let matrix = Matrix::new(inputs.width, numbers.collect())?;
        let found = integrated_gradients(self, &vec![0.0; inputs.width], &matrix, settings, context)?;
        let attribution = found.attribution.summed_by(&preprocessor.output_columns())?;
        Ok(IntegratedGradients { attribution, ..found })
    }
}

/// Over the numbers that the preprocessor gives; single precision.
impl Differentiable for MlpModel {
    fn features(&self) -> Vec<String> {
        self.shell().preprocessor.output_names()
    }

    fn slopes(&self, rows: &Matrix) -> Result<(Vec<f64>, Matrix)> {
        let layers = self.network().layers();
        if rows.columns() != self.network().inputs() {
            let (expected, found) = (self.network().inputs(), rows.columns());
            let message = format!("the perceptron reads rows of {expected} numbers, found {found}");
            return Err(Error::invalid_argument(message));
        }
        let device = Device::flex().autodiff();
        let numbers: Vec<f32> =
            (0..rows.rows()).flat_map(|row| rows.row(row).iter().map(|&value| value as f32)).collect();
        let inputs = Tensor::<2>::from_data(TensorData::new(numbers, [rows.rows(), rows.columns()]), &device);
        let inputs = inputs.require_grad();
        let last = layers.len() - 1;
        let outputs = layers.iter().enumerate().fold(inputs.clone(), |values, (index, layer)| {
            let values = linear(layer, &device).forward(values);
            if index < last { relu(values) } else { values }
        });
        let (mean, scale) = self.output_scale();
        let scores = numbers_of(outputs.clone().into_data())?.iter().map(|score| mean + scale * score).collect();
        let gradients = outputs.sum().backward();
        let slopes = inputs.grad(&gradients).ok_or_else(|| Error::internal("the score has no slopes"))?;
        let slopes = numbers_of(slopes.into_data())?.iter().map(|slope| scale * slope).collect();
        Ok((scores, Matrix::new(rows.columns(), slopes)?))
    }
}

fn numbers_of(data: TensorData) -> Result<Vec<f64>> {
    let singles = data.try_into_vec::<f32>();
    let singles = singles.map_err(|error| Error::internal(format!("tensor is not single precision: {error:?}")))?;
    Ok(singles.into_iter().map(f64::from).collect())
}
