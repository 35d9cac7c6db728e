//! A join through its public methods: order, corrections, bounds, restarts.

use std::sync::Arc;

use mlops_core::{
    ModelName, Version,
    arrow_array::{ArrayRef, Float64Array, Int64Array, StringArray, UInt32Array},
};
use proptest::prelude::*;

use super::*;
use crate::performance::Task;

fn columns() -> RowColumns {
    RowColumns::new(Task::binary("p"))
}

fn join(settings: JoinSettings) -> LabelJoin {
    LabelJoin::new(columns(), settings).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn prediction(id: &str, seconds: i64, scores: &[f64]) -> PredictionBatch {
    let scores: ArrayRef = Arc::new(Float64Array::from(scores.to_vec()));
    let outputs = RecordBatch::try_from_iter([("p", scores)]).unwrap();
    PredictionBatch {
        request_id: id.into(),
        model: ModelName::new("m").unwrap(),
        version: Version(1),
        variant: "champion".into(),
        propensity: None,
        at: at(seconds),
        inputs: outputs.clone(),
        outputs,
    }
}

fn labels(rows: &[(&str, u32, f64, i64)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0)));
    let indices: ArrayRef = Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.1)));
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2)));
    let times: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.3 * 1_000_000)));
    RecordBatch::try_from_iter([("request_id", ids), ("row", indices), ("label", values), ("labeled_at", times)])
        .unwrap()
}

fn identity(join: &LabelJoin) {
    let counts = join.counts();
    assert_eq!(counts.predictions, counts.joined + join.pending() + counts.evicted, "{counts:?}");
    let settled = counts.joined + counts.labels_corrected + counts.labels_duplicate + counts.labels_unknown;
    assert_eq!(counts.labels, settled + counts.labels_invalid + join.early(), "{counts:?}");
}

#[test]
fn labels_find_their_row_before_or_after_it() {
    let mut join = join(JoinSettings::default());
    join.label(&labels(&[("a", 1, 1.0, 5)]), at(5)).unwrap();
    let seen = join.observe(&prediction("a", 1, &[0.2, 0.8])).unwrap();
    assert_eq!((seen.taken, join.pending(), join.early()), (2, 1, 0));
    join.label(&labels(&[("a", 0, 0.0, 7)]), at(9)).unwrap();
    let rows = join.rows(at(100));
    assert_eq!((rows.outcomes.labels, rows.outcomes.scores), (vec![0.0, 1.0], vec![0.2, 0.8]));
    assert_eq!(rows.times, [(at(1), at(7)), (at(1), at(5))]);
    identity(&join);
}

#[test]
fn the_latest_label_wins_until_the_window_is_closed() {
    let mut join = join(JoinSettings::default());
    join.observe(&prediction("a", 1, &[0.2])).unwrap();
    let put = |join: &mut LabelJoin, value, time| join.label(&labels(&[("a", 0, value, time)]), at(50)).unwrap();
    assert_eq!(put(&mut join, 0.0, 10).joined, 1);
    assert_eq!(put(&mut join, 1.0, 20).corrected, 1);
    assert_eq!(put(&mut join, 0.0, 15).duplicate, 1);
    assert_eq!(put(&mut join, 1.0, 30).duplicate, 1);
    assert_eq!(join.rows(at(100)).outcomes.labels, [1.0]);
    join.close(at(100));
    assert_eq!(put(&mut join, 0.0, 40).early, 1);
    assert_eq!(join.observe(&prediction("b", 99, &[0.1])).unwrap().late, 1);
    join.expire(at(40 + 3_601));
    assert_eq!((join.counts().labels_unknown, join.early(), join.rows(at(100)).len()), (1, 0, 0));
    identity(&join);
}

#[test]
fn the_oldest_give_way_when_there_is_no_room() {
    let mut join = join(JoinSettings { pending_max: 2, joined_max: 1, early_max: 1, early_ttl_s: 10 });
    for (id, seconds) in [("a", 3), ("b", 1), ("c", 2)] {
        join.observe(&prediction(id, seconds, &[0.5])).unwrap();
    }
    assert_eq!(join.window(at(10)), JoinWindow { joined: 0, pending: 2, evicted: 1 });
    join.label(&labels(&[("b", 0, 1.0, 4), ("a", 0, 1.0, 5), ("c", 0, 0.0, 6), ("x", 0, 0.0, 7)]), at(9)).unwrap();
    let counts = join.counts();
    // The label of the evicted row was the older of two that wait.
    assert_eq!((counts.joined, counts.joined_dropped, counts.labels_unknown, join.early()), (2, 1, 1, 1));
    assert_eq!(join.rows(at(10)).outcomes.labels, [1.0]);
    identity(&join);
}

