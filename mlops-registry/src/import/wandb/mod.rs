//! Runs of Weights & Biases: the folders that its client writes, and what its public API gives out. [`WandbRuns`] says
//! what is read of them.
//!
//! Invariant: links are not followed. A run is known by its id in its project, so an offline folder and a later export of
//! the same run are one run here, and so are the folders of a run that was taken up again.

mod entry;
mod facts;
mod part;
mod record;
mod record_file;
mod source;
mod values;
mod wire;

pub use source::WandbRuns;
