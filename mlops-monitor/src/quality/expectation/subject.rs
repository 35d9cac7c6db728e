//! What a rule is called and which column it is about.
//!
//! Invariant: the name is the tag of the serialized form.

use super::{Expectation, Limits, PairLimits};

impl Expectation {
    /// The name in results and in the serialized form.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotNull { .. } => "not_null",
            Self::IsNull { .. } => "is_null",
            Self::Completeness(_) => "completeness",
            Self::Unique { .. } => "unique",
            Self::Uniqueness(_) => "uniqueness",
            Self::Distinctness(_) => "distinctness",
            Self::UniqueValueRatio(_) => "unique_value_ratio",
            Self::DistinctCount(_) => "distinct_count",
            Self::CompoundUnique { .. } => "compound_unique",
            Self::UniqueWithinRecord { .. } => "unique_within_record",
            Self::InSet { .. } => "in_set",
            Self::NotInSet { .. } => "not_in_set",
            Self::DistinctEqualSet { .. } => "distinct_equal_set",
            Self::DistinctContainSet { .. } => "distinct_contain_set",
            Self::DistinctInSet { .. } => "distinct_in_set",
            Self::MostCommonInSet { .. } => "most_common_in_set",
            Self::Between(_) => "between",
            Self::Increasing { .. } => "increasing",
            Self::Decreasing { .. } => "decreasing",
            Self::ZScoreLess { .. } => "z_score_less",
            Self::ColumnType { .. } => "column_type",
            Self::TypeIn { .. } => "type_in",
            Self::Regex { .. } => "regex",
            Self::NotRegex { .. } => "not_regex",
            Self::AnyOfRegex { .. } => "any_of_regex",
            Self::AllOfRegex { .. } => "all_of_regex",
            Self::NoneOfRegex { .. } => "none_of_regex",
            Self::Like { .. } => "like",
            Self::NotLike { .. } => "not_like",
            Self::AnyOfLike { .. } => "any_of_like",
            Self::NoneOfLike { .. } => "none_of_like",
            Self::LengthBetween { .. } => "length_between",
            Self::LengthEquals { .. } => "length_equals",
            Self::Strftime { .. } => "strftime",
            Self::DateParseable { .. } => "date_parseable",
            Self::JsonParseable { .. } => "json_parseable",
            Self::Email { .. } => "email",
            Self::Url { .. } => "url",
            Self::CreditCard { .. } => "credit_card",
            Self::Ssn { .. } => "ssn",
            Self::Min(_) => "min",
            Self::Max(_) => "max",
            Self::Mean(_) => "mean",
            Self::Median(_) => "median",
            Self::Stdev { .. } => "stdev",
            Self::Sum(_) => "sum",
            Self::Quantiles { .. } => "quantiles",
            Self::PairGreater { .. } => "pair_greater",
            Self::PairEqual { .. } => "pair_equal",
            Self::PairInSet { .. } => "pair_in_set",
            Self::SumEquals { .. } => "sum_equals",
            Self::Correlation(_) => "correlation",
            Self::MutualInformation(_) => "mutual_information",
            Self::CramersPhi(_) => "cramers_phi",
            Self::Entropy(_) => "entropy",
            Self::RowCountBetween { .. } => "row_count_between",
            Self::RowCountEquals { .. } => "row_count_equals",
            Self::RowCountEqualsTable { .. } => "row_count_equals_table",
            Self::ColumnPresent { .. } => "column_present",
            Self::ColumnCountBetween { .. } => "column_count_between",
            Self::ColumnsOrdered { .. } => "columns_ordered",
            Self::ColumnSet { .. } => "column_set",
            Self::Schema { .. } => "schema",
            Self::References { .. } => "references",
            Self::DatasetMatch { .. } => "dataset_match",
        }
    }

    /// The column it concerns, when it concerns exactly one.
    #[must_use]
    pub fn column(&self) -> Option<&str> {
        match self {
            Self::NotNull { column, .. }
            | Self::IsNull { column }
            | Self::Unique { column }
            | Self::InSet { column, .. }
            | Self::NotInSet { column, .. }
            | Self::DistinctEqualSet { column, .. }
            | Self::DistinctContainSet { column, .. }
            | Self::DistinctInSet { column, .. }
            | Self::MostCommonInSet { column, .. }
            | Self::Increasing { column, .. }
            | Self::Decreasing { column, .. }
            | Self::ZScoreLess { column, .. }
            | Self::ColumnType { column, .. }
            | Self::TypeIn { column, .. }
            | Self::Regex { column, .. }
            | Self::NotRegex { column, .. }
            | Self::AnyOfRegex { column, .. }
            | Self::AllOfRegex { column, .. }
            | Self::NoneOfRegex { column, .. }
            | Self::Like { column, .. }
            | Self::NotLike { column, .. }
            | Self::AnyOfLike { column, .. }
            | Self::NoneOfLike { column, .. }
            | Self::LengthBetween { column, .. }
            | Self::LengthEquals { column, .. }
            | Self::Strftime { column, .. }
            | Self::DateParseable { column }
            | Self::JsonParseable { column }
            | Self::Email { column }
            | Self::Url { column }
            | Self::CreditCard { column }
            | Self::Ssn { column }
            | Self::Quantiles { column, .. }
            | Self::ColumnPresent { column, .. } => Some(column),
            Self::References { columns, .. } => match columns.as_slice() {
                [column] => Some(column),
                _ => None,
            },
            other => other.limits().map(|limits| limits.column.as_str()),
        }
    }

    /// Column and interval of the rules that consist of them.
    pub(crate) fn limits(&self) -> Option<&Limits> {
        match self {
            Self::Completeness(limits)
            | Self::Uniqueness(limits)
            | Self::Distinctness(limits)
            | Self::UniqueValueRatio(limits)
            | Self::DistinctCount(limits)
            | Self::Between(limits)
            | Self::Min(limits)
            | Self::Max(limits)
            | Self::Mean(limits)
            | Self::Median(limits)
            | Self::Stdev { limits, .. }
            | Self::Sum(limits)
            | Self::Entropy(limits) => Some(limits),
            _ => None,
        }
    }

    pub(crate) fn pair_limits(&self) -> Option<&PairLimits> {
        match self {
            Self::Correlation(limits) | Self::MutualInformation(limits) | Self::CramersPhi(limits) => Some(limits),
            _ => None,
        }
    }
}
