//! How good predictions are, in one definition for training gates and for live monitoring.
//!
//! ```
//! use mlops_metrics::Metric;
//!
//! let (labels, scores) = ([0.0, 1.0, 0.0, 1.0], [0.1, 0.9, 0.2, 0.2]);
//! assert_eq!(Metric::RocAuc.compute(&labels, &scores)?, 0.875);
//! # Ok::<(), mlops_core::Error>(())
//! ```
//!
//! Conventions are those of scikit-learn, and where a number does not exist the answer is an
//! error, never a stand-in. Pure functions of slices: no Arrow, no state, no randomness.
//!
//! | look for | in |
//! |---|---|
//! | one number for labels and scores | [`Metric`] |
//! | whether more or less of it is better | [`Direction`] |
//! | two models on the same rows | [`stats`] |

mod direction;
mod metric;
mod probability;
mod ranking;
mod regression;
pub mod stats;
mod threshold;

pub use direction::Direction;
pub use metric::Metric;
