//! A suite of Great Expectations as a suite of ours; what has no counterpart is named.

use mlops_core::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json, json};

use super::{
    condition,
    names::{OWN_PREFIX, data_type, type_name},
};
use crate::quality::{
    expectation::Expectation,
    rule::{Rule, Severity},
    suite::Suite,
};

/// Most expectations read from one suite.
const EXPECTATIONS_MAX: usize = 100_000;

/// An expectation that was not taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedExpectation {
    /// Its position in the suite.
    pub index: usize,
    /// Its type.
    pub expectation_type: String,
    /// Why.
    pub reason: String,
}

/// What [`Suite::from_great_expectations`] read.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedSuite {
    /// The rules that were taken over, in order.
    pub suite: Suite,
    /// The expectations that were not.
    pub skipped: Vec<SkippedExpectation>,
}

impl Suite {
    /// Reads a suite of Great Expectations (`name` or `expectation_suite_name`, and `expectations`
    /// with `type` or `expectation_type`, `kwargs`, `meta` and `severity`).
    ///
    /// Semantics follow the same names with these differences: NaN counts as no value only with
    /// [`crate::quality::ValidationSettings::nan_as_null`]; values are compared without casts;
    /// patterns are linear-time (no look-around); `dateutil_parseable` becomes the stricter
    /// `date_parseable`; `match_on: all` of a list of `LIKE` patterns has no counterpart.
    ///
    /// ```
    /// use mlops_monitor::quality::Suite;
    ///
    /// let json = serde_json::json!({ "name": "rides", "expectations": [
    ///     { "type": "expect_column_values_to_be_between",
    ///       "kwargs": { "column": "minutes", "min_value": 0, "max_value": 300, "mostly": 0.99 } },
    ///     { "type": "expect_column_kl_divergence_to_be_less_than", "kwargs": { "column": "minutes" } },
    /// ]});
    /// let imported = Suite::from_great_expectations(&json)?;
    /// assert_eq!(imported.suite.rules()[0].mostly, 0.99);
    /// assert_eq!(imported.skipped[0].expectation_type, "expect_column_kl_divergence_to_be_less_than");
    /// # Ok::<(), mlops_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` when the document is no suite.
    pub fn from_great_expectations(json: &Json) -> Result<ImportedSuite> {
        let list = json.get("expectations").and_then(Json::as_array);
        let list = list.filter(|list| list.len() <= EXPECTATIONS_MAX).ok_or_else(|| {
            Error::invalid_argument(format!("a suite needs a list \"expectations\" of at most {EXPECTATIONS_MAX}"))
        })?;
        let name = json.get("name").or_else(|| json.get("expectation_suite_name")).and_then(Json::as_str);
        let mut builder = Self::builder(name.unwrap_or("imported"));
        let mut skipped = Vec::new();
        for (index, config) in list.iter().enumerate() {
            let expectation_type = config.get("type").or_else(|| config.get("expectation_type"));
            let expectation_type = expectation_type.and_then(Json::as_str).unwrap_or("").to_owned();
            match rule(&expectation_type, config) {
                Ok(rule) => builder = builder.with_rule(rule),
                Err(reason) => skipped.push(SkippedExpectation { index, expectation_type, reason }),
            }
        }
        Ok(ImportedSuite { suite: builder.build()?, skipped })
    }
}

fn rule(expectation_type: &str, config: &Json) -> Result<Rule, String> {
    if let Some(own) = config.pointer("/meta/mlops_rule") {
        return checked(serde_json::from_value(own.clone()).map_err(|error| error.to_string())?);
    }
    let empty = Map::new();
    let kwargs = Kwargs(config.get("kwargs").and_then(Json::as_object).unwrap_or(&empty));
    let mut rule = Rule::from(expectation(expectation_type, kwargs)?);
    rule.mostly = kwargs.optional("mostly")?.unwrap_or(1.0);
    if let Some(filter) = kwargs.0.get("row_condition").filter(|filter| !filter.is_null()) {
        rule.filter = Some(condition::from_json(filter)?);
    }
    if let Some("warning" | "info") = config.get("severity").and_then(Json::as_str) {
        rule.severity = Severity::Warning;
    }
    checked(rule)
}

