//! A group of threads that meet at a table.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use mlops_core::{Error, Result};

use super::port::Collective;

/// A group of threads of this process.
///
/// ```
/// use mlops_train::{Collective, ThreadGroup};
///
/// let members = ThreadGroup::members(2);
/// let gathered = std::thread::scope(|scope| {
///     let work = |member: ThreadGroup| move || member.all_gather(vec![member.rank() as u8]);
///     let threads: Vec<_> = members.into_iter().map(|member| scope.spawn(work(member))).collect();
///     threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Result<Vec<_>, _>>()
/// })?;
/// assert_eq!(gathered, [[[0], [1]], [[0], [1]]]);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug)]
pub struct ThreadGroup {
    rank: usize,
    size: usize,
    table: Arc<Table>,
}

#[derive(Debug, Default)]
struct Table {
    round: Mutex<Round>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Round {
    /// What members brought so far.
    brought: Vec<Option<Vec<u8>>>,
    /// What all of them brought, and how many still have to take it.
    gathered: Arc<Vec<Vec<u8>>>,
    takers: usize,
    /// Whether a member has left.
    broken: bool,
}

impl ThreadGroup {
    /// The members of a group of `size`, at least one; each goes to a thread of its own.
    #[must_use]
    pub fn members(size: usize) -> Vec<Self> {
        let size = size.max(1);
        let round = Round { brought: vec![None; size], ..Round::default() };
        let table = Arc::new(Table { round: Mutex::new(round), changed: Condvar::new() });
        (0..size).map(|rank| Self { rank, size, table: Arc::clone(&table) }).collect()
    }

    fn round(&self) -> MutexGuard<'_, Round> {
        self.table.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something holds, or a member has left.
    fn wait(&self, until: impl Fn(&Round) -> bool) -> Result<MutexGuard<'_, Round>> {
        let waiting = |round: &mut Round| !round.broken && !until(round);
        let guard = self.table.changed.wait_while(self.round(), waiting).unwrap_or_else(PoisonError::into_inner);
        if until(&guard) {
            return Ok(guard);
        }
        Err(Error::unavailable("another worker of this fit is gone; start again from the last checkpoint"))
    }
}

impl Collective for ThreadGroup {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        let mut round = self.wait(|round| round.takers == 0)?;
        if let Some(place) = round.brought.get_mut(self.rank) {
            *place = Some(bytes);
        }
        if round.brought.iter().all(Option::is_some) {
            let brought = round.brought.iter_mut().map(|place| place.take().unwrap_or_default());
            round.gathered = Arc::new(brought.collect());
            round.takers = self.size;
            self.table.changed.notify_all();
        }
        drop(round);
        let mut round = self.wait(|round| round.takers > 0)?;
        round.takers -= 1;
        let gathered = Arc::clone(&round.gathered);
        if round.takers == 0 {
            self.table.changed.notify_all();
        }
        drop(round);
        Ok(gathered.to_vec())
    }
}

impl Drop for ThreadGroup {
    fn drop(&mut self) {
        self.round().broken = true;
        self.table.changed.notify_all();
    }
}
