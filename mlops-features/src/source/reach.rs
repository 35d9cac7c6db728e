//! What it takes to reach the places that sources name: connections, object stores and streams, by name.

use std::{collections::BTreeMap, fmt, sync::Arc};

use mlops_core::{Error, Result};
use object_store::{ObjectStore, parse_url};
use url::Url;

use super::{BatchTransformation, sql::SqlReader};
use crate::{stream::StreamSource, table::Table};

/// Code that was handed in.
#[derive(Clone)]
pub(crate) struct TableCode(pub(crate) Arc<dyn BatchTransformation>);

impl fmt::Debug for TableCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TableCode")
    }
}

/// What the store's builder was given, and the tables that it opened.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    pub(crate) connections: BTreeMap<Arc<str>, Arc<dyn SqlReader>>,
    /// By scheme and authority, such as `s3://lake`.
    pub(crate) objects: BTreeMap<Arc<str>, Arc<dyn ObjectStore>>,
    pub(crate) streams: BTreeMap<Arc<str>, Arc<dyn StreamSource>>,
    pub(crate) tables: BTreeMap<Arc<str>, Table>,
    /// By the table that it fills.
    pub(crate) code: BTreeMap<Arc<str>, TableCode>,
}

impl Reach {
    pub(super) fn connection(&self, name: &str) -> Result<Arc<dyn SqlReader>> {
        let missing = || not_given("connection", name, "with_connection");
        self.connections.get(name).cloned().ok_or_else(missing)
    }

    pub(super) fn stream(&self, name: &str) -> Result<Arc<dyn StreamSource>> {
        self.streams.get(name).cloned().ok_or_else(|| not_given("stream", name, "with_stream"))
    }

    pub(super) fn table(&self, name: &str) -> Result<Table> {
        let missing = || Error::not_found(format!("table \"{name}\", which rows are derived from, does not exist"));
        self.tables.get(name).cloned().ok_or_else(missing)
    }

    pub(super) fn code(&self, table: &str) -> Result<Arc<dyn BatchTransformation>> {
        let code = self.code.get(table).map(|code| Arc::clone(&code.0));
        code.ok_or_else(|| not_given("code for table", table, "with_table_code"))
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
