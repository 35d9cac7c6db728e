//! The search: folds are judged one by one, and a trial that falls behind is stopped; the study is kept after each.

use std::{io::IsTerminal as _, path::Path};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mlops::{
    core::{Error, Result},
    train::{
        Direction, FitContext, Fold, Metric, Params, Splitter as _, StratifiedKFold, Study, TableDataset, TrialState,
        scores,
        search::{PercentileSettings, PrunerSettings},
    },
};

use crate::options::{Kind, Options};

/// By this, hyper-parameters are compared.
pub const METRIC: Metric = Metric::RocAuc;
const FOLDS: usize = 3;

/// Searches until there are as many trials as wanted, going on with the study at `path` if there is one.
///
/// # Errors
/// `FailedPrecondition` when the study there is of other rows, another kind of model or another seed.
pub fn search(options: &Options, name: &str, data: &TableDataset, path: &Path) -> Result<Study> {
    let mut study = open(options, name, path)?;
    let wanted = options.trials as usize;
    let bar = bar(wanted, study.trials().len());
    let rows = data.rows().min(options.model.search_rows());
    // The rows are in no order, so the first ones are as good as any.
    let data = data.take(&(0..rows).collect::<Vec<_>>())?;
    let folds = StratifiedKFold::new(FOLDS).with_shuffle(options.seed).split(&data)?;
    while study.trials().len() < wanted {
        let trial = study.ask()?;
        match judge(options, &mut study, trial.number, &trial.params, &data, &folds) {
            Ok(Some(value)) => study.tell(trial.number, value)?,
            Ok(None) => study.prune(trial.number)?,
            Err(error) => {
                study.fail(trial.number)?;
                bar.suspend(|| eprintln!("trial {} failed: {error}", trial.number));
            }
        }
        save(&study, path)?;
        let best = study.best().and_then(|trial| trial.value());
        bar.set_message(best.map_or_else(String::new, |best| format!("best {} {best:.4}", METRIC.name())));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(study)
}

/// The mean over folds; none when the pruner stopped it.
fn judge(
    options: &Options,
    study: &mut Study,
    number: usize,
    params: &Params,
    data: &TableDataset,
    folds: &[Fold],
) -> Result<Option<f64>> {
    let params = with_fixed(options.model, params);
    let mut values = Vec::with_capacity(folds.len());
    for (step, fold) in folds.iter().enumerate() {
        let (train, test) = (data.take(&fold.train)?, data.take(&fold.test)?);
        let context = FitContext::new(options.seed + step as u64);
        let model = options.model.trainer().fit(&train, &params, &context)?;
        values.push(METRIC.compute(test.labels(), &scores(&*model, test.batch())?)?);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let last = step + 1 == folds.len();
        if study.report(number, step as u64, mean)? && !last {
            return Ok(None);
        }
    }
    Ok(Some(values.iter().sum::<f64>() / values.len() as f64))
}

/// What is searched and what is not.
pub fn with_fixed(kind: Kind, params: &Params) -> Params {
    params.iter().fold(kind.fixed(), |all, (name, value)| all.with(name, value.clone()))
}

fn open(options: &Options, name: &str, path: &Path) -> Result<Study> {
    let stored = match std::fs::read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        // A study that cannot be read now must not be written over.
        Err(error) => return Err(Error::unavailable(format!("{} cannot be read: {error}", path.display()))),
    };
    if let Some(bytes) = stored {
        let study: Study = serde_json::from_slice(&bytes)
            .map_err(|error| Error::data_loss(format!("{} is damaged: {error}", path.display())))?;
        if study.name() != name {
            return Err(Error::failed_precondition(format!(
                "{} is the study {:?}, this is {name:?}; choose another --out",
                path.display(),
                study.name()
            )));
        }
        return Ok(study);
    }
    Study::builder(options.model.trainer().search_space(), Direction::Maximize)
        .with_name(name)
        .with_seed(options.seed)
        .with_pruner(PrunerSettings::Percentile(PercentileSettings { startup_trials: 8, ..Default::default() }))
        .build()
}

/// Whole or absent: a reader never sees half a study.
fn save(study: &Study, path: &Path) -> Result<()> {
    let json = serde_json::to_vec(study)
        .map_err(|error| Error::internal("the study cannot be written as JSON").with_source(error))?;
    let writing = path.with_extension("writing");
    std::fs::write(&writing, json)
        .and_then(|()| std::fs::rename(&writing, path))
        .map_err(|error| Error::unavailable(format!("{} cannot be written: {error}", path.display())))
}

/// How many trials of each kind there were.
pub fn tally(study: &Study) -> (usize, usize) {
    let count = |state| study.trials().iter().filter(|trial| trial.state == state).count();
    (count(TrialState::Complete), count(TrialState::Pruned))
}

fn bar(length: usize, done: usize) -> ProgressBar {
    let terminal = std::io::stderr().is_terminal();
    let target = if terminal { ProgressDrawTarget::stderr_with_hz(8) } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(length as u64), target);
    if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:32} {pos}/{len} {eta} {wide_msg}") {
        bar.set_style(style);
    }
    bar.set_prefix("search");
    bar.set_position(done as u64);
    bar
}
