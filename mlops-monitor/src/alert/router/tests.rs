//! Grouping, waits, repeats, silences and inhibition, told by the notifications that come out.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::alert::{AlertRule, Status};

const MINUTE: Duration = Duration::from_secs(60);

fn at(minute: i64) -> Timestamp {
    Timestamp::from_millis(minute * 60_000)
}

fn labels(monitor: &str, feature: &str) -> Labels {
    Labels::new([("alertname", "Drift"), ("model", "fraud"), ("monitor", monitor), ("feature", feature)]).unwrap()
}

fn router(rule: AlertRule) -> AlertRouter {
    AlertRouter::new(RouterSettings { default_rule: rule, ..RouterSettings::default() }).unwrap()
}

/// Reports `value` against a threshold of 1.
fn see(router: &mut AlertRouter, monitor: &str, feature: &str, minute: i64, value: f64) -> Observed {
    router.observe(&Observation::new(labels(monitor, feature), at(minute), value, 1.0), at(minute)).unwrap()
}

/// The features of each notification, with `!` for those that are over.
fn told(router: &mut AlertRouter, minute: i64) -> Vec<Vec<String>> {
    let feature = |alert: &Alert| {
        let name = alert.labels.get("feature").unwrap_or_default();
        if alert.status() == Status::Resolved { format!("!{name}") } else { name.to_owned() }
    };
    router.tick(at(minute)).iter().map(|n| n.alerts.iter().map(feature).collect()).collect()
}

#[test]
fn groups_wait_then_tell_news_at_intervals_and_repeat() {
    let mut router = router(AlertRule::immediate());
    see(&mut router, "drift", "a", 0, 2.0);
    assert!(told(&mut router, 0).is_empty());
    see(&mut router, "drift", "b", 0, 2.0);
    let first = router.tick(at(1));
    assert_eq!((first.len(), first[0].alerts.len()), (1, 2));
    see(&mut router, "drift", "c", 2, 2.0);
    assert!(told(&mut router, 3).is_empty(), "the interval is not over");
    let second = told(&mut router, 6);
    assert_eq!((second.len(), second[0][0].as_str(), second[0].len()), (1, "c", 3), "news first");
    assert!(told(&mut router, 60).is_empty(), "no news");
    assert_eq!(told(&mut router, 6 + 240).len(), 1, "repeated");
    see(&mut router, "drift", "a", 247, 0.0);
    assert_eq!(told(&mut router, 260)[0][0], "!a");
    see(&mut router, "drift", "b", 261, 0.0);
    see(&mut router, "drift", "c", 261, 0.0);
    let last = router.tick(at(300));
    assert_eq!((last[0].status(), last[0].alerts.len()), (Status::Resolved, 2));
    assert!(router.state().groups.is_empty());
    assert!(router.tick(at(1000)).is_empty());
}

#[test]
fn what_began_and_ended_between_two_looks_is_not_told() {
    let mut router = router(AlertRule::immediate());
    see(&mut router, "drift", "a", 0, 2.0);
    let mut brief = router.clone();
    see(&mut brief, "drift", "a", 1, 0.0);
    assert!(brief.tick(at(2)).is_empty() && brief.state().groups.is_empty());
    // Told, over, and back between two looks: told as a new alert.
    assert_eq!(told(&mut router, 1), [["a"]]);
    see(&mut router, "drift", "a", 2, 0.0);
    see(&mut router, "drift", "a", 3, 2.0);
    let again = router.tick(at(10));
    assert_eq!((again[0].alerts[0].starts_at, again[0].status()), (at(3), Status::Firing));
}

#[test]
fn bad_data_keeps_drift_quiet_but_not_performance() {
    let settings = RouterSettings {
        default_rule: AlertRule::immediate(),
        group_by: vec!["monitor".into()],
        ..RouterSettings::default()
    };
    let mut router = AlertRouter::new(settings).unwrap();
    for monitor in ["quality", "drift", "performance"] {
        see(&mut router, monitor, monitor, 0, 2.0);
    }
    let mut first = told(&mut router, 1).concat();
    first.sort();
    assert_eq!(first, ["performance", "quality"]);
    see(&mut router, "quality", "quality", 2, 0.0);
    let mut second = told(&mut router, 10).concat();
    second.sort();
    assert_eq!(second, ["!quality", "drift"]);
}

