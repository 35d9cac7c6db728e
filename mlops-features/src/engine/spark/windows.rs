//! Windows on a server: which events each window holds is found there, in order; what is computed over them is computed
//! by the kernel of [`crate::window`] here, so that sums and deviations have the same bits as everywhere.

use std::{fmt::Write as _, sync::Arc};

use arrow_array::{Array as _, ArrayRef, cast::AsArray};
use arrow_schema::{DataType, Field};
use mlops_core::{Error, Result};

use super::{source::Wanted, types::exactly};
use crate::{
    engine::WindowJoin,
    join::Knowledge,
    value::{Value, array, cell},
    window::PlannedAggregation,
};

/// A question about windows.
pub(super) struct Windows<'a> {
    join: &'a WindowJoin,
    /// The aggregations that are asked for, each with the number of its list.
    planned: Vec<(&'a PlannedAggregation, usize)>,
    /// The distinct columns and widths.
    lists: Vec<(usize, i64)>,
}

impl<'a> Windows<'a> {
    pub(super) fn new(join: &'a WindowJoin) -> Result<Self> {
        let (mut planned, mut lists) = (Vec::new(), Vec::new());
        for name in &join.wanted {
            let all = &join.view.plan.aggregations;
            let one = all.iter().find(|one| one.name == *name);
            let one = one.ok_or_else(|| Error::internal("a window that was asked for is gone"))?;
            let list = (one.column, one.window);
            let place = lists.iter().position(|known| *known == list).unwrap_or_else(|| {
                lists.push(list);
                lists.len() - 1
            });
            planned.push((one, place));
        }
        Ok(Self { join, planned, lists })
    }

    /// The columns of events: cells `f0`..., whether an event takes others back `back`, and what tells them apart
    /// `i0`....
    pub(super) fn wanted(&self) -> Result<Wanted> {
        let view = &self.join.view.view;
        let numbered = |(number, name): (usize, &Arc<str>)| (Arc::clone(name), format!("k{number}"));
        let keys = view.entity().join_keys().iter().enumerate().map(numbered).collect();
        let columns = self.join.view.plan.columns.iter().enumerate();
        let mut values: Vec<_> = columns.map(|(number, name)| (Arc::clone(name), format!("f{number}"))).collect();
        if let Some(back) = view.retraction() {
            values.push((back.into(), "back".to_owned()));
            for (number, name) in self.identity().into_iter().enumerate() {
                let data_type = self.join.rows.schema().field_with_name(&name)?.data_type().clone();
                if data_type.is_floating() {
                    return Err(Error::invalid_argument(format!(
                        "column \"{name}\" is {data_type} and tells events apart, which a Spark server does not do by its \
                         bits; give view \"{}\" an event id or join it locally",
                        view.name()
                    )));
                }
                values.push((name, format!("i{number}")));
            }
        }
        Ok(Wanted { timestamp: view.timestamp().into(), created: view.created().map(Into::into), keys, values })
    }

    /// The columns that tell an event from others of its entity and time.
    fn identity(&self) -> Vec<Arc<str>> {
        let id = self.join.view.view.event_id().map(|name| vec![Arc::from(name)]);
        id.unwrap_or_else(|| self.join.view.plan.columns.clone())
    }

    /// Of every row of `spine` (columns `r`, `t` and `spine_keys`) that sees an event: `r`, then the cells of each list,
    /// oldest first.
    pub(super) fn sql(&self, spine: &str, spine_keys: &[String], events: &str) -> String {
        let taken_back = self.join.view.view.retraction().is_some();
        let known = self.join.knowledge == Knowledge::Known;
        let mut sql =
            format!("WITH spine AS ({spine}), events AS ({})", self.events(events, spine_keys.len(), taken_back));
        let mut on = vec!["events.event <= spine.t".to_owned()];
        let longest = self.lists.iter().map(|(_, width)| *width).max().unwrap_or(0);
        on.push(format!("events.event > spine.t - {}", width(longest)));
        on.extend(spine_keys.iter().enumerate().map(|(key, column)| format!("spine.{column} = events.k{key}")));
        if known {
            on.push("events.created <= spine.t".to_owned());
        }
        if taken_back {
            on.push("NOT coalesce(events.back, false) AND (events.gone IS NULL OR events.gone > spine.t)".to_owned());
        }
        let list = |(number, (column, length)): (usize, &(usize, i64))| {
            format!(
                ", transform(array_sort(collect_list(CASE WHEN events.event > spine.t - {} AND events.f{column} IS NOT NULL \
                 THEN named_struct('e', events.event, 'p', events.place, 'c', events.f{column}) END)), x -> x.c) AS l{number}",
                width(*length)
            )
        };
        let lists: String = self.lists.iter().enumerate().map(list).collect();
        let _infallible =
            write!(sql, " SELECT spine.r AS r{lists} FROM spine JOIN events ON {} GROUP BY spine.r", on.join(" AND "));
        sql
    }

