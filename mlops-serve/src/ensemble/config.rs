//! Ensembles as data: the file that lies in a package, or alone in a model directory.

use std::collections::BTreeMap;

use mlops_core::{Error, Model, ModelRef, Result, ResultExt, Selector, Signature, TensorSpec};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::{Combination, Ensemble, EnsembleBuilder, Step, triton};

/// The file that describes an ensemble, in a package or alone in a version's directory.
pub const ENSEMBLE_FILE: &str = "ensemble.json";

/// Largest description, bytes.
const BYTES_MAX: usize = 1 << 20;

/// An ensemble as it is written down.
///
/// ```
/// use mlops_serve::EnsembleConfig;
///
/// let config = EnsembleConfig::from_json(
///     br#"{
///         "inputs": [{"name": "amount", "data_type": "float64"}],
///         "outputs": [{"name": "score", "data_type": "float64"}],
///         "steps": [
///             {"name": "scale", "function": "log", "inputs": {"x": "amount"}, "outputs": {"y": "scaled"}},
///             {"name": "a", "model": "fraud", "inputs": {"x": "scaled"}, "outputs": {"p": "p_a"}},
///             {"name": "b", "model": "fraud/3", "inputs": {"x": "scaled"}, "outputs": {"p": "p_b"}},
///             {"name": "blend", "combine": {"kind": "mean", "weights": [2, 1]}, "of": ["p_a", "p_b"], "output": "score"}
///         ]
///     }"#,
/// )?;
/// assert_eq!(config.steps.len(), 4);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsembleConfig {
    /// What clients send. Both sides may be left out in a package, whose manifest has the signature.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<TensorSpec>,
    /// What clients get.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<TensorSpec>,
    /// In any order.
    pub steps: Vec<StepConfig>,
    /// Most steps that run at a time; see [`EnsembleBuilder::with_threads_max`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads_max: Option<usize>,
}

/// A step as it is written down: exactly one of `model`, `function` and `combine`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StepConfig {
    /// Unique in the ensemble.
    pub name: String,
    /// A model of the same repository: `name` for the version in service, `name/3` for one version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// A function that the server registered, see [`EnsembleRuntime::with_function`](crate::EnsembleRuntime).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Makes `output` of the tensors in `of`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub combine: Option<Combination>,
    /// Input of the model to tensor of the ensemble; the tensor of the input's own name where it is not named.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
    /// Output of the model to tensor of the ensemble; every output under its own name when empty.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, String>,
    /// What is combined.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub of: Vec<String>,
    /// What the combination gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// Functions that steps name.
pub(crate) type Functions = BTreeMap<String, Arc<dyn Model>>;

impl EnsembleConfig {
    /// Reads a description: ours, or the configuration of a Triton ensemble in protobuf's JSON (with
    /// `ensemble_scheduling`; `max_batch_size` above 0 puts the rows before `dims`).
    ///
    /// # Errors
    /// `InvalidArgument` for what is neither, and what is longer than 1 MiB.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        if json.len() > BYTES_MAX {
            let found = json.len();
            return Err(Error::invalid_argument(format!(
                "an ensemble has {found} bytes; at most {BYTES_MAX} are read"
            )));
        }
        if let Some(config) = triton::read(json)? {
            return Ok(config);
        }
        serde_json::from_slice(json)
            .map_err(|error| Error::invalid_argument(format!("the ensemble cannot be read: {error}")))
    }

    /// What clients send and get, when the description says so.
    ///
    /// # Errors
    /// `InvalidArgument` when it says so wrongly.
    pub fn signature(&self) -> Result<Option<Signature>> {
        if self.inputs.is_empty() && self.outputs.is_empty() {
            return Ok(None);
        }
        Signature::new(self.inputs.clone(), self.outputs.clone()).map(Some)
    }

    /// The ensemble to build. Its signature is `signature`, or the description's own; if there are both they must agree.
    pub(crate) fn builder(self, signature: Option<&Signature>, functions: &Functions) -> Result<EnsembleBuilder> {
        let own = self.signature()?;
        let signature = match (own, signature) {
            (Some(own), Some(given)) if own != *given => {
                return Err(Error::failed_precondition(
                    "the signature of the package is not that of its ensemble.json",
                ));
            }
            (Some(own), _) => own,
            (None, Some(given)) => given.clone(),
            (None, None) => return Err(Error::invalid_argument("the ensemble does not say its inputs and outputs")),
        };
        let mut builder = Ensemble::builder(signature);
        if let Some(threads) = self.threads_max {
            builder = builder.with_threads_max(threads);
        }
        for step in self.steps {
            builder = builder.with_step(step.step(functions)?);
        }
        Ok(builder)
    }
}

