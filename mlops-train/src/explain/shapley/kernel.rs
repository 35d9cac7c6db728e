//! KernelSHAP: Shapley values as the solution of a weighted regression on coalitions, with the
//! standard errors that random coalitions leave.

use arrow_array::RecordBatch;
use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{
    game::{Coalition, Game},
    plan::Plan,
    solve::{Factor, Moments},
};
use crate::{explain::attribution::Attribution, rng::SeededRng};

/// Groups at most; their moments are a square matrix.
const GROUPS_MAX: usize = 512;

/// Parts of the random coalitions, each left out once to see how much values vary.
const PARTS: usize = 10;

/// Bounds of a kernel estimate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KernelSettings {
    /// Subsets of the groups that are asked for each row, at most 1,000,000; each takes a prediction
    /// per background row. More than twice the groups are needed.
    pub coalitions_max: usize,
}

impl Default for KernelSettings {
    fn default() -> Self {
        Self { coalitions_max: 2_048 }
    }
}

/// Contributions and how sure they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelAttribution {
    /// The contributions.
    pub attribution: Attribution,
    /// Standard error of each contribution by the delete-a-group jackknife over the random subsets,
    /// in the same order; zero where all subsets were asked.
    pub standard_errors: Vec<f64>,
    /// Subsets that were asked for each row before its time was over.
    pub coalitions: Vec<usize>,
    /// Subsets that would have been asked without a deadline.
    pub coalitions_planned: usize,
}

pub(super) fn explain(game: &Game<'_>, rows: &RecordBatch, settings: &KernelSettings) -> Result<KernelAttribution> {
    let groups = game.groups();
    let bounded = groups <= GROUPS_MAX && settings.coalitions_max <= 1_000_000;
    let mut rng = SeededRng::new(game.context.seed(), 12);
    let plan = bounded.then(|| Plan::new(groups, settings.coalitions_max, &mut rng)).flatten().ok_or_else(|| {
        Error::failed_precondition(format!(
            "the kernel estimate of {groups} groups of features (at most {GROUPS_MAX}) takes from {} to 1000000 \
             coalitions, coalitions_max is {}",
            2 * groups + 4,
            settings.coalitions_max
        ))
    })?;
    let base_value = game.of_none()?;
    let predictions = game.of_all(rows)?;
    let mut system = System::new(&plan, groups, plan.sampled.len())?;
    let mut attributions = Vec::with_capacity(predictions.len() * groups);
    let mut standard_errors = Vec::with_capacity(predictions.len() * groups);
    let mut coalitions = Vec::with_capacity(predictions.len());
    for (row, &prediction) in predictions.iter().enumerate() {
        let said = ask(game, &plan, &rows.slice(row, 1), predictions.len() - row)?;
        let sampled = said.len() - plan.enumerated.len();
        if system.sampled != sampled {
            system = System::new(&plan, groups, sampled)?;
        }
        let (values, errors) = system.solve(&plan, &said, base_value, prediction);
        attributions.extend(values);
        standard_errors.extend(errors);
        coalitions.push(said.len());
    }
    let attribution = Attribution { features: game.names(), base_value, predictions, attributions };
    Ok(KernelAttribution { attribution, standard_errors, coalitions, coalitions_planned: plan.len() })
}

/// What is said of the coalitions of the plan, as many as the row's time allows, whole pairs.
fn ask(game: &Game<'_>, plan: &Plan, row: &RecordBatch, rows_left: usize) -> Result<Vec<f64>> {
    let until = game.context.share_until(rows_left);
    let needed = plan.enumerated.len() + plan.sampled.len().min(4);
    let mut said = Vec::with_capacity(plan.len());
    let mut some: Vec<Coalition> = Vec::new();
    let all = plan.enumerated.iter().map(|(coalition, _)| coalition).chain(&plan.sampled);
    for (index, coalition) in all.enumerate() {
        some.push(coalition.clone());
        let last = index + 1 == plan.len();
        if some.len() < game.at_a_time() && !last {
            continue;
        }
        game.context.check_cancelled()?;
        said.extend(game.of_some(row, &some)?);
        some.clear();
        if game.context.is_past(until) && !last {
            if said.len() < needed {
                return Err(Error::deadline_exceeded(format!(
                    "the time for a row was over after {} of at least {needed} coalitions; explain fewer rows or \
                     lower coalitions_max",
                    said.len()
                )));
            }
            break;
        }
    }
    // A coalition without its complement would tip the balance.
    let sampled = (said.len() - plan.enumerated.len()) / 2 * 2;
    said.truncate(plan.enumerated.len() + sampled);
    Ok(said)
}

/// The regression over the enumerated and the first `sampled` random coalitions.
struct System {
    sampled: usize,
    parts: usize,
    whole: Option<Factor>,
    /// The same with one part of the random coalitions left out.
    without: Vec<Factor>,
}

