//! The recent events of one entity in tiles of time, from which every aggregate of a view is answered online.
//!
//! A write opens the tiles whose time it touches and copies the others as they lie; a question opens the tiles at the
//! edges of a window and takes the partial aggregates of those between.

use std::{borrow::Cow, cell::OnceCell};

use hashbrown::HashMap;
use mlops_core::{Error, Result};

use super::{
    function::Stretch,
    plan::{PlannedAggregation, WindowPlan},
    tile::{Part, Partial, Parts, TILE_EVENTS_MIN},
};
use crate::{
    cell::Cell,
    value::{Decoder, Value, encode},
};

/// One event as windows see it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// Event time in microseconds.
    pub(crate) time: i64,
    /// What tells it from other events of the same time.
    pub(crate) identity: u64,
    /// Cells of the plan's columns.
    pub(crate) values: Vec<Value>,
}

impl Event {
    /// An event that takes back every event of this time and identity, whether it came before or comes after. It has
    /// the same `cells` as they, all lists, which no column of a window can hold.
    pub(crate) fn retraction(time: i64, identity: u64, cells: usize) -> Self {
        Self { time, identity, values: vec![Value::List(Vec::new()); cells] }
    }

    fn is_retraction(&self) -> bool {
        matches!(self.values.first(), Some(Value::List(_)))
    }
}

/// What a state keeps, and how it is divided.
#[derive(Debug, Clone)]
pub(crate) struct StateLimits {
    /// Longest window in microseconds; events this much older than the newest are dropped.
    pub(crate) window_max: i64,
    /// Most events of one entity; beyond it the oldest are dropped.
    pub(crate) events_max: usize,
    /// How much time a tile spans, in microseconds.
    pub(crate) tile: i64,
    /// What the tiles keep.
    pub(crate) parts: Parts,
}

/// The longest window has this many tiles: more make the edges cheaper and the rest dearer.
const TILES: i64 = 64;

impl StateLimits {
    pub(crate) fn new(window_max: i64, events_max: usize, parts: Parts) -> Self {
        Self { window_max, events_max, tile: (window_max / TILES).max(1), parts }
    }
}

/// Events of one entity in order of time, then arrival.
///
/// Invariants: every event that was inserted is either here, once, or at or before `forgotten_until`; a window that
/// reaches into the forgotten past is answered with null rather than with a wrong number. Inserting what was
/// inserted before changes nothing. Tiles are in order, none is empty, and the events of a tile share the number of
/// their time divided by the width.
#[derive(Debug)]
pub(crate) struct AggregateState<'a> {
    tiles: Vec<Tile<'a>>,
    forgotten_until: Option<i64>,
    width: i64,
    /// The bytes of [`Parts`].
    parts: Cow<'a, [u8]>,
    /// Cells of each event.
    cells: usize,
}

#[derive(Debug)]
struct Tile<'a> {
    first: i64,
    last: i64,
    count: usize,
    body: Body<'a>,
}

#[derive(Debug)]
enum Body<'a> {
    /// As it was read.
    Stored { partials: &'a [u8], events: &'a [u8], opened: OnceCell<Opened<'a>> },
    /// Changed, or about to be.
    Events(Vec<Event>),
}

/// The events of a tile, their cells where they lie.
#[derive(Debug)]
struct Opened<'a> {
    /// Time and whether the event is a retraction.
    times: Vec<(i64, bool)>,
    /// The cells of one event after those of the other.
    cells: Vec<Cell<'a>>,
}

impl Default for AggregateState<'_> {
    fn default() -> Self {
        Self { tiles: Vec::new(), forgotten_until: None, width: i64::MAX, parts: Cow::default(), cells: 0 }
    }
}

impl<'a> AggregateState<'a> {
    /// How many events are kept.
    pub(crate) fn len(&self) -> usize {
        self.tiles.iter().map(|tile| tile.count).sum()
    }

