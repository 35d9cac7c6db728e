//! Steps that are a layer of a network become one: it writes its result once, where each step of its own would make a
//! tensor that only the next one reads.

use std::collections::HashMap;

use mlops_core::{DataType, Error, Result, ResultExt};
use smallvec::SmallVec;

use super::{
    Args, Kernel, NodeDef,
    run::{Source, Step},
};
use crate::{
    Tensor,
    ops::Layer,
    tensor::{Data, transposed},
};

/// What a step may be to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// `MatMul`.
    Product,
    /// `Gemm` without factors, with its second matrix turned or not.
    General { turned: bool },
    /// `Add`.
    Sum,
    /// `Relu`.
    Rectifier,
}

impl Part {
    /// None for any other operator.
    ///
    /// # Errors
    /// `InvalidArgument` for an attribute of the wrong type.
    pub(super) fn of(node: &NodeDef) -> Result<Option<Self>> {
        Ok(match (node.domain.as_str(), node.op_type.as_str()) {
            ("" | "ai.onnx", "MatMul") => Some(Self::Product),
            ("" | "ai.onnx", "Add") => Some(Self::Sum),
            ("" | "ai.onnx", "Relu") => Some(Self::Rectifier),
            ("" | "ai.onnx", "Gemm") => {
                let plain = node.float("alpha", 1.0)? == 1.0 && node.float("beta", 1.0)? == 1.0;
                let general = Self::General { turned: node.int("transB", 0)? != 0 };
                (plain && node.int("transA", 0)? == 0).then_some(general)
            }
            _ => None,
        })
    }
}

/// A step of a layer as it was. What flows through is where there is no constant.
#[derive(Debug)]
struct Link {
    label: String,
    kernel: Kernel,
    inputs: Vec<Option<Tensor>>,
}

/// A layer that was found, and the places of its steps.
struct Found {
    places: Vec<usize>,
    from: Source,
    /// The constant.
    weights: usize,
    turned: bool,
    bias: Option<Tensor>,
    rectified: bool,
}

impl Found {
    /// The layer. Weights that many nodes share are turned once; the copy is counted with the constants.
    fn layer(&self, constants: &mut Vec<Tensor>, turned: &mut HashMap<usize, Tensor>) -> Option<Layer> {
        let weights = match turned.get(&self.weights).filter(|_| self.turned) {
            Some(weights) => weights.clone(),
            None if self.turned => {
                let weights = constants.get(self.weights)?;
                let (shape, places) = transposed(weights.shape(), &[1, 0]).ok()?;
                let weights = weights.gathered(shape, &places, 1).ok()?;
                constants.push(weights.clone());
                turned.insert(self.weights, weights.clone());
                weights
            }
            None => constants.get(self.weights)?.clone(),
        };
        Some(Layer { weights, bias: self.bias.clone(), rectified: self.rectified })
    }
}

/// The steps with layers in one; `outputs` are what the graph gives.
pub(super) fn fuse(steps: Vec<Step>, constants: &mut Vec<Tensor>, outputs: &[Source]) -> Vec<Step> {
    let readers = readers(&steps, outputs);
    let mut layers: HashMap<usize, (Found, Layer)> = HashMap::new();
    let mut turned = HashMap::new();
    for place in 0..steps.len() {
        if let Some(found) = find(&steps, place, constants, &readers)
            && let Some(&last) = found.places.last()
            && let Some(layer) = found.layer(constants, &mut turned)
        {
            layers.insert(last, (found, layer));
        }
    }
    let mut steps: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    for place in 0..steps.len() {
        let Some((Found { places, from, .. }, layer)) = layers.remove(&place) else { continue };
        let links: Vec<Step> = places.iter().filter_map(|&place| steps.get_mut(place)?.take()).collect();
        if let Some(step) = steps.get_mut(place) {
            *step = one_step(links, from, layer, constants);
        }
    }
    steps.into_iter().flatten().collect()
}

/// Which steps read a slot, once for each time; the graph's outputs are read by nobody that could be named.
fn readers(steps: &[Step], outputs: &[Source]) -> HashMap<usize, Vec<Option<usize>>> {
    let mut readers: HashMap<usize, Vec<Option<usize>>> = HashMap::new();
    let mut note = |source: Source, reader| {
        if let Source::Slot(slot) = source {
            readers.entry(slot).or_default().push(reader);
        }
    };
    for (place, step) in steps.iter().enumerate() {
        step.inputs.iter().flatten().for_each(|source| note(*source, Some(place)));
    }
    outputs.iter().for_each(|source| note(*source, None));
    readers
}

