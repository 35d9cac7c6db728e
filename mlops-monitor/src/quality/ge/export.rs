//! A validation result in the shape of Great Expectations' `ExpectationSuiteValidationResult`.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::{
    condition,
    names::{OWN_PREFIX, expectation_type},
};
use crate::quality::{
    check::EXAMPLES_MAX,
    expectation::{Expectation, IgnoreRowIf, Interpolation, Limits},
    result::{Counts, RuleResult, ValidationResult, percent},
    rule::{Rule, Severity},
};

impl ValidationResult {
    /// The JSON document of Great Expectations 1.x. Its `success` means that every expectation
    /// holds, warnings included; whether the batch passes is `meta.mlops_passed`. Unexpected values
    /// are in it only when the settings of the run included them.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use mlops_core::arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// use mlops_monitor::quality::{Rule, Suite, ValidationSettings};
    ///
    /// let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    /// let batch = RecordBatch::try_from_iter([("id", ids)])?;
    /// let suite = Suite::builder("ids").with_rule(Rule::not_null("id")).build()?;
    /// let json = suite.validate(&[batch], &ValidationSettings::default()).to_great_expectations();
    /// assert_eq!(json["results"][0]["expectation_config"]["type"], "expect_column_values_to_not_be_null");
    /// assert_eq!(json["results"][0]["result"]["unexpected_percent"], 50.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_great_expectations(&self) -> Json {
        let statistics = self.statistics();
        json!({
            "success": statistics.unsuccessful_expectations == 0,
            "results": self.results.iter().map(result).collect::<Vec<_>>(),
            "suite_name": self.suite,
            "suite_parameters": {},
            "statistics": statistics,
            "meta": {
                "mlops_version": env!("CARGO_PKG_VERSION"),
                "mlops_passed": self.passed,
                "mlops_rows": self.rows,
            },
        })
    }
}

impl Rule {
    /// The rule as an expectation configuration of Great Expectations 1.x.
    #[must_use]
    pub fn to_great_expectations(&self) -> Json {
        let own = || format!("{OWN_PREFIX}{}", self.expectation.name());
        let name = expectation_type(&self.expectation).map_or_else(own, str::to_owned);
        let severity = match self.severity {
            Severity::Error => "critical",
            Severity::Warning => "warning",
        };
        json!({ "type": name, "kwargs": kwargs(self), "meta": { "mlops_rule": self }, "severity": severity })
    }
}

fn result(result: &RuleResult) -> Json {
    let exception = json!({
        "raised_exception": result.exception.is_some(),
        "exception_message": result.exception.as_ref().map(|exception| &exception.message),
        "exception_traceback": null,
    });
    json!({
        "success": result.success,
        "expectation_config": result.rule.to_great_expectations(),
        "result": details(result),
        "meta": {},
        "exception_info": exception,
    })
}

fn details(result: &RuleResult) -> Json {
    let mut details = Map::new();
    if result.exception.is_some() {
        return Json::Object(details);
    }
    if let Some(counts) = &result.counts {
        count_details(&mut details, result, counts);
    } else {
        details.insert("observed_value".to_owned(), result.observed.clone().unwrap_or(Json::Null));
    }
    if let Some(detail) = &result.detail {
        details.insert("details".to_owned(), json!({ "message": detail }));
    }
    Json::Object(details)
}

fn count_details(details: &mut Map<String, Json>, result: &RuleResult, counts: &Counts) {
    let Counts { element_count, missing_count, unexpected_count, .. } = *counts;
    let mut put = |key: &str, value: Json| details.insert(key.to_owned(), value);
    put("element_count", element_count.into());
    put("unexpected_count", unexpected_count.into());
    put("unexpected_percent", counts.unexpected_percent().into());
    if !matches!(result.rule.expectation, Expectation::NotNull { .. } | Expectation::IsNull { .. }) {
        put("missing_count", missing_count.into());
        put("missing_percent", percent(missing_count, element_count).into());
        put("unexpected_percent_total", percent(unexpected_count, element_count).into());
        put("unexpected_percent_nonmissing", percent(unexpected_count, element_count - missing_count).into());
    }
    if !result.partial_unexpected.is_empty() || unexpected_count == 0 {
        put("partial_unexpected_list", result.partial_unexpected.clone().into());
        put("partial_unexpected_counts", value_counts(&result.partial_unexpected));
    }
    let rows = &result.unexpected_rows;
    put("partial_unexpected_index_list", rows.iter().take(EXAMPLES_MAX).copied().collect::<Vec<_>>().into());
    put("unexpected_index_list", rows.clone().into());
}

