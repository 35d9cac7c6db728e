//! The state machine of one alert: `Ok -> Pending -> Firing -> Resolved`, with `NoData` beside it.
//!
//! Invariant: an alert begins to fire only when `breaches_min` of the last `windows` windows since
//! it was last resolved were breaches, and ends only after `resolve_windows` clear windows in a
//! row. Missing data neither starts nor ends anything. It is a pure function of the rule, the
//! times and the readings; silences lie above it, in the router.

use std::time::Duration;

use mlops_core::Timestamp;
use serde::{Deserialize, Serialize};

use super::rule::AlertRule;

/// How far a window's end may lie ahead of the time of day before the clock is taken to be wrong.
pub const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// What one window says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// Beyond the threshold.
    Breach,
    /// Neither beyond the threshold nor safely away from it.
    Between,
    /// Safely away from the threshold.
    Clear,
    /// There was no value.
    Missing,
}

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// Nothing to report.
    #[default]
    Ok,
    /// Breached lately, too seldom to fire.
    Pending,
    /// Fires.
    Firing,
    /// Fired until the last window.
    Resolved,
    /// Too many windows are missing for a judgement. What fired before still does.
    NoData,
    /// Would fire if no silence covered it; only [`super::AlertRouter::phase`] says so.
    Silenced,
}

impl Phase {
    /// The name in reports and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::NoData => "no_data",
            Self::Silenced => "silenced",
        }
    }
}

/// What a reading changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The phase before.
    pub from: Phase,
    /// The phase after.
    pub to: Phase,
    /// Whether the alert began to fire.
    pub fired: bool,
    /// Whether the alert ceased to fire.
    pub resolved: bool,
    /// Whether the window was ignored because a later or the same one had been seen.
    pub late: bool,
}

/// The state of one alert; serialize it anywhere, and go on from there.
///
/// ```
/// use mlops_core::Timestamp;
/// use mlops_monitor::alert::{AlertRule, AlertState, Phase, Reading};
///
/// let rule = AlertRule::default();
/// let mut alert = AlertState::default();
/// let hour = |h: i64| Timestamp::from_millis(h * 3_600_000);
/// assert_eq!(alert.observe(&rule, hour(1), hour(1), Reading::Breach).to, Phase::Pending);
/// assert_eq!(alert.observe(&rule, hour(2), hour(2), Reading::Clear).to, Phase::Pending);
/// assert!(alert.observe(&rule, hour(3), hour(3), Reading::Breach).fired);
/// alert.observe(&rule, hour(4), hour(4), Reading::Clear);
/// assert!(alert.observe(&rule, hour(5), hour(5), Reading::Clear).resolved);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertState {
    phase: Phase,
    /// Whether each of the last windows was a breach; the newest is the lowest bit.
    breaches: u64,
    clear_run: u32,
    missing_run: u32,
    firing_since: Option<Timestamp>,
    last_window: Option<Timestamp>,
    late: u64,
}

impl AlertState {
    /// Takes the reading of the window that ended at `at`; `now` is the time of day.
    ///
    /// A window that ended no later than the last one is ignored and counted, so that a repeated
    /// delivery changes nothing. When the last one lies ahead of `now` by more than
    /// [`CLOCK_SKEW`], the clock was wrong then, and windows go on from `at`.
    pub fn observe(&mut self, rule: &AlertRule, at: Timestamp, now: Timestamp, reading: Reading) -> Step {
        let from = self.phase;
        let last = self.last_window.filter(|last| *last <= now + CLOCK_SKEW);
        if last.is_some_and(|last| at <= last) {
            self.late = self.late.saturating_add(1);
            return Step { from, to: from, fired: false, resolved: false, late: true };
        }
        self.last_window = Some(at);
        self.count(rule, reading);
        let was_firing = self.is_firing();
        self.phase = self.conclude(rule, at, reading);
        let fired = self.is_firing() && !was_firing;
        Step { from, to: self.phase, fired, resolved: was_firing && !self.is_firing(), late: false }
    }

    fn count(&mut self, rule: &AlertRule, reading: Reading) {
        if reading == Reading::Missing {
            self.missing_run = self.missing_run.saturating_add(1);
            return;
        }
        self.missing_run = 0;
        let kept = u64::MAX.checked_shr(u64::BITS.saturating_sub(rule.windows)).unwrap_or(0);
        self.breaches = ((self.breaches << 1) | u64::from(reading == Reading::Breach)) & kept;
        self.clear_run = if reading == Reading::Clear { self.clear_run.saturating_add(1) } else { 0 };
    }

