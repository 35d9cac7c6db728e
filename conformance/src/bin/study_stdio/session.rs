//! The study that the lines are about.

use std::{collections::BTreeMap, sync::Arc};

use mlops_core::{Clock, Error, Result, SystemClock};
use mlops_store::{SqliteMetaStore, SqliteSettings};
use mlops_train::{
    Direction, ParamValue, Params, PrunerSettings, SamplerSettings, Study, Trial,
    search::{Outcome, SharedSettings, SharedStudy, StudyBuilder, export_optuna, import_optuna, importance, plot},
};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::protocol::{self, Operation, Told};

/// Where the study is kept.
#[derive(Debug)]
enum Held {
    /// In this process.
    Here(Box<Study>),
    /// In a SQLite file.
    Shared(Box<SharedStudy>),
}

/// At most one study.
#[derive(Debug)]
pub(crate) struct Session {
    runtime: Runtime,
    held: Option<Held>,
}

impl Session {
    pub(crate) fn new() -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::unavailable("no runtime can be started").with_source(error))?;
        Ok(Self { runtime, held: None })
    }

    /// Whether there is a study.
    pub(crate) fn is_open(&self) -> bool {
        self.held.is_some()
    }

    /// Does one operation and gives its answer.
    pub(crate) fn run(&mut self, operation: Operation) -> Result<Value> {
        if let Operation::Create { storage, .. } = &operation {
            if self.is_open() {
                return Err(Error::failed_precondition("there is a study already"));
            }
            let storage = storage.clone();
            return self.open(build(operation)?, storage);
        }
        if let (Operation::Import { optuna, name, sampler, seed }, false) = (&operation, self.is_open()) {
            let sampler = protocol::read(sampler.clone(), SamplerSettings::by_name)?;
            let study = self.runtime.block_on(async {
                let store = SqliteMetaStore::open_read_only(optuna.as_ref(), SqliteSettings::default()).await?;
                import_optuna(&store, name, sampler, *seed).await
            })?;
            return self.open(study, None);
        }
        let Self { runtime, held: Some(held) } = self else {
            return Err(Error::failed_precondition("the first operation must be create"));
        };
        match operation {
            Operation::Create { .. } | Operation::Import { .. } => {
                Err(Error::failed_precondition("there is a study already"))
            }
            Operation::Export { optuna } => runtime.block_on(async {
                let store = SqliteMetaStore::open(optuna.as_ref(), SqliteSettings::default()).await?;
                export_optuna(held.study(), &store, SystemClock::new().now()).await?;
                store.close().await;
                Ok(json!({ "exported": held.study().trials().len() }))
            }),
            Operation::Plot { html } => {
                let page = plot::html(held.study());
                std::fs::write(&html, &page)
                    .map_err(|error| Error::unavailable(format!("{html} cannot be written")).with_source(error))?;
                Ok(json!({ "bytes": page.len() }))
            }
            Operation::Importance {} => Ok(json!({ "importance": importance(held.study(), 0)? })),
            Operation::Ask {} => held.ask(runtime).map(|trial| protocol::trial(&trial)),
            Operation::Enqueue { params } => {
                let params = self::params(params)?;
                held.enqueue(runtime, params).map(|trial| protocol::trial(&trial))
            }
            Operation::Report { trial, step, value } => {
                let prune = held.report(runtime, trial, step, value.unwrap_or(f64::NAN))?;
                Ok(json!({ "prune": prune }))
            }
            Operation::Note { trial, name, value } => {
                held.note(runtime, trial, &name, value)?;
                Ok(json!({ "trial": trial }))
            }
            Operation::Tell { trial, state, value, values, constraints } => {
                let number = |value: Option<f64>| value.unwrap_or(f64::NAN);
                let outcome = match state {
                    Some(Told::Fail) => Outcome::Failed,
                    Some(Told::Pruned) => Outcome::Pruned,
                    Some(Told::Complete) | None => Outcome::Complete {
                        values: values.map_or_else(|| vec![number(value)], |v| v.into_iter().map(number).collect()),
                        constraints: constraints.into_iter().map(number).collect(),
                    },
                };
                held.tell(runtime, trial, outcome)?;
                Ok(json!({ "trial": trial, "state": held.study().trials().get(trial).map(|trial| trial.state) }))
            }
            Operation::Best {} => best(held.study()),
            Operation::Trials {} => Ok(json!({ "trials": held.study().trials() })),
        }
    }

    fn open(&mut self, study: Study, storage: Option<String>) -> Result<Value> {
        let answer = json!({ "study": study.name() });
        let held = match storage {
            None => Held::Here(Box::new(study)),
            Some(path) => self.runtime.block_on(async {
                let store = SqliteMetaStore::open(path.as_ref(), SqliteSettings::default()).await?;
                let (clock, worker) = (Arc::new(SystemClock::new()), format!("process {}", std::process::id()));
                let shared = SharedStudy::open(Arc::new(store), clock, study, worker, SharedSettings::default());
                Ok::<_, Error>(Held::Shared(Box::new(shared.await?)))
            })?,
        };
        self.held = Some(held);
        Ok(answer)
    }
}

