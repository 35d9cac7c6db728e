//! A constructor per rule, named after it. Tolerances are set afterwards: `mostly`, `nulls`,
//! `filter`, `severity`. Nothing is checked here; [`super::SuiteBuilder::build`] does.

use std::ops::{Bound, RangeBounds, RangeInclusive};

use mlops_core::DataType;

use super::{
    expectation::{
        Expectation, IgnoreRowIf, Interpolation, LengthUnit, Limits, PairLimits, QuantileLimits, SchemaField, ValuePair,
    },
    rule::Rule,
    value::SetValue,
};

fn limits<V: Into<SetValue> + Clone>(column: impl Into<String>, range: &impl RangeBounds<V>) -> Limits {
    let end = |bound: Bound<&V>| match bound {
        Bound::Included(value) => (Some(value.clone().into()), false),
        Bound::Excluded(value) => (Some(value.clone().into()), true),
        Bound::Unbounded => (None, false),
    };
    let ((min, strict_min), (max, strict_max)) = (end(range.start_bound()), end(range.end_bound()));
    Limits { column: column.into(), min, max, strict_min, strict_max }
}

fn pair_limits(a: impl Into<String>, b: impl Into<String>, range: &RangeInclusive<f64>) -> PairLimits {
    let limit = |end: f64| (!end.is_infinite()).then_some(end);
    PairLimits { a: a.into(), b: b.into(), min: limit(*range.start()), max: limit(*range.end()) }
}

fn values<V: Into<SetValue>>(values: impl IntoIterator<Item = V>) -> Vec<SetValue> {
    values.into_iter().map(Into::into).collect()
}

fn names<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Vec<String> {
    names.into_iter().map(Into::into).collect()
}

macro_rules! with_column {
    ($($(#[$doc:meta])* $name:ident => $variant:ident { $($field:ident: $value:expr),* };)*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name(column: impl Into<String>) -> Self {
                Expectation::$variant { column: column.into(), $($field: $value),* }.into()
            }
        )*
    };
}

