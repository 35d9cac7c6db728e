//! A trainer judged on rows it has not seen, fold by fold.
//!
//! Invariant: everything learnt, preprocessing included, is learnt anew from the training side of
//! each fold. The result does not depend on how many threads work on the folds.

use std::{num::NonZeroUsize, thread};

use mlops_core::{Error, ErrorKind, Result};
use mlops_metrics::{
    Metric,
    stats::{TestResult, corrected_resampled_t},
};
use serde::{Deserialize, Serialize};

use crate::{
    data::{TableDataset, Task},
    params::Params,
    split::{Fold, Splitter},
    trainer::{FitContext, Trainer, scores},
};

/// Scores of one trainer with one set of parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CvResult {
    /// What was measured.
    pub metric: Metric,
    /// Its value by fold, of the folds that could be judged.
    pub folds: Vec<f64>,
    /// Folds that say nothing and do not count: those of a classification that have one class only among their
    /// training or their test rows, as the folds of a time series with rare positives may, and those on whose test
    /// rows the metric is not defined, as R2 is not on one row.
    #[serde(default)]
    pub skipped: usize,
    /// Mean over folds.
    pub mean: f64,
    /// Sample standard deviation over folds (dividing by n - 1), zero of one fold. Folds share
    /// training rows, so it understates the uncertainty of the mean.
    pub std: f64,
}

impl CvResult {
    /// Whether two trainers differ beyond chance, from their results on the same folds: the corrected
    /// resampled t-test, which allows for training rows that folds share. `test_over_train` is the
    /// ratio of test to training rows of a fold, `1 / (k - 1)` for k folds.
    ///
    /// ```
    /// use mlops_train::{CvResult, Metric};
    ///
    /// let of = |folds: [f64; 5]| {
    ///     CvResult { metric: Metric::R2, folds: folds.into(), skipped: 0, mean: 0.0, std: 0.0 }
    /// };
    /// let (a, b) = (of([0.71, 0.74, 0.70, 0.73, 0.75]), of([0.61, 0.66, 0.60, 0.64, 0.63]));
    /// assert!(a.compare(&b, 0.25)?.p_value < 0.01);
    /// # Ok::<(), mlops_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` when metrics or numbers of folds differ, folds were skipped (they cannot be
    /// paired), or the ratio is not above zero; `FailedPrecondition` for fewer than two folds or
    /// differences that are all the same.
    pub fn compare(&self, other: &Self, test_over_train: f64) -> Result<TestResult> {
        if self.metric != other.metric || self.folds.len() != other.folds.len() || self.skipped + other.skipped > 0 {
            return Err(Error::invalid_argument("only results of one metric on the same folds, none skipped, compare"));
        }
        let differences: Vec<f64> = self.folds.iter().zip(&other.folds).map(|(a, b)| a - b).collect();
        corrected_resampled_t(&differences, test_over_train)
    }
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
    /// `FailedPrecondition` when no fold could be judged.
    pub fn run(
        &self,
        trainer: &dyn Trainer,
        data: &TableDataset,
        params: &Params,
        context: &FitContext,
    ) -> Result<CvResult> {
        let folds = self.splitter.split(data)?;
        let score = |(index, fold): (usize, &Fold)| {
            if lacks_a_class(data, &fold.train) || lacks_a_class(data, &fold.test) {
                return Ok(None);
            }
            let seed = context.seed().wrapping_add(index as u64);
            let model = trainer.fit(&data.take(&fold.train)?, params, &context.with_seed(seed))?;
            let test = data.take(&fold.test)?;
            let scores = scores(&*model, test.batch())?;
            match self.metric.compute_weighted(test.labels(), &scores, test.weights()) {
                Err(error) if error.kind() == ErrorKind::FailedPrecondition => Ok(None),
                value => value.map(Some),
            }
        };
        let values = map_in_order(&folds, self.threads, score)?;
        let judged: Vec<f64> = values.iter().copied().flatten().collect();
        if judged.is_empty() {
            return Err(Error::failed_precondition(format!(
                "none of the {} folds could be judged: each lacks a class among its training or its test rows, or \
                 metric {} is not defined on its test rows; take more rows, fewer folds or StratifiedKFold",
                values.len(),
                self.metric
            )));
        }
        Ok(summarize(self.metric, judged, values.len()))
    }
}

/// Whether rows of a classification are all of one class.
fn lacks_a_class(data: &TableDataset, rows: &[usize]) -> bool {
    let mut labels = rows.iter().filter_map(|&row| data.labels().get(row));
    let Some(first) = labels.next() else { return false };
    data.task() == Task::BinaryClassification && labels.all(|label| label == first)
}

/// `work` on every item, on up to `threads` threads; results in the order of the items.
fn map_in_order<T: Sync, V: Send>(
    items: &[T],
    threads: NonZeroUsize,
    work: impl Fn((usize, &T)) -> Result<V> + Sync,
) -> Result<Vec<V>> {
    let stride = threads.get().min(items.len()).max(1);
    if stride == 1 {
        return items.iter().enumerate().map(work).collect();
    }
    let lane = |lane: usize| -> Vec<(usize, Result<V>)> {
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

fn summarize(metric: Metric, folds: Vec<f64>, of: usize) -> CvResult {
    let skipped = of - folds.len();
    let n = folds.len() as f64;
    let mean = folds.iter().sum::<f64>() / n;
    let squares: f64 = folds.iter().map(|value| (value - mean).powi(2)).sum();
    let std = if folds.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 };
    CvResult { metric, folds, skipped, mean, std }
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
        let result = summarize(Metric::Mae, vec![1.0, 2.0, 6.0], 4);
        assert_eq!((result.mean, result.std, result.skipped), (3.0, 7.0_f64.sqrt(), 1));
        assert_eq!(summarize(Metric::Mae, vec![1.0], 1).std, 0.0);
    }
}
