//! Searching runs.

use std::sync::Arc;

use mlops_core::{Error, Result};
use mlops_store::{Dialect, MetaStoreExt as _, Row};

use super::{
    SqlTrackingStore,
    cache::Revision,
    select::{Part, Selection},
};
use crate::{
    search::{Clause, Filter, OrderKey, Page, PageRequest, Search, SearchColumns, sql::SortValue},
    tracking::record::{ExperimentId, RunRecord},
};

/// Most experiments in one search: SQLite takes 32,766 values in a statement.
const EXPERIMENTS_MAX: usize = 30_000;
/// So few runs are better looked at one by one than found on a walk through all.
///
/// Lower in tests, so that random searches take both ways.
const RARE_MAX: u32 = if cfg!(test) { 12 } else { 256 };
/// How many clauses are asked for how many runs meet them.
const PROBES_MAX: usize = 8;
/// How many runs are looked at in one go when the database cannot decide by itself.
const CANDIDATES_AT_ONCE: usize = 500;

/// A run, and the row that says where it stands in the order of a search: of most runs nobody asks.
struct Place {
    run: Revision,
    part: Part,
    row: Row,
}

impl Place {
    fn read(part: Part, row: Row) -> Result<Self> {
        Ok(Self { run: Revision { run: row.get("seq")?, number: row.get("revision")? }, part, row })
    }

    fn position(&self, selection: &Selection<'_>) -> Result<Vec<SortValue>> {
        selection.position(self.part, &self.row)
    }
}

impl SqlTrackingStore {
    pub(super) async fn find_runs(
        &self,
        experiments: &[ExperimentId],
        search: &Search,
    ) -> Result<Page<Arc<RunRecord>>> {
        let (filter, order) =
            (Filter::parse::<RunRecord>(&search.filter)?, OrderKey::parse_all::<RunRecord>(&search.order_by)?);
        search.columns.check()?;
        let of = format!("runs {experiments:?} {} {:?} {:?}", search.filter, search.order_by, search.view);
        let after: Option<Vec<SortValue>> = search.page.position(&of)?;
        let size = search.page.size()?;
        let selection = self.selection(experiments, search, &filter, &order).await?;
        if experiments.is_empty() {
            return Ok(Page { items: Vec::new(), next_page_token: None });
        }
        let mut found = self.scan(&selection, after, size + 1).await?;
        let more = found.len() > size;
        found.truncate(size);
        let last = found.last().filter(|_| more).map(|last| last.position(&selection)).transpose()?;
        let next_page_token = last.map(|position| PageRequest::token(&of, &position)).transpose()?;
        let runs: Vec<Revision> = found.iter().map(|place| place.run).collect();
        Ok(Page { items: self.read_runs(&runs, &search.columns).await?, next_page_token })
    }

    pub(super) async fn count_found(&self, experiments: &[ExperimentId], search: &Search) -> Result<u64> {
        let filter = Filter::parse::<RunRecord>(&search.filter)?;
        let selection = self.selection(experiments, search, &filter, &[]).await?;
        if experiments.is_empty() {
            return Ok(0);
        }
        if selection.residual() {
            return Ok(self.scan(&selection, None, usize::MAX).await?.len() as u64);
        }
        let (sql, values) = selection.count();
        self.meta.query_one(&sql, &values).await?.get("found")
    }

    async fn selection<'a>(
        &self,
        experiments: &'a [ExperimentId],
        search: &Search,
        filter: &'a Filter,
        order: &'a [OrderKey],
    ) -> Result<Selection<'a>> {
        if experiments.len() > EXPERIMENTS_MAX {
            return Err(Error::invalid_argument(format!(
                "a search can name at most {EXPERIMENTS_MAX} experiments, found {}",
                experiments.len()
            )));
        }
        let metrics = self.keys.find(self.meta.as_ref(), &Selection::metrics_of(filter, order)).await?;
        let dialect = self.meta.dialect();
        let mut selection = Selection { dialect, experiments, view: search.view, filter, order, metrics, rare: None };
        // PostgreSQL keeps statistics; SQLite has to be told.
        if dialect == Dialect::Sqlite {
            selection.rare = self.rarest(&selection).await?;
        }
        Ok(selection)
    }

    /// The clause that the fewest runs meet, if they are few.
    async fn rarest<'a>(&self, selection: &Selection<'a>) -> Result<Option<&'a Clause>> {
        let (clauses, sql, values) = selection.indexed(PROBES_MAX, RARE_MAX);
        if clauses.is_empty() {
            return Ok(None);
        }
        let mut rarest = (None, RARE_MAX + 1);
        for row in self.meta.query(&sql, &values).await? {
            let (place, found) = (row.get::<u32>("place")?, row.get("found")?);
            if found < rarest.1 {
                rarest = (clauses.get(place as usize).copied(), found);
            }
        }
        Ok(rarest.0)
    }

    /// The places of the first `count` runs behind a position.
    async fn scan(
        &self,
        selection: &Selection<'_>,
        mut after: Option<Vec<SortValue>>,
        count: usize,
    ) -> Result<Vec<Place>> {
        let mut found = Vec::new();
        for part in selection.parts_after(after.as_deref()) {
            loop {
                let wanted = count.saturating_sub(found.len());
                if wanted == 0 {
                    return Ok(found);
                }
                let limit = if selection.residual() { CANDIDATES_AT_ONCE } else { wanted };
                let (sql, values) = selection.page(*part, after.as_deref(), limit)?;
                let rows = self.meta.query(&sql, &values).await?;
                let read = rows.into_iter().map(|row| Place::read(*part, row));
                let mut candidates = read.collect::<Result<Vec<_>>>()?;
                let full = candidates.len() == limit;
                if let Some(last) = candidates.last() {
                    after = Some(last.position(selection)?);
                }
                if selection.residual() {
                    candidates = self.admitted(selection, candidates).await?;
                    candidates.truncate(wanted);
                }
                found.extend(candidates);
                if !full {
                    break;
                }
            }
            // The next part begins at its begin.
            after = None;
        }
        Ok(found)
    }

    /// Those of some runs that the filter admits.
    async fn admitted(&self, selection: &Selection<'_>, candidates: Vec<Place>) -> Result<Vec<Place>> {
        let runs: Vec<Revision> = candidates.iter().map(|place| place.run).collect();
        let records = self.records(&runs, &SearchColumns::default()).await?;
        let admits = |run: &Revision| records.get(&run.run).is_some_and(|record| selection.filter.admits(&**record));
        Ok(candidates.into_iter().filter(|place| admits(&place.run)).collect())
    }
}
