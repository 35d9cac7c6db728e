//! Leaves a server alone that does not answer: calls fail at once for a while, then a single attempt is made. So requests
//! do not wait for what will not come, and a server that comes back is not met by all that waited.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Longest pause; each trial that fails doubles it up to here.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A server that did not answer within less may well be there.
const HARDLY_ANY: Duration = Duration::from_millis(10);

/// Counts attempts without an answer.
#[derive(Debug)]
pub(super) struct Breaker {
    /// For the log.
    server: String,
    failures_max: u32,
    pause: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Attempts without an answer since the last one with.
    failures: u32,
    open: Option<Open>,
    trials: u64,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    pause: Duration,
    /// The attempt that is made just now, if one is.
    trial: Option<u64>,
}

/// Leave to make one attempt. An attempt that is dropped says nothing about the server, but when its time is over: who
/// waits for it may notice that first.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    /// The number of the trial that it is.
    trial: Option<u64>,
    /// When whoever makes it gives up, unless that leaves hardly any time.
    gives_up: Option<Instant>,
    ended: bool,
}

impl Breaker {
    /// Attempts pause for `pause` after `failures_max` without an answer, one after the other; 0 means never.
    pub(super) fn new(server: &str, failures_max: u32, pause: Duration) -> Self {
        Self { server: server.to_owned(), failures_max, pause: pause.min(PAUSE_MAX), state: Mutex::default() }
    }

    /// # Errors
    /// How long to wait from `now`; while an attempt is made, a guess.
    pub(super) fn pass(&self, now: Instant, deadline: Instant) -> Result<Pass<'_>, Duration> {
        let mut state = self.state();
        let number = state.trials.wrapping_add(1);
        let trial = match &mut state.open {
            None => None,
            Some(open) if now < open.until => return Err(open.until.saturating_duration_since(now)),
            Some(open) if open.trial.is_some() => return Err(open.pause),
            Some(open) => {
                open.trial = Some(number);
                state.trials = number;
                Some(number)
            }
        };
        let gives_up = Some(deadline).filter(|deadline| deadline.saturating_duration_since(now) >= HARDLY_ANY);
        Ok(Pass { breaker: self, trial, gives_up, ended: false })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an attempt has learnt of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// It answers, though it may refuse.
    Answer,
    /// It does not.
    Nothing,
    /// The attempt did not get so far.
    Unknown,
}

