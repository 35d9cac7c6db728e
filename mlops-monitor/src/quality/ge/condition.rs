//! Row conditions: the structured form of 1.x, both ways, and text where it reads like ours.

use serde_json::{Value as Json, json};

use crate::quality::{
    condition::{Comparison, Condition},
    value::SetValue,
};

const OPERATORS: [(Comparison, &str); 6] = [
    (Comparison::Equal, "=="),
    (Comparison::NotEqual, "!="),
    (Comparison::Less, "<"),
    (Comparison::LessOrEqual, "<="),
    (Comparison::Greater, ">"),
    (Comparison::GreaterOrEqual, ">="),
];

/// The structured form. It has no negation, so that is carried inwards, which SQL's logic allows.
pub(super) fn to_json(condition: &Condition, negated: bool) -> Json {
    let column = |name: &str| json!({ "name": name });
    match condition {
        Condition::Compare { column: name, comparison, value } => {
            let comparison = if negated { opposite(*comparison) } else { *comparison };
            let operator = OPERATORS.iter().find(|(known, _)| *known == comparison).map_or("==", |(_, text)| text);
            json!({ "type": "comparison", "column": column(name), "operator": operator, "parameter": value })
        }
        Condition::In { column: name, values } => {
            let operator = if negated { "NOT_IN" } else { "IN" };
            json!({ "type": "comparison", "column": column(name), "operator": operator, "parameter": values })
        }
        Condition::IsNull { column: name } => {
            json!({ "type": "nullity", "column": column(name), "is_null": !negated })
        }
        Condition::Not(inner) => to_json(inner, !negated),
        Condition::And(parts) | Condition::Or(parts) => {
            let all = matches!(condition, Condition::And(_)) != negated;
            let parts: Vec<Json> = parts.iter().map(|part| to_json(part, negated)).collect();
            json!({ "type": if all { "and" } else { "or" }, "conditions": parts })
        }
    }
}

fn opposite(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Equal => Comparison::NotEqual,
        Comparison::NotEqual => Comparison::Equal,
        Comparison::Less => Comparison::GreaterOrEqual,
        Comparison::LessOrEqual => Comparison::Greater,
        Comparison::Greater => Comparison::LessOrEqual,
        Comparison::GreaterOrEqual => Comparison::Less,
    }
}

/// # Errors
/// What cannot be read.
pub(super) fn from_json(condition: &Json) -> Result<Condition, String> {
    read(condition, 0)
}

fn read(condition: &Json, depth: usize) -> Result<Condition, String> {
    if depth > crate::quality::condition::CONDITION_DEPTH_MAX {
        return Err("row_condition is nested too deep".to_owned());
    }
    if let Json::String(text) = condition {
        // pandas quotes text with either quote; a name in double quotes would be a column of ours.
        if text.contains('"') {
            return Err(format!("row_condition {text:?} is not in our form"));
        }
        return text.parse().map_err(|error: mlops_core::Error| error.message().to_owned());
    }
    let unknown = || format!("row_condition {condition} is not understood");
    let column = || condition.pointer("/column/name").and_then(Json::as_str).map(str::to_owned).ok_or_else(unknown);
    let parts = || {
        let parts = condition.get("conditions").and_then(Json::as_array).ok_or_else(unknown)?;
        parts.iter().map(|part| read(part, depth + 1)).collect::<Result<Vec<_>, _>>()
    };
    match condition.get("type").and_then(Json::as_str) {
        Some("and") => parts().map(Condition::And),
        Some("or") => parts().map(Condition::Or),
        Some("pass_through") => {
            condition.get("pass_through_filter").map_or_else(|| Err(unknown()), |text| read(text, depth + 1))
        }
        Some("nullity") => {
            let null = Condition::IsNull { column: column()? };
            let wanted = condition.get("is_null").and_then(Json::as_bool).ok_or_else(unknown)?;
            Ok(if wanted { null } else { Condition::Not(Box::new(null)) })
        }
        Some("comparison") => {
            let operator = condition.get("operator").and_then(Json::as_str).ok_or_else(unknown)?;
            let parameter = condition.get("parameter").ok_or_else(unknown)?;
            let literal = |value: &Json| serde_json::from_value::<SetValue>(value.clone()).map_err(|_| unknown());
            if let "IN" | "NOT_IN" = operator {
                let values = parameter.as_array().ok_or_else(unknown)?.iter().map(literal).collect::<Result<_, _>>()?;
                let member = Condition::In { column: column()?, values };
                return Ok(if operator == "IN" { member } else { Condition::Not(Box::new(member)) });
            }
            let found = OPERATORS.iter().find(|(_, text)| *text == operator);
            let (comparison, _) = found.ok_or_else(unknown)?;
            Ok(Condition::Compare { column: column()?, comparison: *comparison, value: literal(parameter)? })
        }
        _ => Err(unknown()),
    }
}
