//! What the ledger keeps of alerts, notifications and silences, over any sequence of writes and restarts.

use mlops_core::ErrorKind;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::alert::{AlertRule, Labels, RouterSettings};

fn at(minute: i64) -> Timestamp {
    Timestamp::from_millis(minute * 60_000)
}

fn router() -> AlertRouter {
    let settings = RouterSettings { default_rule: AlertRule::immediate(), ..RouterSettings::default() };
    AlertRouter::new(settings.without_delay()).unwrap()
}

fn settings() -> CenterSettings {
    CenterSettings { journal_bytes_max: 4096, ..CenterSettings::default() }
}

fn open(home: &TempDir, sinks: &[&str]) -> Ledger {
    let sinks = sinks.iter().map(|sink| (*sink).to_owned()).collect();
    Ledger::open(home.path(), router(), &settings(), sinks, at(0)).unwrap()
}

fn seen(feature: &str, minute: i64, value: f64) -> Observation {
    let labels = Labels::new([("alertname", "Drift"), ("model", "fraud"), ("feature", feature)]).unwrap();
    Observation::new(labels, at(minute), value, 1.0)
}

fn see(ledger: &mut Ledger, feature: &str, minute: i64, value: f64) {
    ledger.observe(&[seen(feature, minute, value)], at(minute)).unwrap().remove(0).unwrap();
}

/// Everything that must be the same after a restart.
fn memory(ledger: &Ledger) -> (RouterState, String, u64) {
    let pending = serde_json::to_string(&ledger.pending).unwrap();
    (ledger.router.state().clone(), pending, ledger.next_id)
}

#[test]
fn a_notification_waits_for_each_sink_across_restarts() {
    let home = tempfile::tempdir().unwrap();
    let mut ledger = open(&home, &["a", "b"]);
    see(&mut ledger, "amount", 0, 2.0);
    assert_eq!(ledger.tick(at(1)).unwrap(), 1);
    let (id, _) = ledger.next("a").unwrap();
    ledger.settle(id, "a").unwrap();
    assert!(ledger.next("a").is_none());
    drop(ledger);
    let mut ledger = open(&home, &["a", "b"]);
    assert!(ledger.next("a").is_none());
    let (id, notification) = ledger.next("b").unwrap();
    assert_eq!(notification.alerts[0].labels.get("feature"), Some("amount"));
    ledger.settle(id, "b").unwrap();
    assert_eq!(ledger.pending(), 0);
}

#[test]
fn what_is_not_told_yet_is_told_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    see(&mut open(&home, &["a"]), "amount", 0, 2.0);
    let mut ledger = open(&home, &["a"]);
    assert_eq!(ledger.tick(at(1)).unwrap(), 1);
    drop(ledger);
    assert_eq!(open(&home, &["a"]).tick(at(2)).unwrap(), 0, "and not once more");
}

#[test]
fn dead_letters_can_be_sent_again() {
    let home = tempfile::tempdir().unwrap();
    let mut ledger = open(&home, &["a"]);
    see(&mut ledger, "amount", 0, 2.0);
    ledger.tick(at(1)).unwrap();
    let (id, notification) = ledger.next("a").unwrap();
    ledger.bury(id, "a", &Error::unavailable("down"), at(2)).unwrap();
    assert_eq!(ledger.pending(), 0);
    let letters = ledger.dead_letters().unwrap();
    assert_eq!((letters[0].sink.as_str(), letters[0].error.as_str()), ("a", "down"));
    assert_eq!(ledger.revive().unwrap(), 1);
    assert_eq!(ledger.dead_letters().unwrap(), []);
    drop(ledger);
    assert_eq!(open(&home, &["a"]).next("a").unwrap().1, notification);
    // A sink that is no more leaves a dead letter, which goes to the one there is.
    let mut ledger = open(&home, &["b"]);
    assert_eq!((ledger.pending(), ledger.dead_letters().unwrap().len()), (0, 1));
    ledger.revive().unwrap();
    assert_eq!(ledger.next("b").unwrap().1, notification);
}

#[test]
fn nothing_new_is_told_while_too_much_is_pending_and_nothing_is_lost() {
    let home = tempfile::tempdir().unwrap();
    let settings = CenterSettings { pending_max: 1, ..settings() };
    let mut ledger = Ledger::open(home.path(), router(), &settings, vec!["a".into()], at(0)).unwrap();
    see(&mut ledger, "amount", 0, 2.0);
    assert_eq!(ledger.tick(at(1)).unwrap(), 1);
    see(&mut ledger, "hour", 2, 2.0);
    assert_eq!(ledger.tick(at(3)).unwrap(), 0);
    let (id, _) = ledger.next("a").unwrap();
    ledger.settle(id, "a").unwrap();
    assert_eq!(ledger.tick(at(4)).unwrap(), 1);
    assert_eq!(ledger.next("a").unwrap().1.alerts[0].labels.get("feature"), Some("hour"));
}

#[test]
fn without_a_journal_nothing_is_acknowledged_and_what_is_told_is_settled_once() {
    let home = tempfile::tempdir().unwrap();
    let mut ledger = open(&home, &["a"]);
    see(&mut ledger, "amount", 0, 2.0);
    ledger.tick(at(1)).unwrap();
    ledger.close();
    assert!(!ledger.is_writable());
    assert!(ledger.observe(&[seen("hour", 2, 2.0)], at(2)).is_err());
    assert!(ledger.tick(at(9)).is_err());
    let (id, _) = ledger.next("a").unwrap();
    assert!(ledger.settle(id, "a").is_err());
    assert_eq!((ledger.pending(), ledger.router.firing().count()), (0, 1));
    // The directory is free, and what is not in the journal as settled is delivered again.
    assert_eq!(open(&home, &["a"]).pending(), 1);
}

