//! Layers of a perceptron while they are being changed, and what they see of rows.

#![allow(clippy::indexing_slicing, reason = "neighboring layers fit, as the network checks")]

use crate::neural::table::{Dense, Inputs};

/// Rows that calibration looks at, evenly from all.
const CALIBRATION_ROWS_MAX: usize = 1_024;

/// What each layer reads for some rows: by layer the numbers of row after row.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) by_layer: Vec<Vec<f32>>,
    pub(super) rows: usize,
}

/// Runs rows through the layers.
pub(super) fn watch(layers: &[Dense], inputs: &Inputs) -> Seen {
    let step = inputs.rows().div_ceil(CALIBRATION_ROWS_MAX).max(1);
    let mut seen = Seen { by_layer: vec![Vec::new(); layers.len()], rows: 0 };
    for row in (0..inputs.rows()).step_by(step) {
        let (mut values, mut outputs) = (inputs.row(row).to_vec(), Vec::new());
        for (layer, seen) in layers.iter().zip(&mut seen.by_layer) {
            seen.extend_from_slice(&values);
            layer.apply(&values, &mut outputs);
            std::mem::swap(&mut values, &mut outputs);
            values.iter_mut().for_each(|value| *value = value.max(0.0));
        }
        seen.rows += 1;
    }
    seen
}

/// Takes hidden units out: the outputs of layer `index`, in ascending order of `removed`. What a
/// unit gave the next layer on average stays in that layer's bias.
pub(super) fn remove_units(layers: &mut [Dense], index: usize, removed: &[usize], means: &[f32]) {
    let kept = |unit: &usize| removed.binary_search(unit).is_err();
    let units: Vec<usize> = (0..layers[index].outputs).filter(kept).collect();
    let layer = &mut layers[index];
    let rows = layer.weight.chunks_exact(layer.outputs);
    layer.weight = rows.flat_map(|row| units.iter().map(|&unit| row[unit])).collect();
    layer.bias = units.iter().map(|&unit| layer.bias[unit]).collect();
    layer.outputs = units.len();
    let next = &mut layers[index + 1];
    for &unit in removed {
        let row = &next.weight[unit * next.outputs..(unit + 1) * next.outputs];
        next.bias.iter_mut().zip(row).for_each(|(bias, weight)| *bias += means[unit] * weight);
    }
    let rows = units.iter().flat_map(|&unit| &next.weight[unit * next.outputs..(unit + 1) * next.outputs]);
    next.weight = rows.copied().collect();
    next.inputs = units.len();
}
