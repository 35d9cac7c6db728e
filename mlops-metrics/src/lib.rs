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
//! | curves over thresholds, areas under them | [`roc_curve`], [`precision_recall_curve`], [`det_curve`] |
//! | losses with a parameter, correlations, ranked lists, labellings | [`tweedie_deviance`], [`kendall_tau`], [`RankedList`], [`Agreement`] |
//! | whether probabilities mean what they say, and making them so | [`calibration_curve`], [`PlattScaling`], [`TemperatureScaling`] |
//! | intervals of proportions, means, differences; the bootstrap | [`wilson`], [`Interval`], [`Bootstrap`] |
//! | groups and individuals treated alike | [`GroupOutcomes`], [`FairnessMetric`], [`benefit_entropy`] |
//! | whether more or less of it is better | [`Direction`] |
//! | models against each other, corrections for many tests | [`stats`] |
//! | tails of distributions, special functions | [`distribution`], [`special`] |

mod bootstrap;
mod calibration;
mod class_metric;
mod class_scores;
mod clustering;
mod confusion;
mod correlation;
mod curves;
mod deviance;
mod direction;
pub mod distribution;
mod estimate;
mod fairness;
mod inequality;
mod interval;
mod label_ranking;
mod measure;
mod metric;
mod probability;
pub mod random;
mod rank_metric;
mod ranking;
mod regression;
mod regression_metric;
mod scaling;
pub mod special;
pub mod stats;
mod unit;

pub use bootstrap::{Bootstrap, BootstrapKind, RESAMPLES_MAX, Resampled};
pub use calibration::{
    CALIBRATION_BINS_MAX, CalibrationBin, CalibrationBins, calibration_curve, expected_calibration_error,
    maximum_calibration_error,
};
pub use class_metric::{ClassMetric, ClassRows};
pub use clustering::Agreement;
pub use confusion::{Average, CLASSES_MAX, ConfusionMatrix};
pub use correlation::{kendall_tau, pearson, spearman};
pub use curves::{
    DetCurve, PrecisionRecallCurve, RocCurve, d2_log_loss, det_curve, partial_roc_auc, precision_recall_auc,
    precision_recall_curve, roc_curve,
};
pub use deviance::{huber_loss, mase, tweedie_deviance};
pub use direction::Direction;
pub use estimate::{Estimate, EstimateOptions, Evidence, ScoredRows};
pub use fairness::{FairnessGap, FairnessMetric, GROUPS_MAX, GroupOutcomes, Rate};
pub use inequality::{FOUR_FIFTHS, benefit_entropy};
pub use interval::{
    Interval, IntervalMethod, check_level, clopper_pearson, katz_ratio, mover_difference, mover_mean, newcombe,
    student_mean, wilson,
};
pub use label_ranking::{RankedList, dcg, ndcg};
pub use measure::Measure;
pub use metric::Metric;
pub use rank_metric::{RankKind, RankMetric};
pub use regression_metric::RegressionMetric;
pub use scaling::{PlattScaling, TemperatureScaling};
pub use unit::square_unit;
