//! What a feature store measures, by name. Labels are names of tables, views and streams, never keys of entities.

use std::sync::Arc;

use mlops_core::{Clock, Event, EventBus, Fact, Meter, Timestamp};

/// Rows by `table` and `outcome`: `accepted`, `quarantined`, `duplicate`, `late_dropped`, `late_accepted`, `replayed`.
pub const ROWS_TOTAL: &str = "mlops_features_rows_total";
/// Commits of batches by `table`.
pub const COMMITS_TOTAL: &str = "mlops_features_commits_total";
/// Time from the newest event of a table that was written by this process until it was written, by `table`.
pub const EVENT_LAG_SECONDS: &str = "mlops_features_event_lag_seconds";
/// Rows that were made available online, by `view`.
pub const MATERIALIZED_ROWS_TOTAL: &str = "mlops_features_materialized_rows_total";
/// How far the event time up to which a view is complete online is behind the present, by `view`.
pub const FRESHNESS_SECONDS: &str = "mlops_features_freshness_seconds";
/// How far the watermark of a stream is behind the present, by `stream`.
pub const STREAM_LAG_SECONDS: &str = "mlops_features_stream_lag_seconds";
/// Entities that a `view` had when it was inspected.
pub const VIEW_ENTITIES: &str = "mlops_features_view_entities";
/// Which part of them had no value, by `view` and `feature`.
pub const VIEW_MISSING_RATIO: &str = "mlops_features_view_missing_ratio";

/// Whom a part of the store tells what it did, and by which clock.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) bus: Option<Arc<dyn EventBus>>,
    pub(crate) meter: Arc<dyn Meter>,
}

impl Told {
    /// Announces what is durable already; a bus that fails is logged and takes nothing back.
    pub(crate) async fn publish(&self, fact: Fact) {
        let Some(bus) = &self.bus else { return };
        let kind = fact.kind();
        if let Err(error) = bus.publish(Event::new(self.clock.now(), fact)).await {
            tracing::warn!(?kind, %error, "an event was not taken by every subscriber");
        }
    }

    /// Counts rows of `table`; none are not counted.
    pub(crate) fn rows(&self, table: &str, outcome: &str, rows: u64) {
        if rows > 0 {
            self.meter.count(ROWS_TOTAL, &[("table", table), ("outcome", outcome)], rows);
        }
    }

    /// Sets how far `event` is behind the present.
    pub(crate) fn lag(&self, name: &'static str, label: &'static str, of: &str, event: Timestamp) {
        self.meter.gauge(name, &[(label, of)], self.clock.now().duration_since(event).as_secs_f64());
    }
}