macro_rules! with_limits {
    ($($(#[$doc:meta])* $name:ident => $variant:ident;)*) => {
        $(
            $(#[$doc])*
            ///
            /// An end that the range excludes is strict.
            #[must_use]
            pub fn $name<V: Into<SetValue> + Clone>(column: impl Into<String>, range: impl RangeBounds<V>) -> Self {
                Expectation::$variant(limits(column, &range)).into()
            }
        )*
    };
}
macro_rules! with_set {
    ($($(#[$doc:meta])* $name:ident => $variant:ident;)*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name<V: Into<SetValue>>(column: impl Into<String>, set: impl IntoIterator<Item = V>) -> Self {
                Expectation::$variant { column: column.into(), values: values(set) }.into()
            }
        )*
    };
}

macro_rules! with_pattern {
    ($($(#[$doc:meta])* $name:ident => $variant:ident { $($field:ident: $value:expr),* };)*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name(column: impl Into<String>, pattern: impl Into<String>) -> Self {
                Expectation::$variant { column: column.into(), pattern: pattern.into(), $($field: $value),* }.into()
            }
        )*
    };
}

macro_rules! with_patterns {
    ($($(#[$doc:meta])* $name:ident => $variant:ident { $($field:ident: $value:expr),* };)*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name<S: Into<String>>(column: impl Into<String>, patterns: impl IntoIterator<Item = S>) -> Self {
                Expectation::$variant { column: column.into(), patterns: names(patterns), $($field: $value),* }.into()
            }
        )*
    };
}

/// Rules about presence and identity.
impl Rule {
    with_column! {
        /// Every row of `column` has a value.
        not_null => NotNull { nan_as_null: false };
        /// No row of `column` has a value.
        is_null => IsNull {};
        /// No value of `column` occurs twice.
        unique => Unique {};
    }

    with_limits! {
        /// The share of rows of `column` with a value lies within `range`.
        completeness => Completeness;
        /// Values of `column` that occur once / rows with a value lies within `range`.
        uniqueness => Uniqueness;
        /// Distinct values of `column` / rows with a value lies within `range`.
        distinctness => Distinctness;
        /// Values of `column` that occur once / distinct values lies within `range`.
        unique_value_ratio => UniqueValueRatio;
        /// The number of distinct values of `column` lies within `range`.
        distinct_count => DistinctCount;
    }

    /// No tuple of values of `columns` occurs twice.
    #[must_use]
    pub fn compound_unique<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Self {
        Expectation::CompoundUnique { columns: names(columns), ignore_row_if: IgnoreRowIf::default() }.into()
    }

    /// Within each row, all of `columns` differ.
    #[must_use]
    pub fn unique_within_record<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Self {
        Expectation::UniqueWithinRecord { columns: names(columns), ignore_row_if: IgnoreRowIf::default() }.into()
    }
}

/// Rules about sets and ranges of values.
impl Rule {
    with_set! {
        /// Values of `column` are among `set`.
        in_set => InSet;
        /// Values of `column` are none of `set`.
        not_in_set => NotInSet;
        /// The distinct values of `column` are exactly `set`.
        distinct_equal_set => DistinctEqualSet;
        /// Each of `set` occurs in `column`.
        distinct_contain_set => DistinctContainSet;
        /// Every distinct value of `column` is one of `set`.
        distinct_in_set => DistinctInSet;
    }

    /// One value of `column` is more common than all others, and it is one of `set`.
    #[must_use]
    pub fn most_common_in_set<V: Into<SetValue>>(column: impl Into<String>, set: impl IntoIterator<Item = V>) -> Self {
        Expectation::MostCommonInSet { column: column.into(), values: values(set), ties_okay: false }.into()
    }

    /// Numbers of `column` lie within `range`; an infinite end is no limit.
    #[must_use]
    pub fn in_range(column: impl Into<String>, range: RangeInclusive<f64>) -> Self {
        let limit = |end: f64| (!end.is_infinite()).then_some(SetValue::Float(end));
        let (min, max) = (limit(*range.start()), limit(*range.end()));
        Expectation::Between(Limits { column: column.into(), min, max, strict_min: false, strict_max: false }).into()
    }

    with_limits! {
        /// Values of `column` lie within `range`: numbers, or text, dates and timestamps as text.
        between => Between;
    }

    with_column! {
        /// Each value of `column` is at least the one before it.
        increasing => Increasing { strictly: false };
        /// Each value of `column` is greater than the one before it.
        strictly_increasing => Increasing { strictly: true };
        /// Each value of `column` is at most the one before it.
        decreasing => Decreasing { strictly: false };
        /// Each value of `column` is less than the one before it.
        strictly_decreasing => Decreasing { strictly: true };
    }

    /// Values of `column` are less than `threshold` standard deviations away from the mean, on
    /// either side.
    #[must_use]
    pub fn z_score_less(column: impl Into<String>, threshold: f64) -> Self {
        Expectation::ZScoreLess { column: column.into(), threshold, double_sided: true }.into()
    }
}

/// Rules about text.
impl Rule {
    with_pattern! {
        /// Text of `column` has a match of `pattern` somewhere.
        regex => Regex { anchored: false };
        /// Text of `column` matches `pattern` as a whole.
        full_regex => Regex { anchored: true };
        /// Text of `column` has no match of `pattern`.
        not_regex => NotRegex { anchored: false };
        /// Text of `column` is like the SQL pattern.
        like => Like {};
        /// Text of `column` is not like the SQL pattern.
        not_like => NotLike {};
    }

    with_patterns! {
        /// Text of `column` has a match of at least one of `patterns`.
        any_of_regex => AnyOfRegex { anchored: false };
        /// Text of `column` has a match of each of `patterns`.
        all_of_regex => AllOfRegex { anchored: false };
        /// Text of `column` has a match of none of `patterns`.
        none_of_regex => NoneOfRegex { anchored: false };
        /// Text of `column` is like at least one of the SQL `patterns`.
        any_of_like => AnyOfLike {};
        /// Text of `column` is like none of the SQL `patterns`.
        none_of_like => NoneOfLike {};
    }

    with_column! {
        /// Text of `column` is a date or a date with time.
        date_parseable => DateParseable {};
        /// Text of `column` is JSON.
        json_parseable => JsonParseable {};
        /// Text of `column` is an e-mail address.
        email => Email {};
        /// Text of `column` is an absolute URL.
        url => Url {};
        /// Text of `column` is a payment card number.
        credit_card => CreditCard {};
        /// Text of `column` is a United States social security number.
        ssn => Ssn {};
    }

    /// Text of `column` has a length within `range`, in characters.
    #[must_use]
    pub fn length_between(column: impl Into<String>, range: RangeInclusive<u64>) -> Self {
        let (min, max) = (Some(*range.start()), Some(*range.end()));
        Expectation::LengthBetween { column: column.into(), min, max, unit: LengthUnit::default() }.into()
    }

    /// Text of `column` has this length in characters.
    #[must_use]
    pub fn length_equals(column: impl Into<String>, length: u64) -> Self {
        Expectation::LengthEquals { column: column.into(), length, unit: LengthUnit::default() }.into()
    }

    /// Text of `column` is a date or time of the `strftime` format.
    #[must_use]
    pub fn strftime(column: impl Into<String>, format: impl Into<String>) -> Self {
        Expectation::Strftime { column: column.into(), format: format.into() }.into()
    }
}

/// Rules about figures computed from a column.
impl Rule {
    with_limits! {
        /// The least value of `column` lies within `range`.
        min => Min;
        /// The greatest value of `column` lies within `range`.
        max => Max;
        /// The mean of `column` lies within `range`.
        mean => Mean;
        /// The median of `column` lies within `range`.
        median => Median;
        /// The sum of `column` lies within `range`.
        sum => Sum;
        /// The entropy of `column` in nats lies within `range`.
        entropy => Entropy;
    }

    /// The standard deviation of `column` lies within `range`; the denominator is the number of
    /// values less `ddof`.
    #[must_use]
    pub fn stdev(column: impl Into<String>, range: impl RangeBounds<f64>, ddof: u8) -> Self {
        Expectation::Stdev { limits: limits(column, &range), ddof }.into()
    }

    /// Quantiles of `column` lie within their intervals.
    #[must_use]
    pub fn quantiles(
        column: impl Into<String>,
        quantiles: impl IntoIterator<Item = QuantileLimits>,
        interpolation: Interpolation,
    ) -> Self {
        let quantiles = quantiles.into_iter().collect();
        Expectation::Quantiles { column: column.into(), quantiles, interpolation }.into()
    }
}

/// Rules about several columns.
impl Rule {
    /// In each row, `a` is greater than `b`.
    #[must_use]
    pub fn pair_greater(a: impl Into<String>, b: impl Into<String>) -> Self {
        let ignore_row_if = IgnoreRowIf::default();
        Expectation::PairGreater { a: a.into(), b: b.into(), or_equal: false, ignore_row_if }.into()
    }

    /// In each row, `a` is at least `b`.
    #[must_use]
    pub fn pair_greater_or_equal(a: impl Into<String>, b: impl Into<String>) -> Self {
        let ignore_row_if = IgnoreRowIf::default();
        Expectation::PairGreater { a: a.into(), b: b.into(), or_equal: true, ignore_row_if }.into()
    }

    /// In each row, `a` equals `b`.
    #[must_use]
    pub fn pair_equal(a: impl Into<String>, b: impl Into<String>) -> Self {
        Expectation::PairEqual { a: a.into(), b: b.into(), ignore_row_if: IgnoreRowIf::default() }.into()
    }

    /// In each row, the pair of `a` and `b` is one of `pairs`.
    #[must_use]
    pub fn pair_in_set(a: impl Into<String>, b: impl Into<String>, pairs: impl IntoIterator<Item = ValuePair>) -> Self {
        let (a, b, pairs) = (a.into(), b.into(), pairs.into_iter().collect());
        Expectation::PairInSet { a, b, pairs, ignore_row_if: IgnoreRowIf::default() }.into()
    }

    /// In each row, `columns` add up to `total`.
    #[must_use]
    pub fn sum_equals<S: Into<String>>(columns: impl IntoIterator<Item = S>, total: f64) -> Self {
        let ignore_row_if = IgnoreRowIf::default();
        Expectation::SumEquals { columns: names(columns), total, tolerance: 0.0, ignore_row_if }.into()
    }

    /// Pearson's correlation of `a` and `b` lies within `range`; an infinite end is no limit.
    #[must_use]
    pub fn correlation(a: impl Into<String>, b: impl Into<String>, range: RangeInclusive<f64>) -> Self {
        Expectation::Correlation(pair_limits(a, b, &range)).into()
    }

    /// The mutual information of `a` and `b` in nats lies within `range`.
    #[must_use]
    pub fn mutual_information(a: impl Into<String>, b: impl Into<String>, range: RangeInclusive<f64>) -> Self {
        Expectation::MutualInformation(pair_limits(a, b, &range)).into()
    }

    /// Cramer's V of `a` and `b` lies within `range`.
    #[must_use]
    pub fn cramers_phi(a: impl Into<String>, b: impl Into<String>, range: RangeInclusive<f64>) -> Self {
        Expectation::CramersPhi(pair_limits(a, b, &range)).into()
    }

    /// Each value of `column` occurs in `table_column` of the table that the run knows as `table`.
    #[must_use]
    pub fn references(column: impl Into<String>, table: impl Into<String>, table_column: impl Into<String>) -> Self {
        let (columns, table_columns) = (vec![column.into()], vec![table_column.into()]);
        Expectation::References { columns, table: table.into(), table_columns }.into()
    }

    /// The rows are those of the table that the run knows as `table`, compared by `columns`.
    #[must_use]
    pub fn dataset_match<S: Into<String>>(
        keys: impl IntoIterator<Item = S>,
        columns: impl IntoIterator<Item = S>,
        table: impl Into<String>,
    ) -> Self {
        let (keys, columns) = (names(keys), names(columns));
        Expectation::DatasetMatch { keys, columns, table: table.into(), min: 1.0 }.into()
    }
}

/// Rules about rows and columns as a whole.
impl Rule {
    with_column! {
        /// The batch has `column`.
        column_present => ColumnPresent { index: None };
    }

    /// The batch has `column` with this type.
    #[must_use]
    pub fn column_type(column: impl Into<String>, data_type: DataType) -> Self {
        Expectation::ColumnType { column: column.into(), data_type }.into()
    }

    /// The batch has `column` with a type of one of these names.
    #[must_use]
    pub fn type_in<S: Into<String>>(column: impl Into<String>, data_types: impl IntoIterator<Item = S>) -> Self {
        Expectation::TypeIn { column: column.into(), data_types: names(data_types) }.into()
    }

    /// The number of rows lies within `range`.
    #[must_use]
    pub fn row_count_between(range: RangeInclusive<u64>) -> Self {
        Expectation::RowCountBetween { min: Some(*range.start()), max: Some(*range.end()) }.into()
    }

    /// There are `count` rows.
    #[must_use]
    pub fn row_count_equals(count: u64) -> Self {
        Expectation::RowCountEquals { count }.into()
    }

    /// There are as many rows as in the table that the run knows as `table`.
    #[must_use]
    pub fn row_count_equals_table(table: impl Into<String>) -> Self {
        Expectation::RowCountEqualsTable { table: table.into() }.into()
    }

    /// The number of columns lies within `range`.
    #[must_use]
    pub fn column_count_between(range: RangeInclusive<u64>) -> Self {
        Expectation::ColumnCountBetween { min: Some(*range.start()), max: Some(*range.end()) }.into()
    }

    /// The columns are these, in this order.
    #[must_use]
    pub fn columns_ordered<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Self {
        Expectation::ColumnsOrdered { columns: names(columns) }.into()
    }

    /// The columns are these, in any order.
    #[must_use]
    pub fn column_set<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Self {
        Expectation::ColumnSet { columns: names(columns), exact: true }.into()
    }

    /// The columns and their types are these, in any order.
    #[must_use]
    pub fn schema(fields: impl IntoIterator<Item = SchemaField>) -> Self {
        let fields = fields.into_iter().collect();
        Expectation::Schema { fields, ordered: false, new_allowed: false }.into()
    }
}
