//! A view against a spine's schema: names to places, types checked, times in one unit.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema};
use mlops_core::{Error, Result, ResultExt};

use super::{JoinView, Knowledge, candidates::Rank, rows::Request, timeline::Timeline};
use crate::time::{Ticks, column, ticks};

/// A view that fits the spine.
pub(super) struct ResolvedView<'a> {
    pub(super) view: &'a JoinView,
    pub(super) unit: Ticks,
    /// Place and name in the answer of each output column.
    pub(super) outputs: Vec<(usize, Field)>,
    /// Places of what the search reads: keys, event time, creation time.
    search: Vec<usize>,
    /// The number of the first row of each part.
    firsts: Vec<u64>,
    timestamp: usize,
    created: Option<usize>,
    knowledge: Knowledge,
    ttl: Option<i64>,
}

impl<'a> ResolvedView<'a> {
    pub(super) fn new(view: &'a JoinView, spine: &Schema, timestamp: &str, knowledge: Knowledge) -> Result<Self> {
        Self::try_new(view, spine, timestamp, knowledge).context(format!("feature view \"{}\"", view.name))
    }

    fn try_new(view: &'a JoinView, spine: &Schema, timestamp: &str, knowledge: Knowledge) -> Result<Self> {
        let source = view.rows.schema();
        check_key_types(spine, source, &view.spine_keys, &view.source_keys)?;
        let created = view.created.as_deref().map(|name| time_place(source, name)).transpose()?;
        let (time, spine_time) = (time_place(source, &view.timestamp)?, time_place(spine, timestamp)?);
        let times = [Some(source.field(time)), Some(spine.field(spine_time)), created.map(|at| source.field(at))];
        let unit = Ticks::for_types(times.into_iter().flatten().map(Field::data_type));
        let keys = view.source_keys.iter().map(|name| place(source, name));
        let mut search = keys.chain([Ok(time)]).chain(created.map(Ok)).collect::<Result<Vec<_>>>()?;
        search.sort_unstable();
        search.dedup();
        let features = view.features.iter().map(|(from, to)| (from, to));
        let output = |(from, to): (&Arc<str>, &Arc<str>)| {
            let place = place(source, from)?;
            Ok((place, source.field(place).clone().with_name(to.as_ref()).with_nullable(true)))
        };
        let outputs = features.chain(view.event_timestamp.iter().map(|to| (&view.timestamp, to))).map(output);
        let outputs = outputs.collect::<Result<_>>()?;
        let micros = |ttl: std::time::Duration| i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
        let ttl = view.ttl.map(|ttl| micros(ttl).saturating_mul(unit.per_micro()));
        let firsts = view.rows.parts().iter().scan(0, |next, rows| {
            let first = *next;
            *next += u64::from(*rows);
            Some(first)
        });
        Ok(Self { view, unit, outputs, search, firsts: firsts.collect(), timestamp: time, created, knowledge, ttl })
    }

    /// The number of the first row of each part of the source.
    pub(super) fn firsts(&self) -> &[u64] {
        &self.firsts
    }

    /// How long a winner counts, in ticks; none means any time.
    pub(super) fn ttl(&self) -> Option<i64> {
        self.ttl
    }

    /// About how many bytes a row of what the search reads takes.
    pub(super) fn search_bytes(&self) -> usize {
        self.search.iter().map(|column| self.view.rows.value_bytes(*column)).sum()
    }

    /// About how many bytes a row of the outputs takes.
    pub(super) fn output_bytes(&self) -> usize {
        self.outputs.iter().map(|(column, _)| self.view.rows.value_bytes(*column)).sum()
    }

    /// About how many bytes reading a part holds beside the batches.
    pub(super) fn buffer_bytes(&self) -> usize {
        let outputs: Vec<usize> = self.outputs.iter().map(|(column, _)| *column).collect();
        self.view.rows.buffer_bytes(&self.search).max(self.view.rows.buffer_bytes(&outputs))
    }

