//! Predictions wait for their labels.
//!
//! Invariant: every prediction taken is joined, pending or evicted, so
//! `predictions = joined + pending + evicted` at all times, and within its bounds the outcome does
//! not depend on the order in which predictions and labels arrive. Memory is bounded by rows, never
//! by how late labels are.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use arrow_array::RecordBatch;
use mlops_core::{PredictionBatch, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    columns::{RowColumns, refuse},
    intake::{self, LabelIntake, LabelRow, PredictionIntake},
    join_state::JoinState,
    rows::{Cell, LabeledRows},
};
use crate::stats::count_of;

/// Instants of evicted predictions that are told apart; beyond, the two oldest count as one.
const EVICTED_TIMES_MAX: usize = 65_536;

/// Bounds of a [`LabelJoin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JoinSettings {
    /// Most predictions that wait for a label; beyond, the oldest are evicted. Default 1,000,000.
    pub pending_max: usize,
    /// Most joined rows that wait for their window to be closed; beyond, the oldest are dropped.
    /// Default 1,000,000.
    pub joined_max: usize,
    /// Most labels that wait for a prediction; beyond, the oldest count as unknown. Default
    /// 100,000.
    pub early_max: usize,
    /// Seconds that a label waits for its prediction. Default 3,600.
    pub early_ttl_s: u64,
}

impl Default for JoinSettings {
    fn default() -> Self {
        Self { pending_max: 1_000_000, joined_max: 1_000_000, early_max: 100_000, early_ttl_s: 3_600 }
    }
}

impl JoinSettings {
    /// Checks that every bound is at least 1.
    ///
    /// # Errors
    /// `InvalidArgument` naming all that are not.
    pub fn validate(&self) -> Result<()> {
        let bounds =
            [("pending_max", self.pending_max), ("joined_max", self.joined_max), ("early_max", self.early_max)];
        let faults: Vec<String> = bounds
            .iter()
            .filter(|(_, bound)| *bound == 0)
            .map(|(name, _)| format!("{name} must be at least 1, found 0"))
            .collect();
        refuse("join settings", &faults)
    }
}

/// What happened to all rows so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JoinCounts {
    /// Predictions taken: `joined + pending + evicted`.
    pub predictions: u64,
    /// Predictions that got a label.
    pub joined: u64,
    /// Predictions that gave up waiting, for want of room or because their window was closed.
    pub evicted: u64,
    /// Joined rows dropped for want of room before their window was closed.
    pub joined_dropped: u64,
    /// Predictions that came again.
    pub predictions_duplicate: u64,
    /// Predictions of a window that was closed before they came.
    pub predictions_late: u64,
    /// Predictions without a usable value.
    pub predictions_invalid: u64,
    /// Label rows that came: `joined`, corrected, duplicate, unknown, invalid, or still waiting.
    pub labels: u64,
    /// Labels that replaced an earlier one.
    pub labels_corrected: u64,
    /// Labels that said nothing new.
    pub labels_duplicate: u64,
    /// Labels that never met a prediction: of a wrong id, of an evicted row or of a closed window.
    pub labels_unknown: u64,
    /// Labels without a usable id or value.
    pub labels_invalid: u64,
}

/// Which prediction.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RowId {
    pub(crate) request: Arc<str>,
    pub(crate) row: u32,
}

/// What is kept of a prediction.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Prediction {
    pub(crate) at: Timestamp,
    pub(crate) variant: Arc<str>,
    pub(crate) scores: Vec<f64>,
    pub(crate) kept: Vec<Cell>,
}

/// A label and when it was known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Label {
    pub(crate) value: f64,
    pub(crate) at: Timestamp,
}

impl Label {
    /// Later wins; at one instant the greater value, so that order of arrival does not matter.
    fn beats(self, other: Self) -> bool {
        self.at.cmp(&other.at).then(self.value.total_cmp(&other.value)).is_gt()
    }
}

pub(crate) type Key = (Timestamp, RowId);

