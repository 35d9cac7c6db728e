//! `metrics_eval ml_vectors.json OUT.json`: every section of the vectors, computed from its inputs alone and written under
//! the same keys. Expected values are never read; what has no value is null.

mod active;
mod binary;
mod calibration_fit;
mod clustering;
mod explain;
mod fairness;
mod inputs;
mod multiclass;
mod quantization;
mod ranking;
mod regression;
mod splits;
mod tests;

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Parser;
use mlops_core::{Error, Result};
use serde_json::{Map, Value};

#[derive(Debug, Parser)]
#[command(name = "metrics_eval")]
struct Options {
    /// The file of vectors.
    vectors: PathBuf,
    /// Where to write the results.
    out: PathBuf,
}

/// Computes a section from its inputs.
type Section = fn(&Value) -> Result<Value>;

/// The sections, by their keys.
const SECTIONS: [(&str, Section); 13] = [
    ("binary", binary::section),
    ("binary_edge", binary::edge_section),
    ("multiclass", multiclass::section),
    ("regression", regression::section),
    ("ranking", ranking::section),
    ("clustering", clustering::section),
    ("splits", splits::section),
    ("fairness", fairness::section),
    ("explain", explain::section),
    ("tests", tests::section),
    ("active", active::section),
    ("calibration_fit", calibration_fit::section),
    ("quantization", quantization::section),
];

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
    let path = options.vectors.display();
    let bytes =
        fs::read(&options.vectors).map_err(|error| Error::unavailable(format!("{path} cannot be read: {error}")))?;
    let vectors: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Error::invalid_argument(format!("{path} is no JSON: {error}")))?;
    let mut out = Map::new();
    for (name, section) in SECTIONS {
        // A file may have some of the sections only.
        if let Some(input) = vectors.get(name) {
            let found = section(input).map_err(|error| {
                Error::new(error.kind(), format!("section {name}: {}", error.message())).with_source(error)
            })?;
            out.insert(name.to_owned(), found);
        }
    }
    let out = Value::Object(out);
    fs::write(&options.out, format!("{out:#}\n"))
        .map_err(|error| Error::unavailable(format!("{} cannot be written: {error}", options.out.display())))
}
