//! `profile_stream FILE... [--merge P...] --out P [--sketches DIR]`: profiles Parquet and CSV files batch by batch, merges
//! profiles, writes one and prints what it says as one line of JSON. Exit 2 with one sentence on bad input.
//!
//! `--sketches` also writes every column's sketches in Apache DataSketches' layout, and `sketches.json` that names them.

use std::{
    fs::{self, File},
    io::Seek as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use clap::Parser;
use mlops_core::{Error, Result};
use mlops_monitor::{ColumnSummary, Interval, Profile, ProfileSummary, SketchSettings, Sketches};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

/// Rows read at a time.
const BATCH_ROWS: usize = 8192;
/// Levels of a column that are printed.
const LEVELS_PRINTED: usize = 5;

/// Builds or merges profiles.
#[derive(Debug, Parser)]
#[command(name = "profile_stream")]
struct Options {
    /// Parquet or CSV files of one schema.
    files: Vec<PathBuf>,
    /// Profiles to merge with them.
    #[arg(long, value_name = "P", num_args = 1..)]
    merge: Vec<PathBuf>,
    /// Where to write the profile.
    #[arg(long, value_name = "P")]
    out: PathBuf,
    /// Where to write the sketches of each column.
    #[arg(long, value_name = "DIR")]
    sketches: Option<PathBuf>,
}

fn main() -> ExitCode {
    mlops_conformance::end("profile_stream", run(&Options::parse()))
}

fn run(options: &Options) -> Result<()> {
    if options.files.is_empty() && options.merge.is_empty() {
        return Err(Error::invalid_argument("nothing to profile: give files, or profiles by --merge"));
    }
    let mut profile = read_profiles(&options.merge)?;
    let mut observed = Profile::new(profile.settings().clone())?;
    for path in &options.files {
        observe_file(&mut observed, path)?;
    }
    profile.merge(&observed)?;
    let bytes = profile.to_bytes()?;
    write(&options.out, &bytes)?;
    let summary = profile.summary()?;
    if let Some(directory) = &options.sketches {
        write_sketches(directory, &summary)?;
    }
    let columns = summary.columns().iter().map(column).collect::<Result<Vec<Value>>>()?;
    println!("{}", json!({ "rows": summary.rows(), "bytes": bytes.len(), "columns": columns }));
    Ok(())
}

/// All of them as one; without any, an empty profile.
fn read_profiles(paths: &[PathBuf]) -> Result<Profile> {
    let read = |path: &PathBuf| {
        let bytes = fs::read(path).map_err(|error| unreadable(path, error))?;
        Profile::from_bytes(&bytes).map_err(|error| unreadable(path, error))
    };
    let Some((first, rest)) = paths.split_first() else { return Profile::new(SketchSettings::default()) };
    let mut profile = read(first)?;
    for path in rest {
        profile.merge(&read(path)?).map_err(|error| unreadable(path, error))?;
    }
    Ok(profile)
}

fn unreadable(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::invalid_argument(format!("{} cannot be used", path.display())).with_source(source)
}

fn observe_file(profile: &mut Profile, path: &Path) -> Result<()> {
    let mut file = File::open(path).map_err(|error| unreadable(path, error))?;
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    let batches: Box<dyn Iterator<Item = std::result::Result<RecordBatch, ArrowError>>> = match extension.as_deref() {
        Some("parquet" | "pq") => {
            let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| unreadable(path, error))?;
            Box::new(builder.with_batch_size(BATCH_ROWS).build().map_err(|error| unreadable(path, error))?)
        }
        Some("csv" | "txt") => {
            let format = arrow_csv::reader::Format::default().with_header(true);
            let (schema, _) = format.infer_schema(&mut file, None).map_err(|error| unreadable(path, error))?;
            file.rewind().map_err(|error| unreadable(path, error))?;
            let reader =
                arrow_csv::ReaderBuilder::new(Arc::new(schema)).with_format(format).with_batch_size(BATCH_ROWS);
            Box::new(reader.build(file).map_err(|error| unreadable(path, error))?)
        }
        _ => {
            return Err(Error::invalid_argument(format!(
                "{} is neither .csv nor .parquet; convert it to one of them",
                path.display()
            )));
        }
    };
    for batch in batches {
        let batch = batch.map_err(|error| unreadable(path, error))?;
        profile.observe(&batch).map_err(|error| unreadable(path, error))?;
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes)
        .map_err(|error| Error::invalid_argument(format!("{} cannot be written", path.display())).with_source(error))
}

fn write_sketches(directory: &Path, summary: &ProfileSummary) -> Result<()> {
    fs::create_dir_all(directory).map_err(|error| {
        Error::invalid_argument(format!("{} cannot be made", directory.display())).with_source(error)
    })?;
    let mut index = Vec::new();
    for (number, column) in summary.columns().iter().enumerate() {
        let Sketches { kll, hll, frequent } = column.sketches()?;
        let mut files = json!({ "name": column.name(), "data_type": column.data_type() });
        for (kind, bytes) in [("kll", kll), ("hll", hll), ("frequent", frequent)] {
            let Some(bytes) = bytes else { continue };
            let file = format!("{number}.{kind}");
            write(&directory.join(&file), &bytes)?;
            if let Some(files) = files.as_object_mut() {
                files.insert(kind.to_owned(), json!(file));
            }
        }
        index.push(files);
    }
    write(&directory.join("sketches.json"), format!("{:#}\n", json!(index)).as_bytes())
}

fn column(column: &ColumnSummary) -> Result<Value> {
    let interval = |interval: Interval| json!([interval.low, interval.estimate, interval.high]);
    let quantiles = [0.0, 0.25, 0.5, 0.75, 1.0].map(|q| column.quantile(q).map(interval));
    let numeric = column.numeric().map(|numeric| {
        json!({
            "count": numeric.count, "mean": numeric.mean, "variance": numeric.variance, "skewness": numeric.skewness,
            "excess_kurtosis": numeric.excess_kurtosis, "min": numeric.min, "max": numeric.max, "quartiles": quantiles,
        })
    });
    let levels = column.frequent(LEVELS_PRINTED);
    let levels: Vec<Value> = levels.iter().map(|level| json!([level.level, level.low, level.high])).collect();
    Ok(json!({
        "name": column.name(),
        "data_type": column.data_type(),
        "nulls": column.nulls(),
        "nans": column.nans(),
        "infinities": column.infinities(),
        "rank_error": column.rank_error(),
        "distinct": column.distinct()?.map(interval),
        "numeric": numeric,
        "levels": levels,
    }))
}
