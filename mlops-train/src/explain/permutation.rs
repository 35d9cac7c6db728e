//! Permutation importance: how much worse a model gets when a feature's values are dealt anew.
//!
//! Breiman 2001, model-agnostic as in Fisher, Rudin and Dominici 2019. On rows that the model was
//! trained on it measures what was memorized, so rows must be held out; correlated features share
//! their importance, so group them.

use arrow_array::{RecordBatch, UInt32Array};
use arrow_select::take::take;
use mlops_core::{Error, Model, Result};
use mlops_metrics::Metric;
use serde::{Deserialize, Serialize};

use super::{columns::with_column, context::ExplainContext, groups::FeatureGroups, target::answers};
use crate::{data::TableDataset, rng::SeededRng};

/// Repetitions at most.
const REPEATS_MAX: usize = 10_000;

/// Measures permutation importance on held-out rows.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Float64Array, RecordBatch};
/// use mlops_train::{FitContext, GbdtTrainer, Metric, Params, TableDataset, Trainer, explain::*};
///
/// let table = |rows: std::ops::Range<i32>| {
///     let x: Vec<f64> = rows.map(|row| f64::from(row % 37)).collect();
///     let column = |values: Vec<f64>| Arc::new(Float64Array::from(values)) as ArrayRef;
///     let noise = x.iter().map(|x| (x * 7.7).sin()).collect();
///     let y = x.iter().map(|x| x * x).collect();
///     let batch = RecordBatch::try_from_iter([("x", column(x)), ("noise", column(noise)), ("y", column(y))])?;
///     TableDataset::regression(batch, "y").build()
/// };
/// let model = GbdtTrainer.fit(&table(0..400)?, &Params::new().with("rounds", 30), &FitContext::new(1))?;
/// let importance = PermutationImportance::new(Metric::R2).with_repeats(5);
/// let found = importance.measure(&model, &table(400..600)?, &ExplainContext::new(1))?;
/// assert_eq!(found.features, ["x", "noise"]);
/// assert!(found.means[0] > 1.0);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PermutationImportance {
    metric: Metric,
    repeats: usize,
    groups: FeatureGroups,
}

/// By how much a metric got worse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PermutedImportance {
    /// Inputs or groups by name.
    pub features: Vec<String>,
    /// The metric with nothing permuted.
    pub baseline: f64,
    /// Mean loss of the metric by feature; positive is worse, whichever way the metric runs.
    pub means: Vec<f64>,
    /// Standard deviation over repetitions (of the population, as scikit-learn).
    pub deviations: Vec<f64>,
    /// Repetitions.
    pub repeats: usize,
}

impl PermutationImportance {
    /// By this metric, with 10 repetitions.
    #[must_use]
    pub fn new(metric: Metric) -> Self {
        Self { metric, repeats: 10, groups: FeatureGroups::new() }
    }

    /// Permutes each feature so many times, 1 to 10,000.
    #[must_use]
    pub fn with_repeats(mut self, repeats: usize) -> Self {
        self.repeats = repeats;
        self
    }

    /// Permutes inputs of a group together.
    #[must_use]
    pub fn with_groups(mut self, groups: FeatureGroups) -> Self {
        self.groups = groups;
        self
    }

    /// Measures on `held_out` rows, which the model must not have been trained on, with their
    /// weights.
    ///
    /// # Errors
    /// `InvalidArgument` for repetitions out of range, or rows and groups that do not fit the
    /// model; `Cancelled`, `DeadlineExceeded`; what the model and the metric return.
    pub fn measure(
        &self,
        model: &dyn Model,
        held_out: &TableDataset,
        context: &ExplainContext,
    ) -> Result<PermutedImportance> {
        if !(1..=REPEATS_MAX).contains(&self.repeats) {
            let found = self.repeats;
            return Err(Error::invalid_argument(format!("repeats must be from 1 to {REPEATS_MAX}, found {found}")));
        }
        let signature = model.signature();
        let rows = signature.project_inputs(held_out.batch())?;
        let score = |rows: &RecordBatch| {
            let scores = answers(model, rows, None)?;
            self.metric.compute_weighted(held_out.labels(), &scores, held_out.weights())
        };
        let baseline = score(&rows)?;
        let loss = |value: f64| self.metric.direction().loss(value);
        let groups = self.groups.resolve(signature)?;
        let mut found = PermutedImportance {
            features: groups.iter().map(|group| group.name.clone()).collect(),
            baseline,
            means: Vec::new(),
            deviations: Vec::new(),
            repeats: self.repeats,
        };
        for (index, group) in groups.iter().enumerate() {
            let mut losses = Vec::with_capacity(self.repeats);
            let mut rng = SeededRng::new(context.seed(), (13 << 32) + index as u64);
            for _ in 0..self.repeats {
                context.check()?;
                let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
                rng.shuffle(&mut order);
                let order = UInt32Array::from(order);
                let mut dealt = rows.clone();
                for &input in &group.inputs {
                    let name = dealt.schema_ref().field(input).name().clone();
                    dealt = with_column(&dealt, &name, &take(rows.column(input), &order, None)?)?;
                }
                losses.push(loss(score(&dealt)?) - loss(baseline));
            }
            let n = losses.len() as f64;
            let mean = losses.iter().sum::<f64>() / n;
            found.means.push(mean);
            found.deviations.push((losses.iter().map(|loss| (loss - mean).powi(2)).sum::<f64>() / n).sqrt());
        }
        Ok(found)
    }
}
