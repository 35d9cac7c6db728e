//! How well a model does before the labels have come: performance estimated from what it says about itself.
//!
//! | model | estimator | rests on |
//! |---|---|---|
//! | two classes | [`Cbpe`] | calibrated probabilities: a row scored 0.8 is right in 8 cases of 10 |
//! | more classes | [`CbpeMulticlass`] | the same, one class against the rest |
//! | numbers | [`Dle`] | a second model that learnt how wrong the first one is where |
//!
//! **Both are blind to concept shift.** They see that inputs have moved to where the model is known to be weak. When
//! the relation between inputs and outcome itself changes (P(y | x)), probabilities are no longer calibrated, losses
//! no longer those that were learnt, and the estimate stays at its old level while the model fails. An estimate never
//! replaces labels: join them when they come, and let the realised metric have the last word.
//!
//! Invariant: the band around an estimate is the sampling error of the *realised* metric on a window of that many rows,
//! taken from the reference. It holds neither the error of the calibration nor any concept shift.
//!
//! Sources: NannyML's documentation of confidence-based performance estimation and direct loss estimation; Bialek,
//! Kuberski, Perrakis, Bifet, arXiv 2407.08649, 2024.

mod band;
mod calibration;
mod cbpe;
mod dle;
mod expected;
#[cfg(feature = "dle")]
mod forest;
mod loss;
mod metric;
mod multiclass;
mod ranking;
mod section;

pub use band::{AlertRule, BandSettings, EstimateVerdict, MetricEstimate, PerformanceEstimate};
pub use calibration::{CalibrationRule, IsotonicCalibration};
pub use cbpe::{Cbpe, CbpeReference, CbpeSettings};
pub use dle::{Dle, DleReference, DleSettings};
#[cfg(feature = "dle")]
pub use forest::{LossForest, LossForestSettings};
pub use loss::{Loss, LossMetric, LossModel};
pub use metric::{CbpeMetric, ValueMatrix};
pub use multiclass::{CbpeMulticlass, CbpeMulticlassReference};
