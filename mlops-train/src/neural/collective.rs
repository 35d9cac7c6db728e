//! What the processors of one fit say to each other.

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use mlops_core::{Error, Result};

/// A member of a group that fits one module together: every member has all rows at hand, takes its
/// share of each step's batches, and makes the same update.
pub trait Collective: fmt::Debug + Send + Sync {
    /// The number of this member, below [`Collective::size`].
    fn rank(&self) -> usize;

    /// Members in all, at least one.
    fn size(&self) -> usize;

    /// What every member brings, in the order of their numbers, the same for all. Waits for all of
    /// them; the n-th call of one member meets the n-th call of the others.
    ///
    /// # Errors
    /// `Unavailable` when a member is gone; what was learnt lies in the last checkpoint, from which a
    /// group of another size may go on.
    fn all_gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>>;
}

/// A group of threads of this process.
///
/// ```
/// use mlops_train::{Collective, ThreadGroup};
///
/// let members = ThreadGroup::members(2);
/// let gathered = std::thread::scope(|scope| {
///     let threads: Vec<_> =
///         members.into_iter().map(|member| scope.spawn(move || member.all_gather(vec![member.rank() as u8]))).collect();
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

#[cfg(test)]
mod tests {
    use mlops_core::ErrorKind;

    use super::*;

    #[test]
    fn many_rounds_stay_in_step() {
        let members = ThreadGroup::members(3);
        std::thread::scope(|scope| {
            for member in members {
                scope.spawn(move || {
                    for round in 0..200_u8 {
                        let gathered = member.all_gather(vec![member.rank() as u8, round]).unwrap();
                        assert_eq!(gathered, [[0, round], [1, round], [2, round]]);
                    }
                    // Nobody leaves before all are through.
                    member.all_gather(Vec::new()).unwrap();
                });
            }
        });
    }

    #[test]
    fn a_member_that_leaves_is_noticed() {
        let mut members = ThreadGroup::members(2);
        let leaving = members.pop().unwrap();
        let staying = members.pop().unwrap();
        let error = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| staying.all_gather(vec![1]));
            drop(leaving);
            waiting.join().unwrap().unwrap_err()
        });
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}
