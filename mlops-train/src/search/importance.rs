//! How much each parameter matters: the share of the variance of the objective that it explains alone.
//!
//! F. Hutter, H. Hoos and K. Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance" (ICML 2014),
//! as Optuna does it: a forest of 64 full trees on bootstrap samples of the trials, and of each tree the variance of
//! its mean over all other parameters. Trials of a tree see the values as they are searched: logarithms, and choices
//! one-hot.

#![allow(clippy::indexing_slicing, reason = "columns and nodes are below the lengths built in this file")]

use std::collections::BTreeMap;

use mlops_core::{Error, Result};
use mlops_metrics::square_unit;

use super::{
    space::ParamSpace,
    study::Study,
    trial::{Trial, TrialState},
};
use crate::rng::SeededRng;

const TREES: u64 = 64;

/// Trials that the forest learns from, the latest ones.
const TRIALS_MAX: usize = 1_000;

/// Importance of each parameter that all complete trials have, from 0 to 1, summing to one.
///
/// # Errors
/// `FailedPrecondition` with fewer than two complete trials, or when no parameter varies.
pub fn importance(study: &Study, seed: u64) -> Result<BTreeMap<String, f64>> {
    let complete: Vec<&Trial> = study.trials().iter().filter(|trial| trial.state == TrialState::Complete).collect();
    let complete = &complete[complete.len().saturating_sub(TRIALS_MAX)..];
    let common: Vec<(&str, &ParamSpace)> = study
        .space()
        .iter()
        .filter(|(name, space)| !space.is_single() && complete.iter().all(|trial| trial.params.get(name).is_some()))
        .collect();
    if complete.len() < 2 || common.is_empty() {
        return Err(Error::failed_precondition("importance needs two complete trials and a parameter that they share"));
    }
    let columns = Columns::new(&common, complete);
    let values: Vec<f64> = complete.iter().filter_map(|trial| trial.value()).collect();
    let values = even(&values);
    let mut shares = vec![0.0; common.len()];
    for tree in 0..TREES {
        let mut rng = SeededRng::new(seed, tree);
        let rows: Vec<usize> = (0..values.len()).map(|_| rng.below(values.len())).collect();
        let tree = Tree::grow(&columns, &values, rows);
        let total = tree.variance(&columns);
        if total > 0.0 {
            for (share, columns_of) in shares.iter_mut().zip(&columns.of) {
                *share += tree.marginal_variance(&columns, columns_of) / total;
            }
        }
    }
    let sum: f64 = shares.iter().sum();
    if sum <= 0.0 {
        return Err(Error::failed_precondition("importance needs trials whose values differ"));
    }
    Ok(common.iter().zip(shares).map(|((name, _), share)| ((*name).to_owned(), share / sum)).collect())
}

/// Values less their mean, in a unit in which they can be squared, neither of which changes a share: splits are judged
/// by squares of sums, in which what values have in common would hide what tells them apart.
fn even(values: &[f64]) -> Vec<f64> {
    let unit = square_unit(values.iter().copied());
    let mean = values.iter().map(|value| value / unit).sum::<f64>() / values.len() as f64;
    let centered: Vec<f64> = values.iter().map(|value| value / unit - mean).collect();
    let unit = square_unit(centered.iter().copied());
    centered.into_iter().map(|value| value / unit).collect()
}

/// Trials as rows of numbers; choices take a column each.
struct Columns {
    rows: Vec<Vec<f64>>,
    bounds: Vec<(f64, f64)>,
    /// Columns of each parameter.
    of: Vec<Vec<usize>>,
}

impl Columns {
    fn new(common: &[(&str, &ParamSpace)], trials: &[&Trial]) -> Self {
        let mut columns = Self { rows: vec![Vec::new(); trials.len()], bounds: Vec::new(), of: Vec::new() };
        for (name, space) in common {
            let point = |trial: &Trial| trial.params.get(name).and_then(|value| space.point(value)).unwrap_or(0.0);
            let first = columns.bounds.len();
            match space.interval() {
                Some(interval) => columns.bounds.push(interval),
                None => columns.bounds.extend(vec![(0.0, 1.0); space.count().unwrap_or(1.0) as usize]),
            }
            let width = columns.bounds.len() - first;
            columns.of.push((first..first + width).collect());
            for (row, trial) in columns.rows.iter_mut().zip(trials) {
                match space.interval() {
                    Some(_) => row.push(point(trial)),
                    None => row.extend((0..width).map(|at| if at == point(trial) as usize { 1.0 } else { 0.0 })),
                }
            }
        }
        columns
    }
}

