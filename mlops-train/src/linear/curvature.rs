//! Sums of `c x x^T` over many rows `x`.
//!
//! Rows are packed into a panel, and the panel is multiplied by itself tile by tile, so that the sums of a tile stay in
//! registers for all rows of the panel. Rows of mostly zeros are added pair by pair.
//!
//! Invariant: sums run in row order whatever the processor, so they have the same bits on every one.

#![allow(clippy::indexing_slicing, reason = "tiles are below the count that the panel was made with")]

/// Rows of a panel; its tiles fit the first-level cache for some hundreds of numbers a row.
const PANEL: usize = 32;

/// Size of a tile of sums, which eight registers of four numbers hold.
const HIGH: usize = 4;
const WIDE: usize = 8;

/// The sums so far and the rows that are not in them yet.
#[derive(Debug)]
pub(super) struct Curvature {
    size: usize,
    /// Row-major, as many numbers a row as whole tiles hold; tiles above the diagonal are left out.
    sums: Vec<f64>,
    /// By tile and row: the numbers, and the numbers times the row's factor.
    wide: Vec<[[f64; WIDE]; PANEL]>,
    high: Vec<[[f64; HIGH]; PANEL]>,
    filled: usize,
}

impl Curvature {
    /// Of rows of `size` numbers.
    pub(super) fn new(size: usize) -> Self {
        let tiles = size.div_ceil(WIDE);
        Self {
            size,
            sums: vec![0.0; tiles * WIDE * tiles * WIDE],
            wide: vec![[[0.0; WIDE]; PANEL]; tiles],
            high: vec![[[0.0; HIGH]; PANEL]; tiles * WIDE / HIGH],
            filled: 0,
        }
    }

    /// How many numbers a row is to have; those from `size` on are zero.
    pub(super) fn stride(&self) -> usize {
        self.wide.len() * WIDE
    }

    /// Adds `factor x x^T` of a row `x`.
    #[inline(always)]
    pub(super) fn add(&mut self, row: &[f64], factor: f64) {
        for (tile, numbers) in self.wide.iter_mut().zip(row.as_chunks::<WIDE>().0) {
            tile[self.filled] = *numbers;
        }
        for (tile, numbers) in self.high.iter_mut().zip(row.as_chunks::<HIGH>().0) {
            tile[self.filled] = numbers.map(|number| factor * number);
        }
        self.filled += 1;
        if self.filled == PANEL {
            self.flush();
        }
    }

    /// The same, looking only at what is not zero.
    #[inline(always)]
    pub(super) fn add_pairs(&mut self, row: &[f64], factor: f64, present: &mut Vec<usize>) {
        present.clear();
        present.extend(row.iter().enumerate().filter(|(_, value)| **value != 0.0).map(|(index, _)| index));
        let stride = self.stride();
        for (place, &index) in present.iter().enumerate() {
            let scaled = factor * row[index];
            let line = &mut self.sums[index * stride..=index * stride + index];
            present[..=place].iter().for_each(|&other| line[other] += scaled * row[other]);
        }
    }

    #[inline(always)]
    fn flush(&mut self) {
        let stride = self.stride();
        for (top, high) in self.high.iter().enumerate() {
            for (left, wide) in self.wide.iter().enumerate().take(top * HIGH / WIDE + 1) {
                let mut tile = [[0.0; WIDE]; HIGH];
                for (numbers, scaled) in wide.iter().zip(high).take(self.filled) {
                    for (line, scaled) in tile.iter_mut().zip(scaled) {
                        line.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += scaled * number);
                    }
                }
                for (row, line) in tile.iter().enumerate() {
                    let place = (top * HIGH + row) * stride + left * WIDE;
                    let sums = &mut self.sums[place..place + WIDE];
                    sums.iter_mut().zip(line).for_each(|(sum, added)| *sum += added);
                }
            }
        }
        self.filled = 0;
    }

    /// The sums as a square matrix, row after row, of which the lower triangle counts.
    #[inline(always)]
    pub(super) fn into_sums(mut self) -> Vec<f64> {
        self.flush();
        let (size, stride) = (self.size, self.stride());
        self.sums.chunks_exact(stride).take(size).flat_map(|line| line[..size].iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    #[test]
    fn panels_and_pairs_give_the_sums_of_one_loop() {
        for (size, rows) in [(1, 1), (3, 31), (8, 64), (9, 33), (31, 100)] {
            let mut rng = SeededRng::new(size as u64, 0);
            let mut number = || if rng.uniform() < 0.4 { 0.0 } else { rng.normal() };
            let (mut panels, mut pairs) = (Curvature::new(size), Curvature::new(size));
            let stride = panels.stride();
            let mut row = || (0..stride).map(|at| if at < size { number() } else { 0.0 }).collect();
            let table: Vec<Vec<f64>> = (0..rows).map(|_| row()).collect();
            let mut present = Vec::new();
            for (row, numbers) in table.iter().enumerate() {
                panels.add(numbers, row as f64);
                pairs.add_pairs(numbers, row as f64, &mut present);
            }
            let (panels, pairs) = (panels.into_sums(), pairs.into_sums());
            for i in 0..size {
                for j in 0..=i {
                    let expected: f64 = table.iter().enumerate().map(|(row, x)| row as f64 * x[i] * x[j]).sum();
                    for found in [panels[i * size + j], pairs[i * size + j]] {
                        assert!((found - expected).abs() < 1e-10, "{size} {i} {j}: {found} {expected}");
                    }
                }
            }
        }
    }
}
