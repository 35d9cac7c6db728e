//! Guardrails: scorers that judge what goes to a model, or what comes from it.

use mlops_core::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Change, NAME_MAX, check_name, check_optional, named::named};
use crate::evaluation::Scorer;

/// How deep a scorer may hold others.
const DEPTH_MAX: usize = 64;

named! {
    /// What is judged.
    GuardrailStage {
        /// The request, before a model gets it.
        Before = "BEFORE",
        /// The answer of a model.
        After = "AFTER",
    }
}

named! {
    /// What happens to what is judged bad.
    GuardrailAction {
        /// It is refused.
        Validation = "VALIDATION",
        /// It is changed.
        Sanitization = "SANITIZATION",
    }
}

/// The endpoint by which a guardrail changes what it judges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionEndpoint {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A guardrail, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guardrail {
    /// Its id.
    pub id: String,
    /// Its name, not necessarily one of a kind.
    pub name: String,
    /// The version of a scorer that judges, as it was when the guardrail was made. A version never changes.
    pub scorer: Scorer,
    /// What is judged.
    pub stage: GuardrailStage,
    /// What happens to what is judged bad.
    pub action: GuardrailAction,
    /// By which endpoint it is changed; none once that is deleted.
    #[serde(skip)]
    pub action_endpoint: Option<ActionEndpoint>,
    /// Who made it.
    pub change: Change,
}

/// How to create a guardrail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateGuardrail {
    /// Its name, at most 255 characters.
    pub name: String,
    /// The version of a scorer that judges; none that carries code of its own.
    pub scorer: Scorer,
    /// What is judged.
    pub stage: GuardrailStage,
    /// What happens to what is judged bad.
    pub action: GuardrailAction,
    /// Id of the endpoint by which it is changed.
    pub action_endpoint: Option<String>,
    /// Who creates it.
    pub created_by: Option<String>,
}

impl CreateGuardrail {
    /// Checks the name, and that the scorer carries no code, which a gateway would have to run.
    ///
    /// # Errors
    /// `InvalidArgument` naming the field.
    pub fn check(&self) -> Result<()> {
        check_name("name", &self.name, NAME_MAX)?;
        check_optional("action_endpoint_id", self.action_endpoint.as_ref(), NAME_MAX)?;
        check_optional("created_by", self.created_by.as_ref(), NAME_MAX)?;
        let scorer: Value = serde_json::from_str(&self.scorer.serialized)
            .map_err(|error| Error::invalid_argument("the scorer of a guardrail is no JSON").with_source(error))?;
        if has_code(&scorer, DEPTH_MAX) {
            return Err(Error::invalid_argument(
                "Gateway guardrails do not support custom scorers defined with the @scorer decorator. \
                 Use a built-in scorer or a judge created with make_judge.",
            ));
        }
        Ok(())
    }
}

/// Whether code is written down anywhere in a scorer. One that is deeper than anybody writes is taken for code.
fn has_code(scorer: &Value, depth: usize) -> bool {
    let Some(below) = depth.checked_sub(1) else { return true };
    match scorer {
        Value::Object(fields) => {
            fields.get("call_source").is_some_and(|source| !source.is_null())
                || fields.values().any(|value| has_code(value, below))
        }
        Value::Array(values) => values.iter().any(|value| has_code(value, below)),
        _ => false,
    }
}

/// How to put a guardrail before an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceGuardrail {
    /// Id of the endpoint.
    pub endpoint: String,
    /// Id of the guardrail.
    pub guardrail: String,
    /// Its place among the guardrails of the endpoint; those without come last.
    pub order: Option<i64>,
    /// Who puts it there.
    pub created_by: Option<String>,
}

/// A guardrail of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedGuardrail {
    /// Id of the endpoint.
    pub endpoint: String,
    /// The guardrail.
    pub guardrail: Guardrail,
    /// Its place among the guardrails of the endpoint; those without come last.
    pub order: Option<i64>,
    /// When it was put there.
    pub created: Timestamp,
    /// Who put it there.
    pub created_by: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn code_is_found_wherever_it_is() {
        for (scorer, want) in [
            (json!({ "name": "judge", "call_source": null }), false),
            (json!({ "call_source": "return True" }), true),
            (json!({ "ensemble_scorer_data": { "scorers": [{ "name": "a" }, { "call_source": "x" }] } }), true),
        ] {
            assert_eq!(has_code(&scorer, DEPTH_MAX), want, "{scorer}");
        }
        let deep = (0..100).fold(json!({}), |inner, _| json!([inner]));
        assert!(has_code(&deep, DEPTH_MAX));
    }
}
