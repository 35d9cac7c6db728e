//! One step of an ensemble as its author writes it.

use std::{collections::BTreeMap, sync::Arc};

use mlops_core::{Model, ModelName, Version};

use super::Combination;

/// What a step does.
#[derive(Debug, Clone)]
pub(super) enum Work {
    /// Asks a model of the repository; the version in service when none is named.
    Served { model: ModelName, version: Option<Version> },
    /// Asks a model that is at hand.
    Model(Arc<dyn Model>),
    /// Makes one tensor of several.
    Combine(Combination),
}

/// A step of an [`Ensemble`](super::Ensemble): a model, with the tensors it reads and gives.
///
/// An input of the model that is wired to nothing reads the tensor of its own name. Outputs are given under their own
/// names unless some are named with [`Step::with_output`]: then those alone are given.
///
/// ```
/// use mlops_serve::{Combination, Step};
///
/// let risk = Step::served("risk", "fraud".parse()?, None).with_input("amount", "scaled").with_output("score", "risk");
/// let blend = Step::combine("blend", Combination::mean(), ["risk", "prior"], "score");
/// assert_eq!((risk.name(), blend.name()), ("risk", "blend"));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Step {
    pub(super) name: String,
    pub(super) work: Work,
    /// Input of the model to tensor of the ensemble.
    pub(super) inputs: BTreeMap<String, String>,
    /// Output of the model to tensor of the ensemble.
    pub(super) outputs: BTreeMap<String, String>,
    /// What a combination reads, in order.
    pub(super) parts: Vec<String>,
}

impl Step {
    fn new(name: impl Into<String>, work: Work) -> Self {
        let (inputs, outputs) = (BTreeMap::new(), BTreeMap::new());
        Self { name: name.into(), work, inputs, outputs, parts: Vec::new() }
    }

    /// Asks a model of the repository: `version`, or the one that is in service when the prediction begins. A named version
    /// stays loaded for as long as the ensemble does, and answers until its model is unloaded. Features that
    /// the server looks up for that model are not looked up here; wire them.
    #[must_use]
    pub fn served(name: impl Into<String>, model: ModelName, version: Option<Version>) -> Self {
        Self::new(name, Work::Served { model, version })
    }

    /// Asks a model that is at hand, such as a [`ClosureModel`](crate::ClosureModel).
    #[must_use]
    pub fn model(name: impl Into<String>, model: Arc<dyn Model>) -> Self {
        Self::new(name, Work::Model(model))
    }

    /// Makes `output` of the tensors `parts`, which have one type and shape.
    #[must_use]
    pub fn combine(
        name: impl Into<String>,
        how: Combination,
        parts: impl IntoIterator<Item = impl Into<String>>,
        output: impl Into<String>,
    ) -> Self {
        let step = Self::new(name, Work::Combine(how));
        let parts = parts.into_iter().map(Into::into).collect();
        Self { parts, outputs: [(String::new(), output.into())].into(), ..step }
    }

    /// Lets the model's `input` read `tensor`: an input of the ensemble, or what an earlier step gives.
    #[must_use]
    pub fn with_input(mut self, input: impl Into<String>, tensor: impl Into<String>) -> Self {
        self.inputs.insert(input.into(), tensor.into());
        self
    }

    /// Gives the model's `output` as `tensor`.
    #[must_use]
    pub fn with_output(mut self, output: impl Into<String>, tensor: impl Into<String>) -> Self {
        self.outputs.insert(output.into(), tensor.into());
        self
    }

    /// The name, by which failures and statistics tell of it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}
