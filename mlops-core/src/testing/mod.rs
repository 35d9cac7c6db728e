//! Parts for tests: a clock that stands still, seeded data, ports that fail on command.
//!
//! Behind the feature `testing`, never in a default build.

mod clock;
mod data;
mod sinks;

pub use clock::ManualClock;
pub use data::SplitMix64;
pub use sinks::{FaultySink, RecordingHandler, RecordingSink};
