//! Where a version came from and where it is used, as a graph that can be drawn.
//!
//! Invariant: every edge leads from a node of the graph to another of its nodes, in the direction in which data flows.
//! Derived from manifest, run and tags each time; nothing is stored.

use std::collections::BTreeMap;

use mlops_core::{ErrorKind, ModelName, ModelRef, PARENT_NOTE, PackageManifest, Result, RunId, Selector, Version};
use serde::{Deserialize, Serialize};

use super::{package::Packages, record::ModelVersion};
use crate::{
    promotion::{PROMOTED_FROM_TAG, PROMOTED_TO_TAG_PREFIX, PROMOTED_VERSION_TAG},
    tracking::{RunRecord, TrackingStore},
};

/// The tag by which MLflow's clients name the parent of a run.
const PARENT_RUN_TAG: &str = "mlflow.parentRunId";

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineageKind {
    /// A tracked run.
    Run,
    /// A dataset or table at a version.
    Dataset,
    /// A feature of a feature view.
    Feature,
    /// A model version of this registry.
    Version,
    /// An alias of the model.
    Alias,
    /// A version of the model in another environment.
    Environment,
}

/// A thing in the graph. Two nodes are the same when kind, name and version are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LineageNode {
    /// What it is.
    pub kind: LineageKind,
    /// Its name: id of a run, name of a dataset, model, alias or environment.
    pub name: String,
    /// Its version, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// How one thing leads to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineageRelation {
    /// A dataset or feature was read by a run or for a version.
    ReadBy,
    /// A run made a version, or began a run.
    Made,
    /// A version was trained further into another.
    ParentOf,
    /// A version was promoted to another environment.
    PromotedTo,
    /// A version is served under an alias.
    ServedAs,
}

/// One node leads to another, both by their place in [`LineageGraph::nodes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LineageEdge {
    /// Where it begins.
    pub from: usize,
    /// Where it ends.
    pub to: usize,
    /// How.
    pub relation: LineageRelation,
}

/// What leads to a version, and what it leads to. The version itself is the first node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineageGraph {
    /// The things, each once.
    pub nodes: Vec<LineageNode>,
    /// How they lead to each other, each once.
    pub edges: Vec<LineageEdge>,
}

impl LineageGraph {
    /// The graph of a version from what is on record: the manifest of its package and the run that made it, as far as they
    /// are known.
    #[must_use]
    pub fn of(version: &ModelVersion, manifest: Option<&PackageManifest>, run: Option<&RunRecord>) -> Self {
        let mut graph = Self::default();
        let center = graph.node(LineageKind::Version, version.model.as_str(), Some(version.version.to_string()));
        let id = version.run_id.as_ref().or(run.map(|run| &run.id));
        let run = id.map(|id| add_run(&mut graph, id, run));
        if let Some(run) = run {
            graph.edge(run, LineageRelation::Made, center);
        }
        if let Some(manifest) = manifest {
            add_inputs(&mut graph, manifest, run.unwrap_or(center), center);
        }
        add_uses(&mut graph, version, center);
        graph
    }

    fn node(&mut self, kind: LineageKind, name: impl Into<String>, version: Option<String>) -> usize {
        let node = LineageNode { kind, name: name.into(), version };
        match self.nodes.iter().position(|found| *found == node) {
            Some(place) => place,
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        }
    }

    fn edge(&mut self, from: usize, relation: LineageRelation, to: usize) {
        let edge = LineageEdge { from, to, relation };
        if from != to && !self.edges.contains(&edge) {
            self.edges.push(edge);
        }
    }

    /// The things that lead to the version in one step and by this relation, or that it leads to.
    #[must_use]
    pub fn neighbors(&self, relation: LineageRelation) -> Vec<&LineageNode> {
        let of_version = |edge: &&LineageEdge| edge.relation == relation && (edge.from == 0 || edge.to == 0);
        let other = |edge: &LineageEdge| self.nodes.get(if edge.from == 0 { edge.to } else { edge.from });
        self.edges.iter().filter(of_version).filter_map(other).collect()
    }
}

/// The graph of a version. With a tracking store the run's own datasets and its parent run are in it; a run that was
/// deleted for good, or lies elsewhere, is shown by its id alone.
///
/// # Errors
/// `NotFound` when the version does not exist; `DataLoss` when its manifest is damaged; `Unavailable`.
pub async fn lineage(
    registry: &dyn Packages,
    tracking: Option<&dyn TrackingStore>,
    model: &ModelName,
    version: Version,
) -> Result<LineageGraph> {
    let found = registry.version(model, version).await?;
    let manifest = match found.source.digest() {
        Some(digest) => Some(registry.manifest(&digest).await?),
        None => None,
    };
    let run = match (tracking, &found.run_id) {
        (Some(tracking), Some(id)) => match tracking.run(id).await {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            run => Some(run?),
        },
        _ => None,
    };
    Ok(LineageGraph::of(&found, manifest.as_ref(), run.as_ref()))
}

/// The run of that id, with what its record says when there is one.
fn add_run(graph: &mut LineageGraph, id: &RunId, record: Option<&RunRecord>) -> usize {
    let run = graph.node(LineageKind::Run, id.as_str(), None);
    let Some(record) = record else { return run };
    for input in &record.datasets {
        let dataset = graph.node(LineageKind::Dataset, &input.dataset.name, Some(input.dataset.digest.clone()));
        graph.edge(dataset, LineageRelation::ReadBy, run);
    }
    if let Some(parent) = record.tags.get(PARENT_RUN_TAG) {
        let parent = graph.node(LineageKind::Run, parent, None);
        graph.edge(parent, LineageRelation::Made, run);
    }
    run
}

/// What the manifest says the model was made from. Data was read by the run when there is one.
fn add_inputs(graph: &mut LineageGraph, manifest: &PackageManifest, reader: usize, center: usize) {
    for (name, version) in &manifest.data_versions {
        let dataset = graph.node(LineageKind::Dataset, name, Some(version.clone()));
        graph.edge(dataset, LineageRelation::ReadBy, reader);
    }
    for feature in &manifest.features {
        let feature = graph.node(LineageKind::Feature, feature.to_string(), None);
        graph.edge(feature, LineageRelation::ReadBy, reader);
    }
    // A note that is no reference is somebody else's.
    let parent = manifest.notes.get(PARENT_NOTE).and_then(|note| note.parse::<ModelRef>().ok());
    if let Some(ModelRef { name, selector: Selector::Version(version) }) = parent {
        let parent = graph.node(LineageKind::Version, name.as_str(), Some(version.to_string()));
        graph.edge(parent, LineageRelation::ParentOf, center);
    }
}

/// Where it came from by promotion, where it went, and under which aliases it is served.
fn add_uses(graph: &mut LineageGraph, found: &ModelVersion, center: usize) {
    let tags: &BTreeMap<String, String> = &found.tags;
    if let Some(from) = tags.get(PROMOTED_FROM_TAG) {
        let origin = graph.node(LineageKind::Environment, from, tags.get(PROMOTED_VERSION_TAG).cloned());
        graph.edge(origin, LineageRelation::PromotedTo, center);
    }
    for (key, version) in tags {
        if let Some(environment) = key.strip_prefix(PROMOTED_TO_TAG_PREFIX) {
            let target = graph.node(LineageKind::Environment, environment, Some(version.clone()));
            graph.edge(center, LineageRelation::PromotedTo, target);
        }
    }
    for alias in &found.aliases {
        let alias = graph.node(LineageKind::Alias, alias.as_str(), None);
        graph.edge(center, LineageRelation::ServedAs, alias);
    }
}