    /// Adds one write's events, in order of arrival. An event equal in time and identity to one that is kept from an
    /// earlier write is that event again; equal events within one write count each.
    pub(crate) fn insert(&mut self, events: &[Event], limits: &StateLimits) -> Result<()> {
        self.cells = events.first().map_or(self.cells, |event| event.values.len());
        let kept = limits.parts.as_bytes();
        let same = |column| Part::of_column(&self.parts, column) == Part::of_column(kept, column);
        if self.width != limits.tile || !(0..self.cells).all(same) {
            self.divide(limits)?;
        }
        // For every time and identity of this write: how many were kept before it, how many it has brought so far.
        let mut seen: HashMap<(i64, u64), (usize, usize)> = HashMap::new();
        for event in events {
            if self.forgotten_until.is_some_and(|until| event.time <= until) {
                continue;
            }
            let key = (event.time, event.identity);
            let tile = self.tile_of(event.time)?;
            if event.is_retraction() {
                take_back(tile, event);
                continue;
            }
            if of(tile, key).any(Event::is_retraction) {
                continue;
            }
            let (before, brought) = seen.entry(key).or_insert_with(|| (of(tile, key).count(), 0));
            *brought += 1;
            if *brought > *before {
                let at = tile.partition_point(|kept| kept.time <= event.time);
                tile.insert(at, event.clone());
            }
        }
        self.tiles.iter_mut().for_each(Tile::measure);
        self.tiles.retain(|tile| tile.count > 0);
        self.forget(limits)
    }

    /// Cuts the events into tiles of `limits`.
    fn divide(&mut self, limits: &StateLimits) -> Result<()> {
        let mut events = Vec::new();
        for tile in &mut self.tiles {
            events.append(tile.open(self.cells)?);
        }
        (self.width, self.parts) = (limits.tile, limits.parts.as_bytes().to_vec().into());
        let mut tiles: Vec<Tile<'a>> = Vec::new();
        for event in events {
            let number = event.time.div_euclid(self.width);
            match tiles.last_mut() {
                Some(Tile { first, body: Body::Events(events), .. }) if first.div_euclid(limits.tile) == number => {
                    events.push(event);
                }
                _ => tiles.push(Tile::of(vec![event])),
            }
        }
        tiles.iter_mut().for_each(Tile::measure);
        self.tiles = tiles;
        Ok(())
    }

    /// The events of the tile in which `time` lies; a new tile when there is none.
    fn tile_of(&mut self, time: i64) -> Result<&mut Vec<Event>> {
        let (width, number) = (self.width, time.div_euclid(self.width));
        let at = self.tiles.partition_point(|tile| tile.first.div_euclid(width) < number);
        let found = self.tiles.get(at).is_some_and(|tile| tile.first.div_euclid(width) == number);
        if !found {
            self.tiles.insert(at, Tile { first: time, last: time, count: 0, body: Body::Events(Vec::new()) });
        }
        let gone = || Error::internal("a tile of a window is gone");
        self.tiles.get_mut(at).ok_or_else(gone)?.open(self.cells)
    }

    fn forget(&mut self, limits: &StateLimits) -> Result<()> {
        let Some(newest) = self.tiles.last().map(|tile| tile.last) else { return Ok(()) };
        let horizon = newest.saturating_sub(limits.window_max);
        let excess = self.len().saturating_sub(limits.events_max.max(1));
        let (mut left, mut whole) = (excess, 0);
        for tile in &self.tiles {
            if tile.last > horizon && tile.count > left {
                break;
            }
            left = left.saturating_sub(tile.count);
            whole += 1;
        }
        let dropped = self.tiles.drain(..whole).next_back().map(|tile| tile.last);
        self.forgotten_until = self.forgotten_until.max(dropped);
        let cells = self.cells;
        let Some(oldest) = self.tiles.first_mut().filter(|tile| tile.first <= horizon || left > 0) else {
            return Ok(());
        };
        let events = oldest.open(cells)?;
        let expired = events.partition_point(|event| event.time <= horizon);
        let dropped = events.drain(..expired.max(left)).next_back().map(|event| event.time);
        oldest.measure();
        self.forgotten_until = self.forgotten_until.max(dropped);
        Ok(())
    }

