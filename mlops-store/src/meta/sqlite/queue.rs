//! Jobs for the writing connection, carried out one after the other by one thread at a time.
//!
//! A job costs one way to another thread, however many statements it has. Jobs that wait together share a transaction, so
//! that a page which all of them change is written once, and the sync of the log: their thread appends, passes the
//! connection on, and only then waits for the disk.
//!
//! Invariant: a job is whole or absent, whatever becomes of the others: each has a savepoint of its own. Nobody is answered
//! before what it saw of others is committed, and nobody is told of success before it is on disk, unless it is repeatable.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::FutureExt as _;
use mlops_core::{Error, Result};
use tokio::{runtime::Handle, sync::oneshot, time::Instant};

use super::{
    Durability, SqliteSettings,
    error::from_sqlite,
    pool::{Lease, Pool, roll_back},
    transaction::{Here, alive, append, locked, too_late},
};
use crate::meta::Job;

/// Jobs that are carried out before others get the connection.
const ROUND_MAX: usize = 64;

type Answer = oneshot::Sender<Result<()>>;

/// The jobs that wait. One whose caller has gone is dropped unrun, at the latest when its turn comes.
#[derive(Clone)]
pub(super) struct Queue {
    shared: Arc<Shared>,
}

struct Shared {
    writer: Arc<Pool>,
    durability: Durability,
    timeout: Duration,
    /// Time after which a round takes no further job: those that it has carried out wait for its end, and the sync of one
    /// round goes on beside the work of the next.
    round_time: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Box<dyn Job>, Answer)>,
    /// Whether a thread is on its way through them.
    carried: bool,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Queue {
    pub(super) fn new(writer: Arc<Pool>, durability: Durability, settings: &SqliteSettings) -> Self {
        let shared = Shared {
            writer,
            durability,
            timeout: Duration::from_millis(settings.busy_timeout_ms),
            round_time: Duration::from_millis(settings.round_ms),
            state: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Carries a job out and returns once it is durable, or for a repeatable one once it is committed.
    pub(super) async fn carry_out(&self, job: Box<dyn Job>) -> Result<()> {
        self.shared.durability.check()?;
        let (done, answer) = oneshot::channel();
        if self.shared.push(job, done) {
            self.shared.start();
        }
        let lost = |_| Error::unavailable("metadata database: a transaction panicked, or the runtime shut down");
        answer.await.map_err(lost)?
    }
}

#[cfg(test)]
impl Queue {
    /// Jobs that no thread has begun.
    pub(super) fn waiting(&self) -> usize {
        self.shared.state().waiting.len()
    }
}

impl Shared {
    /// Begins a round as soon as the connection is free; no thread waits for that, for whoever has it may need one.
    fn start(self: &Arc<Self>) {
        let mut underway = Underway { shared: Arc::clone(self), done: false };
        if let Some(lease) = self.writer.try_lease() {
            return underway.go(lease);
        }
        drop(tokio::spawn(async move {
            let leased = underway.shared.writer.lease().await;
            match leased {
                Ok(lease) => underway.go(lease),
                Err(error) => underway.refuse(&error),
            }
        }));
    }

    /// Adds a job, and says whether a round has to begin for it.
    fn push(&self, job: Box<dyn Job>, done: Answer) -> bool {
        let mut state = self.state();
        state.drop_abandoned();
        state.waiting.push_back((job, done));
        !std::mem::replace(&mut state.carried, true)
    }

    /// Carries out what waits, up to a bound, and gives those that have to be synced, and whether more may wait.
    fn round(&self, mut lease: Lease) -> (Vec<Answer>, bool) {
        let (mut shared, mut more, begun) = (Vec::new(), true, Instant::now());
        for _ in 0..ROUND_MAX {
            if begun.elapsed() >= self.round_time && !shared.is_empty() {
                break;
            }
            let Some((job, done)) = self.next() else {
                more = false;
                break;
            };
            if shared.is_empty()
                && let Err(error) = self.lock(&mut lease)
            {
                // Each of the others would wait as long again, with the connection kept from everybody else.
                drop(done.send(Err(again(&error))));
                self.refuse(&error);
                more = false;
                break;
            }
            let repeatable = job.is_repeatable();
            let outcome = Self::attempt(&mut lease, job, shared.is_empty());
            match outcome {
                // Nobody else is in its transaction, and a caller that no longer waits does not want the answer.
                Err(error) if shared.is_empty() => drop(done.send(Err(error))),
                Err(error) if !is_open(&mut lease) => {
                    refuse_all(&mut shared, &error);
                    drop(done.send(Err(error)));
                }
                outcome => shared.push(Carried { done, outcome, repeatable }),
            }
        }
        if !shared.is_empty()
            && let Err(error) = append(&mut lease)
        {
            refuse_all(&mut shared, &error);
        }
        if let (false, Ok(connection)) = (shared.is_empty(), lease.connection()) {
            self.durability.appended(connection);
        }
        let mut appended = Vec::new();
        for Carried { done, outcome, repeatable } in shared {
            if outcome.is_ok() && !repeatable {
                appended.push(done);
            } else {
                drop(done.send(outcome));
            }
        }
        (appended, more)
    }

    /// Begins a transaction, having waited for other processes.
    fn lock(&self, lease: &mut Lease) -> Result<()> {
        let timeout = self.timeout;
        Handle::current()
            .block_on(async { tokio::time::timeout(timeout, locked(lease)).await })
            .map_err(too_late(timeout))?
    }

    /// One job in the transaction that is open. What it did is undone when it fails, a panic in it is its failure alone;
    /// the first needs no savepoint, for the transaction is all its own.
    fn attempt(lease: &mut Lease, job: Box<dyn Job>, first: bool) -> Result<()> {
        if !first {
            step(lease, "SAVEPOINT job")?;
        }
        let attempt = AssertUnwindSafe(|| {
            let mut here = Here(lease);
            let outcome = job.run(&mut here).now_or_never();
            outcome.unwrap_or_else(|| Err(Error::internal("work in a transaction awaited something else than it")))
        });
        let outcome = catch_unwind(attempt);
        let outcome = outcome.unwrap_or_else(|_| Err(Error::internal("work in a transaction panicked")));
        match (&outcome, first) {
            (Ok(()), true) => alive(lease.connection()?).map(drop)?,
            (Ok(()), false) => step(lease, "RELEASE job")?,
            (Err(_), true) => roll_back(lease.connection()?).map_err(from_sqlite)?,
            // Where SQLite has undone all of it there is no savepoint any more.
            (Err(_), false) if is_open(lease) => {
                step(lease, "ROLLBACK TO job")?;
                step(lease, "RELEASE job")?;
            }
            (Err(_), false) => {}
        }
        outcome
    }

    /// The next job; when there is none, whoever brings one begins a round.
    fn next(&self) -> Option<(Box<dyn Job>, Answer)> {
        let mut state = self.state();
        state.drop_abandoned();
        let next = state.waiting.pop_front();
        state.carried = next.is_some();
        next
    }

    /// Answers all that wait with an error.
    fn refuse(&self, error: &Error) {
        while let Some((_, done)) = self.next() {
            drop(done.send(Err(again(error))));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job that was carried out in the transaction of its round.
struct Carried {
    done: Answer,
    outcome: Result<()>,
    repeatable: bool,
}

/// Answers those whose transaction was undone.
fn refuse_all(carried: &mut Vec<Carried>, error: &Error) {
    carried.drain(..).for_each(|one| drop(one.done.send(Err(again(error)))));
}

/// The same error for another caller.
fn again(error: &Error) -> Error {
    Error::new(error.kind(), error.message())
}

fn is_open(lease: &mut Lease) -> bool {
    lease.connection().is_ok_and(|connection| !connection.is_autocommit())
}

/// A statement of the transaction itself.
fn step(lease: &mut Lease, sql: &str) -> Result<()> {
    let statement = alive(lease.connection()?)?.prepare_cached(sql);
    statement.and_then(|mut statement| statement.raw_execute()).map(drop).map_err(from_sqlite)
}

impl State {
    /// Drops the jobs at the front whose caller has gone: whoever gave one up may bring it again.
    fn drop_abandoned(&mut self) {
        while self.waiting.front().is_some_and(|(_, done)| done.is_closed()) {
            self.waiting.pop_front();
        }
    }
}

/// A round that is not over. A runtime that shuts down may drop it, and it may panic; then nobody waits for it any more, and
/// whoever comes next begins one of its own.
struct Underway {
    shared: Arc<Shared>,
    done: bool,
}

impl Underway {
    fn go(self, lease: Lease) {
        // Not awaited: the thread may go on to work and sync for others. The runtime waits for it when it ends.
        drop(tokio::task::spawn_blocking(move || self.run(lease)));
    }

    fn run(mut self, lease: Lease) {
        let (appended, more) = self.shared.round(lease);
        // From here on the jobs that wait are those of the next round.
        self.done = true;
        if more {
            self.shared.start();
        }
        self.shared.durability.sync(appended);
    }

    fn refuse(&mut self, error: &Error) {
        self.done = true;
        self.shared.refuse(error);
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if !self.done {
            let error = "metadata database: the runtime shut down before a transaction, or the one before it panicked";
            self.shared.refuse(&Error::unavailable(error));
        }
    }
}
