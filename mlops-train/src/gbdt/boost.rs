//! The boosting loop: tree after tree on the gradients of the sum so far.

#![allow(clippy::indexing_slicing, reason = "rows are below the number of rows of the dataset the loop runs over")]

use mlops_core::{Error, Result};

use super::{
    bins::BinnedTable,
    forest::Forest,
    grow::{Grower, Tree},
    histogram::{Histogram, Limits},
    loss::{Derivatives, LossSum, base_score, derivatives_and_loss, loss},
    packed::PackedBins,
    resume::{resume, save},
    settings::GbdtSettings,
};
use crate::{
    data::{TableDataset, Task},
    preprocess::Matrix,
    rng::SeededRng,
    split::holdout,
    trainer::{FitContext, Progress},
};

/// Bytes that the histograms of one tree may take.
const HISTOGRAM_BYTES_MAX: usize = 4 << 30;

/// A fitted forest and the total gain by feature.
pub(crate) struct Boosted {
    pub(crate) forest: Forest,
    pub(crate) gains: Vec<f64>,
}

/// The stream of the seed that rows and features are drawn from.
pub(super) const SAMPLING_STREAM: u64 = 1;

/// A fit under way.
pub(super) struct Booster<'a> {
    task: Task,
    settings: &'a GbdtSettings,
    /// What labels, scores and leaves are to be multiplied by; see [`TableDataset::in_unit`].
    unit: f64,
    limits: Limits<'a>,
    labels: &'a [f64],
    weights: Option<&'a [f64]>,
    table: BinnedTable,
    train: Vec<u32>,
    pub(super) valid: Vec<u32>,
    /// At the scores so far.
    derivatives: Vec<Derivatives>,
    /// The bins of all features; none where each tree sees features of its own.
    packed: Option<PackedBins>,
    spare: Vec<Histogram>,
    pub(super) seed: u64,
    /// The sum of trees so far by row, and the trees.
    pub(super) scores: Vec<f64>,
    pub(super) forest: Forest,
    /// Trees so far, and how many of them were best on held-out rows.
    pub(super) rounds: usize,
    pub(super) best_rounds: usize,
    /// How many of them are of another fit, with which this one began.
    pub(super) begun: usize,
    pub(super) best_loss: Option<f64>,
    /// Total gain by feature, of all trees and of the best.
    pub(super) gains: Vec<f64>,
    pub(super) gains_of_best: Vec<f64>,
    pub(super) rng: SeededRng,
}

/// Fits trees to the rows of `data`, whose preprocessed numbers are `matrix` and whose labels are in `unit`.
pub(crate) fn boost(
    data: &TableDataset,
    unit: f64,
    matrix: &Matrix,
    settings: &GbdtSettings,
    context: &FitContext,
) -> Result<Boosted> {
    let mut booster = Booster::new(data, unit, matrix, settings, context.seed());
    booster.check_memory()?;
    let mut session = resume(&mut booster, data, matrix, settings, context)?;
    booster.differentiate();
    while !booster.is_over() {
        if let Err(cancelled) = context.check_cancelled() {
            if let Some(session) = &mut session {
                save(&booster, session, None)?;
            }
            return Err(cancelled);
        }
        let progress = booster.round();
        if let Some(session) = &mut session
            && (session.is_due(booster.rounds as u64) || booster.is_over())
        {
            save(&booster, session, progress.valid_loss)?;
        }
        context.report(&progress);
    }
    booster.finish()
}

impl<'a> Booster<'a> {
    fn new(data: &'a TableDataset, unit: f64, matrix: &Matrix, settings: &'a GbdtSettings, seed: u64) -> Self {
        let (train, valid) = match settings.early_stopping_rounds {
            0 => ((0..data.rows() as u32).collect(), Vec::new()),
            _ => holdout(data, settings.validation_share, seed),
        };
        let features = matrix.columns();
        let table = BinnedTable::new(matrix, settings.max_bins);
        let all = || PackedBins::new(&table, (0..features as u32).collect());
        let packed = (settings.colsample >= 1.0).then(all);
        let labeled = train.iter().map(|&row| (data.labels()[row as usize], data.weight(row as usize)));
        let base = base_score(data.task(), labeled);
        Self {
            task: data.task(),
            settings,
            unit,
            limits: Limits::new(settings, data.label_variance(), unit),
            labels: data.labels(),
            weights: data.weights(),
            table,
            train,
            valid,
            derivatives: vec![Derivatives::default(); data.rows()],
            packed,
            spare: Vec::new(),
            seed,
            scores: vec![base; data.rows()],
            forest: Forest::empty(features, base),
            rounds: 0,
            begun: 0,
            best_rounds: 0,
            best_loss: None,
            gains: vec![0.0; features],
            gains_of_best: vec![0.0; features],
            rng: SeededRng::new(seed, SAMPLING_STREAM),
        }
    }

