//! What is computed over a window, and of which type it is.

use std::{fmt, sync::Arc};

use arrow_schema::{DataType, Field};
use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Most values that [`Function::LastN`] gives.
pub const LAST_N_MAX: u32 = 1_000;

/// What is computed over a window. Null inputs are skipped; over no input `Count` and `ApproxDistinct` are 0 and the
/// others are null. "Newest" and "oldest" are by event time, then by arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Function {
    /// How many values are not null; `Int64`.
    Count,
    /// Sum: `Int64` over integers (an error when it does not fit), `Float64` over floats: the exact sum, rounded once to
    /// the nearest double, whatever the order.
    Sum,
    /// Arithmetic mean, the exact sum divided by the count, rounded once; `Float64`.
    Mean,
    /// Least value, in the column's type; NaN is greater than every number.
    Min,
    /// Greatest value, in the column's type; NaN is greater than every number.
    Max,
    /// Sample standard deviation, the root of [`Function::Var`]; null when n < 2; `Float64`.
    Std,
    /// Sample variance, sum((x - mean)^2) / (n - 1), exact until it is rounded once; null when n < 2, NaN over a value
    /// that is not finite; `Float64`.
    Var,
    /// The value of the newest event whose value is not null, in the column's type.
    Last,
    /// The value of the oldest event whose value is not null, in the column's type.
    First,
    /// Up to this many values, newest first; a list of the column's type. 1 to [`LAST_N_MAX`].
    LastN(u32),
    /// How many different values there are; `Int64`. NaN is one value, and so are 0 and -0. The name allows an engine
    /// to estimate; this one counts the events that it keeps, without error.
    ApproxDistinct,
    /// The quantile by linear interpolation between the two nearest values (Hyndman and Fan 1996, type 7, which NumPy
    /// and R use by default); `Float64`. NaN is greater than every number. The name allows an engine to estimate; this
    /// one sorts the events that it keeps, without error.
    ApproxQuantile(Quantile),
}

/// A share from 0 to 1 in steps of a millionth: 0.5 is the median.
///
/// ```
/// use mlops_features::Quantile;
///
/// assert_eq!(Quantile::new(0.95)?.to_string(), "0.95");
/// assert!(Quantile::new(1.5).is_err());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Quantile(u32);

/// Parts of a whole.
const MILLION: u32 = 1_000_000;

impl Quantile {
    /// The quantile at `share`, rounded to a millionth.
    ///
    /// # Errors
    /// `InvalidArgument` unless `share` is from 0 to 1.
    pub fn new(share: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::invalid_argument(format!("quantile {share} is not from 0 to 1")));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to a million")]
        Ok(Self((share * f64::from(MILLION)).round() as u32))
    }

    /// Where the quantile lies among `count` values in order, of which there is at least one: the index of the value at
    /// or below it, and how far it is from there to the next.
    pub(crate) fn place(self, count: usize) -> (usize, f64) {
        let whole = (count.max(1) as u128 - 1) * u128::from(self.0);
        let below = usize::try_from(whole / u128::from(MILLION)).unwrap_or(usize::MAX);
        let rest = u32::try_from(whole % u128::from(MILLION)).unwrap_or(0);
        (below, f64::from(rest) / f64::from(MILLION))
    }
}

impl TryFrom<f64> for Quantile {
    type Error = Error;
    fn try_from(share: f64) -> Result<Self> {
        Self::new(share)
    }
}

impl From<Quantile> for f64 {
    fn from(quantile: Quantile) -> Self {
        Self::from(quantile.0) / Self::from(MILLION)
    }
}

impl fmt::Display for Quantile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f64::from(*self).fmt(f)
    }
}

impl Function {
    /// The type of the result over a column of type `input`.
    ///
    /// # Errors
    /// `InvalidArgument` when the function is not defined over that type, or asks for no value or too many.
    pub fn output_type(self, input: &DataType) -> Result<DataType> {
        use DataType as T;
        let integer = matches!(input, T::Int8 | T::Int16 | T::Int32 | T::Int64);
        let float = matches!(input, T::Float32 | T::Float64);
        let time = matches!(input, T::Timestamp(_, _) | T::Date32);
        let ordered = integer || float || time;
        let plain = ordered || matches!(input, T::Boolean | T::Utf8);
        match self {
            Self::Count | Self::ApproxDistinct if plain => Ok(T::Int64),
            Self::Sum if integer => Ok(T::Int64),
            Self::Sum | Self::Mean | Self::Std | Self::Var | Self::ApproxQuantile(_) if integer || float => {
                Ok(T::Float64)
            }
            Self::Min | Self::Max if ordered => Ok(input.clone()),
            Self::Last | Self::First if plain => Ok(input.clone()),
            Self::LastN(n) if !(1..=LAST_N_MAX).contains(&n) => {
                Err(Error::invalid_argument(format!("{self} asks for {n} values; 1 to {LAST_N_MAX} are allowed")))
            }
            Self::LastN(_) if plain => Ok(T::List(Arc::new(Field::new_list_field(input.clone(), true)))),
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
            Self::Var => "var",
            Self::Last => "last",
            Self::First => "first",
            Self::ApproxDistinct => "approx_distinct",
            Self::LastN(n) => return write!(f, "last({n})"),
            Self::ApproxQuantile(quantile) => return write!(f, "approx_quantile({quantile})"),
        })
    }
}