/// How often each value is in the partial list, most frequent first.
fn value_counts(values: &[Json]) -> Json {
    let mut counts = BTreeMap::<String, (u64, &Json)>::new();
    for value in values {
        counts.entry(value.to_string()).or_insert((0, value)).0 += 1;
    }
    let mut order: Vec<(u64, &Json)> = counts.into_values().collect();
    order.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    order.into_iter().map(|(count, value)| json!({ "value": value, "count": count })).collect()
}

/// The keyword arguments; those of a rule of our own are its fields.
fn kwargs(rule: &Rule) -> Json {
    let mut kwargs = match (expectation_type(&rule.expectation), arguments(&rule.expectation)) {
        (Some(_), Json::Object(known)) => known,
        _ => match serde_json::to_value(&rule.expectation) {
            Ok(Json::Object(mut own)) => {
                own.remove("rule");
                own
            }
            _ => Map::new(),
        },
    };
    if rule.mostly < 1.0 {
        kwargs.insert("mostly".to_owned(), rule.mostly.into());
    }
    if let Some(filter) = &rule.filter {
        kwargs.insert("row_condition".to_owned(), condition::to_json(filter, false));
        kwargs.insert("condition_parser".to_owned(), "great_expectations".into());
    }
    Json::Object(kwargs)
}

fn limits(limits: &Limits) -> Json {
    let Limits { column, min, max, strict_min, strict_max } = limits;
    json!({ "column": column, "min_value": min, "max_value": max, "strict_min": strict_min, "strict_max": strict_max })
}

fn anchored(pattern: &str, anchored: bool) -> String {
    if anchored { format!("^(?:{pattern})$") } else { pattern.to_owned() }
}

fn pair_ignore(ignore: IgnoreRowIf) -> &'static str {
    match ignore {
        IgnoreRowIf::AllMissing => "both_values_are_missing",
        IgnoreRowIf::AnyMissing => "either_value_is_missing",
        IgnoreRowIf::Never => "neither",
    }
}

fn record_ignore(ignore: IgnoreRowIf) -> &'static str {
    match ignore {
        IgnoreRowIf::AllMissing => "all_values_are_missing",
        IgnoreRowIf::AnyMissing => "any_value_is_missing",
        IgnoreRowIf::Never => "never",
    }
}