impl StepConfig {
    fn step(self, functions: &Functions) -> Result<Step> {
        let name = self.name.clone();
        let wrong = |text: &str| Err(Error::invalid_argument(format!("step {name:?} {text}")).with("step", &name));
        let Self { name: _, model, function, combine, inputs, outputs, of, output } = self;
        let step = match (model, function, combine) {
            (Some(model), None, None) => {
                let ModelRef { name: model, selector } = model.parse().context(format!("step {name:?}"))?;
                match selector {
                    Selector::Latest => Step::served(&name, model, None),
                    Selector::Version(version) => Step::served(&name, model, Some(version)),
                    Selector::Alias(_) => {
                        return wrong("names an alias; name the model alone for the version in service");
                    }
                }
            }
            (None, Some(function), None) => match functions.get(&function) {
                Some(model) => Step::model(&name, Arc::clone(model)),
                None => return wrong(&format!("names the function {function:?}, which is not registered")),
            },
            (None, None, Some(how)) => match output {
                Some(output) if inputs.is_empty() && outputs.is_empty() => {
                    return Ok(Step::combine(&name, how, of, output));
                }
                _ => return wrong("combines, which takes \"of\" and \"output\" and no \"inputs\" and \"outputs\""),
            },
            _ => return wrong("must have exactly one of \"model\", \"function\" and \"combine\""),
        };
        if !of.is_empty() || output.is_some() {
            return wrong("has \"of\" or \"output\", which are of combinations");
        }
        Ok(Step { inputs, outputs, ..step })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(step: &str) -> String {
        let json =
            format!(r#"{{"inputs": [], "outputs": [{{"name": "y", "data_type": "float64"}}], "steps": [{step}]}}"#);
        let config = EnsembleConfig::from_json(json.as_bytes()).unwrap();
        config.builder(None, &Functions::new()).unwrap_err().message().to_owned()
    }

    #[test]
    fn a_step_does_one_thing_and_the_one_at_fault_is_named() {
        assert!(fault(r#"{"name": "a"}"#).contains("step \"a\" must have exactly one"));
        assert!(fault(r#"{"name": "a", "model": "m", "function": "f"}"#).contains("exactly one"));
        assert!(fault(r#"{"name": "a", "function": "f"}"#).contains("\"f\", which is not registered"));
        assert!(fault(r#"{"name": "a", "model": "m@champion"}"#).contains("alias"));
        assert!(fault(r#"{"name": "a", "model": "m", "output": "y"}"#).contains("of combinations"));
        assert!(fault(r#"{"name": "a", "combine": {"kind": "mean"}, "of": ["x"]}"#).contains("combines"));
    }

    #[test]
    fn what_is_written_is_read_and_what_is_unknown_is_refused() {
        let step = StepConfig { name: "a".into(), model: Some("m/2".into()), ..StepConfig::default() };
        let config = EnsembleConfig { inputs: vec![], outputs: vec![], steps: vec![step], threads_max: Some(2) };
        let json = serde_json::to_vec(&config).unwrap();
        assert_eq!(EnsembleConfig::from_json(&json).unwrap(), config);
        assert!(EnsembleConfig::from_json(br#"{"steps": [], "stages": 1}"#).is_err());
        assert!(EnsembleConfig::from_json(br#"[]"#).is_err());
        assert!(EnsembleConfig::from_json(&vec![b' '; BYTES_MAX + 1]).is_err());
    }
}