fn checked(rule: Rule) -> Result<Rule, String> {
    rule.validate().map_err(|error| error.message().to_owned())?;
    Ok(rule)
}

#[derive(Clone, Copy)]
struct Kwargs<'a>(&'a Map<String, Json>);

impl Kwargs<'_> {
    fn optional<T: DeserializeOwned>(self, name: &str) -> Result<Option<T>, String> {
        match self.0.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(value) => match serde_json::from_value(value.clone()) {
                Ok(value) => Ok(Some(value)),
                Err(error) => Err(format!("argument {name:?}: {error}")),
            },
        }
    }

    fn required<T: DeserializeOwned>(self, name: &str) -> Result<T, String> {
        self.optional(name)?.ok_or_else(|| format!("argument {name:?} is missing"))
    }

    /// An expectation of ours from fields given as theirs: `[(our name, their name)]`.
    fn renamed(self, rule: &str, fields: &[(&str, &str)]) -> Result<Expectation, String> {
        let mut own = Map::from_iter([("rule".to_owned(), Json::from(rule))]);
        for (ours, theirs) in fields {
            match self.0.get(*theirs) {
                None | Some(Json::Null) => {}
                Some(value) => drop(own.insert((*ours).to_owned(), value.clone())),
            }
        }
        serde_json::from_value(Json::Object(own)).map_err(|error| error.to_string())
    }

    fn limits(self, rule: &str) -> Result<Expectation, String> {
        self.renamed(
            rule,
            &[
                ("column", "column"),
                ("min", "min_value"),
                ("max", "max_value"),
                ("strict_min", "strict_min"),
                ("strict_max", "strict_max"),
            ],
        )
    }

    fn column(self, rule: &str, ours: &str, theirs: &str) -> Result<Expectation, String> {
        self.renamed(rule, &[("column", "column"), (ours, theirs)])
    }

    fn ignore(self) -> Result<Json, String> {
        let ignore: Option<String> = self.optional("ignore_row_if")?;
        Ok(match ignore.as_deref() {
            None | Some("both_values_are_missing" | "all_values_are_missing") => json!("all_missing"),
            Some("either_value_is_missing" | "any_value_is_missing") => json!("any_missing"),
            Some("neither" | "never") => json!("never"),
            Some(other) => return Err(format!("ignore_row_if {other:?} is unknown")),
        })
    }

    /// A rule about several columns.
    fn record(self, rule: &str, fields: &[(&str, &str)]) -> Result<Expectation, String> {
        let mut with_ignore = self.0.clone();
        with_ignore.insert("ignore_row_if".to_owned(), self.ignore()?);
        let fields: Vec<(&str, &str)> = fields.iter().copied().chain([("ignore_row_if", "ignore_row_if")]).collect();
        Kwargs(&with_ignore).renamed(rule, &fields)
    }
}

