//! Which windows a row belongs to and when they are complete: a pure state machine over times and panes.
//!
//! Invariant: a row within the allowed lateness is in exactly the windows that the definition says, in whatever order rows
//! arrive; a window is handed out once, complete, in order of ends. A row is kept in one pane only; overlapping windows
//! share panes. Windows without rows are not handed out.

use std::collections::BTreeMap;

use mlops_core::{Result, Timestamp};

use super::settings::{LatePolicy, LiveSettings, WindowKind};

/// What is known of some rows.
pub(super) trait Pane: Clone {
    /// Adds what another pane knows.
    fn absorb(&mut self, other: &Self) -> Result<()>;
}

/// Where rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// Into this pane.
    Pane(i64),
    /// Nowhere by the definition: all their windows are closed. Under [`LatePolicy::NextWindow`] into this pane.
    Late(Option<i64>),
    /// Nowhere: dated too far ahead of the clock.
    Ahead,
    /// Nowhere: dated too far ahead of the newest row.
    Jumped,
}

/// A complete window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complete<P> {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) pane: P,
}

/// The open panes of one stream. Times are in microseconds since the epoch.
#[derive(Debug, Clone)]
pub(super) struct Windows<P> {
    kind: WindowKind,
    lateness: i64,
    late: LatePolicy,
    ahead_max: i64,
    jump_max: Option<i64>,
    /// By begin of the pane, by first row of the session, or by number of the first row.
    panes: BTreeMap<i64, Open<P>>,
    /// The latest time met.
    latest: Option<i64>,
    /// What the clock said when it was met.
    latest_at: i64,
    /// Windows that end here or before are closed.
    closed: i64,
    /// Rows placed so far, for windows by count.
    arrived: i64,
}

#[derive(Debug, Clone)]
struct Open<P> {
    first: i64,
    last: i64,
    pane: P,
}

fn micros(ms: u64) -> i64 {
    i64::try_from(ms.saturating_mul(1_000)).unwrap_or(i64::MAX)
}

fn floor_to(time: i64, step: i64) -> i64 {
    time.div_euclid(step).saturating_mul(step)
}

impl<P: Pane> Windows<P> {
    pub(super) fn new(settings: &LiveSettings) -> Self {
        Self {
            kind: settings.window,
            lateness: micros(settings.lateness_ms),
            late: settings.late,
            ahead_max: micros(settings.ahead_max_ms),
            jump_max: settings.jump_max_ms.map(micros),
            panes: BTreeMap::new(),
            latest: None,
            latest_at: i64::MIN,
            closed: i64::MIN,
            arrived: 0,
        }
    }

    /// Length and step of windows by time.
    fn size_and_step(&self) -> (i64, i64) {
        match self.kind {
            WindowKind::Tumbling { size_ms } => (micros(size_ms), micros(size_ms)),
            WindowKind::Sliding { size_ms, step_ms } => (micros(size_ms), micros(step_ms)),
            WindowKind::Session { gap_ms } => (micros(gap_ms), micros(gap_ms)),
            WindowKind::Count { rows, step } => (rows.cast_signed(), step.cast_signed()),
        }
    }

    /// How many rows may go to one pane before [`Windows::complete`] must be asked again.
    pub(super) fn room(&self) -> u64 {
        match self.kind {
            WindowKind::Count { step, .. } => step - (self.arrived.unsigned_abs() % step.max(1)),
            _ => u64::MAX,
        }
    }

    /// Says where rows of one time go. Nothing changes but the time up to which the stream is known.
    pub(super) fn place(&mut self, at: Timestamp, now: Timestamp) -> Placement {
        let at = at.as_micros();
        let (size, step) = self.size_and_step();
        if matches!(self.kind, WindowKind::Count { .. }) {
            return Placement::Pane(floor_to(self.arrived, step));
        }
        let now = now.as_micros();
        if at > now.saturating_add(self.ahead_max) {
            return Placement::Ahead;
        }
        if self.jumps(at, now) {
            return Placement::Jumped;
        }
        self.meet(at, now);
        let limit = self.limit();
        match self.kind {
            WindowKind::Session { .. } => match self.session_of(at) {
                Some(key) => Placement::Pane(key),
                None if at.saturating_add(size) <= limit => self.late(limit),
                None => Placement::Pane(at),
            },
            _ if floor_to(at, step).saturating_add(size) <= limit => self.late(floor_to(limit, step)),
            _ => Placement::Pane(floor_to(at, step)),
        }
    }

