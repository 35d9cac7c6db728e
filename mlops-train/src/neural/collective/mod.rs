//! Groups whose members fit one module together: threads of one process, or processes of one or many machines.

#[cfg(feature = "mpi")]
mod mpi;
mod port;
mod threads;

#[cfg(feature = "mpi")]
pub use mpi::MpiGroup;
pub use port::Collective;
pub use threads::ThreadGroup;
