//! Asking for some of many: filter, order, pages.
//!
//! The grammar is MLflow's: clauses joined by AND, such as
//! `metrics.auc > 0.9 AND tags.team = 'risk'`. A parsed filter is a plan that is evaluated over records; every error
//! points at the place in the text that is wrong.

mod columns;
mod order;
mod page;
mod parse;
mod plan;
pub(crate) mod sql;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod value_order;
pub(crate) mod walk;

pub use columns::{Columns, SearchColumns};
#[cfg(test)]
pub(crate) use order::compare as compare_operands;
pub(crate) use order::{OrderKey, compare_by};
pub use page::{Page, PageRequest};
pub(crate) use page::{RESULTS_MAX, cut};
pub use parse::FILTER_BYTES_MAX;
pub(crate) use plan::{Clause, Fields, Filter, Literal, Operand, Test};

use mlops_core::Result;
use serde::{Deserialize, Serialize};

use crate::tracking::RunRecord;

/// Which records count, by whether they are marked as deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum View {
    /// Those that are not deleted.
    #[default]
    ActiveOnly,
    /// Those that are.
    DeletedOnly,
    /// All.
    All,
}

impl View {
    /// Whether a record counts.
    #[must_use]
    pub fn admits(self, deleted: bool) -> bool {
        match self {
            Self::ActiveOnly => !deleted,
            Self::DeletedOnly => deleted,
            Self::All => true,
        }
    }
}

/// A search.
///
/// ```
/// use mlops_registry::Search;
///
/// let search = Search::new().with_filter("metrics.auc > 0.9").with_order("metrics.auc DESC").with_max_results(10);
/// assert_eq!(search.page.max_results, Some(10));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Search {
    /// The filter; empty admits everything.
    pub filter: String,
    /// Keys to order by, most important first, each with `ASC` or `DESC` after it or neither.
    pub order_by: Vec<String>,
    /// Whether deleted records count.
    pub view: View,
    /// Which page.
    pub page: PageRequest,
    /// What of each run to bring along; searches for other things bring all.
    pub columns: SearchColumns,
}

impl Search {
    /// Everything that is not deleted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Admits only records that match.
    #[must_use]
    pub fn with_filter(mut self, filter: impl Into<String>) -> Self {
        self.filter = filter.into();
        self
    }

    /// Orders by one more key.
    #[must_use]
    pub fn with_order(mut self, key: impl Into<String>) -> Self {
        self.order_by.push(key.into());
        self
    }

    /// Chooses among active and deleted records.
    #[must_use]
    pub fn with_view(mut self, view: View) -> Self {
        self.view = view;
        self
    }

    /// Brings along only some of what runs logged.
    #[must_use]
    pub fn with_columns(mut self, columns: SearchColumns) -> Self {
        self.columns = columns;
        self
    }

    /// Whether runs can be searched like this; for forms that check while one types.
    ///
    /// # Errors
    /// `InvalidArgument` pointing at the place in the filter or order that is wrong.
    ///
    /// ```
    /// use mlops_registry::Search;
    ///
    /// assert!(Search::new().with_filter("metrics.auc > 0.9").check_for_runs().is_ok());
    /// let error = Search::new().with_filter("metrics.auc >").check_for_runs().unwrap_err();
    /// assert!(error.message().contains("position 13"));
    /// ```
    pub fn check_for_runs(&self) -> Result<()> {
        Filter::parse::<RunRecord>(&self.filter)?;
        OrderKey::parse_all::<RunRecord>(&self.order_by)?;
        self.columns.check()?;
        self.page.size().map(drop)
    }

    /// Limits the page.
    #[must_use]
    pub fn with_max_results(mut self, max: usize) -> Self {
        self.page.max_results = Some(max);
        self
    }
}
