//! The boosting loop: tree after tree on the gradients of the sum so far.

#![allow(clippy::indexing_slicing, reason = "rows are below the number of rows of the dataset the loop runs over")]

use mlops_core::{Error, Result};

use super::{
    bins::BinnedTable,
    forest::Forest,
    grow::{Grower, Tree},
    histogram::{Histogram, Sums},
    loss::{Derivatives, base_score, derivatives, loss},
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

struct Booster<'a> {
    task: Task,
    settings: &'a GbdtSettings,
    labels: &'a [f64],
    weights: Option<&'a [f64]>,
    table: BinnedTable,
    train: Vec<u32>,
    valid: Vec<u32>,
    scores: Vec<f64>,
    derivatives: Vec<Derivatives>,
    gains: Vec<f64>,
    gains_of_best: Vec<f64>,
    spare: Vec<Histogram>,
    rng: SeededRng,
}

/// Fits trees to the rows of `data`, whose preprocessed numbers are `matrix`.
pub(crate) fn boost(
    data: &TableDataset,
    matrix: &Matrix,
    settings: &GbdtSettings,
    context: &FitContext,
) -> Result<Boosted> {
    let mut booster = Booster::new(data, matrix, settings, context.seed());
    booster.check_memory()?;
    let rows = booster.train.iter().map(|&row| (data.labels()[row as usize], booster.weight(row)));
    let base = base_score(data.task(), rows);
    booster.scores.fill(base);
    let mut forest = Forest::empty(matrix.columns(), base);
    let (mut best_loss, mut best_trees) = (f64::INFINITY, 0);
    for round in 1..=settings.rounds {
        context.check_cancelled()?;
        let tree = booster.round();
        forest.push_tree(&tree.nodes);
        let valid_loss = (!booster.valid.is_empty()).then(|| booster.mean_loss(&booster.valid));
        let train_loss = booster.mean_loss(&booster.train);
        context.report(&Progress { step: round, steps_max: settings.rounds, train_loss, valid_loss });
        let Some(valid_loss) = valid_loss else { continue };
        if valid_loss < best_loss {
            (best_loss, best_trees) = (valid_loss, round);
            booster.gains_of_best.clone_from(&booster.gains);
        } else if round - best_trees >= settings.early_stopping_rounds {
            break;
        }
    }
    if booster.valid.is_empty() {
        return Ok(Boosted { forest, gains: booster.gains });
    }
    forest.truncate(best_trees);
    Ok(Boosted { forest, gains: booster.gains_of_best })
}

impl<'a> Booster<'a> {
    fn new(data: &'a TableDataset, matrix: &Matrix, settings: &'a GbdtSettings, seed: u64) -> Self {
        let (train, valid) = match settings.early_stopping_rounds {
            0 => ((0..data.rows() as u32).collect(), Vec::new()),
            _ => holdout(data, settings.validation_share, seed),
        };
        let features = matrix.columns();
        Self {
            task: data.task(),
            settings,
            labels: data.labels(),
            weights: data.weights(),
            table: BinnedTable::new(matrix, settings.max_bins),
            train,
            valid,
            scores: vec![0.0; data.rows()],
            derivatives: vec![Derivatives::default(); data.rows()],
            gains: vec![0.0; features],
            gains_of_best: vec![0.0; features],
            spare: Vec::new(),
            rng: SeededRng::new(seed, 1),
        }
    }

    fn check_memory(&self) -> Result<()> {
        let bytes = (self.table.total_bins() * size_of::<Sums>()).saturating_mul(self.settings.max_leaves);
        if bytes > HISTOGRAM_BYTES_MAX {
            return Err(Error::resource_exhausted(format!(
                "histograms of {} leaves over {} bins need {bytes} bytes, at most {HISTOGRAM_BYTES_MAX} are allowed; lower max_leaves or max_bins",
                self.settings.max_leaves,
                self.table.total_bins()
            )));
        }
        Ok(())
    }

    fn weight(&self, row: u32) -> f64 {
        self.weights.map_or(1.0, |weights| weights[row as usize])
    }

    /// Grows one tree and adds it to the scores of all rows.
    fn round(&mut self) -> Tree {
        for &row in &self.train {
            let at = row as usize;
            let weight = self.weights.map_or(1.0, |weights| weights[at]);
            self.derivatives[at] = derivatives(self.task, self.scores[at], self.labels[at], weight);
        }
        let mut rows = self.sample_rows();
        let features = self.sample_features();
        let tree = Grower {
            table: &self.table,
            settings: self.settings,
            derivatives: &self.derivatives,
            features: &features,
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
        if self.settings.colsample >= 1.0 {
            return (0..total as u32).collect();
        }
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
