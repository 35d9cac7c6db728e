//! The queue on a clock that stands still: who is served, with whom, and who is turned away.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use arrow_array::{ArrayRef, Float64Array, RecordBatch};
use mlops_core::{DataType, Error, ErrorKind, Signature, TensorSpec, Version, testing::ManualClock};
use proptest::prelude::*;
use tokio::sync::oneshot;

use super::*;
use crate::{
    executor::{
        batch::{Payload, Predicted},
        pace::Pace,
    },
    model::{ClosureModel, IdentityModel, ServedModel},
    repository::Rejection,
    tensor::{Tensor, TensorType},
};

type Reply = oneshot::Receiver<mlops_core::Result<Predicted>>;

const MILLI: Duration = Duration::from_millis(1);
const POISON: f64 = -1.0;

struct Bench {
    queue: Queue,
    clock: Arc<ManualClock>,
    version: Arc<LoadedVersion>,
    policy: BatchPolicy,
}

impl Bench {
    fn new(entries: usize, rows: usize) -> Self {
        let clock = Arc::new(ManualClock::at("2024-01-01".parse().unwrap()));
        let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let queue = Queue::new(QueueLimits { entries, rows }, 1, shared);
        let policy = BatchPolicy { rows_max: 8, delay: Duration::ZERO };
        Self { queue, clock, version: version(), policy }
    }

    fn call(&self, values: &[f64]) -> (Call, Reply) {
        let column: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
        self.payload(Payload::Rows(RecordBatch::try_from_iter([("x", column)]).unwrap()), values.len())
    }

    fn payload(&self, inputs: Payload, rows: usize) -> (Call, Reply) {
        let (reply, answer) = oneshot::channel();
        let now = self.clock.monotonic();
        let call = Call {
            inputs,
            rows,
            priority: Priority::Normal,
            queued_at: now,
            patience_ends: now + 1_000 * MILLI,
            deadline: now + 500 * MILLI,
            pace: Pace::default(),
            ambient: None,
            reply,
        };
        (call, answer)
    }

    /// Pushes a call and answers those that made way.
    fn push(&self, call: Call) -> Result<usize, Refused> {
        let (removed, pushed) = self.queue.push_call(&self.version, self.policy, call);
        let count = removed.len();
        removed.into_iter().for_each(|removed| removed.evict(self.clock.monotonic()));
        pushed.map(|()| count)
    }

    fn batch(&self) -> Batch {
        match self.queue.next() {
            Some(Work::Batch(batch)) => batch,
            _ => panic!("no batch waits"),
        }
    }

    /// The worker is done with a batch that it did not run.
    fn finish(&self, batch: &Batch) {
        self.queue.finished(address(&batch.version), batch.policy, batch.ends);
    }

    fn empty(&self) {
        while self.queue.waiting().0 > 0 {
            self.finish(&self.batch());
        }
    }

    fn rejections(&self, reason: Rejection) -> u64 {
        self.version.counters.rejections().find(|(counted, _)| *counted == reason).unwrap().1
    }
}

/// Echoes; refuses a batch with [`POISON`] in it.
fn version() -> Arc<LoadedVersion> {
    let column = TensorSpec::column("x", DataType::Float64);
    let model = ClosureModel::new(Signature::new([column.clone()], [column]).unwrap(), |batch: &RecordBatch| {
        let poisoned = batch["x"].as_any().downcast_ref::<Float64Array>().unwrap().values().contains(&POISON);
        if poisoned { Err(Error::invalid_argument("poison")) } else { Ok(batch.clone()) }
    });
    loaded(ServedModel::Rows(Arc::new(model)))
}

fn loaded(model: ServedModel) -> Arc<LoadedVersion> {
    Arc::new(LoadedVersion::new(Version(1), None, String::new(), model, None, true).unwrap())
}

fn first(call: &Call) -> f64 {
    let Payload::Rows(batch) = &call.inputs else { panic!("rows") };
    batch["x"].as_any().downcast_ref::<Float64Array>().unwrap().value(0)
}

/// Notes how many hold the version when an answer comes.
struct Held {
    version: Arc<LoadedVersion>,
    by: OnceLock<usize>,
}

