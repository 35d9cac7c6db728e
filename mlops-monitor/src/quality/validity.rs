//! Which rules make sense: checked when a suite is built or read.

use std::collections::HashSet;

use mlops_core::{Error, Result};

use super::{
    check::{format_fault, like_fault, pattern_fault},
    condition::{CONDITION_DEPTH_MAX, Condition},
    expectation::{Expectation, Limits, PairLimits, QuantileLimits},
    rule::Rule,
    value::SetValue,
};

/// Longest list of values, names or patterns in one rule.
const LIST_MAX: usize = 1_000_000;

/// # Errors
/// `InvalidArgument` when the rule can never be kept or never makes sense.
pub(super) fn check(rule: &Rule) -> Result<()> {
    let fault = fault(&rule.expectation).or_else(|| {
        if !(rule.mostly > 0.0 && rule.mostly <= 1.0) {
            return Some(format!("mostly must be above 0 and at most 1, found {}", rule.mostly));
        }
        rule.filter.as_ref().and_then(|condition| condition_fault(condition, 0))
    });
    fault.map_or(Ok(()), |what| Err(Error::invalid_argument(format!("rule {rule}: {what}"))))
}

fn fault(expectation: &Expectation) -> Option<String> {
    if let Some(limits) = expectation.limits() {
        return limits_fault(limits);
    }
    if let Some(limits) = expectation.pair_limits() {
        return pair_limits_fault(limits);
    }
    match expectation {
        Expectation::InSet { values, .. }
        | Expectation::NotInSet { values, .. }
        | Expectation::DistinctEqualSet { values, .. }
        | Expectation::DistinctContainSet { values, .. }
        | Expectation::DistinctInSet { values, .. }
        | Expectation::MostCommonInSet { values, .. } => {
            list_fault(values.len(), 1, "value").or_else(|| values.iter().find_map(value_fault))
        }
        Expectation::PairInSet { pairs, .. } => list_fault(pairs.len(), 1, "pair")
            .or_else(|| pairs.iter().flat_map(|(a, b)| [a, b]).flatten().find_map(value_fault)),
        Expectation::CompoundUnique { columns, .. }
        | Expectation::UniqueWithinRecord { columns, .. }
        | Expectation::SumEquals { columns, .. } => names_fault(columns, 2).or_else(|| match expectation {
            Expectation::SumEquals { total, tolerance, .. }
                if !total.is_finite() || tolerance.is_nan() || *tolerance < 0.0 =>
            {
                Some("total must be finite and tolerance at least 0".to_owned())
            }
            _ => None,
        }),
        Expectation::TypeIn { data_types, .. } => list_fault(data_types.len(), 1, "type"),
        Expectation::ColumnsOrdered { columns } | Expectation::ColumnSet { columns, .. } => names_fault(columns, 1),
        Expectation::Schema { fields, .. } => {
            names_fault(&fields.iter().map(|field| field.name.clone()).collect::<Vec<_>>(), 1)
        }
        Expectation::ZScoreLess { threshold, .. } if threshold.is_nan() || *threshold <= 0.0 => {
            Some(format!("threshold must be above 0, found {threshold}"))
        }
        Expectation::Quantiles { quantiles, .. } => quantiles_fault(quantiles),
        Expectation::LengthBetween { min, max, .. } => counts_fault(*min, *max, true),
        Expectation::RowCountBetween { min, max } | Expectation::ColumnCountBetween { min, max } => {
            counts_fault(*min, *max, false)
        }
        Expectation::References { columns, table_columns, .. } => names_fault(columns, 1).or_else(|| {
            let differ = !table_columns.is_empty() && table_columns.len() != columns.len();
            differ.then(|| format!("{} columns refer to {} columns", columns.len(), table_columns.len()))
        }),
        Expectation::DatasetMatch { keys, min, .. } => names_fault(keys, 1).or_else(|| {
            (!(*min > 0.0 && *min <= 1.0)).then(|| format!("min must be above 0 and at most 1, found {min}"))
        }),
        other => text_fault(other),
    }
}

fn text_fault(expectation: &Expectation) -> Option<String> {
    match expectation {
        Expectation::Regex { pattern, anchored, .. } | Expectation::NotRegex { pattern, anchored, .. } => {
            pattern_fault(pattern, *anchored)
        }
        Expectation::AnyOfRegex { patterns, anchored, .. }
        | Expectation::AllOfRegex { patterns, anchored, .. }
        | Expectation::NoneOfRegex { patterns, anchored, .. } => list_fault(patterns.len(), 1, "pattern")
            .or_else(|| patterns.iter().find_map(|pattern| pattern_fault(pattern, *anchored))),
        Expectation::Like { pattern, .. } | Expectation::NotLike { pattern, .. } => like_fault(pattern),
        Expectation::AnyOfLike { patterns, .. } | Expectation::NoneOfLike { patterns, .. } => {
            list_fault(patterns.len(), 1, "pattern").or_else(|| patterns.iter().find_map(|pattern| like_fault(pattern)))
        }
        Expectation::Strftime { format, .. } => format_fault(format),
        _ => None,
    }
}

