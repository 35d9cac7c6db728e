//! Leaving out what matters least.

#![allow(clippy::indexing_slicing, reason = "units and weights are addressed below their layer's own counts")]

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::layers::{remove_units, watch};
use crate::neural::table::{Dense, Inputs};

/// What is left out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pruning {
    /// Single weights: this share of all weights, the smallest sizes first (Han et al. 2015). The
    /// file gets smaller; predictions get faster beyond about three quarters.
    Magnitude(f64),
    /// Whole hidden units: this share of each hidden layer, those of the smallest product of the
    /// norms of incoming and outgoing weights first; at least one stays. What a unit gave on
    /// average goes into the biases behind it. Smaller and faster in proportion.
    Structured(f64),
}

impl Pruning {
    pub(super) fn check(self) -> Result<()> {
        let (Self::Magnitude(share) | Self::Structured(share)) = self;
        if (0.0..1.0).contains(&share) {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("the share to prune must be from 0 to below 1, found {share}")))
    }

    /// Prunes in place; `calibration` tells what units give on average.
    pub(super) fn apply(self, layers: &mut [Dense], calibration: &Inputs) {
        match self {
            Self::Magnitude(share) => prune_weights(layers, share),
            Self::Structured(share) => prune_units(layers, share, calibration),
        }
    }
}

fn prune_weights(layers: &mut [Dense], share: f64) {
    let weights = layers.iter().enumerate().flat_map(|(layer, dense)| {
        dense.weight.iter().enumerate().map(move |(place, weight)| (weight.abs(), layer, place))
    });
    let mut order: Vec<(f32, usize, usize)> = weights.collect();
    let count = (order.len() as f64 * share) as usize;
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
    for &(_, layer, place) in &order[..count] {
        layers[layer].weight[place] = 0.0;
    }
}

fn prune_units(layers: &mut [Dense], share: f64, calibration: &Inputs) {
    for index in 0..layers.len().saturating_sub(1) {
        let units = layers[index].outputs;
        let count = ((units as f64 * share) as usize).min(units - 1);
        let mut order: Vec<usize> = (0..units).collect();
        let sizes: Vec<f32> = order.iter().map(|&unit| size(layers, index, unit)).collect();
        order.sort_by(|&a, &b| sizes[a].total_cmp(&sizes[b]));
        let mut removed = order[..count].to_vec();
        removed.sort_unstable();
        let means = means(layers, index, calibration);
        remove_units(layers, index, &removed, &means);
    }
}

/// The norm of what comes into a unit, bias included, times that of what goes out.
fn size(layers: &[Dense], index: usize, unit: usize) -> f32 {
    let (layer, next) = (&layers[index], &layers[index + 1]);
    let incoming = layer.weight.iter().skip(unit).step_by(layer.outputs).chain([&layer.bias[unit]]);
    let outgoing = &next.weight[unit * next.outputs..(unit + 1) * next.outputs];
    let norm = |squares: f32| squares.sqrt();
    norm(incoming.map(|w| w * w).sum()) * norm(outgoing.iter().map(|w| w * w).sum())
}

/// What the units of a hidden layer give on average.
fn means(layers: &[Dense], index: usize, calibration: &Inputs) -> Vec<f32> {
    let seen = watch(&layers[..index + 2], calibration);
    let width = layers[index].outputs;
    let mut sums = vec![0.0_f64; width];
    for row in seen.by_layer[index + 1].chunks_exact(width) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    sums.iter().map(|sum| (sum / seen.rows.max(1) as f64) as f32).collect()
}
