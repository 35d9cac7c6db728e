//! How good predictions are, in one definition for training gates and for live monitoring.
//!
//! ```
//! use mlops_metrics::{EstimateOptions, Measure, Metric, ScoredRows};
//!
//! let (labels, scores) = ([0.0, 1.0, 0.0, 1.0], [0.1, 0.9, 0.2, 0.2]);
//! assert_eq!(Metric::RocAuc.compute(&labels, &scores)?, 0.875);
//!
//! let rows = ScoredRows::Binary { labels: &labels, scores: &scores, threshold: 0.5 };
//! let accuracy = Measure::from(Metric::Accuracy).estimate(&rows, &EstimateOptions::default())?;
//! let interval = accuracy.interval.expect("proportions have one");
//! assert!(accuracy.value == 0.75 && interval.low < 0.4 && interval.high < 1.0);
//! # Ok::<(), mlops_core::Error>(())
//! ```
//!
//! Conventions are those of scikit-learn, and where a number does not exist the answer is an
//! error, never a stand-in. Pure functions of slices: no Arrow, no state, no randomness but from a
//! seed.
//!
//! | look for | in |
//! |---|---|
//! | one number for labels and scores | [`Metric`], [`RegressionMetric`], [`ClassMetric`], [`RankMetric`] |
//! | any of them by name, with its interval | [`Measure`], [`Estimate`] |
//! | counts of classes, mergeable | [`ConfusionMatrix`] |
//! | intervals of proportions, means, differences; the bootstrap | [`wilson`], [`Interval`], [`Bootstrap`] |
//! | groups treated alike | [`GroupOutcomes`], [`FairnessMetric`] |
//! | whether more or less of it is better | [`Direction`] |
//! | two models on the same rows | [`stats`] |

mod bootstrap;
mod calibration;
mod class_metric;
mod confusion;
mod direction;
mod estimate;
mod fairness;
mod interval;
mod measure;
mod metric;
mod probability;
pub mod random;
mod rank_metric;
mod ranking;
mod regression;
mod regression_metric;
pub mod special;
pub mod stats;

pub use bootstrap::{Bootstrap, BootstrapKind, RESAMPLES_MAX, Resampled};
pub use calibration::{CALIBRATION_BINS_MAX, CalibrationBins, expected_calibration_error};
pub use class_metric::{ClassMetric, ClassRows};
pub use confusion::{Average, CLASSES_MAX, ConfusionMatrix};
pub use direction::Direction;
pub use estimate::{Estimate, EstimateOptions, Evidence, ScoredRows};
pub use fairness::{FairnessGap, FairnessMetric, GROUPS_MAX, GroupOutcomes, Rate};
pub use interval::{
    Interval, IntervalMethod, check_level, clopper_pearson, katz_ratio, mover_difference, mover_mean, newcombe,
    student_mean, wilson,
};
pub use measure::Measure;
pub use metric::Metric;
pub use rank_metric::{RankKind, RankMetric};
pub use regression_metric::RegressionMetric;
