//! Preprocessed rows in the precision of networks.

#![allow(
    clippy::indexing_slicing,
    reason = "rows are addressed below their count, which both vectors are multiples of"
)]

use crate::preprocess::Matrix;

/// Rows of plain numbers and of codes of categories.
#[derive(Debug)]
pub(crate) struct Inputs {
    rows: usize,
    /// Numbers per row.
    pub(crate) width: usize,
    numbers: Vec<f32>,
    /// Codes per row.
    pub(crate) coded: usize,
    codes: Vec<u32>,
}

/// Standardized numbers beyond this are cut off: a thousand deviations carry no more news than
/// that and would overflow single precision in later layers.
const INPUT_MAX: f64 = 1e3;

impl Inputs {
    /// Rows of plain numbers.
    pub(crate) fn new(matrix: &Matrix) -> Self {
        Self::with_codes(matrix, &vec![None; matrix.columns()])
    }

    /// Rows of which some columns are codes, as [`crate::Preprocessor::code_counts`] tells.
    pub(crate) fn with_codes(matrix: &Matrix, code_counts: &[Option<usize>]) -> Self {
        let coded = code_counts.iter().flatten().count();
        let width = matrix.columns() - coded;
        let rows = matrix.rows();
        let (mut numbers, mut codes) = (Vec::with_capacity(rows * width), Vec::with_capacity(rows * coded));
        for row in 0..rows {
            for (&value, count) in matrix.row(row).iter().zip(code_counts) {
                match count {
                    None => numbers.push(value.clamp(-INPUT_MAX, INPUT_MAX) as f32),
                    Some(_) => codes.push(value as u32),
                }
            }
        }
        Self { rows, width, numbers, coded, codes }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The numbers of one row.
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.numbers[row * self.width..(row + 1) * self.width]
    }

    /// The codes of one row.
    pub(crate) fn codes(&self, row: usize) -> &[u32] {
        &self.codes[row * self.coded..(row + 1) * self.coded]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart_and_never_cut_off() {
        let matrix = Matrix::new(3, vec![1.5, 5_000.0, -2e9, 0.0, 1.0, 7.0]).unwrap();
        let inputs = Inputs::with_codes(&matrix, &[None, Some(6_000), None]);
        assert_eq!((inputs.rows(), inputs.width, inputs.coded), (2, 2, 1));
        assert_eq!((inputs.row(0), inputs.codes(0)), (&[1.5, -1e3][..], &[5_000][..]));
        assert_eq!((inputs.row(1), inputs.codes(1)), (&[0.0, 7.0][..], &[1][..]));
        let plain = Inputs::new(&matrix);
        assert_eq!((plain.row(0), plain.codes(1)), (&[1.5, 1e3, -1e3][..], &[][..]));
    }
}
