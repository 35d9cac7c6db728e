//! One number (or last value) over the recent events of an entity.

use std::{sync::Arc, time::Duration};

use arrow_schema::{DataType, TimeUnit};
use serde::{Deserialize, Serialize};

use super::Function;

/// A function over one column in the window `(t - window, t]`, t being the time asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregation {
    /// Name of the feature.
    pub name: Arc<str>,
    /// What is computed.
    pub function: Function,
    /// Column it is computed over.
    pub column: Arc<str>,
    /// Length of the window; an event exactly this old is outside.
    pub window: Duration,
}

impl Aggregation {
    /// Feature `name` is `function` of `column` over `window`.
    #[must_use]
    pub fn new(name: impl AsRef<str>, function: Function, column: impl AsRef<str>, window: Duration) -> Self {
        Self { name: name.as_ref().into(), function, column: column.as_ref().into(), window }
    }

    /// The window in whole microseconds; checked to fit when the view is built.
    pub(crate) fn window_micros(&self) -> i64 {
        i64::try_from(self.window.as_micros()).unwrap_or(i64::MAX)
    }
}

/// The one timestamp type that views use for event and creation time.
pub(crate) fn is_timestamp(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond, _)
    )
}
