//! What a load says beside the model's name: Triton's `config`, with which a client may set how requests share
//! predictions until the model is loaded again. And what an unload says.
//!
//! Everything else about a model is its package's business: a configuration may say what the server's own says of the
//! model, and one that says something else is refused.

use std::time::Duration;

use mlops_core::{Error, ModelName, Result};
use serde_json::{Map, Value};

use super::describe::Config;
use crate::{
    ensemble::whole_number,
    repository::{Batching, Entry, LoadedVersion, Wish},
};

/// Reads the parameters of a load, whose values are none where they are no text.
///
/// # Errors
/// `InvalidArgument` for a parameter without a meaning, and for a configuration that cannot be read; `Unimplemented` for
/// files. What the configuration says is judged by the version that it is for: `InvalidArgument` when it says anything
/// new but batches, and batches where there are none.
pub(crate) fn wish(
    name: &ModelName,
    parameters: impl Iterator<Item = (String, Option<String>)>,
) -> Result<Option<Wish>> {
    let mut wish = None;
    for (key, value) in parameters {
        match (key.as_str(), value) {
            ("config", Some(text)) => {
                let said = Said::read(name, &text)?;
                wish = Some(Box::new(move |entry: &Entry, version: &LoadedVersion| said.of(entry, version)) as Wish);
            }
            ("config", None) => return Err(refusal(name, "its config is no text")),
            _ if key.starts_with("file:") => {
                return Err(Error::unimplemented("a load takes no files; the model's package has all of them"));
            }
            _ => return Err(refusal(name, &format!("there is no parameter {key:?}"))),
        }
    }
    Ok(wish)
}

/// Checks the parameters of an unload, whose values are none where they are neither true nor false.
///
/// # Errors
/// `Unimplemented` where the models that an ensemble asks are to go with it; `InvalidArgument` for a parameter without
/// a meaning.
pub(crate) fn check_unload(name: &ModelName, parameters: impl Iterator<Item = (String, Option<bool>)>) -> Result<()> {
    for (key, value) in parameters {
        match (key.as_str(), value) {
            ("unload_dependents", Some(false)) => {}
            ("unload_dependents", Some(true)) => {
                return Err(Error::unimplemented(
                    "an unload takes one model; unload those that it asks by their names",
                ));
            }
            _ => {
                return Err(Error::invalid_argument(format!(
                    "failed to unload \"{name}\": it takes unload_dependents, true or false, and no {key:?}"
                )));
            }
        }
    }
    Ok(())
}

fn refusal(name: &ModelName, why: &str) -> Error {
    Error::invalid_argument(format!("failed to load \"{name}\": {why}"))
}

/// What a configuration says.
struct Said {
    /// Not below 0.
    max_batch_size: Option<i32>,
    delay: Option<Duration>,
    rest: Map<String, Value>,
}

impl Said {
    fn read(name: &ModelName, text: &str) -> Result<Self> {
        let refused = |why: &str| refusal(name, why);
        let mut rest: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| refused(&format!("its config is no JSON object: {error}")))?;
        let size = |rows: Value| i32::try_from(whole_number(&rows)?).ok().filter(|rows| *rows >= 0);
        let max_batch_size = rest.remove("max_batch_size").map(|rows| {
            size(rows).ok_or_else(|| refused("max_batch_size is no whole number from 0 to the largest of 32 bits"))
        });
        let delay = rest.remove("dynamic_batching").map(|dynamic| {
            delay(&dynamic).ok_or_else(|| {
                refused("dynamic_batching may have max_queue_delay_microseconds, a whole number, and nothing else")
            })
        });
        let (max_batch_size, delay) = (max_batch_size.transpose()?, delay.transpose()?);
        Ok(Self { max_batch_size, delay, rest })
    }

    /// What that makes of a version of a model.
    fn of(&self, entry: &Entry, version: &LoadedVersion) -> Result<Batching> {
        let name = &entry.config.name;
        let in_effect = entry.batching(&entry.state());
        let ours = Config::of_version(name, in_effect, version);
        let mut batching = entry.config.batching();
        let shares = version.shares_predictions();
        if let Some(rows) = self.max_batch_size {
            batching.rows_max = match usize::try_from(rows) {
                _ if rows == ours.max_batch_size => in_effect.rows_max,
                // In Triton's words, 0 is a model that does not batch.
                Ok(rows) if shares || rows <= 1 => rows.max(1),
                _ => return Err(refusal(name, "its requests share no predictions, whatever max_batch_size says")),
            };
        }
        if let Some(delay) = self.delay {
            if !shares && !delay.is_zero() {
                return Err(refusal(name, "its requests share no predictions, so none may wait for others"));
            }
            batching.delay = delay;
        }
        let ours = serde_json::to_value(ours).unwrap_or_default();
        let known = |key: &str, value: &Value| ours.get(key).is_some_and(|ours| says(value, ours));
        match self.rest.iter().find(|(key, value)| !known(key, value)) {
            Some((key, _)) => Err(refusal(name, &format!("{key:?} of its config is not for a load to change"))),
            None => Ok(batching),
        }
    }
}

/// Whether `theirs` says what `ours` does; protobuf's JSON writes 64-bit numbers as text.
fn says(theirs: &Value, ours: &Value) -> bool {
    match (theirs, ours) {
        (Value::Array(theirs), Value::Array(ours)) => {
            theirs.len() == ours.len() && theirs.iter().zip(ours).all(|(theirs, ours)| says(theirs, ours))
        }
        (Value::Object(theirs), Value::Object(ours)) => {
            let same = |(key, ours): (&String, &Value)| theirs.get(key).is_some_and(|theirs| says(theirs, ours));
            theirs.len() == ours.len() && ours.iter().all(same)
        }
        (theirs, Value::Number(ours)) => ours.as_i64().is_some_and(|ours| whole_number(theirs) == Some(ours)),
        (theirs, ours) => theirs == ours,
    }
}

fn delay(dynamic: &Value) -> Option<Duration> {
    let fields = dynamic.as_object()?;
    let micros = match fields.get("max_queue_delay_microseconds") {
        Some(micros) => u64::try_from(whole_number(micros)?).ok()?,
        None => 0,
    };
    let known = fields.keys().all(|key| key == "max_queue_delay_microseconds");
    known.then(|| Duration::from_micros(micros))
}