/// Whether the bounds of a leaf meet a cell.
type Inside<'a> = dyn Fn(&[(f64, f64)]) -> bool + 'a;

/// A regression tree: inner nodes split a column, leaves have a value.
struct Tree {
    nodes: Vec<Node>,
}

#[derive(Clone, Copy)]
enum Node {
    Leaf { value: f64 },
    Split { column: usize, threshold: f64, left: usize, right: usize },
}

impl Tree {
    /// Splits until leaves are pure.
    fn grow(columns: &Columns, values: &[f64], rows: Vec<usize>) -> Self {
        let mut tree = Self { nodes: vec![Node::Leaf { value: 0.0 }] };
        let mut open = vec![(0, rows)];
        while let Some((node, rows)) = open.pop() {
            let mean = rows.iter().map(|&row| values[row]).sum::<f64>() / rows.len() as f64;
            tree.nodes[node] = match best_split(columns, values, &rows) {
                None => Node::Leaf { value: mean },
                Some((column, threshold)) => {
                    let (left, right) = (tree.nodes.len(), tree.nodes.len() + 1);
                    tree.nodes.extend([Node::Leaf { value: mean }; 2]);
                    let (below, above): (Vec<usize>, Vec<usize>) =
                        rows.into_iter().partition(|&row| columns.rows[row][column] <= threshold);
                    open.extend([(left, below), (right, above)]);
                    Node::Split { column, threshold, left, right }
                }
            };
        }
        tree
    }

    /// Value and volume of every leaf with its bounds.
    fn leaves(&self, columns: &Columns) -> Vec<(f64, Vec<(f64, f64)>)> {
        let mut leaves = Vec::new();
        let mut open = vec![(0, columns.bounds.clone())];
        while let Some((node, bounds)) = open.pop() {
            match self.nodes[node] {
                Node::Leaf { value } => leaves.push((value, bounds)),
                Node::Split { column, threshold, left, right } => {
                    let (mut below, mut above) = (bounds.clone(), bounds);
                    (below[column].1, above[column].0) = (threshold, threshold);
                    open.extend([(left, below), (right, above)]);
                }
            }
        }
        leaves
    }

    fn variance(&self, columns: &Columns) -> f64 {
        let leaves = self.leaves(columns);
        let volume = |bounds: &[(f64, f64)]| bounds.iter().map(|(low, high)| high - low).product::<f64>();
        spread(leaves.iter().map(|(value, bounds)| (*value, volume(bounds))))
    }

    /// Variance over one parameter of the mean over all others. The leaves that a cell of the parameter's columns meets
    /// are averaged by their volume in the other columns.
    fn marginal_variance(&self, columns: &Columns, of: &[usize]) -> f64 {
        let leaves = self.leaves(columns);
        let others = |bounds: &[(f64, f64)]| {
            let outside = bounds.iter().enumerate().filter(|(at, _)| !of.contains(at));
            outside.map(|(_, (low, high))| high - low).product::<f64>()
        };
        let weights: Vec<f64> = leaves.iter().map(|(_, bounds)| others(bounds)).collect();
        let mean_at = |inside: &Inside<'_>| {
            let met = leaves.iter().zip(&weights).filter(|((_, bounds), _)| inside(bounds));
            let (sum, weight) =
                met.fold((0.0, 0.0), |sum, ((value, _), weight)| (sum.0 + value * weight, sum.1 + weight));
            sum / weight
        };
        if let &[column] = of {
            let mut edges: Vec<f64> = leaves.iter().flat_map(|(_, b)| [b[column].0, b[column].1]).collect();
            edges.sort_by(f64::total_cmp);
            edges.dedup();
            return spread(edges.windows(2).map(|edge| {
                let middle = f64::midpoint(edge[0], edge[1]);
                let inside = |bounds: &[(f64, f64)]| bounds[column].0 < middle && middle <= bounds[column].1;
                (mean_at(&inside), edge[1] - edge[0])
            }));
        }
        // Of one-hot columns exactly one is set: a choice is a corner.
        spread(of.iter().map(|&choice| {
            let inside = |bounds: &[(f64, f64)]| {
                of.iter()
                    .all(|&column| if column == choice { bounds[column].1 == 1.0 } else { bounds[column].0 == 0.0 })
            };
            (mean_at(&inside), 1.0)
        }))
    }
}

/// Variance of weighted values.
fn spread(weighted: impl Iterator<Item = (f64, f64)>) -> f64 {
    let weighted: Vec<(f64, f64)> = weighted.collect();
    let weight: f64 = weighted.iter().map(|(_, weight)| weight).sum();
    let mean = weighted.iter().map(|(value, weight)| value * weight).sum::<f64>() / weight;
    weighted.iter().map(|(value, weight)| (value - mean).powi(2) * weight).sum::<f64>() / weight
}