#[test]
fn a_window_reported_twice_is_the_same_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let mut ledger = open(&home, &["a"]);
    see(&mut ledger, "amount", 0, 2.0);
    see(&mut ledger, "amount", 0, 2.0);
    let before = memory(&ledger);
    drop(ledger);
    assert_eq!(memory(&open(&home, &["a"])), before);
}

#[test]
fn a_directory_belongs_to_one_process() {
    let home = tempfile::tempdir().unwrap();
    let _first = open(&home, &["a"]);
    let second = Ledger::open(home.path(), router(), &settings(), vec!["a".into()], at(0));
    assert_eq!(second.unwrap_err().kind(), ErrorKind::FailedPrecondition);
}

#[test]
fn the_journal_stays_small() {
    let home = tempfile::tempdir().unwrap();
    let mut ledger = open(&home, &["a"]);
    for minute in 0..400 {
        see(&mut ledger, "amount", minute, if minute % 3 == 0 { 2.0 } else { 0.0 });
        ledger.tick(at(minute)).unwrap();
        while let Some((id, _)) = ledger.next("a") {
            ledger.settle(id, "a").unwrap();
        }
        assert!(ledger.journal_bytes() < 4 * 4096, "{}", ledger.journal_bytes());
    }
    let before = memory(&ledger);
    drop(ledger);
    assert_eq!(memory(&open(&home, &["a"])), before);
}

#[test]
fn stricter_settings_lose_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut ledger = open(&home, &["a"]);
    for feature in ["a", "b", "c"] {
        see(&mut ledger, feature, 0, 2.0);
    }
    ledger.tick(at(1)).unwrap();
    drop(ledger);
    let strict =
        RouterSettings { notification_alerts_max: 1, group_by: vec!["feature".into()], ..RouterSettings::default() };
    let router = AlertRouter::new(strict).unwrap();
    let ledger = Ledger::open(home.path(), router, &settings(), vec!["a".into()], at(2)).unwrap();
    let told = ledger.pending.values().flat_map(|entry| &entry.notification.alerts);
    let features: BTreeSet<&str> = told.filter_map(|alert| alert.labels.get("feature")).collect();
    assert_eq!(features.len(), 3);
}

/// A journal of version 1, as it was written when the format was laid down.
#[test]
fn a_journal_of_version_1_is_read() {
    let home = tempfile::tempdir().unwrap();
    let golden = include_str!("../../../../tests/alert/golden/journal-1");
    fs::write(home.path().join(JOURNAL_FILE), golden).unwrap();
    let ledger = open(&home, &["hook"]);
    let (id, notification) = ledger.next("hook").unwrap();
    assert_eq!((id, notification.title().as_str()), (1, "[FIRING:1] {model=\"fraud\", severity=\"warning\"}: Drift"));
    assert_eq!(ledger.router.silences().count(), 1);
    assert_eq!(ledger.router.firing().count(), 2);
}

#[derive(Debug, Clone)]
enum Call {
    See(usize, f64),
    Tick,
    Settle,
    Bury,
    Revive,
    Silence(usize),
    Retire(usize),
    Reopen,
}

fn calls() -> impl Strategy<Value = Vec<(Call, i64)>> {
    let call = prop_oneof![
        6 => (0..3_usize, 0.0..2.0_f64).prop_map(|(feature, value)| Call::See(feature, value)),
        6 => Just(Call::Tick),
        3 => Just(Call::Settle),
        1 => Just(Call::Bury),
        1 => Just(Call::Revive),
        1 => (0..3_usize).prop_map(Call::Silence),
        1 => (0..3_usize).prop_map(Call::Retire),
        3 => Just(Call::Reopen),
    ];
    proptest::collection::vec((call, 0..400_i64), 0..40)
}

fn call(ledger: &mut Ledger, call: &Call, now: i64) {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let matcher = |index: usize| vec![Matcher::equal("feature", NAMES[index]).unwrap()];
    match call {
        Call::See(feature, value) => see(ledger, NAMES[*feature], now, *value),
        Call::Tick => drop(ledger.tick(at(now)).unwrap()),
        Call::Silence(index) => {
            let silence = Silence::new(matcher(*index), at(now)..at(now + 500), "x", "y").unwrap();
            ledger.silence(silence).unwrap();
        }
        Call::Retire(index) => drop(ledger.retire(matcher(*index), at(now)).unwrap()),
        Call::Revive => drop(ledger.revive().unwrap()),
        Call::Settle | Call::Bury => {
            let Some((id, _)) = ledger.next("x") else { return };
            match call {
                Call::Settle => ledger.settle(id, "x").unwrap(),
                _ => ledger.bury(id, "x", &Error::unavailable("down"), at(now)).unwrap(),
            }
        }
        Call::Reopen => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// At any moment, the files alone give what is in memory, compacted or not.
    #[test]
    fn replay_gives_the_same_state(calls in calls()) {
        let home = tempfile::tempdir().unwrap();
        let mut ledger = open(&home, &["x"]);
        let mut now = 1;
        for (step, minutes) in calls {
            now += minutes;
            call(&mut ledger, &step, now);
            if matches!(step, Call::Reopen) {
                let before = memory(&ledger);
                drop(ledger);
                ledger = open(&home, &["x"]);
                prop_assert_eq!(memory(&ledger), before);
            }
        }
        let before = memory(&ledger);
        drop(ledger);
        prop_assert_eq!(memory(&open(&home, &["x"])), before);
    }
}
