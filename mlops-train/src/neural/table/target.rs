//! Labels as a network learns them, and its loss.

use burn::tensor::{Device, Tensor, TensorData, activation::relu};
use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::rows::TableBatch;
use crate::data::{TableDataset, Task};

/// What the network's output is multiplied by and shifted by; 1 and 0 in a classification.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct OutputScale {
    pub(crate) mean: f64,
    pub(crate) scale: f64,
}

impl OutputScale {
    /// Weighted mean and deviation (of the population) of a regression's labels.
    pub(crate) fn of(data: &TableDataset) -> Self {
        if data.task() == Task::BinaryClassification {
            return Self { mean: 0.0, scale: 1.0 };
        }
        let weighted = || data.labels().iter().enumerate().map(|(row, label)| (label, data.weight(row)));
        let total: f64 = weighted().map(|(_, weight)| weight).sum();
        let mean = weighted().map(|(label, weight)| label * (weight / total)).sum::<f64>();
        let variance: f64 = weighted().map(|(label, weight)| (label - mean).powi(2) * (weight / total)).sum();
        let deviation = variance.sqrt();
        Self { mean, scale: if deviation.is_normal() { deviation } else { 1.0 } }
    }

    /// That of labels `factor` times as large.
    ///
    /// # Errors
    /// `FailedPrecondition` when it is no double.
    pub(crate) fn times(self, factor: f64) -> Result<Self> {
        let larger = Self { mean: self.mean * factor, scale: self.scale * factor };
        if larger.is_sound() {
            return Ok(larger);
        }
        Err(Error::failed_precondition("the labels leave the range of doubles; give them a larger unit"))
    }

    /// The labels as targets; of rows without weight zero, for theirs may be beyond single precision.
    pub(super) fn targets(self, data: &TableDataset) -> Vec<f32> {
        let target = |(row, label): (usize, &f64)| match data.weight(row) > 0.0 {
            true => ((label - self.mean) / self.scale) as f32,
            false => 0.0,
        };
        data.labels().iter().enumerate().map(target).collect()
    }

    /// The network's output as what a model gives: a probability or the prediction.
    pub(crate) fn finish(self, task: Task, output: f32) -> f64 {
        match task {
            Task::BinaryClassification => 1.0 / (1.0 + (-f64::from(output)).exp()),
            Task::Regression => self.mean + self.scale * f64::from(output),
        }
    }

    pub(crate) fn is_sound(self) -> bool {
        self.mean.is_finite() && self.scale.is_finite()
    }
}

/// Weights scaled to a mean of one, so that they do not change the step size. Balanced, the weights
/// of both classes have the same sum.
pub(super) fn row_weights(data: &TableDataset, balance: bool) -> Vec<f32> {
    let mut weights: Vec<f64> = (0..data.rows()).map(|row| data.weight(row)).collect();
    if balance && data.task() == Task::BinaryClassification {
        let positive: f64 = weights.iter().zip(data.labels()).map(|(weight, label)| weight * label).sum();
        let total: f64 = weights.iter().sum();
        let share = |label: f64| if label > 0.5 { positive / total } else { 1.0 - positive / total };
        weights
            .iter_mut()
            .zip(data.labels())
            .for_each(|(weight, &label)| *weight /= share(label).max(f64::MIN_POSITIVE));
    }
    let mean = weights.iter().sum::<f64>() / weights.len() as f64;
    weights.iter().map(|weight| (weight / mean) as f32).collect()
}

/// The mean weighted loss of one output per row: logistic on log odds in its stable form
/// `max(z, 0) - z y + ln(1 + e^-|z|)`, or half the squared error.
pub(crate) fn mean_loss(task: Task, outputs: Tensor<2>, batch: &TableBatch, device: &Device) -> Tensor<1> {
    let column = |values: &[f32]| Tensor::<2>::from_data(TensorData::new(values.to_vec(), [values.len(), 1]), device);
    let targets = column(&batch.targets);
    let losses = match task {
        Task::BinaryClassification => {
            relu(outputs.clone()) - outputs.clone() * targets + outputs.abs().neg().exp().log1p()
        }
        Task::Regression => (outputs - targets).square().mul_scalar(0.5),
    };
    (losses * column(&batch.weights)).mean()
}
