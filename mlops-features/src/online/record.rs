//! What is kept online for one entity in one view, and how a write changes it.
//!
//! Layout, version 3, little endian: u8 `3`; u8 whether there is a latest row; if so i64 event time, u8 whether and
//! i64 when created, u32 cells, the cells of the view's columns; then the events as `AggregateState` writes them.
//! Version 2 is the same but for tiles that have neither numbers in order nor different values, version 1 has the
//! events without tiles. Both are read, and replaced by the next write.

use bytes::Bytes;
use mlops_core::{Error, Result};

use crate::{
    cell::Cell,
    value::Decoder,
    window::{AggregateState, Event, StateLimits},
};
#[cfg(any(test, feature = "conformance"))]
use crate::{
    value::{Value, encode},
    window::Parts,
};

const VERSION: u8 = 3;
/// Events are in no tiles.
const VERSION_UNTILED: u8 = 1;
/// Bytes of what stands before the cells of a row.
const HEAD_BYTES: usize = 21;

/// A row of an entity, its cells as they are kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Latest {
    pub(crate) head: LatestHead,
    pub(crate) cells: Bytes,
}

/// All that is kept of one entity, for tests to look at.
#[cfg(any(test, feature = "conformance"))]
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Record {
    /// Cells of the newest row.
    pub(crate) latest: Option<Vec<Value>>,
    /// How many recent events there are.
    pub(crate) events: usize,
}

/// A record read where it lies, front to back: nothing is allocated for what is not asked for.
#[derive(Debug)]
pub(crate) struct Stored<'a> {
    /// The newest row but for its cells.
    pub(crate) latest: Option<LatestHead>,
    tiled: bool,
    from: Decoder<'a>,
}

/// When a row happened and became known, and how many cells follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LatestHead {
    pub(crate) time: i64,
    pub(crate) created: Option<i64>,
    pub(crate) cells: u32,
}

impl<'a> Stored<'a> {
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self> {
        let mut from = Decoder(bytes);
        let version = from.u8()?;
        if !(VERSION_UNTILED..=VERSION).contains(&version) {
            return Err(Error::failed_precondition(format!(
                "an online record has format {version}; this version reads up to {VERSION}; materialize the view again"
            )));
        }
        let latest = if from.u8()? == 0 { None } else { Some(LatestHead::decode(&mut from)?) };
        Ok(Self { latest, tiled: version != VERSION_UNTILED, from })
    }

    /// The cells of the newest row, in order; call it once.
    pub(crate) fn cells(&mut self) -> impl Iterator<Item = Result<Cell<'a>>> {
        let count = self.latest.map_or(0, |latest| latest.cells);
        (0..count).map(|_| self.from.cell())
    }

    /// The same as they are written.
    fn cells_bytes(&mut self) -> Result<&'a [u8]> {
        let begin = self.from.0;
        self.cells().try_for_each(|cell| cell.map(drop))?;
        Ok(begin.get(..begin.len() - self.from.0.len()).unwrap_or_default())
    }

    /// The recent events as they are written, after the cells.
    fn events_bytes(self) -> &'a [u8] {
        self.from.0
    }

    /// The recent events, after the cells.
    pub(crate) fn events(mut self) -> Result<AggregateState<'a>> {
        if self.tiled { AggregateState::decode(&mut self.from) } else { AggregateState::decode_untiled(&mut self.from) }
    }
}

impl LatestHead {
    /// Newer event first, then later creation (none loses), then later arrival.
    pub(crate) fn replaces(self, other: Self) -> bool {
        (self.time, self.created) >= (other.time, other.created)
    }

    fn encode(self, out: &mut Vec<u8>) {
        out.extend(self.time.to_le_bytes());
        out.push(u8::from(self.created.is_some()));
        out.extend(self.created.unwrap_or(0).to_le_bytes());
        out.extend(self.cells.to_le_bytes());
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self> {
        let time = from.i64()?;
        let (has_created, created) = (from.u8()? != 0, from.i64()?);
        Ok(Self { time, created: has_created.then_some(created), cells: from.u32()? })
    }
}

#[cfg(any(test, feature = "conformance"))]
impl Record {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut stored = Stored::open(bytes)?;
        let values = stored.cells().map(|cell| cell.map(Value::from)).collect::<Result<Vec<_>>>()?;
        let latest = stored.latest.map(|_| values);
        Ok(Self { latest, events: stored.events()?.len() })
    }
}

