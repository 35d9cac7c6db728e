//! A trainer judged on rows it has not seen, fold by fold.
//!
//! Invariant: everything learnt, preprocessing included, is learnt anew from the training side of
//! each fold. The result does not depend on how many threads work on the folds.

use std::{num::NonZeroUsize, thread};

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{
    data::TableDataset,
    metrics::Metric,
    params::Params,
    split::{Fold, Splitter},
    trainer::{FitContext, Trainer, scores},
};

/// Scores of one trainer with one set of parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CvResult {
    /// What was measured.
    pub metric: Metric,
    /// Its value by fold.
    pub folds: Vec<f64>,
    /// Mean over folds.
    pub mean: f64,
    /// Sample standard deviation over folds (dividing by n - 1), zero of one fold. Folds share
    /// training rows, so it understates the uncertainty of the mean.
    pub std: f64,
}

/// A splitter and a metric.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Float64Array, RecordBatch};
/// use mlops_train::{CrossValidation, FitContext, GbdtTrainer, KFold, Metric, Params, TableDataset};
///
/// let x: Vec<f64> = (0..300).map(f64::from).collect();
/// let y: Vec<f64> = x.iter().map(|x| (x / 40.0).sin()).collect();
/// let batch = RecordBatch::try_from_iter([
///     ("x", Arc::new(Float64Array::from(x)) as ArrayRef),
///     ("y", Arc::new(Float64Array::from(y)) as ArrayRef),
/// ])?;
/// let data = TableDataset::regression(batch, "y").build()?;
/// let validation = CrossValidation::new(KFold::new(3).with_shuffle(1), Metric::R2);
/// let result = validation.run(&GbdtTrainer, &data, &Params::new(), &FitContext::new(1))?;
/// assert_eq!(result.folds.len(), 3);
/// assert!(result.mean > 0.95);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug)]
pub struct CrossValidation {
    splitter: Box<dyn Splitter>,
    metric: Metric,
    threads: NonZeroUsize,
}

impl CrossValidation {
    /// Validates over the folds of `splitter`, one after the other.
    #[must_use]
    pub fn new(splitter: impl Splitter, metric: Metric) -> Self {
        Self { splitter: Box::new(splitter), metric, threads: NonZeroUsize::MIN }
    }

    /// Works on up to `threads` folds at once. Each holds its own copy of its rows.
    #[must_use]
    pub fn with_threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = threads;
        self
    }

    /// Fits and scores every fold.
    ///
    /// # Errors
    /// Those of the splitter, the trainer and the metric; a fold that fails fails the run.
    pub fn run(
        &self,
        trainer: &dyn Trainer,
        data: &TableDataset,
        params: &Params,
        context: &FitContext,
    ) -> Result<CvResult> {
        let folds = self.splitter.split(data)?;
        let score = |(index, fold): (usize, &Fold)| {
            let seed = context.seed().wrapping_add(index as u64);
            let model = trainer.fit(&data.take(&fold.train)?, params, &context.with_seed(seed))?;
            let test = data.take(&fold.test)?;
            self.metric.compute_weighted(test.labels(), &scores(&*model, test.batch())?, test.weights())
        };
        let folds = map_in_order(&folds, self.threads, score)?;
        Ok(summarize(self.metric, folds))
    }
}

/// `work` on every item, on up to `threads` threads; results in the order of the items.
fn map_in_order<T: Sync>(
    items: &[T],
    threads: NonZeroUsize,
    work: impl Fn((usize, &T)) -> Result<f64> + Sync,
) -> Result<Vec<f64>> {
    let stride = threads.get().min(items.len()).max(1);
    if stride == 1 {
        return items.iter().enumerate().map(work).collect();
    }
    let lane = |lane: usize| -> Vec<(usize, Result<f64>)> {
        // From the end, for the last folds of a time series have the most rows.
        let mine = items.iter().enumerate().rev().skip(lane).step_by(stride);
        mine.map(|(index, item)| (index, work((index, item)))).collect()
    };
    let mut results = thread::scope(|scope| {
        let lanes: Vec<_> = (0..stride).map(|index| scope.spawn(move || lane(index))).collect();
        let joined = lanes.into_iter().map(|lane| lane.join().map_err(|_| Error::internal("a fold panicked")));
        joined.collect::<Result<Vec<_>>>().map(|lanes| lanes.into_iter().flatten().collect::<Vec<_>>())
    })?;
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn summarize(metric: Metric, folds: Vec<f64>) -> CvResult {
    let n = folds.len() as f64;
    let mean = folds.iter().sum::<f64>() / n;
    let squares: f64 = folds.iter().map(|value| (value - mean).powi(2)).sum();
    let std = if folds.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 };
    CvResult { metric, folds, mean, std }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_change_nothing_and_the_first_error_wins() {
        let items: Vec<usize> = (0..7).collect();
        let threads = |n| NonZeroUsize::new(n).unwrap();
        let double = |(index, item): (usize, &usize)| Ok((index + item) as f64);
        for n in [1, 2, 3, 50] {
            let got = map_in_order(&items, threads(n), double).unwrap();
            assert_eq!(got, [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
            let failing = |(index, item): (usize, &usize)| match index {
                3 | 5 => Err(Error::invalid_argument(format!("fold {index}"))),
                _ => double((index, item)),
            };
            assert_eq!(map_in_order(&items, threads(n), failing).unwrap_err().message(), "fold 3");
        }
    }

    #[test]
    fn mean_and_deviation_by_hand() {
        let result = summarize(Metric::Mae, vec![1.0, 2.0, 6.0]);
        assert_eq!((result.mean, result.std), (3.0, 7.0_f64.sqrt()));
        assert_eq!(summarize(Metric::Mae, vec![1.0]).std, 0.0);
    }
}
