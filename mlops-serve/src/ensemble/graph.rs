//! From steps to a graph that can run: every name is bound to a slot, every type is checked, the order is fixed.
//!
//! Pure: what the models of the steps take and give is handed in. Invariants of a [`Graph`]: a tensor is given once; a
//! step stands in a later level than every step it reads from, and each input reads a tensor of its own type and shape.

use std::collections::BTreeMap;

use mlops_core::{Error, Result, Signature, TensorSpec};

use super::step::{Step, Work};

/// Most steps of an ensemble.
pub(super) const STEPS_MAX: usize = 256;

/// What the model of a step takes and gives.
#[derive(Debug, Clone, Default)]
pub(super) struct Interface {
    pub(super) inputs: Vec<TensorSpec>,
    pub(super) outputs: Vec<TensorSpec>,
}

/// An input of a step's model and the slot it reads; none is null in every row.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) spec: TensorSpec,
    pub(super) slot: Option<usize>,
}

/// An output of a step's model and the slot it fills.
#[derive(Debug)]
pub(super) struct Give {
    pub(super) spec: TensorSpec,
    pub(super) slot: usize,
}

/// A step in its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) reads: Vec<Read>,
    pub(super) gives: Vec<Give>,
}

/// What runs. The first slots are the inputs of the ensemble.
#[derive(Debug)]
pub(super) struct Graph {
    /// In the order of the steps.
    pub(super) nodes: Vec<Node>,
    /// Steps that read nothing of each other, in order.
    pub(super) levels: Vec<Vec<usize>>,
    pub(super) slots: usize,
    /// In the order of the outputs.
    pub(super) outputs: Vec<usize>,
}

/// A fault with the step and tensor it is about.
struct Fault {
    step: Option<String>,
    tensor: Option<String>,
    text: String,
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, step: Option<&str>, tensor: Option<&str>, text: impl Into<String>) {
        let owned = |name: Option<&str>| name.map(str::to_owned);
        self.0.push(Fault { step: owned(step), tensor: owned(tensor), text: text.into() });
    }

    /// All of them in one error, whose context names step and tensor of the first.
    fn into_result(self) -> Result<()> {
        let text = self.0.iter().map(|fault| fault.text.as_str()).collect::<Vec<_>>().join("; ");
        let Some(first) = self.0.into_iter().next() else { return Ok(()) };
        let mut error = Error::failed_precondition(format!("the ensemble cannot be built: {text}"));
        if let Some(step) = first.step {
            error = error.with("step", step);
        }
        if let Some(tensor) = first.tensor {
            error = error.with("tensor", tensor);
        }
        Err(error)
    }
}

/// Who gives a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Giver {
    Input,
    Step(usize),
}

/// What a step reads, in words.
struct Wanted<'a> {
    input: &'a str,
    /// The input of the model; a combination has none.
    spec: Option<&'a TensorSpec>,
    tensor: &'a str,
}

impl Graph {
    /// Checks and orders `steps`, whose models are as `interfaces` say, for an ensemble of this signature.
    ///
    /// # Errors
    /// `FailedPrecondition` naming everything that is wrong, with the step and tensor of the first fault in its context.
    pub(super) fn of(signature: &Signature, steps: &[Step], interfaces: &[Interface]) -> Result<Self> {
        let mut faults = Faults::default();
        check_names(steps, &mut faults);
        let wiring = Wiring::of(signature, steps, interfaces, &mut faults);
        faults.into_result()?;
        let levels = wiring.levels()?;
        wiring.bind(levels, interfaces)
    }
}

fn check_names(steps: &[Step], faults: &mut Faults) {
    if steps.is_empty() || steps.len() > STEPS_MAX {
        faults.add(None, None, format!("it has {} steps; 1 to {STEPS_MAX} are expected", steps.len()));
    }
    for (index, step) in steps.iter().enumerate() {
        let name = step.name.as_str();
        if name.is_empty() {
            faults.add(Some(name), None, format!("step {index} has no name"));
        }
        if steps.iter().take(index).any(|other| other.name == name) {
            faults.add(Some(name), None, format!("two steps are called {name:?}"));
        }
    }
}

/// Tensors by name, before they are bound to slots.
struct Wiring<'a> {
    signature: &'a Signature,
    steps: &'a [Step],
    givers: BTreeMap<&'a str, Giver>,
    /// By step.
    wanted: Vec<Vec<Wanted<'a>>>,
}

