//! Point-in-time join: for every row of a spine, the feature values as they stood at that row's time.
//!
//! Invariant: the answer has the spine's rows in the spine's order, and nothing in a row comes from after it. The
//! rules, for each view on its own:
//!
//! 1. Left join: a spine row without a match has nulls.
//! 2. A source row is a candidate when all keys are equal (types exact, bytes exact, null equals nothing) and its
//!    event time is at or before the spine row's. A view without keys compares no keys.
//! 3. The winner has the greatest event time; among equals the greatest creation time (none loses), then the last
//!    in order of ingestion.
//! 4. With a time to live, a winner older than that (inclusive) counts as no match. It never uncovers another.
//! 5. [`Knowledge::Known`]: a candidate must also have been created at or before the spine row's time.
//! 6. Nulls of the winner stay null. Types, units and zones of all columns stay as they are.
//!
//! 7. With [`Bound::Exclusive`] a view's rows are seen only strictly after they become visible: "at or before" in
//!    rules 2 and 5 reads "before". The time to live stays inclusive.
//!
//! How: the spine is turned into the distinct moments of each key; the sources stream past it, once, unsorted, by row
//! group, columns of keys and times only; each moment keeps its best row; last the values of the winners are read.
//! Cost: O(n log n + m log(n of one key)) time for n spine rows and m source rows, and O(n) memory.

mod candidates;
mod entities;
mod gather;
mod keys;
mod pass;
mod pieces;
mod point_in_time;
mod resolved;
pub(crate) mod rows;
mod settings;
mod timeline;
mod view;

pub use entities::Moments;
pub(crate) use keys::KeyIndex;
pub(crate) use pieces::bytes as slice_bytes;
pub use point_in_time::PointInTimeJoin;
pub(crate) use resolved::check_key_types;
pub use settings::JoinSettings;
pub use view::{Bound, JoinView};

use serde::{Deserialize, Serialize};

/// Which source rows a spine row may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Knowledge {
    /// What had happened by then, even if it was recorded later.
    #[default]
    Event,
    /// What had happened and was recorded by then; rows without creation time are never seen.
    Known,
}
