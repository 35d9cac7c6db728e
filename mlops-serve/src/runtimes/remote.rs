//! Models of other servers that packages name in [`REMOTE_FILE`].

use std::{collections::BTreeMap, sync::Arc};

use mlops_core::{Error, Model, ModelPackage, Result, ResultExt};
use mlops_http::reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::{
    model::ServedModel,
    remote::{Address, Lane, RemoteModel, RemoteSettings},
    repository::Peers,
    runtime::Runtime,
};

/// The flavor of packages that name a model of another server.
pub const REMOTE_FLAVOR: &str = "remote";

/// The file in which such a package holds its [`RemoteSettings`].
pub const REMOTE_FILE: &str = "remote.json";

/// Loads packages of flavor [`REMOTE_FLAVOR`], of the servers that are allowed.
///
/// ```
/// use mlops_serve::RemoteRuntime;
///
/// let runtime = RemoteRuntime::new()?.with_server("http://models:8000", Some("a token"))?;
/// assert!(!format!("{runtime:?}").contains("a token"));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RemoteRuntime {
    lane: Lane,
    /// By origin, what is sent there.
    servers: BTreeMap<String, HeaderMap>,
}

impl RemoteRuntime {
    /// Allows no server yet: a package must not choose where a server's requests go.
    ///
    /// # Errors
    /// `ResourceExhausted` when the operating system gives no thread.
    pub fn new() -> Result<Self> {
        Ok(Self { lane: Lane::start()?, servers: BTreeMap::new() })
    }

    /// Allows the server at `url` (its scheme, host and port), and shows it `bearer`, which no other server sees.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no address, and a token that cannot be a header.
    pub fn with_server(mut self, url: &str, bearer: Option<&str>) -> Result<Self> {
        let mut headers = HeaderMap::new();
        if let Some(bearer) = bearer {
            let mut value = HeaderValue::try_from(format!("Bearer {bearer}")).map_err(|_| {
                Error::invalid_argument("the token of a remote server has characters no header may have")
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        self.servers.insert(origin(url)?, headers);
        Ok(self)
    }
}

fn origin(url: &str) -> Result<String> {
    Address::parse(url).map(|address| address.origin()).ok_or_else(|| {
        Error::invalid_argument("the address of a remote server must be like http://HOST:PORT or grpc://HOST:PORT")
    })
}

impl Runtime for RemoteRuntime {
    fn flavors(&self) -> Vec<String> {
        vec![REMOTE_FLAVOR.into()]
    }

    fn load(&self, package: &ModelPackage) -> Result<Arc<dyn Model>> {
        Ok(Arc::new(self.connect(package)?))
    }

    fn load_beside(&self, package: &ModelPackage, _: &Peers) -> Result<ServedModel> {
        Ok(ServedModel::Remote(Arc::new(self.connect(package)?)))
    }

    fn depends_on_others(&self) -> bool {
        true
    }
}

impl RemoteRuntime {
    fn connect(&self, package: &ModelPackage) -> Result<RemoteModel> {
        let settings: RemoteSettings = serde_json::from_slice(package.file(REMOTE_FILE)?)
            .map_err(|error| Error::invalid_argument(format!("{REMOTE_FILE} cannot be read: {error}")))?;
        let origin = origin(&settings.url).context(REMOTE_FILE)?;
        let headers = self.servers.get(&origin).ok_or_else(|| {
            Error::failed_precondition(format!("{REMOTE_FILE} names the server {origin}, which is not allowed here"))
        })?;
        let (lane, headers) = (self.lane.clone(), headers.clone());
        RemoteModel::connect_with(lane, settings, headers, Some(&package.manifest.signature)).context(REMOTE_FILE)
    }
}