impl<'a> Wiring<'a> {
    fn of(signature: &'a Signature, steps: &'a [Step], interfaces: &'a [Interface], faults: &mut Faults) -> Self {
        let mut givers: BTreeMap<&str, Giver> = BTreeMap::new();
        for input in signature.inputs() {
            givers.insert(&input.name, Giver::Input);
        }
        for (index, (step, interface)) in steps.iter().zip(interfaces).enumerate() {
            for (output, _) in step.outputs.iter().filter(|_| !matches!(step.work, Work::Combine(_))) {
                if !interface.outputs.iter().any(|spec| spec.name == *output) {
                    let text = format!("step {:?} has no output {output:?} to give", step.name);
                    faults.add(Some(&step.name), Some(output), text);
                }
            }
            for (_, tensor) in gifts(step, interface) {
                if let Some(other) = givers.insert(tensor, Giver::Step(index)) {
                    let who = match other {
                        Giver::Input => "an input of the ensemble".to_owned(),
                        Giver::Step(other) => format!("step {:?}", steps.get(other).map_or("", Step::name)),
                    };
                    let text = format!("tensor {tensor:?} is given by step {:?} and by {who}", step.name);
                    faults.add(Some(&step.name), Some(tensor), text);
                }
            }
        }
        let wanted = steps.iter().zip(interfaces).map(|(step, interface)| wanted(step, interface, faults)).collect();
        let wiring = Self { signature, steps, givers, wanted };
        wiring.check_bound(faults);
        wiring
    }

    /// Whether everything that is read is given, and every input of the ensemble is read.
    fn check_bound(&self, faults: &mut Faults) {
        for (step, wanted) in self.steps.iter().zip(&self.wanted) {
            for Wanted { input, spec, tensor } in wanted {
                let left_out = spec.is_some_and(|spec| spec.nullable) && !step.inputs.contains_key(*input);
                if !self.givers.contains_key(tensor) && !left_out {
                    let text =
                        format!("input {input:?} of step {:?} reads tensor {tensor:?}, which nothing gives", step.name);
                    faults.add(Some(&step.name), Some(tensor), text);
                }
            }
        }
        let reads = |name: &str| self.wanted.iter().flatten().any(|wanted| wanted.tensor == name);
        for input in self.signature.inputs() {
            let answers = self.signature.outputs().iter().any(|output| output.name == input.name);
            if !reads(&input.name) && !answers {
                faults.add(
                    None,
                    Some(&input.name),
                    format!("input {:?} of the ensemble is read by no step", input.name),
                );
            }
        }
        for output in self.signature.outputs() {
            if !self.givers.contains_key(output.name.as_str()) {
                let text = format!("output {:?} of the ensemble is given by no step", output.name);
                faults.add(None, Some(&output.name), text);
            }
        }
    }

    /// The steps that `step` waits for.
    fn before(&self, step: usize) -> impl Iterator<Item = usize> {
        let wanted = self.wanted.get(step).into_iter().flatten();
        wanted.filter_map(|wanted| match self.givers.get(wanted.tensor) {
            Some(Giver::Step(giver)) => Some(*giver),
            _ => None,
        })
    }

    /// Steps by the longest way from the inputs.
    fn levels(&self) -> Result<Vec<Vec<usize>>> {
        let mut level_of: Vec<Option<usize>> = vec![None; self.steps.len()];
        let mut levels: Vec<Vec<usize>> = Vec::new();
        loop {
            let at = |step: usize| level_of.get(step).copied().flatten();
            let ready: Vec<usize> = (0..self.steps.len())
                .filter(|&step| at(step).is_none() && self.before(step).all(|before| at(before).is_some()))
                .collect();
            if ready.is_empty() {
                break;
            }
            for &step in &ready {
                if let Some(level) = level_of.get_mut(step) {
                    *level = Some(levels.len());
                }
            }
            levels.push(ready);
        }
        let stuck = level_of.iter().position(Option::is_none);
        stuck.map_or(Ok(levels), |stuck| Err(self.cycle(stuck, &level_of)))
    }

    /// The error of a cycle that can be reached against the arrows from `from`, which no order could place.
    fn cycle(&self, from: usize, level_of: &[Option<usize>]) -> Error {
        let mut way = vec![from];
        let mut at = from;
        // Each step that has no level waits for another, so this ends on the way.
        while let Some(before) = self.before(at).find(|before| level_of.get(*before).copied().flatten().is_none()) {
            if let Some(place) = way.iter().position(|step| *step == before) {
                way.drain(..place);
                break;
            }
            way.push(before);
            at = before;
        }
        way.reverse();
        let names: Vec<&str> = way.iter().filter_map(|step| self.steps.get(*step)).map(Step::name).collect();
        let first = names.first().copied().unwrap_or_default();
        let text = format!("steps wait for each other in a circle: {} -> {first}", names.join(" -> "));
        Error::failed_precondition(format!("the ensemble cannot be built: {text}")).with("step", first)
    }

