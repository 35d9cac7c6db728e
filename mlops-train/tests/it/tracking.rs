//! Results into a run that only keeps what it is given.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use mlops_core::{Metric as RunMetric, Result, RunId, RunLogger, RunStatus, Timestamp};
use mlops_train::{
    CvResult, Direction, FitContext, GbdtTrainer, Metric, Params, ProgressLog, SearchSpace, Study, Trainer, log_cv,
    log_params, log_study,
};

use crate::common::xor;

/// Keeps everything that is logged, in order.
#[derive(Debug)]
struct Kept {
    run_id: RunId,
    params: Mutex<Vec<(String, String)>>,
    metrics: Mutex<Vec<RunMetric>>,
    artifacts: Mutex<Vec<(String, Vec<u8>)>>,
}

impl Kept {
    fn new() -> Self {
        let run_id = RunId::new("run-1").unwrap();
        Self { run_id, params: Mutex::default(), metrics: Mutex::default(), artifacts: Mutex::default() }
    }
}

#[async_trait]
impl RunLogger for Kept {
    fn run_id(&self) -> &RunId {
        &self.run_id
    }
    async fn log_params(&self, params: &[(String, String)]) -> Result<()> {
        self.params.lock().unwrap().extend_from_slice(params);
        Ok(())
    }
    async fn log_metrics(&self, metrics: &[RunMetric]) -> Result<()> {
        self.metrics.lock().unwrap().extend_from_slice(metrics);
        Ok(())
    }
    async fn set_tags(&self, _: &[(String, String)]) -> Result<()> {
        Ok(())
    }
    async fn log_artifact(&self, path: &str, bytes: bytes::Bytes) -> Result<()> {
        self.artifacts.lock().unwrap().push((path.to_owned(), bytes.to_vec()));
        Ok(())
    }
    async fn finish(&self, _: RunStatus) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn parameters_folds_and_trials_arrive() {
    let run = Kept::new();
    let at = Timestamp::from_micros(7);
    log_params(&run, &Params::new().with("rounds", 50).with("learning_rate", 0.1)).await.unwrap();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(*run.params.lock().unwrap(), [pair("learning_rate", "0.1"), pair("rounds", "50")]);

    let result = CvResult { metric: Metric::RocAuc, folds: vec![0.7, 0.9], skipped: 0, mean: 0.8, std: 0.1 };
    log_cv(&run, &result, at).await.unwrap();
    let logged: Vec<(String, f64, i64)> =
        run.metrics.lock().unwrap().drain(..).map(|metric| (metric.key, metric.value, metric.step)).collect();
    let entry = |key: &str, value: f64, step: i64| (key.to_owned(), value, step);
    let expected = [
        entry("cv_roc_auc", 0.7, 0),
        entry("cv_roc_auc", 0.9, 1),
        entry("cv_roc_auc_mean", 0.8, 0),
        entry("cv_roc_auc_std", 0.1, 0),
    ];
    assert_eq!(logged, expected);

    let mut study = Study::builder(SearchSpace::new().with_int("n", 1, 9), Direction::Maximize).build().unwrap();
    study.optimize(4, |trial| trial.params.number("n"), |_, _| ()).unwrap();
    log_study(&run, &study, at).await.unwrap();
    let best = study.best().unwrap().value().unwrap();
    let metrics = run.metrics.lock().unwrap();
    assert_eq!(metrics.iter().filter(|metric| metric.key == "trial_value").count(), 4);
    assert!(metrics.iter().any(|metric| metric.key == "best_value" && metric.value == best));
    assert!(run.params.lock().unwrap().contains(&pair("best_n", &best.to_string())));
    let artifacts = run.artifacts.lock().unwrap();
    assert_eq!(artifacts[0].0, "study.json");
    assert_eq!(serde_json::from_slice::<Study>(&artifacts[0].1).unwrap(), study);
}

#[tokio::test]
async fn progress_arrives_in_order() {
    let (run, log) = (Kept::new(), Arc::new(ProgressLog::new()));
    let observer = Arc::clone(&log);
    let context = FitContext::new(1).with_progress(move |progress| observer.observe(progress));
    let params = Params::new().with("rounds", 3).with("early_stopping_rounds", 3);
    GbdtTrainer.fit(&xor(200, 1), &params, &context).unwrap();
    log.flush(&run, Timestamp::from_micros(7)).await.unwrap();
    log.flush(&run, Timestamp::from_micros(8)).await.unwrap();
    let logged: Vec<(String, i64)> =
        run.metrics.lock().unwrap().iter().map(|metric| (metric.key.clone(), metric.step)).collect();
    let expected = (1..=3).flat_map(|step| [("train_loss".to_owned(), step), ("valid_loss".to_owned(), step)]);
    assert_eq!(logged, expected.collect::<Vec<_>>());
}