    /// The time of the newest event at or before `as_of` that was not taken back.
    pub(crate) fn newest(&self, as_of: i64) -> Result<Option<i64>> {
        for tile in self.tiles.iter().rev().filter(|tile| tile.first <= as_of) {
            let newest = tile.times(self.cells)?.rev().find(|(time, back)| *time <= as_of && !back);
            if let Some((time, _)) = newest {
                return Ok(Some(time));
            }
        }
        Ok(None)
    }

    /// The value of every aggregation at `as_of`; events after it are ignored.
    pub(crate) fn evaluate(&self, plan: &WindowPlan, as_of: i64) -> Result<Vec<Value>> {
        let one = |aggregation: &PlannedAggregation| {
            let after = as_of.saturating_sub(aggregation.window);
            if self.forgotten_until.is_some_and(|until| after < until) {
                return Ok(Value::Null);
            }
            let from = self.tiles.partition_point(|tile| tile.last <= after);
            let upto = self.tiles.partition_point(|tile| tile.first <= as_of);
            let tiles = self.tiles.get(from..upto).unwrap_or_default().iter();
            let stretch = |tile| Piece { tile, state: self, column: aggregation.column, after, as_of };
            aggregation.evaluate(&tiles.map(stretch).collect::<Vec<_>>())
        };
        plan.aggregations.iter().map(one).collect()
    }

    /// Appends the bytes: u8 whether and i64 until when events are forgotten, i64 width, u32 number of tiles, u32 cells
    /// per event, a byte of [`Part`] for each of these; then every tile: i64 first and last time, u32 events, u32 bytes
    /// of partial aggregates, u32 bytes of events, the partial aggregates of each column as [`Partial::encode`] writes
    /// them (none in a tile of few events), and the events: i64 time, u64 identity, cells.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.push(u8::from(self.forgotten_until.is_some()));
        out.extend(self.forgotten_until.unwrap_or(0).to_le_bytes());
        out.extend(self.width.to_le_bytes());
        out.extend(length(self.tiles.len()));
        out.extend(length(self.cells));
        out.extend((0..self.cells).map(|column| Part::of_column(&self.parts, column).to_byte()));
        self.tiles.iter().try_for_each(|tile| tile.encode(&self.parts, self.cells, out))
    }

    pub(crate) fn decode(from: &mut Decoder<'a>) -> Result<Self> {
        let forgotten = from.u8()? != 0;
        let until = from.i64()?;
        let width = from.i64()?.max(1);
        let (tiles, cells) = (from.u32()?, from.u32()? as usize);
        let parts = from.take(cells)?.into();
        let tiles = (0..tiles).map(|_| Tile::decode(from)).collect::<Result<_>>()?;
        Ok(Self { tiles, forgotten_until: forgotten.then_some(until), width, parts, cells })
    }

    /// Reads what the first format of records has: u8 whether and i64 until when events are forgotten, u32 event count,
    /// u32 cells per event, then the events.
    pub(crate) fn decode_untiled(from: &mut Decoder<'_>) -> Result<Self> {
        let forgotten = from.u8()? != 0;
        let until = from.i64()?;
        let (count, cells) = (from.u32()?, from.u32()? as usize);
        let events = (0..count).map(|_| Event::decode(from, cells)).collect::<Result<Vec<_>>>()?;
        let mut tile = Tile::of(events);
        tile.measure();
        let tiles = if tile.count > 0 { vec![tile] } else { Vec::new() };
        Ok(Self { tiles, forgotten_until: forgotten.then_some(until), cells, ..Self::default() })
    }
}

/// Puts `retraction` in the place of the events of its time and identity.
fn take_back(events: &mut Vec<Event>, retraction: &Event) {
    events.retain(|kept| (kept.time, kept.identity) != (retraction.time, retraction.identity));
    let at = events.partition_point(|kept| kept.time <= retraction.time);
    events.insert(at, retraction.clone());
}