/// Joins labels to predictions by request id and row.
///
/// Of labels for one row the latest wins until the row's window is closed; of predictions with one
/// id the earliest stays.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::{
///     ModelName, PredictionBatch, Timestamp, Version,
///     arrow_array::{ArrayRef, Float64Array, RecordBatch, RecordBatchOptions, StringArray},
/// };
/// use mlops_monitor::performance::{JoinSettings, LabelJoin, RowColumns, Task};
///
/// let scores: ArrayRef = Arc::new(Float64Array::from(vec![0.9]));
/// let amounts: ArrayRef = Arc::new(Float64Array::from(vec![120.0]));
/// let answered = PredictionBatch {
///     request_id: "r1".into(),
///     model: ModelName::new("fraud")?,
///     version: Version(1),
///     variant: "champion".into(),
///     propensity: None,
///     at: Timestamp::from_millis(0),
///     inputs: RecordBatch::try_from_iter([("amount", amounts)])?,
///     outputs: RecordBatch::try_from_iter([("p", scores)])?,
/// };
/// let ids: ArrayRef = Arc::new(StringArray::from(vec!["r1", "r2"]));
/// let labels: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 0.0]));
/// let labels = RecordBatch::try_from_iter([("request_id", ids), ("label", labels)])?;
///
/// let mut join = LabelJoin::new(RowColumns::new(Task::binary("p")), JoinSettings::default())?;
/// join.observe(&answered)?;
/// let intake = join.label(&labels, Timestamp::from_millis(5_000))?;
/// assert_eq!((intake.joined, intake.early), (1, 1));
///
/// let state = serde_json::to_string(&join)?; // and after a restart:
/// let join: LabelJoin = serde_json::from_str(&state)?;
/// assert_eq!(join.counts().joined, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "JoinState", try_from = "JoinState")]
pub struct LabelJoin {
    pub(crate) columns: RowColumns,
    pub(crate) settings: JoinSettings,
    pub(crate) pending: BTreeMap<Key, Prediction>,
    pub(crate) joined: BTreeMap<Key, (Prediction, Label)>,
    /// When each row that is pending or joined was predicted.
    times: HashMap<RowId, Timestamp>,
    pub(crate) early: HashMap<RowId, Label>,
    early_order: BTreeSet<Key>,
    /// Evictions since the last window was closed.
    pub(crate) evicted_at: BTreeMap<Timestamp, u64>,
    pub(crate) closed_until: Timestamp,
    pub(crate) counts: JoinCounts,
}

/// What lies in a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JoinWindow {
    /// Predictions with a label.
    pub joined: u64,
    /// Predictions that wait.
    pub pending: u64,
    /// Predictions that gave up waiting.
    pub evicted: u64,
}

impl JoinWindow {
    /// All predictions.
    #[must_use]
    pub fn predictions(&self) -> u64 {
        self.joined + self.pending + self.evicted
    }
}

impl LabelJoin {
    /// A join that has seen nothing.
    ///
    /// # Errors
    /// `InvalidArgument` naming what is wrong with columns or settings.
    pub fn new(columns: RowColumns, settings: JoinSettings) -> Result<Self> {
        columns.validate()?;
        settings.validate()?;
        Ok(Self {
            columns,
            settings,
            pending: BTreeMap::new(),
            joined: BTreeMap::new(),
            times: HashMap::new(),
            early: HashMap::new(),
            early_order: BTreeSet::new(),
            evicted_at: BTreeMap::new(),
            closed_until: Timestamp::MIN,
            counts: JoinCounts::default(),
        })
    }

    /// Takes answered predictions; labels that came before them are joined at once.
    ///
    /// # Errors
    /// `InvalidArgument` when a column of the task is missing or is not numbers; then no row is
    /// taken.
    pub fn observe(&mut self, batch: &PredictionBatch) -> Result<PredictionIntake> {
        let rows = intake::predictions(&self.columns, batch)?;
        let mut seen = PredictionIntake { invalid: intake::unusable(&rows), ..PredictionIntake::default() };
        for (id, prediction) in rows.into_iter().flatten() {
            self.take(id, prediction, &mut seen);
        }
        self.counts.predictions += seen.taken;
        self.counts.predictions_duplicate += seen.duplicate;
        self.counts.predictions_late += seen.late;
        self.counts.predictions_invalid += seen.invalid;
        Ok(seen)
    }

    fn take(&mut self, id: RowId, prediction: Prediction, seen: &mut PredictionIntake) {
        if prediction.at < self.closed_until {
            seen.late += 1;
            return;
        }
        if let Some(known) = self.times.get(&id).copied() {
            seen.duplicate += 1;
            self.keep_earlier((known, id), prediction);
            return;
        }
        seen.taken += 1;
        self.times.insert(id.clone(), prediction.at);
        match self.early.remove(&id) {
            Some(label) => {
                self.early_order.remove(&(label.at, id.clone()));
                self.counts.joined += 1;
                self.insert_joined((prediction.at, id), (prediction, label));
            }
            None => {
                self.pending.insert((prediction.at, id), prediction);
                self.make_room();
            }
        }
    }