/// The layer that begins with the step at `place`.
fn find(
    steps: &[Step],
    place: usize,
    constants: &[Tensor],
    readers: &HashMap<usize, Vec<Option<usize>>>,
) -> Option<Found> {
    let constant = |source: Option<Source>| match source {
        Some(Source::Constant(index)) => Some((index, constants.get(index)?)),
        _ => None,
    };
    // The only reader of the only output of a step.
    let next = |place: usize| -> Option<(usize, &Step)> {
        let &[Some(slot)] = steps.get(place)?.outputs.as_slice() else { return None };
        let &[Some(reader)] = readers.get(&slot)?.as_slice() else { return None };
        Some((reader, steps.get(reader)?))
    };
    let first = steps.get(place)?;
    let &[Some(from @ Source::Slot(_)), weights, ref rest @ ..] = first.inputs.as_slice() else { return None };
    let (index, weights) = constant(weights).filter(|(_, weights)| !weights.is_empty())?;
    let (&[depth, width], DataType::Float32 | DataType::Float64) = (weights.shape(), weights.data_type()) else {
        return None;
    };
    let turned = match first.part? {
        Part::Product if rest.is_empty() => false,
        Part::General { turned } => turned,
        _ => return None,
    };
    let width = if turned { depth } else { width };
    let fits = |source: Option<Source>| {
        let (_, bias) = constant(source)?;
        let row = matches!(bias.shape(), [_] | [1, _]) && bias.shape().last() == Some(&width);
        (row && bias.data_type() == weights.data_type()).then(|| bias.clone())
    };
    let (mut places, mut bias) = (vec![place], None);
    match rest {
        [] => {
            if let Some((reader, step)) = next(place).filter(|(_, step)| step.part == Some(Part::Sum))
                && let &[left, right] = step.inputs.as_slice()
                && let Some(found) = fits(left).or_else(|| fits(right))
            {
                places.push(reader);
                bias = Some(found);
            }
        }
        &[summand] => bias = Some(fits(summand)?),
        _ => return None,
    }
    let mut rectified = false;
    if let Some((reader, _)) = next(*places.last()?).filter(|(_, step)| step.part == Some(Part::Rectifier)) {
        places.push(reader);
        rectified = true;
    }
    let worth = places.len() > 1 || first.part != Some(Part::Product);
    worth.then_some(Found { places, from, weights: index, turned, bias, rectified })
}

/// A layer as a step, with the steps that it was for inputs that are no matrix.
fn one_step(links: Vec<Step>, from: Source, layer: Layer, constants: &[Tensor]) -> Option<Step> {
    let outputs = links.last()?.outputs.clone();
    let label = match links.as_slice() {
        [only] => only.label.clone(),
        [first, .., last] => format!("{} to {}", first.label, last.label),
        [] => return None,
    };
    let link = |step: Step| {
        let constant = |source: &Option<Source>| match source {
            Some(Source::Constant(index)) => constants.get(*index).cloned(),
            _ => None,
        };
        let inputs = step.inputs.iter().map(constant).collect();
        Link { label: step.label, kernel: step.kernel, inputs }
    };
    let links: Vec<Link> = links.into_iter().map(link).collect();
    let kernel = match layer.weights.data() {
        Data::Float64(_) => Kernel::one(move |args| match layer.run::<f64>(args.get(0)?, args)? {
            Some(result) => Ok(result),
            None => one_by_one(&links, args),
        }),
        _ => Kernel::one(move |args| match layer.run::<f32>(args.get(0)?, args)? {
            Some(result) => Ok(result),
            None => one_by_one(&links, args),
        }),
    };
    Some(Step { label, kernel, part: None, inputs: vec![Some(from)], outputs, dead: Vec::new() })
}

/// The run spends what comes in and what goes out; here is spent what lies between, and the constants.
fn one_by_one(links: &[Link], args: &Args<'_>) -> Result<Tensor> {
    let mut flowing = args.get(0)?.clone();
    for (place, Link { label, kernel, inputs }) in links.iter().enumerate() {
        if place > 0 {
            // Written by the link before, and read by this one.
            args.operations.spend(&[2, flowing.len()]).context(label)?;
        }
        inputs.iter().flatten().try_for_each(|constant| args.operations.spend(&[constant.len()])).context(label)?;
        let inputs: SmallVec<[Option<&Tensor>; 4]> =
            inputs.iter().map(|constant| Some(constant.as_ref().unwrap_or(&flowing))).collect();
        let link = Args { inputs: &inputs, limits: args.limits, operations: args.operations };
        let result = kernel.run(&link).context(label)?.pop();
        drop(inputs);
        let result = result.ok_or_else(|| Error::internal("an operator of a layer gave nothing"))?;
        args.limits.alive(flowing.bytes().saturating_add(result.bytes())).context(label)?;
        flowing = result;
    }
    Ok(flowing)
}