#[test]
fn silences_hold_back_the_beginning_but_never_the_end() {
    let mut router = router(AlertRule::immediate());
    let silence = |feature: &str, from: i64, to: i64| {
        Silence::new([Matcher::equal("feature", feature).unwrap()], at(from)..at(to), "ana", "retraining").unwrap()
    };
    see(&mut router, "drift", "told", 0, 2.0);
    assert_eq!(told(&mut router, 1), [["told"]]);
    router.silence(silence("told", 2, 100)).unwrap();
    let id = router.silence(silence("quiet", 2, 100)).unwrap();
    let quiet = see(&mut router, "drift", "quiet", 3, 2.0);
    assert!(quiet.step.fired);
    assert!(told(&mut router, 10).is_empty());
    let labels = labels("drift", "quiet").with(SEVERITY, "warning").unwrap();
    assert_eq!(router.phase(&labels, at(10)), Some(Phase::Silenced));
    see(&mut router, "drift", "told", 11, 0.0);
    assert_eq!(told(&mut router, 20), [["!told"]]);
    router.expire_silence(&id, at(21)).unwrap();
    assert_eq!(told(&mut router, 30), [["quiet"]]);
    assert_eq!(router.phase(&labels, at(30)), Some(Phase::Firing));
    assert!(router.expire_silence("none", at(0)).is_err());
    assert_eq!(router.silences().count(), 2);
}

#[test]
fn what_does_not_fit_comes_in_the_next_notification() {
    let settings = RouterSettings {
        default_rule: AlertRule::immediate(),
        notification_alerts_max: 2,
        ..RouterSettings::default()
    };
    let mut router = AlertRouter::new(settings).unwrap();
    for feature in ["a", "b", "c"] {
        see(&mut router, "drift", feature, 0, 2.0);
    }
    let (first, second) = (router.tick(at(1)), router.tick(at(6)));
    assert_eq!((first[0].truncated, second[0].truncated), (1, 1));
    let all: std::collections::BTreeSet<_> = first[0].fingerprints().chain(second[0].fingerprints().take(1)).collect();
    assert_eq!(all.len(), 3);
    assert!(router.tick(at(11)).is_empty());
}

#[test]
fn missing_data_is_an_alert_of_its_own_and_what_fired_goes_on() {
    let mut router = router(AlertRule { interval_ms: Some(60_000), ..AlertRule::immediate() });
    see(&mut router, "drift", "a", 0, 2.0);
    assert_eq!(told(&mut router, 1), [["a"]]);
    let _ = router.take_events();
    assert!(router.tick(at(4)).is_empty(), "noticed, and waiting for the group");
    let events = router.take_events();
    assert!(matches!(&events[0].fact, Fact::AlertRaised { alert, .. } if alert == "DriftNoData"), "{events:?}");
    let told = router.tick(at(6));
    assert_eq!(told[0].alerts.iter().map(Alert::name).collect::<Vec<_>>(), ["DriftNoData", "Drift"]);
    see(&mut router, "drift", "a", 11, 0.0);
    let over = router.tick(at(12));
    assert_eq!((over[0].alerts.len(), over[0].status()), (2, Status::Resolved));
}

#[test]
fn a_retired_model_is_told_to_be_over_and_forgotten() {
    let mut router = router(AlertRule::immediate());
    see(&mut router, "drift", "a", 0, 2.0);
    see(&mut router, "drift", "b", 0, 0.0);
    assert_eq!(told(&mut router, 1), [["a"]]);
    assert!(router.retire(&[], at(2)).is_err());
    assert_eq!(router.retire(&[Matcher::equal("model", "fraud").unwrap()], at(2)).unwrap(), 2);
    assert_eq!(told(&mut router, 10), [["!a"]]);
    assert_eq!(router.state(), &RouterState::default());
}

#[test]
fn identities_are_bounded_and_old_ones_forgotten() {
    let settings = RouterSettings { default_rule: AlertRule::immediate(), alerts_max: 2, ..RouterSettings::default() };
    let mut router = AlertRouter::new(settings).unwrap();
    see(&mut router, "drift", "a", 0, 0.0);
    see(&mut router, "drift", "b", 0, 2.0);
    let third = Observation::new(labels("drift", "c"), at(0), 0.0, 1.0);
    assert_eq!(router.observe(&third, at(0)).unwrap_err().kind(), mlops_core::ErrorKind::ResourceExhausted);
    let _ = router.tick(at(8 * 24 * 60));
    assert_eq!(router.state().entries.len(), 1, "what fires is never forgotten");
    router.observe(&third, at(0)).unwrap();
    let nameless = Observation::new(Labels::default(), at(0), 0.0, 1.0);
    assert!(router.observe(&nameless, at(0)).unwrap_err().message().contains("alertname"));
    let future = Observation::new(labels("drift", "a"), at(1000), 0.0, 1.0);
    assert!(router.observe(&future, at(0)).is_err());
}