    /// Of two predictions with one id the earlier one stays, at one instant the lesser scores.
    fn keep_earlier(&mut self, key: Key, prediction: Prediction) {
        let lesser = |known: &Prediction| {
            let order = prediction.at.cmp(&known.at);
            order
                .then_with(|| prediction.scores.partial_cmp(&known.scores).unwrap_or(std::cmp::Ordering::Equal))
                .is_lt()
        };
        let moved = (prediction.at, key.1.clone());
        if self.pending.get(&key).is_some_and(lesser) {
            self.pending.remove(&key);
            self.times.insert(key.1, prediction.at);
            self.pending.insert(moved, prediction);
        } else if let Some((known, label)) = self.joined.get(&key)
            && lesser(known)
        {
            let label = *label;
            self.joined.remove(&key);
            self.times.insert(key.1, prediction.at);
            self.joined.insert(moved, (prediction, label));
        }
    }

    fn insert_joined(&mut self, key: Key, row: (Prediction, Label)) {
        self.joined.insert(key, row);
        if self.joined.len() > self.settings.joined_max
            && let Some(((_, id), _)) = self.joined.pop_first()
        {
            self.times.remove(&id);
            self.counts.joined_dropped += 1;
        }
    }

    fn make_room(&mut self) {
        while self.pending.len() > self.settings.pending_max {
            let Some(((at, id), _)) = self.pending.pop_first() else { return };
            self.times.remove(&id);
            self.counts.evicted += 1;
            *self.evicted_at.entry(at).or_default() += 1;
        }
        while self.evicted_at.len() > EVICTED_TIMES_MAX {
            let Some((_, count)) = self.evicted_at.pop_first() else { return };
            if let Some(mut next) = self.evicted_at.first_entry() {
                *next.get_mut() += count;
            }
        }
    }

    /// Takes labels that arrive at `now`; those whose prediction is not known wait for it for a
    /// while.
    ///
    /// # Errors
    /// `InvalidArgument` when the id or label column is missing or of a type that cannot be read;
    /// then no row is taken.
    pub fn label(&mut self, batch: &RecordBatch, now: Timestamp) -> Result<LabelIntake> {
        let rows = intake::label_rows(&self.columns, batch, now)?;
        let mut seen = LabelIntake { invalid: intake::unusable(&rows), ..LabelIntake::default() };
        for row in rows.into_iter().flatten() {
            self.put(row, &mut seen);
        }
        self.counts.labels += count_of(batch.num_rows());
        self.counts.labels_corrected += seen.corrected;
        self.counts.labels_duplicate += seen.duplicate;
        self.counts.labels_invalid += seen.invalid;
        Ok(seen)
    }

    fn put(&mut self, row: LabelRow, seen: &mut LabelIntake) {
        let label = Label { value: row.label, at: row.at };
        let Some(at) = self.times.get(&row.id).copied() else { return self.hold(row.id, label, seen) };
        let key = (at, row.id);
        if let Some(prediction) = self.pending.remove(&key) {
            seen.joined += 1;
            self.counts.joined += 1;
            self.insert_joined(key, (prediction, label));
        } else if let Some((_, known)) = self.joined.get_mut(&key) {
            replace(known, label, seen);
        }
    }

    fn hold(&mut self, id: RowId, label: Label, seen: &mut LabelIntake) {
        if let Some(known) = self.early.get_mut(&id) {
            self.early_order.remove(&(known.at, id.clone()));
            replace(known, label, seen);
            self.early_order.insert((known.at, id));
            return;
        }
        seen.early += 1;
        self.early.insert(id.clone(), label);
        self.early_order.insert((label.at, id));
        if self.early.len() > self.settings.early_max {
            self.forget_oldest_early();
        }
    }

    fn forget_oldest_early(&mut self) {
        if let Some((_, id)) = self.early_order.pop_first() {
            self.early.remove(&id);
            self.counts.labels_unknown += 1;
        }
    }

    /// Forgets labels that have waited too long for a prediction at `now`.
    pub fn expire(&mut self, now: Timestamp) {
        let ttl = std::time::Duration::from_secs(self.settings.early_ttl_s);
        while self.early_order.first().is_some_and(|(at, _)| *at + ttl < now) {
            self.forget_oldest_early();
        }
    }

