//! The few calls of MPI that processes of one training need, with every outcome checked.
//!
//! The safe calls of the crate `mpi` drop the codes that MPI returns, because MPI ends the process on any fault unless
//! told otherwise. Here it is told otherwise, and each code becomes an error; so the calls are made by hand, in one
//! file.
//!
//! Without the feature `mpi` this crate is empty, so that a machine without MPI compiles the workspace.

#[cfg(feature = "mpi")]
mod world;

#[cfg(feature = "mpi")]
pub use world::World;
