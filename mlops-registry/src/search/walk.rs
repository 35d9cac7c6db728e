//! A page of what a statement finds and a filter may still refuse.

use async_trait::async_trait;
use mlops_core::Result;

use super::{Page, PageRequest, sql::SortValue};

/// How many records are looked at in one go when the database cannot decide by itself.
const CANDIDATES_AT_ONCE: usize = 500;

/// Records in the order of a search, each with the sort keys at which a page may end.
#[async_trait]
pub(crate) trait Candidates: Sync {
    type Record: Send;

    /// Whether [`Candidates::admits`] has to be asked.
    fn residual(&self) -> bool;

    /// Up to `limit` records behind `after`.
    async fn behind(&self, after: Option<&[SortValue]>, limit: usize) -> Result<Vec<(Self::Record, Vec<SortValue>)>>;

    /// Whether a record is one of those that are searched for.
    fn admits(&self, record: &Self::Record) -> bool;
}

/// A page of those that are admitted, where `of` says what is searched for.
pub(crate) async fn walk<C: Candidates>(candidates: &C, request: &PageRequest, of: &str) -> Result<Page<C::Record>> {
    let (mut after, size): (Option<Vec<SortValue>>, _) = (request.position(of)?, request.size()?);
    let residual = candidates.residual();
    let mut found: Vec<(C::Record, Vec<SortValue>)> = Vec::new();
    // One more than the page has tells whether there is another one.
    while found.len() <= size {
        let wanted = size + 1 - found.len();
        let limit = if residual { CANDIDATES_AT_ONCE } else { wanted };
        let records = candidates.behind(after.as_deref(), limit).await?;
        let whole = records.len() == limit;
        after = records.last().map(|(_, at)| at.clone());
        found.extend(records.into_iter().filter(|(record, _)| !residual || candidates.admits(record)));
        if !whole {
            break;
        }
    }
    let more = found.len() > size;
    found.truncate(size);
    let last = found.last().filter(|_| more).map(|(_, at)| at);
    let next_page_token = last.map(|at| PageRequest::token(of, at)).transpose()?;
    Ok(Page { items: found.into_iter().map(|(record, _)| record).collect(), next_page_token })
}
