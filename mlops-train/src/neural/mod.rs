//! Training of any Burn module: [`BurnTrainer`] owns the loop, a [`Learner`] says what is learnt,
//! a [`Loader`] gives the rows.
//!
//! Parameters and the optimizer's moments live on the host in single precision, as one vector each;
//! the device holds the module and computes gradients. So a checkpoint is what the loop has at hand,
//! a resumed fit is the same to the bit on the CPU, and processors can share a step by adding
//! vectors. Burn's own loop has no state of the loader and cannot go on in the middle of an epoch.
//!
//! Invariant: batches are a function of the seed and the epoch; gradients of one step are added in
//! the order of their batches, pair by pair.

mod averaging;
mod bundle;
mod collective;
mod fit;
mod learner;
mod loader;
mod optimizer;
mod parameters;
#[cfg(feature = "parquet")]
mod parquet;
mod precision;
mod schedule;
mod settings;
mod sharing;
mod state;
pub(crate) mod table;

#[cfg(feature = "mpi")]
pub use collective::MpiGroup;
pub use collective::{Collective, ThreadGroup};
pub use fit::{BurnTrainer, Trained};
pub use learner::Learner;
pub use loader::{Loader, Pass};
pub use optimizer::OptimizerKind;
#[cfg(feature = "parquet")]
pub use parquet::ParquetLoader;
pub use precision::Precision;
pub use schedule::Schedule;
pub use settings::BurnSettings;
pub use state::EpochRecord;

pub(crate) use loader::digest_numbers;
pub(crate) use parameters::to_vec;
