//! A join as data, so that a restart goes on where it stopped.
//!
//! Invariant: reading back what was written gives an equal join; what could not have been written
//! (wrong widths, rows of closed windows, counts that do not add up) is refused.

use std::{collections::BTreeMap, sync::Arc};

use mlops_core::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    columns::RowColumns,
    join::{JoinCounts, JoinSettings, Key, Label, LabelJoin, Prediction, RowId},
    rows::Cell,
};
use crate::stats::count_of;

/// Version of the layout.
const FORMAT: u32 = 1;

/// All that a [`LabelJoin`] remembers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JoinState {
    format: u32,
    columns: RowColumns,
    settings: JoinSettings,
    closed_until: Timestamp,
    counts: JoinCounts,
    pending: Vec<Row>,
    joined: Vec<(Row, f64, Timestamp)>,
    early: Vec<(String, u32, f64, Timestamp)>,
    evicted_at: Vec<(Timestamp, u64)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    request: String,
    row: u32,
    at: Timestamp,
    variant: String,
    scores: Vec<f64>,
    kept: Vec<Cell>,
}

impl Row {
    fn new((at, id): Key, prediction: Prediction) -> Self {
        let Prediction { variant, scores, kept, .. } = prediction;
        Self { request: id.request.to_string(), row: id.row, at, variant: variant.to_string(), scores, kept }
    }

    fn read(self, names: &mut Names) -> (Key, Prediction) {
        let Self { request, row, at, variant, scores, kept } = self;
        let id = RowId { request: names.shared(request), row };
        ((at, id), Prediction { at, variant: names.shared(variant), scores, kept })
    }
}

/// Equal names share their memory again.
#[derive(Default)]
struct Names(std::collections::HashSet<Arc<str>>);

impl Names {
    fn shared(&mut self, name: String) -> Arc<str> {
        if let Some(known) = self.0.get(name.as_str()) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.0.insert(Arc::clone(&name));
        name
    }
}

impl From<LabelJoin> for JoinState {
    fn from(join: LabelJoin) -> Self {
        let mut early: Vec<(String, u32, f64, Timestamp)> =
            join.early.into_iter().map(|(id, label)| (id.request.to_string(), id.row, label.value, label.at)).collect();
        early.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        Self {
            format: FORMAT,
            columns: join.columns,
            settings: join.settings,
            closed_until: join.closed_until,
            counts: join.counts,
            pending: join.pending.into_iter().map(|(key, prediction)| Row::new(key, prediction)).collect(),
            joined: join
                .joined
                .into_iter()
                .map(|(key, (prediction, label))| (Row::new(key, prediction), label.value, label.at))
                .collect(),
            early,
            evicted_at: join.evicted_at.into_iter().collect(),
        }
    }
}

impl TryFrom<JoinState> for LabelJoin {
    type Error = Error;

    fn try_from(state: JoinState) -> Result<Self> {
        state.check()?;
        let mut names = Names::default();
        let mut join = Self::new(state.columns, state.settings)?;
        join.closed_until = state.closed_until;
        join.counts = state.counts;
        join.pending = state.pending.into_iter().map(|row| row.read(&mut names)).collect();
        join.joined = state
            .joined
            .into_iter()
            .map(|(row, value, at)| {
                let (key, prediction) = row.read(&mut names);
                (key, (prediction, Label { value, at }))
            })
            .collect();
        join.early = state
            .early
            .into_iter()
            .map(|(request, row, value, at)| (RowId { request: names.shared(request), row }, Label { value, at }))
            .collect();
        join.evicted_at = state.evicted_at.into_iter().collect::<BTreeMap<_, _>>();
        Ok(join.reindex())
    }
}

impl JoinState {
    fn check(&self) -> Result<()> {
        let (width, kept) = (self.columns.task.width(), self.columns.kept.len());
        let mut rows = self.pending.iter().chain(self.joined.iter().map(|(row, _, _)| row));
        let shaped = rows.clone().all(|row| row.scores.len() == width && row.kept.len() == kept);
        let open = rows.all(|row| row.at >= self.closed_until);
        let counts = &self.counts;
        let waiting = count_of(self.pending.len());
        let problem = if self.format != FORMAT {
            format!("has format {}, expected {FORMAT}", self.format)
        } else if !shaped {
            format!("has rows without {width} scores and {kept} kept values")
        } else if !open {
            format!("has rows before {}, when its last window was closed", self.closed_until)
        } else if counts.predictions != counts.joined.saturating_add(waiting).saturating_add(counts.evicted) {
            format!("has counts that do not add up with {waiting} pending rows")
        } else {
            return Ok(());
        };
        Err(Error::invalid_argument(format!("the state of a label join {problem}")))
    }
}
