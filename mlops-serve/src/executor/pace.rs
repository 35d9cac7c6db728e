//! How long predictions of a version take, learned from those that were made: `fixed + row * rows`.
//!
//! Least squares over the recent predictions, older ones fading by [`KEEP`] each. As long as all had one size the whole
//! time counts as fixed: a caller admitted on too high hopes is dropped at its deadline, while one refused for nothing
//! is lost.

/// What is left of the weight of a prediction when the next one comes.
const KEEP: f64 = 0.95;

/// What a prediction is expected to take, nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Whatever its size.
    pub(crate) fixed: u64,
    /// For each row.
    pub(crate) row: u64,
}

impl Pace {
    /// For `rows` rows in `predictions` predictions.
    pub(crate) fn expected(self, predictions: usize, rows: usize) -> u64 {
        let (predictions, rows) = (predictions as u64, rows as u64);
        self.fixed.saturating_mul(predictions).saturating_add(self.row.saturating_mul(rows))
    }
}

/// Fading sums over predictions: weights, rows, squared rows, nanoseconds, rows times nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PaceMaker {
    weight: f64,
    rows: f64,
    rows_squared: f64,
    nanos: f64,
    product: f64,
}

impl PaceMaker {
    /// Notes one prediction.
    pub(crate) fn learn(&mut self, rows: u64, nanos: u64) -> Pace {
        let (rows, nanos) = (rows as f64, nanos as f64);
        self.weight = self.weight * KEEP + 1.0;
        self.rows = self.rows * KEEP + rows;
        self.rows_squared = self.rows_squared * KEEP + rows * rows;
        self.nanos = self.nanos * KEEP + nanos;
        self.product = self.product * KEEP + rows * nanos;
        self.fit()
    }

    fn fit(&self) -> Pace {
        let (rows, nanos) = (self.rows / self.weight, self.nanos / self.weight);
        let variance = self.rows_squared / self.weight - rows * rows;
        let covariance = self.product / self.weight - rows * nanos;
        // Below this the sizes differ by rounding alone.
        let slope = if variance > 1e-6 * (1.0 + rows * rows) { covariance / variance } else { 0.0 };
        let row = slope.clamp(0.0, nanos / rows.max(1.0));
        // A cast of a float saturates, and no part is negative.
        Pace { fixed: (nanos - row * rows).max(0.0) as u64, row: row as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_a_single_size_is_all_fixed() {
        let mut maker = PaceMaker::default();
        assert_eq!(maker.learn(4, 9_000), Pace { fixed: 9_000, row: 0 });
        let mut maker = PaceMaker::default();
        let mut pace = Pace::default();
        for rows in [1, 8, 64, 3, 17] {
            pace = maker.learn(rows, 1_000_000 + 500 * rows);
        }
        assert!(pace.fixed.abs_diff(1_000_000) <= 2 && pace.row.abs_diff(500) <= 1, "{pace:?}");
        assert_eq!(Pace { fixed: 10, row: 2 }.expected(3, 100), 230);
        assert_eq!(Pace { fixed: u64::MAX, row: u64::MAX }.expected(3, 100), u64::MAX);
    }

    #[test]
    fn old_times_are_forgotten_and_noise_gives_no_negative_part() {
        let mut maker = PaceMaker::default();
        for _ in 0..50 {
            maker.learn(1, 1_000_000_000);
        }
        let mut pace = Pace::default();
        for turn in 0..400_u64 {
            pace = maker.learn(1 + turn % 5, 1_000 - 100 * (turn % 5));
        }
        assert_eq!(pace.row, 0, "larger batches were faster");
        assert!(pace.fixed < 2_000, "{pace:?}");
    }
}