#[cfg(any(test, feature = "conformance"))]
impl Latest {
    pub(crate) fn of(time: i64, created: Option<i64>, values: &[Value]) -> Self {
        let mut bytes = Vec::new();
        values.iter().for_each(|value| encode(value, &mut bytes));
        let cells = u32::try_from(values.len()).unwrap_or(u32::MAX);
        Self { head: LatestHead { time, created, cells }, cells: bytes.into() }
    }
}

/// What one write does to one entity's record. Applying it again changes nothing; an older event never replaces a
/// newer value.
#[derive(Debug, Clone)]
pub struct Update {
    latest: Option<Latest>,
    events: Vec<Event>,
    limits: StateLimits,
    /// Set only by the conformance suite.
    fails: bool,
}

impl Update {
    pub(crate) fn new(limits: StateLimits) -> Self {
        Self { latest: None, events: Vec::new(), limits, fails: false }
    }

    /// An update that cannot be applied, for the conformance suite.
    #[cfg(any(test, feature = "conformance"))]
    pub(crate) fn failing() -> Self {
        Self { fails: true, ..Self::new(StateLimits::new(1, 1, Parts::NONE)) }
    }

    /// The newest row that it brings.
    pub(crate) fn latest(&self) -> Option<&Latest> {
        self.latest.as_ref()
    }

    pub(crate) fn add_row(&mut self, row: Latest) {
        if self.latest.as_ref().is_none_or(|latest| row.head.replaces(latest.head)) {
            self.latest = Some(row);
        }
    }

