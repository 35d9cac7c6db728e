//! Where the rows of a table come from, when nobody appends them by hand.
//!
//! A source fills the table of its own name through the same gate as every other batch. It is data: what it takes to
//! reach the place (a connection, an object store, a stream) and code that makes rows of others are handed to the
//! store's builder by name, so no definition holds a secret.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use mlops_core::{Digest, Error, Result};
use serde::{Deserialize, Serialize};

use super::{EVENT_TIMESTAMP, Metadata, all_faults, check_name};

/// How the rows of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON object a line.
    JsonLines,
    /// Avro object container files (feature `avro`).
    Avro,
}

/// What kind of place rows come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// Files at a URL; its path may have the wildcards `*`, `**` and `?`, or end in `/` and mean everything below
    /// but files and folders whose name begins with `.` or `_`, such as `_temporary/` and `_delta_log/`.
    Files {
        /// Where they are.
        url: Arc<str>,
        /// How they are written.
        format: FileFormat,
    },
    /// A table or view in a database.
    Sql {
        /// The connection, by the name that the store's builder has it under.
        connection: Arc<str>,
        /// The table, as it is written in SQL, without an alias.
        relation: Arc<str>,
        /// A column of whole numbers from 0 that no two rows share and in whose order rows become visible: rows after
        /// the greatest that was taken are new, and a row that appears below it later is never seen. Two rows with one
        /// cursor are refused when one run sees both; a second one that arrives in a later run is not seen either.
        ///
        /// An identity column grows in the order of inserts, not of commits, so it will do only where one transaction
        /// writes at a time. Elsewhere read a view that holds back what is younger than the longest transaction.
        cursor: Arc<str>,
    },
    /// A stream that the store's builder was given.
    Stream {
        /// The stream, by name.
        stream: Arc<str>,
    },
    /// Another table of the store, commit by commit. What is made of a commit comes in whole or not at all.
    Table {
        /// The table, by name.
        table: Arc<str>,
        /// What its rows become.
        derivation: Derivation,
    },
}

/// How the rows of one commit of a table become rows of another. Whichever way, they must depend on that commit alone:
/// no clock, no draw. A change has a say in commits that are yet to come; what was derived before stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Derivation {
    /// Nothing changes.
    Same,
    /// Code that the store's builder was given, a [`crate::BatchTransformation`].
    Code {
        /// Which code: any text, such as a release. Whoever changes what the code does changes it too.
        version: Arc<str>,
    },
    /// A query in SQLite's SQL, a `SELECT` or `WITH`, over a relation of the table's name (feature `sqlite`). Times are
    /// whole numbers in the unit of their column, booleans 0 and 1; columns of lists are not there. SQL has no NaN: a
    /// commit with one is refused, and needs code instead.
    Sql {
        /// The query. The columns of its answer are found by name.
        query: Arc<str>,
    },
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::JsonLines => "json lines",
            Self::Avro => "avro",
        })
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files { url, format } => write!(f, "{format} files at {url}"),
            Self::Sql { connection, relation, cursor } => write!(f, "{relation} of \"{connection}\" by {cursor}"),
            Self::Stream { stream } => write!(f, "stream \"{stream}\""),
            Self::Table { table, derivation } => match derivation {
                Derivation::Same => write!(f, "table \"{table}\""),
                Derivation::Code { version } => write!(f, "table \"{table}\" by code {version}"),
                Derivation::Sql { query } => write!(f, "table \"{table}\" by {query}"),
            },
        }
    }
}

/// What fills one table.
///
/// ```
/// use mlops_features::{FileFormat, Source};
///
/// let source = Source::files("payments", "s3://lake/payments/*/*.parquet", FileFormat::Parquet)
///     .with_column("card", "card_number")
///     .with_timestamp("paid_at")
///     .build()?;
/// assert_eq!(source.column_in_source("card"), "card_number");
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    name: Arc<str>,
    kind: SourceKind,
    timestamp: Arc<str>,
    created: Option<Arc<str>>,
    /// Columns of the table that are called otherwise in the source.
    columns: BTreeMap<Arc<str>, Arc<str>>,
    optional: BTreeSet<Arc<str>>,
    #[serde(default)]
    metadata: Metadata,
}

impl Source {
    /// Begins a source of table `name` from files.
    pub fn files(name: impl AsRef<str>, url: impl AsRef<str>, format: FileFormat) -> SourceBuilder {
        Self::builder(name, SourceKind::Files { url: url.as_ref().into(), format })
    }

