//! Optuna's distributions as JSON, and values as the numbers it stores.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{params::ParamValue, search::space::ParamSpace};

/// A distribution as `trial_params.distribution_json` has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "name", content = "attributes")]
pub(super) enum Distribution {
    /// Real numbers.
    #[serde(rename = "FloatDistribution")]
    Float { step: Option<f64>, low: f64, high: f64, log: bool },
    /// Whole numbers.
    #[serde(rename = "IntDistribution")]
    Int { log: bool, step: i64, low: i64, high: i64 },
    /// Choices.
    #[serde(rename = "CategoricalDistribution")]
    Categorical { choices: Vec<Value> },
    /// Real numbers, as Optuna before 3.0 wrote them and later ones still read them.
    #[serde(rename = "UniformDistribution")]
    Uniform { low: f64, high: f64 },
    /// Real numbers by their logarithm, before 3.0.
    #[serde(rename = "LogUniformDistribution")]
    LogUniform { low: f64, high: f64 },
    /// Real numbers in steps, before 3.0.
    #[serde(rename = "DiscreteUniformDistribution")]
    DiscreteUniform { low: f64, high: f64, q: f64 },
    /// Whole numbers, before 3.0.
    #[serde(rename = "IntUniformDistribution")]
    IntUniform {
        low: i64,
        high: i64,
        #[serde(default = "one")]
        step: i64,
    },
    /// Whole numbers by their logarithm, before 3.0, when the step meant nothing.
    #[serde(rename = "IntLogUniformDistribution")]
    IntLogUniform { low: i64, high: i64 },
}

fn one() -> i64 {
    1
}

impl Distribution {
    pub(super) fn of(space: &ParamSpace) -> Self {
        match space.clone() {
            ParamSpace::Float { low, high, log, step } => Self::Float { step, low, high, log },
            ParamSpace::Int { low, high, log, step } => Self::Int { log, step, low, high },
            ParamSpace::Categorical { choices } => {
                let json = |choice: &ParamValue| serde_json::to_value(choice).unwrap_or(Value::Null);
                Self::Categorical { choices: choices.iter().map(json).collect() }
            }
        }
    }

    pub(super) fn into_space(self, name: &str) -> Result<ParamSpace> {
        Ok(match self {
            Self::Float { step, low, high, log } => ParamSpace::Float { low, high, log, step },
            Self::Int { log, step, low, high } => ParamSpace::Int { low, high, log, step },
            Self::Uniform { low, high } => ParamSpace::Float { low, high, log: false, step: None },
            Self::LogUniform { low, high } => ParamSpace::Float { low, high, log: true, step: None },
            Self::DiscreteUniform { low, high, q } => ParamSpace::Float { low, high, log: false, step: Some(q) },
            Self::IntUniform { low, high, step } => ParamSpace::Int { low, high, log: false, step },
            Self::IntLogUniform { low, high } => ParamSpace::Int { low, high, log: true, step: 1 },
            Self::Categorical { choices } => {
                let read = |choice: Value| {
                    let fault =
                        format!("parameter {name:?} has the choice {choice}, which is no text, number, switch or null");
                    serde_json::from_value(choice).map_err(|_| Error::failed_precondition(fault))
                };
                ParamSpace::Categorical { choices: choices.into_iter().map(read).collect::<Result<_>>()? }
            }
        })
    }
}

/// The number that Optuna stores for a value: choices by index.
pub(super) fn number(space: &ParamSpace, value: &ParamValue) -> Option<f64> {
    match space {
        ParamSpace::Categorical { .. } => space.point(value),
        _ => value.as_f64(),
    }
}

/// The value of a stored number.
pub(super) fn value(space: &ParamSpace, number: f64) -> Option<ParamValue> {
    match space {
        ParamSpace::Float { .. } => Some(ParamValue::Float(number)),
        ParamSpace::Int { .. } => (number.fract() == 0.0).then_some(ParamValue::Int(number as i64)),
        ParamSpace::Categorical { choices } => choices.get(number as usize).cloned().filter(|_| number >= 0.0),
    }
}

/// The space that holds both; none when they are of different kinds.
pub(super) fn union(a: &ParamSpace, b: &ParamSpace) -> Option<ParamSpace> {
    match (a, b) {
        (a, b) if a == b => Some(a.clone()),
        (
            ParamSpace::Float { low, high, log, step: None },
            ParamSpace::Float { low: low_b, high: high_b, log: log_b, step: None },
        ) if log == log_b => {
            Some(ParamSpace::Float { low: low.min(*low_b), high: high.max(*high_b), log: *log, step: None })
        }
        (
            ParamSpace::Int { low, high, log, step: 1 },
            ParamSpace::Int { low: low_b, high: high_b, log: log_b, step: 1 },
        ) if log == log_b => {
            Some(ParamSpace::Int { low: *low.min(low_b), high: *high.max(high_b), log: *log, step: 1 })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_of_every_age_are_read() {
        let check = |json: &str, expected: ParamSpace| {
            let distribution: Distribution = serde_json::from_str(json).unwrap();
            assert_eq!(distribution.into_space("x").unwrap(), expected, "{json}");
        };
        let float = |low, high, log, step| ParamSpace::Float { low, high, log, step };
        let int = |low, high, log, step| ParamSpace::Int { low, high, log, step };
        // Each as `optuna.distributions.distribution_to_json` of the version wrote it.
        check(
            r#"{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}"#,
            float(0.0, 1.0, false, None),
        );
        check(
            r#"{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 8}}"#,
            int(1, 8, true, 1),
        );
        check(
            r#"{"name": "UniformDistribution", "attributes": {"low": 0.0, "high": 1.0}}"#,
            float(0.0, 1.0, false, None),
        );
        check(
            r#"{"name": "LogUniformDistribution", "attributes": {"low": 0.1, "high": 1.0}}"#,
            float(0.1, 1.0, true, None),
        );
        check(
            r#"{"name": "DiscreteUniformDistribution", "attributes": {"low": 0.0, "high": 1.0, "q": 0.25}}"#,
            float(0.0, 1.0, false, Some(0.25)),
        );
        check(
            r#"{"name": "IntUniformDistribution", "attributes": {"low": 1, "high": 9, "step": 2}}"#,
            int(1, 9, false, 2),
        );
        check(r#"{"name": "IntUniformDistribution", "attributes": {"low": 1, "high": 9}}"#, int(1, 9, false, 1));
        check(
            r#"{"name": "IntLogUniformDistribution", "attributes": {"low": 1, "high": 9, "step": 1}}"#,
            int(1, 9, true, 1),
        );
        check(
            r#"{"name": "CategoricalDistribution", "attributes": {"choices": ["a", 2, true, null]}}"#,
            ParamSpace::Categorical {
                choices: vec![
                    ParamValue::Text("a".to_owned()),
                    ParamValue::Int(2),
                    ParamValue::Bool(true),
                    ParamValue::Null,
                ],
            },
        );
        assert!(serde_json::from_str::<Distribution>(r#"{"name": "Other", "attributes": {}}"#).is_err());
    }
}
