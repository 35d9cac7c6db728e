//! A model over files of any size: Parquet in, Parquet out, exactly one output row per input row, in order.
//!
//! Work goes part by part: a part is an input file and the output file of the same name. Invariants: nothing is computed
//! before every part was found to fit the model; an output part is whole or absent, because it is written under
//! another name, made durable and then renamed; and it says in its own footer what it was made of, so a job that is
//! started again computes what is missing or outdated and nothing else. Memory holds a few batches and one group of
//! output rows for each worker, however large the files are.

mod delta;
mod fault;
mod input;
mod job;
mod part;
mod plan;
mod progress;
mod record;
mod score;
mod settings;
mod shape;
mod staged;

pub use input::BatchInput;
pub use job::{BatchCancel, BatchJob, BatchJobBuilder, BatchReport, PartReport};
pub use progress::BatchProgress;
pub use settings::{BadRows, BatchSettings, Fingerprint};
