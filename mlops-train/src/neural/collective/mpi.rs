//! A group of processes that speak by MPI.
//!
//! Every round begins with one number of each member: how many bytes it brings, or that it leaves. With a second one
//! each says whether it has room for them, so that all refuse a round for which one of them has none.
//!
//! Invariant: members agree about what comes next, or say nothing any more. After a round in which one leaves nobody
//! speaks again; after a fault of MPI neither, and MPI is not taken leave of, so that the launcher ends the processes
//! that wait.

use std::sync::{Mutex, MutexGuard, PoisonError};

use mlops_core::{Error, Result};
use mlops_mpi::World;

use super::port::Collective;

/// What a member says that brings nothing, because it leaves.
const LEAVES: u64 = u64::MAX;

/// Bytes of all members in one round at most.
const ROUND_BYTES_MAX: u64 = 1 << 36;

/// Bytes of all members that are sent at a time at most; longer rounds are sent piece by piece.
const PIECE_BYTES_MAX: usize = 64 << 20;

/// A group of processes that one launcher started together: `mpirun`, Slurm, an `MPIJob`.
///
/// Every process has all rows at hand, runs the same fit and ends with the same model. Checkpoints lie where all of
/// them can read, such as a shared file system; the process of number zero writes them.
///
/// A process that fails or panics drops its group, by which the others learn that it is gone. One that is killed cannot
/// say so: `mpirun` then ends the others unless told otherwise (`--enable-recovery`), and they are started again, in
/// any number, to go on from the last checkpoint. Slurm does the same with `--kill-on-bad-exit`.
///
/// Any thread may fit. MPI is taken leave of on the thread that joined, by [`MpiGroup::end`] or by dropping the group
/// there; a process that never does so counts as failed when it ends.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use mlops_core::Result;
/// use mlops_train::{Checkpoints, FitContext, MlpTrainer, MpiGroup, Params, TableDataset, TrainedModel, Trainer};
///
/// fn fit(data: &TableDataset) -> Result<()> {
///     let group = Arc::new(MpiGroup::join()?);
///     let context = FitContext::new(7)
///         .with_collective(Arc::clone(&group) as _)
///         .with_checkpoints(Checkpoints::new("/shared/churn"));
///     // Four batches make one step: one process takes all, two take two each, four one each.
///     let model = MlpTrainer.fit(data, &Params::new().with("accumulate", 4), &context)?;
///     group.end()?;
///     println!("{}", model.to_package()?.digest()?);
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct MpiGroup {
    rank: usize,
    size: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Together(World),
    /// All have met for the last time, for this reason. Where MPI stands and still is to be taken leave of, its world.
    Over(&'static str, Option<World>),
}

const ENDED: &str = "this group of processes has ended";
const GONE: &str = "another process of this fit is gone; start all again from the last checkpoint";
const FAULT: &str = "MPI has failed before; end this process and start all again from the last checkpoint";

impl MpiGroup {
    /// Joins the processes that were started together. A process can do so once; one that was started alone is a group
    /// of one.
    ///
    /// MPI itself ends the process when it cannot be set up, such as when its library and the launcher do not fit.
    ///
    /// # Errors
    /// `FailedPrecondition` when this process has done so before, or its MPI cannot be called from several threads.
    pub fn join() -> Result<Self> {
        let world = World::enter()?;
        Ok(Self { rank: world.rank(), size: world.size(), state: Mutex::new(State::Together(world)) })
    }

    /// Waits until all members end, and takes leave of MPI. Ending twice does nothing. A group that is dropped ends,
    /// too, and tells nobody how.
    ///
    /// # Errors
    /// `FailedPrecondition` when others are still at work, whose work fails by it, or when this is not the thread that
    /// joined, which then has to end the group once more; `Unavailable` when MPI fails or has failed before.
    pub fn end(&self) -> Result<()> {
        let mut state = self.state();
        let ended = match std::mem::replace(&mut *state, State::Over(FAULT, None)) {
            State::Together(mut world) => {
                let said = world.gather_numbers(LEAVES)?;
                *state = State::Over(ENDED, Some(world));
                self.all_leave(&said)
            }
            State::Over(why, world) => {
                *state = State::Over(why, world);
                if why == ENDED { Ok(()) } else { Err(Error::unavailable(why)) }
            }
        };
        let closed = state.close();
        ended.and(closed)
    }

    fn all_leave(&self, said: &[u64]) -> Result<()> {
        match said.iter().position(|&number| number != LEAVES) {
            None => Ok(()),
            Some(other) => Err(Error::failed_precondition(format!(
                "process {} ended while process {other} was at work; let all of them fit the same",
                self.rank
            ))),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes leave of MPI where all have met for the last time. On another thread than the one that joined that is
    /// still to be done.
    fn close(&mut self) -> Result<()> {
        let Self::Over(_, left) = self else { return Ok(()) };
        match left.take() {
            None => Ok(()),
            Some(world) if world.is_home() => world.close(),
            world => {
                *left = world;
                Err(Error::failed_precondition(
                    "this thread did not join the group and cannot take leave of MPI; end it on the thread that joined",
                ))
            }
        }
    }
}

impl Collective for MpiGroup {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        let mut state = self.state();
        // Whatever fails on the way leaves it over.
        let mut world = match std::mem::replace(&mut *state, State::Over(FAULT, None)) {
            State::Together(world) => world,
            State::Over(why, world) => {
                *state = State::Over(why, world);
                return Err(Error::unavailable(why));
            }
        };
        let said = world.gather_numbers(bytes.len() as u64)?;
        if let Some(leaving) = said.iter().position(|&number| number == LEAVES) {
            *state = State::Over(GONE, Some(world));
            // On another thread than the one that joined, `end` does so.
            drop(state.close());
            return Err(Error::unavailable(GONE).with("rank", leaving));
        }
        let round = Round::prepare(&said, PIECE_BYTES_MAX);
        let refused = world.gather_numbers(u64::from(round.is_err()))?;
        let gathered = match all_agree(round, &refused) {
            Err(error) => Err(error),
            Ok(round) => Ok(round.exchange(&bytes, |own, counts, all| world.gather_bytes(own, counts, all))?),
        };
        // All members refuse alike, so they are still of one mind.
        *state = State::Together(world);
        gathered
    }
}

impl Drop for MpiGroup {
    fn drop(&mut self) {
        // Whoever drops a group without `end` asks for no reason.
        drop(self.end());
    }
}

/// What all members bring in a round.
fn lengths(said: &[u64]) -> Result<Vec<usize>> {
    let total = said.iter().try_fold(0_u64, |total, &length| total.checked_add(length));
    if total.is_none_or(|total| total > ROUND_BYTES_MAX) {
        return Err(Error::resource_exhausted(format!(
            "processes of this fit bring {said:?} bytes, more than {ROUND_BYTES_MAX} in all; train fewer parameters"
        )));
    }
    let number = |&length: &u64| {
        usize::try_from(length).map_err(|_| Error::resource_exhausted(format!("{length} bytes have no room here")))
    };
    said.iter().map(number).collect()
}

/// A round that all members may refuse: after [`all_agree`] nothing of it can fail but MPI.
#[derive(Debug)]
struct Round {
    lengths: Vec<usize>,
    /// Bytes of one member that are sent at a time at most.
    share: usize,
    /// Room for what each member brings.
    gathered: Vec<Vec<u8>>,
    /// Room for the first piece of all members, which is the longest.
    pieces: Vec<u8>,
}

impl Round {
    /// Room for what all members say that they bring, to be sent at most `piece_bytes` of all of them at a time.
    fn prepare(said: &[u64], piece_bytes: usize) -> Result<Self> {
        let lengths = lengths(said)?;
        let share = (piece_bytes / lengths.len().max(1)).max(1);
        let gathered = lengths.iter().map(|&length| with_room(length)).collect::<Result<Vec<_>>>()?;
        let first = lengths.iter().map(|&length| length.min(share)).sum();
        let mut pieces = with_room(first)?;
        pieces.resize(first, 0);
        Ok(Self { lengths, share, gathered, pieces })
    }

    /// Lets members exchange what they bring piece by piece. `gather` takes a piece of this member and how long the
    /// pieces of all are, and writes these one after another.
    fn exchange(
        mut self,
        bytes: &[u8],
        mut gather: impl FnMut(&[u8], &[usize], &mut [u8]) -> Result<()>,
    ) -> Result<Vec<Vec<u8>>> {
        let (share, mut done) = (self.share, 0);
        while self.lengths.iter().any(|&length| length > done) {
            let counts: Vec<usize> = self.lengths.iter().map(|length| length.saturating_sub(done).min(share)).collect();
            let own = bytes.get(done.min(bytes.len())..(done + share).min(bytes.len())).unwrap_or_default();
            self.pieces.truncate(counts.iter().sum());
            gather(own, &counts, &mut self.pieces)?;
            let mut rest = self.pieces.as_slice();
            for (whole, &count) in self.gathered.iter_mut().zip(&counts) {
                let (piece, behind) = rest.split_at(count);
                whole.extend_from_slice(piece);
                rest = behind;
            }
            done += share;
        }
        Ok(self.gathered)
    }
}

/// The round, where no member has `refused` it; else why this member or another one did.
fn all_agree(round: Result<Round>, refused: &[u64]) -> Result<Round> {
    let round = round?;
    match refused.iter().position(|&number| number != 0) {
        None => Ok(round),
        Some(other) => Err(Error::resource_exhausted(format!(
            "process {other} has no memory for what all bring, {:?} bytes",
            round.lengths
        ))),
    }
}

fn with_room(length: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|error| {
        Error::resource_exhausted(format!("no memory for {length} bytes of a process")).with_source(error)
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use mlops_core::ErrorKind;

    use super::*;
    use crate::neural::collective::ThreadGroup;

    /// Members of these lengths send pieces through a group of threads.
    fn check(lengths: &[usize], piece_bytes: usize, rounds: usize) {
        let bring = |rank: usize| -> Vec<u8> { (0..lengths[rank]).map(|at| (at * 7 + rank) as u8).collect() };
        let expected: Vec<Vec<u8>> = (0..lengths.len()).map(bring).collect();
        std::thread::scope(|scope| {
            for member in ThreadGroup::members(lengths.len()) {
                let expected = &expected;
                scope.spawn(move || {
                    let mut calls = 0;
                    let gather = |own: &[u8], counts: &[usize], all: &mut [u8]| {
                        calls += 1;
                        assert!(counts.iter().sum::<usize>() <= piece_bytes.max(counts.len()));
                        let pieces = member.all_gather(own.to_vec())?;
                        assert!(pieces.iter().map(Vec::len).eq(counts.iter().copied()));
                        all.copy_from_slice(&pieces.concat());
                        Ok(())
                    };
                    let said: Vec<u64> = lengths.iter().map(|&length| length as u64).collect();
                    let round = Round::prepare(&said, piece_bytes).unwrap();
                    let gathered = round.exchange(&expected[member.rank()], gather).unwrap();
                    assert_eq!((&gathered, calls), (expected, rounds));
                    // Nobody leaves before all are through.
                    member.all_gather(Vec::new()).unwrap();
                });
            }
        });
    }

    #[test]
    fn long_rounds_go_piece_by_piece() {
        check(&[5, 0, 13], 6, 7);
        check(&[4, 4], 8, 1);
        check(&[4, 5], 8, 2);
        check(&[0, 0, 0], 6, 0);
        check(&[3], 1, 3);
        check(&[2, 2, 2], 1, 2);
    }

    #[test]
    fn what_one_member_refuses_all_refuse() {
        let round = || Round::prepare(&[2, 3], 100);
        assert_eq!(all_agree(round(), &[0, 0]).unwrap().lengths, [2, 3]);
        let other = all_agree(round(), &[0, 1]).unwrap_err();
        assert!(other.kind() == ErrorKind::ResourceExhausted && other.message().contains("process 1"), "{other}");
        let own = all_agree(Err(Error::resource_exhausted("none here")), &[1, 1]).unwrap_err();
        assert_eq!(own.message(), "none here");
    }

    #[test]
    fn rounds_that_are_too_long_are_refused() {
        assert_eq!(lengths(&[3, ROUND_BYTES_MAX - 3]).unwrap().len(), 2);
        for said in [&[ROUND_BYTES_MAX, 1][..], &[u64::MAX - 1, u64::MAX - 1]] {
            assert_eq!(lengths(said).unwrap_err().kind(), ErrorKind::ResourceExhausted);
        }
    }
}
