//! Servers to load: one model with everything on (validation, metrics, every prediction into the log), and an axum
//! handler that gives the body back, which is the least that an answer can cost.
//!
//! `benches/compare/serve.py` runs them beside other model servers.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use arrow_array::RecordBatch;
use arrow_cast::cast;
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use axum::{Router, body::Bytes, routing::post};
use clap::{Args, Parser, Subcommand};
use mlops_core::{
    Delivery, Error, Model as _, ModelName, PredictionBatch, PredictionSink, PrometheusMeter, Result, Signature,
    SystemClock, Version,
};
use mlops_features::{PredictionLog, PredictionLogSettings};
use mlops_onnx::OnnxModel;
use mlops_serve::{ModelRepository, Server};
use tokio::net::TcpListener;

/// How often waiting predictions are written.
const FLUSH_EVERY: Duration = Duration::from_millis(500);

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
            let server = server_of(&model).await?;
            println!("http://{address}");
            server.serve(listener, std::future::pending()).await
        }
    }
}

async fn server_of(options: &Served) -> Result<Server> {
    let bytes = std::fs::read(&options.file)
        .map_err(|error| Error::not_found(format!("cannot read {}", options.file.display())).with_source(error))?;
    let model = Arc::new(OnnxModel::from_bytes(&bytes)?);
    let signature = model.signature().clone();
    let repository = Arc::new(ModelRepository::new());
    repository.register(&options.name, Version(1), model)?;
    let mut builder = Server::builder(repository).with_prometheus(Arc::new(PrometheusMeter::default()));
    if let Some(log) = &options.log {
        builder = builder.with_predictions(Arc::new(log_of(&signature, log).await?));
    }
    builder.build()
}

/// The log of a model with wide columns: Delta keeps rows of any width, so that is what their type becomes.
#[derive(Debug)]
struct WideLog {
    log: Arc<PredictionLog>,
    inputs: SchemaRef,
    outputs: SchemaRef,
}

#[async_trait]
impl PredictionSink for WideLog {
    fn append(&self, batch: PredictionBatch) -> Delivery {
        match (as_lists(&batch.inputs, &self.inputs), as_lists(&batch.outputs, &self.outputs)) {
            (Ok(inputs), Ok(outputs)) => self.log.append(PredictionBatch { inputs, outputs, ..batch }),
            _ => Delivery::Dropped,
        }
    }

    async fn flush(&self) -> Result<()> {
        self.log.flush().await
    }

    fn dropped(&self) -> u64 {
        self.log.dropped()
    }
}

fn as_lists(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type())).collect::<Result<_, _>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

fn lists(schema: &Schema) -> SchemaRef {
    let field = |field: &FieldRef| match field.data_type() {
        DataType::FixedSizeList(element, _) => {
            let element = Field::new("element", element.data_type().clone(), true);
            Field::new(field.name(), DataType::List(Arc::new(element)), field.is_nullable())
        }
        _ => field.as_ref().clone(),
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// The log, and a task that writes it now and then.
async fn log_of(signature: &Signature, location: &Path) -> Result<WideLog> {
    let (inputs, outputs) = (lists(&signature.input_schema()), lists(&signature.output_schema()));
    let log = Arc::new(
        PredictionLog::open(
            &location.to_string_lossy(),
            Arc::clone(&inputs),
            Arc::clone(&outputs),
            Arc::new(SystemClock::new()),
            PredictionLogSettings::default(),
        )
        .await?,
    );
    let flushed = Arc::clone(&log);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(FLUSH_EVERY).await;
            if let Err(error) = flushed.flush().await {
                eprintln!("{}", error.chain());
            }
        }
    });
    Ok(WideLog { log, inputs, outputs })
}
