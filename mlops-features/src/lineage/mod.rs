//! Where data came from, in OpenLineage 2-0-2: an event when a read or write of the feature store begins and one when
//! it ends, with schema, version, statistics and the lineage of every column.
//!
//! [`Lineage`] makes the events and hands them to its [`Transport`]s: a file of JSON lines, HTTP (feature
//! `lineage-http`), the event bus, core's `LineageSink`, or the [`LineageGraph`] that answers where a column came from
//! and what depends on it. [`Traced`] is what a store's parts are wrapped in; the parts themselves know nothing of it.
//!
//! Lineage is derived data: a transport that fails is logged and counted, and never fails the work. An operation whose
//! caller gives up leaves its `START` alone.
//!
//! | job | reads | writes |
//! |---|---|---|
//! | `ingest.<table>` | the batch, by its id | the table, or its quarantine |
//! | `source.<table>` | files, a relation of a database, a stream or another table | the table |
//! | `training_set.<service>` | spine, tables at their versions, feature views | the training set |
//! | `materialize.<view>` | the view's table | the feature view |
//!
//! A feature view is a dataset of its own whose columns come from its table's, so a column of a training set leads
//! through the feature to the source.

mod columns;
mod facet;
mod graph;
#[cfg(feature = "lineage-http")]
mod http;
mod recorder;
pub(crate) mod run_id;
mod traced;
mod transport;
pub mod wire;

pub use columns::{ColumnInput, ColumnLineage, Transformation};
pub use graph::{ColumnId, LineageGraph};
#[cfg(feature = "lineage-http")]
pub use http::HttpTransport;
pub use recorder::{DatasetFacts, Lineage, LineageBuilder, LineageRun, ParentRun};
pub use traced::{Traced, TracedStore};
pub use transport::{BusTransport, FileTransport, SinkTransport, Transport};
