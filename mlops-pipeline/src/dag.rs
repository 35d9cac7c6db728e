//! A checked graph of tasks.
//!
//! Invariant: names are unique, every dependency is a task of the graph, and there is no cycle, so
//! [`Dag::tasks`] is in an order in which each task comes after all it depends on.

use std::collections::{BTreeMap, BTreeSet};

use mlops_core::{Digest, Error, Result};

use crate::{
    name::check_part,
    task::{RetryPolicy, Task},
};

/// Most tasks in one DAG.
pub const TASKS_MAX: usize = 10_000;

/// A directed acyclic graph of tasks.
///
/// ```
/// use mlops_pipeline::{Dag, Task, TaskContext};
/// use serde_json::json;
///
/// let step = |name| Task::new(name, |_: TaskContext| async { Ok(json!(null)) });
/// let dag = Dag::builder("train")
///     .with_task(step("fit").after(["extract"]))
///     .with_task(step("extract"))
///     .build()?;
/// let order: Vec<_> = dag.tasks().iter().map(Task::name).collect();
/// assert_eq!(order, ["extract", "fit"]);
///
/// let error = Dag::builder("loop").with_task(step("a").after(["b"])).with_task(step("b").after(["a"])).build();
/// assert!(error.unwrap_err().message().contains("a -> b -> a"));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Dag {
    name: String,
    tasks: Vec<Task>,
    dependencies: Vec<Vec<usize>>,
    dependents: Vec<Vec<usize>>,
}

impl Dag {
    /// Begins a DAG.
    pub fn builder(name: impl Into<String>) -> DagBuilder {
        DagBuilder { name: name.into(), tasks: Vec::new() }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tasks, each after all it depends on; otherwise in the order they were added.
    #[must_use]
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// A digest of the shape: names and dependencies, but not code. A run is only resumed by a DAG
    /// of the same shape.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let shape: BTreeMap<&str, BTreeSet<&str>> = self
            .tasks
            .iter()
            .map(|task| (task.name(), task.dependencies().iter().map(String::as_str).collect()))
            .collect();
        let counts: Vec<_> = shape.values().map(|set| (set.len() as u64).to_le_bytes()).collect();
        let parts = shape.iter().zip(&counts).flat_map(|((name, dependencies), count)| {
            let names = dependencies.iter().map(|name| name.as_bytes());
            [name.as_bytes(), count.as_slice()].into_iter().chain(names)
        });
        Digest::of_parts([self.name.as_bytes()].into_iter().chain(parts))
    }

    /// Positions of the tasks that the task at `index` waits for.
    pub(crate) fn dependencies(&self, index: usize) -> &[usize] {
        self.dependencies.get(index).map_or(&[], Vec::as_slice)
    }

    /// Positions of the tasks that wait for the task at `index`.
    pub(crate) fn dependents(&self, index: usize) -> &[usize] {
        self.dependents.get(index).map_or(&[], Vec::as_slice)
    }
}

/// Collects tasks; [`DagBuilder::build`] checks them.
#[derive(Debug)]
#[must_use]
pub struct DagBuilder {
    name: String,
    tasks: Vec<Task>,
}

impl DagBuilder {
    /// Adds a task; the order of adding does not matter.
    pub fn with_task(mut self, task: Task) -> Self {
        self.tasks.push(task);
        self
    }

    /// Adds several tasks.
    pub fn with_tasks(mut self, tasks: impl IntoIterator<Item = Task>) -> Self {
        self.tasks.extend(tasks);
        self
    }

    /// Checks the graph.
    ///
    /// # Errors
    /// `InvalidArgument` naming every fault at once: bad or repeated names, unknown dependencies,
    /// retries without an attempt; then, of a graph that has none of these, one cycle.
    pub fn build(self) -> Result<Dag> {
        let mut faults = self.faults();
        if faults.is_empty() {
            match order(&self.tasks) {
                Ok(sorted) => return Ok(assemble(self.name, &sorted)),
                Err(cycle) => faults.push(format!("tasks depend on each other in a circle: {cycle}")),
            }
        }
        Err(Error::invalid_argument(format!("DAG {:?}: {}", self.name, faults.join("; "))).with("dag", self.name))
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        faults.extend(check_part("DAG", &self.name).err().map(|error| error.message().to_owned()));
        if self.tasks.is_empty() || self.tasks.len() > TASKS_MAX {
            faults.push(format!("it has {} tasks; from 1 to {TASKS_MAX} are allowed", self.tasks.len()));
        }
        let known: BTreeSet<&str> = self.tasks.iter().map(Task::name).collect();
        let mut seen = BTreeSet::new();
        for task in &self.tasks {
            faults.extend(check_part("task", task.name()).err().map(|error| error.message().to_owned()));
            if !seen.insert(task.name()) {
                faults.push(format!("task {:?} appears twice", task.name()));
            }
            let unknown = task.dependencies().iter().filter(|name| !known.contains(name.as_str()));
            faults.extend(
                unknown.map(|name| format!("task {:?} depends on {name:?}, which is not in the DAG", task.name())),
            );
            if let RetryPolicy { attempts_max: 0, .. } = task.retry() {
                faults.push(format!("task {:?} has attempts_max 0; at least 1 is needed", task.name()));
            }
        }
        faults
    }
}