    /// Begins a source of table `name` from `relation` of a database (see [`SourceKind::Sql`]).
    pub fn sql(
        name: impl AsRef<str>,
        connection: impl AsRef<str>,
        relation: impl AsRef<str>,
        cursor: impl AsRef<str>,
    ) -> SourceBuilder {
        let (connection, relation) = (connection.as_ref().into(), relation.as_ref().into());
        Self::builder(name, SourceKind::Sql { connection, relation, cursor: cursor.as_ref().into() })
    }

    /// Begins a source of table `name` from a stream.
    pub fn stream(name: impl AsRef<str>, stream: impl AsRef<str>) -> SourceBuilder {
        Self::builder(name, SourceKind::Stream { stream: stream.as_ref().into() })
    }

    /// Begins a source of table `name` from the commits of another `table` of the store.
    ///
    /// ```
    /// use mlops_features::{Derivation, Source};
    ///
    /// let query = "SELECT card, paid_at, amount / 100.0 AS amount FROM raw WHERE amount > 0";
    /// let source = Source::table("payments", "raw", Derivation::Sql { query: query.into() })
    ///     .with_timestamp("paid_at")
    ///     .build()?;
    /// assert_eq!(source.input(), Some("raw"));
    /// # Ok::<(), mlops_core::Error>(())
    /// ```
    pub fn table(name: impl AsRef<str>, table: impl AsRef<str>, derivation: Derivation) -> SourceBuilder {
        Self::builder(name, SourceKind::Table { table: table.as_ref().into(), derivation })
    }

    fn builder(name: impl AsRef<str>, kind: SourceKind) -> SourceBuilder {
        SourceBuilder {
            source: Self {
                name: name.as_ref().into(),
                kind,
                timestamp: EVENT_TIMESTAMP.into(),
                created: None,
                columns: BTreeMap::new(),
                optional: BTreeSet::new(),
                metadata: Metadata::default(),
            },
        }
    }

    /// The name, which is that of the table it fills.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where rows come from.
    #[must_use]
    pub fn kind(&self) -> &SourceKind {
        &self.kind
    }

    /// The table that rows are derived from, if they are.
    #[must_use]
    pub fn input(&self) -> Option<&str> {
        match &self.kind {
            SourceKind::Table { table, .. } => Some(table),
            _ => None,
        }
    }

    /// The table's column with the event time.
    #[must_use]
    pub fn timestamp(&self) -> &str {
        &self.timestamp
    }

    /// The table's column with the time at which a row became known, if it has one.
    #[must_use]
    pub fn created(&self) -> Option<&str> {
        self.created.as_deref()
    }

    /// What the source calls the table's column `name`.
    #[must_use]
    pub fn column_in_source<'a>(&'a self, name: &'a str) -> &'a str {
        self.columns.get(name).map_or(name, AsRef::as_ref)
    }

    /// The table's columns that are called otherwise in the source, and how.
    pub fn renamed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.columns.iter().map(|(column, other)| (column.as_ref(), other.as_ref()))
    }

    /// Whether the source need not have the table's column `name`, which is null then.
    #[must_use]
    pub fn is_optional(&self, name: &str) -> bool {
        self.optional.contains(name)
    }

    /// The table's columns that the source need not have.
    pub fn optional(&self) -> impl Iterator<Item = &str> {
        self.optional.iter().map(AsRef::as_ref)
    }

    /// Owner, description and tags.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// A digest of everything on which a row depends; metadata has no part in it.
    ///
    /// # Errors
    /// `Internal` when the definition cannot be written as JSON, which no valid definition does.
    pub fn digest(&self) -> Result<Digest> {
        let values = (&self.name, &self.kind, &self.timestamp, &self.created, &self.columns, &self.optional);
        let fail = |error| Error::internal("source cannot be written as json").with_source(error);
        Ok(Digest::of(&serde_json::to_vec(&values).map_err(fail)?))
    }

    /// Refuses a definition that no builder would have built.
    pub(super) fn checked(&self) -> Result<()> {
        let mut faults = Vec::new();
        let mut named = vec![("source name", self.name.as_ref()), ("timestamp column", self.timestamp.as_ref())];
        named.extend(self.created().map(|name| ("creation time column", name)));
        named.extend(self.columns.keys().chain(&self.optional).map(|name| ("column", name.as_ref())));
        match &self.kind {
            SourceKind::Files { url, .. } => {
                if !url.contains("://") && !url.starts_with('/') {
                    faults.push(format!("{url:?} is neither a URL nor an absolute path"));
                }
            }
            SourceKind::Sql { connection, relation, cursor } => {
                named.extend([("connection", connection.as_ref()), ("cursor column", cursor)]);
                if relation.trim().is_empty() {
                    faults.push("no relation to read".into());
                }
                let optional = self.optional.iter();
                faults.extend(optional.map(|name| {
                    format!("column \"{name}\" cannot be optional; read a view of the database that has it as null")
                }));
            }
            SourceKind::Stream { stream } => named.push(("stream name", stream)),
            SourceKind::Table { table, derivation } => {
                named.push(("table name", table));
                faults.extend((*table == self.name).then(|| "a table cannot be derived from itself".into()));
                faults.extend(derivation.fault());
            }
        }
        faults.extend(named.iter().filter_map(|(what, name)| Some(check_name(what, name).err()?.to_string())));
        if self.optional.contains(&self.timestamp) {
            faults.push(format!("the event time \"{}\" cannot be optional", self.timestamp));
        }
        all_faults(&format!("source \"{}\"", self.name), &faults)
    }
}

