//! A model server for Open Inference v2 over REST and gRPC, and for the clients of KServe v1, TensorFlow Serving,
//! TorchServe, SageMaker, MLflow and Azure ML: everything in a directory of packages, and demo models for clients to
//! try.
//!
//! ```text
//! mkdir -p models
//! cargo run --example inference_server -- --repository models --http 127.0.0.1:8000 --demo-models
//! curl -s 127.0.0.1:8000/v2/models/identity_fp32/infer \
//!   -d '{"inputs":[{"name":"INPUT0","shape":[1,2],"datatype":"FP32","data":[1,2]}]}'
//! ```
//!
//! `DIR/<model>/<version>/` holds a package (`manifest.json` and its files), a bare `model.onnx`, or an `ensemble.json` of
//! other models in it; the newest version of
//! each model is served, and swapped when a newer one appears. `--http` answers gRPC too; `--grpc` opens a second port for
//! clients that want one. Ctrl-C or a termination signal ends it after the last answer.

#[path = "common/iris_model.rs"]
mod iris_model;
#[path = "common/program.rs"]
mod program;
#[path = "common/stop_signal.rs"]
mod stop_signal;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use mlops::{
    Error, Result,
    core::{ModelName, ModelRef, PrometheusMeter, Selector, Version},
    serve::{
        DirectorySource, EnsembleRuntime, IdentityModel, ModelConfig, ModelRepository, OnnxRuntime, ProtocolSettings,
        Runtimes, Server, ServerSettings, TensorType,
    },
};
use tokio::{net::TcpListener, runtime::Builder};

use self::{iris_model::iris_model, program::end, stop_signal::stop_signal};

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
    /// A second address, for gRPC clients that do not take the first.
    #[arg(long, value_name = "HOST:PORT")]
    grpc: Option<SocketAddr>,
    /// The model of protocols whose paths name none; the only one served when not given.
    #[arg(long, value_name = "MODEL")]
    default_model: Option<ModelName>,
    /// Adds iris, and identity_<dtype> for every datatype: INPUT0 comes back as OUTPUT0.
    #[arg(long)]
    demo_models: bool,
}

fn main() -> ExitCode {
    end(&mut Builder::new_multi_thread(), run(&Options::parse()))
}

async fn run(options: &Options) -> Result<()> {
    let repository = load(options).await?;
    let protocols = ProtocolSettings {
        torchserve: true,
        invocations: true,
        azureml: true,
        default_model: options.default_model.clone(),
        ..ProtocolSettings::default()
    };
    let settings = ServerSettings { repository_api: true, protocols, ..ServerSettings::default() };
    let server = Server::builder(Arc::clone(&repository))
        .with_settings(settings)
        .with_prometheus(Arc::new(PrometheusMeter::default()))
        .build()?;
    let first = listen(options.http).await?;
    let second = match options.grpc {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    println!("http://{}", address_of(&first)?);
    if let Some(second) = &second {
        println!("grpc://{}", address_of(second)?);
    }
    let watcher = repository.watch(LOOK_EVERY);
    let served = serve(server, first, second).await;
    watcher.stop().await?;
    served
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        Error::unavailable(format!("cannot listen on {address}; choose another address")).with_source(error)
    })
}

fn address_of(listener: &TcpListener) -> Result<SocketAddr> {
    listener.local_addr().map_err(|error| Error::unavailable("the socket has no address").with_source(error))
}

/// Both listeners have all of the server.
async fn serve(server: Server, first: TcpListener, second: Option<TcpListener>) -> Result<()> {
    let also = async {
        match second {
            Some(second) => server.clone().serve(second, stop_signal()).await,
            None => Ok(()),
        }
    };
    tokio::try_join!(server.clone().serve(first, stop_signal()), also).map(drop)
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
        .with_runtime(Arc::new(EnsembleRuntime::default()))
        .with_flavors(mlops::train::flavors(), mlops::train::load_package);
    let repository = Arc::new(ModelRepository::with_source(Arc::new(source), runtimes));
    for name in names {
        repository.add(ModelConfig::new(ModelRef { name, selector: Selector::Latest }))?;
    }
    if options.demo_models {
        let iris: ModelName = "iris".parse()?;
        if !repository.names().contains(&iris) {
            repository.register(&iris, Version(1), iris_model()?)?;
        }
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