    /// Binds names to slots and checks types, in the order of the levels, for what a combination gives follows from what
    /// it reads.
    fn bind(&self, levels: Vec<Vec<usize>>, interfaces: &[Interface]) -> Result<Graph> {
        let mut faults = Faults::default();
        let mut slots: BTreeMap<&str, (usize, TensorSpec)> = BTreeMap::new();
        for input in self.signature.inputs() {
            slots.insert(&input.name, (slots.len(), input.clone()));
        }
        let mut nodes: Vec<Option<Node>> = self.steps.iter().map(|_| None).collect();
        for &index in levels.iter().flatten() {
            let (Some(step), Some(interface), Some(wanted)) =
                (self.steps.get(index), interfaces.get(index), self.wanted.get(index))
            else {
                continue;
            };
            let reads: Vec<Read> = wanted.iter().map(|wanted| read(step, wanted, &slots, &mut faults)).collect();
            let made = match &step.work {
                Work::Combine(how) => {
                    let parts: Vec<&TensorSpec> = reads.iter().map(|read| &read.spec).collect();
                    if let Some(fault) = how.fault(&parts) {
                        faults.add(Some(&step.name), None, format!("step {:?}: {fault}", step.name));
                    }
                    parts
                        .first()
                        .map(|part| vec![TensorSpec { name: String::new(), ..(*part).clone() }])
                        .unwrap_or_default()
                }
                _ => interface.outputs.clone(),
            };
            let mut gives = Vec::new();
            for (output, tensor) in gifts(step, interface) {
                let Some(spec) = made.iter().find(|spec| spec.name == output) else { continue };
                let slot = slots.len();
                slots.insert(tensor, (slot, TensorSpec { name: tensor.to_owned(), ..spec.clone() }));
                gives.push(Give { spec: spec.clone(), slot });
            }
            if let Some(node) = nodes.get_mut(index) {
                *node = Some(Node { reads, gives });
            }
        }
        let mut outputs = Vec::new();
        for output in self.signature.outputs() {
            let Some((slot, spec)) = slots.get(output.name.as_str()) else { continue };
            if let Some(difference) = differs(spec, output) {
                let text = format!("output {:?} of the ensemble {difference}", output.name);
                let giver = self.givers.get(output.name.as_str());
                let step = giver.and_then(|giver| match giver {
                    Giver::Step(step) => self.steps.get(*step).map(Step::name),
                    Giver::Input => None,
                });
                faults.add(step, Some(&output.name), text);
            }
            outputs.push(*slot);
        }
        faults.into_result()?;
        let nodes: Option<Vec<Node>> = nodes.into_iter().collect();
        let nodes = nodes.ok_or_else(|| Error::internal("a step of the ensemble has no place"))?;
        Ok(Graph { nodes, levels, slots: slots.len(), outputs })
    }
}

/// Which output of its model a step gives as which tensor.
fn gifts<'a>(step: &'a Step, interface: &'a Interface) -> Vec<(&'a str, &'a str)> {
    if step.outputs.is_empty() {
        return interface.outputs.iter().map(|spec| (spec.name.as_str(), spec.name.as_str())).collect();
    }
    step.outputs.iter().map(|(output, tensor)| (output.as_str(), tensor.as_str())).collect()
}

fn wanted<'a>(step: &'a Step, interface: &'a Interface, faults: &mut Faults) -> Vec<Wanted<'a>> {
    if let Work::Combine(_) = step.work {
        return step.parts.iter().map(|part| Wanted { input: part, spec: None, tensor: part }).collect();
    }
    for input in step.inputs.keys() {
        if !interface.inputs.iter().any(|spec| spec.name == *input) {
            let known: Vec<&str> = interface.inputs.iter().map(|spec| spec.name.as_str()).collect();
            let text = format!("step {:?} has no input {input:?}; it has {}", step.name, known.join(", "));
            faults.add(Some(&step.name), Some(input), text);
        }
    }
    let bound = |spec: &'a TensorSpec| {
        let tensor = step.inputs.get(&spec.name).unwrap_or(&spec.name);
        Wanted { input: &spec.name, spec: Some(spec), tensor }
    };
    interface.inputs.iter().map(bound).collect()
}

fn read(step: &Step, wanted: &Wanted<'_>, slots: &BTreeMap<&str, (usize, TensorSpec)>, faults: &mut Faults) -> Read {
    let found = slots.get(wanted.tensor);
    let Some(want) = wanted.spec else {
        let spec = found
            .map_or_else(|| TensorSpec::column(wanted.tensor, mlops_core::DataType::Bool), |(_, spec)| spec.clone());
        return Read { spec, slot: found.map(|(slot, _)| *slot) };
    };
    if let Some((_, spec)) = found
        && let Some(difference) = differs(spec, want)
    {
        let text = format!("input {:?} of step {:?} {difference}", wanted.input, step.name);
        faults.add(Some(&step.name), Some(wanted.tensor), text);
    }
    Read { spec: want.clone(), slot: found.map(|(slot, _)| *slot) }
}

/// Why a tensor like `given` does not do for `wanted`.
fn differs(given: &TensorSpec, wanted: &TensorSpec) -> Option<String> {
    let name = &given.name;
    if given.data_type != wanted.data_type {
        return Some(format!("must be {}, tensor {name:?} is {}", wanted.data_type, given.data_type));
    }
    if given.row_shape != wanted.row_shape {
        return Some(format!("has row shape {:?}, tensor {name:?} has {:?}", wanted.row_shape, given.row_shape));
    }
    (given.nullable && !wanted.nullable).then(|| format!("takes no nulls, tensor {name:?} may have some"))
}