#[test]
fn a_clock_that_jumps_neither_bursts_nor_blocks() {
    let mut router = router(AlertRule::immediate());
    see(&mut router, "drift", "a", 1_000_000, 2.0);
    assert_eq!(router.tick(at(1_000_001)).len(), 1);
    // The clock is set back by almost two years: news still comes within an interval.
    see(&mut router, "drift", "b", 10, 2.0);
    assert!(router.tick(at(10)).is_empty());
    assert_eq!(router.tick(at(16)).len(), 1);
    // And forward again: once, not once for every interval that seems to have passed.
    assert_eq!(router.tick(at(2_000_000)).len(), 1);
    assert!(router.tick(at(2_000_000) + MINUTE).is_empty());
}

#[derive(Debug, Clone)]
enum Call {
    See { feature: usize, value: f64 },
    Tick,
    Silence { feature: usize, minutes: i64 },
}

fn calls() -> impl Strategy<Value = Vec<(Call, i64)>> {
    let call = prop_oneof![
        4 => (0..4_usize, 0.0..2.0_f64).prop_map(|(feature, value)| Call::See { feature, value }),
        4 => Just(Call::Tick),
        1 => (0..4_usize, 1..60_i64).prop_map(|(feature, minutes)| Call::Silence { feature, minutes }),
    ];
    proptest::collection::vec((call, 0..20_i64), 0..150)
}

proptest! {
    /// For any calls: nobody hears of the end of what he did not hear begin, no news is told twice,
    /// silenced alerts do not begin, and a router restored from its stored state says the same.
    #[test]
    fn tells_beginning_and_end_once_and_in_order(calls in calls()) {
        const NAMES: [&str; 4] = ["a", "b", "c", "d"];
        let mut router = router(AlertRule { breaches_min: 1, windows: 2, ..AlertRule::default() });
        let mut now = 0;
        let mut open: BTreeMap<Fingerprint, Timestamp> = BTreeMap::new();
        let mut last_told: Option<Timestamp> = None;
        for (call, minutes) in calls {
            now += minutes;
            match call {
                Call::See { feature, value } => { see(&mut router, "drift", NAMES[feature], now, value); }
                Call::Silence { feature, minutes } => {
                    let matchers = [Matcher::equal("feature", NAMES[feature]).unwrap()];
                    router.silence(Silence::new(matchers, at(now)..at(now + minutes), "x", "y").unwrap()).unwrap();
                }
                Call::Tick => {
                    let stored = serde_json::to_string(router.state()).unwrap();
                    let restored = AlertRouter::new(router.settings().clone()).unwrap();
                    let mut restored = restored.with_state(serde_json::from_str(&stored).unwrap());
                    let told = router.tick(at(now));
                    prop_assert_eq!(&restored.tick(at(now)), &told);
                    prop_assert_eq!(restored.state(), router.state());
                    prop_assert!(told.len() <= 1, "one group");
                    for notification in told {
                        let mut news = false;
                        for alert in &notification.alerts {
                            let fingerprint = alert.labels.fingerprint();
                            match alert.status() {
                                Status::Firing => {
                                    news |= open.insert(fingerprint, alert.starts_at) != Some(alert.starts_at);
                                    let silenced = router.silences().any(|s| s.mutes(&alert.labels, at(now)));
                                    prop_assert!(!silenced);
                                }
                                Status::Resolved => {
                                    news = true;
                                    prop_assert!(open.remove(&fingerprint).is_some(), "its beginning was told");
                                }
                            }
                        }
                        let repeat = last_told.is_none_or(|last| at(now).duration_since(last) >= 240 * MINUTE);
                        prop_assert!(news || repeat);
                        last_told = Some(at(now));
                    }
                }
            }
        }
        prop_assert!(router.state().entries.len() <= 4);
    }
}

#[test]
fn alerts_follow_a_changed_grouping() {
    let mut router = router(AlertRule::immediate());
    see(&mut router, "drift", "a", 0, 2.0);
    see(&mut router, "quality", "b", 0, 2.0);
    let settings = RouterSettings { group_by: vec!["monitor".into()], inhibit: vec![], ..router.settings().clone() };
    let mut regrouped = AlertRouter::new(settings).unwrap().with_state(router.state().clone());
    assert_eq!(regrouped.firing().count(), 2);
    assert_eq!(told(&mut regrouped, 1).len(), 2);
    let mut back = AlertRouter::new(router.settings().clone()).unwrap().with_state(regrouped.state().clone());
    see(&mut back, "drift", "a", 2, 0.0);
    see(&mut back, "quality", "b", 2, 0.0);
    let mut over = told(&mut back, 10).concat();
    over.sort();
    assert_eq!(over, ["!a", "!b"]);
}
