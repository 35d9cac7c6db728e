//! Feature store: what happens between raw events and the numbers that a model sees.
//!
//! Events are appended to Delta tables, checked at the door, joined to a training spine as they were known at
//! each row's time, and kept ready per entity for serving. One definition of a feature serves both paths, and
//! both evaluate it with the same code, so what a model is trained on is what it is served.
//!
//! | look for | in |
//! |---|---|
//! | entities, feature views, window aggregations, services; plan and apply | [`definition`] |
//! | Delta tables with exactly-once appends, data versions, schema evolution | [`table`] |
//! | the gate at the door, the quarantine and the way out of it | [`ingest`] |
//! | files, database tables and other tables (by code or SQL), taken in exactly once | [`source`] |
//! | streams, taken in exactly once | [`stream`] |
//! | point-in-time join over Arrow batches | [`join`] |
//! | window aggregates, the same offline and online | [`window`] |
//! | training sets | [`offline`] |
//! | features computed when they are asked for | [`on_demand`] |
//! | where training sets are computed: here or on a cluster (feature `spark`) | [`engine`] |
//! | latest values by entity: memory, redb, Redis (feature `redis`), PostgreSQL (feature `postgres`) | [`online`] |
//! | nearest neighbours by vectors | [`vector`] |
//! | offline table to online store | [`materialize`] |
//! | all of it behind one door | [`FeatureStore`] |
//! | freshness, volume, and a view as a whole ([`FeatureStore::inspect`]) | [`metrics`] |
//! | Feast's HTTP feature server (feature `feast`) | `feast` |
//! | training sets and online features over Arrow Flight (feature `flight`) | `flight` |
//! | the log of answered predictions | [`prediction_log`] |
//! | DVC repositories (feature `dvc`) | `dvc` |
//! | OpenLineage events and the lineage of columns | [`lineage`] |
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//!
//! use mlops_core::{FeatureReader, Timestamp, arrow_array::*, arrow_schema::*};
//! use mlops_features::{Aggregation, Entity, FeatureStore, FeatureView, Function};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let home = tempfile::tempdir()?;
//! let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
//! let schema = Arc::new(Schema::new(vec![
//!     Field::new("card", DataType::Int64, true),
//!     Field::new("event_timestamp", time, true),
//!     Field::new("amount", DataType::Float64, true),
//! ]));
//! let view = FeatureView::builder("spend", Entity::new("card", ["card"])?, "payments")
//!     .with_aggregation(Aggregation::new("spent_1h", Function::Sum, "amount", Duration::from_secs(3600)))
//!     .build()?;
//! let store = FeatureStore::builder(home.path().display().to_string())
//!     .with_table("payments", Arc::clone(&schema))
//!     .with_view(view)
//!     .build()
//!     .await?;
//!
//! let seconds = |s: i64| s * 1_000_000;
//! let payments = RecordBatch::try_new(schema, vec![
//!     Arc::new(Int64Array::from(vec![7, 7])),
//!     Arc::new(TimestampMicrosecondArray::from(vec![seconds(10), seconds(20)]).with_timezone("UTC")),
//!     Arc::new(Float64Array::from(vec![1.5, 2.0])),
//! ])?;
//! store.ingestor("payments")?.append("batch-1", &payments).await?;
//! store.materializer().run("spend", Timestamp::from_micros(seconds(60))).await?;
//!
//! let who = RecordBatch::try_from_iter([("card", Arc::new(Int64Array::from(vec![7])) as ArrayRef)])?;
//! let now = Timestamp::from_micros(seconds(60));
//! let answer = store.reader().get_online(&["spend:spent_1h".parse()?], &who, now).await?;
//! assert_eq!(answer.column(1).as_ref(), &Float64Array::from(vec![3.5]) as &dyn Array);
//! # Ok(())
//! # }
//! ```
//!
//! Guarantees: an acknowledged append is in the table exactly once, whatever is killed when; a join never looks
//! past its row's time; an older event never replaces a newer online value; offline and online values of the same
//! events at the same time are equal bit for bit.
//!
//! TLS: the Delta crates compile two rustls providers. Local files never touch them; a program that also uses TLS
//! installs one provider at start-up.

mod cell;
pub mod definition;
#[cfg(feature = "dvc")]
pub mod dvc;
pub mod engine;
mod fault;
#[cfg(feature = "feast")]
pub mod feast;
#[cfg(feature = "flight")]
pub mod flight;
pub mod ingest;
pub mod join;
pub mod lineage;
pub mod materialize;
pub mod metrics;
pub mod offline;
pub mod on_demand;
pub mod online;
pub mod prediction_log;
#[cfg(feature = "redis")]
mod redis_link;
pub mod source;
mod store;
pub mod stream;
pub mod table;
mod time;
mod value;
pub mod vector;
pub mod window;
mod workers;

pub use definition::{
    Aggregation, AppliedDefinitions, Change, ChangeClass, DefinitionStore, Definitions, Derivation, Entity,
    FeatureService, FeatureView, FeatureViewBuilder, FileFormat, Function, LabelView, LabelViewBuilder, Metadata,
    OnDemandView, Permission, Plan, Quantile, Source, SourceKind,
};
pub use engine::{ComputeEngine, Latest, LocalEngine, WindowJoin};
pub use ingest::{IngestReceipt, Ingestor, RejectedBatch};
pub use join::{Bound, JoinSettings, JoinView, Knowledge, Moments, PointInTimeJoin};
pub use materialize::{FollowReceipt, MaterializeProgress, MaterializeReceipt, Materializer};
pub use offline::{DeltaOfflineStore, OfflineStore, TrainingSet};
pub use on_demand::{OnDemandOfflineStore, Transformation};
pub use online::{
    Durability, FeatureStatus, MemoryOnlineStore, OnlineFeatures, OnlineReader, OnlineStore, OnlineWriter, ReadPlan,
    RedbOnlineStore,
};
pub use prediction_log::{LogWriter, LogWriterSettings, PredictionLog, PredictionLogSettings, join_labels};
pub use source::{BatchTransformation, RefreshReceipt, SourceIngestor, SourceProgress, SourceReceipt, SourceSettings};
pub use store::{FeatureStore, FeatureStoreBuilder, FeatureStoreSettings, ViewInspection};
pub use stream::{LatePolicy, StreamIngestor, StreamSettings, StreamSource};
pub use table::{AppendReceipt, Compatibility, DataRef, DataVersion, Scan, Table, TableAt, TableSettings};
pub use vector::{HnswSettings, Metric, VectorIndex, VectorQuery, VectorSearch};
