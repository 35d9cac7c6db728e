//! How good are the predictions, now that their labels have come?
//!
//! Labels are joined to predictions by id however late they arrive ([`LabelJoin`]); windows of
//! joined rows become reports ([`PerformanceMonitor`]) that compare every metric with a stored
//! [`PerformanceReference`], name the worst slices, follow fairness over time and put a value on it
//! all ([`ValueMatrix`]). What cannot be known without labels is not guessed here.
//!
//! Invariant: every prediction taken is joined, pending or evicted, and says so in the counts.

mod business;
mod business_report;
mod columns;
mod compare;
mod fairness;
mod intake;
mod join;
mod join_state;
mod labels;
mod monitor;
mod reference;
mod report;
mod rows;
mod section;
mod settings;
mod slices;
mod uplift;

pub use business::{BaselinePolicy, BinaryValues, BusinessSettings, RunCost, ValueMatrix, ValueSource};
pub use business_report::BusinessReport;
pub use columns::{LabelColumns, RowColumns, Task};
pub use compare::PerformanceVerdict;
pub use fairness::{FairnessPoint, FairnessReport, FairnessSettings, FairnessValue, FairnessVerdict, GroupReport};
pub use intake::{LabelIntake, PredictionIntake};
pub use join::{JoinCounts, JoinSettings, JoinWindow, LabelJoin};
pub use labels::PerformanceLabels;
pub use monitor::{PerformanceMonitor, PerformanceMonitorBuilder};
pub use reference::PerformanceReference;
pub use report::{LabelDelay, MetricReport, PerformanceHeadline, PerformanceReport};
pub use rows::{Cell, LabeledRows};
pub use settings::{PerformanceSettings, WindowSettings};
pub use slices::{SliceCondition, SliceReport, SliceSettings, SlicesReport};
pub use uplift::{HoldoutSettings, SampleRatio, Uplift, sample_ratio};
