//! Learnt vectors of the categories of a column.

#![allow(clippy::indexing_slicing, reason = "codes are below the count that the preprocessor told the table's size by")]

use serde::{Deserialize, Serialize};

/// A vector per code of one column; the last two codes are unseen and missing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Embedding {
    pub(crate) size: EmbeddingSize,
    /// Row-major, a row per code.
    pub(crate) weight: Vec<f32>,
}

/// How large a table of vectors is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EmbeddingSize {
    pub(crate) codes: usize,
    pub(crate) dimension: usize,
}

/// Numbers per vector at most.
const DIMENSION_MAX: f64 = 50.0;

impl EmbeddingSize {
    /// `codes` vectors of `dimension` numbers; of `min(50, round(1.6 codes^0.56))` if that is zero,
    /// fastai's rule with its older, lower bound.
    pub(crate) fn new(codes: usize, dimension: usize) -> Self {
        let rule = || (1.6 * (codes as f64).powf(0.56)).round().clamp(1.0, DIMENSION_MAX) as usize;
        Self { codes, dimension: if dimension == 0 { rule() } else { dimension } }
    }

    pub(crate) fn numbers(self) -> usize {
        self.codes * self.dimension
    }
}

impl Embedding {
    /// These vectors, but those of unseen and missing categories zero: where training rows have none,
    /// such a category says nothing.
    pub(crate) fn fresh(size: EmbeddingSize, mut weight: Vec<f32>) -> Self {
        let known = size.numbers() - 2.min(size.codes) * size.dimension;
        weight[known..].fill(0.0);
        Self { size, weight }
    }

    pub(crate) fn vector(&self, code: u32) -> &[f32] {
        let at = code as usize * self.size.dimension;
        &self.weight[at..at + self.size.dimension]
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.size.numbers() > 0
            && self.weight.len() == self.size.numbers()
            && self.weight.iter().all(|value| value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_the_rule() {
        let dimension = |codes| EmbeddingSize::new(codes, 0).dimension;
        assert_eq!([2, 10, 100, 1_000, 100_000].map(dimension), [2, 6, 21, 50, 50]);
        assert_eq!(EmbeddingSize::new(10, 3).numbers(), 30);
    }

    #[test]
    fn what_was_never_seen_starts_at_zero() {
        let embedding = Embedding::fresh(EmbeddingSize::new(5, 2), (1..=10).map(|value| value as f32).collect());
        assert_eq!(embedding.vector(2), [5.0, 6.0]);
        assert_eq!((embedding.vector(3), embedding.vector(4)), (&[0.0, 0.0][..], &[0.0, 0.0][..]));
    }
}
