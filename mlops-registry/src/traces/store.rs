//! The port behind which traces are kept.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use mlops_core::{Result, RunId};

use super::{Assessment, AssessmentUpdate, CreateAssessment, Span, TraceInfo, TraceSelection, otlp::ResourceSpans};
use crate::{
    ExperimentId,
    search::{Page, Search},
};

/// Most traces that one call names.
pub const TRACE_IDS_MAX: usize = 1_000;

/// Keeps traces. Every write is durable when it returns and either happens whole or not at all.
///
/// The store knows no experiments and runs; that they exist is for the caller to check. Errors common to all calls:
/// `Unavailable` when the store cannot be reached, `NotFound` for a trace or assessment that does not exist.
#[async_trait]
pub trait TraceStore: fmt::Debug + Send + Sync + 'static {
    /// Stores what is known of a trace as a whole, and gives it back as stored. When the trace exists, because its spans
    /// came first or the call is repeated, fields are replaced and tags and metadata are added to; the assessments are
    /// added with new ids.
    ///
    /// # Errors
    /// `InvalidArgument` as [`TraceInfo::check`].
    async fn start(&self, info: TraceInfo) -> Result<TraceInfo>;

    /// Stores spans; one that exists is replaced. A trace that is not known yet begins in `experiment`, with times, state
    /// and previews taken from its spans until [`TraceStore::start`] says better. Returns the ids of the traces.
    ///
    /// # Errors
    /// `InvalidArgument` as [`Span::check`]; nothing was stored then.
    async fn add_spans(&self, experiment: ExperimentId, spans: Vec<ResourceSpans>) -> Result<Vec<String>>;

    /// Traces in the order of their ids in the call; those that do not exist are left out.
    ///
    /// # Errors
    /// `InvalidArgument` for more than 1,000 ids.
    async fn traces(&self, ids: &[String]) -> Result<Vec<TraceInfo>>;

    /// The experiment of each of the traces, by its id; those that do not exist are left out.
    ///
    /// # Errors
    /// As [`TraceStore::traces`].
    async fn experiments_of(&self, ids: &[String]) -> Result<BTreeMap<String, ExperimentId>>;

    /// The spans of traces, earliest first; of a trace without spans or that does not exist, none.
    ///
    /// # Errors
    /// As [`TraceStore::traces`].
    async fn spans(&self, ids: &[String]) -> Result<BTreeMap<String, Vec<Span>>>;

    /// Traces of experiments that match, latest first unless ordered otherwise.
    ///
    /// # Errors
    /// `InvalidArgument` pointing at the place in the filter or order that is wrong; `ResourceExhausted` when more
    /// traces match than can be ordered by another key than the time.
    async fn search(&self, experiments: &[ExperimentId], search: &Search) -> Result<Page<TraceInfo>>;

    /// Sets tags of a trace.
    ///
    /// # Errors
    /// `InvalidArgument` for a key over the limit.
    async fn set_tags(&self, id: &str, tags: &[(String, String)]) -> Result<()>;

    /// Removes a tag.
    ///
    /// # Errors
    /// `NotFound` when trace or tag do not exist.
    async fn delete_tag(&self, id: &str, key: &str) -> Result<()>;

    /// Deletes traces of an experiment with their spans and assessments, for good; how many.
    ///
    /// # Errors
    /// `InvalidArgument` when the selection names neither ids nor a time.
    async fn delete(&self, experiment: ExperimentId, selection: &TraceSelection) -> Result<u64>;

    /// Links traces to a run, so that `run_id` finds them; linking again changes nothing. A trace may be linked before it
    /// comes.
    ///
    /// # Errors
    /// `InvalidArgument` for more than 100 ids, or one that no trace can have; `ResourceExhausted` when the run is
    /// linked to more than 10,000 traces that have not come.
    async fn link_to_run(&self, ids: &[String], run: &RunId) -> Result<()>;

    /// Adds an assessment.
    ///
    /// # Errors
    /// `InvalidArgument` as [`CreateAssessment::check`]; `NotFound` also when what it overrides does not exist.
    async fn assess(&self, id: &str, assessment: CreateAssessment) -> Result<Assessment>;

    /// One assessment of a trace.
    ///
    /// # Errors
    /// Only the common ones.
    async fn assessment(&self, id: &str, assessment: &str) -> Result<Assessment>;

    /// Changes an assessment.
    ///
    /// # Errors
    /// `InvalidArgument` when the value is of another kind, or too large.
    async fn update_assessment(&self, id: &str, assessment: &str, update: AssessmentUpdate) -> Result<Assessment>;

    /// Deletes an assessment; what it had overridden is valid again. Deleting one that does not exist changes nothing.
    ///
    /// # Errors
    /// `NotFound` when the trace does not exist.
    async fn delete_assessment(&self, id: &str, assessment: &str) -> Result<()>;
}

macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        #[async_trait]
        impl<T: TraceStore + ?Sized> TraceStore for Arc<T> {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$out> {
                (**self).$name($($arg),*).await
            })*
        }
    };
}

forward! {
    start(info: TraceInfo) -> TraceInfo;
    add_spans(experiment: ExperimentId, spans: Vec<ResourceSpans>) -> Vec<String>;
    traces(ids: &[String]) -> Vec<TraceInfo>;
    experiments_of(ids: &[String]) -> BTreeMap<String, ExperimentId>;
    spans(ids: &[String]) -> BTreeMap<String, Vec<Span>>;
    search(experiments: &[ExperimentId], search: &Search) -> Page<TraceInfo>;
    set_tags(id: &str, tags: &[(String, String)]) -> ();
    delete_tag(id: &str, key: &str) -> ();
    delete(experiment: ExperimentId, selection: &TraceSelection) -> u64;
    link_to_run(ids: &[String], run: &RunId) -> ();
    assess(id: &str, assessment: CreateAssessment) -> Assessment;
    assessment(id: &str, assessment: &str) -> Assessment;
    update_assessment(id: &str, assessment: &str, update: AssessmentUpdate) -> Assessment;
    delete_assessment(id: &str, assessment: &str) -> ();
}
