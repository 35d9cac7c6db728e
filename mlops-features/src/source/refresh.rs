//! A view brought up to date from where its rows come from, by one call.

use mlops_core::{Result, Timestamp};

use super::SourceReceipt;
use crate::{FeatureStore, materialize::MaterializeReceipt};

/// What a refresh did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshReceipt {
    /// What came into the view's table; none when no source fills it.
    pub source: Option<SourceReceipt>,
    /// What went online.
    pub materialized: MaterializeReceipt,
}

impl FeatureStore {
    /// Takes in what is new in the source of `view`'s table, if it has one, and materializes the view up to `until`
    /// (inclusive). Repeating it changes nothing; killed, the next call goes on where it stopped. Rows that come with an
    /// event time at or before the view's watermark are left to [`crate::Materializer::catch_up`].
    ///
    /// # Errors
    /// Those of [`crate::SourceIngestor::run`] and [`crate::Materializer::run`].
    pub async fn refresh(&self, view: &str, until: Timestamp) -> Result<RefreshReceipt> {
        let table = self.view(view)?.table();
        let source = match self.has_source(table) {
            true => Some(self.source(table)?.run().await?),
            false => None,
        };
        let materialized = self.materializer().run(view, until).await?;
        Ok(RefreshReceipt { source, materialized })
    }
}
