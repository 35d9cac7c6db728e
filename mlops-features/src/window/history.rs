//! Window aggregates for every row of a spine, from the offline table.

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::Field;
use hashbrown::HashMap;
use mlops_core::Result;

use super::plan::WindowPlan;
use crate::{
    definition::FeatureView,
    join::{KeyIndex, Knowledge},
    time::{column, micros},
    value::{Value, array, cell},
};

/// An event's time and its row in the source.
type Occurrence = (i64, usize);

/// The events of one side, grouped and ordered as the online state would hold them.
struct History {
    groups: Vec<Vec<Occurrence>>,
    created: Option<Vec<Option<i64>>>,
    /// For every row from when on it is taken back, if it is; empty when none is.
    retracted: Vec<Option<i64>>,
    cells: Vec<Vec<Value>>,
}

/// One column for each of `plan`'s aggregations whose name is in `wanted`. Null keys and null times give nulls.
pub(crate) fn history_columns(
    spine: &RecordBatch,
    spine_timestamp: &str,
    source: &RecordBatch,
    view: &FeatureView,
    plan: &WindowPlan,
    knowledge: Knowledge,
    wanted: &[&str],
) -> Result<Vec<(Field, ArrayRef)>> {
    let keys = view.entity().join_keys();
    crate::join::check_key_types(spine.schema_ref(), source.schema_ref(), keys, keys)?;
    let (index, groups) = KeyIndex::build(spine, keys)?;
    let history = History::read(&index, source, view, plan, knowledge)?;
    let times = micros(spine, spine_timestamp)?;
    let mut columns = Vec::with_capacity(wanted.len());
    for aggregation in plan.aggregations.iter().filter(|aggregation| wanted.contains(&aggregation.name.as_ref())) {
        let one = |(group, time): (&Option<u32>, &Option<i64>)| match (group, time) {
            (Some(group), Some(time)) => {
                let cells = history.window(*group, *time, aggregation.window, aggregation.column);
                aggregation.evaluate(cells.iter().copied())
            }
            _ => Ok(Value::Null),
        };
        let values = groups.iter().zip(&times).map(one).collect::<Result<Vec<_>>>()?;
        let values: Vec<&Value> = values.iter().collect();
        let field = Field::new(aggregation.name.as_ref(), aggregation.output.clone(), true);
        columns.push((field, array(&values, &aggregation.output)?));
    }
    Ok(columns)
}

impl History {
    fn read(
        index: &KeyIndex,
        source: &RecordBatch,
        view: &FeatureView,
        plan: &WindowPlan,
        knowledge: Knowledge,
    ) -> Result<Self> {
        let mut groups: Vec<Vec<Occurrence>> = vec![Vec::new(); index.len()];
        let mut cells = vec![vec![Value::Null; source.num_rows()]; plan.columns.len()];
        let columns: Vec<&ArrayRef> = plan.columns.iter().map(|name| column(source, name)).collect::<Result<_>>()?;
        let numbers = index.lookup(source, view.entity().join_keys())?;
        let retractions = plan.retractions(source)?;
        let is_retraction = |row: usize| retractions.get(row).copied().unwrap_or(false);
        for (row, (number, time)) in numbers.iter().copied().zip(micros(source, view.timestamp())?).enumerate() {
            let Some((number, time)) = number.zip(time) else { continue };
            if is_retraction(row) {
                continue;
            }
            if let Some(group) = groups.get_mut(number as usize) {
                group.push((time, row));
            }
            for (column, cells) in columns.iter().zip(&mut cells) {
                if let Some(slot) = cells.get_mut(row) {
                    *slot = cell(column.as_ref(), row)?;
                }
            }
        }
        groups.iter_mut().for_each(|group| group.sort_unstable());
        let created = match (knowledge, view.created()) {
            (Knowledge::Event, _) => None,
            (Knowledge::Known, Some(name)) => Some(micros(source, name)?),
            (Knowledge::Known, None) => Some(vec![None; source.num_rows()]),
        };
        let retracted = if retractions.contains(&true) {
            let times = micros(source, view.timestamp())?;
            let keys: Vec<_> = numbers.into_iter().zip(times).zip(plan.identities(source)?).collect();
            retracted(&keys, &retractions, created.as_deref())
        } else {
            Vec::new()
        };
        Ok(Self { groups, created, retracted, cells })
    }

    /// The cells of `column` in `(time - window, time]`, oldest first.
    fn window(&self, group: u32, time: i64, window: i64, column: usize) -> Vec<&Value> {
        let Some((events, cells)) = self.groups.get(group as usize).zip(self.cells.get(column)) else {
            return Vec::new();
        };
        let from = events.partition_point(|(event, _)| *event <= time.saturating_sub(window));
        let upto = events.partition_point(|(event, _)| *event <= time);
        let known = |row: usize| match &self.created {
            None => true,
            Some(created) => created.get(row).copied().flatten().is_some_and(|created| created <= time),
        };
        let taken_back = |row: usize| self.retracted.get(row).copied().flatten().is_some_and(|from| from <= time);
        let events = events.get(from..upto).unwrap_or_default().iter();
        events.filter(|(_, row)| known(*row) && !taken_back(*row)).filter_map(|(_, row)| cells.get(*row)).collect()
    }
}

/// A row's entity and time, and what tells it from others of the same.
type EventKey = ((Option<u32>, Option<i64>), u64);

/// For every row from when on it is taken back: always, or since its first retraction became known.
fn retracted(keys: &[EventKey], retractions: &[bool], created: Option<&[Option<i64>]>) -> Vec<Option<i64>> {
    let mut first: HashMap<EventKey, i64> = HashMap::new();
    for (row, key) in keys.iter().enumerate().filter(|(row, _)| retractions.get(*row) == Some(&true)) {
        let from = match created {
            None => Some(i64::MIN),
            Some(created) => created.get(row).copied().flatten(),
        };
        if let Some(from) = from {
            first.entry(*key).and_modify(|known| *known = from.min(*known)).or_insert(from);
        }
    }
    keys.iter().map(|key| first.get(key).copied()).collect()
}