#[test]
fn rows_that_cannot_be_used_are_counted() {
    let mut join = join(JoinSettings::default());
    let seen = join.observe(&prediction("a", 1, &[f64::NAN, f64::INFINITY, 0.3])).unwrap();
    assert_eq!((seen.taken, seen.invalid), (1, 2));
    let seen = join.label(&labels(&[("a", 2, f64::NAN, 2), ("a", 2, 3.0, 2), ("a", 2, 1.0, 2)]), at(2)).unwrap();
    assert_eq!((seen.joined, seen.invalid), (1, 2));
    assert_eq!((join.counts().predictions_invalid, join.counts().labels_invalid), (2, 2));
    let wrong: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let wrong = RecordBatch::try_from_iter([("request_id", Arc::clone(&wrong)), ("label", wrong)]).unwrap();
    assert!(join.label(&wrong, at(1)).unwrap_err().message().contains("label"));
    let mut other = prediction("z", 1, &[0.1]);
    other.outputs = wrong.clone();
    other.inputs = wrong;
    assert!(join.observe(&other).unwrap_err().message().contains("\"p\""));
    identity(&join);
}

#[test]
fn damaged_states_are_refused() {
    let mut join = join(JoinSettings::default());
    join.observe(&prediction("a", 1, &[0.2, 0.4])).unwrap();
    let state = serde_json::to_value(&join).unwrap();
    for (path, value) in [
        ("/format", serde_json::json!(2)),
        ("/counts/predictions", serde_json::json!(7)),
        ("/pending/0/scores", serde_json::json!([])),
        ("/closed_until", serde_json::json!(at(9))),
        ("/settings/pending_max", serde_json::json!(0)),
    ] {
        let mut damaged = state.clone();
        *damaged.pointer_mut(path).unwrap() = value;
        assert!(serde_json::from_value::<LabelJoin>(damaged).is_err(), "{path}");
    }
}

#[derive(Debug, Clone)]
enum Arrival {
    Predicted { id: u8, seconds: i64, score: u8 },
    Labeled { id: u8, seconds: i64, positive: bool },
}

fn arrival() -> impl Strategy<Value = Arrival> {
    prop_oneof![
        (0..12_u8, 0..50_i64, 0..9_u8).prop_map(|(id, seconds, score)| Arrival::Predicted { id, seconds, score }),
        (0..12_u8, 0..90_i64, any::<bool>()).prop_map(|(id, seconds, positive)| Arrival::Labeled {
            id,
            seconds,
            positive
        }),
    ]
}

fn feed(join: &mut LabelJoin, arrival: &Arrival) {
    match arrival {
        Arrival::Predicted { id, seconds, score } => {
            join.observe(&prediction(&format!("r{id}"), *seconds, &[f64::from(*score) / 10.0])).unwrap();
        }
        Arrival::Labeled { id, seconds, positive } => {
            let value = f64::from(u8::from(*positive));
            join.label(&labels(&[(&format!("r{id}"), 0, value, *seconds)]), at(90)).unwrap();
        }
    }
}

proptest! {
    #[test]
    fn the_order_of_arrival_does_not_matter(
        (arrivals, shuffled) in prop::collection::vec(arrival(), 0..60)
            .prop_flat_map(|arrivals| (Just(arrivals.clone()), Just(arrivals).prop_shuffle())),
    ) {
        let mut joins = [join(JoinSettings::default()), join(JoinSettings::default())];
        arrivals.iter().for_each(|arrival| feed(&mut joins[0], arrival));
        shuffled.iter().for_each(|arrival| feed(&mut joins[1], arrival));
        let [first, second] = joins;
        prop_assert_eq!(first.rows(at(1_000)), second.rows(at(1_000)));
        prop_assert_eq!(&first.pending, &second.pending);
        prop_assert_eq!(&first.early, &second.early);
        prop_assert_eq!(first.counts().predictions, second.counts().predictions);
        prop_assert_eq!(first.counts().joined, second.counts().joined);
    }

    #[test]
    fn predictions_are_joined_pending_or_evicted_and_a_restart_changes_nothing(
        arrivals in prop::collection::vec(arrival(), 0..80),
        bounds in (1..6_usize, 1..6_usize, 1..4_usize),
        restart in 0..80_usize,
        close in prop::option::of((0..80_usize, 0..60_i64)),
    ) {
        let settings = JoinSettings { pending_max: bounds.0, joined_max: bounds.1, early_max: bounds.2, early_ttl_s: 30 };
        let mut straight = join(settings);
        let mut restarted = straight.clone();
        for (i, arrival) in arrivals.iter().enumerate() {
            if i == restart {
                let state = serde_json::to_string(&restarted).unwrap();
                restarted = serde_json::from_str(&state).unwrap();
            }
            for join in [&mut straight, &mut restarted] {
                feed(join, arrival);
                if let Some((_, seconds)) = close.filter(|(when, _)| *when == i) {
                    join.close(at(seconds));
                    join.expire(at(seconds));
                }
                identity(join);
                prop_assert!(join.pending.len() <= bounds.0 && join.joined.len() <= bounds.1);
                prop_assert!(join.early.len() <= bounds.2 && join.early.len() == join.early_order.len());
                prop_assert_eq!(join.times.len(), join.pending.len() + join.joined.len());
            }
        }
        prop_assert_eq!(straight, restarted);
    }
}
