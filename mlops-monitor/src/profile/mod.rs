//! Bounded summaries of data: what a model learnt from, and what it sees.
//!
//! Invariant: no summary grows with the rows it has seen. [`Profile`] follows a stream and merges; [`ReferenceProfile`]
//! is what is stored beside a model and compared with; one becomes the other by [`ReferenceProfile::from_profile`].

mod codec;
mod column;
mod container;
mod distinct;
mod frequent;
mod kll;
mod levels;
mod moments;
mod numbers;
mod reference;
mod reference_format;
mod runs;
mod settings;
mod stream;
mod summary;

pub use reference::{ColumnProfile, ProfileSettings, ReferenceProfile};
pub use reference_format::PROFILE_BYTES_MAX;
pub(crate) use runs::Runs;
pub use settings::SketchSettings;
pub use stream::Profile;
pub use summary::{ColumnSummary, FrequentLevel, Interval, NumericSummary, ProfileSummary, Sketches};
