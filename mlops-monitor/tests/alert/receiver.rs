//! An HTTP receiver on this machine that keeps what it is sent and refuses when told to.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, Uri},
};
use mlops_monitor::alert::conformance;
use serde_json::Value;
use tokio::task::JoinHandle;

/// A request that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

#[derive(Debug, Default)]
struct Log {
    accepted: Vec<Request>,
    refusals: VecDeque<(u16, Option<u32>)>,
}

#[derive(Debug)]
pub(crate) struct Receiver {
    log: Arc<Mutex<Log>>,
    pub(crate) address: String,
    secrets: Vec<String>,
    server: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(
    State(log): State<Arc<Mutex<Log>>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap, String) {
    let mut log = log.lock().unwrap();
    let mut answer = HeaderMap::new();
    if let Some((status, retry_after)) = log.refusals.pop_front() {
        if let Some(seconds) = retry_after {
            answer.insert("retry-after", seconds.into());
        }
        answer.insert("location", "http://127.0.0.1:9/".parse().unwrap());
        // As careless as a receiver can be: it repeats all that it was sent.
        let said = format!("refused {uri} {headers:?} {}", String::from_utf8_lossy(&body));
        return (StatusCode::from_u16(status).unwrap(), answer, said);
    }
    log.accepted.push(Request { path: uri.to_string(), headers, body: serde_json::from_slice(&body).unwrap() });
    (StatusCode::OK, answer, "ok".to_owned())
}

impl Receiver {
    /// On any free port.
    pub(crate) async fn start(secrets: &[&str]) -> Self {
        let mut receiver = Self::start_at("127.0.0.1:0").await;
        receiver.secrets = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        receiver
    }

    pub(crate) async fn start_at(address: &str) -> Self {
        let log = Arc::<Mutex<Log>>::default();
        let app = Router::new().fallback(take).layer(DefaultBodyLimit::disable()).with_state(Arc::clone(&log));
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { log, address, secrets: Vec::new(), server }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().accepted.clone()
    }

    pub(crate) fn refuse(&self, status: u16, retry_after: Option<u32>) {
        self.log.lock().unwrap().refusals.push_back((status, retry_after));
    }
}

#[async_trait]
impl conformance::Receiver for Receiver {
    async fn accepted(&self) -> Option<usize> {
        Some(self.requests().len())
    }
    async fn refuse_next(&self, status: u16, retry_after: Option<u32>) -> bool {
        self.refuse(status, retry_after);
        true
    }
    fn secrets(&self) -> Vec<String> {
        self.secrets.clone()
    }
}

/// The other end of a sink without one.
#[derive(Debug)]
pub(crate) struct Nobody;

#[async_trait]
impl conformance::Receiver for Nobody {
    async fn accepted(&self) -> Option<usize> {
        None
    }
    async fn refuse_next(&self, _: u16, _: Option<u32>) -> bool {
        false
    }
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }
}
