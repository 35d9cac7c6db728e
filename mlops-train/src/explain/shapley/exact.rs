//! All subsets: `phi_i = sum over S without i of s! (n - s - 1)! / n! (v(S with i) - v(S))`
//! (Shapley 1953), where `v(S)` is what the model says when the groups in `S` are known.

use arrow_array::RecordBatch;
use mlops_core::{Error, Result};

use super::game::{Coalition, Game};
use crate::explain::attribution::Attribution;

/// Beyond, subsets are not enumerated.
const GROUPS_MAX: usize = 20;

pub(super) fn explain(game: &Game<'_>, rows: &RecordBatch) -> Result<Attribution> {
    let groups = game.groups();
    if groups > GROUPS_MAX {
        return Err(Error::failed_precondition(format!(
            "exact Shapley values need at most {GROUPS_MAX} groups of features, found {groups}; group features or use \
             the kernel estimate"
        )));
    }
    let base_value = game.of_none()?;
    let predictions = game.of_all(rows)?;
    let weights = weights(groups);
    let last = (1_usize << groups) - 1;
    let mut attributions = Vec::with_capacity(rows.num_rows() * groups);
    for (row, &prediction) in predictions.iter().enumerate() {
        let row = rows.slice(row, 1);
        let mut said = Vec::with_capacity(last + 1);
        said.push(base_value);
        let mut next = 1;
        while next < last {
            game.context.check()?;
            let some: Vec<Coalition> =
                (next..last.min(next + game.at_a_time())).map(|bits| members(bits, groups)).collect();
            said.extend(game.of_some(&row, &some)?);
            next += some.len();
        }
        said.push(prediction);
        attributions.extend((0..groups).map(|group| value(group, &said, &weights)));
    }
    Ok(Attribution { features: game.names(), base_value, predictions, attributions })
}

fn members(bits: usize, groups: usize) -> Coalition {
    (0..groups).map(|group| (bits >> group) & 1 == 1).collect()
}

/// The value of one group, given what was said with the groups of the bits of each index.
fn value(group: usize, said: &[f64], weights: &[f64]) -> f64 {
    let of = |bits: usize| said.get(bits).copied().unwrap_or(f64::NAN);
    let without = (0..said.len()).filter(|bits| (bits >> group) & 1 == 0);
    let gain = |bits: usize| {
        let weight = weights.get(bits.count_ones() as usize).copied().unwrap_or(f64::NAN);
        weight * (of(bits | (1 << group)) - of(bits))
    };
    without.map(gain).sum()
}

/// `s! (n - s - 1)! / n!` for `s` from 0 to `n - 1`.
fn weights(groups: usize) -> Vec<f64> {
    let n = groups as f64;
    let mut weights = vec![1.0 / n];
    for s in 1..groups {
        let before = weights.last().copied().unwrap_or(f64::NAN);
        weights.push(before * s as f64 / (n - s as f64));
    }
    weights
}
