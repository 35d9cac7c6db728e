//! Brings experiments, runs and models from elsewhere into the home of a tracking server.
//!
//! ```text
//! cargo run --example tracking_import -- --home tracking --mlflow-files mlruns
//! cargo run --example tracking_import -- --home tracking --mlflow-sqlite mlflow.db --files mlartifacts
//! cargo run --example tracking_import --features remote -- --home tracking --mlflow-server http://mlflow:5000
//! cargo run --example tracking_import -- --home tracking --wandb wandb
//! ```
//!
//! It prints how far it is on standard error and the report as JSON at the end: what was imported, and what was left out
//! and why. It can be stopped at any time and started again; what is there already is not imported twice. The server may
//! run meanwhile.

#[path = "common/program.rs"]
mod program;

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args, Parser};
use mlops::{
    Error, Result,
    registry::{
        ArtifactStore, SqlLoggedModelStore, SqlModelRegistry, SqlTraceStore, SqlTrackingStore,
        import::{ImportCounts, ImportOptions, ImportSource, Importer, MlflowFiles, MlflowSqlite, WandbRuns},
    },
    store::{BlobStore, Home, MetaStore, SqliteMetaStore, SqliteSettings},
};
use tokio::runtime::Builder;

use self::program::end;

/// Runs and models between two lines of progress.
const TOLD_EVERY: u64 = 100;

/// Imports experiments, runs and models.
#[derive(Debug, Parser)]
#[command(name = "tracking_import")]
struct Options {
    /// Directory of the tracking server's database and files; created when absent.
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    #[command(flatten)]
    from: From,
    /// Directory with the files of runs, where they lie apart from the source.
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// Import this experiment only; may be repeated.
    #[arg(long, value_name = "NAME")]
    experiment: Vec<String>,
    /// Count, and write nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct From {
    /// A directory of MLflow's file store.
    #[arg(long, value_name = "DIR")]
    mlflow_files: Option<PathBuf>,
    /// A database file of MLflow.
    #[arg(long, value_name = "FILE")]
    mlflow_sqlite: Option<PathBuf>,
    /// The URL of a server that speaks MLflow's REST API.
    #[cfg(feature = "remote")]
    #[arg(long, value_name = "URL")]
    mlflow_server: Option<String>,
    /// A directory with runs of Weights & Biases: `wandb` of its client, or an export.
    #[arg(long, value_name = "DIR")]
    wandb: Option<PathBuf>,
}

fn main() -> ExitCode {
    end(&mut Builder::new_multi_thread(), run(&Options::parse()))
}

async fn run(options: &Options) -> Result<()> {
    let source = source(options).await?;
    let home = Home::open(&options.home)?;
    let meta: Arc<dyn MetaStore> =
        Arc::new(SqliteMetaStore::open(&home.join("meta.db"), SqliteSettings::default()).await?);
    let tracking = SqlTrackingStore::builder(Arc::clone(&meta)).build().await?;
    let models = SqlLoggedModelStore::builder(Arc::clone(&meta), Arc::new(tracking.clone())).build().await?;
    let traces = SqlTraceStore::builder(Arc::clone(&meta)).build().await?;
    let registry = SqlModelRegistry::builder(meta, BlobStore::local(&home.join("blobs"))?).build().await?;
    let import = ImportOptions {
        dry_run: options.dry_run,
        experiments: options.experiment.iter().cloned().collect(),
        ..ImportOptions::default()
    };
    let importer = Importer::new(Arc::new(tracking))
        .with_artifacts(ArtifactStore::local(&home.join("artifacts"))?)
        .with_registry(Arc::new(registry))
        .with_logged_models(Arc::new(models))
        .with_traces(Arc::new(traces))
        .with_options(import)
        .with_progress(tell);
    let report = importer.import(source.as_ref()).await?;
    let text = serde_json::to_string_pretty(&report);
    println!("{}", text.map_err(|error| Error::internal("the report has no JSON form").with_source(error))?);
    Ok(())
}

async fn source(options: &Options) -> Result<Box<dyn ImportSource>> {
    let files = options.files.as_deref();
    #[cfg(feature = "remote")]
    if let Some(url) = &options.from.mlflow_server {
        use mlops::registry::{MlflowRemote, import::MlflowApi};
        return Ok(Box::new(MlflowApi::new(MlflowRemote::builder(url).build()?)));
    }
    if let Some(directory) = &options.from.mlflow_files {
        let source = MlflowFiles::open(directory)?;
        return Ok(Box::new(match files {
            Some(files) => source.with_artifacts(files)?,
            None => source,
        }));
    }
    if let Some(directory) = &options.from.wandb {
        return Ok(Box::new(WandbRuns::open(directory)?));
    }
    let file = options.from.mlflow_sqlite.as_deref();
    let source = MlflowSqlite::open(file.ok_or_else(|| Error::invalid_argument("name a source"))?).await?;
    Ok(Box::new(match files {
        Some(files) => source.with_artifacts(files)?,
        None => source,
    }))
}

fn tell(counts: &ImportCounts) {
    let done = counts.runs + counts.runs_present + counts.models;
    if done.is_multiple_of(TOLD_EVERY) {
        eprintln!(
            "{} runs, {} there already, {} points, {} files",
            counts.runs, counts.runs_present, counts.points, counts.files
        );
    }
}
