//! Predicts all rows of Parquet files, a folder of them, or a Delta table.
//!
//! ```text
//! cargo run --example batch_predict --features batch -- --model model.onnx --columns age,hours --keys id \
//!   --input clicks/ --output scored/
//! cargo run --example batch_predict --features batch -- --mean nswprice,vicprice --keys event_time \
//!   --input elec.parquet --output scored/
//! ```
//!
//! Each input file becomes one output file of the same name: the keys, then the model's outputs. Run it again after it was
//! stopped, killed, or given more files: what is there already is not predicted again. Ctrl-C ends it after the batches
//! at hand. What is wrong is one sentence and exit code 2.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use arrow_array::{ArrayRef, Float64Array, RecordBatch, cast::AsArray as _, types::Float64Type};
use clap::Parser;
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use mlops::{
    Error, Result,
    core::{DataType, Digest, Model, ModelPackage, Signature, TensorSpec},
    serve::{BadRows, BatchJob, BatchProgress, BatchSettings, ClosureModel, Fingerprint, OnnxRuntime, Runtime as _},
};

/// Predicts all rows of Parquet files.
#[derive(Debug, Parser)]
#[command(name = "batch_predict")]
struct Options {
    /// A Parquet file, a folder of them, or a Delta table.
    #[arg(long, value_name = "PATH")]
    input: PathBuf,
    /// The folder for the predictions.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// An ONNX model of tables.
    #[arg(long, value_name = "FILE", required_unless_present = "mean", conflicts_with = "mean")]
    model: Option<PathBuf>,
    /// The columns that make the model's one wide input, in order; without them the inputs have the names of the model.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',', requires = "model")]
    columns: Vec<String>,
    /// Instead of a model: the mean of these columns.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    mean: Vec<String>,
    /// Columns that are copied into the output.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    keys: Vec<String>,
    /// Threads that predict.
    #[arg(long, value_name = "N", default_value_t = BatchSettings::default().workers)]
    workers: usize,
    /// Rows that are predicted at a time.
    #[arg(long, value_name = "N", default_value_t = BatchSettings::default().rows_per_batch)]
    rows_per_batch: usize,
    /// Answers null for rows that the model cannot take, instead of ending.
    #[arg(long)]
    allow_bad_rows: bool,
    /// Rounds numbers to the model's floating-point type.
    #[arg(long)]
    narrow_floats: bool,
    /// Knows unchanged files by their content instead of size and time.
    #[arg(long)]
    by_content: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.chain());
            ExitCode::from(2)
        }
    }
}

async fn run(options: Options) -> Result<()> {
    let (model, digest) = match &options.model {
        Some(path) => onnx(path, &options.columns)?,
        None => mean(&options.mean)?,
    };
    let settings = BatchSettings {
        rows_per_batch: options.rows_per_batch,
        workers: options.workers,
        bad_rows: if options.allow_bad_rows { BadRows::Null } else { BadRows::Fail },
        fingerprint: if options.by_content { Fingerprint::Content } else { Fingerprint::SizeAndTime },
        narrow_floats: options.narrow_floats,
        ..BatchSettings::default()
    };
    let bar = bar();
    let shown = bar.clone();
    let job = BatchJob::builder(model, options.input, options.output)
        .with_settings(settings)
        .with_keys(options.keys)
        .with_model_digest(digest)
        .with_progress(move |progress| show(&shown, progress))
        .build()?;
    let cancel = job.cancel_switch();
    let interrupt = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            cancel.cancel();
        }
    });
    let outcome = job.run().await;
    interrupt.abort();
    bar.finish_and_clear();
    let report = outcome?;
    let (files, found) = (report.parts.len(), report.parts.iter().filter(|part| part.found).count());
    println!(
        "{} rows in {files} files, of which {found} were there already; {} rows have no prediction; {:.1} s",
        HumanCount(report.rows),
        HumanCount(report.bad_rows),
        report.elapsed.as_secs_f64()
    );
    Ok(())
}

/// The model of an ONNX file and what names it.
fn onnx(path: &Path, columns: &[String]) -> Result<(Arc<dyn Model>, Digest)> {
    let bytes = fs::read(path).map_err(|error| {
        Error::not_found(format!("--model {} cannot be read: {error}", path.display())).with_source(error)
    })?;
    let runtime = OnnxRuntime::default();
    let mut package = runtime.package(bytes)?;
    if !columns.is_empty() {
        let columns = columns.iter().map(|name| TensorSpec::column(name, DataType::Float64));
        package.manifest.signature = Signature::new(columns, package.manifest.signature.outputs().to_vec())?;
    }
    Ok((runtime.load(&package)?, package.digest()?))
}

/// A model for trying out.
fn mean(columns: &[String]) -> Result<(Arc<dyn Model>, Digest)> {
    let columns = columns.iter().map(|name| TensorSpec::column(name, DataType::Float64));
    let signature = Signature::new(columns, [TensorSpec::column("mean", DataType::Float64)])?;
    let package = ModelPackage::new("mean", signature.clone());
    let model = ClosureModel::new(signature, |batch: &RecordBatch| {
        let columns: Vec<_> = batch.columns().iter().map(|column| column.as_primitive::<Float64Type>()).collect();
        let sum = |row: usize| columns.iter().map(|column| column.value(row)).sum::<f64>();
        let means = (0..batch.num_rows()).map(|row| sum(row) / columns.len() as f64);
        let means: ArrayRef = Arc::new(Float64Array::from_iter_values(means));
        Ok(RecordBatch::try_from_iter([("mean", means)])?)
    });
    Ok((Arc::new(model), package.digest()?))
}

/// On standard error, and only where that is a terminal.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}") {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, progress: &BatchProgress) {
    let rest = progress.remaining().map(|rest| format!(", {} left", HumanDuration(rest))).unwrap_or_default();
    bar.set_message(format!(
        "{} of {} rows, {} a second{rest}",
        HumanCount(progress.rows_done),
        HumanCount(progress.rows_total),
        HumanCount(progress.rows_per_second() as u64)
    ));
    bar.set_length(progress.rows_total);
    bar.set_position(progress.rows_done);
}
