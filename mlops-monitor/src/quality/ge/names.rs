//! The names of rules in Great Expectations, and of types in the systems it runs on.

use mlops_core::DataType;

use crate::quality::expectation::Expectation;

/// Rules without a counterpart are written under this prefix and their own name.
pub(super) const OWN_PREFIX: &str = "expect_mlops_";

/// The expectation type; `None` for rules that Great Expectations does not have.
pub(super) fn expectation_type(expectation: &Expectation) -> Option<&'static str> {
    Some(match expectation {
        Expectation::NotNull { .. } => "expect_column_values_to_not_be_null",
        Expectation::IsNull { .. } => "expect_column_values_to_be_null",
        Expectation::Completeness(_) => "expect_column_proportion_of_non_null_values_to_be_between",
        Expectation::Unique { .. } => "expect_column_values_to_be_unique",
        Expectation::Distinctness(_) => "expect_column_proportion_of_unique_values_to_be_between",
        Expectation::DistinctCount(_) => "expect_column_unique_value_count_to_be_between",
        Expectation::CompoundUnique { .. } => "expect_compound_columns_to_be_unique",
        Expectation::UniqueWithinRecord { .. } => "expect_select_column_values_to_be_unique_within_record",
        Expectation::InSet { .. } => "expect_column_values_to_be_in_set",
        Expectation::NotInSet { .. } => "expect_column_values_to_not_be_in_set",
        Expectation::DistinctEqualSet { .. } => "expect_column_distinct_values_to_equal_set",
        Expectation::DistinctContainSet { .. } => "expect_column_distinct_values_to_contain_set",
        Expectation::DistinctInSet { .. } => "expect_column_distinct_values_to_be_in_set",
        Expectation::MostCommonInSet { .. } => "expect_column_most_common_value_to_be_in_set",
        Expectation::Between(_) => "expect_column_values_to_be_between",
        Expectation::Increasing { .. } => "expect_column_values_to_be_increasing",
        Expectation::Decreasing { .. } => "expect_column_values_to_be_decreasing",
        Expectation::ZScoreLess { .. } => "expect_column_value_z_scores_to_be_less_than",
        Expectation::ColumnType { .. } => "expect_column_values_to_be_of_type",
        Expectation::TypeIn { .. } => "expect_column_values_to_be_in_type_list",
        Expectation::Regex { .. } => "expect_column_values_to_match_regex",
        Expectation::NotRegex { .. } => "expect_column_values_to_not_match_regex",
        Expectation::AnyOfRegex { .. } | Expectation::AllOfRegex { .. } => "expect_column_values_to_match_regex_list",
        Expectation::NoneOfRegex { .. } => "expect_column_values_to_not_match_regex_list",
        Expectation::Like { .. } => "expect_column_values_to_match_like_pattern",
        Expectation::NotLike { .. } => "expect_column_values_to_not_match_like_pattern",
        Expectation::AnyOfLike { .. } => "expect_column_values_to_match_like_pattern_list",
        Expectation::NoneOfLike { .. } => "expect_column_values_to_not_match_like_pattern_list",
        Expectation::LengthBetween { .. } => "expect_column_value_lengths_to_be_between",
        Expectation::LengthEquals { .. } => "expect_column_value_lengths_to_equal",
        Expectation::Strftime { .. } => "expect_column_values_to_match_strftime_format",
        Expectation::DateParseable { .. } => "expect_column_values_to_be_dateutil_parseable",
        Expectation::JsonParseable { .. } => "expect_column_values_to_be_json_parseable",
        Expectation::Min(_) => "expect_column_min_to_be_between",
        Expectation::Max(_) => "expect_column_max_to_be_between",
        Expectation::Mean(_) => "expect_column_mean_to_be_between",
        Expectation::Median(_) => "expect_column_median_to_be_between",
        Expectation::Stdev { .. } => "expect_column_stdev_to_be_between",
        Expectation::Sum(_) => "expect_column_sum_to_be_between",
        Expectation::Quantiles { .. } => "expect_column_quantile_values_to_be_between",
        Expectation::PairGreater { .. } => "expect_column_pair_values_a_to_be_greater_than_b",
        Expectation::PairEqual { .. } => "expect_column_pair_values_to_be_equal",
        Expectation::PairInSet { .. } => "expect_column_pair_values_to_be_in_set",
        Expectation::SumEquals { .. } => "expect_multicolumn_sum_to_equal",
        Expectation::RowCountBetween { .. } => "expect_table_row_count_to_be_between",
        Expectation::RowCountEquals { .. } => "expect_table_row_count_to_equal",
        Expectation::RowCountEqualsTable { .. } => "expect_table_row_count_to_equal_other_table",
        Expectation::ColumnPresent { .. } => "expect_column_to_exist",
        Expectation::ColumnCountBetween { .. } => "expect_table_column_count_to_be_between",
        Expectation::ColumnsOrdered { .. } => "expect_table_columns_to_match_ordered_list",
        Expectation::ColumnSet { .. } => "expect_table_columns_to_match_set",
        Expectation::Uniqueness(_)
        | Expectation::UniqueValueRatio(_)
        | Expectation::Email { .. }
        | Expectation::Url { .. }
        | Expectation::CreditCard { .. }
        | Expectation::Ssn { .. }
        | Expectation::Correlation(_)
        | Expectation::MutualInformation(_)
        | Expectation::CramersPhi(_)
        | Expectation::Entropy(_)
        | Expectation::Schema { .. }
        | Expectation::References { .. }
        | Expectation::DatasetMatch { .. } => return None,
    })
}

/// What pandas, numpy, SQL and Spark call our types.
const TYPES: [(&str, DataType); 26] = [
    ("bool", DataType::Bool),
    ("boolean", DataType::Bool),
    ("booleantype", DataType::Bool),
    ("int16", DataType::Int16),
    ("smallint", DataType::Int16),
    ("int32", DataType::Int32),
    ("integer", DataType::Int32),
    ("integertype", DataType::Int32),
    ("int", DataType::Int64),
    ("int64", DataType::Int64),
    ("bigint", DataType::Int64),
    ("longtype", DataType::Int64),
    ("float32", DataType::Float32),
    ("real", DataType::Float32),
    ("floattype", DataType::Float32),
    ("float", DataType::Float64),
    ("float64", DataType::Float64),
    ("double", DataType::Float64),
    ("double precision", DataType::Float64),
    ("doubletype", DataType::Float64),
    ("str", DataType::String),
    ("string", DataType::String),
    ("varchar", DataType::String),
    ("text", DataType::String),
    ("stringtype", DataType::String),
    ("binarytype", DataType::Binary),
];

/// The type behind a name of one of those systems, or of ours; as our name.
pub(super) fn type_name(name: &str) -> Option<String> {
    let known = TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, known)| known.to_string());
    known.or_else(|| {
        let arrow = name.parse::<arrow_schema::DataType>().ok();
        arrow.map(|arrow| crate::extract::type_name(&arrow))
    })
}

/// The type of one of our names.
pub(super) fn data_type(name: &str) -> Option<DataType> {
    TYPES.iter().map(|(_, data_type)| *data_type).find(|data_type| data_type.to_string() == name)
}