impl System {
    fn new(plan: &Plan, groups: usize, sampled: usize) -> Result<Self> {
        let parts = PARTS.min(sampled / 2);
        if groups < 2 {
            return Ok(Self { sampled, parts: 0, whole: None, without: Vec::new() });
        }
        let mut fixed = Moments::zeros(groups);
        plan.enumerated.iter().for_each(|(coalition, weight)| fixed.add(*weight, coalition));
        let mut by_part = vec![Moments::zeros(groups); parts];
        let mut counts = vec![0_usize; parts];
        for (index, coalition) in plan.sampled.iter().take(sampled).enumerate() {
            let part = part(index, parts);
            if let (Some(moments), Some(count)) = (by_part.get_mut(part), counts.get_mut(part)) {
                moments.add(1.0, coalition);
                *count += 1;
            }
        }
        let all = by_part.iter().fold(Moments::zeros(groups), |sum, moments| sum.plus(1.0, moments));
        let weight = |count: usize| if count > 0 { plan.sampled_weight / count as f64 } else { 0.0 };
        let without = by_part
            .iter()
            .zip(&counts)
            .map(|(moments, &count)| fixed.plus(weight(sampled - count), &all.plus(-1.0, moments)).factorize());
        let without = without.collect::<Result<_>>()?;
        let whole = Some(fixed.plus(weight(sampled), &all).factorize()?);
        Ok(Self { sampled, parts, whole, without })
    }

    /// Values and their standard errors.
    fn solve(&self, plan: &Plan, said: &[f64], none: f64, all: f64) -> (Vec<f64>, Vec<f64>) {
        let total = all - none;
        let Some(whole) = &self.whole else { return (vec![total], vec![0.0]) };
        let right = Right::new(plan, said, none, self.sampled, self.parts);
        let values = whole.values(right.with_all(plan), total);
        if self.parts == 0 {
            let errors = vec![0.0; values.len()];
            return (values, errors);
        }
        let left_out = self.without.iter().enumerate();
        let left_out: Vec<Vec<f64>> =
            left_out.map(|(part, factor)| factor.values(right.without(plan, part), total)).collect();
        let parts = self.parts as f64;
        let error = |group: usize| {
            let of = |values: &Vec<f64>| values.get(group).copied().unwrap_or(f64::NAN);
            let mean = left_out.iter().map(of).sum::<f64>() / parts;
            let squares: f64 = left_out.iter().map(|values| (of(values) - mean).powi(2)).sum();
            ((parts - 1.0) / parts * squares).sqrt()
        };
        let errors = (0..values.len()).map(error).collect();
        (values, errors)
    }
}

/// Pairs are dealt to the parts in turn.
fn part(index: usize, parts: usize) -> usize {
    (index / 2) % parts.max(1)
}

/// Right sides of the regression, by part.
struct Right {
    fixed: Vec<f64>,
    by_part: Vec<(Vec<f64>, usize)>,
    sampled: usize,
}

impl Right {
    fn new(plan: &Plan, said: &[f64], none: f64, sampled: usize, parts: usize) -> Self {
        let groups = plan.enumerated.first().map_or(0, |(coalition, _)| coalition.len());
        let mut right = Self { fixed: vec![0.0; groups], by_part: vec![(vec![0.0; groups], 0); parts], sampled };
        let (enumerated, random) = said.split_at(plan.enumerated.len().min(said.len()));
        for ((coalition, weight), said) in plan.enumerated.iter().zip(enumerated) {
            add(&mut right.fixed, coalition, weight * (said - none));
        }
        for (index, (coalition, said)) in plan.sampled.iter().zip(random).enumerate() {
            if let Some((sums, count)) = right.by_part.get_mut(part(index, parts)) {
                add(sums, coalition, said - none);
                *count += 1;
            }
        }
        right
    }

    fn with_all(&self, plan: &Plan) -> Vec<f64> {
        self.combined(plan, self.sampled, |_| true)
    }

    fn without(&self, plan: &Plan, part: usize) -> Vec<f64> {
        let count = self.by_part.get(part).map_or(0, |(_, count)| *count);
        self.combined(plan, self.sampled - count, |other| other != part)
    }

    fn combined(&self, plan: &Plan, count: usize, keep: impl Fn(usize) -> bool) -> Vec<f64> {
        let weight = if count > 0 { plan.sampled_weight / count as f64 } else { 0.0 };
        let mut sums = self.fixed.clone();
        for (_, (part, _)) in self.by_part.iter().enumerate().filter(|(part, _)| keep(*part)) {
            sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += weight * value);
        }
        sums
    }
}

fn add(sums: &mut [f64], coalition: &[bool], value: f64) {
    sums.iter_mut().zip(coalition).filter(|(_, known)| **known).for_each(|(sum, _)| *sum += value);
}
