//! The server as a `tower` service of predictions in process, so that layers (limits, retries, time-outs) go around it.

use std::task::{Context, Poll};

use arrow_array::RecordBatch;
use futures::future::BoxFuture;
use mlops_core::{Error, ModelName, Result};
use tower::Service;

use super::{InferOptions, InferReply, Server};

/// A prediction that is asked for in process.
#[derive(Debug, Clone)]
pub struct InferCall {
    /// Which model is asked.
    pub model: ModelName,
    /// What is predicted, as in [`Server::infer`].
    pub rows: RecordBatch,
    /// How it is answered.
    pub options: InferOptions,
}

impl InferCall {
    /// Asks `model`, and leaves everything else to the server.
    #[must_use]
    pub fn new(model: ModelName, rows: RecordBatch) -> Self {
        Self { model, rows, options: InferOptions::default() }
    }
}

/// As [`Server::infer`]. Always ready: a full queue refuses the call itself.
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::{DataType, Signature, TensorSpec, Version, arrow_array::record_batch};
/// use mlops_serve::{ClosureModel, InferCall, ModelRepository, Server};
/// use tower::ServiceExt as _;
///
/// # #[tokio::main] async fn main() -> mlops_core::Result<()> {
/// let column = TensorSpec::column("x", DataType::Int64);
/// let model = ClosureModel::new(Signature::new([column.clone()], [column])?, |batch| Ok(batch.clone()));
/// let repository = Arc::new(ModelRepository::new());
/// repository.register(&"echo".parse()?, Version(1), Arc::new(model))?;
///
/// let server = Server::builder(repository).build()?;
/// let call = InferCall::new("echo".parse()?, record_batch!(("x", Int64, [1, 2, 3]))?);
/// assert_eq!(server.oneshot(call).await?.outputs.num_rows(), 3);
/// # Ok(()) }
/// ```
impl Service<InferCall> for Server {
    type Response = InferReply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<InferReply>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, InferCall { model, rows, options }: InferCall) -> Self::Future {
        let server = self.clone();
        Box::pin(async move { server.infer(&model, rows, options).await })
    }
}
