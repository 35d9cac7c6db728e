//! Which of what a run logged a search brings along.

use std::collections::BTreeSet;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Most keys that can be named.
pub(crate) const KEYS_MAX: usize = 1_000;

/// All keys of a kind, or only some.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Columns {
    /// All.
    #[default]
    All,
    /// Those that are named; none when none are.
    Only(BTreeSet<String>),
}

impl Columns {
    /// The named keys.
    #[must_use]
    pub fn only<K: Into<String>>(keys: impl IntoIterator<Item = K>) -> Self {
        Self::Only(keys.into_iter().map(Into::into).collect())
    }

    /// Whether a key is among them.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(keys) => keys.contains(key),
        }
    }
}

/// Which metrics, params and tags of runs a search brings along. By default all; a table of runs that shows three of ten
/// thousand columns asks for these.
///
/// ```
/// use mlops_registry::{Search, search::{Columns, SearchColumns}};
///
/// let columns = SearchColumns { metrics: Columns::only(["auc"]), tags: Columns::only::<&str>([]), ..SearchColumns::default() };
/// let search = Search::new().with_filter("params.model = 'gbdt'").with_columns(columns);
/// assert!(search.columns.metrics.contains("auc") && search.columns.params.contains("any"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchColumns {
    /// Metrics.
    pub metrics: Columns,
    /// Params.
    pub params: Columns,
    /// Tags.
    pub tags: Columns,
}

impl SearchColumns {
    pub(crate) fn check(&self) -> Result<()> {
        for (what, columns) in [("metrics", &self.metrics), ("params", &self.params), ("tags", &self.tags)] {
            match columns {
                Columns::Only(keys) if keys.len() > KEYS_MAX => {
                    return Err(Error::invalid_argument(format!(
                        "a search can bring along at most {KEYS_MAX} named {what}, found {}; name fewer, or all",
                        keys.len()
                    )));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
