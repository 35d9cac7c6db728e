//! Has the data drifted? Compares two CSV or Parquet files column by column.
//!
//! ```text
//! cargo run --example drift_report -- --reference january.parquet --current may.parquet --out report.html
//! ```
//!
//! `--out` may be given several times; the extension says who reads it: `.html` people, `.md` people in a pull request,
//! `.json` programs. `--time COLUMN` adds values over time.
//!
//! Prints a line for each column that drifted and ends with 0 whatever the verdict; bad input is one sentence and
//! exit code 2.

#[path = "common/table_file.rs"]
mod table_file;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use arrow_array::RecordBatch;
use clap::Parser;
use mlops::{
    core::{Clock as _, Error, Result, SystemClock},
    monitor::{
        ColumnReport, DriftReport, Monitor, MonitorSettings, ProfileSettings, ReferenceProfile,
        report::{RowOrder, SeriesBuilder},
    },
};

/// Compares two files column by column.
#[derive(Debug, Parser)]
#[command(name = "drift_report")]
struct Options {
    /// What is normal: a CSV or Parquet file.
    #[arg(long, value_name = "FILE")]
    reference: PathBuf,
    /// What is to be judged.
    #[arg(long, value_name = "FILE")]
    current: PathBuf,
    /// Writes the report for people.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Writes the report for programs.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the report in the format of the extension: html, json or md.
    #[arg(long, value_name = "FILE", value_parser = report_file)]
    out: Vec<PathBuf>,
    /// A timestamp or date of the current file: shows values over time; without it they are in the order of rows.
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// Share of false discoveries among the columns reported, from 0 to 1 (exclusive).
    #[arg(long, value_name = "Q", default_value_t = MonitorSettings::default().fdr)]
    fdr: f64,
}

fn report_file(text: &str) -> Result<PathBuf, String> {
    match Path::new(text).extension().and_then(|extension| extension.to_str()) {
        Some("html" | "json" | "md") => Ok(PathBuf::from(text)),
        _ => Err("the file must end in .html, .json or .md".to_owned()),
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.chain());
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let settings = MonitorSettings { fdr: options.fdr, ..MonitorSettings::default() };
    settings.validate()?;
    // The reference is summarized and let go before the window is read: only one of the files is in memory at a time.
    let profile = ReferenceProfile::from_batches(&rows(&options.reference)?, &ProfileSettings::default())?;
    let current = rows(&options.current)?;
    let mut series = SeriesBuilder::new(options.time.clone().map_or(RowOrder::Arrival, RowOrder::Time));
    current.iter().try_for_each(|batch| series.push(batch))?;
    let series = series.build();
    let monitor = Monitor::builder(profile).with_settings(settings).build()?;
    let window_end = series.latest().unwrap_or_else(|| SystemClock::new().now());
    let report = monitor.observe_batches(&current, window_end).with_series(series);
    for path in options.out.iter().chain(&options.html).chain(&options.json) {
        write(path, &rendered(&report, path, options))?;
    }
    print!("{}", summary(&report));
    Ok(())
}

/// The rows of a file, of which there must be some.
fn rows(path: &Path) -> Result<Vec<RecordBatch>> {
    let (_, batches) = table_file::read(path)?;
    if batches.iter().all(|batch| batch.num_rows() == 0) {
        let shown = path.display();
        return Err(Error::invalid_argument(format!("{shown} has no rows; there is nothing to compare")));
    }
    Ok(batches)
}

/// The report in the format that was asked for by option or by extension.
fn rendered(report: &DriftReport, path: &Path, options: &Options) -> String {
    match path.extension().and_then(|extension| extension.to_str()) {
        _ if options.html.as_deref() == Some(path) => report.to_html(),
        _ if options.json.as_deref() == Some(path) => report.to_json(),
        Some("html") => report.to_html(),
        Some("md") => report.to_markdown(),
        _ => report.to_json(),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| {
        Error::invalid_argument(format!("report {} cannot be written: {error}", path.display())).with_source(error)
    })
}

/// The headline, the schema changes and the columns that drifted, worst first.
fn summary(report: &DriftReport) -> String {
    let mut drifted: Vec<&ColumnReport> = report.drifted().collect();
    drifted.sort_by(|a, b| b.severity().total_cmp(&a.severity()));
    let mut text = format!("{}\n", report.headline());
    for column in drifted {
        let tests = column.tests.iter().map(|test| {
            format!("{} {:.4} (effect {:.3}, log10 p {:.1})", test.name, test.statistic, test.effect, test.log10_p())
        });
        text += &format!("  {:<24} {}\n", column.name, tests.collect::<Vec<_>>().join("; "));
    }
    text
}
