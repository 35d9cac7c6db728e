//! One number (or last value) over the recent events of an entity.

use std::{fmt, sync::Arc, time::Duration};

use arrow_schema::{DataType, TimeUnit};
use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// What is computed over a window. Null inputs are skipped; over no input `Count` is 0 and the others are null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Function {
    /// How many values are not null; `Int64`.
    Count,
    /// Sum: `Int64` over integers (an error when it does not fit), `Float64` over floats, added in order of time.
    Sum,
    /// Arithmetic mean, sum divided by count; `Float64`.
    Mean,
    /// Least value, in the column's type; NaN is greater than every number.
    Min,
    /// Greatest value, in the column's type; NaN is greater than every number.
    Max,
    /// Sample standard deviation, sqrt(sum((x - mean)^2) / (n - 1)) in two passes; null when n < 2; `Float64`.
    Std,
    /// The value of the newest event whose value is not null, in the column's type.
    Last,
}

impl Function {
    /// The type of the result over a column of type `input`.
    ///
    /// # Errors
    /// `InvalidArgument` when the function is not defined over that type.
    pub fn output_type(self, input: &DataType) -> Result<DataType> {
        use DataType as T;
        let integer = matches!(input, T::Int8 | T::Int16 | T::Int32 | T::Int64);
        let float = matches!(input, T::Float32 | T::Float64);
        let time = matches!(input, T::Timestamp(_, _) | T::Date32);
        let ordered = integer || float || time;
        let plain = ordered || matches!(input, T::Boolean | T::Utf8);
        match self {
            Self::Count if plain => Ok(T::Int64),
            Self::Sum if integer => Ok(T::Int64),
            Self::Sum | Self::Mean | Self::Std if integer || float => Ok(T::Float64),
            Self::Min | Self::Max if ordered => Ok(input.clone()),
            Self::Last if plain => Ok(input.clone()),
            _ => Err(Error::invalid_argument(format!("{self} is not defined over a column of type {input}"))),
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Mean => "mean",
            Self::Min => "min",
            Self::Max => "max",
            Self::Std => "std",
            Self::Last => "last",
        })
    }
}

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
