//! A matrix of weights, dense or with its zeros left out.
//!
//! Invariant: as many rows and columns as it was made with; places are below the columns and
//! ascend within a row.

use alloc::{vec, vec::Vec};

/// Cells row after row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cells<T> {
    pub(crate) columns: usize,
    kind: Kind<T>,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind<T> {
    Dense(Vec<T>),
    /// Where rows start, and the column and value of what is not zero.
    Sparse {
        starts: Vec<u32>,
        places: Vec<u16>,
        values: Vec<T>,
    },
}

/// Widest row: places are 16 bits, and sums of products of bytes stay within 32 bits.
pub(crate) const COLUMNS_MAX: usize = 1 << 16;

impl<T: Copy + Default + PartialEq> Cells<T> {
    /// Keeps zeros where fewer than three of four cells are zero: skipping fewer is slower than
    /// multiplying by them. `values` are whole rows of from 1 to 65,536 columns.
    pub(crate) fn new(columns: usize, values: Vec<T>) -> Self {
        let zero = T::default();
        let kept = values.iter().filter(|value| **value != zero).count();
        if kept > values.len() / 4 {
            return Self { columns, kind: Kind::Dense(values) };
        }
        let (mut starts, mut places, mut kept_values) = (vec![0], Vec::with_capacity(kept), Vec::with_capacity(kept));
        for row in values.chunks(columns) {
            for (place, value) in row.iter().enumerate().filter(|(_, value)| **value != zero) {
                places.push(place as u16);
                kept_values.push(*value);
            }
            starts.push(places.len() as u32);
        }
        Self { columns, kind: Kind::Sparse { starts, places, values: kept_values } }
    }

    /// All cells with their zeros.
    pub(crate) fn dense(&self) -> Vec<T> {
        match &self.kind {
            Kind::Dense(values) => values.clone(),
            Kind::Sparse { starts, .. } => {
                let mut values = vec![T::default(); (starts.len() - 1) * self.columns];
                for (row, cells) in values.chunks_mut(self.columns).enumerate() {
                    self.for_each(row, |place, value| {
                        if let Some(cell) = cells.get_mut(place) {
                            *cell = value;
                        }
                    });
                }
                values
            }
        }
    }

    /// Cells that are kept.
    pub(crate) fn kept(&self) -> usize {
        match &self.kind {
            Kind::Dense(values) | Kind::Sparse { values, .. } => values.len(),
        }
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        match &self.kind {
            Kind::Dense(values) => size_of_val(values.as_slice()),
            Kind::Sparse { starts, places, values } => {
                size_of_val(starts.as_slice()) + size_of_val(places.as_slice()) + size_of_val(values.as_slice())
            }
        }
    }

    /// One row of dense cells; none of sparse ones.
    pub(crate) fn row(&self, row: usize) -> Option<&[T]> {
        match &self.kind {
            Kind::Dense(values) => values.get(row * self.columns..(row + 1) * self.columns),
            Kind::Sparse { .. } => None,
        }
    }

    /// Calls `visit` on the column and value of every kept cell of a row.
    pub(crate) fn for_each(&self, row: usize, mut visit: impl FnMut(usize, T)) {
        match &self.kind {
            Kind::Dense(_) => {
                let cells = self.row(row).unwrap_or_default();
                cells.iter().enumerate().for_each(|(place, value)| visit(place, *value));
            }
            Kind::Sparse { starts, places, values } => {
                let end = |row: usize| starts.get(row).map_or(0, |&start| start as usize);
                let range = end(row)..end(row + 1);
                let (places, values) = (places.get(range.clone()), values.get(range));
                let cells = places.unwrap_or_default().iter().zip(values.unwrap_or_default());
                cells.for_each(|(place, value)| visit(usize::from(*place), *value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_left_out_where_most_are_zero() {
        let mostly = vec![0_i8, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, -1];
        let cells = Cells::new(4, mostly.clone());
        assert_eq!((cells.kept(), cells.dense(), cells.row(0)), (2, mostly, None));
        let half = vec![0_i8, 1, 0, 1];
        let cells = Cells::new(2, half.clone());
        assert_eq!((cells.kept(), cells.dense(), cells.row(1)), (4, half, Some(&[0, 1][..])));
        let none = Cells::new(2, vec![0.0_f32; 4]);
        assert_eq!((none.kept(), none.dense()), (0, vec![0.0; 4]));
    }
}