impl Held {
    fn study(&self) -> &Study {
        match self {
            Self::Here(study) => study,
            Self::Shared(shared) => shared.study(),
        }
    }

    fn ask(&mut self, runtime: &Runtime) -> Result<Trial> {
        match self {
            Self::Here(study) => study.ask(),
            Self::Shared(shared) => runtime.block_on(shared.ask()),
        }
    }

    fn enqueue(&mut self, runtime: &Runtime, params: Params) -> Result<Trial> {
        match self {
            Self::Here(study) => study.enqueue(params),
            Self::Shared(shared) => runtime.block_on(shared.enqueue(params)),
        }
    }

    fn report(&mut self, runtime: &Runtime, trial: usize, step: u64, value: f64) -> Result<bool> {
        match self {
            Self::Here(study) => study.report(trial, step, value),
            Self::Shared(shared) => runtime.block_on(shared.report(trial, step, value)),
        }
    }

    fn note(&mut self, runtime: &Runtime, trial: usize, name: &str, value: Value) -> Result<()> {
        match self {
            Self::Here(study) => study.set_user_attribute(trial, name, value),
            Self::Shared(shared) => runtime.block_on(shared.set_user_attribute(trial, name, value)),
        }
    }

    fn tell(&mut self, runtime: &Runtime, trial: usize, outcome: Outcome) -> Result<()> {
        match self {
            Self::Here(study) => study.tell_outcome(trial, outcome),
            Self::Shared(shared) => runtime.block_on(shared.tell(trial, outcome)),
        }
    }
}

/// The study that an operation describes.
fn build(operation: Operation) -> Result<Study> {
    let Operation::Create { name, direction, directions, sampler, pruner, seed, space, .. } = operation else {
        return Err(Error::internal("only create describes a study"));
    };
    let directions = directions.unwrap_or_else(|| vec![direction.unwrap_or(Direction::Minimize)]);
    let builder = Study::multi_objective(protocol::space(space), directions)
        .with_name(name.unwrap_or_else(|| "study".to_owned()))
        .with_seed(seed)
        .with_sampler(protocol::read(sampler, SamplerSettings::by_name)?);
    let pruner = pruner.map(|pruner| protocol::read(pruner, PrunerSettings::by_name)).transpose()?.flatten();
    pruner.into_iter().fold(builder, StudyBuilder::with_pruner).build()
}

fn best(study: &Study) -> Result<Value> {
    if study.directions().len() > 1 {
        return Ok(json!({ "trials": study.best_trials().into_iter().map(protocol::ended).collect::<Vec<_>>() }));
    }
    let best = study.best().ok_or_else(|| Error::not_found("no trial is complete and feasible yet"))?;
    Ok(protocol::ended(best))
}

fn params(values: BTreeMap<String, Value>) -> Result<Params> {
    let read = |(name, value): (String, Value)| {
        let value: ParamValue = serde_json::from_value(value)
            .map_err(|error| Error::invalid_argument(format!("value of parameter {name:?}: {error}")))?;
        Ok((name, value))
    };
    values.into_iter().map(read).collect::<Result<Vec<_>>>().map(|pairs| pairs.into_iter().collect())
}
