//! Where runs and models come from: the port of an import.
//!
//! Invariant: a source is only read. Its records carry the source's own ids; the importer gives new ones.

use std::fmt;

use async_trait::async_trait;
use futures::stream::BoxStream;
use mlops_core::{Error, Metric, Result};

use super::report::ImportReport;
use crate::{
    logged_models::LoggedModel,
    registry::{ModelVersion, RegisteredModel},
    search::Page,
    traces::{Span, TraceInfo},
    tracking::{Experiment, ExperimentId, RunRecord},
};

/// One file of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Path below the directory of the run's files.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
}

/// A trace and its spans.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceTrace {
    /// What is known of it as a whole.
    pub info: TraceInfo,
    /// Its spans; none when the source keeps them out of reach.
    pub spans: Vec<Span>,
}

/// The pieces of a file in order.
pub type FilePieces = BoxStream<'static, Result<bytes::Bytes>>;

/// Most records of one kind that are held at once: experiments, registered models, versions of one, files of a run.
const RECORDS_MAX: usize = 100_000;

/// How many records to ask for, so that [`check_count`] notices that there are too many.
pub(super) const RECORDS_ASKED: usize = RECORDS_MAX + 1;

/// Refuses more records than are held at once, so that none is left out unnoticed.
pub(super) fn check_count(source: &str, what: &str, count: usize) -> Result<()> {
    if count <= RECORDS_MAX {
        return Ok(());
    }
    Err(Error::resource_exhausted(format!("{source} has more than {RECORDS_MAX} {what}")))
}

/// Something that holds experiments, runs and models.
///
/// What a source cannot read it notes in the report and leaves out; an error ends the import, which can be repeated.
/// Tokens of pages are the source's own text; the last page has none.
#[async_trait]
pub trait ImportSource: fmt::Debug + Send + Sync {
    /// What it is, in one line; the same text finds again what was imported before.
    fn name(&self) -> String;

    /// All experiments, deleted ones included.
    ///
    /// # Errors
    /// `Unavailable` when the source cannot be read, `ResourceExhausted` when there are too many.
    async fn experiments(&self, report: &mut ImportReport) -> Result<Vec<Experiment>>;

    /// Some runs of an experiment, deleted ones included. Their `metrics` may be empty.
    ///
    /// # Errors
    /// As [`ImportSource::experiments`].
    async fn runs(
        &self,
        experiment: ExperimentId,
        token: Option<String>,
        report: &mut ImportReport,
    ) -> Result<Page<RunRecord>>;

    /// Some metric points of a run, of any keys.
    ///
    /// # Errors
    /// As [`ImportSource::experiments`].
    async fn points(&self, run: &RunRecord, token: Option<String>, report: &mut ImportReport) -> Result<Page<Metric>>;

    /// The files of a run; none when the source keeps them out of reach.
    ///
    /// # Errors
    /// As [`ImportSource::experiments`].
    async fn files(&self, run: &RunRecord, report: &mut ImportReport) -> Result<Vec<SourceFile>>;

    /// One of those files.
    ///
    /// # Errors
    /// As [`ImportSource::experiments`].
    async fn open(&self, run: &RunRecord, path: &str) -> Result<FilePieces>;

    /// Some logged models of an experiment, those that are not deleted. Default: none.
    ///
    /// # Errors
    /// As [`ImportSource::experiments`].
    async fn logged_models(
        &self,
        _experiment: ExperimentId,
        _token: Option<String>,
        _report: &mut ImportReport,
    ) -> Result<Page<LoggedModel>> {
        Ok(Page { items: Vec::new(), next_page_token: None })
    }

    /// The files of a logged model. Default: none.
    ///
    /// # Errors
    /// As [`ImportSource::experiments`].
    async fn logged_model_files(&self, _model: &LoggedModel, _report: &mut ImportReport) -> Result<Vec<SourceFile>> {
        Ok(Vec::new())
    }

    /// One of those files. Default: `NotFound`.
    ///
    /// # Errors
    /// As [`ImportSource::experiments`].
    async fn open_logged_model_file(&self, model: &LoggedModel, path: &str) -> Result<FilePieces> {
        Err(Error::not_found(format!("{} gives no file {path:?} of logged model {}", self.name(), model.id)))
    }

    /// Some traces of an experiment. Default: none.
    ///
    /// # Errors
    /// As [`ImportSource::experiments`].
    async fn traces(
        &self,
        _experiment: ExperimentId,
        _token: Option<String>,
        _report: &mut ImportReport,
    ) -> Result<Page<SourceTrace>> {
        Ok(Page { items: Vec::new(), next_page_token: None })
    }

    /// All registered models.
    ///
    /// # Errors
    /// As [`ImportSource::experiments`].
    async fn models(&self, report: &mut ImportReport) -> Result<Vec<RegisteredModel>>;

    /// The versions of a model, by number.
    ///
    /// # Errors
    /// As [`ImportSource::experiments`].
    async fn versions(&self, model: &RegisteredModel, report: &mut ImportReport) -> Result<Vec<ModelVersion>>;
}