    /// Whether part `part` can hold a row that wins for a moment between the first and the last of a spine.
    pub(super) fn may_win(&self, part: usize, (first, last): (i64, i64)) -> bool {
        let range = |column: usize| {
            let (min, max) = self.view.rows.time_range(part, column)?;
            let DataType::Timestamp(unit, _) = self.view.rows.schema().field(column).data_type() else { return None };
            let factor = self.unit.factor(*unit);
            Some((min.saturating_mul(factor), max.saturating_mul(factor)))
        };
        let seen = |column: usize| range(column).is_none_or(|(min, _)| min <= last);
        let alive = || {
            let (ttl, (_, max)) = self.ttl.zip(range(self.timestamp))?;
            Some(max >= first.saturating_sub(ttl))
        };
        let known = match self.knowledge {
            Knowledge::Event => true,
            Knowledge::Known => self.created.is_some_and(seen),
        };
        seen(self.timestamp) && known && alive().unwrap_or(true)
    }

    /// Offers the rows of part `part` through `accept`, a batch at a time.
    pub(super) fn search(
        &self,
        part: usize,
        timeline: &Timeline,
        batch_rows: usize,
        accept: impl Fn(&[(u32, Rank)]),
    ) -> Result<()> {
        let request = Request { columns: &self.search, rows: None, batch_rows };
        let first =
            self.firsts.get(part).ok_or_else(|| Error::internal("a join asked for a part that is not there"))?;
        let (mut row, mut offers) = (*first, Vec::new());
        for batch in self.view.rows.read(part, request)? {
            let batch = batch?;
            offers.clear();
            self.offers(&batch, row, timeline, &mut offers)?;
            accept(&offers);
            row += batch.num_rows() as u64;
        }
        Ok(())
    }

    fn offers(&self, batch: &RecordBatch, first: u64, line: &Timeline, offers: &mut Vec<(u32, Rank)>) -> Result<()> {
        let groups = line.lookup(batch, &self.view.source_keys)?;
        let times = |name: &str| ticks(name, column(batch, name)?.as_ref(), self.unit);
        let events = times(&self.view.timestamp)?;
        let created = self.view.created.as_deref().map(times).transpose()?;
        for (index, (group, event)) in groups.into_iter().zip(events).enumerate() {
            let Some((group, event)) = group.zip(event) else { continue };
            let created = created.as_ref().and_then(|created| *created.get(index)?);
            let visible = match (self.knowledge, created) {
                (Knowledge::Event, _) => event,
                (Knowledge::Known, Some(created)) => event.max(created),
                (Knowledge::Known, None) => continue,
            };
            if let Some(slot) = line.first_seeing(group, visible, self.view.bound) {
                offers.push((slot, Rank::new(event, created, first + index as u64)));
            }
        }
        Ok(())
    }
}

pub(super) fn place(schema: &Schema, name: &str) -> Result<usize> {
    schema.index_of(name).map_err(|_| {
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        Error::invalid_argument(format!("column \"{name}\" is missing; there are {}", names.join(", ")))
    })
}

pub(super) fn time_place(schema: &Schema, name: &str) -> Result<usize> {
    let place = place(schema, name)?;
    match schema.field(place).data_type() {
        DataType::Timestamp(..) => Ok(place),
        other => Err(Error::invalid_argument(format!("column \"{name}\" must be a timestamp; it is {other}"))),
    }
}

/// Refuses keys that could only fail to match because their types differ.
pub(crate) fn check_key_types(
    spine: &Schema,
    source: &Schema,
    spine_keys: &[Arc<str>],
    source_keys: &[Arc<str>],
) -> Result<()> {
    for (left, right) in spine_keys.iter().zip(source_keys) {
        let left_type = spine.field(place(spine, left)?).data_type();
        let right_type = source.field(place(source, right)?).data_type();
        if left_type != right_type {
            return Err(Error::invalid_argument(format!(
                "join key \"{left}\" is {left_type} in the spine but \"{right}\" is {right_type} in the source; cast one of them"
            )));
        }
    }
    Ok(())
}
