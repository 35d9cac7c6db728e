//! A connection to one Redis server or to a cluster of them. It is shared, and made again when it breaks: the command
//! that meets a broken connection fails, those after it find a new one.

use std::{fmt, time::Duration};

use mlops_core::{Error, ErrorKind, Result};
use redis::{
    Cmd, FromRedisValue, Pipeline, RedisError, RedisResult, ScriptInvocation, ServerErrorKind,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
};

/// How often a broken connection is tried again for one command.
const RETRIES: usize = 3;

/// One server or a cluster.
#[derive(Clone)]
pub(crate) enum RedisLink {
    Server(ConnectionManager),
    Cluster(ClusterConnection),
}

impl fmt::Debug for RedisLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server(_) => "RedisLink::Server",
            Self::Cluster(_) => "RedisLink::Cluster",
        })
    }
}

impl RedisLink {
    /// Connects to the server at `url` and asks whether it answers to this user, waiting up to `timeout` for the connection and for every answer.
    pub(crate) async fn server(url: &str, timeout: Duration) -> Result<Self> {
        let client = redis::Client::open(url).map_err(bad_url)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(RETRIES)
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout));
        let mut server = ConnectionManager::new_with_config(client, config).await.map_err(failed)?;
        match redis::cmd("PING").query_async::<()>(&mut server).await {
            // A user who may not ask this is known all the same.
            Err(error) if error.kind() != redis::ErrorKind::Server(ServerErrorKind::NoPerm) => Err(failed(error)),
            _ => Ok(Self::Server(server)),
        }
    }

    /// Connects to the cluster that the servers at `urls` are of.
    pub(crate) async fn cluster(urls: &[&str], timeout: Duration) -> Result<Self> {
        let retries = u32::try_from(RETRIES).unwrap_or(u32::MAX);
        let builder = ClusterClient::builder(urls.iter().copied()).retries(retries);
        let client = builder.connection_timeout(timeout).response_timeout(timeout).build().map_err(bad_url)?;
        Ok(Self::Cluster(client.get_async_connection().await.map_err(failed)?))
    }

    pub(crate) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        let answer: RedisResult<T> = match self.clone() {
            Self::Server(mut server) => command.query_async(&mut server).await,
            Self::Cluster(mut cluster) => command.query_async(&mut cluster).await,
        };
        answer.map_err(failed)
    }

    pub(crate) async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T> {
        let answer: RedisResult<T> = match self.clone() {
            Self::Server(mut server) => pipeline.query_async(&mut server).await,
            Self::Cluster(mut cluster) => pipeline.query_async(&mut cluster).await,
        };
        answer.map_err(failed)
    }

    pub(crate) async fn script<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T> {
        let answer: RedisResult<T> = match self.clone() {
            Self::Server(mut server) => script.invoke_async(&mut server).await,
            Self::Cluster(mut cluster) => script.invoke_async(&mut cluster).await,
        };
        answer.map_err(failed)
    }
}

/// The address may hold a password, so it is not repeated.
fn bad_url(error: RedisError) -> Error {
    Error::invalid_argument(format!("address of Redis must be like redis://host:6379/0: {error}")).with_source(error)
}

/// A failed command in the words of the core.
pub(crate) fn failed(error: RedisError) -> Error {
    let kind = match error.kind() {
        redis::ErrorKind::AuthenticationFailed | redis::ErrorKind::Server(ServerErrorKind::NoPerm) => {
            ErrorKind::PermissionDenied
        }
        redis::ErrorKind::UnexpectedReturnType | redis::ErrorKind::Parse => ErrorKind::Internal,
        _ => match error.code() {
            Some("NOAUTH" | "WRONGPASS" | "NOPERM") => ErrorKind::PermissionDenied,
            Some("OOM") => ErrorKind::ResourceExhausted,
            Some("WRONGTYPE") => ErrorKind::FailedPrecondition,
            Some("ERR") => ErrorKind::Internal,
            _ => ErrorKind::Unavailable,
        },
    };
    Error::new(kind, format!("Redis: {error}")).with_source(error)
}
