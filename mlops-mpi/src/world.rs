//! All processes that one launcher (`mpirun`, Slurm, an MPIJob) has started together.
//!
//! Invariant: a process has one [`World`] in its life, and calls of MPI are made through it alone, one at a time. Only
//! [`World::close`] takes leave of MPI, on the thread that entered it; a process that ends without it is noticed by the
//! launcher, which ends the others.

#![allow(unsafe_code, reason = "the calls of MPI; each block says why it is sound")]

use std::{
    ffi::{c_char, c_int, c_void},
    mem::ManuallyDrop,
    thread::{self, ThreadId},
};

use mlops_core::{Error, Result};
use mpi::{Threading, environment::Universe, ffi};

/// This process among those that were started with it.
pub struct World {
    rank: usize,
    size: usize,
    /// The thread that entered MPI, on which alone MPI may be taken leave of.
    home: ThreadId,
    /// Its end is `MPI_Finalize`, which would wait for processes that may be gone.
    universe: ManuallyDrop<Universe>,
}

impl World {
    /// Bytes of all processes together that [`World::gather_bytes`] takes at most: MPI counts in 32 bits.
    pub const BYTES_MAX: usize = c_int::MAX as usize;

    /// Enters MPI. A process that no launcher started is alone in its world. Keep in mind which thread calls: the
    /// world is closed on the same one.
    ///
    /// What goes wrong before MPI stands (no shared memory, a launcher of another version) ends the process: MPI has no
    /// other way of saying it.
    ///
    /// # Errors
    /// `FailedPrecondition` when this process has entered MPI before, or its MPI cannot be called from several threads.
    pub fn enter() -> Result<Self> {
        // After `MPI_Finalize`, too, MPI counts as initialized.
        let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Serialized) else {
            return Err(Error::failed_precondition(
                "this process has entered MPI before, which it can do only once; keep the group and share it",
            ));
        };
        let universe = ManuallyDrop::new(universe);
        if threading < Threading::Serialized {
            return Err(Error::failed_precondition(format!(
                "this MPI grants {threading:?} threads; calls from one thread at a time need at least Serialized"
            )));
        }
        // What concerns no communicator is told to that of all processes before MPI-4, to that of this one since.
        // SAFETY: MPI stands, and all handles are constants of the library.
        for communicator in unsafe { [ffi::RSMPI_COMM_WORLD, ffi::RSMPI_COMM_SELF] } {
            // SAFETY: as above.
            let code = unsafe { ffi::MPI_Comm_set_errhandler(communicator, ffi::RSMPI_ERRORS_RETURN) };
            check("MPI_Comm_set_errhandler", code)?;
        }
        let (mut rank, mut size): (c_int, c_int) = (0, 0);
        // SAFETY: the pointer is to an integer that lives through the call.
        check("MPI_Comm_rank", unsafe { ffi::MPI_Comm_rank(ffi::RSMPI_COMM_WORLD, &raw mut rank) })?;
        // SAFETY: as above.
        check("MPI_Comm_size", unsafe { ffi::MPI_Comm_size(ffi::RSMPI_COMM_WORLD, &raw mut size) })?;
        let number = |value: c_int| {
            usize::try_from(value)
                .map_err(|_| Error::internal(format!("MPI counts {value} processes, which cannot be")))
        };
        Ok(Self { rank: number(rank)?, size: number(size)?, home: thread::current().id(), universe })
    }

    /// The number of this process, below [`World::size`].
    #[must_use]
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Processes in all, at least one.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether the calling thread is the one that entered MPI.
    #[must_use]
    pub fn is_home(&self) -> bool {
        self.home == thread::current().id()
    }

    /// One number of every process, in the order of their numbers. Waits for all of them.
    ///
    /// # Errors
    /// `Unavailable` with what MPI says. Processes may then disagree about which call comes next; make none.
    pub fn gather_numbers(&mut self, own: u64) -> Result<Vec<u64>> {
        let mut numbers = vec![0_u64; self.size];
        // SAFETY: one number is read from `own`; as many as there are processes are written to `numbers`, which has
        // room for them. Both live through the call, which returns when it is done with them. Any thread may call, as
        // MPI granted at least `Serialized` and `&mut self` lets one call at a time.
        let code = unsafe {
            ffi::MPI_Allgather(
                (&raw const own).cast::<c_void>(),
                1,
                ffi::RSMPI_UINT64_T,
                numbers.as_mut_ptr().cast::<c_void>(),
                1,
                ffi::RSMPI_UINT64_T,
                ffi::RSMPI_COMM_WORLD,
            )
        };
        check("MPI_Allgather", code)?;
        Ok(numbers)
    }

    /// Writes the bytes of every process to `all`, one after another in the order of their numbers. `lengths` says how
    /// many each of them brings, and is the same in all. Waits for all of them.
    ///
    /// # Errors
    /// `InvalidArgument` when `lengths` is not of these processes, `own` or `all` is of another length, or all are more
    /// than [`World::BYTES_MAX`]; `Unavailable` with what MPI says. Unless all processes fail alike they may then
    /// disagree about which call comes next; make none.
    pub fn gather_bytes(&mut self, own: &[u8], lengths: &[usize], all: &mut [u8]) -> Result<()> {
        if lengths.len() != self.size || lengths.get(self.rank) != Some(&own.len()) {
            return Err(Error::invalid_argument(format!(
                "process {} of {} brings {} bytes, which are not those announced: {lengths:?}",
                self.rank,
                self.size,
                own.len()
            )));
        }
        let (counts, places, total) = layout(lengths)?;
        let own_count = counts.get(self.rank).copied().unwrap_or_default();
        if all.len() != total {
            return Err(Error::invalid_argument(format!(
                "{total} bytes of {} processes are written to room for {}",
                self.size,
                all.len()
            )));
        }
        // SAFETY: `own_count` bytes are read from `own`, which has that many. For each process its count of bytes is
        // written at its place in `all`; places follow each other without a gap and end at the length of `all`. Counts
        // and places are as many as there are processes. All live through the call, which returns when it is done with
        // them. Any thread may call, as above.
        let code = unsafe {
            ffi::MPI_Allgatherv(
                own.as_ptr().cast::<c_void>(),
                own_count,
                ffi::RSMPI_UINT8_T,
                all.as_mut_ptr().cast::<c_void>(),
                counts.as_ptr(),
                places.as_ptr(),
                ffi::RSMPI_UINT8_T,
                ffi::RSMPI_COMM_WORLD,
            )
        };
        check("MPI_Allgatherv", code)
    }

    /// Takes leave of MPI; waits for all other processes to do so. The process goes on without it.
    ///
    /// # Errors
    /// `FailedPrecondition` on another thread than the one that entered MPI, which may not finalize it (see
    /// [`World::is_home`]). Leave is then never taken: when this process ends, the launcher ends the others.
    pub fn close(self) -> Result<()> {
        if !self.is_home() {
            return Err(Error::failed_precondition(
                "MPI can be taken leave of only on the thread that entered it; end this process",
            ));
        }
        // On this thread alone may its end call `MPI_Finalize`.
        drop(ManuallyDrop::into_inner(self.universe));
        Ok(())
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("rank", &self.rank).field("size", &self.size).finish_non_exhaustive()
    }
}