/// Kahn's algorithm: repeatedly takes the first task all of whose dependencies are taken. `Err`
/// is a cycle in words.
fn order(tasks: &[Task]) -> Result<Vec<Task>, String> {
    let position: BTreeMap<&str, usize> = tasks.iter().enumerate().map(|(index, task)| (task.name(), index)).collect();
    let mut waiting: Vec<BTreeSet<usize>> = Vec::with_capacity(tasks.len());
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); tasks.len()];
    for (index, task) in tasks.iter().enumerate() {
        let before: BTreeSet<usize> =
            task.dependencies().iter().filter_map(|name| position.get(name.as_str()).copied()).collect();
        for &dependency in &before {
            dependents.get_mut(dependency).into_iter().for_each(|list| list.push(index));
        }
        waiting.push(before);
    }
    let mut ready: BTreeSet<usize> =
        (0..tasks.len()).filter(|&i| waiting.get(i).is_some_and(BTreeSet::is_empty)).collect();
    let mut sorted = Vec::with_capacity(tasks.len());
    while let Some(index) = ready.pop_first() {
        sorted.extend(tasks.get(index).cloned());
        for &next in dependents.get(index).into_iter().flatten() {
            if let Some(before) = waiting.get_mut(next)
                && before.remove(&index)
                && before.is_empty()
            {
                ready.insert(next);
            }
        }
    }
    if sorted.len() == tasks.len() { Ok(sorted) } else { Err(cycle(tasks, &waiting)) }
}

/// Every task that was never ready waits for another such task, so following any of them must
/// come round.
fn cycle(tasks: &[Task], waiting: &[BTreeSet<usize>]) -> String {
    let name = |index: usize| tasks.get(index).map_or("", Task::name);
    let next = |index: usize| waiting.get(index).and_then(|before| before.first().copied());
    let mut path: Vec<usize> = Vec::new();
    let mut at = waiting.iter().position(|before| !before.is_empty());
    while let Some(index) = at {
        if let Some(start) = path.iter().position(|&seen| seen == index) {
            let round = path.iter().skip(start).chain([&index]).map(|&index| name(index));
            return round.collect::<Vec<_>>().join(" -> ");
        }
        path.push(index);
        at = next(index);
    }
    String::new()
}

fn assemble(name: String, sorted: &[Task]) -> Dag {
    let position: BTreeMap<&str, usize> = sorted.iter().enumerate().map(|(index, task)| (task.name(), index)).collect();
    let mut dependencies = Vec::with_capacity(sorted.len());
    let mut dependents = vec![Vec::new(); sorted.len()];
    for (index, task) in sorted.iter().enumerate() {
        let before: BTreeSet<usize> =
            task.dependencies().iter().filter_map(|name| position.get(name.as_str()).copied()).collect();
        for &dependency in &before {
            dependents.get_mut(dependency).into_iter().for_each(|list: &mut Vec<usize>| list.push(index));
        }
        dependencies.push(before.into_iter().collect());
    }
    Dag { name, tasks: sorted.to_vec(), dependencies, dependents }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::task::TaskContext;

    fn step(name: &str, after: &[&str]) -> Task {
        Task::new(name, |_: TaskContext| async { Ok(Value::Null) }).after(after.iter().copied())
    }

    fn check_fault(tasks: Vec<Task>, expected: &str) {
        let error = Dag::builder("d").with_tasks(tasks).build().unwrap_err();
        assert!(error.message().contains(expected), "{error}");
    }

    #[test]
    fn every_fault_is_named() {
        check_fault(vec![], "0 tasks");
        check_fault(vec![step("a", &[]), step("a", &[])], "\"a\" appears twice");
        check_fault(vec![step("a", &["x"])], "\"a\" depends on \"x\"");
        check_fault(vec![step("a/b", &[])], "'/'");
        check_fault(vec![step("a", &["a"])], "a -> a");
        check_fault(
            vec![step("in", &["c"]), step("a", &["b"]), step("b", &["c"]), step("c", &["a"]), step("out", &["a"])],
            "c -> a -> b -> c",
        );
    }

    #[test]
    fn digest_is_of_the_shape_not_of_the_order_of_adding() {
        let one = Dag::builder("d").with_tasks([step("a", &[]), step("b", &["a"])]).build().unwrap();
        let same = Dag::builder("d").with_tasks([step("b", &["a"]), step("a", &[])]).build().unwrap();
        let other = Dag::builder("d").with_tasks([step("a", &[]), step("b", &[])]).build().unwrap();
        assert_eq!(one.digest(), same.digest());
        assert_ne!(one.digest(), other.digest());
    }

    proptest! {
        /// Edges only from lower to higher rank make a DAG; an edge back from last to first of a
        /// chain makes a cycle. Tasks are added in a shuffled order.
        #[test]
        fn any_acyclic_graph_is_ordered_and_any_circle_refused(
            edges in prop::collection::vec((0..15_usize, 0..15_usize), 0..40),
            order in Just((0..15_usize).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let name = |i: usize| format!("t{i}");
            let task = |i: usize, circle: bool| {
                let before = edges.iter().filter(|(a, b)| a < b && *b == i).map(|(a, _)| name(*a));
                let back = (circle && i == 0).then(|| name(14));
                let chain = (circle && i > 0).then(|| name(i - 1));
                step(&name(i), &[]).after(before.chain(back).chain(chain))
            };
            let dag = Dag::builder("d").with_tasks(order.iter().map(|&i| task(i, false))).build().unwrap();
            for (index, task) in dag.tasks().iter().enumerate() {
                prop_assert_eq!(
                    dag.dependencies(index).len(),
                    task.dependencies().iter().collect::<BTreeSet<_>>().len()
                );
                prop_assert!(dag.dependencies(index).iter().all(|&before| before < index));
            }
            let circle = Dag::builder("d").with_tasks(order.iter().map(|&i| task(i, true))).build();
            prop_assert!(circle.is_err());
        }
    }
}
