//! Count, mean and spread of numbers that come one by one.

use serde::{Deserialize, Serialize};

/// Count, mean and sum of squared deviations; what two of them saw can be put together.
///
/// Updated by Welford (Technometrics 4, 1962) and merged by Chan, Golub and LeVeque (1979), so a large mean costs no
/// digits. Numbers that are not finite are for the caller to refuse.
///
/// ```
/// use mlops_serve::rollout::statistics::Moments;
///
/// let moments: Moments = [2.0, 4.0, 6.0].into_iter().collect();
/// assert_eq!((moments.n, moments.mean, moments.variance()), (3, 4.0, 4.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Moments {
    /// How many numbers.
    pub n: u64,
    /// Their mean; 0 for none.
    pub mean: f64,
    /// Sum of squared deviations from the mean.
    pub squares: f64,
}

impl Moments {
    /// Those of `events` ones and as many zeros as make `n`.
    #[must_use]
    pub fn of_events(events: u64, n: u64) -> Self {
        if n == 0 {
            return Self::default();
        }
        let mean = events as f64 / n as f64;
        Self { n, mean, squares: n as f64 * mean * (1.0 - mean) }
    }

    /// Takes one number.
    pub fn add(&mut self, value: f64) {
        self.n = self.n.saturating_add(1);
        let before = value - self.mean;
        self.mean += before / self.n as f64;
        self.squares += before * (value - self.mean);
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let n = self.n.saturating_add(other.n);
        if n == 0 {
            return Self::default();
        }
        let (mine, theirs, all) = (self.n as f64, other.n as f64, n as f64);
        let apart = other.mean - self.mean;
        Self {
            n,
            mean: self.mean + apart * (theirs / all),
            squares: self.squares + other.squares + apart * apart * (mine * theirs / all),
        }
    }

    /// The variance with divisor n - 1; 0 for fewer than two numbers.
    #[must_use]
    pub fn variance(&self) -> f64 {
        if self.n < 2 { 0.0 } else { (self.squares / (self.n - 1) as f64).max(0.0) }
    }
}

impl FromIterator<f64> for Moments {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut moments = Self::default();
        values.into_iter().for_each(|value| moments.add(value));
        moments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_mean_costs_no_digits_and_parts_add_up() {
        // NIST StRD NumAcc4: mean 10000000.2, standard deviation 0.1 exactly.
        let values: Vec<f64> =
            (0..1001).map(|i| if i == 0 { 10_000_000.2 } else { [10_000_000.1, 10_000_000.3][(i - 1) % 2] }).collect();
        let all: Moments = values.iter().copied().collect();
        assert!((all.mean - 10_000_000.2).abs() < 1e-8 && (all.variance().sqrt() - 0.1).abs() < 1e-8, "{all:?}");
        let halves = values.split_at(300);
        let merged = halves.0.iter().copied().collect::<Moments>().plus(&halves.1.iter().copied().collect::<Moments>());
        assert!((merged.variance() - all.variance()).abs() < 1e-10 && merged.n == 1001);
        assert_eq!(Moments::default().plus(&all), all);
        assert_eq!(Moments::default().plus(&Moments::default()), Moments::default());
    }

    #[test]
    fn events_are_ones_and_zeros() {
        let counted = Moments::of_events(3, 10);
        let listed: Moments = (0..10).map(|i| f64::from(u8::from(i < 3))).collect();
        assert!((counted.mean - listed.mean).abs() < 1e-15 && (counted.variance() - listed.variance()).abs() < 1e-15);
    }
}
