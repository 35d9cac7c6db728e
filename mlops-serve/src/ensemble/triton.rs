//! Triton's ensembles: the configuration of a model with `ensemble_scheduling`, in protobuf's JSON, which writes 64-bit
//! numbers as text too, and names in either case.

use std::collections::BTreeMap;

use mlops_core::{DataType, Error, Result, ResultExt, TensorSpec};
use serde::Deserialize;
use serde_json::Value;

use super::{EnsembleConfig, StepConfig};

#[derive(Debug, Deserialize)]
struct ModelConfig {
    #[serde(default, alias = "maxBatchSize")]
    max_batch_size: i64,
    #[serde(default)]
    input: Vec<Tensor>,
    #[serde(default)]
    output: Vec<Tensor>,
    #[serde(alias = "ensembleScheduling")]
    ensemble_scheduling: Scheduling,
}

#[derive(Debug, Deserialize)]
struct Tensor {
    name: String,
    #[serde(alias = "dataType")]
    data_type: String,
    dims: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Scheduling {
    step: Vec<SchedulingStep>,
}

#[derive(Debug, Deserialize)]
struct SchedulingStep {
    #[serde(alias = "modelName")]
    model_name: String,
    #[serde(default, alias = "modelVersion")]
    model_version: Option<Value>,
    #[serde(default, alias = "inputMap")]
    input_map: BTreeMap<String, String>,
    #[serde(default, alias = "outputMap")]
    output_map: BTreeMap<String, String>,
}

/// The ensemble of a configuration of Triton's; none when it is not one.
///
/// # Errors
/// `InvalidArgument` when it is one that cannot be served here, naming what.
pub(super) fn read(json: &[u8]) -> Result<Option<EnsembleConfig>> {
    let Ok(Value::Object(fields)) = serde_json::from_slice(json) else { return Ok(None) };
    if !fields.contains_key("ensemble_scheduling") && !fields.contains_key("ensembleScheduling") {
        return Ok(None);
    }
    let config: ModelConfig = serde_json::from_value(Value::Object(fields))
        .map_err(|error| Error::invalid_argument(format!("the ensemble configuration cannot be read: {error}")))?;
    let batched = config.max_batch_size > 0;
    let specs = |tensors: &[Tensor]| tensors.iter().map(|tensor| spec(tensor, batched)).collect::<Result<Vec<_>>>();
    let steps = config.ensemble_scheduling.step;
    let named = steps.iter().enumerate().map(|(index, step)| {
        let again = steps.iter().take(index).any(|before| before.model_name == step.model_name);
        let name = if again { format!("{}#{index}", step.model_name) } else { step.model_name.clone() };
        let model = match step.model_version.as_ref().and_then(whole_number) {
            None | Some(-1) => step.model_name.clone(),
            Some(version) => format!("{}/{version}", step.model_name),
        };
        let (inputs, outputs) = (step.input_map.clone(), step.output_map.clone());
        StepConfig { name, model: Some(model), inputs, outputs, ..StepConfig::default() }
    });
    let (inputs, outputs) = (specs(&config.input)?, specs(&config.output)?);
    Ok(Some(EnsembleConfig { inputs, outputs, steps: named.collect(), threads_max: None }))
}

/// A whole number as protobuf's JSON writes it: as a number or as text.
pub(crate) fn whole_number(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_i64(),
    }
}

fn spec(tensor: &Tensor, batched: bool) -> Result<TensorSpec> {
    let name = &tensor.name;
    let data_type = match tensor.data_type.strip_prefix("TYPE_").unwrap_or(&tensor.data_type) {
        "STRING" => DataType::String,
        other => DataType::from_oip(other).context(format!("tensor {name:?}"))?,
    };
    let dims: Option<Vec<i64>> = tensor.dims.iter().map(whole_number).collect();
    let rows = dims.as_deref().and_then(|dims| match (batched, dims) {
        (true, row) => Some(row),
        (false, [-1, row @ ..]) => Some(row),
        _ => None,
    });
    let row_shape = rows.and_then(|row| row.iter().map(|dim| usize::try_from(*dim).ok()).collect::<Option<Vec<_>>>());
    let row_shape = row_shape.ok_or_else(|| {
        let dims = Value::from(tensor.dims.clone());
        Error::invalid_argument(format!("tensor {name:?} has dims {dims}; the rows, and only they, may vary"))
    })?;
    Ok(TensorSpec::tensor(name, data_type, row_shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_of_triton_is_read_in_both_spellings() {
        let config = read(
            br#"{
                "name": "pipe", "platform": "ensemble", "max_batch_size": 8,
                "input": [{"name": "RAW", "data_type": "TYPE_STRING", "dims": [1]}],
                "output": [{"name": "OUT", "data_type": "TYPE_FP32", "dims": ["3"]}],
                "ensembleScheduling": {"step": [
                    {"modelName": "pre", "modelVersion": "-1", "inputMap": {"IN": "RAW"}, "outputMap": {"X": "x"}},
                    {"model_name": "net", "model_version": 2, "input_map": {"X": "x"}, "output_map": {"Y": "y"}},
                    {"model_name": "net", "input_map": {"X": "y"}, "output_map": {"Y": "OUT"}}
                ]}
            }"#,
        );
        let config = config.unwrap().unwrap();
        assert_eq!(config.inputs, [TensorSpec::tensor("RAW", DataType::String, [1])]);
        assert_eq!(config.outputs, [TensorSpec::tensor("OUT", DataType::Float32, [3])]);
        let steps: Vec<_> =
            config.steps.iter().map(|step| (step.name.as_str(), step.model.as_deref().unwrap())).collect();
        assert_eq!(steps, [("pre", "pre"), ("net", "net/2"), ("net#2", "net")]);
        assert_eq!(config.steps[0].inputs["IN"], "RAW");
    }

    #[test]
    fn rows_must_vary_and_nothing_else() {
        let of = |dims: &str, batch: u8| {
            let json = format!(
                r#"{{"max_batch_size": {batch}, "input": [{{"name": "t", "data_type": "TYPE_FP32", "dims": {dims}}}],
                    "ensemble_scheduling": {{"step": []}}}}"#
            );
            read(json.as_bytes()).map(|config| config.unwrap().inputs[0].row_shape.clone())
        };
        assert_eq!(
            (of("[4]", 1).unwrap(), of("[-1, 4]", 0).unwrap(), of("[]", 1).unwrap()),
            (vec![4], vec![4], vec![])
        );
        for (dims, batch) in [("[-1]", 1), ("[4]", 0), ("[]", 0), ("[-1, -1]", 0), ("[\"x\"]", 1)] {
            assert!(of(dims, batch).unwrap_err().message().contains("\"t\""), "{dims}");
        }
        assert!(read(b"{}").unwrap().is_none());
        assert!(read(br#"{"ensemble_scheduling": 1}"#).is_err());
    }
}