/// Counts and places as MPI wants them, and the sum of the counts.
fn layout(lengths: &[usize]) -> Result<(Vec<c_int>, Vec<c_int>, usize)> {
    let (mut counts, mut places) = (Vec::with_capacity(lengths.len()), Vec::with_capacity(lengths.len()));
    let mut total = 0_usize;
    for &length in lengths {
        let end = total.checked_add(length).filter(|&end| end <= World::BYTES_MAX);
        let (Some(end), Ok(place), Ok(count)) = (end, c_int::try_from(total), c_int::try_from(length)) else {
            return Err(Error::invalid_argument(format!(
                "bytes of all processes are more than {} at a time: {lengths:?}",
                World::BYTES_MAX
            )));
        };
        places.push(place);
        counts.push(count);
        total = end;
    }
    Ok((counts, places, total))
}

fn check(call: &str, code: c_int) -> Result<()> {
    if u32::try_from(code) == Ok(ffi::MPI_SUCCESS) {
        return Ok(());
    }
    Err(Error::unavailable(format!("{call} failed with code {code}: {}", text(code))))
}

/// What MPI says of a code.
fn text(code: c_int) -> String {
    let mut buffer = [0 as c_char; ffi::MPI_MAX_ERROR_STRING as usize + 1];
    let mut length: c_int = 0;
    // SAFETY: the buffer is longer than any text of MPI, and both pointers are good through the call.
    let said = unsafe { ffi::MPI_Error_string(code, buffer.as_mut_ptr(), &raw mut length) };
    if u32::try_from(said) != Ok(ffi::MPI_SUCCESS) {
        return "MPI has no text for it".to_owned();
    }
    let bytes = buffer.iter().take(usize::try_from(length).unwrap_or(0)).map(|&byte| byte.cast_unsigned()).collect();
    String::from_utf8(bytes).unwrap_or_else(|_| "MPI's text is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use mlops_core::ErrorKind;

    use super::*;

    #[test]
    #[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    fn places_follow_each_other_within_what_mpi_can_count() {
        assert_eq!(layout(&[3, 0, 2]).unwrap(), (vec![3, 0, 2], vec![0, 3, 3], 5));
        assert_eq!(layout(&[World::BYTES_MAX, 0]).unwrap().2, World::BYTES_MAX);
        for lengths in [&[World::BYTES_MAX, 1][..], &[1, World::BYTES_MAX], &[usize::MAX, 2], &[World::BYTES_MAX + 1]] {
            assert_eq!(layout(lengths).unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
    }

    #[test]
    #[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    fn a_process_without_a_launcher_is_alone_and_enters_once() {
        let mut world = World::enter().unwrap();
        assert_eq!((world.rank(), world.size()), (0, 1));
        assert_eq!(World::enter().unwrap_err().kind(), ErrorKind::FailedPrecondition);
        assert_eq!(world.gather_numbers(7).unwrap(), [7]);
        let mut all = [0; 3];
        world.gather_bytes(&[1, 2, 3], &[3], &mut all).unwrap();
        assert_eq!(all, [1, 2, 3]);
        for (own, length, room) in [(&[1][..], 2, 2), (&[1], 1, 0), (&[1], 1, 2)] {
            let fault = world.gather_bytes(own, &[length], &mut all[..room]).unwrap_err();
            assert_eq!(fault.kind(), ErrorKind::InvalidArgument, "{fault}");
        }
        let fault = check("MPI_Allgatherv", -13).unwrap_err();
        assert_eq!(fault.kind(), ErrorKind::Unavailable);
        // SAFETY: the null communicator is a constant of the library; MPI refuses it by a code.
        let code = unsafe { ffi::MPI_Barrier(ffi::RSMPI_COMM_NULL) };
        let fault = check("MPI_Barrier", code).unwrap_err();
        assert!(fault.message().contains("MPI_ERR_COMM"), "{fault}");
        // SAFETY: no byte is read or written, as MPI refuses the count by a code.
        let code = unsafe { ffi::MPI_Bcast(std::ptr::null_mut(), -1, ffi::RSMPI_UINT8_T, 0, ffi::RSMPI_COMM_SELF) };
        let fault = check("MPI_Bcast", code).unwrap_err();
        assert!(fault.message().contains("MPI_ERR_COUNT"), "{fault}");
        assert!(world.is_home() && !thread::scope(|scope| scope.spawn(|| world.is_home()).join().unwrap()));
        world.close().unwrap();
        assert_eq!(World::enter().unwrap_err().kind(), ErrorKind::FailedPrecondition);
    }
}
