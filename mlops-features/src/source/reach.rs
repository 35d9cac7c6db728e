//! What it takes to reach the places that sources name: connections, object stores and streams, by name.

use std::{collections::BTreeMap, sync::Arc};

use mlops_core::{Error, Result};
use object_store::{ObjectStore, parse_url};
use url::Url;

use super::sql::SqlReader;
use crate::stream::StreamSource;

/// What the store's builder was given.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    pub(crate) connections: BTreeMap<Arc<str>, Arc<dyn SqlReader>>,
    /// By scheme and authority, such as `s3://lake`.
    pub(crate) objects: BTreeMap<Arc<str>, Arc<dyn ObjectStore>>,
    pub(crate) streams: BTreeMap<Arc<str>, Arc<dyn StreamSource>>,
}

impl Reach {
    pub(super) fn connection(&self, name: &str) -> Result<Arc<dyn SqlReader>> {
        let missing = || not_given("connection", name, "with_connection");
        self.connections.get(name).cloned().ok_or_else(missing)
    }

    pub(super) fn stream(&self, name: &str) -> Result<Arc<dyn StreamSource>> {
        self.streams.get(name).cloned().ok_or_else(|| not_given("stream", name, "with_stream"))
    }

    /// The object store behind `root` (`scheme://authority`): the one that was given, else the one that the URL names.
    pub(super) fn objects(&self, root: &str) -> Result<Arc<dyn ObjectStore>> {
        if let Some(known) = self.objects.get(root) {
            return Ok(Arc::clone(known));
        }
        let unknown = || format!("{root} is no place for files; hand in its object store by with_objects");
        let url =
            Url::parse(&format!("{root}/")).map_err(|error| Error::invalid_argument(unknown()).with_source(error))?;
        let (store, _) = parse_url(&url).map_err(|error| Error::invalid_argument(unknown()).with_source(error))?;
        Ok(store.into())
    }
}

fn not_given(what: &str, name: &str, call: &str) -> Error {
    Error::failed_precondition(format!(
        "this program has no {what} \"{name}\"; hand it to the store's builder by {call}"
    ))
}
