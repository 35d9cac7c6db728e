//! One question to a Spark Connect server: a SQL query over relations that go with it, answered in Arrow batches.
//!
//! Every question has a session of its own, which is released afterwards: nothing of it stays on the server, and a
//! server that was restarted in between is not noticed.

use std::{sync::Arc, time::Duration};

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use hyper::http::uri::{PathAndQuery, Uri};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use mlops_core::{Error, ErrorKind, Result, Timestamp};
use prost::Message;
use tonic::{
    Request, Status,
    body::Body,
    client::Grpc,
    metadata::{MetadataKey, MetadataValue},
};
use tonic_prost::ProstCodec;

use super::{
    address::Address,
    wire::{
        ConfigOperation, ConfigRequest, ConfigResponse, ConfigSet, ExecutePlanRequest, ExecutePlanResponse, KeyValue,
        Plan, Relation, RelationCommon, RelationType, ReleaseSessionRequest, ReleaseSessionResponse, Sql,
        SubqueryAlias, UserContext, WithRelations, method,
    },
};
use crate::lineage::run_id::RunIds;

const CLIENT_TYPE: &str = "mlops";

/// How long a server may be silent before it is asked whether it is there, and how long that may take.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(20));

/// What a session must be like for SQL to mean what is written here.
const SESSION: [(&str, &str); 2] = [("spark.sql.session.timeZone", "UTC"), ("spark.sql.ansi.enabled", "true")];

/// A query and the relations that it names.
#[derive(Debug, Default)]
pub(super) struct Question {
    pub(super) sql: String,
    pub(super) relations: Vec<(String, RelationType)>,
}

impl Question {
    /// Asks for no rows of file `url` and their numbers.
    pub(super) fn probe(url: &str) -> Self {
        let sql = "SELECT _metadata.row_index AS place FROM probed LIMIT 0".to_owned();
        Self { sql, relations: vec![("probed".to_owned(), super::source::parquet(url.to_owned()))] }
    }

    fn into_relation(self) -> Relation {
        // Every relation of a plan has a number of its own.
        let mut plan_id = 0;
        let mut numbered = |kind| {
            plan_id += 1;
            Relation { common: Some(RelationCommon { plan_id: Some(plan_id) }), kind: Some(kind) }
        };
        let mut references = Vec::new();
        for (alias, kind) in self.relations {
            let input = Some(numbered(kind));
            references.push(numbered(RelationType::Alias(Box::new(SubqueryAlias { input, alias }))));
        }
        let root = Some(numbered(RelationType::Sql(Sql { query: self.sql })));
        numbered(RelationType::With(Box::new(WithRelations { root, references })))
    }
}

/// A server. Clones share one connection, which is made when it is needed and again when it is lost.
#[derive(Debug, Clone)]
pub(super) struct Client {
    address: Address,
    origin: Uri,
    http: HttpClient<HttpConnector, Body>,
    message_bytes_max: usize,
    ids: Arc<RunIds>,
}

