//! Results of training into a tracked run.
//!
//! Writes go through core's [`RunLogger`], so that it does not matter which tracking store keeps
//! the run. Nothing is computed here.

use mlops_core::{Error, Metric, Result, RunLogger, Timestamp};

use crate::{cross_validation::CvResult, params::Params, search::Study};

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

fn metric(key: String, value: f64, timestamp: Timestamp, step: usize) -> Metric {
    Metric { key, value, timestamp, step: i64::try_from(step).unwrap_or(i64::MAX) }
}
