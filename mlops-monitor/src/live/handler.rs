//! Who gets the reports.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use mlops_core::{ModelName, Result, Timestamp, Version};

use crate::report::DriftReport;

/// One finished window of one model version.
#[derive(Debug, Clone)]
pub struct WindowReport {
    /// Model that answered.
    pub model: ModelName,
    /// Version that answered.
    pub version: Version,
    /// Begin of the window; of a count or a session the time of its first row.
    pub start: Timestamp,
    /// End of the window, exclusive; of a count or a session the time of its last row, inclusive.
    pub end: Timestamp,
    /// The comparison with the reference.
    pub report: DriftReport,
    /// How long the comparison took, by the monitor's clock.
    pub elapsed: Duration,
}

/// Takes finished windows: stores them, exports metrics, raises alerts.
#[async_trait]
pub trait ReportHandler: fmt::Debug + Send + Sync + 'static {
    /// Takes one report. Windows of one model version come in order of their ends.
    ///
    /// # Errors
    /// Whatever kept it from being taken; it is counted, and the next flush returns the first one.
    async fn handle(&self, report: &WindowReport) -> Result<()>;
}

#[async_trait]
impl<T: ReportHandler + ?Sized> ReportHandler for Arc<T> {
    async fn handle(&self, report: &WindowReport) -> Result<()> {
        (**self).handle(report).await
    }
}
