//! What each strategy expects, and that nothing in a history can make one stumble.

use mlops_core::Timestamp;
use proptest::{prelude::*, strategy::Strategy as Generator};

use super::{Strategy, *};

fn second(i: i64) -> Timestamp {
    Timestamp::from_millis(i * 1_000)
}

fn history(values: &[f64]) -> MetricHistory {
    let mut history = MetricHistory::new(HISTORY_MAX);
    for (i, value) in (0..).zip(values) {
        assert_eq!(history.record(second(i), *value), Recorded::Added);
    }
    history
}

/// The range expected of the value after `values`.
fn range(strategy: Strategy, values: &[f64], value: f64) -> (Option<f64>, Option<f64>) {
    let history = history(values);
    let verdict = AnomalyDetector::new(strategy).unwrap().check(&history, second(values.len() as i64), value);
    match verdict {
        AnomalyVerdict::Ok { expected } | AnomalyVerdict::Anomaly { expected, .. } => (expected.lower, expected.upper),
        other => panic!("{other:?}"),
    }
}

#[test]
fn changes_are_bounded_by_difference_ratio_and_rate() {
    let change = |order| Strategy::AbsoluteChange { change_min: Some(-2.0), change_max: Some(3.0), order };
    assert_eq!(range(change(0), &[5.0], 0.0), (Some(-2.0), Some(3.0)));
    assert_eq!(range(change(1), &[5.0, 7.0], 0.0), (Some(5.0), Some(10.0)));
    // Second difference x - 2 * 7 + 5; third x - 3 * 9 + 3 * 7 - 5.
    assert_eq!(range(change(2), &[5.0, 7.0], 0.0), (Some(7.0), Some(12.0)));
    assert_eq!(range(change(3), &[5.0, 7.0, 9.0], 0.0), (Some(9.0), Some(14.0)));
    let ratio = |order| Strategy::RelativeChange { ratio_min: Some(0.5), ratio_max: Some(2.0), order };
    assert_eq!(range(ratio(1), &[8.0, 4.0], 0.0), (Some(2.0), Some(8.0)));
    assert_eq!(range(ratio(2), &[8.0, 4.0], 0.0), (Some(4.0), Some(16.0)));
    assert_eq!(range(ratio(1), &[-4.0], 0.0), (Some(-8.0), Some(-2.0)));
    assert_eq!(range(ratio(1), &[0.0], 1.0), (Some(0.0), Some(0.0)));
    let rate = Strategy::RateOfChange { change_min: None, change_max: Some(60.0), per_seconds: 60.0 };
    let verdict = AnomalyDetector::new(rate).unwrap().check(&history(&[5.0]), second(10), 15.1);
    assert!(verdict.is_anomaly(), "{verdict:?}");
}

#[test]
fn normal_ranges_have_the_moments_of_the_definitions() {
    let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
    let strategy = Strategy::BatchNormal { deviations_below: None, deviations_above: Some(2.0), n_min: 8 };
    // Mean 5; squares 32 over n - 1 = 7.
    let (lower, upper) = range(strategy, &values, 0.0);
    assert_eq!(lower, None);
    assert!((upper.unwrap() - (5.0 + 2.0 * (32.0_f64 / 7.0).sqrt())).abs() < 1e-9);
    // The value itself, 9, included: mean 5.444, squares over n = 9.
    let all = [values.as_slice(), &[9.0]].concat();
    let mean = all.iter().sum::<f64>() / 9.0;
    let deviation = (all.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 9.0).sqrt();
    let (lower, upper) = range(Strategy::online_normal(), &[values.as_slice(), &[5.0, 5.0]].concat(), 5.0);
    assert!(lower.unwrap() < 5.0 && upper.unwrap() > 5.0);
    let online = Strategy::OnlineNormal {
        deviations_below: Some(3.0),
        deviations_above: Some(3.0),
        ignore_start_share: 0.0,
        ignore_anomalies: true,
        n_min: 8,
    };
    let (lower, upper) = range(online, &values, 9.0);
    assert!((lower.unwrap() - (mean - 3.0 * deviation)).abs() < 1e-9);
    assert!((upper.unwrap() - (mean + 3.0 * deviation)).abs() < 1e-9);
}

#[test]
fn what_was_odd_before_does_not_widen_the_range() {
    let mut values: Vec<f64> = (0..40).map(|i| 100.0 + f64::from(i % 4)).collect();
    values[25] = 900.0;
    for strategy in [
        Strategy::online_normal(),
        Strategy::Ewma { weight: 0.1, deviations_below: Some(4.0), deviations_above: Some(4.0), n_min: 10 },
    ] {
        let (lower, upper) = range(strategy.clone(), &values, 100.0);
        assert!(lower.unwrap() > 90.0 && upper.unwrap() < 115.0, "{strategy:?} {lower:?} {upper:?}");
    }
    let (_, upper) = range(Strategy::batch_normal(), &values, 100.0);
    assert!(upper.unwrap() > 300.0);
}

#[test]
fn a_constant_series_expects_itself() {
    for strategy in [Strategy::batch_normal(), Strategy::online_normal(), Strategy::HoltWinters(HoltWinters::default())]
    {
        let detector = AnomalyDetector::new(strategy).unwrap();
        let history = history(&[0.1; 30]);
        assert!(matches!(detector.check(&history, second(30), 0.1), AnomalyVerdict::Ok { .. }));
        assert!(detector.check(&history, second(30), 0.2).is_anomaly());
    }
}

