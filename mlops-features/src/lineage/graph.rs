//! The lineage of columns in one process: where a column came from, and what depends on it.
//!
//! Built from events, of this process (it is a [`Transport`]) or of a file of JSON lines that any OpenLineage producer
//! wrote. Only runs that completed count. Versions of a dataset are one node.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    io::{BufRead as _, BufReader},
    path::Path,
    sync::{PoisonError, RwLock},
};

use async_trait::async_trait;
use mlops_core::{Error, Result};
use serde_json::Value;

use super::{
    transport::Transport,
    wire::{Dataset, EventType, RunEvent},
};

/// A column of a dataset.
///
/// ```
/// use mlops_features::lineage::ColumnId;
///
/// assert_eq!(ColumnId::new("file", "/data/t", "amount").to_string(), "file /data/t amount");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColumnId {
    /// Namespace of the dataset.
    pub namespace: String,
    /// Name of the dataset.
    pub dataset: String,
    /// The column.
    pub column: String,
}

impl ColumnId {
    /// The column of a dataset.
    pub fn new(namespace: impl Into<String>, dataset: impl Into<String>, column: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), dataset: dataset.into(), column: column.into() }
    }
}

impl fmt::Display for ColumnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.namespace, self.dataset, self.column)
    }
}

#[derive(Debug, Default)]
struct Edges {
    from: BTreeMap<ColumnId, BTreeSet<ColumnId>>,
    into: BTreeMap<ColumnId, BTreeSet<ColumnId>>,
}

/// Columns and what they were made of. Share it by `Arc`: as a transport it fills while others ask.
#[derive(Debug, Default)]
pub struct LineageGraph {
    edges: RwLock<Edges>,
}

impl LineageGraph {
    /// The graph of the events in the file at `path`, one of JSON per line.
    ///
    /// # Errors
    /// `NotFound` or `Unavailable` when it cannot be read, `InvalidArgument` for a line that is no event, by number. A
    /// last line that a crash cut off is left out.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let fail = |error: std::io::Error| {
            let message = format!("cannot read {}", path.display());
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            if missing { Error::not_found(message) } else { Error::unavailable(message) }.with_source(error)
        };
        let graph = Self::default();
        let mut lines = BufReader::new(std::fs::File::open(path).map_err(fail)?).lines().enumerate().peekable();
        while let Some((number, line)) = lines.next() {
            let line = line.map_err(fail)?;
            if line.trim().is_empty() {
                continue;
            }
            match serde_json::from_str::<RunEvent>(&line) {
                Ok(event) => graph.observe(&event),
                Err(_) if lines.peek().is_none() => {}
                Err(error) => {
                    let message = format!("{} line {} is not a lineage event", path.display(), number + 1);
                    return Err(Error::invalid_argument(message).with_source(error));
                }
            }
        }
        Ok(graph)
    }

    /// Takes what `event` says of columns, when its run completed.
    pub fn observe(&self, event: &RunEvent) {
        if event.event_type != EventType::Complete {
            return;
        }
        for dataset in event.inputs.iter().chain(&event.outputs) {
            self.observe_dataset(dataset);
        }
    }

    /// `from` enters `to`, such as a column of a training set a model.
    pub fn link(&self, from: ColumnId, to: ColumnId) {
        let mut edges = self.edges.write().unwrap_or_else(PoisonError::into_inner);
        edges.from.entry(to.clone()).or_default().insert(from.clone());
        edges.into.entry(from).or_default().insert(to);
    }

    fn observe_dataset(&self, dataset: &Dataset) {
        let Some(facet) = dataset.facets.get("columnLineage") else { return };
        let Some(fields) = facet.get("fields").and_then(Value::as_object) else { return };
        let for_all = inputs(facet.get("dataset"));
        for (column, lineage) in fields {
            let to = ColumnId::new(&dataset.namespace, &dataset.name, column);
            for from in inputs(lineage.get("inputFields")).chain(for_all.clone()) {
                self.link(from, to.clone());
            }
        }
    }

    /// All columns that `column` was made of, the nearest first. Those that only decide about rows (keys, times) are
    /// among them.
    #[must_use]
    pub fn upstream(&self, column: &ColumnId) -> Vec<ColumnId> {
        let edges = self.edges.read().unwrap_or_else(PoisonError::into_inner);
        reach(&edges.from, column)
    }

    /// All columns that `column` entered, the nearest first: what a change of it touches.
    #[must_use]
    pub fn downstream(&self, column: &ColumnId) -> Vec<ColumnId> {
        let edges = self.edges.read().unwrap_or_else(PoisonError::into_inner);
        reach(&edges.into, column)
    }

    /// The columns that are known, in order.
    #[must_use]
    pub fn columns(&self) -> Vec<ColumnId> {
        let edges = self.edges.read().unwrap_or_else(PoisonError::into_inner);
        edges.from.keys().chain(edges.into.keys()).cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }
}

fn inputs(list: Option<&Value>) -> impl Iterator<Item = ColumnId> + Clone + '_ {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let input = move |value: &Value| {
        let (namespace, dataset) = (text(value, "namespace")?, text(value, "name")?);
        Some(ColumnId { namespace, dataset, column: text(value, "field")? })
    };
    list.and_then(Value::as_array).into_iter().flatten().filter_map(input)
}

fn reach(edges: &BTreeMap<ColumnId, BTreeSet<ColumnId>>, start: &ColumnId) -> Vec<ColumnId> {
    let (mut seen, mut found) = (BTreeSet::from([start]), Vec::new());
    let mut queue = VecDeque::from([start]);
    while let Some(column) = queue.pop_front() {
        for next in edges.get(column).into_iter().flatten().filter(|next| seen.insert(*next)) {
            found.push(next.clone());
            queue.push_back(next);
        }
    }
    found
}

#[async_trait]
impl Transport for LineageGraph {
    async fn send(&self, event: &RunEvent) -> Result<()> {
        self.observe(event);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_ends_and_the_nearest_come_first() {
        let graph = LineageGraph::default();
        let column = |name: &str| ColumnId::new("n", "d", name);
        for (from, to) in [("a", "b"), ("b", "c"), ("c", "a"), ("x", "c")] {
            graph.link(column(from), column(to));
        }
        assert_eq!(graph.upstream(&column("c")), ["b", "x", "a"].map(column));
        assert_eq!(graph.downstream(&column("x")), ["c", "a", "b"].map(column));
        assert_eq!(graph.columns().len(), 4);
        assert!(graph.upstream(&column("unknown")).is_empty());
    }
}