    pub(crate) fn add_event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// The record after the update.
    ///
    /// # Errors
    /// `DataLoss` or `FailedPrecondition` when `existing` is damaged or of another format.
    pub fn apply(&self, existing: Option<&[u8]>) -> Result<Vec<u8>> {
        if self.fails {
            return Err(Error::failed_precondition("this update cannot be applied"));
        }
        let mut stored = existing.map(Stored::open).transpose()?;
        let head = stored.as_ref().and_then(|stored| stored.latest);
        let cells = stored.as_mut().map(Stored::cells_bytes).transpose()?.unwrap_or_default();
        let (head, cells) = match (&self.latest, head) {
            (Some(row), head) if head.is_none_or(|head| row.head.replaces(head)) => {
                (Some(row.head), row.cells.as_ref())
            }
            (_, head) => (head, cells),
        };
        let begin = |events: usize| {
            let mut out = Vec::with_capacity(2 + HEAD_BYTES + cells.len() + events);
            out.extend([VERSION, u8::from(head.is_some())]);
            head.into_iter().for_each(|head| head.encode(&mut out));
            out.extend(cells);
            out
        };
        match stored {
            // Nothing is added to the events, so they need not be read.
            Some(stored) if self.events.is_empty() && stored.tiled => {
                let events = stored.events_bytes();
                let mut out = begin(events.len());
                out.extend(events);
                Ok(out)
            }
            stored => {
                let mut events = stored.map(Stored::events).transpose()?.unwrap_or_default();
                events.insert(&self.events, &self.limits)?;
                let mut out = begin(32 + 48 * events.len());
                events.encode(&mut out)?;
                Ok(out)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Function;

    fn update(time: i64, created: Option<i64>, value: i64) -> Update {
        let mut update = Update::new(StateLimits::new(100, 10, Parts::NONE));
        update.add_row(Latest::of(time, created, &[Value::Int(value)]));
        update.add_event(Event { time, identity: value as u64, values: vec![Value::Int(value)] });
        update
    }

    #[test]
    fn older_rows_lose_whatever_the_order() {
        let first = update(5, Some(1), 10).apply(None).unwrap();
        let both = update(4, Some(9), 11).apply(Some(&first)).unwrap();
        assert_eq!(Record::decode(&both).unwrap().latest.unwrap(), [Value::Int(10)]);
        let tie = update(5, None, 12).apply(Some(&first)).unwrap();
        assert_eq!(Record::decode(&tie).unwrap().latest.unwrap(), [Value::Int(10)]);
        let later = update(5, Some(1), 13).apply(Some(&first)).unwrap();
        assert_eq!(Record::decode(&later).unwrap().latest.unwrap(), [Value::Int(13)]);
        assert_eq!(update(5, Some(1), 13).apply(Some(&later)).unwrap(), later);
    }

    /// A row without a creation time whose only cell is "a", as both formats begin.
    fn row_bytes(version: u8) -> Vec<u8> {
        let mut bytes = vec![version, 1];
        bytes.extend(1_i64.to_le_bytes());
        bytes.extend([0; 9]);
        bytes.extend([1, 0, 0, 0, 5, 1, 0, 0, 0, b'a']);
        bytes
    }

    /// Eight events with the value -1 and one of null, in tiles of ten microseconds that keep what `functions` want.
    fn tiled(functions: &[Function]) -> Update {
        let parts = Parts::of(1, functions.iter().map(|function| (0, *function)));
        let mut update = Update::new(StateLimits::new(640, 10, parts));
        update.add_row(Latest::of(1, None, &[Value::Text("a".into())]));
        (0..8).for_each(|time| update.add_event(Event { time, identity: 9, values: vec![Value::Int(-1)] }));
        update.add_event(Event { time: 10, identity: 9, values: vec![Value::Null] });
        update
    }

    /// The same as bytes, with `kept` and partial aggregates as they are given.
    fn tiled_bytes(version: u8, kept: u8, partials: &[u8]) -> Vec<u8> {
        let mut bytes = row_bytes(version);
        bytes.extend([0; 9]);
        bytes.extend(10_i64.to_le_bytes());
        bytes.extend([2, 0, 0, 0, 1, 0, 0, 0, kept]);
        let head = |first: i64, last: i64, numbers: [u32; 3]| {
            [first.to_le_bytes().as_slice(), &last.to_le_bytes(), numbers.map(u32::to_le_bytes).as_flattened()].concat()
        };
        let event = |time: i64| [time.to_le_bytes(), 9_i64.to_le_bytes()].concat();
        bytes.extend(head(0, 7, [8, u32::try_from(partials.len()).unwrap(), 200]));
        bytes.extend(partials);
        for time in 0..8 {
            bytes.extend([event(time), minus_one()].concat());
        }
        bytes.extend(head(10, 10, [1, 0, 17]));
        bytes.extend([event(10), vec![0]].concat());
        bytes
    }

    fn minus_one() -> Vec<u8> {
        [[3].as_slice(), &(-1_i64).to_le_bytes()].concat()
    }

    /// Count; the sum: below zero, from the limb of units on, one limb; least and greatest value.
    fn moments() -> Vec<u8> {
        [vec![8, 0, 0, 0, 1, 68, 1, 8, 0, 0, 0], minus_one(), minus_one()].concat()
    }

    #[test]
    fn layout_of_version_3_is_fixed() {
        let median = Function::ApproxQuantile(crate::Quantile::new(0.5).unwrap());
        let all = tiled(&[Function::Sum, Function::Max, median, Function::ApproxDistinct]);
        // How many numbers, and these; how many bytes of different values, and these.
        let numbers = [vec![8, 0, 0, 0], (-1_f64).to_le_bytes().repeat(8)].concat();
        let lists = [numbers, vec![9, 0, 0, 0], minus_one()].concat();
        assert_eq!(all.apply(None).unwrap(), tiled_bytes(3, 29, &[moments(), lists].concat()));
        assert!(Record::decode(&[4]).unwrap_err().message().contains("format 4"));
    }

    #[test]
    fn version_2_is_read_and_replaced() {
        let old = tiled_bytes(2, 5, &moments());
        assert_eq!(Record::decode(&old).unwrap().events, 9);
        let update = tiled(&[Function::Sum, Function::Max]);
        let next = update.apply(Some(&old)).unwrap();
        assert_eq!(next, tiled_bytes(3, 5, &moments()), "it has these events already");
        assert_eq!(Update::new(update.limits.clone()).apply(Some(&old)).unwrap(), next);
        // Tiles are made anew where more is wanted of them.
        let distinct = [vec![8, 0, 0, 0, 9, 0, 0, 0], minus_one()].concat();
        assert_eq!(tiled(&[Function::ApproxDistinct]).apply(Some(&old)).unwrap(), tiled_bytes(3, 16, &distinct));
    }

    #[test]
    fn version_1_is_read_and_replaced() {
        let mut old = row_bytes(1);
        old.extend([0; 9]);
        old.extend([1, 0, 0, 0, 1, 0, 0, 0]);
        old.extend([7_i64.to_le_bytes().as_slice(), &9_i64.to_le_bytes(), &[3], &5_i64.to_le_bytes()].concat());
        let record = Record::decode(&old).unwrap();
        assert_eq!((record.latest.unwrap(), record.events), (vec![Value::Text("a".into())], 1));
        let mut update = Update::new(StateLimits::new(100, 10, Parts::NONE));
        update.add_event(Event { time: 7, identity: 9, values: vec![Value::Int(5)] });
        let next = update.apply(Some(&old)).unwrap();
        assert_eq!((next[0], Record::decode(&next).unwrap().events), (3, 1));
        assert_eq!(Update::new(StateLimits::new(100, 10, Parts::NONE)).apply(Some(&old)).unwrap(), next);
    }
}