    /// The events that have a time and a key; with retractions also from when on each is taken back.
    fn events(&self, source: &str, keys: usize, taken_back: bool) -> String {
        let keyed: String = (0..keys).map(|key| format!(" AND k{key} IS NOT NULL")).collect();
        let known = self.join.known_by.map_or_else(String::new, |by| format!(" AND created <= {by}"));
        let gone = if taken_back {
            let keys = (0..keys).map(|key| format!("k{key}"));
            let identity = (0..self.identity().len()).map(|number| format!("i{number}"));
            let same: Vec<String> = keys.chain(["event".to_owned()]).chain(identity).collect();
            let from = match self.join.knowledge {
                Knowledge::Event => "-4611686018427387904",
                Knowledge::Known => "created",
            };
            format!(
                ", min(CASE WHEN back THEN CAST({from} AS BIGINT) END) OVER (PARTITION BY {}) AS gone",
                same.join(", ")
            )
        } else {
            String::new()
        };
        format!("SELECT *{gone} FROM ({source}) WHERE event IS NOT NULL{keyed}{known}")
    }

    /// The aggregations over `lists` of the spine's rows, of which those in `valid` have keys and a time; `places` are
    /// the rows of the answer, none for a row that sees no event.
    pub(super) fn columns(
        &self,
        places: &[Option<u32>],
        valid: &[bool],
        lists: &[ArrayRef],
    ) -> Result<Vec<(Field, ArrayRef)>> {
        let lists = self.lists.iter().zip(lists).map(|((column, _), list)| self.cells(*column, list));
        let lists: Vec<Vec<Vec<Value>>> = lists.collect::<Result<_>>()?;
        let (none, nothing) = (Vec::new(), Value::Null);
        let one = |(planned, list): &(&PlannedAggregation, usize)| {
            let list = lists.get(*list).unwrap_or(&none);
            let value = |(place, valid): (&Option<u32>, &bool)| {
                if !valid {
                    return Ok(nothing.clone());
                }
                let cells = place.and_then(|place| list.get(place as usize));
                planned.evaluate(&[cells.map(Vec::as_slice).unwrap_or_default()])
            };
            let values = places.iter().zip(valid).map(value).collect::<Result<Vec<Value>>>()?;
            let field = Field::new(planned.name.as_ref(), planned.output.clone(), true);
            Ok((field, array(&values.iter().collect::<Vec<_>>(), &planned.output)?))
        };
        self.planned.iter().map(one).collect()
    }

    /// The cells of each row of a list column.
    fn cells(&self, column: usize, list: &ArrayRef) -> Result<Vec<Vec<Value>>> {
        let lost = || Error::internal("a column of a window is gone");
        let data_type = self.join.view.plan.column_types.get(column).ok_or_else(lost)?;
        let wanted = DataType::List(Arc::new(Field::new_list_field(data_type.clone(), true)));
        let list = exactly(list, &wanted)?;
        let rows = list.as_list::<i32>();
        let of_row = |row: Option<ArrayRef>| {
            let Some(cells) = row else { return Ok(Vec::new()) };
            (0..cells.len()).map(|index| cell(cells.as_ref(), index)).collect()
        };
        rows.iter().map(of_row).collect()
    }
}

/// A window's width such that no time of a spine less it overflows.
fn width(micros: i64) -> i64 {
    micros.min(1 << 62)
}
