//! Parts for tests: a clock that stands still, seeded data, ports that fail on command, a process that is
//! killed, a disk that is full.
//!
//! Behind the feature `testing`, never in a default build.

mod clock;
mod data;
mod disk;
mod kill;
mod sinks;

pub use clock::ManualClock;
pub use data::SplitMix64;
pub use disk::{bytes_below, occupy, passes_on_small_disk};
pub use kill::{acknowledge, run_and_kill};
pub use sinks::{FaultySink, RecordingHandler, RecordingSink};
