//! The recent events of one entity, from which every aggregate of a view is answered online.

use hashbrown::HashMap;
use mlops_core::{Result, Timestamp};

use super::plan::WindowPlan;
use crate::value::{Decoder, Value, encode};

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

/// What a state keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StateLimits {
    /// Longest window in microseconds; events this much older than the newest are dropped.
    pub(crate) window_max: i64,
    /// Most events of one entity; beyond it the oldest are dropped.
    pub(crate) events_max: usize,
}

/// Events of one entity in order of time, then arrival.
///
/// Invariants: every event that was inserted is either here, once, or at or before `forgotten_until`; a window that
/// reaches into the forgotten past is answered with null rather than with a wrong number. Inserting what was
/// inserted before changes nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AggregateState {
    events: Vec<Event>,
    forgotten_until: Option<i64>,
}

impl AggregateState {
    /// How many events are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether no event is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The time up to which (inclusive) events may be missing.
    #[must_use]
    pub fn forgotten_until(&self) -> Option<Timestamp> {
        self.forgotten_until.map(Timestamp::from_micros)
    }

    /// Adds one write's events, in order of arrival. An event equal in time and identity to one that is kept from an
    /// earlier write is that event again; equal events within one write count each.
    pub(crate) fn insert(&mut self, events: &[Event], limits: StateLimits) {
        // For every time and identity of this write: how many were kept before it, how many it has brought so far.
        let mut seen: HashMap<(i64, u64), (usize, usize)> = HashMap::new();
        for event in events {
            if self.forgotten_until.is_some_and(|until| event.time <= until) {
                continue;
            }
            let key = (event.time, event.identity);
            if event.is_retraction() {
                self.take_back(key, event);
                continue;
            }
            if self.of(key).any(Event::is_retraction) {
                continue;
            }
            let (before, brought) = seen.entry(key).or_insert_with(|| (self.of(key).count(), 0));
            *brought += 1;
            if *brought <= *before {
                continue;
            }
            let at = self.events.partition_point(|kept| kept.time <= event.time);
            self.events.insert(at, event.clone());
        }
        self.forget(limits);
    }

    /// Puts `retraction` in the place of the events of its time and identity.
    fn take_back(&mut self, (time, identity): (i64, u64), retraction: &Event) {
        self.events.retain(|kept| (kept.time, kept.identity) != (time, identity));
        let at = self.events.partition_point(|kept| kept.time <= time);
        self.events.insert(at, retraction.clone());
    }

    /// The kept events of one time and identity.
    fn of(&self, (time, identity): (i64, u64)) -> impl Iterator<Item = &Event> {
        let from = self.events.partition_point(|kept| kept.time < time);
        let same_time = self.events.iter().skip(from).take_while(move |kept| kept.time == time);
        same_time.filter(move |kept| kept.identity == identity)
    }

    fn forget(&mut self, limits: StateLimits) {
        let Some(newest) = self.events.last().map(|event| event.time) else { return };
        let horizon = newest.saturating_sub(limits.window_max);
        let expired = self.events.partition_point(|event| event.time <= horizon);
        let excess = self.events.len().saturating_sub(limits.events_max.max(1));
        let dropped = self.events.drain(..expired.max(excess)).next_back();
        if let Some(last) = dropped {
            self.forgotten_until = self.forgotten_until.max(Some(last.time));
        }
    }

    /// The time of the newest event at or before `as_of` that was not taken back.
    pub(crate) fn newest(&self, as_of: i64) -> Option<i64> {
        let upto = self.events.partition_point(|event| event.time <= as_of);
        let mut events = self.events.get(..upto).unwrap_or_default().iter().rev();
        events.find(|event| !event.is_retraction()).map(|event| event.time)
    }

    /// The value of every aggregation at `as_of`; events after it are ignored.
    pub(crate) fn evaluate(&self, plan: &WindowPlan, as_of: i64) -> Result<Vec<Value>> {
        let upto = self.events.partition_point(|event| event.time <= as_of);
        let one = |aggregation: &super::plan::PlannedAggregation| {
            let start = as_of.saturating_sub(aggregation.window);
            if self.forgotten_until.is_some_and(|until| start < until) {
                return Ok(Value::Null);
            }
            let from = self.events.partition_point(|event| event.time <= start);
            let events = self.events.get(from..upto).unwrap_or_default().iter().filter(|event| !event.is_retraction());
            aggregation.evaluate(events.filter_map(|event| event.values.get(aggregation.column)))
        };
        plan.aggregations.iter().map(one).collect()
    }