impl Wake for Held {
    fn wake(self: Arc<Self>) {
        self.by.set(Arc::strong_count(&self.version)).unwrap();
    }
}

/// A worker holds the version while it goes on predicting: who is answered then need not wait for that.
#[test]
fn answers_leave_before_the_next_prediction_and_the_last_when_the_version_is_let_go() {
    for (values, early) in [
        (&[1.0][..], 0),
        (&[POISON], 0),
        (&[1.0, 2.0], 0),
        (&[1.0, 2.0, POISON], 2),
        (&[POISON, 1.0, POISON, 2.0], 3),
        (&[POISON, 1.0, 2.0, 3.0], 2),
        (&[1.0, 2.0, 3.0, POISON, 4.0, 5.0, 6.0, 7.0], 4),
    ] {
        let bench = Bench::new(16, 100);
        let waiting: Vec<_> = values
            .iter()
            .map(|value| {
                let (call, answer) = bench.call(&[*value]);
                let held = Arc::new(Held { version: Arc::clone(&bench.version), by: OnceLock::new() });
                let mut answer = Box::pin(answer);
                let waker = Waker::from(Arc::clone(&held));
                assert!(answer.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                bench.push(call).unwrap();
                (answer, held)
            })
            .collect();
        bench.batch().run(&*bench.clock);
        for (place, (_, held)) in waiting.iter().enumerate() {
            let holders = values.len() + 1 + usize::from(place < early);
            assert_eq!(
                held.by.get(),
                Some(&holders),
                "the bench, who notes it, and a worker at it: {values:?} {place}"
            );
        }
    }
}

#[test]
fn urgent_calls_come_first_and_others_fill_what_room_is_left() {
    let bench = Bench::new(16, 100);
    for (value, priority) in
        [(1.0, Priority::Low), (2.0, Priority::Normal), (3.0, Priority::High), (4.0, Priority::High)]
    {
        let (mut call, answer) = bench.call(&[value; 3]);
        call.priority = priority;
        bench.push(call).unwrap();
        std::mem::forget(answer);
    }
    let batch = bench.batch();
    assert_eq!(batch.calls.iter().map(first).collect::<Vec<_>>(), [3.0, 4.0]);
    assert_eq!(batch.closed_by, Close::Full);
    let batch = bench.batch();
    assert_eq!(batch.calls.iter().map(first).collect::<Vec<_>>(), [2.0, 1.0]);
    assert_eq!(batch.closed_by, Close::Idle);
    assert_eq!(bench.queue.waiting(), (0, 0));
}

#[test]
fn company_is_waited_for_only_while_a_batch_is_in_flight_and_not_for_longer_than_allowed() {
    let mut bench = Bench::new(16, 100);
    bench.policy.delay = 5 * MILLI;
    let (call, _one) = bench.call(&[1.0]);
    bench.push(call).unwrap();
    let running = bench.batch();
    assert_eq!(running.closed_by, Close::Idle, "nothing was in flight: nobody waits");

    let (call, _two) = bench.call(&[2.0]);
    bench.push(call).unwrap();
    let wait_until = |bench: &Bench| match bench.queue.lock().choose(bench.clock.monotonic()) {
        Next::Wait(until) => Some(until.saturating_sub(bench.clock.monotonic())),
        _ => None,
    };
    assert_eq!(wait_until(&bench), Some(5 * MILLI));
    bench.clock.advance(5 * MILLI);
    assert_eq!(bench.batch().closed_by, Close::Delay);

    let (call, _three) = bench.call(&[3.0]);
    bench.push(call).unwrap();
    assert!(wait_until(&bench).is_some());
    let (call, _four) = bench.call(&[4.0; 7]);
    bench.push(call).unwrap();
    assert_eq!(bench.batch().closed_by, Close::Full, "a full batch waits for nothing");

    let (call, _five) = bench.call(&[5.0]);
    bench.push(call).unwrap();
    for _ in 0..3 {
        bench.queue.finished(address(&running.version), bench.policy, running.ends);
    }
    assert_eq!(bench.batch().closed_by, Close::Idle, "the last batch in flight is done");
}

#[test]
fn calls_that_wait_are_put_together_by_the_newest_policy() {
    let mut bench = Bench::new(16, 100);
    let mut answers = Vec::new();
    let mut push = |bench: &Bench| {
        let (call, answer) = bench.call(&[1.0]);
        bench.push(call).unwrap();
        answers.push(answer);
    };
    for rows_max in [8, 8, 8, 2] {
        bench.policy.rows_max = rows_max;
        push(&bench);
    }
    let running = bench.batch();
    assert_eq!((running.calls.len(), running.policy), (2, bench.policy));
    bench.policy = BatchPolicy { rows_max: 8, delay: MILLI };
    push(&bench);
    let together = bench.batch();
    assert_eq!((together.calls.len(), together.policy), (3, bench.policy));
    // What went without a delay is not counted among those that others wait for.
    bench.finish(&running);
    push(&bench);
    assert!(matches!(bench.queue.lock().choose(bench.clock.monotonic()), Next::Wait(_)));
    bench.finish(&together);
    assert_eq!(bench.batch().closed_by, Close::Idle);
}

#[test]
fn other_dimensions_are_another_batch_and_the_reason_is_told() {
    let mut bench = Bench::new(16, 100);
    let model: Arc<dyn crate::model::TensorModel> = Arc::new(IdentityModel::new(TensorType::Fp64));
    bench.version = loaded(model.into());
    let mut answers = Vec::new();
    for width in [2, 3, 2] {
        let values: ArrayRef = Arc::new(Float64Array::from(vec![1.0; width]));
        let tensor = Tensor::new("INPUT0", TensorType::Fp64, [1, width], values).unwrap();
        let (call, answer) = bench.payload(Payload::Tensors(vec![tensor]), 1);
        bench.push(call).unwrap();
        answers.push(answer);
    }
    let (one, two) = (bench.batch(), bench.batch());
    assert_eq!((one.calls.len(), one.closed_by), (2, Close::Shape));
    assert_eq!((two.calls.len(), two.closed_by), (1, Close::Idle));
    one.run(&*bench.clock);
    two.run(&*bench.clock);
    for (answer, width) in answers.iter_mut().zip([2, 3, 2]) {
        let Payload::Tensors(outputs) = answer.try_recv().unwrap().unwrap().outputs else { panic!("tensors") };
        assert_eq!(outputs[0].shape(), [1, width]);
    }
}

#[test]
fn rows_and_entries_are_bounded_and_one_call_always_finds_room() {
    let bench = Bench::new(2, 10);
    let (call, _large) = bench.call(&[0.0; 11]);
    bench.push(call).unwrap();
    let (call, _more) = bench.call(&[0.0]);
    assert_eq!(bench.push(call).unwrap_err(), Refused::Rows);
    drop(bench.batch());
    let mut answers = Vec::new();
    for expected in [Ok(()), Ok(()), Err(Refused::Entries)] {
        let (call, answer) = bench.call(&[0.0]);
        assert_eq!(bench.push(call).map(drop), expected);
        answers.push(answer);
    }
}

#[test]
fn the_dead_make_way_before_anyone_is_refused() {
    let bench = Bench::new(3, 100);
    let (call, gone) = bench.call(&[1.0]);
    bench.push(call).unwrap();
    let (mut call, mut late) = bench.call(&[2.0]);
    call.deadline = bench.clock.monotonic() + MILLI;
    bench.push(call).unwrap();
    let (call, mut kept) = bench.call(&[3.0]);
    bench.push(call).unwrap();
    drop(gone);
    bench.clock.advance(2 * MILLI);
    let (call, _new) = bench.call(&[4.0]);
    assert_eq!(bench.push(call), Ok(2));
    assert_eq!(late.try_recv().unwrap().unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    assert_eq!((bench.rejections(Rejection::Cancelled), bench.rejections(Rejection::Deadline)), (1, 1));
    bench.batch().run(&*bench.clock);
    assert!(kept.try_recv().unwrap().is_ok());
}

#[test]
fn a_full_queue_gives_the_place_of_a_less_urgent_call_to_a_more_urgent_one() {
    let bench = Bench::new(2, 100);
    let (mut low, mut evicted) = bench.call(&[1.0]);
    low.priority = Priority::Low;
    bench.push(low).unwrap();
    let (normal, _kept) = bench.call(&[2.0]);
    bench.push(normal).unwrap();
    let (high, _first) = bench.call(&[3.0]);
    assert_eq!(bench.push(Call { priority: Priority::High, ..high }), Ok(1));
    assert_eq!(evicted.try_recv().unwrap().unwrap_err().kind(), ErrorKind::ResourceExhausted);
    let (normal, _refused) = bench.call(&[4.0]);
    assert_eq!(bench.push(normal).unwrap_err(), Refused::Entries, "its equals are not turned away for it");
    assert_eq!(bench.batch().calls.iter().map(first).collect::<Vec<_>>(), [3.0, 2.0]);
}

#[test]
fn as_many_make_way_as_it_takes_and_nobody_where_that_is_not_enough() {
    let bench = Bench::new(16, 10);
    let push = |rows: usize, priority: Priority| {
        let (call, answer) = bench.call(&vec![0.0; rows]);
        (bench.push(Call { priority, ..call }), answer)
    };
    let (_, mut low) = push(4, Priority::Low);
    let (_, mut lower) = push(4, Priority::Low);
    let (_, mut normal) = push(2, Priority::Normal);
    assert_eq!(push(9, Priority::Normal).0, Err(Refused::Rows), "8 rows make way, which is 1 too few");
    assert!([&mut low, &mut lower, &mut normal].into_iter().all(|answer| answer.try_recv().is_err()), "all wait on");
    assert_eq!(push(8, Priority::Normal).0, Ok(2));
    for mut evicted in [low, lower] {
        assert_eq!(evicted.try_recv().unwrap().unwrap_err().kind(), ErrorKind::ResourceExhausted);
    }
    assert_eq!((bench.rejections(Rejection::Evicted), bench.queue.waiting()), (2, (2, 10)));
}

#[test]
fn the_dead_are_answered_where_the_call_that_found_them_is_refused_too() {
    let bench = Bench::new(16, 10);
    let (mut call, mut late) = bench.call(&[0.0]);
    call.deadline = bench.clock.monotonic() + MILLI;
    bench.push(call).unwrap();
    let (call, _kept) = bench.call(&[0.0; 9]);
    bench.push(call).unwrap();
    bench.clock.advance(2 * MILLI);
    let (call, _refused) = bench.call(&[0.0; 5]);
    assert_eq!(bench.push(call), Err(Refused::Rows));
    assert_eq!(late.try_recv().unwrap().unwrap_err().kind(), ErrorKind::DeadlineExceeded);
}

#[test]
fn what_would_be_too_late_is_refused_at_once_but_never_by_an_empty_queue() {
    let bench = Bench::new(100, 1_000);
    let slow = Pace { fixed: 200_000_000, row: 0 };
    let mut answers = Vec::new();
    let mut push = || {
        let (call, answer) = bench.call(&[0.0; 8]);
        answers.push(answer);
        bench.push(Call { pace: slow, ..call }).map(drop)
    };
    // A batch is 8 rows and takes 200 ms; the deadline is in 500 ms.
    assert_eq!([push(), push(), push()], [Ok(()), Ok(()), Err(Refused::TooLate(400 * MILLI))]);
    let (call, _answer) = bench.call(&[0.0]);
    bench.push(Call { pace: slow, priority: Priority::High, ..call }).unwrap();
    bench.empty();
    for priority in [Priority::Low, Priority::Low] {
        let (call, answer) = bench.call(&[0.0; 8]);
        bench.push(Call { pace: slow, priority, ..call }).unwrap();
        std::mem::forget(answer);
    }
    let (call, _answer) = bench.call(&[0.0; 8]);
    bench.push(Call { pace: slow, ..call }).expect("what is less urgent is not waited for");
    bench.empty();
    let (call, _answer) = bench.call(&[0.0]);
    bench.push(Call { pace: Pace { fixed: u64::MAX, row: 0 }, ..call }).unwrap();
}

#[test]
fn calls_of_several_versions_take_turns() {
    let bench = Bench::new(100, 1_000);
    let other = version();
    let mut answers = Vec::new();
    for _ in 0..4 {
        let (call, answer) = bench.call(&[1.0; 8]);
        bench.push(call).unwrap();
        answers.push(answer);
    }
    let (call, _answer) = bench.call(&[2.0]);
    bench.queue.push_call(&other, bench.policy, call).1.unwrap();
    assert_eq!([bench.batch(), bench.batch()].map(|batch| first(&batch.calls[0])), [1.0, 2.0]);
}

#[test]
fn what_the_workers_are_at_counts_for_those_who_come() {
    let bench = Bench::new(100, 1_000);
    let slow = Pace { fixed: 200_000_000, row: 0 };
    let mut answers = Vec::new();
    let mut push = || {
        let (call, answer) = bench.call(&[0.0; 8]);
        answers.push(answer);
        bench.push(Call { pace: slow, ..call }).map(drop)
    };
    push().unwrap();
    let running = bench.batch();
    push().expect("an empty queue takes every call");
    assert_eq!(push(), Err(Refused::TooLate(400 * MILLI)), "200 ms run and 200 ms wait");
    bench.clock.advance(150 * MILLI);
    assert_eq!(push(), Err(Refused::TooLate(250 * MILLI)), "150 ms are over; 500 ms less 1.5 times 200 ms are left");
    bench.clock.advance(50 * MILLI);
    push().expect("as much waits as before, and nothing of what runs is left");
    bench.finish(&running);
    assert!(bench.queue.lock().running.is_empty());
}

#[test]
fn what_would_end_too_late_is_answered_unrun_but_only_while_others_wait() {
    let bench = Bench::new(100, 1_000);
    let slow = Pace { fixed: 200_000_000, row: 0 };
    let push = || {
        let (call, answer) = bench.call(&[0.0; 8]);
        bench.push(Call { pace: slow, ..call }).unwrap();
        answer
    };
    let (mut late, mut last) = (push(), push());
    bench.clock.advance(400 * MILLI);
    let batch = bench.batch();
    assert_eq!((batch.calls.len(), batch.dead.len()), (1, 1));
    batch.run(&*bench.clock);
    assert_eq!(late.try_recv().unwrap().unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    assert!(last.try_recv().unwrap().is_ok(), "its time corrects the estimate");
    assert_eq!(bench.rejections(Rejection::Shed), 1);
}

proptest! {
    #[test]
    fn each_call_gets_its_own_rows_or_its_own_error(
        calls in prop::collection::vec((1_usize..5, prop::bool::weighted(0.2), 0_u64..4), 1..20),
    ) {
        let bench = Bench::new(100, 1_000);
        let number = AtomicUsize::new(0);
        let mut expected = Vec::new();
        for (rows, bad, level) in calls {
            let mut values: Vec<f64> = (0..rows).map(|_| number.fetch_add(1, Ordering::Relaxed) as f64).collect();
            if bad {
                values[rows / 2] = POISON;
            }
            let (call, answer) = bench.call(&values);
            bench.push(Call { priority: Priority::from_level(level), ..call }).unwrap();
            expected.push((values, bad, answer));
        }
        while bench.queue.waiting().0 > 0 {
            let batch = bench.batch();
            prop_assert!(batch.calls.iter().map(|call| call.rows).sum::<usize>() <= 8);
            batch.run(&*bench.clock);
        }
        for (values, bad, mut answer) in expected {
            match answer.try_recv().unwrap() {
                Err(error) => prop_assert!(bad && error.message() == "poison", "{error}"),
                Ok(Predicted { outputs: Payload::Rows(batch), .. }) => {
                    let column = batch["x"].as_any().downcast_ref::<Float64Array>().unwrap();
                    prop_assert!(!bad);
                    prop_assert_eq!(column.values().to_vec(), values);
                }
                Ok(_) => prop_assert!(false, "rows were asked for"),
            }
        }
    }
}