fn expectation(name: &str, kwargs: Kwargs<'_>) -> Result<Expectation, String> {
    let set = |rule| kwargs.renamed(rule, &[("column", "column"), ("values", "value_set"), ("ties_okay", "ties_okay")]);
    match name {
        "expect_column_values_to_not_be_null" => kwargs.column("not_null", "column", "column"),
        "expect_column_values_to_be_null" => kwargs.column("is_null", "column", "column"),
        "expect_column_proportion_of_non_null_values_to_be_between" => kwargs.limits("completeness"),
        "expect_column_values_to_be_unique" => kwargs.column("unique", "column", "column"),
        "expect_column_proportion_of_unique_values_to_be_between" => kwargs.limits("distinctness"),
        "expect_column_unique_value_count_to_be_between" => kwargs.limits("distinct_count"),
        "expect_compound_columns_to_be_unique" => kwargs.record("compound_unique", &[("columns", "column_list")]),
        "expect_select_column_values_to_be_unique_within_record" | "expect_multicolumn_values_to_be_unique" => {
            kwargs.record("unique_within_record", &[("columns", "column_list")])
        }
        "expect_column_values_to_be_in_set" => set("in_set"),
        "expect_column_values_to_not_be_in_set" => set("not_in_set"),
        "expect_column_distinct_values_to_equal_set" => set("distinct_equal_set"),
        "expect_column_distinct_values_to_contain_set" => set("distinct_contain_set"),
        "expect_column_distinct_values_to_be_in_set" => set("distinct_in_set"),
        "expect_column_most_common_value_to_be_in_set" => set("most_common_in_set"),
        "expect_column_values_to_be_between" => kwargs.limits("between"),
        "expect_column_values_to_be_increasing" => kwargs.column("increasing", "strictly", "strictly"),
        "expect_column_values_to_be_decreasing" => kwargs.column("decreasing", "strictly", "strictly"),
        "expect_column_value_z_scores_to_be_less_than" => kwargs.renamed(
            "z_score_less",
            &[("column", "column"), ("threshold", "threshold"), ("double_sided", "double_sided")],
        ),
        "expect_column_values_to_be_of_type" | "expect_column_type_to_be" => {
            types(kwargs, &[kwargs.required::<String>("type_")?])
        }
        "expect_column_values_to_be_in_type_list" => types(kwargs, &kwargs.required::<Vec<String>>("type_list")?),
        "expect_column_min_to_be_between" => kwargs.limits("min"),
        "expect_column_max_to_be_between" => kwargs.limits("max"),
        "expect_column_mean_to_be_between" => kwargs.limits("mean"),
        "expect_column_median_to_be_between" => kwargs.limits("median"),
        "expect_column_stdev_to_be_between" => kwargs.limits("stdev"),
        "expect_column_sum_to_be_between" => kwargs.limits("sum"),
        "expect_column_quantile_values_to_be_between" => quantiles(kwargs),
        "expect_column_pair_values_a_to_be_greater_than_b" => {
            kwargs.record("pair_greater", &[("a", "column_A"), ("b", "column_B"), ("or_equal", "or_equal")])
        }
        "expect_column_pair_values_to_be_equal" => kwargs.record("pair_equal", &[("a", "column_A"), ("b", "column_B")]),
        "expect_column_pair_values_to_be_in_set" => {
            kwargs.record("pair_in_set", &[("a", "column_A"), ("b", "column_B"), ("pairs", "value_pairs_set")])
        }
        "expect_multicolumn_sum_to_equal" => {
            kwargs.record("sum_equals", &[("columns", "column_list"), ("total", "sum_total")])
        }
        other => text(other, kwargs).unwrap_or_else(|| table(other, kwargs)),
    }
}

fn text(name: &str, kwargs: Kwargs<'_>) -> Option<Result<Expectation, String>> {
    let patterns = |any: &str, all: Option<&str>, theirs: &str| {
        let match_on: Option<String> = kwargs.optional("match_on")?;
        match (match_on.as_deref().unwrap_or("any"), all) {
            ("any", _) => kwargs.column(any, "patterns", theirs),
            ("all", Some(all)) => kwargs.column(all, "patterns", theirs),
            (other, _) => Err(format!("match_on {other:?} has no counterpart")),
        }
    };
    Some(match name {
        "expect_column_values_to_match_regex" => kwargs.column("regex", "pattern", "regex"),
        "expect_column_values_to_not_match_regex" => kwargs.column("not_regex", "pattern", "regex"),
        "expect_column_values_to_match_regex_list" => patterns("any_of_regex", Some("all_of_regex"), "regex_list"),
        "expect_column_values_to_not_match_regex_list" => kwargs.column("none_of_regex", "patterns", "regex_list"),
        "expect_column_values_to_match_like_pattern" => kwargs.column("like", "pattern", "like_pattern"),
        "expect_column_values_to_not_match_like_pattern" => kwargs.column("not_like", "pattern", "like_pattern"),
        "expect_column_values_to_match_like_pattern_list" => patterns("any_of_like", None, "like_pattern_list"),
        "expect_column_values_to_not_match_like_pattern_list" => {
            kwargs.column("none_of_like", "patterns", "like_pattern_list")
        }
        "expect_column_value_lengths_to_be_between" => lengths(kwargs),
        "expect_column_value_lengths_to_equal" => kwargs.column("length_equals", "length", "value"),
        "expect_column_values_to_match_strftime_format" => kwargs.column("strftime", "format", "strftime_format"),
        "expect_column_values_to_be_dateutil_parseable" => kwargs.column("date_parseable", "column", "column"),
        "expect_column_values_to_be_json_parseable" => kwargs.column("json_parseable", "column", "column"),
        _ => return None,
    })
}

