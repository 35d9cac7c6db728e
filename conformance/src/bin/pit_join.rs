//! Joins one case of the point-in-time suite: reads `case.json`, `spine.parquet` and one Parquet file per view from a
//! directory, writes the joined table. Exit 2 with one sentence on bad input.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use clap::{Parser, ValueEnum};
use mlops_core::{Error, Result};
use mlops_features::{JoinSettings, JoinView, Knowledge, PointInTimeJoin};
use parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};
use serde::Deserialize;

/// Point-in-time join of one case directory.
#[derive(Debug, Parser)]
struct Arguments {
    /// Directory with case.json, spine.parquet and the views.
    case: PathBuf,
    /// Where to write the joined table.
    out: PathBuf,
    /// What computes the join.
    #[arg(long, default_value = "local")]
    engine: Engine,
    /// Where the server of `--engine spark` is: sc://HOST:PORT.
    #[arg(long)]
    remote: Option<String>,
    /// A directory that the server reads too, for rows that are too many to be sent.
    #[arg(long)]
    staging: Option<PathBuf>,
    /// Most bytes of rows that are sent rather than staged.
    #[arg(long)]
    inline_bytes_max: Option<usize>,
    /// Threads; zero means one for every processor.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Most memory for the join's state, in MiB.
    #[arg(long)]
    memory_mib: Option<usize>,
    /// Rows that are decoded at a time.
    #[arg(long)]
    batch_rows: Option<usize>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Engine {
    /// The kernels of this SDK in this process.
    Local,
    /// A Spark Connect server.
    Spark,
}

#[derive(Debug, Deserialize)]
struct Case {
    mode: Knowledge,
    views: Vec<View>,
}

#[derive(Debug, Deserialize)]
struct View {
    name: String,
    keys: Vec<String>,
    source_keys: Vec<String>,
    ttl_us: u64,
    has_created: bool,
    features: Vec<String>,
}

fn main() -> ExitCode {
    mlops_conformance::end("pit_join", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let path = arguments.case.join("case.json");
    let text = std::fs::read(&path).map_err(|error| unreadable(&path).with_source(error))?;
    let case: Case = serde_json::from_slice(&text).map_err(|error| unreadable(&path).with_source(error))?;
    let path = arguments.case.join("spine.parquet");
    let (schema, spine) = read(&path)?;
    let defaults = JoinSettings::default();
    let settings = JoinSettings {
        threads: arguments.threads,
        memory_bytes_max: arguments.memory_mib.map_or(defaults.memory_bytes_max, |mib| mib.saturating_mul(1 << 20)),
        batch_rows: arguments.batch_rows.unwrap_or(defaults.batch_rows),
    };
    let mut join =
        PointInTimeJoin::new(RecordBatch::new_empty(schema)).with_knowledge(case.mode).with_settings(settings);
    for view in &case.views {
        join = join.with_view(view.source(&arguments.case)?);
    }
    match arguments.engine {
        Engine::Local => write(&arguments.out, |sink| join.run_each(spine, sink).map(drop)),
        Engine::Spark => {
            let schema = join.spine().schema();
            let spine = concat_batches(&schema, &spine.collect::<Result<Vec<_>>>()?)?;
            let joined = on_spark(arguments, &join.with_spine(spine))?;
            write(&arguments.out, |sink| sink(joined))
        }
    }
}

#[cfg(feature = "spark")]
fn on_spark(arguments: &Arguments, join: &PointInTimeJoin) -> Result<RecordBatch> {
    use mlops_features::{
        ComputeEngine as _,
        engine::spark::{SparkEngine, SparkSettings},
    };

    let no_remote = || Error::invalid_argument("--engine spark needs --remote sc://HOST:PORT");
    let remote = arguments.remote.as_deref().ok_or_else(no_remote)?;
    let defaults = SparkSettings::default();
    let settings = SparkSettings {
        staging: arguments.staging.clone(),
        inline_bytes_max: arguments.inline_bytes_max.unwrap_or(defaults.inline_bytes_max),
        ..defaults
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::internal("no runtime").with_source(error))?;
    runtime.block_on(async { SparkEngine::new(remote, settings)?.join(join).await })
}

#[cfg(not(feature = "spark"))]
fn on_spark(_: &Arguments, _: &PointInTimeJoin) -> Result<RecordBatch> {
    Err(Error::unimplemented("--engine spark is not in this build; rebuild with --features spark"))
}

impl View {
    fn source(&self, case: &Path) -> Result<JoinView> {
        if self.keys.len() != self.source_keys.len() {
            return Err(Error::invalid_argument(format!("view \"{}\" has unequal numbers of keys", self.name)));
        }
        let mut view = JoinView::parquet(&self.name, [case.join(format!("{}.parquet", self.name))])?
            .with_ttl(Duration::from_micros(self.ttl_us))
            .with_event_timestamp_as(format!("{}__event_timestamp", self.name));
        for (spine, source) in self.keys.iter().zip(&self.source_keys) {
            view = view.with_key(spine, source);
        }
        if self.has_created {
            view = view.with_created("created");
        }
        for feature in &self.features {
            view = view.with_feature(feature, feature);
        }
        Ok(view)
    }
}

fn unreadable(path: &Path) -> Error {
    Error::invalid_argument(format!("{} cannot be read", path.display()))
}

fn read(path: &Path) -> Result<(SchemaRef, impl Iterator<Item = Result<RecordBatch>>)> {
    let file = File::open(path).map_err(|error| unreadable(path).with_source(error))?;
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| unreadable(path).with_source(error))?;
    let schema = Arc::clone(builder.schema());
    let reader = builder.build().map_err(|error| unreadable(path).with_source(error))?;
    Ok((schema, reader.map(|batch| Ok(batch?))))
}

/// Writes the pieces that `make` hands out, as they come.
fn write(path: &Path, make: impl FnOnce(&mut dyn FnMut(RecordBatch) -> Result<()>) -> Result<()>) -> Result<()> {
    let fail = || Error::invalid_argument(format!("{} cannot be written", path.display()));
    let mut writer = None;
    make(&mut |piece| {
        if writer.is_none() {
            let file = File::create(path).map_err(|error| fail().with_source(error))?;
            let made = ArrowWriter::try_new(file, piece.schema(), None);
            writer = Some(made.map_err(|error| fail().with_source(error))?);
        }
        let Some(writer) = &mut writer else { return Err(fail()) };
        writer.write(&piece).map_err(|error| fail().with_source(error))
    })?;
    let writer = writer.ok_or_else(fail)?;
    writer.close().map(drop).map_err(|error| fail().with_source(error))
}
