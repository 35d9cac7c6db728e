//! The vocabulary of rules: one variant per rule.
//!
//! Invariant: the tag in the serialized form is the rule's name, and both are stable.

use mlops_core::DataType;
use serde::{Deserialize, Serialize};

use super::parameters::{
    IgnoreRowIf, Interpolation, LengthUnit, Limits, PairLimits, QuantileLimits, SchemaField, ValuePair,
};
use crate::quality::value::SetValue;

/// What is expected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Expectation {
    /// Every row has a value.
    NotNull {
        /// The column.
        column: String,
        /// Whether NaN counts as no value. In Arrow it is one, so the default is no.
        #[serde(default)]
        nan_as_null: bool,
    },
    /// No row has a value.
    IsNull {
        /// The column.
        column: String,
    },
    /// Rows with a value / rows.
    Completeness(Limits),
    /// No value occurs twice; every row of a repeated value breaks it.
    Unique {
        /// The column.
        column: String,
    },
    /// Values that occur exactly once / rows with a value (Deequ's uniqueness).
    Uniqueness(Limits),
    /// Distinct values / rows with a value.
    Distinctness(Limits),
    /// Values that occur exactly once / distinct values.
    UniqueValueRatio(Limits),
    /// The number of distinct values.
    DistinctCount(Limits),
    /// No tuple of values occurs twice; every row of a repeated tuple breaks it.
    CompoundUnique {
        /// The columns, at least two.
        columns: Vec<String>,
        /// Rows left out.
        #[serde(default)]
        ignore_row_if: IgnoreRowIf,
    },
    /// Within each row, all columns differ.
    UniqueWithinRecord {
        /// The columns, at least two, of one type.
        columns: Vec<String>,
        /// Rows left out.
        #[serde(default)]
        ignore_row_if: IgnoreRowIf,
    },
    /// Values are among these.
    InSet {
        /// The column.
        column: String,
        /// The allowed values, all of one type.
        values: Vec<SetValue>,
    },
    /// Values are none of these.
    NotInSet {
        /// The column.
        column: String,
        /// The forbidden values, all of one type.
        values: Vec<SetValue>,
    },
    /// The distinct values are exactly these.
    DistinctEqualSet {
        /// The column.
        column: String,
        /// The values.
        values: Vec<SetValue>,
    },
    /// Each of these occurs.
    DistinctContainSet {
        /// The column.
        column: String,
        /// The values.
        values: Vec<SetValue>,
    },
    /// Every distinct value is one of these: `in_set` without counting rows.
    DistinctInSet {
        /// The column.
        column: String,
        /// The values.
        values: Vec<SetValue>,
    },
    /// The most common value is one of these.
    MostCommonInSet {
        /// The column.
        column: String,
        /// The values.
        values: Vec<SetValue>,
        /// Among equally common values: whether one in the set suffices. Otherwise a tie fails, as
        /// in Great Expectations.
        #[serde(default)]
        ties_okay: bool,
    },
    /// Values lie within an interval: numbers, decimals, text (by bytes), dates, timestamps. NaN
    /// lies in none.
    #[serde(alias = "in_range")]
    Between(Limits),
    /// Each value is at least the one before it.
    Increasing {
        /// The column.
        column: String,
        /// Whether it must be greater.
        #[serde(default)]
        strictly: bool,
    },
    /// Each value is at most the one before it.
    Decreasing {
        /// The column.
        column: String,
        /// Whether it must be less.
        #[serde(default)]
        strictly: bool,
    },
    /// Values lie near the mean: (value - mean) / standard deviation, with the mean and the sample
    /// standard deviation (n - 1) of the same data, is below the threshold.
    ZScoreLess {
        /// The column.
        column: String,
        /// The threshold, above zero.
        threshold: f64,
        /// Whether distance below the mean counts as well.
        #[serde(default = "yes")]
        double_sided: bool,
    },
    /// The batch has the column with this type; layouts of text and binary count as one.
    #[serde(alias = "type_is")]
    ColumnType {
        /// The column.
        column: String,
        /// Its type.
        data_type: DataType,
    },
    /// The batch has the column with one of these types, by name: `Int64`, `String`, `Date32`...
    TypeIn {
        /// The column.
        column: String,
        /// The names.
        data_types: Vec<String>,
    },
    /// Text matches a pattern.
    Regex {
        /// The column.
        column: String,
        /// In the syntax of the `regex` crate: no look-around, no back-references, linear time.
        pattern: String,
        /// Whether the whole text must match; otherwise a match anywhere suffices.
        #[serde(default)]
        anchored: bool,
    },
    /// Text does not match a pattern.
    NotRegex {
        /// The column.
        column: String,
        /// The pattern.
        pattern: String,
        /// Whether only a match of the whole text counts.
        #[serde(default)]
        anchored: bool,
    },
    /// Text matches at least one pattern.
    AnyOfRegex {
        /// The column.
        column: String,
        /// The patterns.
        patterns: Vec<String>,
        /// Whether the whole text must match.
        #[serde(default)]
        anchored: bool,
    },
    /// Text matches every pattern.
    AllOfRegex {
        /// The column.
        column: String,
        /// The patterns.
        patterns: Vec<String>,
        /// Whether the whole text must match.
        #[serde(default)]
        anchored: bool,
    },
    /// Text matches no pattern.
    NoneOfRegex {
        /// The column.
        column: String,
        /// The patterns.
        patterns: Vec<String>,
        /// Whether only a match of the whole text counts.
        #[serde(default)]
        anchored: bool,
    },
    /// Text is like an SQL pattern: `%` any characters, `_` one, `\` makes the next literal. The
    /// whole text must match, and case counts.
    Like {
        /// The column.
        column: String,
        /// The pattern.
        pattern: String,
    },
    /// Text is not like an SQL pattern.
    NotLike {
        /// The column.
        column: String,
        /// The pattern.
        pattern: String,
    },
    /// Text is like at least one SQL pattern.
    AnyOfLike {
        /// The column.
        column: String,
        /// The patterns.
        patterns: Vec<String>,
    },
    /// Text is like none of the SQL patterns.
    NoneOfLike {
        /// The column.
        column: String,
        /// The patterns.
        patterns: Vec<String>,
    },
    /// The length of text lies within inclusive bounds.
    LengthBetween {
        /// The column.
        column: String,
        /// Shortest, if there is a limit.
        #[serde(default)]
        min: Option<u64>,
        /// Longest, if there is a limit.
        #[serde(default)]
        max: Option<u64>,
        /// What is counted.
        #[serde(default)]
        unit: LengthUnit,
    },
    /// Text has this length.
    LengthEquals {
        /// The column.
        column: String,
        /// The length.
        length: u64,
        /// What is counted.
        #[serde(default)]
        unit: LengthUnit,
    },
    /// Text is a date or time of this `strftime` format, all of it, and one that exists.
    Strftime {
        /// The column.
        column: String,
        /// The format.
        format: String,
    },
    /// Text is an ISO 8601 date, or date and time with or without offset, or an RFC 2822 date.
    DateParseable {
        /// The column.
        column: String,
    },
    /// Text is one JSON document (RFC 8259), nested at most 127 deep.
    JsonParseable {
        /// The column.
        column: String,
    },
    /// Text is an e-mail address: dot-atom of at most 64 ASCII characters, `@`, and a domain of at
    /// least two labels whose last is alphabetic, 254 in all. No quoted local part, no comment.
    Email {
        /// The column.
        column: String,
    },
    /// Text is an absolute `http`, `https` or `ftp` URL with a host name, IPv4 or bracketed IPv6
    /// address, optional port, path, query and fragment, without white space.
    Url {
        /// The column.
        column: String,
    },
    /// Text is a payment card number: 12 to 19 digits, groups parted by single blanks or hyphens,
    /// with a correct Luhn digit (ISO/IEC 7812-1).
    CreditCard {
        /// The column.
        column: String,
    },
    /// Text is a United States social security number `AAA-GG-SSSS` or nine digits: area not 000,
    /// 666 or 900 and above, group not 00, serial not 0000.
    Ssn {
        /// The column.
        column: String,
    },
    /// The least value.
    Min(Limits),
    /// The greatest value.
    Max(Limits),
    /// The mean.
    Mean(Limits),
    /// The median; of an even number of values the mean of the middle two.
    Median(Limits),
    /// The standard deviation.
    Stdev {
        /// Column and interval.
        #[serde(flatten)]
        limits: Limits,
        /// Subtracted from the number of values in the denominator: 1 is the sample's (Great
        /// Expectations), 0 the population's (Deequ).
        #[serde(default = "sample")]
        ddof: u8,
    },
    /// The sum.
    Sum(Limits),
    /// Quantiles, each within its interval.
    Quantiles {
        /// The column.
        column: String,
        /// The quantiles.
        quantiles: Vec<QuantileLimits>,
        /// Between order statistics.
        #[serde(default)]
        interpolation: Interpolation,
    },
    /// In each row, `a` is greater than `b`.
    PairGreater {
        /// One column.
        a: String,
        /// The other.
        b: String,
        /// Whether equal is enough.
        #[serde(default)]
        or_equal: bool,
        /// Rows left out.
        #[serde(default)]
        ignore_row_if: IgnoreRowIf,
    },
    /// In each row, `a` equals `b`.
    PairEqual {
        /// One column.
        a: String,
        /// The other.
        b: String,
        /// Rows left out.
        #[serde(default)]
        ignore_row_if: IgnoreRowIf,
    },
    /// In each row, the pair is one of these.
    PairInSet {
        /// One column.
        a: String,
        /// The other.
        b: String,
        /// The pairs.
        pairs: Vec<ValuePair>,
        /// Rows left out.
        #[serde(default)]
        ignore_row_if: IgnoreRowIf,
    },
    /// In each row, the columns add up to `total`.
    SumEquals {
        /// The columns, at least two.
        columns: Vec<String>,
        /// The sum.
        total: f64,
        /// Largest deviation allowed, for sums of floats.
        #[serde(default)]
        tolerance: f64,
        /// Rows left out.
        #[serde(default)]
        ignore_row_if: IgnoreRowIf,
    },
    /// Pearson's correlation of two columns of numbers, -1 to 1, over rows where both have values.
    Correlation(PairLimits),
    /// Mutual information of two columns in nats, over rows where both have values.
    MutualInformation(PairLimits),
    /// Cramer's V (phi of the table) of two columns, 0 to 1, over rows where both have values.
    CramersPhi(PairLimits),
    /// Shannon entropy of a column's values in nats.
    Entropy(Limits),
    /// The number of rows lies within inclusive bounds.
    RowCountBetween {
        /// Fewest rows, if there is a limit.
        #[serde(default)]
        min: Option<u64>,
        /// Most rows, if there is a limit.
        #[serde(default)]
        max: Option<u64>,
    },
    /// The number of rows.
    RowCountEquals {
        /// The number.
        count: u64,
    },
    /// As many rows as another table, which is handed to the run by name.
    RowCountEqualsTable {
        /// The table.
        table: String,
    },
    /// The batch has the column.
    #[serde(alias = "column_exists")]
    ColumnPresent {
        /// The column.
        column: String,
        /// At this position, counted from zero, if it matters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        index: Option<usize>,
    },
    /// The number of columns lies within inclusive bounds.
    ColumnCountBetween {
        /// Fewest, if there is a limit.
        #[serde(default)]
        min: Option<u64>,
        /// Most, if there is a limit.
        #[serde(default)]
        max: Option<u64>,
    },
    /// The columns, in this order, and no other.
    ColumnsOrdered {
        /// The names.
        columns: Vec<String>,
    },
    /// The columns in any order.
    ColumnSet {
        /// The names.
        columns: Vec<String>,
        /// Whether no other may be there.
        #[serde(default = "yes")]
        exact: bool,
    },
    /// Schema drift: every field is there with its type. New, missing, retyped and moved columns
    /// are named.
    Schema {
        /// The fields.
        fields: Vec<SchemaField>,
        /// Whether their order matters.
        #[serde(default)]
        ordered: bool,
        /// Whether further columns may be there.
        #[serde(default)]
        new_allowed: bool,
    },
    /// Referential integrity: each tuple of values occurs in another table. Compared as values:
    /// layouts and widths of types do not matter, kinds do.
    References {
        /// The columns here; a row with a null in one of them has no reference and is skipped.
        columns: Vec<String>,
        /// The other table, which is handed to the run by name.
        table: String,
        /// The columns there; the same names when empty.
        #[serde(default)]
        table_columns: Vec<String>,
    },
    /// The rows of another table are these rows, in any order: rows of both, matched one to one
    /// by `keys` and `columns`, divided by the rows of the larger table. Nulls equal nulls.
    DatasetMatch {
        /// The columns that name a row.
        keys: Vec<String>,
        /// Further columns that must be equal.
        #[serde(default)]
        columns: Vec<String>,
        /// The other table, which is handed to the run by name.
        table: String,
        /// Least share, above 0 up to 1.
        #[serde(default = "one")]
        min: f64,
    },
}

fn yes() -> bool {
    true
}

fn one() -> f64 {
    1.0
}

fn sample() -> u8 {
    1
}
