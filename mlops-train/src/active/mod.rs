//! Active learning: which rows to have labelled, and the queue in which people do so.
//!
//! | look for | in |
//! |---|---|
//! | how unsure a model or committee is | [`Uncertainty`], [`Committee`] |
//! | rows that cover the pool | [`k_center_greedy`] |
//! | rows for a budget, always some by chance | [`select`] |
//! | who labels what, disagreements and their settlement (feature `labeling`) | `queue` |

mod coverage;
#[cfg(feature = "labeling")]
pub mod queue;
mod selection;
mod uncertainty;

pub use coverage::k_center_greedy;
pub use selection::{Pool, Reason, Selected, SelectionSettings, select};
pub use uncertainty::{Committee, Uncertainty, entropy, least_confidence, margin};
