//! `drift_stats VECTORS_DIR OUT.json`: the statistics of `cases.json`, `categorical.json` and
//! `streams.json`, computed from the
//! inputs alone and written in the same layout under the same keys. What the library does not offer is left out.

mod categorical;
mod inputs;
mod numeric;
mod streams;

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Parser;
use mlops_core::{Error, Result};
use mlops_monitor::stats::Tail;
use serde_json::{Map, Value, json};

#[derive(Debug, Parser)]
#[command(name = "drift_stats")]
struct Options {
    /// Directory with cases.json, categorical.json and inputs.parquet.
    vectors: PathBuf,
    /// Where to write the results.
    out: PathBuf,
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
    let inputs = inputs::Inputs::open(&options.vectors)?;
    let cases = inputs.cases("cases.json")?;
    let numeric: Vec<Value> = cases.iter().map(|case| numeric::case(&inputs, case)).collect::<Result<_>>()?;
    let cases = inputs.cases("categorical.json")?;
    let categorical: Vec<Value> = cases.iter().map(categorical::case).collect::<Result<_>>()?;
    let cases = inputs.cases("streams.json")?;
    let streams: Vec<Value> = cases.iter().map(streams::case).collect::<Result<_>>()?;
    let out = json!({ "cases": numeric, "categorical": categorical, "streams": streams });
    fs::write(&options.out, format!("{out:#}\n"))
        .map_err(|error| Error::unavailable(format!("{} cannot be written: {error}", options.out.display())))
}

/// A number; JSON has none for infinity, which is text as in the vectors.
fn number(value: f64) -> Value {
    if value == f64::INFINITY { json!("inf") } else { json!(value) }
}

/// Adds a p-value and its decimal logarithm.
fn put_tail(results: &mut Map<String, Value>, name: &str, tail: Option<Tail>) {
    results.insert(name.to_owned(), json!(tail.map(Tail::p)));
    results.insert(format!("{name}_log10"), json!(tail.map(Tail::log10)));
}