#[test]
fn points_that_cannot_be_judged_are_typed() {
    let detector = AnomalyDetector::new(Strategy::batch_normal()).unwrap();
    let history = history(&[1.0; 9]);
    let check = |at, value| detector.check(&history, second(at), value);
    assert_eq!(check(9, 1.0), AnomalyVerdict::Insufficient { n: 9, min_n: 10 });
    assert_eq!(check(9, f64::NAN), AnomalyVerdict::Unusable(PointFault::NotFinite));
    assert_eq!(check(8, 1.0), AnomalyVerdict::Unusable(PointFault::OutOfOrder));
}

#[test]
fn repeated_and_conflicting_points_leave_the_history_alone() {
    let mut history = history(&[1.0, 2.0]);
    let before = history.clone();
    assert_eq!(history.record(second(1), 2.0), Recorded::Repeated);
    assert_eq!(history.record(second(1), 3.0), Recorded::Conflicting { recorded: 2.0 });
    assert_eq!(history.record(second(0), 1.0), Recorded::OutOfOrder { latest: second(1) });
    assert_eq!(history, before);
    let text = serde_json::to_string(&history).unwrap();
    assert_eq!(serde_json::from_str::<MetricHistory>(&text).unwrap(), history);
    for damaged in [
        r#"{"capacity":1,"points":[[0,1.0],[1,1.0]]}"#,
        r#"{"capacity":9,"points":[[1,1.0],[1,1.0]]}"#,
        r#"{"capacity":0,"points":[]}"#,
    ] {
        assert!(serde_json::from_str::<MetricHistory>(damaged).is_err(), "{damaged}");
    }
}

#[test]
fn absurd_settings_are_refused() {
    for strategy in [
        Strategy::Threshold { lower: None, upper: None },
        Strategy::Threshold { lower: Some(2.0), upper: Some(1.0) },
        Strategy::AbsoluteChange { change_min: Some(f64::NAN), change_max: None, order: 1 },
        Strategy::AbsoluteChange { change_min: Some(0.0), change_max: None, order: 11 },
        Strategy::RelativeChange { ratio_min: Some(0.5), ratio_max: None, order: 0 },
        Strategy::RateOfChange { change_min: Some(0.0), change_max: None, per_seconds: 0.0 },
        Strategy::BatchNormal { deviations_below: Some(-1.0), deviations_above: None, n_min: 5 },
        Strategy::Ewma { weight: 0.0, deviations_below: Some(3.0), deviations_above: None, n_min: 5 },
        Strategy::HoltWinters(HoltWinters { season_length: 1, ..HoltWinters::default() }),
    ] {
        assert!(AnomalyDetector::new(strategy.clone()).is_err(), "{strategy:?}");
    }
}

#[test]
fn freshness_looks_at_age_alone() {
    let ages = history(&[300.0, 310.0, 290.0, 305.0, 295.0, 300.0, 310.0, 290.0, 305.0, 295.0]);
    let now = second(100_000);
    let against_history = Freshness::new(FreshnessBound::History(Strategy::batch_normal())).unwrap();
    let check = |age: i64| against_history.check(Some(second(100_000 - age)), now, &ages);
    assert!(check(900).is_anomaly());
    // Younger than ever before is no fault.
    assert!(matches!(check(1), AnomalyVerdict::Ok { expected } if expected.lower.is_none()));
    assert!(matches!(check(-30), AnomalyVerdict::Ok { .. }));
    assert_eq!(check(-3_600), AnomalyVerdict::Unusable(PointFault::FromFuture));
    assert_eq!(against_history.check(None, now, &ages), AnomalyVerdict::Insufficient { n: 0, min_n: 1 });
}

fn any_strategy() -> impl Generator<Value = Strategy> {
    prop_oneof![
        Just(Strategy::Threshold { lower: Some(-1.0), upper: None }),
        (0_usize..11).prop_map(|order| Strategy::AbsoluteChange { change_min: Some(-1.0), change_max: None, order }),
        (1_usize..11).prop_map(|order| Strategy::RelativeChange { ratio_min: None, ratio_max: Some(2.0), order }),
        Just(Strategy::RateOfChange { change_min: Some(-1.0), change_max: Some(1.0), per_seconds: 1e-300 }),
        Just(Strategy::batch_normal()),
        Just(Strategy::online_normal()),
        Just(Strategy::Ewma { weight: 1.0, deviations_below: Some(0.0), deviations_above: None, n_min: 0 }),
        (2_usize..6, prop::option::of(1e-9..1e9_f64)).prop_map(|(season_length, step_seconds)| {
            Strategy::HoltWinters(HoltWinters { season_length, step_seconds, ..HoltWinters::default() })
        }),
    ]
}

proptest! {
    /// Whatever comes, in whatever order, there is an answer, and an anomaly lies outside the range it names.
    #[test]
    fn any_history_gets_an_answer(
        strategy in any_strategy(),
        points in prop::collection::vec((any::<i64>(), any::<f64>()), 0..40),
        sorted in any::<bool>(),
    ) {
        let detector = AnomalyDetector::new(strategy).unwrap();
        let mut points = points;
        if sorted {
            points.sort_by_key(|(time, _)| *time);
        }
        let mut history = MetricHistory::new(32);
        for (time, value) in points {
            let time = Timestamp::from_micros(time);
            if let AnomalyVerdict::Anomaly { value, expected } = detector.check(&history, time, value) {
                prop_assert!(!expected.contains(value));
            }
            let _ = history.record(time, value);
        }
        prop_assert!(history.len() <= 32);
    }
}