impl Pass<'_> {
    /// Ends the attempt. Gives the pause that begins with it, if one does.
    pub(super) fn end(mut self, said: Said, now: Instant) -> Option<Duration> {
        self.settle(said, now)
    }

    /// Ends an attempt whose time is over.
    pub(super) fn end_late(mut self, now: Instant) -> Option<Duration> {
        let said = if self.gives_up.is_some() { Said::Nothing } else { Said::Unknown };
        self.settle(said, now)
    }

    fn settle(&mut self, said: Said, now: Instant) -> Option<Duration> {
        self.ended = true;
        let Breaker { failures_max, pause, .. } = *self.breaker;
        let mut state = self.breaker.state();
        let is_trial = |open: &Open| self.trial.is_some() && open.trial == self.trial;
        match said {
            Said::Unknown => {
                if let Some(open) = state.open.as_mut().filter(|open| is_trial(open)) {
                    open.trial = None;
                }
                return None;
            }
            Said::Answer => {
                *state = State { trials: state.trials, ..State::default() };
                return None;
            }
            Said::Nothing => state.failures = state.failures.saturating_add(1),
        }
        let pause = match &state.open {
            Some(open) if is_trial(open) => open.pause.saturating_mul(2).min(PAUSE_MAX),
            // It was on its way when the pause began.
            Some(_) => return None,
            None if failures_max > 0 && state.failures >= failures_max => pause,
            None => return None,
        };
        state.open = Some(Open { until: now + pause, pause, trial: None });
        tracing::warn!(server = self.breaker.server, pause_ms = pause.as_millis(), "a server does not answer");
        Some(pause)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let now = Instant::now();
            let late = self.gives_up.is_some_and(|gives_up| gives_up <= now);
            self.settle(if late { Said::Nothing } else { Said::Unknown }, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(100);

    /// An attempt that has a second.
    fn pass(breaker: &Breaker, now: Instant) -> Result<Pass<'_>, Duration> {
        breaker.pass(now, now + Duration::from_secs(1))
    }

    fn fail(breaker: &Breaker, now: Instant) -> Option<Duration> {
        pass(breaker, now).unwrap().end(Said::Nothing, now)
    }

    #[test]
    fn calls_pause_after_failures_in_a_row_and_then_one_tries() {
        let (breaker, now) = (Breaker::new("there", 3, PAUSE), Instant::now());
        assert_eq!((fail(&breaker, now), fail(&breaker, now)), (None, None));
        pass(&breaker, now).unwrap().end(Said::Answer, now);
        assert_eq!((fail(&breaker, now), fail(&breaker, now)), (None, None), "an answer begins the count anew");
        let underway = pass(&breaker, now).unwrap();
        assert_eq!(fail(&breaker, now), Some(PAUSE));
        assert_eq!(pass(&breaker, now + PAUSE / 4).unwrap_err(), PAUSE * 3 / 4);
        assert_eq!(underway.end(Said::Nothing, now + PAUSE / 4), None, "calls on their way do not prolong the pause");

        let trial = pass(&breaker, now + PAUSE).unwrap();
        assert_eq!(pass(&breaker, now + PAUSE).unwrap_err(), PAUSE, "one tries");
        drop(trial);
        let trial = pass(&breaker, now + PAUSE).unwrap();
        assert_eq!(trial.end(Said::Nothing, now + PAUSE), Some(PAUSE * 2), "its caller had gone, so another one tried");
        assert!(pass(&breaker, now + PAUSE * 2).is_err());
        pass(&breaker, now + PAUSE * 3).unwrap().end(Said::Answer, now + PAUSE * 3);
        assert_eq!((fail(&breaker, now), fail(&breaker, now)), (None, None));
    }

    #[test]
    fn a_trial_of_an_earlier_pause_says_nothing_of_a_later_one() {
        let (breaker, now) = (Breaker::new("there", 1, PAUSE), Instant::now());
        let underway = pass(&breaker, now).unwrap();
        assert_eq!(fail(&breaker, now), Some(PAUSE));
        let (late, later) = (pass(&breaker, now + PAUSE).unwrap(), now + PAUSE);
        underway.end(Said::Answer, later);
        assert_eq!(fail(&breaker, later), Some(PAUSE));
        let trial = pass(&breaker, later + PAUSE).unwrap();
        assert_eq!(late.end(Said::Nothing, later + PAUSE), None);
        assert!(pass(&breaker, later + PAUSE).is_err(), "the other one is still being made");
        assert_eq!(trial.end(Said::Nothing, later + PAUSE), Some(PAUSE * 2));
    }

    #[test]
    fn an_attempt_that_is_dropped_counts_when_its_time_is_over() {
        let breaker = Breaker::new("there", 1, PAUSE);
        let now = Instant::now();
        drop(breaker.pass(now, now + Duration::from_secs(3_600)));
        drop(breaker.pass(now, now + Duration::from_millis(1)));
        assert!(breaker.pass(now, now).is_ok(), "it had time left, or hardly any");
        let past = now.checked_sub(Duration::from_millis(50)).unwrap();
        drop(breaker.pass(past, now));
        assert!(pass(&breaker, now).is_err());
    }

    #[test]
    fn pauses_have_a_bound_and_none_may_be_wanted() {
        let (breaker, mut now) = (Breaker::new("there", 1, PAUSE), Instant::now());
        for _ in 0..40 {
            now += fail(&breaker, now).unwrap();
        }
        assert_eq!(fail(&breaker, now), Some(PAUSE_MAX));
        let never = Breaker::new("there", 0, PAUSE);
        assert!((0..1_000).all(|_| fail(&never, now).is_none()));
    }
}
