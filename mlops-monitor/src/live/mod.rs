//! Watching a service while it serves: predictions in, a report per window out.
//!
//! [`LiveMonitor`] takes what the server answers through core's `PredictionSink`, summarizes it window by window in
//! bounded memory and compares each finished window with the reference of the model version that answered.
//!
//! Invariant: the service never waits. Offering a batch is a queue operation; a full queue sheds and counts. All work is
//! done by one thread, which belongs to the [`LiveMonitor`] and whose end is noticed.

mod handler;
mod monitor;
mod pane;
mod settings;
mod stats;
mod time;
mod windows;
mod wiring;
mod worker;

#[cfg(test)]
mod tests;

pub use handler::{ReportHandler, WindowReport};
pub use monitor::{LiveMonitor, LiveMonitorBuilder};
pub use settings::{LatePolicy, LiveSettings, PANES_MAX, WindowKind};
pub use stats::LiveStats;
pub use wiring::AlertOnDrift;
