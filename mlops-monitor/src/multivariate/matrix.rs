//! A table of numbers, row by row.
//!
//! Invariant: every row has the same width, and every number is finite.

/// Rows of equal width.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Matrix {
    width: usize,
    values: Vec<f64>,
}

impl Matrix {
    /// From values row by row; an incomplete last row is dropped.
    pub(super) fn new(width: usize, mut values: Vec<f64>) -> Self {
        let width = width.max(1);
        values.truncate(values.len() / width * width);
        Self { width, values }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn len(&self) -> usize {
        self.values.len() / self.width
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &[f64]> + Clone {
        self.values.chunks_exact(self.width)
    }

    /// The values of one column.
    pub(super) fn column(&self, at: usize) -> impl Iterator<Item = f64> + '_ {
        self.values.iter().skip(at).step_by(self.width).copied()
    }

    /// The rows of both, one after the other.
    pub(super) fn stacked(&self, other: &Self) -> Self {
        Self { width: self.width, values: [self.values.as_slice(), &other.values].concat() }
    }

    /// Only some of the columns.
    pub(super) fn select(&self, keep: &[usize]) -> Self {
        let picked = self.rows().flat_map(|row| keep.iter().filter_map(|at| row.get(*at).copied()));
        Self::new(keep.len(), picked.collect())
    }

    /// The same with some columns taken from other rows, the i-th row from the `order[i]`-th.
    #[cfg(feature = "domain-classifier")]
    pub(super) fn with_moved(&self, places: &[usize], order: &[usize]) -> Self {
        let mut moved = self.clone();
        for (row, from) in moved.values.chunks_exact_mut(self.width).zip(order) {
            for place in places {
                if let (Some(to), Some(value)) = (row.get_mut(*place), self.values.get(from * self.width + place)) {
                    *to = *value;
                }
            }
        }
        moved
    }

    /// Every k-th row, so that at most `rows_max` are left.
    pub(super) fn thinned(&self, rows_max: usize) -> Self {
        let step = self.len().div_ceil(rows_max.max(1)).max(1);
        Self { width: self.width, values: self.rows().step_by(step).flatten().copied().collect() }
    }

    /// Columns that hold more than one value.
    pub(super) fn varying(&self) -> Vec<usize> {
        let varies = |at: &usize| {
            let mut values = self.column(*at);
            values.next().is_some_and(|first| values.any(|value| value != first))
        };
        (0..self.width).filter(varies).collect()
    }

    /// The mean of every column; nothing without rows.
    pub(super) fn means(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.width];
        for row in self.rows() {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
        let n = crate::stats::float(crate::stats::count_of(self.len().max(1)));
        sums.iter_mut().for_each(|sum| *sum /= n);
        sums
    }
}

/// The sum of products.
pub(super) fn dot(left: &[f64], right: &[f64]) -> f64 {
    // Four sums at once: one chain of additions would wait for itself.
    let (a, b) = (left.chunks_exact(4), right.chunks_exact(4));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(x, y)| x * y).sum();
    let mut sums = [0.0; 4];
    for (x, y) in a.zip(b) {
        for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
            *sum += x * y;
        }
    }
    sums.iter().sum::<f64>() + rest
}
