//! What matters to a model overall, and how that changes from version to version.

use std::collections::{BTreeMap, BTreeSet};

use mlops_core::{Error, Result, Version};
use serde::{Deserialize, Serialize};

use super::{attribution::Attribution, permutation::PermutedImportance};

/// How important features are, by one method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How importance was measured, such as `mean |shap|`.
    pub method: String,
    /// Rows that it was measured on, where the method says.
    pub rows: Option<usize>,
    /// Importance by feature.
    pub importance: BTreeMap<String, f64>,
}

impl Summary {
    /// The mean absolute contribution of each feature over the rows.
    #[must_use]
    pub fn of_attribution(attribution: &Attribution) -> Self {
        let mut sums = vec![0.0; attribution.features.len()];
        for row in attribution.iter() {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value.abs());
        }
        let rows = attribution.rows();
        let means = sums.into_iter().map(|sum| if rows > 0 { sum / rows as f64 } else { 0.0 });
        Self {
            method: "mean |shap|".to_owned(),
            rows: Some(rows),
            importance: attribution.features.iter().cloned().zip(means).collect(),
        }
    }

    /// The mean loss of the metric; what permuting improves by chance counts as zero.
    #[must_use]
    pub fn of_permutation(permuted: &PermutedImportance) -> Self {
        let means = permuted.means.iter().map(|mean| mean.max(0.0));
        Self {
            method: "permutation".to_owned(),
            rows: None,
            importance: permuted.features.iter().cloned().zip(means).collect(),
        }
    }

    /// Features from the most important on; of equal ones in alphabetical order.
    #[must_use]
    pub fn ranked(&self) -> Vec<(&str, f64)> {
        let mut ranked: Vec<(&str, f64)> =
            self.importance.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked
    }

    /// Each feature's share of the whole; all zero when nothing matters.
    #[must_use]
    pub fn shares(&self) -> BTreeMap<&str, f64> {
        let total: f64 = self.importance.values().sum();
        let share = |value: f64| if total > 0.0 { value / total } else { 0.0 };
        self.importance.iter().map(|(name, value)| (name.as_str(), share(*value))).collect()
    }
}

/// Summaries of the versions of one model by one method.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use mlops_train::explain::{ImportanceHistory, Summary};
///
/// let summary = |age: f64, income: f64| Summary {
///     method: "mean |shap|".into(),
///     rows: Some(100),
///     importance: BTreeMap::from([("age".into(), age), ("income".into(), income)]),
/// };
/// let mut history = ImportanceHistory::new("mean |shap|");
/// history.insert("1".parse()?, summary(3.0, 1.0))?;
/// history.insert("2".parse()?, summary(1.0, 1.0))?;
/// let shift = &history.shifts()[0];
/// assert_eq!((shift.moved[0].feature.as_str(), shift.moved[0].before, shift.moved[0].after), ("age", 0.75, 0.5));
/// assert_eq!(shift.distance, 0.25);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportanceHistory {
    method: String,
    versions: BTreeMap<Version, Summary>,
}

/// What changed from one version to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportanceShift {
    /// The earlier version.
    pub from: Version,
    /// The later version.
    pub to: Version,
    /// Share of the importance that moved to other features, from 0 to 1 (total variation).
    pub distance: f64,
    /// Every feature of either version, the most moved first.
    pub moved: Vec<MovedFeature>,
}

/// The shares of one feature in two versions; zero where a version lacks it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MovedFeature {
    /// Its name.
    pub feature: String,
    /// Its share in the earlier version.
    pub before: f64,
    /// Its share in the later version.
    pub after: f64,
}

impl ImportanceHistory {
    /// An empty history of summaries by this method.
    #[must_use]
    pub fn new(method: impl Into<String>) -> Self {
        Self { method: method.into(), versions: BTreeMap::new() }
    }

    /// Adds or replaces the summary of a version.
    ///
    /// # Errors
    /// `InvalidArgument` for a summary by another method: the two cannot be compared.
    pub fn insert(&mut self, version: Version, summary: Summary) -> Result<()> {
        if summary.method != self.method {
            let (found, method) = (&summary.method, &self.method);
            return Err(Error::invalid_argument(format!("a history of {method:?} cannot take a summary by {found:?}")));
        }
        self.versions.insert(version, summary);
        Ok(())
    }

    /// Summaries by version, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (&Version, &Summary)> {
        self.versions.iter()
    }

    /// What changed from each version to the next.
    #[must_use]
    pub fn shifts(&self) -> Vec<ImportanceShift> {
        self.versions.iter().zip(self.versions.iter().skip(1)).map(|(from, to)| shift(from, to)).collect()
    }
}

fn shift((from, earlier): (&Version, &Summary), (to, later): (&Version, &Summary)) -> ImportanceShift {
    let (before, after) = (earlier.shares(), later.shares());
    let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    let share = |shares: &BTreeMap<&str, f64>, name: &str| shares.get(name).copied().unwrap_or(0.0);
    let of = |name: &str| MovedFeature {
        feature: name.to_owned(),
        before: share(&before, name),
        after: share(&after, name),
    };
    let mut moved: Vec<MovedFeature> = names.into_iter().map(of).collect();
    moved.sort_by(|a, b| (b.after - b.before).abs().total_cmp(&(a.after - a.before).abs()));
    let distance = 0.5 * moved.iter().map(|feature| (feature.after - feature.before).abs()).sum::<f64>();
    ImportanceShift { from: *from, to: *to, distance, moved }
}
