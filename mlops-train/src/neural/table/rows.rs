//! Preprocessed rows of a table, batch after batch.

#![allow(clippy::indexing_slicing, reason = "row numbers are below the rows of the dataset they were drawn from")]

use burn::tensor::{Device, Tensor, TensorData};
use mlops_core::{Digest, DigestBuilder, Result};

use super::{inputs::Inputs, noise::Noise};
use crate::{
    neural::{Loader, Pass, digest_numbers},
    rng::SeededRng,
};

/// The stream of the seed that the order of epoch 1 is drawn from; later epochs follow.
const ORDER_STREAM: u64 = 1 << 32;

/// What the rows of a table are learnt from; vectors are by row of the table.
#[derive(Debug)]
pub(super) struct Examples<'a> {
    pub(super) inputs: &'a Inputs,
    /// 0 or 1, or standardized labels.
    pub(super) targets: Vec<f32>,
    pub(super) weights: Vec<f32>,
}

/// Some rows of the table.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    pub(super) examples: &'a Examples<'a>,
    pub(super) rows: Vec<u32>,
}

/// Rows on their way to the device.
#[derive(Debug)]
pub(crate) struct TableBatch {
    /// Row after row.
    pub(crate) numbers: Vec<f32>,
    /// Code by code, for all rows.
    pub(crate) codes: Vec<Vec<i32>>,
    pub(crate) targets: Vec<f32>,
    pub(crate) weights: Vec<f32>,
    /// What a step may draw from; none where rows are judged.
    pub(crate) noise: Option<Noise>,
}

impl TableBatch {
    pub(crate) fn rows(&self) -> usize {
        self.targets.len()
    }

    /// The numbers as a table on a device.
    pub(crate) fn numbers(&self, device: &Device) -> Tensor<2> {
        let rows = self.rows();
        Tensor::from_data(TensorData::new(self.numbers.clone(), [rows, self.numbers.len() / rows.max(1)]), device)
    }
}

impl Rows<'_> {
    fn batch(&self, rows: &[u32], noise: Option<Noise>) -> TableBatch {
        let Examples { inputs, targets, weights } = self.examples;
        let mut numbers = Vec::with_capacity(rows.len() * inputs.width);
        rows.iter().for_each(|&row| numbers.extend_from_slice(inputs.row(row as usize)));
        let column = |column| rows.iter().map(|&row| inputs.codes(row as usize)[column] as i32).collect();
        let pick = |values: &[f32]| rows.iter().map(|&row| values[row as usize]).collect();
        let codes = (0..inputs.coded).map(column).collect();
        TableBatch { numbers, codes, targets: pick(targets), weights: pick(weights), noise }
    }
}

impl Loader for Rows<'_> {
    type Batch = TableBatch;

    fn batches(&self, batch_rows: usize) -> usize {
        self.rows.len().div_ceil(batch_rows)
    }

    fn pass(&self, pass: &Pass) -> Result<Box<dyn Iterator<Item = Result<TableBatch>> + '_>> {
        let mut order = self.rows.clone();
        if let Some(epoch) = pass.epoch {
            SeededRng::new(pass.seed, ORDER_STREAM + epoch).shuffle(&mut order);
        }
        let Pass { seed, epoch, batch_rows, .. } = *pass;
        let rows = move |batch: usize| {
            let start = batch * batch_rows;
            let noise = epoch.map(|epoch| Noise::new(seed, epoch, batch));
            Ok(self.batch(&order[start..order.len().min(start + batch_rows)], noise))
        };
        Ok(Box::new((pass.skip..self.batches(batch_rows)).map(rows)))
    }

    fn digest(&self) -> Result<Digest> {
        let mut digest = DigestBuilder::default();
        let Examples { inputs, targets, weights } = self.examples;
        digest.update(&(inputs.width as u64).to_le_bytes());
        for &row in &self.rows {
            let row = row as usize;
            digest_numbers(&mut digest, inputs.row(row));
            inputs.codes(row).iter().for_each(|code| digest.update(&code.to_le_bytes()));
            digest_numbers(&mut digest, &[targets[row], weights[row]]);
        }
        Ok(digest.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::Matrix;

    #[test]
    fn an_epoch_has_one_order_wherever_it_begins() {
        let mut matrix = Matrix::zeros(50, 1);
        (0..50).for_each(|row| matrix.set(row, 0, row as f64));
        let inputs = Inputs::new(&matrix);
        let examples = Examples { inputs: &inputs, targets: vec![0.0; 50], weights: vec![1.0; 50] };
        let rows = Rows { examples: &examples, rows: (10..47).collect() };
        let seen = |seed, epoch, skip| -> Vec<f32> {
            let batches = rows.pass(&Pass { seed, epoch, batch_rows: 8, skip }).unwrap();
            batches.flat_map(|batch| batch.unwrap().numbers).collect()
        };
        let whole = seen(1, Some(3), 0);
        assert_eq!(seen(1, Some(3), 2), whole[16..]);
        assert_eq!(rows.batches(8), 5);
        let mut sorted = whole.clone();
        sorted.sort_by(f32::total_cmp);
        assert_eq!(sorted, seen(1, None, 0));
        assert_ne!(whole, seen(1, Some(4), 0));
        assert_ne!(whole, seen(2, Some(3), 0));
    }
}
