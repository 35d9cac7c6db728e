//! What rules are told besides their columns: limits, and choices by name.
//!
//! Invariant: plain data with a stable serialized form; each choice has the default of the field's tools.

use serde::{Deserialize, Serialize};

use crate::quality::value::SetValue;

/// An interval for the values of a column or for a figure computed from it. A missing end is no
/// limit; ends are inclusive unless strict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// The column.
    pub column: String,
    /// Least value, if there is one.
    #[serde(default)]
    pub min: Option<SetValue>,
    /// Greatest value, if there is one.
    #[serde(default)]
    pub max: Option<SetValue>,
    /// Whether `min` itself is outside.
    #[serde(default, skip_serializing_if = "is_false")]
    pub strict_min: bool,
    /// Whether `max` itself is outside.
    #[serde(default, skip_serializing_if = "is_false")]
    pub strict_max: bool,
}

/// An interval for a figure computed from two columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairLimits {
    /// One column.
    pub a: String,
    /// The other.
    pub b: String,
    /// Least figure, if there is a limit.
    #[serde(default)]
    pub min: Option<f64>,
    /// Greatest figure, if there is a limit.
    #[serde(default)]
    pub max: Option<f64>,
}

/// An interval for one quantile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct QuantileLimits {
    /// Which quantile, 0 to 1.
    pub quantile: f64,
    /// Least value, if there is a limit.
    #[serde(default)]
    pub min: Option<f64>,
    /// Greatest value, if there is a limit.
    #[serde(default)]
    pub max: Option<f64>,
}

/// How a quantile between two order statistics is formed: position `(n - 1) q` in the ascending
/// values, then as named (numpy's names; Hyndman and Fan's type 7 is `linear`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// The nearer order statistic, of two equally near the one with the even index; what Great
    /// Expectations does.
    #[default]
    Nearest,
    /// In proportion to the distance.
    Linear,
    /// The lower order statistic.
    Lower,
    /// The higher order statistic.
    Higher,
    /// The mean of both.
    Midpoint,
}

/// Which rows a rule about several columns leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IgnoreRowIf {
    /// Rows where every one of the columns is null; the default.
    #[default]
    AllMissing,
    /// Rows where at least one of the columns is null.
    AnyMissing,
    /// None. A null in a row that counts breaks comparisons and sums.
    Never,
}

/// What the length of text is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LengthUnit {
    /// Unicode scalar values, as Python's `len`.
    #[default]
    Chars,
    /// Bytes of UTF-8.
    Bytes,
}

/// One column of an expected schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaField {
    /// Its name.
    pub name: String,
    /// Its type by name, such as `Int64`, `String` or `Date32`; any when absent. Layouts of text
    /// and binary (large, view, dictionary) count as one.
    #[serde(default)]
    pub data_type: Option<String>,
}

/// One admissible pair; `None` is a null.
pub type ValuePair = (Option<SetValue>, Option<SetValue>);

fn is_false(value: &bool) -> bool {
    !value
}
