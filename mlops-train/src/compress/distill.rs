//! A small model that learns what a large one says (Hinton, Vinyals and Dean 2015).

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array};
use arrow_select::take::take;
use mlops_core::{Error, Model, Result};
use serde::{Deserialize, Serialize};

use crate::{
    data::{TableDataset, Task},
    params::Params,
    trainer::{FitContext, TrainedModel, Trainer, scores},
};

/// How much a student listens to its teacher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistillSettings {
    /// Share of the target that is the teacher's score, from 0 to 1; the rest is the label.
    pub teacher_share: f64,
    /// What the teacher's log odds are divided by in a classification, above 0: beyond 1 it shows
    /// more of what it finds likely besides.
    pub temperature: f64,
}

impl Default for DistillSettings {
    fn default() -> Self {
        Self { teacher_share: 0.7, temperature: 1.0 }
    }
}

/// Trains a student on the rows of `data` with targets between the teacher's scores and the
/// labels. The rows may be others than the teacher was trained on.
///
/// A regression learns the mixed number. A classification learns the mixed probability `p` exactly:
/// every row counts twice, as positive with weight `p` and as negative with weight `1 - p`, which
/// has the same loss. Early stopping on rows drawn at random would hold out twins of training rows,
/// so turn it off or give the rows times.
///
/// # Errors
/// `InvalidArgument` for settings out of range; what the teacher and the student return.
pub fn distill(
    teacher: &dyn Model,
    student: &dyn Trainer,
    data: &TableDataset,
    params: &Params,
    settings: &DistillSettings,
    context: &FitContext,
) -> Result<Arc<dyn TrainedModel>> {
    let hot = settings.temperature > 0.0 && settings.temperature.is_finite();
    if !hot || !(0.0..=1.0).contains(&settings.teacher_share) {
        return Err(Error::invalid_argument(format!(
            "teacher_share must be from 0 to 1 and temperature above 0, found {settings:?}"
        )));
    }
    let soft = scores(teacher, data.batch())?;
    let share = settings.teacher_share;
    let targets = soft.iter().zip(data.labels()).map(|(score, label)| {
        let soft = match data.task() {
            Task::Regression => *score,
            Task::BinaryClassification => softened(*score, settings.temperature),
        };
        share * soft + (1.0 - share) * label
    });
    let targets: Vec<f64> = targets.collect();
    student.fit(&with_targets(data, &targets)?, params, context)
}

/// The probability whose log odds are those of `p` divided by the temperature.
fn softened(p: f64, temperature: f64) -> f64 {
    let (positive, negative) = (p.powf(1.0 / temperature), (1.0 - p).powf(1.0 / temperature));
    positive / (positive + negative)
}

/// The rows with other labels, of weights that make up the targets.
fn with_targets(data: &TableDataset, targets: &[f64]) -> Result<TableDataset> {
    let Some([negative, positive]) = data.classes() else {
        let rows: Vec<u32> = (0..targets.len() as u32).collect();
        let weights = (0..targets.len()).map(|row| data.weight(row)).collect();
        return Relabeled { rows, labels: Arc::new(Float64Array::from(targets.to_vec())), weights }.build(data);
    };
    let (mut rows, mut labels, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    for (row, &target) in targets.iter().enumerate() {
        for (class, share) in [(positive, target), (negative, 1.0 - target)] {
            if share > 0.0 {
                rows.push(row as u32);
                labels.push(class.as_str());
                weights.push(share * data.weight(row));
            }
        }
    }
    Relabeled { rows, labels: Arc::new(StringArray::from(labels)), weights }.build(data)
}

/// Rows of a dataset, some perhaps twice, with their labels and weights.
struct Relabeled {
    rows: Vec<u32>,
    labels: ArrayRef,
    weights: Vec<f64>,
}

impl Relabeled {
    fn build(self, data: &TableDataset) -> Result<TableDataset> {
        let indices = UInt32Array::from(self.rows.clone());
        let batch = data.batch();
        let features: Vec<String> = batch.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
        let free = |word: &str| {
            let mut name = word.to_owned();
            while features.contains(&name) {
                name.push('_');
            }
            name
        };
        let (label, weight, time) = (free("label"), free("weight"), free("time"));
        let mut columns: Vec<(String, ArrayRef)> = Vec::with_capacity(features.len() + 3);
        for (name, column) in features.iter().zip(batch.columns()) {
            columns.push((name.clone(), take(column, &indices, None)?));
        }
        columns.push((label.clone(), self.labels));
        columns.push((weight.clone(), Arc::new(Float64Array::from(self.weights))));
        if let Some(times) = data.times_us() {
            let times = self.rows.iter().map(|&row| times.get(row as usize).copied());
            columns.push((time.clone(), Arc::new(times.collect::<TimestampMicrosecondArray>())));
        }
        let relabeled =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))?;
        let mut builder = match data.classes() {
            Some([_, positive]) => TableDataset::classification(relabeled, label).with_positive_class(positive),
            None => TableDataset::regression(relabeled, label),
        };
        if data.times_us().is_some() {
            builder = builder.with_time(time);
        }
        builder.with_features(features).with_weight(weight).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperature_divides_log_odds() {
        let odds = |p: f64| (p / (1.0 - p)).ln();
        assert!((odds(softened(0.9, 2.0)) - odds(0.9) / 2.0).abs() < 1e-12);
        assert_eq!((softened(0.0, 3.0), softened(1.0, 3.0), softened(0.5, 3.0)), (0.0, 1.0, 0.5));
    }
}
