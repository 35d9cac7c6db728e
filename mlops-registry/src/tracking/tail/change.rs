//! What changed of a run.
//!
//! Invariant: applying the difference of two records to the first gives what a watcher sees of the second.

use mlops_core::{Metric, RunStatus};

use crate::{
    limits::{param_value, run_tag_value},
    tracking::{RUN_NAME_TAG, RunRecord, RunUpdate, record::Batch, segment::Point, sql::latest::rank},
};

/// What was written to a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunChange {
    /// Points of metrics.
    pub points: Vec<Metric>,
    /// Whether of each metric only the latest point is told, because another process wrote it; there may be more.
    pub only_latest: bool,
    /// Params.
    pub params: Vec<(String, String)>,
    /// Tags.
    pub tags: Vec<(String, String)>,
    /// Tags that are gone.
    pub removed_tags: Vec<String>,
    /// The new status.
    pub status: Option<RunStatus>,
    /// Whether the run was deleted.
    pub deleted: bool,
}

/// Whether nothing more is to be expected of a run.
pub(super) fn is_over(record: &RunRecord) -> bool {
    record.deleted || record.status.is_end()
}

/// Pairs as the store keeps them.
fn cut(pairs: &[(String, String)], kept: fn(&str) -> &str) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| (key.clone(), kept(value).to_owned())).collect()
}

impl From<&Batch> for RunChange {
    fn from(batch: &Batch) -> Self {
        Self {
            points: batch.metrics.clone(),
            params: cut(&batch.params, param_value),
            tags: cut(&batch.tags, run_tag_value),
            ..Self::default()
        }
    }
}

impl RunChange {
    pub(super) fn of_update(update: &RunUpdate) -> Self {
        let name = update.name.iter().filter(|name| !name.is_empty());
        let tags = name.map(|name| (RUN_NAME_TAG.to_owned(), run_tag_value(name).to_owned())).collect();
        Self { tags, status: update.status, ..Self::default() }
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self { only_latest: self.only_latest, ..Self::default() }
    }

    /// Whether the run ends with it.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.deleted || self.status.is_some_and(RunStatus::is_end)
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let pairs = |pairs: &[(String, String)]| -> usize {
            pairs.iter().map(|(key, value)| key.len() + value.len() + size_of::<(String, String)>()).sum()
        };
        let points: usize = self.points.iter().map(|point| point.key.len() + size_of::<Metric>()).sum();
        let removed: usize = self.removed_tags.iter().map(|key| key.len() + size_of::<String>()).sum();
        size_of::<Self>() + points + pairs(&self.params) + pairs(&self.tags) + removed
    }

    /// What leads from one record to another.
    pub(super) fn between(before: &RunRecord, after: &RunRecord) -> Self {
        let same = |a: &Metric, b: &Metric| Point::from(a) == Point::from(b);
        let changed = |(key, point): &(&String, &Metric)| !before.metrics.get(*key).is_some_and(|old| same(old, point));
        let new = |(key, value): &(&String, &String)| before.params.get(*key) != Some(*value);
        let retagged = |(key, value): &(&String, &String)| before.tags.get(*key) != Some(*value);
        let pair = |(key, value): (&String, &String)| (key.clone(), value.clone());
        Self {
            points: after.metrics.iter().filter(changed).map(|(_, point)| point.clone()).collect(),
            only_latest: true,
            params: after.params.iter().filter(new).map(pair).collect(),
            tags: after.tags.iter().filter(retagged).map(pair).collect(),
            removed_tags: before.tags.keys().filter(|key| !after.tags.contains_key(*key)).cloned().collect(),
            status: (before.status != after.status).then_some(after.status),
            deleted: after.deleted && !before.deleted,
        }
    }

    /// Brings a record up to date.
    pub(super) fn apply(&self, record: &mut RunRecord) {
        record.params.extend(self.params.iter().cloned());
        record.tags.extend(self.tags.iter().cloned());
        self.removed_tags.iter().for_each(|key| drop(record.tags.remove(key)));
        for point in &self.points {
            let latest = record.metrics.entry(point.key.clone()).or_insert_with(|| point.clone());
            if rank(Point::from(point)) > rank(Point::from(&*latest)) {
                latest.clone_from(point);
            }
        }
        record.status = self.status.unwrap_or(record.status);
        record.deleted |= self.deleted;
    }
}