    fn late(&self, open: i64) -> Placement {
        match self.late {
            LatePolicy::Drop => Placement::Late(None),
            LatePolicy::NextWindow => Placement::Late(Some(open)),
        }
    }

    /// Windows that end at this time or before are complete.
    fn limit(&self) -> i64 {
        self.latest.map_or(self.closed, |latest| latest.saturating_sub(self.lateness).max(self.closed))
    }

    fn session_of(&self, at: i64) -> Option<i64> {
        let (gap, _) = self.size_and_step();
        let near = |open: &Open<P>| open.first.saturating_sub(gap) <= at && at <= open.last.saturating_add(gap);
        self.panes.iter().find(|(_, open)| near(open)).map(|(key, _)| *key)
    }

    /// The pane to put `rows` rows of time `at` into, made anew where it does not exist.
    ///
    /// # Errors
    /// As [`Pane::absorb`], when rows join two sessions into one.
    pub(super) fn pane(&mut self, key: i64, at: Timestamp, rows: u64, new: impl FnOnce() -> P) -> Result<&mut P> {
        let at = at.as_micros();
        self.arrived = self.arrived.saturating_add(i64::try_from(rows).unwrap_or(i64::MAX));
        if matches!(self.kind, WindowKind::Session { .. }) {
            self.join_sessions(key, at)?;
        }
        let open = self.panes.entry(key).or_insert_with(|| Open { first: at, last: at, pane: new() });
        (open.first, open.last) = (open.first.min(at), open.last.max(at));
        Ok(&mut open.pane)
    }

    /// A row between two sessions, less than a gap from both, makes them one.
    fn join_sessions(&mut self, key: i64, at: i64) -> Result<()> {
        let (gap, _) = self.size_and_step();
        let Some(session) = self.panes.get(&key) else { return Ok(()) };
        let (first, last) = (session.first.min(at), session.last.max(at));
        let touches =
            |other: &Open<P>| other.first <= last.saturating_add(gap) && first.saturating_sub(gap) <= other.last;
        let others: Vec<i64> = self
            .panes
            .iter()
            .filter(|(other, open)| **other != key && touches(open))
            .map(|(other, _)| *other)
            .collect();
        for other in others {
            if let Some(other) = self.panes.remove(&other)
                && let Some(session) = self.panes.get_mut(&key)
            {
                session.pane.absorb(&other.pane)?;
                (session.first, session.last) = (session.first.min(other.first), session.last.max(other.last));
            }
        }
        Ok(())
    }

    /// Lets the stream be known up to `time`, as if a row of that time had come.
    pub(super) fn advance(&mut self, time: Timestamp, now: Timestamp) {
        self.meet(time.as_micros(), now.as_micros());
    }

    fn meet(&mut self, at: i64, now: i64) {
        if self.latest.is_none_or(|latest| latest <= at) {
            (self.latest, self.latest_at) = (Some(at), now);
        }
    }

    /// Whether event time would go on by more than the clock did and the settings allow.
    fn jumps(&self, at: i64, now: i64) -> bool {
        let (Some(latest), Some(jump_max)) = (self.latest, self.jump_max) else { return false };
        let passed = now.saturating_sub(self.latest_at).max(0);
        at > latest.saturating_add(passed).saturating_add(jump_max)
    }

    /// The next complete window, which is closed by this; `None` when there is none.
    ///
    /// # Errors
    /// As [`Pane::absorb`]; the window is closed all the same.
    pub(super) fn complete(&mut self) -> Result<Option<Complete<P>>> {
        match self.kind {
            WindowKind::Count { .. } => {
                let (_, step) = self.size_and_step();
                self.take_until(floor_to(self.arrived, step))
            }
            WindowKind::Session { .. } => Ok(self.take_session(self.limit())),
            _ => self.take_until(self.limit()),
        }
    }

