//! The lines that are read and written.

use std::collections::BTreeMap;

use mlops_core::{Error, Result};
use mlops_train::{
    Direction, ParamSpace, SearchSpace, Trial,
    search::{Condition, TrialState},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// One line of input.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Operation {
    /// Makes the study, or opens the one of this name in the storage.
    Create {
        #[serde(default)]
        name: Option<String>,
        #[serde(default)]
        direction: Option<Direction>,
        #[serde(default)]
        directions: Option<Vec<Direction>>,
        #[serde(default)]
        sampler: Choice,
        #[serde(default)]
        pruner: Option<Choice>,
        #[serde(default)]
        seed: u64,
        space: BTreeMap<String, Param>,
        #[serde(default)]
        storage: Option<String>,
    },
    /// Opens a study that Optuna keeps in a SQLite file; it goes on in this process.
    Import {
        optuna: String,
        name: String,
        #[serde(default)]
        sampler: Choice,
        #[serde(default)]
        seed: u64,
    },
    /// Writes the study into a SQLite file that Optuna opens.
    Export { optuna: String },
    /// Writes charts of the study as one HTML file.
    Plot { html: String },
    /// How much each parameter matters.
    Importance {},
    /// Proposes a trial.
    Ask {},
    /// Adds a trial with given parameters.
    Enqueue { params: BTreeMap<String, Value> },
    /// Reports a value on the way.
    Report {
        trial: usize,
        step: u64,
        #[serde(default)]
        value: Option<f64>,
    },
    /// Notes something about a trial.
    Note { trial: usize, name: String, value: Value },
    /// Ends a trial.
    Tell {
        trial: usize,
        #[serde(default)]
        state: Option<Told>,
        #[serde(default)]
        value: Option<f64>,
        #[serde(default)]
        values: Option<Vec<Option<f64>>>,
        #[serde(default)]
        constraints: Vec<Option<f64>>,
    },
    /// The best trial, or all that none dominates.
    Best {},
    /// All trials.
    Trials {},
}

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// With values.
    Complete,
    /// Stopped early.
    Pruned,
    /// Without value.
    Fail,
}

/// A sampler or pruner by name, or with its settings under `kind`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Choice {
    /// With its defaults.
    Name(String),
    /// With settings.
    Settings(Value),
}

impl Default for Choice {
    fn default() -> Self {
        Self::Name("tpe".to_owned())
    }
}

/// One parameter of the space.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Param {
    /// A real number.
    Float {
        low: f64,
        high: f64,
        #[serde(default)]
        log: bool,
        #[serde(default)]
        step: Option<f64>,
        #[serde(default)]
        when: Option<Condition>,
    },
    /// A whole number.
    Int {
        low: i64,
        high: i64,
        #[serde(default)]
        log: bool,
        #[serde(default)]
        step: Option<i64>,
        #[serde(default)]
        when: Option<Condition>,
    },
    /// One of several values.
    Categorical {
        choices: Vec<mlops_train::ParamValue>,
        #[serde(default)]
        when: Option<Condition>,
    },
}

/// The space of an operation.
pub(crate) fn space(params: BTreeMap<String, Param>) -> SearchSpace {
    params.into_iter().fold(SearchSpace::new(), |space, (name, param)| {
        let (param, when) = match param {
            Param::Float { low, high, log, step, when } => (ParamSpace::Float { low, high, log, step }, when),
            Param::Int { low, high, log, step, when } => {
                (ParamSpace::Int { low, high, log, step: step.unwrap_or(1) }, when)
            }
            Param::Categorical { choices, when } => (ParamSpace::Categorical { choices }, when),
        };
        let space = space.with(name.clone(), param);
        match when {
            Some(Condition { param, is }) => space.with_condition(&name, param, is),
            None => space,
        }
    })
}

/// A name as it is, or settings read as what they are for.
pub(crate) fn read<T: serde::de::DeserializeOwned>(choice: Choice, by_name: impl Fn(&str) -> Result<T>) -> Result<T> {
    match choice {
        Choice::Name(name) => by_name(&name),
        Choice::Settings(settings) => serde_json::from_value(settings)
            .map_err(|error| Error::invalid_argument(format!("sampler or pruner settings: {error}"))),
    }
}

/// A trial for output.
pub(crate) fn trial(trial: &Trial) -> Value {
    Value::Object(fields(trial))
}

fn fields(trial: &Trial) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("trial".to_owned(), json!(trial.number));
    fields.insert("params".to_owned(), json!(trial.params));
    if let (TrialState::Running, Some((step, _))) = (trial.state, trial.last_report()) {
        fields.insert("resume_after".to_owned(), json!(step));
    }
    fields
}

/// An ended trial for output.
pub(crate) fn ended(trial: &Trial) -> Value {
    let mut fields = fields(trial);
    fields.insert("state".to_owned(), json!(trial.state));
    fields.insert("value".to_owned(), json!(trial.value()));
    if trial.values.len() > 1 {
        fields.insert("values".to_owned(), json!(trial.values));
    }
    Value::Object(fields)
}

/// Why an operation was not done.
pub(crate) fn refusal(error: &Error) -> Value {
    json!({ "error": { "kind": format!("{:?}", error.kind()), "message": error.chain() } })
}

/// The line with `NaN` and `Infinity`, which Python writes and JSON does not know, as null.
pub(crate) fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let (mut rest, mut quoted) = (line, false);
    while let Some(next) = rest.chars().next() {
        let token = ["-Infinity", "Infinity", "NaN"].into_iter().find(|token| !quoted && rest.starts_with(token));
        let taken = match (token, next) {
            (Some(token), _) => {
                out.push_str("null");
                token.len()
            }
            (None, '\\') if quoted => rest.chars().take(2).map(char::len_utf8).sum(),
            (None, '"') => {
                quoted = !quoted;
                1
            }
            (None, other) => other.len_utf8(),
        };
        if token.is_none() {
            out.push_str(rest.get(..taken).unwrap_or_default());
        }
        rest = rest.get(taken..).unwrap_or_default();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_does_not_know_are_null_outside_of_text() {
        let line = r#"{"a":NaN,"b":[-Infinity,Infinity,1],"NaN \" Infinity":"NaN"}"#;
        assert_eq!(plain(line), r#"{"a":null,"b":[null,null,1],"NaN \" Infinity":"NaN"}"#);
    }
}
