//! Asking for some of many: filter, order, pages.
//!
//! The grammar is MLflow's: clauses joined by AND, such as
//! `metrics.auc > 0.9 AND tags.team = 'risk'`. A parsed filter is a plan that is evaluated over records; every error
//! points at the place in the text that is wrong.

mod order;
mod page;
mod parse;
mod plan;

pub(crate) use order::{OrderKey, compare as compare_operands, compare_by};
pub(crate) use page::cut;
pub use page::{Page, PageRequest};
pub use parse::FILTER_BYTES_MAX;
pub(crate) use plan::{Fields, Filter, Operand};

use serde::{Deserialize, Serialize};

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

    /// Limits the page.
    #[must_use]
    pub fn with_max_results(mut self, max: usize) -> Self {
        self.page.max_results = Some(max);
        self
    }
}