    /// Appends the bytes: u8 whether and i64 until when events are forgotten, u32 event count, u32 cells per event,
    /// then per event i64 time, u64 identity, cells.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes();
        out.push(u8::from(self.forgotten_until.is_some()));
        out.extend(self.forgotten_until.unwrap_or(0).to_le_bytes());
        out.extend(count(self.events.len()));
        out.extend(count(self.events.first().map_or(0, |event| event.values.len())));
        for event in &self.events {
            out.extend(event.time.to_le_bytes());
            out.extend(event.identity.to_le_bytes());
            event.values.iter().for_each(|value| encode(value, out));
        }
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<Self> {
        let forgotten = from.u8()? != 0;
        let until = from.i64()?;
        let (events, cells) = (from.u32()?, from.u32()? as usize);
        let one = |_| Ok(Event { time: from.i64()?, identity: from.u64()?, values: from.values(cells)? });
        let events = (0..events).map(one).collect::<Result<_>>()?;
        Ok(Self { events, forgotten_until: forgotten.then_some(until) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: StateLimits = StateLimits { window_max: 10, events_max: 4 };

    fn event(time: i64, identity: u64) -> Event {
        Event { time, identity, values: vec![Value::Int(time)] }
    }

    fn times(state: &AggregateState) -> Vec<i64> {
        state.events.iter().map(|event| event.time).collect()
    }

    #[test]
    fn repeating_a_write_changes_nothing_and_equal_events_within_one_count_each() {
        let mut state = AggregateState::default();
        let write = [event(1, 7), event(1, 7), event(0, 7)];
        state.insert(&write, LIMITS);
        assert_eq!(times(&state), [0, 1, 1]);
        let before = state.clone();
        state.insert(&write, LIMITS);
        state.insert(&[event(1, 7)], LIMITS);
        assert_eq!(state, before);
    }

    #[test]
    fn what_is_forgotten_stays_forgotten() {
        let mut state = AggregateState::default();
        state.insert(&[event(0, 1), event(5, 2), event(10, 3)], LIMITS);
        assert_eq!((times(&state), state.forgotten_until), (vec![5, 10], Some(0)));
        state.insert(&[event(0, 1)], LIMITS);
        assert_eq!(times(&state), [5, 10]);
        state.insert(&[event(11, 4), event(12, 5), event(13, 6)], LIMITS);
        assert_eq!((times(&state), state.forgotten_until), (vec![10, 11, 12, 13], Some(5)));
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
            state.insert(&[event(5, 1)], LIMITS);
            for write in writes.iter().chain(writes) {
                state.insert(write, LIMITS);
            }
            assert_eq!(state.events, [event(5, 1), back.clone()]);
            assert_eq!((state.newest(4), state.newest(5)), (None, Some(5)));
            let mut bytes = Vec::new();
            state.encode(&mut bytes);
            assert_eq!(AggregateState::decode(&mut Decoder(&bytes)).unwrap(), state);
        }
    }

    #[test]
    fn an_event_that_was_taken_back_is_not_the_newest() {
        let mut state = AggregateState::default();
        state.insert(&[event(3, 1), event(5, 2), Event::retraction(5, 2, 1)], LIMITS);
        assert_eq!((state.newest(9), state.newest(2)), (Some(3), None));
        state.insert(&[Event::retraction(3, 1, 1)], LIMITS);
        assert_eq!(state.newest(9), None);
    }

    #[test]
    fn bytes_come_back() {
        let mut state = AggregateState::default();
        state.insert(&[event(0, 1), event(5, 2), event(10, 3)], LIMITS);
        let mut bytes = Vec::new();
        state.encode(&mut bytes);
        assert_eq!(AggregateState::decode(&mut Decoder(&bytes)).unwrap(), state);
        assert!(AggregateState::decode(&mut Decoder(&bytes[..bytes.len() - 1])).is_err());
    }
}
