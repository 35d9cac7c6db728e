//! A directory of models as a function of AWS Lambda.
//!
//! ```text
//! cargo build --release -p mlops-serve --example lambda --features lambda
//! cp target/release/examples/lambda bootstrap && zip function.zip bootstrap
//! ```
//!
//! The function serves `DIR/<model>/<version>/` (packages of ONNX models, bare `model.onnx`, ensembles) of the directory that
//! its one argument names, else `models` beside it. `benches/compare/lambda_cold_start.py` measures how long it takes from
//! nothing to the first answer.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use mlops_core::{ModelRef, Result, Selector};
use mlops_serve::{DirectorySource, EnsembleRuntime, ModelConfig, ModelRepository, OnnxRuntime, Runtimes, Server};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let directory = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("models"), PathBuf::from);
    match run(directory).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error.chain());
            ExitCode::from(2)
        }
    }
}

async fn run(directory: PathBuf) -> Result<()> {
    let source = DirectorySource::new(directory);
    let names = source.models()?;
    let runtimes = Runtimes::new()
        .with_runtime(Arc::new(OnnxRuntime::default()))
        .with_runtime(Arc::new(EnsembleRuntime::default()));
    let repository = Arc::new(ModelRepository::with_source(Arc::new(source), runtimes));
    for name in names {
        repository.add(ModelConfig::new(ModelRef { name, selector: Selector::Latest }))?;
    }
    // A function without its models is of no use: Lambda starts another.
    repository.sync().await.into_result()?;
    Server::builder(repository).build()?.serve_lambda().await
}
