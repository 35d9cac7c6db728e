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
            Self::Categorical { choices } => {
                let read = |choice: Value| {
                    let fault =
                        format!("parameter {name:?} has the choice {choice}, which is no text, number or switch");
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
