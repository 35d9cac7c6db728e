//! From a trained perceptron to a compressed one.

use arrow_array::RecordBatch;
use mlops_core::{Error, Result};
use mlops_edge::{Column, Layer, Model, Output, Symmetric};
use serde::{Deserialize, Serialize};

use super::{
    calibrate::Calibration,
    layers::{Seen, watch},
    model::CompressedModel,
    prune::Pruning,
};
use crate::{
    data::Task,
    mlp::MlpModel,
    neural::table::{Dense, Inputs},
    preprocess::{ColumnPlan, Step},
    trainer::TrainedModel,
};

/// Which weights share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// All of a layer.
    PerTensor,
    /// Those of one output: finer, at four bytes each.
    PerChannel,
}

/// How numbers become bytes: weights symmetric from -127 to 127, inputs of layers affine from 0 to
/// 255, both rounded half to even; sums run in 32 bits, biases stay in single precision (Jacob et
/// al. 2018).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantization {
    /// Which weights share a scale.
    pub granularity: Granularity,
    /// Over which range inputs are coded.
    pub calibration: Calibration,
}

impl Default for Quantization {
    fn default() -> Self {
        Self { granularity: Granularity::PerChannel, calibration: Calibration::MinMax }
    }
}

/// Compresses perceptrons after training: prunes first, then quantizes.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Float64Array, RecordBatch};
/// use mlops_train::{BurnSettings, FitContext, MlpSettings, MlpTrainer, TableDataset, compress::*, scores};
///
/// let x: Vec<f64> = (0..500).map(|i| f64::from(i) / 250.0 - 1.0).collect();
/// let y: Vec<f64> = x.iter().map(|x| 3.0 * x.abs() + 1.0).collect();
/// let batch = RecordBatch::try_from_iter([
///     ("x", Arc::new(Float64Array::from(x)) as ArrayRef),
///     ("y", Arc::new(Float64Array::from(y)) as ArrayRef),
/// ])?;
/// let data = TableDataset::regression(batch, "y").build()?;
/// let training = BurnSettings { epochs: 30, batch_rows: 32, ..BurnSettings::default() };
/// let settings = MlpSettings { training, ..MlpSettings::default() };
/// let model = MlpTrainer.fit_settings(&data, &settings, &FitContext::new(1))?;
///
/// let pruned = Compressor::new().with_pruning(Pruning::Structured(0.25));
/// let compressor = pruned.with_quantization(Quantization::default());
/// let small = compressor.compress(&model, data.batch())?;
/// assert!(small.to_bytes().len() < 4_000);
/// assert!((scores(&small, data.batch())?[0] - 4.0).abs() < 0.3);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Compressor {
    pruning: Option<Pruning>,
    quantization: Option<Quantization>,
}

impl Compressor {
    /// Changes nothing but the form: predictions stay the same.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves out what matters least.
    #[must_use]
    pub fn with_pruning(mut self, pruning: Pruning) -> Self {
        self.pruning = Some(pruning);
        self
    }

    /// Rounds weights and inputs of layers to bytes.
    #[must_use]
    pub fn with_quantization(mut self, quantization: Quantization) -> Self {
        self.quantization = Some(quantization);
        self
    }

    /// Compresses a model. `calibration` are typical rows, of which at most 1,024 are looked at.
    ///
    /// # Errors
    /// `InvalidArgument` for settings out of range, and for calibration rows that do not fit the
    /// model or are none; `Unimplemented` for a model whose preprocessing has no edge form.
    pub fn compress(&self, model: &MlpModel, calibration: &RecordBatch) -> Result<CompressedModel> {
        self.pruning.map_or(Ok(()), Pruning::check)?;
        self.quantization.map_or(Ok(()), |quantization| quantization.calibration.check())?;
        if calibration.num_rows() == 0 {
            return Err(Error::invalid_argument("compressing a model needs calibration rows"));
        }
        model.check_plain("compression")?;
        let inputs = Inputs::new(&model.shell().preprocessor.transform(calibration)?);
        let mut layers = model.network().layers().to_vec();
        if let Some(pruning) = self.pruning {
            pruning.apply(&mut layers, &inputs);
        }
        let layers = match self.quantization {
            None => layers.iter().map(single).collect::<Result<Vec<_>, _>>(),
            Some(quantization) => {
                let Seen { by_layer, .. } = watch(&layers, &inputs);
                layers.iter().zip(&by_layer).map(|(layer, seen)| quantization.layer(layer, seen)).collect()
            }
        };
        let columns = model.shell().preprocessor.columns.iter().map(column).collect::<Result<_>>()?;
        let (mean, scale) = model.output_scale();
        let output = match model.shell().task {
            Task::BinaryClassification => Output::probability(),
            Task::Regression => Output::number(mean, scale),
        };
        let edge = layers.and_then(|layers| Model::new(columns, layers, output));
        let edge = edge.map_err(|error| Error::invalid_argument(format!("the compressed model: {error}")))?;
        CompressedModel::new(model.shell().signature.clone(), edge, model.steps())
    }
}

fn single(layer: &Dense) -> Result<Layer, mlops_edge::Error> {
    Layer::f32(layer.inputs, layer.outputs, layer.weight.clone(), layer.bias.clone())
}

impl Quantization {
    fn layer(self, layer: &Dense, seen: &[f32]) -> Result<Layer, mlops_edge::Error> {
        let weights = layer.weight_by_output();
        let share = match self.granularity {
            Granularity::PerTensor => weights.len(),
            Granularity::PerChannel => layer.inputs,
        };
        let codes: Vec<Symmetric> = weights.chunks(share).map(|part| Symmetric::of(part.iter().copied())).collect();
        let parts = weights.chunks(share).zip(&codes);
        let quantized = parts.flat_map(|(part, code)| part.iter().map(|weight| code.quantize(*weight))).collect();
        let scales = codes.iter().map(|code| code.scale).collect();
        let input = self.calibration.code(seen);
        Layer::i8((layer.inputs, layer.outputs), quantized, scales, input, layer.bias.clone())
    }
}

/// What happens to a raw column, in the edge's words.
fn column(plan: &ColumnPlan) -> Result<Column> {
    let name = &plan.input.name;
    match &plan.step {
        Step::Number { fill: Some(fill), mean, scale, indicator } => {
            Ok(Column::number(name, *fill, *mean, *scale, *indicator))
        }
        Step::OneHot { categories, indicator } => {
            Ok(Column::one_hot(name, categories.iter().map(String::as_str), *indicator))
        }
        _ => Err(Error::unimplemented(format!("the preprocessing of column {name:?} has no form for the edge"))),
    }
}