/// Those of `events` that have this time and identity.
fn of(events: &[Event], (time, identity): (i64, u64)) -> impl Iterator<Item = &Event> {
    let from = events.partition_point(|kept| kept.time < time);
    let same_time = events.iter().skip(from).take_while(move |kept| kept.time == time);
    same_time.filter(move |kept| kept.identity == identity)
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

impl Event {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.time.to_le_bytes());
        out.extend(self.identity.to_le_bytes());
        self.values.iter().for_each(|value| encode(value, out));
    }

    fn decode(from: &mut Decoder<'_>, cells: usize) -> Result<Self> {
        Ok(Self { time: from.i64()?, identity: from.u64()?, values: from.values(cells)? })
    }
}

impl<'a> Tile<'a> {
    fn of(events: Vec<Event>) -> Self {
        let first = events.first().map_or(0, |event| event.time);
        Self { first, last: first, count: events.len(), body: Body::Events(events) }
    }

    /// Makes the head say what the events are.
    fn measure(&mut self) {
        if let Body::Events(events) = &self.body {
            self.count = events.len();
            self.first = events.first().map_or(self.first, |event| event.time);
            self.last = events.last().map_or(self.last, |event| event.time);
        }
    }

    /// The events, to be changed.
    fn open(&mut self, cells: usize) -> Result<&mut Vec<Event>> {
        if let Body::Stored { events, .. } = &self.body {
            let mut from = Decoder(events);
            let events = (0..self.count).map(|_| Event::decode(&mut from, cells)).collect::<Result<_>>()?;
            self.body = Body::Events(events);
        }
        match &mut self.body {
            Body::Events(events) => Ok(events),
            Body::Stored { .. } => Err(Error::internal("a tile of a window is closed")),
        }
    }

    /// Time of each event, and whether it is a retraction.
    fn times(&self, cells: usize) -> Result<impl DoubleEndedIterator<Item = (i64, bool)> + '_> {
        let (kept, opened): (&[Event], &[(i64, bool)]) = match &self.body {
            Body::Events(events) => (events, &[]),
            Body::Stored { events, opened, .. } => (&[], &look(opened, events, self.count, cells)?.times),
        };
        let kept = kept.iter().map(|event| (event.time, event.is_retraction()));
        Ok(kept.chain(opened.iter().copied()))
    }

    fn encode(&self, parts: &[u8], cells: usize, out: &mut Vec<u8>) -> Result<()> {
        out.extend(self.first.to_le_bytes());
        out.extend(self.last.to_le_bytes());
        out.extend(length(self.count));
        match &self.body {
            Body::Stored { partials, events, .. } => {
                out.extend(length(partials.len()));
                out.extend(length(events.len()));
                out.extend(*partials);
                out.extend(*events);
            }
            Body::Events(events) => {
                let lengths = out.len();
                out.extend([0; 8]);
                let begin = out.len();
                for column in (0..cells).filter(|_| self.count >= TILE_EVENTS_MIN) {
                    let kept = events.iter().filter(|event| !event.is_retraction());
                    let cells = kept.filter_map(|event| event.values.get(column).map(Cell::from));
                    Partial::encode(Part::of_column(parts, column), cells, out)?;
                }
                let middle = out.len();
                events.iter().for_each(|event| event.encode(out));
                let both = [length(middle - begin), length(out.len() - middle)];
                if let Some(slot) = out.get_mut(lengths..begin) {
                    slot.copy_from_slice(both.as_flattened());
                }
            }
        }
        Ok(())
    }

    fn decode(from: &mut Decoder<'a>) -> Result<Self> {
        let (first, last, count) = (from.i64()?, from.i64()?, from.u32()? as usize);
        let (partials, events) = (from.u32()? as usize, from.u32()? as usize);
        let (partials, events) = (from.take(partials)?, from.take(events)?);
        Ok(Self { first, last, count, body: Body::Stored { partials, events, opened: OnceCell::new() } })
    }
}

/// The events of a tile that is only read, decoded once.
fn look<'s, 'a>(
    opened: &'s OnceCell<Opened<'a>>,
    events: &'a [u8],
    count: usize,
    cells: usize,
) -> Result<&'s Opened<'a>> {
    if let Some(known) = opened.get() {
        return Ok(known);
    }
    let mut from = Decoder(events);
    let mut found = Opened { times: Vec::new(), cells: Vec::new() };
    for _ in 0..count {
        let time = from.i64()?;
        from.u64()?;
        let begin = found.cells.len();
        for _ in 0..cells {
            found.cells.push(from.cell()?);
        }
        found.times.push((time, matches!(found.cells.get(begin), Some(Cell::List(_)))));
    }
    Ok(opened.get_or_init(|| found))
}

