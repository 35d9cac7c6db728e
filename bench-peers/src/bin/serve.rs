//! Servers to load: one model with everything on (validation, metrics, every prediction into the log), and an axum
//! handler that gives the body back, which is the least that an answer can cost.
//!
//! `benches/compare/serve.py` runs them beside other model servers.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use axum::{Router, body::Bytes, routing::post};
use clap::{Args, Parser, Subcommand};
use mlops_core::{Error, Model as _, ModelName, PrometheusMeter, Result, Signature, SystemClock, Version};
use mlops_features::{LogWriter, LogWriterSettings, PredictionLog, PredictionLogSettings};
use mlops_onnx::OnnxModel;
use mlops_serve::{ModelRepository, Server};
use tokio::net::TcpListener;

/// How often waiting predictions are written, milliseconds.
const FLUSH_MS: u64 = 500;

/// Serves until it is ended; prints its address first.
#[derive(Debug, Parser)]
#[command(name = "serve")]
struct Options {
    /// Where to answer; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    http: SocketAddr,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// POST / answers with its body.
    Echo,
    /// One ONNX model, over Open Inference.
    Model(Served),
}

#[derive(Debug, Args)]
struct Served {
    /// The model.
    #[arg(long)]
    file: PathBuf,
    /// The name that it is served under.
    #[arg(long)]
    name: ModelName,
    /// Where predictions are logged; not at all when left out.
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error.chain());
            ExitCode::from(2)
        }
    }
}

async fn run(options: Options) -> Result<()> {
    let listener = TcpListener::bind(options.http)
        .await
        .map_err(|error| Error::unavailable(format!("cannot listen on {}", options.http)).with_source(error))?;
    let address = listener.local_addr().map_err(|error| Error::unavailable("no address").with_source(error))?;
    match options.what {
        What::Echo => {
            println!("http://{address}");
            let router = Router::new().route("/", post(|body: Bytes| async move { body }));
            axum::serve(listener, router).await.map_err(|error| Error::unavailable("cannot serve").with_source(error))
        }
        What::Model(model) => {
            let (server, _writer) = server_of(&model).await?;
            println!("http://{address}");
            server.serve(listener, std::future::pending()).await
        }
    }
}

async fn server_of(options: &Served) -> Result<(Server, Option<LogWriter>)> {
    let bytes = std::fs::read(&options.file)
        .map_err(|error| Error::not_found(format!("cannot read {}", options.file.display())).with_source(error))?;
    let model = Arc::new(OnnxModel::from_bytes(&bytes)?);
    let signature = model.signature().clone();
    let repository = Arc::new(ModelRepository::new());
    repository.register(&options.name, Version(1), model)?;
    let builder = Server::builder(repository).with_prometheus(Arc::new(PrometheusMeter::default()));
    let Some(location) = &options.log else { return Ok((builder.build()?, None)) };
    let log = Arc::new(log_of(&signature, location).await?);
    let settings = LogWriterSettings { interval_ms: FLUSH_MS, ..LogWriterSettings::default() };
    let writer = LogWriter::start(Arc::clone(&log), &settings)?;
    Ok((builder.with_predictions(log).build()?, Some(writer)))
}

async fn log_of(signature: &Signature, location: &Path) -> Result<PredictionLog> {
    let (inputs, outputs, clock) = (signature.input_schema(), signature.output_schema(), Arc::new(SystemClock::new()));
    PredictionLog::open(&location.to_string_lossy(), inputs, outputs, clock, PredictionLogSettings::default()).await
}
