//! Spines made of the sources themselves: every entity, without a list of them.

use std::{collections::HashSet, sync::Arc};

use arrow_array::{
    Array as _, ArrayRef, RecordBatch, TimestampMicrosecondArray, TimestampNanosecondArray, new_empty_array,
};
use arrow_row::{RowConverter, SortField};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use mlops_core::{Error, Result, ResultExt, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Bound, JoinSettings, JoinView, Knowledge,
    resolved::{place, time_place},
    rows::Request,
};
use crate::{
    definition::EVENT_TIMESTAMP,
    time::{Ticks, column, ticks},
    workers::spread,
};

/// For which moments a spine of all entities has rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moments {
    /// One row at this time for every entity of which anything is seen by then, expired or not.
    At(Timestamp),
    /// One row for every moment in `after < t <= until` from which on a source row of an entity is seen. A value that
    /// expires makes no row.
    Changes {
        /// The range begins after this.
        after: Timestamp,
        /// The range ends with this.
        until: Timestamp,
    },
}

/// An entity as comparable bytes, and a moment of it.
type Moment = (Box<[u8]>, i64);

/// What one of them takes beside its bytes, in a hash table that doubles.
const MOMENT_BYTES: usize = 64;

/// A spine of all entities that occur in `views`: the key columns by their names in the spine, then the time in
/// `event_timestamp`, ordered by key and time, each row once. Its unit is the finest of the views and at least
/// microseconds, its zone that of the first view.
///
/// # Errors
/// `InvalidArgument` without views, for views with different keys or none, and for a column that is missing or
/// wrongly typed; `ResourceExhausted` when the spine does not fit into the memory of the settings; errors of reading.
pub(super) fn spine_of(
    views: &[JoinView],
    moments: Moments,
    knowledge: Knowledge,
    settings: &JoinSettings,
) -> Result<RecordBatch> {
    let keys = shared_keys(views)?;
    let converter = RowConverter::new(keys.iter().map(|key| SortField::new(key.data_type().clone())).collect())?;
    let (unit, zone) = times(views)?;
    let scan = Scan { converter: &converter, moments, knowledge, unit, settings };
    let tasks = views.iter().flat_map(|view| (0..view.rows.parts().len()).map(move |part| (view, part)));
    let tasks: Vec<_> = tasks.collect();
    let threads = settings.threads_wanted();
    let found = spread(threads, &tasks, |(view, part)| {
        scan.part(view, *part).context(format!("feature view \"{}\"", view.name))
    })?;
    let mut all = HashSet::new();
    for part in found {
        all.extend(part);
        scan.check_size(&all)?;
    }
    let mut all: Vec<Moment> = all.into_iter().collect();
    all.sort_unstable();
    batch(&keys, &converter, &all, unit, zone)
}

/// The key columns as the spine has them.
fn shared_keys(views: &[JoinView]) -> Result<Vec<Field>> {
    let keys_of = |view: &JoinView| {
        let both = view.spine_keys.iter().zip(&view.source_keys);
        let schema = view.rows.schema();
        let key = |(spine, source): (&Arc<str>, &Arc<str>)| {
            Ok(Field::new(spine.as_ref(), schema.field(place(schema, source)?).data_type().clone(), true))
        };
        both.map(key).collect::<Result<Vec<_>>>().context(format!("feature view \"{}\"", view.name))
    };
    let first = views.first().ok_or_else(|| Error::invalid_argument("a spine of all entities needs a view"))?;
    let keys = keys_of(first)?;
    if keys.is_empty() {
        return Err(Error::invalid_argument(format!("view \"{}\" has no keys, so it has no entities", first.name)));
    }
    for view in views {
        let others = keys_of(view)?;
        if others != keys {
            return Err(Error::invalid_argument(format!(
                "views \"{}\" and \"{}\" have the keys {keys:?} and {others:?}; a spine of all entities needs the same",
                first.name, view.name
            )));
        }
    }
    Ok(keys)
}

/// The unit and the zone of the spine.
fn times(views: &[JoinView]) -> Result<(Ticks, Option<Arc<str>>)> {
    let mut types = Vec::new();
    for view in views {
        for name in [Some(&view.timestamp), view.created.as_ref()].into_iter().flatten() {
            let schema = view.rows.schema();
            let place = time_place(schema, name).context(format!("feature view \"{}\"", view.name))?;
            types.push(schema.field(place).data_type());
        }
    }
    let zone =
        types.first().and_then(|first| if let DataType::Timestamp(_, zone) = first { zone.clone() } else { None });
    Ok((Ticks::for_types(types), zone))
}

