//! Running a plan: each step in turn, each value dropped after its last reader.

use mlops_core::{Error, Result, ResultExt};
use smallvec::SmallVec;

use super::{Args, Kernel, fuse::Part, kernel::Outputs};
use crate::{Limits, Tensor, limits::Operations};

/// Where a step finds an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Constant(usize),
    Slot(usize),
}

#[derive(Debug)]
pub(crate) struct Step {
    /// For messages: `node "name" (OpType)`.
    pub(crate) label: String,
    pub(crate) kernel: Kernel,
    /// What it is to a layer of a network, if that.
    pub(crate) part: Option<Part>,
    pub(crate) inputs: Vec<Option<Source>>,
    /// Slots of the outputs; `None` for one that nobody reads.
    pub(crate) outputs: Vec<Option<usize>>,
    /// Slots that no later step reads.
    pub(crate) dead: Vec<usize>,
}

/// A graph ready to run. The first slots are the inputs.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) constants: Vec<Tensor>,
    pub(crate) steps: Vec<Step>,
    pub(crate) slots: usize,
    pub(crate) outputs: Vec<Source>,
    pub(crate) limits: Limits,
}

impl Plan {
    /// Computes the outputs of `inputs`, which come in the order of the graph's inputs.
    ///
    /// # Errors
    /// The operator's error, with the node's name before it.
    pub(crate) fn run(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
        self.run_within(inputs, &Operations::new(&self.limits))
    }

    /// The same with what `operations` have left.
    ///
    /// # Errors
    /// As [`Plan::run`].
    pub(crate) fn run_within(&self, inputs: Vec<Tensor>, operations: &Operations) -> Result<Vec<Tensor>> {
        let mut slots: Vec<Option<Tensor>> = inputs.into_iter().map(Some).collect();
        slots.resize_with(self.slots, || None);
        let mut live: u64 = slots.iter().flatten().map(Tensor::bytes).sum();
        for step in &self.steps {
            let outputs = self.step(step, &slots, operations).context(&step.label)?;
            if outputs.len() < step.outputs.len() {
                let (found, wanted) = (outputs.len(), step.outputs.len());
                return Err(Error::invalid_argument(format!("{}: it has {found} outputs, not {wanted}", step.label)));
            }
            for (slot, tensor) in step.outputs.iter().zip(outputs) {
                if let Some(slot) = slot.and_then(|slot| slots.get_mut(slot)) {
                    live = live.saturating_add(tensor.bytes());
                    *slot = Some(tensor);
                }
            }
            self.limits.alive(live).context(&step.label)?;
            for &dead in &step.dead {
                if let Some(tensor) = slots.get_mut(dead).and_then(Option::take) {
                    live = live.saturating_sub(tensor.bytes());
                }
            }
        }
        let outputs = self.outputs.iter().map(|&source| self.value(source, &slots).cloned());
        outputs.collect::<Option<_>>().ok_or_else(|| Error::internal("an output of the graph was not computed"))
    }

    fn value<'a>(&'a self, source: Source, slots: &'a [Option<Tensor>]) -> Option<&'a Tensor> {
        match source {
            Source::Constant(index) => self.constants.get(index),
            Source::Slot(index) => slots.get(index)?.as_ref(),
        }
    }

    fn step(&self, step: &Step, slots: &[Option<Tensor>], operations: &Operations) -> Result<Outputs> {
        let inputs: SmallVec<[Option<&Tensor>; 4]> =
            step.inputs.iter().map(|source| source.and_then(|source| self.value(source, slots))).collect();
        // Every operator reads its inputs and writes its outputs; one that does more spends that itself.
        inputs.iter().flatten().try_for_each(|input| operations.spend(&[input.len()]))?;
        let outputs = step.kernel.run(&Args { inputs: &inputs, limits: &self.limits, operations })?;
        outputs.iter().try_for_each(|output| operations.spend(&[output.len()]))?;
        Ok(outputs)
    }

    /// Bytes of the constants.
    pub(crate) fn constant_bytes(&self) -> u64 {
        self.constants.iter().map(Tensor::bytes).sum()
    }
}