    /// Whether all rounds are done, or held-out rows have not gained for long enough.
    pub(super) fn is_over(&self) -> bool {
        let patience = self.settings.early_stopping_rounds;
        // What ended the other fit does not end this one before it has tried.
        let tried = self.rounds > self.begun;
        let stale = !self.valid.is_empty() && tried && self.rounds - self.best_rounds >= patience;
        self.rounds >= self.settings.rounds || stale
    }

    /// One more tree, and what it came to.
    fn round(&mut self) -> Progress {
        let tree = self.tree();
        self.forest.push_tree(&tree.nodes);
        self.rounds += 1;
        let valid_loss = (!self.valid.is_empty()).then(|| self.mean_loss(&self.valid));
        let train_loss = self.differentiate();
        if let Some(loss) = valid_loss
            && self.best_loss.is_none_or(|best| loss < best)
        {
            (self.best_loss, self.best_rounds) = (Some(loss), self.rounds);
            self.gains_of_best.clone_from(&self.gains);
        }
        Progress { step: self.rounds, steps_max: self.settings.rounds, train_loss, valid_loss }
    }

    fn finish(mut self) -> Result<Boosted> {
        let gains = if self.valid.is_empty() {
            self.gains
        } else {
            self.forest.truncate(self.best_rounds);
            self.gains_of_best
        };
        Ok(Boosted { forest: self.forest.times(self.unit)?, gains })
    }

    fn check_memory(&self) -> Result<()> {
        let features = self.table.features();
        let bytes = Histogram::bytes(features).saturating_mul(self.settings.max_leaves);
        if bytes > HISTOGRAM_BYTES_MAX {
            return Err(Error::resource_exhausted(format!(
                "histograms of {} leaves over {features} features need {bytes} bytes, at most {HISTOGRAM_BYTES_MAX} \
                 are allowed; lower max_leaves or keep fewer features",
                self.settings.max_leaves
            )));
        }
        Ok(())
    }

    fn weight(&self, row: u32) -> f64 {
        self.weights.map_or(1.0, |weights| weights[row as usize])
    }

    /// Takes the derivatives of the training rows at their scores; gives their mean loss.
    fn differentiate(&mut self) -> f64 {
        let (mut losses, mut weights) = (LossSum::default(), 0.0);
        for &row in &self.train {
            let at = row as usize;
            let weight = self.weight(row);
            weights += weight;
            self.derivatives[at] =
                derivatives_and_loss(self.task, self.scores[at], self.labels[at], weight, &mut losses);
        }
        if weights > 0.0 { losses.total() / weights } else { f64::INFINITY }
    }

    /// Grows one tree and adds it to the scores of all rows.
    fn tree(&mut self) -> Tree {
        let mut rows = self.sample_rows();
        let sampled = self.packed.is_none().then(|| {
            let features = self.sample_features();
            PackedBins::new(&self.table, features)
        });
        let Some(packed) = sampled.as_ref().or(self.packed.as_ref()) else { return Tree::default() };
        let tree = Grower {
            table: &self.table,
            limits: self.limits,
            derivatives: &self.derivatives,
            packed,
            gains: &mut self.gains,
            spare: &mut self.spare,
        }
        .grow(&mut rows);
        self.add(&tree, &rows);
        tree
    }

    fn sample_rows(&mut self) -> Vec<u32> {
        if self.settings.subsample >= 1.0 {
            return self.train.clone();
        }
        let count = ((self.train.len() as f64 * self.settings.subsample).round() as usize).max(1);
        self.rng.choose(self.train.len(), count).into_iter().map(|index| self.train[index as usize]).collect()
    }

    fn sample_features(&mut self) -> Vec<u32> {
        let total = self.table.features();
        let count = ((total as f64 * self.settings.colsample).ceil() as usize).clamp(1, total);
        self.rng.choose(total, count)
    }

    fn add(&mut self, tree: &Tree, sampled: &[u32]) {
        if sampled.len() == self.train.len() {
            for (node, range) in &tree.leaves {
                let value = tree.nodes[*node as usize].value;
                sampled[range.clone()].iter().for_each(|&row| self.scores[row as usize] += value);
            }
        } else {
            for &row in &self.train {
                self.scores[row as usize] += tree.value(&self.table, row);
            }
        }
        for &row in &self.valid {
            self.scores[row as usize] += tree.value(&self.table, row);
        }
    }

    fn mean_loss(&self, rows: &[u32]) -> f64 {
        let (mut sum, mut total) = (0.0, 0.0);
        for &row in rows {
            let weight = self.weight(row);
            sum += weight * loss(self.task, self.scores[row as usize], self.labels[row as usize]);
            total += weight;
        }
        if total > 0.0 { sum / total } else { f64::INFINITY }
    }
}
