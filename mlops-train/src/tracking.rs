//! Results of training into a tracked run.
//!
//! Writes go through core's [`RunLogger`], so that it does not matter which tracking store keeps
//! the run. Nothing is computed here.

use std::sync::{Mutex, MutexGuard, PoisonError};

use mlops_core::{Error, Metric, Result, RunLogger, Timestamp};

use crate::{cross_validation::CvResult, explain::Summary, params::Params, search::Study, trainer::Progress};

/// Logs every parameter by its name.
///
/// # Errors
/// Those of the logger.
pub async fn log_params(logger: &dyn RunLogger, params: &Params) -> Result<()> {
    let pairs: Vec<(String, String)> =
        params.iter().map(|(name, value)| (name.to_owned(), value.to_string())).collect();
    logger.log_params(&pairs).await
}

/// Logs `cv_METRIC` with a step per fold, and `cv_METRIC_mean` and `cv_METRIC_std`.
///
/// # Errors
/// Those of the logger.
pub async fn log_cv(logger: &dyn RunLogger, result: &CvResult, at: Timestamp) -> Result<()> {
    let name = format!("cv_{}", result.metric);
    let mut metrics: Vec<Metric> =
        result.folds.iter().enumerate().map(|(fold, &value)| metric(name.clone(), value, at, fold)).collect();
    metrics.push(metric(format!("{name}_mean"), result.mean, at, 0));
    metrics.push(metric(format!("{name}_std"), result.std, at, 0));
    logger.log_metrics(&metrics).await
}

/// Logs the value of every complete trial as `trial_value` with its number as step, the best one as
/// `best_value`, its parameters under `best_NAME`, and the whole study as `study.json`.
///
/// # Errors
/// Those of the logger.
pub async fn log_study(logger: &dyn RunLogger, study: &Study, at: Timestamp) -> Result<()> {
    let values = study.trials().iter().filter_map(|trial| Some((trial.number, trial.value()?)));
    let mut metrics: Vec<Metric> =
        values.map(|(number, value)| metric("trial_value".to_owned(), value, at, number)).collect();
    if let Some((trial, value)) = study.best().and_then(|trial| Some((trial, trial.value()?))) {
        metrics.push(metric("best_value".to_owned(), value, at, trial.number));
        let params: Vec<(String, String)> =
            trial.params.iter().map(|(name, value)| (format!("best_{name}"), value.to_string())).collect();
        logger.log_params(&params).await?;
    }
    logger.log_metrics(&metrics).await?;
    let json = serde_json::to_vec_pretty(study)
        .map_err(|error| Error::internal("study cannot be written as JSON").with_source(error))?;
    logger.log_artifact("study.json", json.into()).await
}

/// Logs each feature's share of the importance as `importance/FEATURE`, and the whole as
/// `importance.json`.
///
/// # Errors
/// Those of the logger.
pub async fn log_importance(logger: &dyn RunLogger, summary: &Summary, at: Timestamp) -> Result<()> {
    let shares = summary.shares();
    let metrics: Vec<Metric> =
        shares.iter().map(|(name, share)| metric(format!("importance/{name}"), *share, at, 0)).collect();
    logger.log_metrics(&metrics).await?;
    let json = serde_json::to_vec_pretty(summary)
        .map_err(|error| Error::internal("importance cannot be written as JSON").with_source(error))?;
    logger.log_artifact("importance.json", json.into()).await
}

/// Takes a fit's progress on its thread and hands it to a run from an async task.
///
/// Invariant: each round or epoch is logged at least once, in order; what a flush could not deliver is
/// delivered by the next.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_train::{FitContext, ProgressLog};
///
/// let log = Arc::new(ProgressLog::new());
/// let observer = Arc::clone(&log);
/// let context = FitContext::new(1).with_progress(move |progress| observer.observe(progress));
/// // On the runtime, while the fit runs on a worker thread and once after it: log.flush(&run, now).await?
/// # let _ = context;
/// ```
#[derive(Debug, Default)]
pub struct ProgressLog(Mutex<Vec<Progress>>);

impl ProgressLog {
    /// Nothing to log yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps one event for the next flush.
    pub fn observe(&self, progress: &Progress) {
        self.pending().push(*progress);
    }

    /// Logs `train_loss` and, where rows are held out, `valid_loss`, with the round or epoch as step.
    ///
    /// # Errors
    /// Those of the logger; the events stay for the next flush.
    pub async fn flush(&self, logger: &dyn RunLogger, at: Timestamp) -> Result<()> {
        let events = std::mem::take(&mut *self.pending());
        let losses = events.iter().flat_map(|event| {
            let train = metric("train_loss".to_owned(), event.train_loss, at, event.step);
            [Some(train), event.valid_loss.map(|loss| metric("valid_loss".to_owned(), loss, at, event.step))]
        });
        let metrics: Vec<Metric> = losses.flatten().collect();
        if metrics.is_empty() {
            return Ok(());
        }
        let logged = logger.log_metrics(&metrics).await;
        if logged.is_err() {
            self.pending().splice(0..0, events);
        }
        logged
    }

    fn pending(&self) -> MutexGuard<'_, Vec<Progress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn metric(key: String, value: f64, timestamp: Timestamp, step: usize) -> Metric {
    Metric { key, value, timestamp, step: i64::try_from(step).unwrap_or(i64::MAX) }
}
