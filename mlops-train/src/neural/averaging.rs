//! The mean gradient of several batches.
//!
//! Invariant: partial sums are added pair by pair, as in a knock-out tournament, so that processors which
//! each sum a run of batches, all as long as the same power of two, add the same numbers in the same
//! order as one that sums all of them.

/// Sums over some rows: of the gradient, and of the loss.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Partial {
    pub(super) gradients: Vec<f32>,
    pub(super) loss: f64,
    pub(super) rows: u64,
}

impl Partial {
    /// Turns the mean gradient and loss of `rows` into sums.
    pub(super) fn of_mean(mut gradients: Vec<f32>, loss: f64, rows: usize) -> Self {
        let factor = rows as f32;
        gradients.iter_mut().for_each(|value| *value *= factor);
        Self { gradients, loss: loss * rows as f64, rows: rows as u64 }
    }

    fn add(mut self, other: &Self) -> Self {
        self.gradients.iter_mut().zip(&other.gradients).for_each(|(sum, value)| *sum += value);
        Self { loss: self.loss + other.loss, rows: self.rows + other.rows, ..self }
    }

    /// The mean gradient.
    pub(super) fn mean(mut self) -> Vec<f32> {
        let divisor = self.rows.max(1) as f32;
        self.gradients.iter_mut().for_each(|value| *value /= divisor);
        self.gradients
    }
}

/// The sum of partial sums; none of none.
pub(super) fn tournament(mut parts: Vec<Partial>) -> Option<Partial> {
    while parts.len() > 1 {
        let mut winners = Vec::with_capacity(parts.len().div_ceil(2));
        let mut rest = parts.into_iter();
        while let Some(first) = rest.next() {
            winners.push(match rest.next() {
                Some(second) => first.add(&second),
                None => first,
            });
        }
        parts = winners;
    }
    parts.pop()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    #[test]
    fn means_weigh_batches_by_their_rows() {
        let parts = vec![Partial::of_mean(vec![1.0, 2.0], 4.0, 1), Partial::of_mean(vec![4.0, -1.0], 1.0, 3)];
        let sum = tournament(parts).unwrap();
        assert_eq!((sum.loss, sum.rows), (7.0, 4));
        assert_eq!(sum.mean(), [13.0 / 4.0, -1.0 / 4.0]);
    }

    #[test]
    fn runs_of_equal_length_add_up_to_the_same_bits() {
        let mut rng = SeededRng::new(1, 0);
        let parts: Vec<Partial> =
            (0..8).map(|_| Partial::of_mean((0..50).map(|_| rng.normal() as f32).collect(), rng.normal(), 7)).collect();
        let whole = tournament(parts.clone()).unwrap();
        for ranks in [2, 4, 8] {
            let local = parts.chunks(8 / ranks).map(|run| tournament(run.to_vec()).unwrap()).collect();
            assert_eq!(tournament(local).unwrap(), whole);
        }
    }
}
