//! `shap FOREST.json OUT.json`: Shapley values of a dumped forest, with what they cost.
//!
//! The file has `features`, `mean` (whether trees are averaged rather than added), `base`, `trees` in the layout of
//! scikit-learn, `rows`, and `background`, without which values are those by the covers. Cost goes to standard output,
//! values to the other file.

use std::{fs, process::ExitCode};

use mlops_bench_peers::measure;
use mlops_core::{Error, Result};
use mlops_train::{
    Matrix,
    explain::{Attribution, InterventionalTreeShap, PathDependentTreeShap, TreeArrays, TreeEnsemble},
};
use serde::Deserialize;
use serde_json::json;

#[derive(Debug, Deserialize)]
struct Task {
    name: String,
    repetitions: usize,
    features: usize,
    mean: bool,
    base: f64,
    trees: Vec<TreeArrays>,
    rows: Vec<Vec<f64>>,
    background: Option<Vec<Vec<f64>>>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.chain());
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let [input, output] = arguments else {
        return Err(Error::invalid_argument("usage: shap FOREST.json OUT.json"));
    };
    let text = fs::read(input).map_err(|error| Error::unavailable(format!("{input} cannot be read: {error}")))?;
    let task: Task = serde_json::from_slice(&text)
        .map_err(|error| Error::invalid_argument(format!("{input} is no forest")).with_source(error))?;
    let ensemble = match task.mean {
        true => TreeEnsemble::mean(task.features, &task.trees)?,
        false => TreeEnsemble::sum(task.features, task.base, &task.trees)?,
    };
    let rows = Matrix::new(task.features, task.rows.concat())?;
    let background = task.background.as_ref().map(|rows| Matrix::new(task.features, rows.concat())).transpose()?;
    // As for the peer, making the explainer counts.
    let explain = || -> Result<Attribution> {
        match &background {
            Some(background) => InterventionalTreeShap::new(&ensemble, background)?.explain(&rows),
            None => PathDependentTreeShap::new(&ensemble).explain(&rows),
        }
    };
    let found = explain()?;
    measure(&task.name, task.repetitions, || (), |()| explain())?;
    let values = json!({ "base": found.base_value, "phi": found.iter().collect::<Vec<_>>() });
    fs::write(output, values.to_string()).map_err(|error| Error::unavailable(format!("{output}: {error}")))
}
