//! May this model replace the one in service: declared once, judged on labelled rows.
//!
//! Invariant: a gate passes only if every check passes, and a check that cannot be computed does
//! not pass.
//!
//! | required | by |
//! |---|---|
//! | metrics, against the champion, on slices | `require`, `beat_champion`, `require_on_slices`, `no_worse_slice` |
//! | groups treated alike | `require_fairness` |
//! | speed and size | `latency_max`, `size_max` |
//! | an honest test | `no_leakage` |
//! | behavior, business rules, bad data | `require_behavior`, `require_scenario`, `require_robust` |

mod behavior;
mod builder;
mod champion;
mod checks;
mod columns;
mod discovery;
mod judge;
mod junit;
mod latency;
mod leakage;
mod requirement;
mod robustness;
mod verdict;

pub use behavior::{Change, Expectation, Scenario};
pub use builder::{Gate, GateBuilder};
pub use discovery::{DiscoveredSlice, DiscoverySettings, discover_slices};
pub use judge::{GateInput, Slice};
pub use latency::latency_per_row;
pub use leakage::{Leakage, leakage};
pub use robustness::Disturbance;
pub use verdict::{CheckResult, Verdict};
