//! Writes the runs of a tracking server's home, and all points of their metrics, as Parquet files.
//!
//! ```text
//! cargo run --example tracking_export --features parquet -- --home tracking --runs runs.parquet --history points.parquet
//! ```
//!
//! `--compare ID --compare ID` prints runs side by side instead. The server may run meanwhile.

#[path = "common/program.rs"]
mod program;

use std::{fs::File, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;
use mlops::{
    Error, Result,
    core::RunId,
    registry::{
        ExperimentId, Search, SqlTrackingStore, TrackingStore, View,
        export::{self, BatchSource, HistoryScope, ParquetOptions},
    },
    store::{Home, SqliteMetaStore, SqliteSettings},
};
use tokio::runtime::Builder;

use self::program::end;

/// Exports runs and points.
#[derive(Debug, Parser)]
#[command(name = "tracking_export")]
struct Options {
    /// Directory of the tracking server's database.
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// Export this experiment only; may be repeated.
    #[arg(long, value_name = "NAME")]
    experiment: Vec<String>,
    /// Only runs that match, such as `metrics.auc > 0.9`.
    #[arg(long, value_name = "FILTER", default_value = "")]
    filter: String,
    /// File for the table of runs.
    #[arg(long, value_name = "FILE")]
    runs: Option<PathBuf>,
    /// File for the table of points.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Print these runs side by side.
    #[arg(long, value_name = "ID")]
    compare: Vec<String>,
}

fn main() -> ExitCode {
    end(&mut Builder::new_multi_thread(), run(&Options::parse()))
}

async fn run(options: &Options) -> Result<()> {
    let home = Home::open(&options.home)?;
    let meta = SqliteMetaStore::open(&home.join("meta.db"), SqliteSettings::default()).await?;
    let store: Arc<dyn TrackingStore> = Arc::new(SqlTrackingStore::builder(Arc::new(meta)).build().await?);
    let search = Search::new().with_view(View::All).with_filter(&options.filter);
    let experiments = experiments(store.as_ref(), &options.experiment).await?;
    if let Some(path) = &options.runs {
        let mut table = export::runs(Arc::clone(&store), &experiments, &search).await?;
        write(&mut table, path).await?;
    }
    if let Some(path) = &options.history {
        let mut table = export::history(Arc::clone(&store), HistoryScope::Search(experiments, Box::new(search)));
        write(&mut table, path).await?;
    }
    if !options.compare.is_empty() {
        let ids = options.compare.iter().map(|id| id.parse()).collect::<Result<Vec<RunId>>>()?;
        print!("{}", export::compare(store.as_ref(), &ids).await?.to_markdown());
    }
    Ok(())
}

async fn write(table: &mut dyn BatchSource, path: &PathBuf) -> Result<()> {
    let file = File::create(path).map_err(|error| {
        Error::unavailable(format!("{} cannot be written: {error}", path.display())).with_source(error)
    })?;
    let rows = export::write_parquet(table, file, &ParquetOptions::default()).await?;
    println!("{}: {rows} rows", path.display());
    Ok(())
}

/// Those of the names, or all.
async fn experiments(store: &dyn TrackingStore, names: &[String]) -> Result<Vec<ExperimentId>> {
    let mut ids = Vec::new();
    for name in names {
        let found = store.experiment_by_name(name).await?;
        ids.push(found.ok_or_else(|| Error::not_found(format!("there is no experiment {name:?}")))?.id);
    }
    let mut search = Search::new().with_view(View::All);
    while names.is_empty() {
        let page = store.search_experiments(&search).await?;
        ids.extend(page.items.iter().map(|experiment| experiment.id));
        search.page.token = page.next_page_token.filter(|token| !token.is_empty());
        if search.page.token.is_none() {
            break;
        }
    }
    Ok(ids)
}
