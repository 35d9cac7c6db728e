//! Traces: what an application did, span by span, and what people and judges think of it.
//!
//! [`TraceStore`] is the wide trait that a back end supplies. A trace is a [`TraceInfo`], its [`Span`]s as OpenTelemetry
//! has them, and its [`Assessment`]s. Spans and info arrive in either order and any number of times; both ways lead to
//! the same trace.

mod assessment;
pub mod otlp;
mod record;
mod span;
mod sql;
mod store;
mod usage;
mod written;

pub use assessment::{Assessment, AssessmentSource, AssessmentUpdate, AssessmentValue, CreateAssessment};
#[cfg(any(feature = "mlflow", feature = "remote"))]
pub(crate) use record::duration_ms;
pub use record::{TraceInfo, TraceSelection, TraceState};
pub use span::{AnyValue, Attribute, Span, SpanEvent, SpanLink, SpanStatus, StatusCode};
pub use sql::{SqlTraceStore, SqlTraceStoreBuilder};
pub use store::{TRACE_IDS_MAX, TraceStore};
pub(crate) use written::mlflow_span;
#[cfg(feature = "mlflow")]
pub(crate) use written::{hex_to_base64, status_name};

/// The tag that holds the name of a trace.
pub const TRACE_NAME_TAG: &str = "mlflow.traceName";
/// The tag that says where the spans are; [`SPANS_IN_STORE`] when they are in the trace store.
pub const SPANS_LOCATION_TAG: &str = "mlflow.trace.spansLocation";
/// The value of [`SPANS_LOCATION_TAG`] of a trace with spans in the store.
pub const SPANS_IN_STORE: &str = "TRACKING_STORE";
/// The tag that lists the prompt versions that a trace used, as JSON.
pub const LINKED_PROMPTS_TAG: &str = "mlflow.linkedPrompts";
/// The metadata that names the run in which a trace was made.
pub const SOURCE_RUN_METADATA: &str = "mlflow.sourceRun";
/// The metadata that counts the tokens of a trace, as JSON.
pub const TOKENS_METADATA: &str = "mlflow.trace.tokenUsage";
/// The attribute of a span that counts the tokens that it took, as a map or as JSON in a text.
pub const TOKENS_ATTRIBUTE: &str = "mlflow.chat.tokenUsage";
/// The metadata that names the session of a trace.
pub const SESSION_METADATA: &str = "mlflow.trace.session";
/// The metadata that names the user of the application.
pub const USER_METADATA: &str = "mlflow.trace.user";
