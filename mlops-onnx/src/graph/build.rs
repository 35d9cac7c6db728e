//! Checking and ordering a graph.
//!
//! Nodes may come in any order; a value without a writer, with two writers, or that depends on itself is refused by
//! name. Nodes that no output needs are left out.

use std::collections::{BTreeSet, HashMap};

use mlops_core::{Error, Result, ResultExt};

use super::{
    NodeDef,
    fuse::{Part, fuse},
    run::{Plan, Source, Step},
};
use crate::{Limits, Tensor, ops, proto};

/// A plan in the making.
struct Builder<'a> {
    limits: &'a Limits,
    opsets: HashMap<String, i64>,
    /// Values that exist already.
    sources: HashMap<String, Source>,
    constants: Vec<Tensor>,
    steps: Vec<Step>,
    slots: usize,
}

fn label(node: &proto::Node) -> String {
    let name = if node.name.is_empty() { node.outputs.first().map_or("", String::as_str) } else { &node.name };
    format!("node {name:?} ({})", node.op_type)
}

/// The operator sets by domain; the main one is written as `""` or `ai.onnx`.
fn opsets(declared: Vec<(String, i64)>) -> HashMap<String, i64> {
    declared.into_iter().map(|(domain, version)| (normal_domain(&domain).to_owned(), version)).collect()
}

fn normal_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

impl Plan {
    /// Orders the nodes and binds their attributes. `inputs` are the names of the values that come from outside.
    ///
    /// # Errors
    /// `InvalidArgument` for a broken graph, `Unimplemented` for an operator that is not known; both name the node.
    pub(crate) fn build(
        declared: Vec<(String, i64)>,
        graph: proto::Graph,
        inputs: &[String],
        limits: &Limits,
    ) -> Result<Self> {
        let mut builder = Builder {
            limits,
            opsets: opsets(declared),
            sources: HashMap::new(),
            constants: Vec::new(),
            steps: Vec::new(),
            slots: inputs.len(),
        };
        for (slot, name) in inputs.iter().enumerate() {
            builder.define(name, Source::Slot(slot))?;
        }
        for tensor in graph.initializers {
            let name = tensor.name.clone();
            builder.add_constant(&name, tensor.into_tensor()?)?;
        }
        let wanted: Vec<String> = graph.outputs.into_iter().map(|output| output.name).collect();
        builder.add_nodes(graph.nodes, &wanted)?;
        let outputs = wanted.iter().map(|name| builder.source(name)).collect::<Result<Vec<_>>>()?;
        let mut steps = fuse(builder.steps, &mut builder.constants, &outputs);
        mark_dead(&mut steps, &outputs);
        Ok(Self { constants: builder.constants, steps, slots: builder.slots, outputs, limits: limits.clone() })
    }
}

impl Builder<'_> {
    fn define(&mut self, name: &str, source: Source) -> Result<()> {
        match self.sources.insert(name.to_owned(), source) {
            None => Ok(()),
            Some(_) => Err(Error::invalid_argument(format!("value {name:?} is defined twice"))),
        }
    }

    fn source(&self, name: &str) -> Result<Source> {
        let source = self.sources.get(name).copied();
        source.ok_or_else(|| Error::invalid_argument(format!("value {name:?} is not computed by any node")))
    }

    fn add_constant(&mut self, name: &str, tensor: Tensor) -> Result<()> {
        self.constants.push(tensor);
        self.define(name, Source::Constant(self.constants.len() - 1))
    }

    /// Adds the needed nodes, each after those that it reads from.
    fn add_nodes(&mut self, nodes: Vec<proto::Node>, wanted: &[String]) -> Result<()> {
        let mut writers: HashMap<String, usize> = HashMap::new();
        for (index, node) in nodes.iter().enumerate() {
            for output in node.outputs.iter().filter(|output| !output.is_empty()) {
                if self.sources.contains_key(output) || writers.insert(output.clone(), index).is_some() {
                    return Err(Error::invalid_argument(format!("{}: value {output:?} is defined twice", label(node))));
                }
            }
        }
        let order = order(&nodes, &writers, wanted)?;
        let mut nodes: Vec<Option<proto::Node>> = nodes.into_iter().map(Some).collect();
        for index in order {
            if let Some(node) = nodes.get_mut(index).and_then(Option::take) {
                let label = label(&node);
                self.add_node(node, &label).context(label)?;
            }
        }
        Ok(())
    }

    fn add_node(&mut self, node: proto::Node, label: &str) -> Result<()> {
        let domain = normal_domain(&node.domain);
        let version = self.opsets.get(domain).copied().unwrap_or(i64::from(!domain.is_empty()));
        if version < 1 {
            return Err(Error::invalid_argument("the model does not say which version of the operator set it uses"));
        }
        let inputs = node.inputs.iter().map(|name| (!name.is_empty()).then(|| self.source(name)).transpose());
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let names = node.outputs.clone();
        let def = NodeDef::new(node, version, self.limits)?;
        if let Some(tensor) = ops::constant(&def)? {
            let [name] = names.as_slice() else {
                return Err(Error::invalid_argument("a constant has exactly one output"));
            };
            return self.add_constant(name, tensor);
        }
        let (kernel, part) = (ops::kernel(&def)?, Part::of(&def)?);
        let mut outputs = Vec::with_capacity(names.len());
        for name in &names {
            if name.is_empty() {
                outputs.push(None);
                continue;
            }
            self.define(name, Source::Slot(self.slots))?;
            outputs.push(Some(self.slots));
            self.slots += 1;
        }
        self.steps.push(Step { label: label.to_owned(), kernel, part, inputs, outputs, dead: Vec::new() });
        Ok(())
    }
}

/// The nodes that the wanted values need, writers before readers.
fn order(nodes: &[proto::Node], writers: &HashMap<String, usize>, wanted: &[String]) -> Result<Vec<usize>> {
    let (mut order, mut open) = (Vec::new(), BTreeSet::new());
    let mut done = vec![false; nodes.len()];
    let mut stack: Vec<(usize, bool)> =
        wanted.iter().rev().filter_map(|name| writers.get(name)).map(|&index| (index, false)).collect();
    while let Some((index, leaving)) = stack.pop() {
        let (Some(node), Some(finished)) = (nodes.get(index), done.get_mut(index)) else { continue };
        if leaving {
            open.remove(&index);
            *finished = true;
            order.push(index);
            continue;
        }
        if *finished {
            continue;
        }
        if !open.insert(index) {
            return Err(Error::invalid_argument(format!("{} depends on its own output", label(node))));
        }
        stack.push((index, true));
        for writer in node.inputs.iter().rev().filter_map(|name| writers.get(name)) {
            if open.contains(writer) {
                return Err(Error::invalid_argument(format!("{} depends on its own output", label(node))));
            }
            stack.push((*writer, false));
        }
    }
    Ok(order)
}

/// Notes at each step which slots nobody reads later.
fn mark_dead(steps: &mut [Step], outputs: &[Source]) {
    let mut needed: BTreeSet<usize> = outputs.iter().filter_map(|source| slot(Some(*source))).collect();
    for step in steps.iter_mut().rev() {
        let touched: BTreeSet<usize> = step
            .inputs
            .iter()
            .filter_map(|source| slot(*source))
            .chain(step.outputs.iter().flatten().copied())
            .collect();
        step.dead = touched.iter().copied().filter(|slot| !needed.contains(slot)).collect();
        needed.extend(touched);
    }
}

fn slot(source: Option<Source>) -> Option<usize> {
    match source {
        Some(Source::Slot(slot)) => Some(slot),
        _ => None,
    }
}
