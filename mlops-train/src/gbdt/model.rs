//! Boosted trees as a trainer and as a model.

use std::sync::Arc;

use arrow_array::RecordBatch;
use mlops_core::{Error, Model, ModelPackage, Result, Signature};
use serde::{Deserialize, Serialize};

use super::{
    boost::{Boosted, boost},
    codec,
    forest::{Forest, LEAF, Node},
    loss::sigmoid,
    settings::GbdtSettings,
};
use crate::{
    data::{TableDataset, Task},
    package::{self, PREPROCESSOR_FILE, Shell},
    params::Params,
    preprocess::Preprocessor,
    search::SearchSpace,
    trainer::{FitContext, TrainedModel, Trainer},
};

const TREES_FILE: &str = "trees.bin";

/// Fits [`GbdtModel`]s; parameters are the fields of [`GbdtSettings`].
#[derive(Debug, Clone, Copy, Default)]
pub struct GbdtTrainer;

impl GbdtTrainer {
    /// The flavor of its packages.
    pub const FLAVOR: &'static str = "mlops.gbdt";

    /// Fits with settings rather than parameters by name.
    ///
    /// # Errors
    /// As [`Trainer::fit`].
    pub fn fit_settings(
        &self,
        data: &TableDataset,
        settings: &GbdtSettings,
        context: &FitContext,
    ) -> Result<GbdtModel> {
        settings.validate()?;
        data.check_learnable()?;
        let (data, unit) = data.in_unit();
        let data = &*data;
        let (preprocessor, matrix) = Preprocessor::fit_transform(&settings.preprocessing(), data, context.seed())?;
        let Boosted { forest, gains } = boost(data, unit, &matrix, settings, context)?;
        let own = Gains { gains };
        let description = Description::new(data, context.seed(), settings.clone(), own);
        Ok(GbdtModel { shell: Shell::new(data, preprocessor)?, forest, description })
    }
}

impl Trainer for GbdtTrainer {
    fn name(&self) -> &'static str {
        Self::FLAVOR
    }

    fn search_space(&self) -> SearchSpace {
        SearchSpace::new()
            .with_log_float("learning_rate", 0.02, 0.3)
            .with_log_int("rounds", 50, 500)
            .with_int("max_depth", 3, 10)
            .with_log_int("max_leaves", 8, 128)
            .with_log_int("min_child_rows", 5, 100)
            .with_log_float("lambda", 1e-2, 10.0)
            .with_float("subsample", 0.5, 1.0)
            .with_float("colsample", 0.4, 1.0)
    }

    fn fit(&self, data: &TableDataset, params: &Params, context: &FitContext) -> Result<Arc<dyn TrainedModel>> {
        Ok(Arc::new(self.fit_settings(data, &params.to_settings()?, context)?))
    }
}

type Description = package::Description<GbdtSettings, Gains>;

/// What this flavor adds to `model.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Gains {
    gains: Vec<f64>,
}

/// A sum of trees: log odds of the positive class, or the prediction itself.
#[derive(Debug)]
pub struct GbdtModel {
    shell: Shell,
    forest: Forest,
    description: Description,
}

impl GbdtModel {
    /// Share of the total gain by feature, in order of the inputs; all zero without any split.
    /// High-cardinality features look better than they are: prefer importance on held-out rows.
    #[must_use]
    pub fn gain_importance(&self) -> Vec<(String, f64)> {
        let total: f64 = self.description.own.gains.iter().sum();
        let share = |gain: &f64| if total > 0.0 { gain / total } else { 0.0 };
        self.shell.preprocessor.output_names().into_iter().zip(self.description.own.gains.iter().map(share)).collect()
    }

    /// The settings it was fitted with.
    #[must_use]
    pub fn settings(&self) -> &GbdtSettings {
        &self.description.settings
    }

    pub(crate) fn forest(&self) -> &Forest {
        &self.forest
    }

    pub(crate) fn preprocessor(&self) -> &Preprocessor {
        &self.shell.preprocessor
    }

    /// Leaves of all trees together.
    #[must_use]
    pub fn leaves(&self) -> usize {
        self.forest.nodes.iter().filter(|node| node.feature == LEAF).count()
    }
}

impl Model for GbdtModel {
    fn signature(&self) -> &Signature {
        &self.shell.signature
    }

    fn predict(&self, inputs: &RecordBatch) -> Result<RecordBatch> {
        let mut scores = self.forest.scores(&self.shell.preprocessor.transform(inputs)?);
        if self.shell.task == Task::BinaryClassification {
            scores.iter_mut().for_each(|score| *score = sigmoid(*score));
        }
        self.shell.output(scores)
    }

    fn memory_bytes(&self) -> u64 {
        (self.forest.nodes.len() * size_of::<Node>() + size_of::<Self>()) as u64
    }
}

impl TrainedModel for GbdtModel {
    fn to_package(&self) -> Result<ModelPackage> {
        let notes = [("seed", self.description.seed.to_string()), ("trees", self.forest.roots.len().to_string())];
        let trees = (TREES_FILE, codec::encode(&self.forest));
        self.shell.package(GbdtTrainer::FLAVOR, &self.description, Some(trees), notes)
    }

    fn steps(&self) -> usize {
        self.forest.roots.len()
    }
}

/// Reads a model from its package.
///
/// # Errors
/// As [`crate::load_package`].
pub(crate) fn load(package: &ModelPackage) -> Result<GbdtModel> {
    let (shell, description) = Description::load(package, None)?;
    let forest = codec::decode(package.file(TREES_FILE)?)?;
    let width = shell.preprocessor.width();
    if forest.features != width || description.own.gains.len() != width {
        return Err(Error::data_loss(format!(
            "{TREES_FILE} expects {} numbers per row, {PREPROCESSOR_FILE} gives {width}",
            forest.features
        )));
    }
    Ok(GbdtModel { shell, forest, description })
}
