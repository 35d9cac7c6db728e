//! A view brought up to date from where its rows come from, by one call.

use mlops_core::{Result, Timestamp};

use super::SourceReceipt;
use crate::{FeatureStore, definition::Source, materialize::MaterializeReceipt};

/// What a refresh did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshReceipt {
    /// What came into the view's table; none when no source fills it.
    pub source: Option<SourceReceipt>,
    /// What went online.
    pub materialized: MaterializeReceipt,
}

impl FeatureStore {
    /// Takes in what is new in the source of `view`'s table, if it has one - where that is another table, in the source of
    /// that one first - and materializes the view up to `until` (inclusive). Repeating it changes nothing; killed, the next call goes on where it stopped. Rows that come with an
    /// event time at or before the view's watermark are left to [`crate::Materializer::catch_up`].
    ///
    /// # Errors
    /// Those of [`crate::SourceIngestor::run`] and [`crate::Materializer::run`].
    pub async fn refresh(&self, view: &str, until: Timestamp) -> Result<RefreshReceipt> {
        // No table is derived from itself, by whatever way.
        let mut tables = vec![self.view(view)?.table()];
        while let Some(input) = tables.last().and_then(|table| self.source_of(table)).and_then(Source::input) {
            tables.push(input);
        }
        let mut source = None;
        for table in tables.into_iter().rev().filter(|table| self.source_of(table).is_some()) {
            source = Some(self.source(table)?.run().await?);
        }
        let materialized = self.materializer().run(view, until).await?;
        Ok(RefreshReceipt { source, materialized })
    }
}
