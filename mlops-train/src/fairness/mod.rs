//! Whether a classifier treats groups alike, and how to make it.
//!
//! The definitions are those of [`mlops_metrics`]: [`GroupOutcomes`](mlops_metrics::GroupOutcomes) and
//! [`FairnessMetric`](mlops_metrics::FairnessMetric) for gaps with intervals,
//! [`benefit_entropy`](mlops_metrics::benefit_entropy) for individuals.
//!
//! | look for | in |
//! |---|---|
//! | metrics by group and intersection | [`MetricFrame`] |
//! | before training: weights of rows | [`Reweighing`] |
//! | after training: thresholds by group | [`ThresholdOptimizer`] |

mod frame;
mod reweighing;
mod threshold;
mod tradeoff;

pub use frame::{Cell, FrameGroup, FrameMetric, FrameSettings, FrameValue, MetricFrame, intersections};
pub use reweighing::Reweighing;
pub use threshold::{GroupRule, Parity, ThresholdOptimizer, ThresholdSettings};
