//! What an experiment of a source has many of: one walk over its pages, whatever it is.
//!
//! Invariant: what is here already is left alone and counted as such; a dry run counts what it would write.

use async_trait::async_trait;
use mlops_core::Result;

use super::{ImportReport, Importer};
use crate::{search::Page, tracking::ExperimentId};

/// One kind of record of an experiment.
#[async_trait]
pub(super) trait Kind: Sync {
    type Record: Send;

    /// Some records, each with what is known of it here.
    async fn page(&self, token: Option<String>, report: &mut ImportReport) -> Result<Page<Self::Record>>;

    /// Whether nothing is to be done for a record, which is then noted.
    fn is_settled(&self, record: &Self::Record, report: &mut ImportReport) -> bool;

    /// Counts a record that is written.
    fn count(&self, record: &Self::Record, report: &mut ImportReport);

    /// Writes a record into an experiment.
    async fn write(&self, record: Self::Record, to: ExperimentId, report: &mut ImportReport) -> Result<()>;
}

impl Importer {
    /// Writes all records of a kind into an experiment, which a dry run may not have.
    pub(super) async fn all_of(
        &self,
        kind: &impl Kind,
        to: Option<ExperimentId>,
        report: &mut ImportReport,
    ) -> Result<()> {
        let mut token = None;
        loop {
            let page = kind.page(token, report).await?;
            for record in page.items {
                if kind.is_settled(&record, report) {
                    continue;
                }
                kind.count(&record, report);
                if let Some(to) = to.filter(|_| !self.options.dry_run) {
                    kind.write(record, to, report).await?;
                }
                self.tell(report);
            }
            token = page.next_page_token;
            if token.is_none() {
                return Ok(());
            }
        }
    }
}