#[allow(clippy::too_many_lines, reason = "one table of arguments, one line per rule")]
fn arguments(expectation: &Expectation) -> Json {
    match expectation {
        Expectation::InSet { column, values }
        | Expectation::NotInSet { column, values }
        | Expectation::DistinctEqualSet { column, values }
        | Expectation::DistinctContainSet { column, values }
        | Expectation::DistinctInSet { column, values } => json!({ "column": column, "value_set": values }),
        Expectation::MostCommonInSet { column, values, ties_okay } => {
            json!({ "column": column, "value_set": values, "ties_okay": ties_okay })
        }
        Expectation::Increasing { column, strictly } | Expectation::Decreasing { column, strictly } => {
            json!({ "column": column, "strictly": strictly })
        }
        Expectation::ZScoreLess { column, threshold, double_sided } => {
            json!({ "column": column, "threshold": threshold, "double_sided": double_sided })
        }
        Expectation::ColumnType { column, data_type } => json!({ "column": column, "type_": data_type.to_string() }),
        Expectation::TypeIn { column, data_types } => json!({ "column": column, "type_list": data_types }),
        Expectation::Regex { column, pattern, anchored: full }
        | Expectation::NotRegex { column, pattern, anchored: full } => {
            json!({ "column": column, "regex": anchored(pattern, *full) })
        }
        Expectation::AnyOfRegex { column, patterns, anchored: full } => {
            json!({ "column": column, "regex_list": list(patterns, *full), "match_on": "any" })
        }
        Expectation::AllOfRegex { column, patterns, anchored: full } => {
            json!({ "column": column, "regex_list": list(patterns, *full), "match_on": "all" })
        }
        Expectation::NoneOfRegex { column, patterns, anchored: full } => {
            json!({ "column": column, "regex_list": list(patterns, *full) })
        }
        Expectation::Like { column, pattern } | Expectation::NotLike { column, pattern } => {
            json!({ "column": column, "like_pattern": pattern })
        }
        Expectation::AnyOfLike { column, patterns } => {
            json!({ "column": column, "like_pattern_list": patterns, "match_on": "any" })
        }
        Expectation::NoneOfLike { column, patterns } => json!({ "column": column, "like_pattern_list": patterns }),
        Expectation::LengthBetween { column, min, max, .. } => {
            json!({ "column": column, "min_value": min, "max_value": max })
        }
        Expectation::LengthEquals { column, length, .. } => json!({ "column": column, "value": length }),
        Expectation::Strftime { column, format } => json!({ "column": column, "strftime_format": format }),
        Expectation::Quantiles { column, quantiles, interpolation } => {
            let ranges: Vec<Json> = quantiles.iter().map(|limits| json!([limits.min, limits.max])).collect();
            let quantiles: Vec<f64> = quantiles.iter().map(|limits| limits.quantile).collect();
            let ranges = json!({ "quantiles": quantiles, "value_ranges": ranges });
            match interpolation {
                Interpolation::Nearest => json!({ "column": column, "quantile_ranges": ranges }),
                other => json!({ "column": column, "quantile_ranges": ranges, "allow_relative_error": other }),
            }
        }
        Expectation::PairGreater { a, b, or_equal, ignore_row_if } => {
            json!({ "column_A": a, "column_B": b, "or_equal": or_equal, "ignore_row_if": pair_ignore(*ignore_row_if) })
        }
        Expectation::PairEqual { a, b, ignore_row_if } => {
            json!({ "column_A": a, "column_B": b, "ignore_row_if": pair_ignore(*ignore_row_if) })
        }
        Expectation::PairInSet { a, b, pairs, ignore_row_if } => json!({
            "column_A": a, "column_B": b, "value_pairs_set": pairs, "ignore_row_if": pair_ignore(*ignore_row_if),
        }),
        Expectation::SumEquals { columns, total, ignore_row_if, .. } => {
            json!({ "column_list": columns, "sum_total": total, "ignore_row_if": record_ignore(*ignore_row_if) })
        }
        Expectation::CompoundUnique { columns, ignore_row_if }
        | Expectation::UniqueWithinRecord { columns, ignore_row_if } => {
            json!({ "column_list": columns, "ignore_row_if": record_ignore(*ignore_row_if) })
        }
        Expectation::RowCountBetween { min, max } | Expectation::ColumnCountBetween { min, max } => {
            json!({ "min_value": min, "max_value": max })
        }
        Expectation::RowCountEquals { count } => json!({ "value": count }),
        Expectation::RowCountEqualsTable { table } => json!({ "other_table_name": table }),
        Expectation::ColumnPresent { column, index } => json!({ "column": column, "column_index": index }),
        Expectation::ColumnsOrdered { columns } => json!({ "column_list": columns }),
        Expectation::ColumnSet { columns, exact } => json!({ "column_set": columns, "exact_match": exact }),
        other => match other.limits() {
            Some(known) => limits(known),
            None => json!({ "column": other.column() }),
        },
    }
}

fn list(patterns: &[String], full: bool) -> Vec<String> {
    patterns.iter().map(|pattern| anchored(pattern, full)).collect()
}