struct Scan<'a> {
    converter: &'a RowConverter,
    moments: Moments,
    knowledge: Knowledge,
    unit: Ticks,
    settings: &'a JoinSettings,
}

impl Scan<'_> {
    /// The distinct moments of part `part` of `view`.
    fn part(&self, view: &JoinView, part: usize) -> Result<HashSet<Moment>> {
        let schema = view.rows.schema();
        let names = view.source_keys.iter().chain([&view.timestamp]).chain(&view.created);
        let mut columns = names.map(|name| place(schema, name)).collect::<Result<Vec<_>>>()?;
        columns.sort_unstable();
        columns.dedup();
        let request = Request { columns: &columns, rows: None, batch_rows: self.settings.batch_rows };
        let mut found = HashSet::new();
        for batch in view.rows.read(part, request)? {
            self.batch(&batch?, view, &mut found)?;
            self.check_size(&found)?;
        }
        Ok(found)
    }

    fn batch(&self, batch: &RecordBatch, view: &JoinView, found: &mut HashSet<Moment>) -> Result<()> {
        let keys =
            view.source_keys.iter().map(|name| column(batch, name).cloned()).collect::<Result<Vec<ArrayRef>>>()?;
        let rows = self.converter.convert_columns(&keys)?;
        let times = |name: &str| ticks(name, column(batch, name)?.as_ref(), self.unit);
        let events = times(&view.timestamp)?;
        let created = view.created.as_deref().map(times).transpose()?;
        for (index, (row, event)) in rows.iter().zip(events).enumerate() {
            let created = created.as_ref().and_then(|created| *created.get(index)?);
            let visible = match self.knowledge {
                Knowledge::Event => event,
                Knowledge::Known => event.zip(created).map(|(event, created)| event.max(created)),
            };
            let Some(seen) = visible.and_then(|visible| self.seen_from(visible, view.bound)) else { continue };
            if let Some(moment) = self.wanted(seen)
                && keys.iter().all(|key| key.is_valid(index))
            {
                found.insert((row.data().into(), moment));
            }
        }
        Ok(())
    }

    /// The first moment that sees what becomes visible at `visible`.
    fn seen_from(&self, visible: i64, bound: Bound) -> Option<i64> {
        match bound {
            Bound::Inclusive => Some(visible),
            Bound::Exclusive => visible.checked_add(1),
        }
    }

    fn wanted(&self, seen: i64) -> Option<i64> {
        let ticks = |time: Timestamp| time.as_micros().saturating_mul(self.unit.per_micro());
        match self.moments {
            Moments::At(time) => (seen <= ticks(time)).then(|| ticks(time)),
            Moments::Changes { after, until } => (ticks(after) < seen && seen <= ticks(until)).then_some(seen),
        }
    }

    fn check_size(&self, found: &HashSet<Moment>) -> Result<()> {
        let key_bytes = found.iter().next().map_or(0, |(key, _)| key.len());
        if found.len().saturating_mul(MOMENT_BYTES + key_bytes) <= self.settings.memory_bytes_max {
            return Ok(());
        }
        Err(Error::resource_exhausted(format!(
            "a spine of more than {} rows does not fit into memory_bytes_max, {}; ask for a shorter range",
            found.len(),
            self.settings.memory_bytes_max
        )))
    }
}

fn batch(
    keys: &[Field],
    converter: &RowConverter,
    moments: &[Moment],
    unit: Ticks,
    zone: Option<Arc<str>>,
) -> Result<RecordBatch> {
    let parser = converter.parser();
    let mut columns = match moments {
        [] => keys.iter().map(|key| new_empty_array(key.data_type())).collect(),
        _ => converter.convert_rows(moments.iter().map(|(key, _)| parser.parse(key)))?,
    };
    let times = moments.iter().map(|(_, time)| *time);
    let (unit, times): (_, ArrayRef) = match unit {
        Ticks::Micros => (
            TimeUnit::Microsecond,
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone_opt(zone.clone())),
        ),
        Ticks::Nanos => (
            TimeUnit::Nanosecond,
            Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone_opt(zone.clone())),
        ),
    };
    columns.push(times);
    let time = Field::new(EVENT_TIMESTAMP, DataType::Timestamp(unit, zone), true);
    let fields: Vec<_> = keys.iter().cloned().chain([time]).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
