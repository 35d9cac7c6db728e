//! Group commit: one sync of the write-ahead log for all transactions that ended before it began.
//!
//! A commit first appends to the log, which survives the death of the process, and lets the next transaction begin.
//! Then it waits here. Invariant: whoever is told "durable" joined before a sync began that has succeeded. After a sync
//! that failed nobody is told so again: the system may have dropped the pages it could not write, and a later sync
//! would not notice.

use std::{
    fmt, io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use mlops_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

type Sync = Box<dyn Fn() -> io::Result<()> + Send + std::marker::Sync>;

/// The commits that wait for the disk.
pub(super) struct GroupSync {
    sync: Sync,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Bounded by the number of callers: each of them waits.
    waiting: Vec<oneshot::Sender<Result<()>>>,
    led: bool,
    failed: Option<(ErrorKind, String)>,
}

impl fmt::Debug for GroupSync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupSync").finish_non_exhaustive()
    }
}

impl GroupSync {
    pub(super) fn new(sync: impl Fn() -> io::Result<()> + Send + std::marker::Sync + 'static) -> Self {
        Self { sync: Box::new(sync), state: Mutex::default() }
    }

    /// Answers all of `done` once all that was written before this call is durable. The thread of the first to come does
    /// the work for all, round after round, until nobody waits.
    pub(super) fn join(&self, done: Vec<oneshot::Sender<Result<()>>>) {
        if done.is_empty() {
            return;
        }
        let mut state = self.state();
        state.waiting.extend(done);
        if std::mem::replace(&mut state.led, true) {
            return;
        }
        drop(state);
        while let Some(round) = self.next_round() {
            let outcome = self.sync_once();
            for done in round {
                // A caller that no longer waits does not want the answer.
                drop(done.send(outcome.clone().map_err(report)));
            }
        }
    }

    /// # Errors
    /// When a sync has failed: what is committed from now on could be lost.
    pub(super) fn check(&self) -> Result<()> {
        self.state().failed.clone().map_or(Ok(()), |failure| Err(report(failure)))
    }

    fn next_round(&self) -> Option<Vec<oneshot::Sender<Result<()>>>> {
        let mut state = self.state();
        let round = std::mem::take(&mut state.waiting);
        state.led = !round.is_empty();
        state.led.then_some(round)
    }

    fn sync_once(&self) -> Result<(), (ErrorKind, String)> {
        if let Some(failure) = self.state().failed.clone() {
            return Err(failure);
        }
        (self.sync)().map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::ResourceExhausted,
                _ => ErrorKind::DataLoss,
            };
            self.state().failed.insert((kind, error.to_string())).clone()
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn report((kind, reason): (ErrorKind, String)) -> Error {
    Error::new(
        kind,
        format!(
            "metadata database: the disk refused to sync the log ({reason}); the last commits may be lost, reopen it"
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    };

    use super::*;

    #[test]
    fn one_sync_answers_all_that_came_before_it() {
        let syncs = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&syncs);
        let (begun, begins) = mpsc::channel();
        let (go, may_go) = mpsc::channel();
        let may_go = Mutex::new(may_go);
        let group = Arc::new(GroupSync::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            begun.send(()).unwrap();
            may_go.lock().unwrap().recv().unwrap();
            Ok(())
        }));
        let (first, mut first_answer) = oneshot::channel();
        let leader = Arc::clone(&group);
        let leader = std::thread::spawn(move || leader.join(vec![first]));
        begins.recv().unwrap();
        let join = |_| {
            let (done, answer) = oneshot::channel();
            group.join(vec![done]);
            answer
        };
        let mut answers: Vec<_> = (0..15).map(join).collect();
        go.send(()).unwrap();
        begins.recv().unwrap();
        assert!(first_answer.try_recv().unwrap().is_ok(), "the first is answered before the second round ends");
        assert!(
            answers.iter_mut().all(|answer| answer.try_recv().is_err()),
            "the sync that ran does not count for them"
        );
        go.send(()).unwrap();
        leader.join().unwrap();
        assert!(answers.iter_mut().all(|answer| answer.try_recv().unwrap().is_ok()));
        assert_eq!(syncs.load(Ordering::SeqCst), 2);
    }

    /// `durable` is what a disk would keep: what was written when the last sync that has ended began.
    #[test]
    fn nobody_is_answered_before_the_disk_has_it() {
        let (written, durable) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (upto, kept) = (Arc::clone(&written), Arc::clone(&durable));
        let group = GroupSync::new(move || {
            let upto = upto.load(Ordering::SeqCst);
            std::thread::yield_now();
            kept.fetch_max(upto, Ordering::SeqCst);
            Ok(())
        });
        let commit = || {
            for _ in 0..500 {
                let number = written.fetch_add(1, Ordering::SeqCst) + 1;
                let (done, answer) = oneshot::channel();
                group.join(vec![done]);
                answer.blocking_recv().unwrap().unwrap();
                assert!(number <= durable.load(Ordering::SeqCst));
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(commit);
            }
        });
    }
}