    /// As [`Windows::complete`], as if the stream had ended: windows that are not full are handed out as well.
    ///
    /// # Errors
    /// As [`Pane::absorb`]; the window is closed all the same.
    pub(super) fn finish(&mut self) -> Result<Option<Complete<P>>> {
        match self.kind {
            WindowKind::Session { .. } => Ok(self.take_session(i64::MAX)),
            _ => self.take_until(i64::MAX),
        }
    }

    /// The first window with rows that ends at `limit` or before.
    fn take_until(&mut self, limit: i64) -> Result<Option<Complete<P>>> {
        let (size, step) = self.size_and_step();
        let counted = matches!(self.kind, WindowKind::Count { .. });
        let Some((&first, _)) = self.panes.first_key_value() else {
            self.closed = if counted { self.closed } else { self.closed.max(limit.min(self.limit())) };
            return Ok(None);
        };
        // Windows by count begin when there are enough rows, those by time with the first pane.
        let earliest = if counted && self.closed == i64::MIN { size } else { first.saturating_add(step) };
        let mut end = earliest.max(self.closed.saturating_add(step));
        if limit == i64::MAX && counted {
            end = end.min(floor_to(self.arrived.saturating_add(step - 1), step)).max(first.saturating_add(step));
        }
        if end <= self.closed {
            // Nothing is left that has not been handed out.
            self.panes.clear();
            return Ok(None);
        }
        if end > limit {
            self.closed = if counted { self.closed } else { self.closed.max(floor_to(self.limit(), step)) };
            return Ok(None);
        }
        self.closed = end;
        let start = end.saturating_sub(size);
        let mut whole: Option<Open<P>> = None;
        let mut outcome = Ok(());
        for open in self.panes.range(start..end).map(|(_, open)| open) {
            match &mut whole {
                None => whole = Some(open.clone()),
                Some(whole) => {
                    (whole.first, whole.last) = (whole.first.min(open.first), whole.last.max(open.last));
                    outcome = outcome.and_then(|()| whole.pane.absorb(&open.pane));
                }
            }
        }
        self.panes = self.panes.split_off(&start.saturating_add(step));
        outcome?;
        let Some(whole) = whole else { return self.take_until(limit) };
        let (start, end) = if counted { (whole.first, whole.last) } else { (start, end) };
        let (start, end) = (Timestamp::from_micros(start), Timestamp::from_micros(end));
        Ok(Some(Complete { start, end, pane: whole.pane }))
    }

