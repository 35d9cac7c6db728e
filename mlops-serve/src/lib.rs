//! A model server for your own process: an axum router that an existing backend mounts, or its own listener.
//!
//! | look for | in |
//! |---|---|
//! | the server: predict in process (also as a `tower` service), mount, listen | [`Server`], [`InferCall`], [`ServerSettings`] |
//! | which models are served, and hot reload by alias | [`ModelRepository`], [`ModelConfig`] |
//! | packages of any flavor into models | [`Runtimes`], [`Runtime`], [`ClosureModel`] |
//! | predicting Parquet files and Delta tables of any size (feature `batch`) | `BatchJob` |
//! | pipelines and ensembles of models | [`Ensemble`], [`EnsembleRuntime`] |
//! | models of another Open Inference server, over REST or gRPC (feature `remote`, with `grpc`) | `RemoteModel` |
//! | ONNX models, by themselves or in packages (feature `onnx`, on by default) | `OnnxRuntime` |
//! | features looked up in the request path | [`FeatureLookup`] |
//! | canaries, blue-green, shadows, experiments, bandits | [`rollout`] |
//! | Open Inference v2 over REST, with Triton's extensions | [`Server::into_router`] |
//! | the same over gRPC, on the same port | feature `grpc` |
//! | KServe v1, TensorFlow Serving, TorchServe, SageMaker, MLflow, Azure ML, Vertex AI, OpenAPI | [`ProtocolSettings`] |
//! | labels that come after their predictions | [`ServerBuilder::with_labels`] |
//! | who may do what, and how much of it | [`Access`], [`LimitSettings`] |
//! | a function of AWS Lambda (feature `lambda`) | `Server::serve_lambda` |
//! | metrics, access log, traces | [`ObserveSettings`] |
//!
//! ```
//! use std::sync::Arc;
//! use mlops_core::{DataType, Signature, TensorSpec, Version};
//! use mlops_serve::{ClosureModel, ModelRepository, Server};
//!
//! # #[tokio::main] async fn main() -> mlops_core::Result<()> {
//! let column = TensorSpec::column("x", DataType::Float64);
//! let model = ClosureModel::new(Signature::new([column.clone()], [column])?, |batch| Ok(batch.clone()));
//! let repository = Arc::new(ModelRepository::new());
//! repository.register(&"echo".parse()?, Version(1), Arc::new(model))?;
//! let router: axum::Router = Server::builder(repository).build()?.into_router();
//! # drop(router); Ok(()) }
//! ```
//!
//! Guarantees: a request is answered by one version from start to end, and the answer names it; swapping versions
//! fails no request; a request is checked against the model's signature before the model sees it; queues are bounded.

mod access;
mod ambient;
mod azureml;
#[cfg(feature = "batch")]
mod batch;
mod door;
mod durable;
mod ensemble;
mod entrance;
mod executor;
mod explain;
mod features;
mod feedback;
mod front;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "lambda")]
mod lambda;
mod limits;
mod metrics;
mod model;
mod observe;
mod oip;
mod openapi;
mod protocol;
#[cfg(feature = "remote")]
mod remote;
mod repository;
pub mod rollout;
mod router;
mod runtime;
mod runtimes;
mod scoring;
mod server;
mod settings;
mod tensor;
#[cfg(feature = "tls")]
mod tls;
mod torchserve;
mod v1;
mod vertex;

pub use access::{Access, ApiKeys, Authenticator, Credentials};
#[cfg(feature = "batch")]
pub use batch::{
    BadRows, BatchCancel, BatchInput, BatchJob, BatchJobBuilder, BatchProgress, BatchReport, BatchSettings,
    Fingerprint, PartReport,
};
pub use ensemble::{
    Combination, ENSEMBLE_FILE, Ensemble, EnsembleBuilder, EnsembleConfig, Step, StepConfig, StepStatistics,
};
pub use executor::Priority;
pub use explain::{Explainer, Explanation, ShapleyExplainer, ShapleySettings};
pub use features::{AS_OF_TIMES_MAX, FeatureLookup, WhenUnavailable};
pub use limits::{LimitSettings, TenantLimits};
pub use model::{ClosureModel, IdentityModel, ServedModel, TensorModel};
pub use observe::ObserveSettings;
pub use protocol::{ProtocolSettings, VertexSettings};
#[cfg(feature = "remote")]
pub use remote::{RemoteModel, RemoteSettings};
pub use repository::{DirectorySource, ModelConfig, ModelRepository, ModelStatus, Peers, SyncReport, Watcher};
pub use runtime::{INPUT_VALUE, Runtime, Runtimes};
pub use runtimes::{ENSEMBLE_FLAVOR, EnsembleRuntime, ONNX_FILE};
#[cfg(feature = "onnx")]
pub use runtimes::{ONNX_FLAVOR, OnnxRuntime};
#[cfg(feature = "remote")]
pub use runtimes::{REMOTE_FILE, REMOTE_FLAVOR, RemoteRuntime};
pub use server::{ConnectionSettings, InferCall, InferOptions, InferReply, Server, ServerBuilder};
pub use settings::ServerSettings;
pub use tensor::{Tensor, TensorInfo, TensorType};
#[cfg(feature = "tls")]
pub use tls::Tls;
