//! What the tests of the whole server share: keys with roles, a model that waits, and HTTP/1.1 spoken by hand on a real
//! connection.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request};
use futures::{FutureExt as _, future::BoxFuture};
use mlops_core::{
    Action, Authorizer, DataType, Error, Principal, Resource, Result, Signature, TensorSpec, Version,
    arrow_array::RecordBatch,
};
use mlops_serve::{Access, ApiKeys, ClosureModel, ModelRepository, Server, ServerSettings};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, oneshot},
    task::JoinHandle,
};
use tower::ServiceExt as _;

/// Far beyond what anything here takes: a test that hangs fails instead.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `work` gives.
pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| panic!("nothing came of it within a minute"))
}

/// Keys of somebody who may only read, only ask the model `add`, only manage.
pub(crate) const READER: &str = "key-of-the-reader";
pub(crate) const ASKER: &str = "key-of-the-asker-";
pub(crate) const MANAGER: &str = "key-of-the-manager";

/// One action for each principal, who is called by its name.
#[derive(Debug)]
struct OneEach;

#[async_trait::async_trait]
impl Authorizer for OneEach {
    async fn authorize(&self, who: &Principal, action: Action, on: &Resource) -> Result<()> {
        let may = match action {
            Action::Read => who.name == "reader",
            Action::Administer => who.name == "manager",
            Action::Predict => who.name == "asker" && *on == Resource::new("model", "add"),
            _ => false,
        };
        if may { Ok(()) } else { Err(Error::permission_denied(format!("{:?} may not do this to {on}", who.name))) }
    }
}

pub(crate) fn keys() -> ApiKeys {
    let keys = ApiKeys::new().with_key(READER, Principal::new("reader")).unwrap();
    let keys = keys.with_key(ASKER, Principal::new("asker")).unwrap();
    keys.with_key(MANAGER, Principal::new("manager")).unwrap()
}

pub(crate) fn access(keys: ApiKeys) -> Access {
    Access::new(Arc::new(keys), Arc::new(OneEach))
}

/// Settings from JSON.
pub(crate) fn settings(json: serde_json::Value) -> ServerSettings {
    serde_json::from_value(json).unwrap()
}

/// A model that answers only when it is let: `started` gets a permit when a prediction begins, and each waits for one
/// of `go`.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    started: Arc<Semaphore>,
    go: Arc<std::sync::Mutex<std::sync::mpsc::Receiver<()>>>,
    let_go: std::sync::mpsc::Sender<()>,
}

impl Gate {
    /// A repository of the model `gate` behind this gate.
    pub(crate) fn model() -> (Self, Arc<ModelRepository>) {
        let (let_go, go) = std::sync::mpsc::channel();
        let gate = Self { started: Arc::new(Semaphore::new(0)), go: Arc::new(std::sync::Mutex::new(go)), let_go };
        let (spec, inner) = (TensorSpec::column("x", DataType::Float64), gate.clone());
        let model = ClosureModel::new(Signature::new([spec.clone()], [spec]).unwrap(), move |batch: &RecordBatch| {
            // The whole gate, with the sender: nobody else may keep it.
            let gate = &inner;
            gate.started.add_permits(1);
            gate.go.lock().unwrap().recv().unwrap();
            Ok(batch.clone())
        });
        // The row that it is warmed up with.
        gate.open();
        let repository = Arc::new(ModelRepository::new());
        repository.register(&"gate".parse().unwrap(), Version(1), Arc::new(model)).unwrap();
        gate.started.forget_permits(1);
        (gate, repository)
    }

    /// Waits until a prediction has begun.
    pub(crate) async fn started(&self) {
        in_time(self.started.acquire()).await.unwrap().forget();
    }

    /// Lets one prediction go.
    pub(crate) fn open(&self) {
        self.let_go.send(()).unwrap();
    }
}

/// The path and body of a request to the model of [`Gate`].
pub(crate) const GATED: (&str, &str) = ("/v1/models/gate:predict", r#"{"instances":[1.5]}"#);

/// A server that listens.
pub(crate) struct Listening {
    pub(crate) address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

impl Listening {
    pub(crate) async fn start(server: Server) -> Self {
        Self::with(|listener, shutdown| server.serve(listener, shutdown)).await
    }

    /// What `serve` makes of a listener and a shutdown.
    pub(crate) async fn with<F>(serve: impl FnOnce(TcpListener, BoxFuture<'static, ()>) -> F) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, async { drop(stopped.await) }.boxed()));
        Self { address, stop, task }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        in_time(TcpStream::connect(self.address)).await.unwrap()
    }

    /// Begins the shutdown; the task tells how it went.
    pub(crate) fn stop(self) -> JoinHandle<Result<()>> {
        self.stop.send(()).unwrap();
        self.task
    }
}

/// An answer of HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    /// In small letters.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn posted((path, body): (&str, &str)) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: here\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Sends a request and reads its answer.
pub(crate) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &str,
) -> std::io::Result<Answered> {
    stream.write_all(request.as_bytes()).await?;
    answer(stream).await
}

/// Reads one answer that says its length.
pub(crate) async fn answer<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<Answered> {
    let mut read = Vec::new();
    let head_end = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if in_time(stream.read_buf(&mut read)).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let mut body = read.split_off(head_end);
    let head = String::from_utf8(read).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    while body.len() < length {
        if in_time(stream.read_buf(&mut body)).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Answered { status: head[9..12].parse().unwrap(), head, body })
}

/// Sends a request to a router and gives the status with the time to come again.
pub(crate) async fn status(router: &Router, request: Request<Body>) -> (u16, Option<u64>) {
    let response = router.clone().oneshot(request).await.unwrap();
    let again = response.headers().get("retry-after").map(|seconds| seconds.to_str().unwrap().parse().unwrap());
    (response.status().as_u16(), again)
}

/// A request with a key.
pub(crate) fn with_key(key: &str, (path, body): (&str, &str)) -> Request<Body> {
    Request::post(path).header("x-api-key", key).body(Body::from(body.to_owned())).unwrap()
}
