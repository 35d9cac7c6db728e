//! Finished windows straight into metrics and alerts.

use std::sync::Arc;

use async_trait::async_trait;
use mlops_core::{Error, Result};

use super::handler::{ReportHandler, WindowReport};
use crate::{
    alert::{AlertCenter, DriftAlerts},
    export::MonitorMetrics,
};

#[async_trait]
impl ReportHandler for MonitorMetrics {
    /// Replaces what the exporter knows of the model version.
    async fn handle(&self, window: &WindowReport) -> Result<()> {
        self.record_drift(&window.model, window.version, &window.report, window.elapsed);
        Ok(())
    }
}

/// Turns each window into observations for an [`AlertCenter`], by default one alert for each drifted column.
///
/// Give it to a [`super::LiveMonitor`] as a handler; what the center acknowledged is durable before the window counts as
/// handled.
#[derive(Debug)]
pub struct AlertOnDrift {
    center: Arc<AlertCenter>,
    customize: fn(DriftAlerts) -> DriftAlerts,
}

impl AlertOnDrift {
    /// Sends to `center`.
    #[must_use]
    pub fn new(center: Arc<AlertCenter>) -> Self {
        Self { center, customize: std::convert::identity }
    }

    /// Says how windows become alerts: the granularity, the runbook and so on.
    #[must_use]
    pub fn with_alerts(mut self, customize: fn(DriftAlerts) -> DriftAlerts) -> Self {
        self.customize = customize;
        self
    }
}

#[async_trait]
impl ReportHandler for AlertOnDrift {
    async fn handle(&self, window: &WindowReport) -> Result<()> {
        let alerts = (self.customize)(DriftAlerts::new(window.model.clone(), window.version));
        let outcomes = self.center.observe(alerts.observations(&window.report)?).await?;
        outcomes.into_iter().collect::<Result<Vec<_>, Error>>().map(|_| ())
    }
}