impl Derivation {
    fn fault(&self) -> Option<String> {
        match self {
            Self::Same => None,
            Self::Code { version } => version.trim().is_empty().then(|| "the version of its code is empty".into()),
            Self::Sql { query } => {
                let first = query.split_whitespace().next().unwrap_or_default();
                let reads = ["SELECT", "WITH"].iter().any(|verb| first.eq_ignore_ascii_case(verb));
                (!reads).then(|| format!("a query begins with SELECT or WITH; this one begins with {first:?}"))
            }
        }
    }
}

/// Collects the parts of a [`Source`].
#[derive(Debug, Clone)]
#[must_use]
pub struct SourceBuilder {
    source: Source,
}

impl SourceBuilder {
    /// The event time is in the table's `column` instead of [`EVENT_TIMESTAMP`].
    pub fn with_timestamp(mut self, column: impl AsRef<str>) -> Self {
        self.source.timestamp = column.as_ref().into();
        self
    }

    /// The table's `column` says when a row became known.
    pub fn with_created(mut self, column: impl AsRef<str>) -> Self {
        self.source.created = Some(column.as_ref().into());
        self
    }

    /// The table's `column` is called `in_source` in the source.
    pub fn with_column(mut self, column: impl AsRef<str>, in_source: impl AsRef<str>) -> Self {
        self.source.columns.insert(column.as_ref().into(), in_source.as_ref().into());
        self
    }

    /// The source, but one of a database, need not have the table's `column`, which is null then. Without it a missing
    /// column is refused, because a name that is spelt wrong would be null throughout.
    pub fn with_optional(mut self, column: impl AsRef<str>) -> Self {
        self.source.optional.insert(column.as_ref().into());
        self
    }

    /// Who answers for it and what it is for.
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.source.metadata = metadata;
        self
    }

    /// Checks the whole.
    ///
    /// # Errors
    /// `InvalidArgument` that lists every fault.
    pub fn build(self) -> Result<Source> {
        self.source.checked()?;
        Ok(self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_listed_and_metadata_is_no_part_of_the_digest() {
        let error = Source::files("a/b", "relative.csv", FileFormat::Csv).with_optional(EVENT_TIMESTAMP).build();
        let error = error.unwrap_err();
        for part in ["\"a/b\"", "relative.csv", "cannot be optional"] {
            assert!(error.message().contains(part), "{error}");
        }
        let error = Source::sql("t", "crm", "payments", "id").with_optional("x").build().unwrap_err();
        assert!(error.message().contains("\"x\" cannot be optional"), "{error}");
        let query = Derivation::Sql { query: " DROP TABLE t".into() };
        let error = Source::table("t", "t", query).build().unwrap_err();
        for part in ["from itself", "begins with \"DROP\""] {
            assert!(error.message().contains(part), "{error}");
        }
        let source = || Source::sql("t", "crm", "public.payments", "id");
        let owned = Metadata { owner: Some("ann".into()), ..Metadata::default() };
        let digest = |source: SourceBuilder| source.build().unwrap().digest().unwrap();
        assert_eq!(digest(source()), digest(source().with_metadata(owned)));
        assert_ne!(digest(source()), digest(source().with_column("k", "key")));
    }
}
