//! How good predictions are.
//!
//! Conventions are those of scikit-learn, and where a number does not exist the answer is an
//! error, never a stand-in.

mod metric;
mod probability;
mod ranking;
mod regression;
mod threshold;

pub use metric::Metric;