    fn take_session(&mut self, limit: i64) -> Option<Complete<P>> {
        let (gap, _) = self.size_and_step();
        let over = |open: &Open<P>| open.last.saturating_add(gap) <= limit;
        let key =
            self.panes.iter().filter(|(_, open)| over(open)).min_by_key(|(_, open)| open.last).map(|(key, _)| *key)?;
        let open = self.panes.remove(&key)?;
        let (start, end) = (Timestamp::from_micros(open.first), Timestamp::from_micros(open.last));
        Some(Complete { start, end, pane: open.pane })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Pane for Vec<(i64, usize)> {
        fn absorb(&mut self, other: &Self) -> Result<()> {
            self.extend(other);
            Ok(())
        }
    }

    fn settings(window: WindowKind, lateness_ms: u64) -> LiveSettings {
        let settings = LiveSettings { window, lateness_ms, ..LiveSettings::default() };
        settings.validate().unwrap();
        settings
    }

    type Found = Vec<(i64, i64, Vec<(i64, usize)>)>;

    /// Runs rows of times in ms through the machine; `now` is far enough ahead that no row is.
    fn run(settings: &LiveSettings, times: &[i64]) -> (Found, Vec<usize>) {
        let now = Timestamp::from_micros(1_000_000_000);
        let (mut windows, mut found, mut late) = (Windows::new(settings), Vec::new(), Vec::new());
        let mut take = |complete: Option<Complete<Vec<(i64, usize)>>>| {
            let Some(Complete { start, end, mut pane }) = complete else { return false };
            pane.sort_unstable();
            found.push((start.as_micros() / 1_000, end.as_micros() / 1_000, pane));
            true
        };
        for (row, &time) in times.iter().enumerate() {
            let at = Timestamp::from_millis(time);
            match windows.place(at, now) {
                Placement::Pane(key) | Placement::Late(Some(key)) => {
                    windows.pane(key, at, 1, Vec::new).unwrap().push((time, row));
                }
                Placement::Late(None) => late.push(row),
                Placement::Ahead | Placement::Jumped => panic!("no row is ahead"),
            }
            while take(windows.complete().unwrap()) {}
        }
        while take(windows.finish().unwrap()) {}
        (found, late)
    }

    /// Windows by time as they are defined: those with rows, in order of their ends.
    fn by_definition(times: &[i64], size: i64, step: i64) -> Found {
        let mut found = Found::new();
        let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else { return found };
        let mut end = floor_to(*first, step) + step;
        while end - size <= *last {
            let inside = |time: i64| end - size <= time && time < end;
            let mut rows: Vec<(i64, usize)> =
                times.iter().enumerate().filter(|(_, time)| inside(**time)).map(|(row, time)| (*time, row)).collect();
            rows.sort_unstable();
            if !rows.is_empty() {
                found.push((end - size, end, rows));
            }
            end += step;
        }
        found
    }

    proptest! {
        #[test]
        fn windows_by_time_are_as_defined_in_any_order_within_lateness(
            mut times in proptest::collection::vec(-500_i64..2_000, 1..120),
            step in 1_u64..80, panes in 1_u64..6, jitter in proptest::collection::vec(0_i64..200, 120),
        ) {
            // Each row comes at most 200 ms late: rows are ordered by time plus a delay of less than that.
            let mut order: Vec<(i64, i64)> = times.iter().zip(&jitter).map(|(time, delay)| (time + delay, *time)).collect();
            order.sort_unstable();
            times = order.into_iter().map(|(_, time)| time).collect();
            let kind = WindowKind::Sliding { size_ms: step * panes, step_ms: step };
            let (found, late) = run(&settings(kind, 200), &times);
            prop_assert!(late.is_empty());
            let step = step.cast_signed();
            prop_assert_eq!(found, by_definition(&times, step * panes.cast_signed(), step));
        }

        #[test]
        fn sessions_are_as_defined_in_any_order_within_lateness(
            times in proptest::collection::vec(-500_i64..4_000, 1..60), gap in 2_u64..200,
        ) {
            let (found, late) = run(&settings(WindowKind::Session { gap_ms: gap }, 10_000), &times);
            prop_assert!(late.is_empty());
            let mut rows: Vec<(i64, usize)> = times.iter().enumerate().map(|(row, time)| (*time, row)).collect();
            rows.sort_unstable();
            let sessions = rows.chunk_by(|a, b| b.0 - a.0 <= gap.cast_signed());
            let expected: Found = sessions.map(|rows| (rows[0].0, rows[rows.len() - 1].0, rows.to_vec())).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn windows_by_count_hold_the_last_rows(rows in 1_usize..200, step in 1_u64..30, panes in 1_u64..5) {
            let times: Vec<i64> = (0..rows as i64).map(|i| (i * 7_919) % 1_000).collect();
            let kind = WindowKind::Count { rows: step * panes, step };
            let (found, _) = run(&settings(kind, 0), &times);
            let size = (step * panes) as usize;
            let full: Vec<usize> = (size..=rows).step_by(step as usize).collect();
            for (window, end) in found.iter().zip(&full) {
                let mut members: Vec<usize> = window.2.iter().map(|(_, row)| *row).collect();
                members.sort_unstable();
                prop_assert_eq!(members, (end - size..*end).collect::<Vec<_>>());
            }
            // What is left over at the end is one more window, or none.
            let covered = full.last().copied().unwrap_or(0);
            prop_assert!(found.len() >= full.len());
            prop_assert_eq!(found.len() > full.len(), covered < rows);
        }

        #[test]
        fn no_times_make_it_panic(times in proptest::collection::vec(any::<i64>(), 1..40), size in 1_u64..1_000_000) {
            for kind in [WindowKind::Tumbling { size_ms: size }, WindowKind::Session { gap_ms: size }] {
                let settings = LiveSettings { ahead_max_ms: 0, ..settings(kind, 5) };
                let mut windows = Windows::<Vec<(i64, usize)>>::new(&settings);
                for time in &times {
                    let at = Timestamp::from_micros(*time);
                    if let Placement::Pane(key) = windows.place(at, Timestamp::from_micros(i64::MAX)) {
                        windows.pane(key, at, 1, Vec::new).unwrap();
                    }
                    while windows.complete().unwrap().is_some() {}
                }
                while windows.finish().unwrap().is_some() {}
            }
        }
    }

    #[test]
    fn late_rows_are_told_apart_and_may_join_the_next_window() {
        let tumbling = settings(WindowKind::Tumbling { size_ms: 10 }, 5);
        // At 25 the window up to 20 closes; 12 is late, 21 is not.
        let times = [3, 11, 25, 12, 21, 40];
        let (found, late) = run(&tumbling, &times);
        assert_eq!(late, [3]);
        assert_eq!(found.iter().map(|window| window.2.len()).collect::<Vec<_>>(), [1, 1, 2, 1]);
        let (found, late) = run(&LiveSettings { late: LatePolicy::NextWindow, ..tumbling }, &times);
        assert!(late.is_empty());
        assert_eq!(found[2], (20, 30, vec![(12, 3), (21, 4), (25, 2)]));
    }

    #[test]
    fn event_time_goes_on_as_the_clock_does_and_a_jump_more() {
        let ms = Timestamp::from_millis;
        let bounded = |jump_max_ms| {
            let settings = LiveSettings { jump_max_ms, ..settings(WindowKind::Tumbling { size_ms: 10 }, 0) };
            let mut windows = Windows::<Vec<(i64, usize)>>::new(&settings);
            // The first row may have any time that the clock allows.
            assert_eq!(windows.place(ms(1_000), ms(2_000)), Placement::Pane(1_000_000));
            windows
        };
        let mut windows = bounded(Some(50));
        assert_eq!(windows.place(ms(1_051), ms(2_000)), Placement::Jumped);
        assert_eq!(windows.place(ms(1_009), ms(2_000)), Placement::Pane(1_000_000), "nothing was closed");
        assert_eq!(windows.place(ms(1_059), ms(2_000)), Placement::Pane(1_050_000), "50 after the newest row");
        assert_eq!(windows.place(ms(1_110), ms(2_000)), Placement::Jumped);
        assert_eq!(windows.place(ms(1_110), ms(2_001)), Placement::Pane(1_110_000), "the clock went on by one");
        // A clock that goes back takes nothing away.
        assert_eq!(windows.place(ms(1_160), ms(0)), Placement::Pane(1_160_000));
        windows.advance(ms(5_000), ms(3_000));
        assert_eq!(windows.place(ms(5_050), ms(3_000)), Placement::Pane(5_050_000));
        assert_eq!(bounded(None).place(ms(3_600_000), ms(2_000)), Placement::Pane(3_600_000_000));
    }

    #[test]
    fn a_wrong_date_closes_nothing() {
        let settings = settings(WindowKind::Tumbling { size_ms: 10 }, 0);
        let mut windows = Windows::<Vec<(i64, usize)>>::new(&settings);
        let now = Timestamp::from_millis(5);
        windows.pane(0, now, 1, Vec::new).unwrap();
        assert_eq!(windows.place(Timestamp::from_millis(10_000_000_000), now), Placement::Ahead);
        assert_eq!(windows.complete().unwrap(), None);
        windows.advance(Timestamp::from_millis(10), now);
        assert!(windows.complete().unwrap().is_some());
    }
}