impl Client {
    /// # Errors
    /// `InvalidArgument` for an address that is none.
    pub(super) fn new(address: Address, connect_timeout: Duration, message_bytes_max: usize) -> Result<Self> {
        let origin: Uri = address.uri().parse().map_err(|error: hyper::http::uri::InvalidUri| {
            Error::invalid_argument(format!("spark address {address:?} is not one")).with_source(error)
        })?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(connect_timeout));
        connector.set_nodelay(true);
        let http = HttpClient::builder(TokioExecutor::new())
            .http2_only(true)
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(KEEP_ALIVE.0)
            .http2_keep_alive_timeout(KEEP_ALIVE.1)
            .build(connector);
        Ok(Self { address, origin, http, message_bytes_max, ids: Arc::new(RunIds::random()) })
    }

    /// Asks `question` and hands every batch of the answer to `accept`, in no promised order.
    ///
    /// # Errors
    /// `Unavailable` when the server is not there or is lost in the middle, what the server answers otherwise, and what
    /// `accept` answers.
    pub(super) async fn ask(&self, question: Question, accept: impl FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        // The time in a session's id means nothing to anyone.
        let session = self.ids.next(Timestamp::from_micros(0));
        self.configure(&session).await?;
        let answered = self.execute(&session, question, accept).await;
        // Whatever the answer was. A server that cannot let go of the session lets it time out.
        if let Err(error) = self.release(&session).await {
            tracing::debug!(server = ?self.address, %error, "session was not released");
        }
        answered
    }

    async fn configure(&self, session: &str) -> Result<()> {
        let pair = |(key, value): (&str, &str)| KeyValue { key: key.to_owned(), value: Some(value.to_owned()) };
        let set = ConfigSet { pairs: SESSION.into_iter().map(pair).collect() };
        let request = ConfigRequest {
            session_id: session.to_owned(),
            user_context: self.user(),
            operation: Some(ConfigOperation { set: Some(set) }),
            client_type: Some(CLIENT_TYPE.to_owned()),
        };
        let _: ConfigResponse = self.call(method::CONFIG, request).await?;
        Ok(())
    }

    async fn release(&self, session: &str) -> Result<()> {
        let request = ReleaseSessionRequest {
            session_id: session.to_owned(),
            user_context: self.user(),
            client_type: Some(CLIENT_TYPE.to_owned()),
        };
        let _: ReleaseSessionResponse = self.call(method::RELEASE_SESSION, request).await?;
        Ok(())
    }

    async fn execute(
        &self,
        session: &str,
        question: Question,
        mut accept: impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let request = ExecutePlanRequest {
            session_id: session.to_owned(),
            user_context: self.user(),
            plan: Some(Plan { root: Some(question.into_relation()) }),
            client_type: Some(CLIENT_TYPE.to_owned()),
        };
        let mut grpc = self.grpc();
        let codec = ProstCodec::<_, ExecutePlanResponse>::default();
        let path = PathAndQuery::from_static(method::EXECUTE_PLAN);
        let response = grpc.server_streaming(self.request(request)?, path, codec).await;
        let mut responses = response.map_err(|status| self.failure(&status))?.into_inner();
        while let Some(response) = responses.message().await.map_err(|status| self.failure(&status))? {
            let Some(batch) = response.arrow_batch else { continue };
            let unreadable = |error| {
                Error::data_loss(format!("spark server {:?} sent rows that are not Arrow", self.address))
                    .with_source(error)
            };
            let reader = StreamReader::try_new(std::io::Cursor::new(batch.data), None).map_err(unreadable)?;
            let mut rows = 0;
            for part in reader {
                let part = part.map_err(unreadable)?;
                rows += part.num_rows() as i64;
                accept(part)?;
            }
            if rows != batch.row_count {
                return Err(Error::data_loss(format!(
                    "spark server {:?} announced {} rows and sent {rows}",
                    self.address, batch.row_count
                )));
            }
        }
        Ok(())
    }

    async fn call<Q: Message + 'static, A: Message + Default + 'static>(
        &self,
        path: &'static str,
        request: Q,
    ) -> Result<A> {
        let mut grpc = self.grpc();
        let request = self.request(request)?;
        let answer = grpc.unary(request, PathAndQuery::from_static(path), ProstCodec::<Q, A>::default()).await;
        answer.map(tonic::Response::into_inner).map_err(|status| self.failure(&status))
    }

    fn grpc(&self) -> Grpc<HttpClient<HttpConnector, Body>> {
        Grpc::with_origin(self.http.clone(), self.origin.clone())
            .max_decoding_message_size(self.message_bytes_max)
            .max_encoding_message_size(self.message_bytes_max)
    }

    fn request<Q>(&self, message: Q) -> Result<Request<Q>> {
        let mut request = Request::new(message);
        for (name, value) in &self.address.headers {
            let invalid =
                || Error::invalid_argument(format!("\"{name}\" of the spark address cannot be sent as a header"));
            let key = MetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes()).map_err(|_| invalid())?;
            request.metadata_mut().insert(key, MetadataValue::try_from(value).map_err(|_| invalid())?);
        }
        Ok(request)
    }

    fn user(&self) -> Option<UserContext> {
        Some(UserContext { user_id: self.address.user.clone(), user_name: self.address.user.clone() })
    }

    /// The error for a call that failed: a transport that broke has a source, what the server says has none.
    fn failure(&self, status: &Status) -> Error {
        if let Some(cause) = std::error::Error::source(status) {
            let message = format!("spark server {:?} was lost or cannot be reached", self.address);
            return Error::unavailable(message).with_source(cause.to_string());
        }
        let kind = ErrorKind::from_grpc_code(status.code() as i32).unwrap_or(ErrorKind::Internal);
        Error::new(kind, format!("spark server {:?} answers: {}", self.address, status.message()))
    }
}