/// The part of a tile that lies in `(after, as_of]`.
struct Piece<'s, 'a> {
    tile: &'s Tile<'a>,
    state: &'s AggregateState<'a>,
    column: usize,
    after: i64,
    as_of: i64,
}

impl Stretch for Piece<'_, '_> {
    fn partial(&self) -> Result<Option<Partial<'_>>> {
        let Tile { first, last, body, .. } = self.tile;
        match body {
            Body::Stored { partials, .. } if !partials.is_empty() && self.after < *first && *last <= self.as_of => {
                Partial::of_column(partials, &self.state.parts, self.column).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn cells(&self) -> Result<Vec<Cell<'_>>> {
        let inside = |time: i64| self.after < time && time <= self.as_of;
        match &self.tile.body {
            Body::Events(events) => {
                let events = events.iter().filter(|event| inside(event.time) && !event.is_retraction());
                Ok(events.filter_map(|event| event.values.get(self.column).map(Cell::from)).collect())
            }
            Body::Stored { events, opened, .. } => {
                let opened = look(opened, events, self.tile.count, self.state.cells)?;
                let rows = opened.times.iter().zip(opened.cells.chunks(self.state.cells.max(1)));
                let rows = rows.filter(|((time, back), _)| inside(*time) && !back);
                Ok(rows.filter_map(|(_, cells)| cells.get(self.column).cloned()).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow_schema::{DataType, Field, Schema};
    use proptest::prelude::*;

    use super::*;
    use crate::{Aggregation, Entity, FeatureView, Function, Quantile, window::function::aggregate};

    const LIMITS: StateLimits = StateLimits { window_max: 10, events_max: 4, tile: 3, parts: Parts::NONE };

    fn event(time: i64, identity: u64) -> Event {
        Event { time, identity, values: vec![Value::Int(time)] }
    }

    fn events(state: &mut AggregateState<'_>) -> Vec<Event> {
        let cells = state.cells;
        state.tiles.iter_mut().flat_map(|tile| tile.open(cells).unwrap().clone()).collect()
    }

    fn times(state: &mut AggregateState<'_>) -> Vec<i64> {
        events(state).iter().map(|event| event.time).collect()
    }

    fn bytes(state: &AggregateState<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        state.encode(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn repeating_a_write_changes_nothing_and_equal_events_within_one_count_each() {
        let mut state = AggregateState::default();
        let write = [event(1, 7), event(1, 7), event(0, 7)];
        state.insert(&write, &LIMITS).unwrap();
        let before = bytes(&state);
        assert_eq!(times(&mut state), [0, 1, 1]);
        state.insert(&write, &LIMITS).unwrap();
        state.insert(&[event(1, 7)], &LIMITS).unwrap();
        assert_eq!(bytes(&state), before);
    }

    #[test]
    fn what_is_forgotten_stays_forgotten() {
        let mut state = AggregateState::default();
        state.insert(&[event(0, 1), event(5, 2), event(10, 3)], &LIMITS).unwrap();
        assert_eq!((times(&mut state), state.forgotten_until), (vec![5, 10], Some(0)));
        state.insert(&[event(0, 1)], &LIMITS).unwrap();
        assert_eq!(times(&mut state), [5, 10]);
        state.insert(&[event(11, 4), event(12, 5), event(13, 6)], &LIMITS).unwrap();
        assert_eq!((times(&mut state), state.forgotten_until), (vec![10, 11, 12, 13], Some(5)));
    }

    #[test]
    fn what_is_taken_back_is_gone_in_whatever_order_it_comes() {
        let back = Event::retraction(5, 2, 1);
        let orders: [&[&[Event]]; 3] = [
            &[&[event(5, 2), event(5, 2)], std::slice::from_ref(&back)],
            &[std::slice::from_ref(&back), &[event(5, 2), event(5, 2)]],
            &[&[event(5, 2), back.clone(), event(5, 2)]],
        ];
        for writes in orders {
            let mut state = AggregateState::default();
            state.insert(&[event(5, 1)], &LIMITS).unwrap();
            for write in writes.iter().chain(writes) {
                state.insert(write, &LIMITS).unwrap();
            }
            assert_eq!((state.newest(4).unwrap(), state.newest(5).unwrap()), (None, Some(5)));
            let bytes = bytes(&state);
            let mut read = AggregateState::decode(&mut Decoder(&bytes)).unwrap();
            assert_eq!((read.newest(4).unwrap(), read.newest(5).unwrap()), (None, Some(5)));
            assert_eq!(events(&mut state), [event(5, 1), back.clone()]);
            assert_eq!(events(&mut read), events(&mut state));
        }
    }

    #[test]
    fn an_event_that_was_taken_back_is_not_the_newest() {
        let mut state = AggregateState::default();
        state.insert(&[event(3, 1), event(5, 2), Event::retraction(5, 2, 1)], &LIMITS).unwrap();
        assert_eq!((state.newest(9).unwrap(), state.newest(2).unwrap()), (Some(3), None));
        state.insert(&[Event::retraction(3, 1, 1)], &LIMITS).unwrap();
        assert_eq!(state.newest(9).unwrap(), None);
    }

    #[test]
    fn bytes_come_back() {
        let mut state = AggregateState::default();
        state.insert(&[event(0, 1), event(5, 2), event(10, 3)], &LIMITS).unwrap();
        let bytes = bytes(&state);
        let mut read = AggregateState::decode(&mut Decoder(&bytes)).unwrap();
        assert_eq!((read.len(), read.forgotten_until), (2, Some(0)));
        assert_eq!(events(&mut read), events(&mut state));
        assert!(AggregateState::decode(&mut Decoder(&bytes[..bytes.len() - 1])).is_err());
    }

    #[test]
    fn what_was_written_without_tiles_is_read_and_divided_by_the_next_write() {
        let mut old = vec![1];
        old.extend(1_i64.to_le_bytes());
        old.extend([2, 0, 0, 0, 1, 0, 0, 0]);
        [event(5, 2), event(9, 3)].iter().for_each(|event| event.encode(&mut old));
        let mut state = AggregateState::decode_untiled(&mut Decoder(&old)).unwrap();
        assert_eq!((state.len(), state.newest(8).unwrap(), state.forgotten_until), (2, Some(5), Some(1)));
        state.insert(&[event(9, 3), event(1, 1)], &LIMITS).unwrap();
        assert_eq!((state.tiles.len(), times(&mut state)), (2, vec![5, 9]));
    }

    const FUNCTIONS: usize = 13;

    fn plan(windows: [i64; 2]) -> WindowPlan {
        use Function as F;
        let quantile = F::ApproxQuantile(Quantile::new(0.3).unwrap());
        let functions: [F; FUNCTIONS] = [
            F::Count,
            F::Sum,
            F::Mean,
            F::Min,
            F::Max,
            F::Std,
            F::Var,
            F::Last,
            F::First,
            F::LastN(3),
            F::ApproxDistinct,
            quantile,
            F::LastN(40),
        ];
        let time = DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, None);
        let fields =
            [("k", DataType::Int64), ("event_timestamp", time), ("x", DataType::Float64), ("n", DataType::Int64)];
        let schema = Schema::new(fields.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec());
        let mut view = FeatureView::builder("v", Entity::new("e", ["k"]).unwrap(), "t");
        for (number, (window, column)) in
            windows.into_iter().flat_map(|window| [(window, "x"), (window, "n")]).enumerate()
        {
            for (function, position) in functions.iter().zip(0..) {
                let width = Duration::from_micros(window.unsigned_abs());
                view =
                    view.with_aggregation(Aggregation::new(format!("{number}_{position}"), *function, column, width));
            }
        }
        WindowPlan::resolve(&view.build().unwrap(), &schema).unwrap()
    }

    /// The definition: events in a list, equal ones of later writes left out, retracted ones out, the rest in order.
    fn expected(writes: &[Vec<Event>], plan: &WindowPlan, window: i64, column: usize, at: i64, which: usize) -> Value {
        let mut all: Vec<Event> = Vec::new();
        for write in writes {
            let before = all.clone();
            let same = |left: &Event, right: &Event| (left.time, left.identity) == (right.time, right.identity);
            let mut brought: Vec<Event> = Vec::new();
            for event in write.iter().filter(|event| !event.is_retraction()) {
                brought.push(event.clone());
                let (old, new) =
                    (before.iter().filter(|old| same(old, event)), brought.iter().filter(|old| same(old, event)));
                if new.count() > old.count() {
                    all.push(event.clone());
                }
            }
        }
        let back = |event: &Event| {
            writes
                .iter()
                .flatten()
                .any(|back| back.is_retraction() && (back.time, back.identity) == (event.time, event.identity))
        };
        let mut left: Vec<Event> =
            all.into_iter().filter(|event| !back(event) && at - window < event.time && event.time <= at).collect();
        left.sort_by_key(|event| event.time);
        let cells: Vec<Value> = left.into_iter().map(|event| event.values[column].clone()).collect();
        let aggregation = &plan.aggregations[which];
        aggregate(aggregation.function, aggregation.integer, &[cells.as_slice()]).unwrap()
    }

    fn bits(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(value, &mut bytes);
        bytes
    }

    fn histories() -> impl Strategy<Value = Vec<Vec<Event>>> {
        let float = prop_oneof![6 => (-1e6..1e6_f64).prop_map(Value::Float), 1 => any::<f64>().prop_map(Value::Float), 1 => Just(Value::Null)];
        let int = prop_oneof![6 => (-1_000_i64..1_000).prop_map(Value::Int), 1 => Just(Value::Null)];
        let event = (0_i64..200, 0_u64..4, float, int, 0..8).prop_map(|(time, identity, x, n, kind)| match kind {
            0 => Event::retraction(time, identity, 2),
            _ => Event { time, identity, values: vec![x, n] },
        });
        proptest::collection::vec(proptest::collection::vec(event, 0..60), 1..6)
    }

    proptest! {
        #[test]
        fn tiles_give_what_events_give_bit_for_bit(
            writes in histories(), tile in 1_i64..120, first in 1_i64..60, second in 60_i64..200, at in 190_i64..260,
        ) {
            let plan = plan([first, second]);
            let limits = StateLimits { window_max: 1_000, events_max: 10_000, tile, parts: plan.parts() };
            let mut kept = Vec::new();
            for write in &writes {
                let mut state = if kept.is_empty() { AggregateState::default() } else { AggregateState::decode(&mut Decoder(&kept)).unwrap() };
                state.insert(write, &limits).unwrap();
                let mut next = Vec::new();
                state.encode(&mut next).unwrap();
                kept = next;
            }
            let state = AggregateState::decode(&mut Decoder(&kept)).unwrap();
            for at in [at, at - 100] {
                let found = state.evaluate(&plan, at).unwrap();
                for (which, found) in found.iter().enumerate() {
                    let number = which / FUNCTIONS;
                    let (window, column) = ([first, first, second, second][number], number % 2);
                    let expected = expected(&writes, &plan, window, column, at, which);
                    prop_assert_eq!(bits(found), bits(&expected), "{} {:?} {:?}", plan.aggregations[which].name, found, expected);
                }
            }
        }

        #[test]
        fn tiles_of_any_width_keep_and_forget_the_same(writes in histories(), tile in 1_i64..120, events_max in 1_usize..50, window_max in 1_i64..150) {
            let whole = StateLimits { window_max, events_max, tile: i64::MAX, parts: Parts::NONE };
            let (mut one, mut other) = (AggregateState::default(), AggregateState::default());
            for write in &writes {
                one.insert(write, &whole).unwrap();
                other.insert(write, &StateLimits { tile, ..whole.clone() }).unwrap();
                prop_assert_eq!(one.forgotten_until, other.forgotten_until);
                prop_assert_eq!(events(&mut one), events(&mut other));
            }
        }
    }
}