    fn conclude(&mut self, rule: &AlertRule, at: Timestamp, reading: Reading) -> Phase {
        if reading == Reading::Missing {
            return if self.missing_run >= rule.no_data_windows { Phase::NoData } else { self.phase };
        }
        if self.is_firing() {
            if self.clear_run < rule.resolve_windows {
                return Phase::Firing;
            }
            self.firing_since = None;
            self.breaches = 0;
            return Phase::Resolved;
        }
        let breaches = self.breaches.count_ones();
        if breaches >= rule.breaches_min {
            self.firing_since = Some(at);
            return Phase::Firing;
        }
        if breaches > 0 { Phase::Pending } else { Phase::Ok }
    }

    /// Notices windows that nobody reported: with an interval in the rule, a window is missed half
    /// an interval after it should have ended. Gives whether the alert has just lost its data.
    pub fn check_missed(&mut self, rule: &AlertRule, now: Timestamp) -> bool {
        let (Some(interval_ms), Some(last)) = (rule.interval_ms, self.last_window) else { return false };
        let elapsed_ms = now.duration_since(last).as_millis();
        let half = u128::from(interval_ms / 2);
        let overdue = elapsed_ms.saturating_sub(half) / u128::from(interval_ms.max(1));
        let missed = overdue.saturating_add(u128::from(self.missing_run));
        let lost = self.phase != Phase::NoData && overdue > 0 && missed >= u128::from(rule.no_data_windows);
        if lost {
            self.phase = Phase::NoData;
        }
        lost
    }

    /// Where the alert stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether it fires, with or without data lately.
    #[must_use]
    pub fn is_firing(&self) -> bool {
        self.firing_since.is_some()
    }

    /// The end of the window at which it began to fire.
    #[must_use]
    pub fn firing_since(&self) -> Option<Timestamp> {
        self.firing_since
    }

    /// The end of the last window that was taken.
    #[must_use]
    pub fn last_window(&self) -> Option<Timestamp> {
        self.last_window
    }