fn list_fault(len: usize, min: usize, what: &str) -> Option<String> {
    match len {
        _ if len < min && min == 1 => Some(format!("needs at least one {what}")),
        _ if len < min => Some(format!("needs at least {min} {what}s, found {len}")),
        _ if len > LIST_MAX => Some(format!("has {len} {what}s, at most {LIST_MAX} are allowed")),
        _ => None,
    }
}

fn names_fault(names: &[String], min: usize) -> Option<String> {
    let mut seen = HashSet::new();
    let twice = || names.iter().find(|name| !seen.insert(name.as_str()));
    list_fault(names.len(), min, "column").or_else(|| twice_fault(twice))
}

fn twice_fault<'a>(twice: impl FnOnce() -> Option<&'a String>) -> Option<String> {
    twice().map(|name| format!("column {name:?} is listed twice"))
}

fn value_fault(value: &SetValue) -> Option<String> {
    match value {
        SetValue::Float(value) if value.is_nan() => Some("NaN equals no value".to_owned()),
        _ => None,
    }
}

fn limits_fault(limits: &Limits) -> Option<String> {
    let not_a_number = |end: &Option<SetValue>| matches!(end, Some(SetValue::Float(end)) if end.is_nan());
    match (&limits.min, &limits.max) {
        (None, None) => Some("needs min or max".to_owned()),
        (min, max) if not_a_number(min) || not_a_number(max) => Some("a bound is not a number".to_owned()),
        (Some(SetValue::Bool(_)), _) | (_, Some(SetValue::Bool(_))) => Some("a bound cannot be a boolean".to_owned()),
        (Some(min), Some(max)) => match max.less(min) {
            None => Some("min and max are of different kinds".to_owned()),
            Some(true) => Some(format!("min {min} is above max {max}")),
            Some(false) => None,
        },
        _ => None,
    }
}

fn interval_fault(min: Option<f64>, max: Option<f64>) -> Option<String> {
    match (min, max) {
        (None, None) => Some("needs min or max".to_owned()),
        (Some(min), _) if min.is_nan() => Some("a bound is not a number".to_owned()),
        (_, Some(max)) if max.is_nan() => Some("a bound is not a number".to_owned()),
        (Some(min), Some(max)) if min > max => Some(format!("min {min} is above max {max}")),
        _ => None,
    }
}

fn pair_limits_fault(limits: &PairLimits) -> Option<String> {
    interval_fault(limits.min, limits.max)
}

fn quantiles_fault(quantiles: &[QuantileLimits]) -> Option<String> {
    list_fault(quantiles.len(), 1, "quantile").or_else(|| {
        quantiles.iter().find_map(|limits| match limits.quantile {
            quantile if !(0.0..=1.0).contains(&quantile) => {
                Some(format!("quantile must be from 0 to 1, found {quantile}"))
            }
            // Both ends open is a quantile that is only shown.
            _ if limits.min.is_none() && limits.max.is_none() => None,
            _ => interval_fault(limits.min, limits.max),
        })
    })
}

fn counts_fault(min: Option<u64>, max: Option<u64>, needed: bool) -> Option<String> {
    match (min, max) {
        (None, None) if needed => Some("needs min or max".to_owned()),
        (Some(min), Some(max)) if min > max => Some(format!("min {min} is above max {max}")),
        _ => None,
    }
}

fn condition_fault(condition: &Condition, depth: usize) -> Option<String> {
    if depth >= CONDITION_DEPTH_MAX {
        return Some(format!("its condition is nested more than {CONDITION_DEPTH_MAX} deep"));
    }
    match condition {
        Condition::And(parts) | Condition::Or(parts) => list_fault(parts.len(), 1, "condition")
            .or_else(|| parts.iter().find_map(|part| condition_fault(part, depth + 1))),
        Condition::Not(inner) => condition_fault(inner, depth + 1),
        Condition::In { values, .. } => list_fault(values.len(), 1, "value"),
        Condition::Compare { value: SetValue::Float(value), .. } if !value.is_finite() => {
            Some("a literal of its condition is not finite".to_owned())
        }
        Condition::Compare { .. } | Condition::IsNull { .. } => None,
    }
}
