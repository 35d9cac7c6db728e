//! A model server for Open Inference v2: everything in a directory of packages, and demo models for clients to
//! try.
//!
//! ```text
//! cargo run --example inference_server -- --repository models --http 127.0.0.1:8000 --demo-models
//! curl -s 127.0.0.1:8000/v2/models/identity_fp32/infer \
//!   -d '{"inputs":[{"name":"INPUT0","shape":[1,2],"datatype":"FP32","data":[1,2]}]}'
//! ```
//!
//! `DIR/<model>/<version>/` holds a package (`manifest.json` and its files) or a bare `model.onnx`; the newest version of each model is
//! served, and swapped when a newer one appears. Ctrl-C or a termination signal ends it after the last answer.

#[path = "common/stop_signal.rs"]
mod stop_signal;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use mlops::{
    Error, Result,
    core::{ModelRef, PrometheusMeter, Selector, Version},
    serve::{
        DirectorySource, IdentityModel, ModelConfig, ModelRepository, OnnxRuntime, Runtimes, Server, ServerSettings,
        TensorType,
    },
};
use tokio::net::TcpListener;

use self::stop_signal::stop_signal;

/// How often the directory is looked at for newer versions.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Serves a directory of models over Open Inference v2.
#[derive(Debug, Parser)]
#[command(name = "inference_server")]
struct Options {
    /// Directory with DIR/<model>/<version>/.
    #[arg(long, value_name = "DIR")]
    repository: PathBuf,
    /// Where to answer REST requests; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8000")]
    http: SocketAddr,
    /// Where to answer gRPC requests.
    #[arg(long, value_name = "HOST:PORT")]
    grpc: Option<SocketAddr>,
    /// Adds identity_<dtype> for every datatype: INPUT0 comes back as OUTPUT0.
    #[arg(long)]
    demo_models: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error.chain());
            ExitCode::from(2)
        }
    }
}

async fn run(options: &Options) -> Result<()> {
    if options.grpc.is_some() {
        return Err(Error::invalid_argument("--grpc is not available in this build; leave it out to serve REST alone"));
    }
    let repository = load(options).await?;
    let settings = ServerSettings { repository_api: true, ..ServerSettings::default() };
    let server = Server::builder(Arc::clone(&repository))
        .with_settings(settings)
        .with_prometheus(Arc::new(PrometheusMeter::default()))
        .build()?;
    let listener = TcpListener::bind(options.http).await.map_err(|error| {
        Error::unavailable(format!("cannot listen on {}; choose another --http", options.http)).with_source(error)
    })?;
    let address =
        listener.local_addr().map_err(|error| Error::unavailable("the socket has no address").with_source(error))?;
    println!("http://{address}");
    let watcher = repository.watch(LOOK_EVERY);
    let served = server.serve(listener, stop_signal()).await;
    watcher.stop().await?;
    served
}

/// The models of the directory, and the demo models when asked for. A model that does not load is named and left
/// out of service; the others are served.
async fn load(options: &Options) -> Result<Arc<ModelRepository>> {
    let directory = &options.repository;
    if !directory.is_dir() {
        return Err(Error::not_found(format!("--repository {} is not a directory", directory.display())));
    }
    let source = DirectorySource::new(directory);
    let names = source.models()?;
    let runtimes = Runtimes::new()
        .with_runtime(Arc::new(OnnxRuntime::default()))
        .with_flavors(mlops::train::flavors(), mlops::train::load_package);
    let repository = Arc::new(ModelRepository::with_source(Arc::new(source), runtimes));
    for name in names {
        repository.add(ModelConfig::new(ModelRef { name, selector: Selector::Latest }))?;
    }
    if options.demo_models {
        for data_type in TensorType::all() {
            let name = format!("identity_{}", data_type.name().to_lowercase()).parse()?;
            repository.register_tensors(&name, Version(1), Arc::new(IdentityModel::new(data_type)))?;
        }
    }
    for (name, error) in &repository.sync().await.failed {
        eprintln!("model {name} is not served: {}", error.chain());
    }
    Ok(repository)
}
