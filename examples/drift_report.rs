//! Has the data drifted? Compares two CSV or Parquet files column by column.
//!
//! ```text
//! cargo run --example drift_report -- --reference january.parquet --current may.parquet --html report.html
//! ```
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

use clap::Parser;
use mlops::{
    core::{Clock as _, Error, Result, SystemClock},
    monitor::{ColumnReport, DriftReport, Monitor, MonitorSettings, ProfileSettings, ReferenceProfile},
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
    /// Share of false discoveries among the columns reported, from 0 to 1 (exclusive).
    #[arg(long, value_name = "Q", default_value_t = MonitorSettings::default().fdr)]
    fdr: f64,
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
    let (reference, current) = (table_file::read(&options.reference)?, table_file::read(&options.current)?);
    for (path, batch) in [(&options.reference, &reference), (&options.current, &current)] {
        if batch.num_rows() == 0 {
            return Err(Error::invalid_argument(format!(
                "{} has no rows; there is nothing to compare",
                path.display()
            )));
        }
    }
    let profile = ReferenceProfile::from_batch(&reference, &ProfileSettings::default())?;
    let report = Monitor::builder(profile).with_settings(settings).build()?.observe(&current, SystemClock::new().now());
    write(options.html.as_deref(), || report.to_html())?;
    write(options.json.as_deref(), || report.to_json())?;
    print!("{}", summary(&report));
    Ok(())
}

fn write(path: Option<&Path>, text: impl FnOnce() -> String) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    fs::write(path, text()).map_err(|error| {
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