fn table(name: &str, kwargs: Kwargs<'_>) -> Result<Expectation, String> {
    let between = [("min", "min_value"), ("max", "max_value")];
    match name {
        "expect_table_row_count_to_be_between" => kwargs.renamed("row_count_between", &between),
        "expect_table_row_count_to_equal" => kwargs.renamed("row_count_equals", &[("count", "value")]),
        "expect_table_row_count_to_equal_other_table" => {
            kwargs.renamed("row_count_equals_table", &[("table", "other_table_name")])
        }
        "expect_column_to_exist" => kwargs.column("column_present", "index", "column_index"),
        "expect_table_column_count_to_be_between" => kwargs.renamed("column_count_between", &between),
        "expect_table_column_count_to_equal" => {
            kwargs.renamed("column_count_between", &[("min", "value"), ("max", "value")])
        }
        "expect_table_columns_to_match_ordered_list" => {
            kwargs.renamed("columns_ordered", &[("columns", "column_list")])
        }
        "expect_table_columns_to_match_set" => {
            kwargs.renamed("column_set", &[("columns", "column_set"), ("exact", "exact_match")])
        }
        other => match other.strip_prefix(OWN_PREFIX) {
            Some(own) => {
                let fields: Vec<(&str, &str)> = kwargs.0.keys().map(|key| (key.as_str(), key.as_str())).collect();
                kwargs.renamed(own, &fields)
            }
            None => Err("there is no rule of this type".to_owned()),
        },
    }
}

/// Their strict bounds of whole numbers are ours, one further in.
fn lengths(kwargs: Kwargs<'_>) -> Result<Expectation, String> {
    let strict = |name| kwargs.optional::<bool>(name).map(|strict| u64::from(strict.unwrap_or(false)));
    let (strict_min, strict_max) = (strict("strict_min")?, strict("strict_max")?);
    let min = kwargs.optional::<u64>("min_value")?.map(|min| min.saturating_add(strict_min));
    let max = match kwargs.optional::<u64>("max_value")? {
        Some(max) => Some(max.checked_sub(strict_max).ok_or("no length is below 0")?),
        None => None,
    };
    let column = kwargs.required("column")?;
    Ok(Expectation::LengthBetween { column, min, max, unit: crate::quality::LengthUnit::Chars })
}

fn types(kwargs: Kwargs<'_>, names: &[String]) -> Result<Expectation, String> {
    let column = kwargs.required("column")?;
    let known: Vec<String> = names.iter().filter_map(|name| type_name(name)).collect();
    match (known.as_slice(), names) {
        ([], _) => Err(format!("type {} is unknown", names.join(", "))),
        ([only], [_]) => match data_type(only) {
            Some(data_type) => Ok(Expectation::ColumnType { column, data_type }),
            None => Ok(Expectation::TypeIn { column, data_types: known }),
        },
        // Lists name the types of many systems; what is unknown here cannot be found here.
        _ => Ok(Expectation::TypeIn { column, data_types: known }),
    }
}

fn quantiles(kwargs: Kwargs<'_>) -> Result<Expectation, String> {
    let ranges: Json = kwargs.required("quantile_ranges")?;
    let list = |name: &str| ranges.get(name).cloned().ok_or_else(|| format!("quantile_ranges has no {name:?}"));
    let read = |error: serde_json::Error| format!("quantile_ranges: {error}");
    let quantiles: Vec<f64> = serde_json::from_value(list("quantiles")?).map_err(read)?;
    let ranges: Vec<(Option<f64>, Option<f64>)> = serde_json::from_value(list("value_ranges")?).map_err(read)?;
    if quantiles.len() != ranges.len() {
        return Err("quantile_ranges has lists of different lengths".to_owned());
    }
    let limits = quantiles.into_iter().zip(ranges);
    let quantiles =
        limits.map(|(quantile, (min, max))| crate::quality::QuantileLimits { quantile, min, max }).collect();
    let interpolation = match kwargs.0.get("allow_relative_error") {
        Some(Json::String(name)) => serde_json::from_value(Json::from(name.as_str())).map_err(read)?,
        _ => crate::quality::Interpolation::default(),
    };
    Ok(Expectation::Quantiles { column: kwargs.required("column")?, quantiles, interpolation })
}
