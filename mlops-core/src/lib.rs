//! The words and ports that every crate of the `mlops` SDK shares.
//!
//! Nothing here performs I/O, spawns a task or knows an engine. A crate that only implements or
//! consumes one of the [`ports`] depends on this crate alone.
//!
//! | look for | in |
//! |---|---|
//! | the one error type and its mapping to HTTP, gRPC and MLflow | [`error`] |
//! | validated names: [`ModelName`], [`Version`], [`FeatureRef`], [`Digest`]... | [`id`] |
//! | types and shapes of model inputs and outputs, mapped to Arrow, Open Inference and MLflow | [`schema`] |
//! | what a stored model consists of | [`package`] |
//! | facts that one part announces to the others | [`event`] |
//! | time and measurement, handed in rather than taken | [`clock`], [`meter`] |
//! | the traits by which sibling crates meet | [`ports`] |
//! | manual clock, seeded data, faulty ports | `testing` (feature `testing`) |
//!
//! ```
//! use mlops_core::{DataType, ModelRef, Signature, TensorSpec};
//!
//! let signature = Signature::new(
//!     [TensorSpec::column("amount", DataType::Float64)],
//!     [TensorSpec::column("score", DataType::Float64)],
//! )?;
//! assert_eq!(signature.inputs()[0].data_type.oip_name(), "FP64");
//!
//! let reference: ModelRef = "fraud@champion".parse()?;
//! assert_eq!(reference.name.as_str(), "fraud");
//! # Ok::<(), mlops_core::Error>(())
//! ```

pub mod clock;
pub mod error;
pub mod event;
mod exposition;
pub mod id;
pub mod meter;
pub mod package;
pub mod ports;
pub mod schema;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use arrow_array;
pub use arrow_schema;

pub use clock::{Clock, SystemClock, Timestamp};
pub use error::{Error, ErrorKind, Result, ResultExt, Retry};
pub use event::{Event, Fact, FactKind};
pub use exposition::{Exposition, MetricKind};
pub use id::{Alias, Digest, DigestBuilder, FeatureRef, ModelName, ModelRef, RunId, Selector, Version};
pub use meter::{Meter, NoMeter, PrometheusMeter};
pub use package::{ModelPackage, PARENT_NOTE, PackageManifest};
pub use ports::{
    Action, AuditEntry, AuditSink, Authorizer, BatchCheck, CheckFailure, CheckOutcome, Dataset, Delivery, EventBus,
    EventFilter, EventHandler, FeatureReader, InProcessBus, KeyProvider, LabelBatch, LabelReceipt, LabelSink,
    LineageEvent, LineageSink, LineageState, Metric, Model, ModelSource, ModelVersionId, PredictionBatch,
    PredictionSink, Principal, Resource, RunLogger, RunStatus,
};
pub use schema::{DataType, Signature, TensorSpec, nest};