    /// What lies before `until`, and in no window that was closed.
    #[must_use]
    pub fn window(&self, until: Timestamp) -> JoinWindow {
        let end = before(until);
        let evicted = self.evicted_at.range(..until).fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        JoinWindow {
            joined: count_of(self.joined.range(..end.clone()).count()),
            pending: count_of(self.pending.range(..end).count()),
            evicted,
        }
    }

    /// The joined rows before `until`, by time of prediction; they stay.
    #[must_use]
    pub fn rows(&self, until: Timestamp) -> LabeledRows {
        labeled(&self.columns, self.joined.range(..before(until)))
    }

    /// Rows by variant before `until`, joined or pending.
    #[must_use]
    pub fn variants(&self, until: Timestamp) -> BTreeMap<String, u64> {
        let end = before(until);
        let joined = self.joined.range(..end.clone()).map(|(_, (prediction, _))| &prediction.variant);
        let all = joined.chain(self.pending.range(..end).map(|(_, prediction)| &prediction.variant));
        all.fold(BTreeMap::new(), |mut counts, variant| {
            match counts.get_mut(&**variant) {
                Some(count) => *count += 1,
                None => drop(counts.insert(variant.to_string(), 1)),
            }
            counts
        })
    }

    /// Closes the window before `until`: its joined rows leave, its pending rows are evicted, and
    /// what comes later for it is counted as late or unknown.
    pub fn close(&mut self, until: Timestamp) {
        let end = before(until);
        for (_, id) in split_before(&mut self.joined, &end).into_keys() {
            self.times.remove(&id);
        }
        for (_, id) in split_before(&mut self.pending, &end).into_keys() {
            self.times.remove(&id);
            self.counts.evicted += 1;
        }
        self.evicted_at = self.evicted_at.split_off(&until);
        self.closed_until = self.closed_until.max(until);
    }

    /// When the oldest row that is in no closed window was predicted.
    #[must_use]
    pub fn oldest(&self) -> Option<Timestamp> {
        let first = [self.joined.keys().next().map(|key| key.0), self.pending.keys().next().map(|key| key.0)];
        first.into_iter().flatten().chain(self.evicted_at.keys().next().copied()).min()
    }

    /// When the n-th oldest joined row was predicted, counted from one.
    pub(crate) fn nth_joined(&self, n: usize) -> Option<Timestamp> {
        self.joined.keys().nth(n.checked_sub(1)?).map(|key| key.0)
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> JoinCounts {
        self.counts
    }

    /// Predictions that wait for a label.
    #[must_use]
    pub fn pending(&self) -> u64 {
        count_of(self.pending.len())
    }

    /// Labels that wait for a prediction.
    #[must_use]
    pub fn early(&self) -> u64 {
        count_of(self.early.len())
    }

    /// The columns.
    #[must_use]
    pub fn columns(&self) -> &RowColumns {
        &self.columns
    }

    /// Rebuilds what follows from the rest.
    pub(crate) fn reindex(mut self) -> Self {
        let keys = self.pending.keys().chain(self.joined.keys());
        self.times = keys.map(|(at, id)| (id.clone(), *at)).collect();
        self.early_order = self.early.iter().map(|(id, label)| (label.at, id.clone())).collect();
        self
    }
}

fn replace(known: &mut Label, label: Label, seen: &mut LabelIntake) {
    let news = label.beats(*known) && label.value.total_cmp(&known.value).is_ne();
    if label.beats(*known) {
        *known = label;
    }
    *(if news { &mut seen.corrected } else { &mut seen.duplicate }) += 1;
}

/// The least key at an instant: the empty request id sorts first.
fn before(until: Timestamp) -> Key {
    (until, RowId { request: "".into(), row: 0 })
}

fn split_before<T>(rows: &mut BTreeMap<Key, T>, end: &Key) -> BTreeMap<Key, T> {
    let rest = rows.split_off(end);
    std::mem::replace(rows, rest)
}

fn labeled<'a>(columns: &RowColumns, rows: impl Iterator<Item = (&'a Key, &'a (Prediction, Label))>) -> LabeledRows {
    let mut out = LabeledRows::new(columns);
    let (mut query, mut request) = (0, None);
    for ((at, id), (prediction, label)) in rows {
        query += usize::from(request.is_some_and(|request| request != &id.request));
        request = Some(&id.request);
        out.outcomes.push(label.value, &prediction.scores, query);
        out.kept.iter_mut().zip(&prediction.kept).for_each(|(column, cell)| column.push(cell.clone()));
        out.variants.push(Arc::clone(&prediction.variant));
        out.times.push((*at, label.at));
    }
    out
}

#[cfg(test)]
mod tests;
