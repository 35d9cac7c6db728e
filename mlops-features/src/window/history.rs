//! Window aggregates for every row of a spine, from the offline table.

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::Field;
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
    crate::join::check_key_types(spine, source, keys, keys)?;
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
        for (row, (number, time)) in numbers.into_iter().zip(micros(source, view.timestamp())?).enumerate() {
            let Some((number, time)) = number.zip(time) else { continue };
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
        Ok(Self { groups, created, cells })
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
        let events = events.get(from..upto).unwrap_or_default().iter();
        events.filter(|(_, row)| known(*row)).filter_map(|(_, row)| cells.get(*row)).collect()
    }
}
