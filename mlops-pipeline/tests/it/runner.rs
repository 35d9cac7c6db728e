//! Runs: order, retries, failures, cancellation, and going on after the process died.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use mlops_core::{Error, ErrorKind};
use mlops_pipeline::{CancellationToken, Dag, RetryPolicy, RunState, Runner, SqlJournal, Task, TaskContext, TaskState};
use mlops_store::SqliteMetaStore;
use serde_json::{Value, json};

async fn journal() -> Arc<SqlJournal> {
    Arc::new(SqlJournal::open(Arc::new(SqliteMetaStore::in_memory().await.unwrap())).await.unwrap())
}

fn runner(journal: &Arc<SqlJournal>) -> Runner {
    Runner::builder(Arc::clone(journal) as _).with_owner("test").build().unwrap()
}

/// A task that counts its runs and returns its name.
fn counted(name: &str, count: &Arc<AtomicU32>) -> Task {
    let (count, answer) = (Arc::clone(count), json!(name));
    Task::new(name, move |_: TaskContext| {
        count.fetch_add(1, Ordering::SeqCst);
        let answer = answer.clone();
        async move { Ok(answer) }
    })
}

#[tokio::test]
async fn tasks_run_after_what_they_depend_on() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let task = |name: &'static str| {
        let order = Arc::clone(&order);
        Task::new(name, move |_: TaskContext| {
            order.lock().unwrap().push(name);
            async { Ok(Value::Null) }
        })
    };
    let dag = Dag::builder("diamond")
        .with_task(task("join").after(["left", "right"]))
        .with_task(task("left").after(["source"]))
        .with_task(task("right").after(["source"]))
        .with_task(task("source"))
        .build()
        .unwrap();
    let report = runner(&journal().await).run(&dag, "r", Value::Null).await.unwrap();
    assert!(report.succeeded());
    let order = order.lock().unwrap();
    assert_eq!((order.len(), order[0], order[3]), (4, "source", "join"));
}

#[tokio::test]
async fn a_failure_skips_what_depends_on_it_and_nothing_else() {
    let count = Arc::new(AtomicU32::new(0));
    let dag = Dag::builder("d")
        .with_task(Task::new("bad", |_: TaskContext| async { Err(Error::data_loss("row 7 is torn")) }))
        .with_task(counted("after", &count).after(["bad"]))
        .with_task(counted("beside", &count))
        .build()
        .unwrap();
    let report = runner(&journal().await).run(&dag, "r", Value::Null).await.unwrap();
    assert_eq!(report.state(), RunState::Failed);
    assert_eq!(report.task("after").unwrap().state, TaskState::Skipped);
    assert_eq!(report.output("beside"), Some(&json!("beside")));
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let (_, reason) = report.failures().find(|(task, _)| *task == "bad").unwrap();
    assert!(reason.contains("row 7 is torn"), "{reason}");
}

#[tokio::test]
async fn a_passing_error_is_tried_again_under_the_same_idempotency_key() {
    let keys = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&keys);
    let flaky = Task::new("flaky", move |context: TaskContext| {
        let mut keys = seen.lock().unwrap();
        keys.push(context.idempotency_key());
        let outcome = if keys.len() < 3 { Err(Error::unavailable("the store is away")) } else { Ok(json!("done")) };
        async move { outcome }
    });
    let retry = RetryPolicy { attempts_max: 3, delay_ms: 1, ..RetryPolicy::default() };
    let dag = Dag::builder("d").with_task(flaky.with_retry(retry)).build().unwrap();
    let report = runner(&journal().await).run(&dag, "r", Value::Null).await.unwrap();
    assert!(report.succeeded(), "{report:?}");
    let keys = keys.lock().unwrap();
    assert!(keys.len() == 3 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test]
async fn a_dropped_run_goes_on_without_repeating_what_was_done() {
    let (journal, count) = (journal().await, Arc::new(AtomicU32::new(0)));
    let hang = Arc::new(AtomicU32::new(1));
    let (first, hangs) = (counted("first", &count), Arc::clone(&hang));
    let second = Task::new("second", move |_: TaskContext| {
        let hangs = hangs.load(Ordering::SeqCst) == 1;
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            Ok(json!(2))
        }
    });
    let dag = Dag::builder("d").with_task(first).with_task(second.after(["first"])).build().unwrap();
    let died = runner(&journal);
    let attempt = tokio::time::timeout(Duration::from_millis(200), died.run(&dag, "r", json!(1))).await;
    assert!(attempt.is_err(), "the second task hangs");
    drop(died);
    hang.store(0, Ordering::SeqCst);
    let report = runner(&journal).run(&dag, "r", json!(1)).await.unwrap();
    assert!(report.succeeded());
    assert_eq!(count.load(Ordering::SeqCst), 1, "the finished task is not run again");
    assert_eq!(report.task("second").unwrap().interruptions, 1);
    let other = runner(&journal).run(&dag, "r", json!(2)).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::AlreadyExists);
}

#[tokio::test]
async fn cancellation_stops_and_the_key_goes_on() {
    let (journal, stop) = (journal().await, CancellationToken::new());
    let told = stop.clone();
    let patient = Task::new("patient", move |context: TaskContext| {
        let first = context.attempt() == 1;
        let told = told.clone();
        async move {
            if first {
                told.cancel();
                context.cancellation().cancelled().await;
                return Err(Error::cancelled("stopped"));
            }
            Ok(json!("done"))
        }
    });
    let dag = Dag::builder("d").with_task(patient).build().unwrap();
    let report = runner(&journal).run_until(&dag, "r", Value::Null, &stop).await.unwrap();
    assert_eq!(report.state(), RunState::Cancelled);
    let report = runner(&journal).run(&dag, "r", Value::Null).await.unwrap();
    assert_eq!(report.output("patient"), Some(&json!("done")));
}