/// The column and threshold that leave the least squared error; none when rows cannot or need not be split.
fn best_split(columns: &Columns, values: &[f64], rows: &[usize]) -> Option<(usize, f64)> {
    let first = values[*rows.first()?];
    if rows.iter().all(|&row| values[row] == first) {
        return None;
    }
    let total: f64 = rows.iter().map(|&row| values[row]).sum();
    let mut best: Option<(f64, usize, f64)> = None;
    for column in 0..columns.bounds.len() {
        let at = |row: usize| columns.rows[row][column];
        let mut order = rows.to_vec();
        order.sort_by(|&a, &b| at(a).total_cmp(&at(b)));
        let mut left = 0.0;
        for (count, pair) in order.windows(2).enumerate() {
            left += values[pair[0]];
            let (low, high) = (at(pair[0]), at(pair[1]));
            if low == high {
                continue;
            }
            let (count, right) = ((count + 1) as f64, total - left);
            let gain = left * left / count + right * right / (rows.len() as f64 - count);
            if best.is_none_or(|(most, _, _)| gain > most) {
                best = Some((gain, column, f64::midpoint(low, high)));
            }
        }
    }
    best.map(|(_, column, threshold)| (column, threshold))
}

#[cfg(test)]
mod tests {
    use mlops_metrics::Direction;

    use super::*;
    use crate::search::{SamplerSettings, SearchSpace};

    #[test]
    fn shares_are_those_of_the_function() {
        let space = SearchSpace::new()
            .with_float("a", 0.0, 1.0)
            .with_log_float("b", 0.01, 1.0)
            .with_categorical("c", ["x", "y", "z"])
            .with_float("d", 0.0, 1.0);
        let mut study = Study::builder(space, Direction::Minimize)
            .with_sampler(SamplerSettings::Random)
            .with_seed(4)
            .build()
            .unwrap();
        // Variances: 1/12, (2/10)^2/12 * 4 of the logarithm in [-2, 0], 2/9 * 0.25, 0.
        study
            .optimize(
                600,
                |trial| {
                    let c = f64::from(u8::from(trial.params.get("c") == Some(&"y".into())));
                    Ok(trial.params.number("a")? + 0.2 * trial.params.number("b")?.log10() + 0.5 * c)
                },
                |_, _| (),
            )
            .unwrap();
        let shares = importance(&study, 0).unwrap();
        let variances = [1.0 / 12.0, 0.04 / 3.0, 0.25 * 2.0 / 9.0, 0.0];
        let total: f64 = variances.iter().sum();
        for ((name, share), variance) in shares.iter().zip(variances) {
            assert!((share - variance / total).abs() < 0.03, "{name}: {share}, expected {}", variance / total);
        }
        assert_eq!(importance(&study, 0).unwrap(), shares);
    }

    #[test]
    fn shares_know_no_unit_and_no_origin() {
        let space = SearchSpace::new().with_float("a", 0.0, 1.0).with_float("b", 0.0, 1.0);
        let shares = |unit: f64, origin: f64| {
            let builder = Study::builder(space.clone(), Direction::Minimize).with_sampler(SamplerSettings::Random);
            let mut study = builder.build().unwrap();
            let number = |trial: &Trial, name| trial.params.number(name);
            let value = |trial: &Trial| -> Result<f64> { Ok(unit * (number(trial, "a")? + 0.5 * number(trial, "b")?)) };
            study.optimize(100, |trial| Ok(value(trial)? + origin), |_, _| ()).unwrap();
            importance(&study, 0).unwrap()["a"]
        };
        let plain = shares(1.0, 0.0);
        assert!((plain - 0.8).abs() < 0.1, "{plain}");
        for (unit, origin) in [(1e300, 0.0), (1e-300, 0.0), (1e-6, 1e6), (1e150, -1e155)] {
            let found = shares(unit, origin);
            assert!((found - plain).abs() < 0.05, "{unit} {origin}: {found}, expected {plain}");
        }
    }

    #[test]
    fn nothing_varies_is_an_error() {
        let space = SearchSpace::new().with_float("a", 0.0, 1.0);
        let mut study = Study::builder(space, Direction::Minimize).build().unwrap();
        assert!(importance(&study, 0).is_err());
        study.optimize(5, |_| Ok(1.0), |_, _| ()).unwrap();
        assert!(importance(&study, 0).is_err());
    }
}