    /// How many windows came late or twice and were ignored.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn minute(number: i64) -> Timestamp {
        Timestamp::from_millis(number * 60_000)
    }

    fn check(rule: &AlertRule, readings: &str, phases: &[Phase]) {
        let mut state = AlertState::default();
        for (index, (letter, phase)) in readings.chars().zip(phases).enumerate() {
            let reading = match letter {
                'b' => Reading::Breach,
                'c' => Reading::Clear,
                'm' => Reading::Missing,
                _ => Reading::Between,
            };
            let at = minute(i64::try_from(index).unwrap());
            let step = state.observe(rule, at, at, reading);
            assert_eq!(step.to, *phase, "window {index} of {readings}");
        }
    }

    #[test]
    fn walks_through_its_phases() {
        use Phase::{Firing, NoData, Ok, Pending, Resolved};
        let rule = AlertRule::default();
        check(&rule, "bcb-cc", &[Pending, Pending, Firing, Firing, Firing, Resolved]);
        check(&rule, "bcccb", &[Pending, Pending, Pending, Ok, Pending]);
        check(&rule, "bbccbb", &[Pending, Firing, Firing, Resolved, Pending, Firing]);
        check(&rule, "bbcccc", &[Pending, Firing, Firing, Resolved, Ok, Ok]);
        // A gap neither resolves nor fires; what fired goes on firing when the data comes back.
        check(&rule, "bbmmcc", &[Pending, Firing, Firing, NoData, Firing, Resolved]);
        check(&rule, "mmcbmb", &[Ok, NoData, Ok, Pending, Pending, Firing]);
        check(&AlertRule::immediate(), "bcb", &[Firing, Resolved, Firing]);
    }

    #[test]
    fn silence_of_the_source_becomes_no_data_once_the_interval_is_known() {
        let rule = AlertRule { interval_ms: Some(60_000), ..AlertRule::default() };
        let mut state = AlertState::default();
        assert!(!state.check_missed(&rule, minute(1000)), "an alert without any window is not expected");
        state.observe(&rule, minute(1), minute(1), Reading::Clear);
        assert!(!state.check_missed(&rule, minute(3)));
        assert!(state.check_missed(&rule, minute(3) + Duration::from_secs(30)));
        assert!(!state.check_missed(&rule, minute(4)), "once");
        assert_eq!(state.phase(), Phase::NoData);
        assert_eq!(state.observe(&rule, minute(5), minute(5), Reading::Clear).to, Phase::Ok);
        assert!(!AlertState::default().check_missed(&AlertRule::default(), minute(9)));
    }

    #[test]
    fn repeated_and_late_windows_change_nothing_and_a_wrong_clock_is_forgiven() {
        let rule = AlertRule::default();
        let mut state = AlertState::default();
        state.observe(&rule, minute(5), minute(5), Reading::Breach);
        assert!(state.observe(&rule, minute(5), minute(5), Reading::Breach).late);
        assert!(state.observe(&rule, minute(4), minute(5), Reading::Breach).late);
        assert_eq!((state.phase(), state.late()), (Phase::Pending, 2));
        // The clock was years ahead, then set right.
        state.observe(&rule, minute(9_000_000), minute(9_000_000), Reading::Clear);
        assert!(state.observe(&rule, minute(7), minute(7), Reading::Breach).fired);
    }

    fn rules() -> impl Strategy<Value = AlertRule> {
        (1_u32..=WINDOWS, 1_u32..4, 1_u32..4).prop_flat_map(|(windows, resolve_windows, no_data_windows)| {
            (1..=windows).prop_map(move |breaches_min| AlertRule {
                breaches_min,
                windows,
                resolve_windows,
                no_data_windows,
                ..AlertRule::default()
            })
        })
    }
    const WINDOWS: u32 = 6;

    fn readings() -> impl Strategy<Value = Vec<(Reading, i64)>> {
        let reading = prop_oneof![
            3 => Just(Reading::Breach), 1 => Just(Reading::Between), 3 => Just(Reading::Clear), 1 => Just(Reading::Missing)
        ];
        // Mostly forward, sometimes twice or backward.
        proptest::collection::vec((reading, prop_oneof![6 => Just(1_i64), 1 => Just(0), 1 => -3_i64..0]), 0..200)
    }

    proptest! {
        /// Against the definition, spelled out on the whole history: fires exactly when enough of
        /// the last windows since it was resolved are breaches, resolves exactly after a run of
        /// clear ones, only after firing; and continues the same from a stored copy at any step.
        #[test]
        fn fires_and_resolves_as_defined(rule in rules(), readings in readings()) {
            let mut state = AlertState::default();
            let (mut history, mut firing, mut last, mut now) = (Vec::new(), false, i64::MIN, 0_i64);
            let (mut clear_run, mut late) = (0_u32, 0_u64);
            for (reading, forward) in readings {
                now += forward;
                let stored = serde_json::to_string(&state).unwrap();
                let mut restored: AlertState = serde_json::from_str(&stored).unwrap();
                prop_assert_eq!(&restored, &state);
                let step = state.observe(&rule, minute(now), minute(now), reading);
                prop_assert_eq!(restored.observe(&rule, minute(now), minute(now), reading), step);
                prop_assert_eq!(&restored, &state);

                // Steps back stay within the allowed skew of five minutes most of the time; what
                // goes further starts the order anew.
                if now <= last && last - now <= 5 {
                    late += 1;
                    prop_assert!(step.late && step.from == step.to);
                    continue;
                }
                last = now;
                prop_assert!(!step.late);
                if reading == Reading::Missing {
                    prop_assert!(!step.fired && !step.resolved);
                    continue;
                }
                history.push(reading == Reading::Breach);
                clear_run = if reading == Reading::Clear { clear_run + 1 } else { 0 };
                let recent = history.iter().rev().take(rule.windows as usize).filter(|breach| **breach).count();
                let fires = !firing && recent >= rule.breaches_min as usize;
                let resolves = firing && clear_run >= rule.resolve_windows;
                prop_assert_eq!((step.fired, step.resolved), (fires, resolves));
                if resolves { history.clear(); }
                firing = (firing || fires) && !resolves;
                prop_assert_eq!(state.is_firing(), firing);
                prop_assert_eq!(state.phase() == Phase::Firing, firing);
                prop_assert_eq!(state.phase() == Phase::Resolved, resolves);
            }
            prop_assert_eq!(state.late(), late);
        }

        /// Values that move within the band between the resolve level and the threshold never
        /// change whether an alert fires.
        #[test]
        fn does_not_flap_within_the_band(values in proptest::collection::vec(0.8_f64..1.0, 1..100), firing: bool) {
            let rule = AlertRule::default();
            let mut state = AlertState::default();
            let start = if firing { Reading::Breach } else { Reading::Clear };
            for at in 0..2 {
                state.observe(&rule, minute(at), minute(at), start);
            }
            for (at, value) in (2..).zip(values) {
                let reading = rule.read(value, 1.0, super::super::rule::Direction::Above, true);
                let step = state.observe(&rule, minute(at), minute(at), reading);
                prop_assert!(!step.fired && !step.resolved);
                prop_assert_eq!(state.is_firing(), firing);
            }
        }
    }
}
