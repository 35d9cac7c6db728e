//! Intervals by resampling rows, for statistics without a formula.
//!
//! Invariant: the same seed, rows and statistic give the same interval. Rows of one resample are
//! handed out in ascending order, so a statistic that needs sorted data sorts it once beforehand.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{
    interval::{Interval, IntervalMethod, check_level},
    random::draw_below,
    special::normal_quantile,
    stats::normal_cdf,
};

/// Most resamples.
pub const RESAMPLES_MAX: u32 = 100_000;
/// Rows, or blocks of rows beyond, that the acceleration of BCa leaves out in turn.
const JACKKNIFE_MAX: usize = 1_000;

/// Which quantiles of the resampled values are the ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootstrapKind {
    /// The quantiles themselves.
    #[default]
    Percentile,
    /// Mirrored at the estimate.
    Basic,
    /// Corrected for bias and skewness.
    Bca,
}

/// How to resample.
///
/// ```
/// use mlops_metrics::Bootstrap;
///
/// let values: Vec<f64> = (0..100).map(f64::from).collect();
/// let mean = |rows: &[usize]| Some(rows.iter().filter_map(|&row| values.get(row)).sum::<f64>() / rows.len() as f64);
/// let resampled = Bootstrap::default().run(values.len(), mean)?;
/// assert!(resampled.interval.contains(49.5) && resampled.interval.low > 43.0);
/// assert!((resampled.standard_error - 2.9).abs() < 0.3);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bootstrap {
    /// Resamples, 10 to [`RESAMPLES_MAX`]. Default 500.
    pub resamples: u32,
    /// Seed of the draws.
    pub seed: u64,
    /// Confidence, between 0 and 1. Default 0.95.
    pub level: f64,
    /// Which ends.
    pub kind: BootstrapKind,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 500, seed: 0, level: 0.95, kind: BootstrapKind::Percentile }
    }
}

/// What resampling found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resampled {
    /// The statistic of all rows.
    pub value: f64,
    /// Standard deviation of the resampled values.
    pub standard_error: f64,
    /// The interval.
    pub interval: Interval,
}

impl Bootstrap {
    /// Checks the settings.
    ///
    /// # Errors
    /// `InvalidArgument` when a value is out of range.
    pub fn validate(&self) -> Result<()> {
        check_level(self.level)?;
        if (10..=RESAMPLES_MAX).contains(&self.resamples) {
            return Ok(());
        }
        Err(Error::invalid_argument(format!(
            "bootstrap must draw 10 to {RESAMPLES_MAX} resamples, found {}",
            self.resamples
        )))
    }

    /// Resamples `rows` rows with replacement; the statistic gets row numbers in ascending order,
    /// repeated as drawn, and says `None` where it is undefined.
    ///
    /// # Errors
    /// `InvalidArgument` when a setting is out of range; `FailedPrecondition` when the statistic is
    /// undefined on all rows or on more than half of the resamples.
    pub fn run(&self, rows: usize, statistic: impl Fn(&[usize]) -> Option<f64>) -> Result<Resampled> {
        self.validate()?;
        let undefined = || Error::failed_precondition("the statistic is undefined on too many resamples of these rows");
        let defined = |rows: &[usize]| statistic(rows).filter(|value| value.is_finite());
        let all: Vec<usize> = (0..rows).collect();
        let value = defined(&all).ok_or_else(undefined)?;
        let mut draws = Draws::new(self.seed, rows);
        let mut values: Vec<f64> = (0..self.resamples).filter_map(|_| defined(draws.next_rows())).collect();
        if values.len() * 2 < self.resamples as usize {
            return Err(undefined());
        }
        values.sort_by(f64::total_cmp);
        let interval = self.ends(&values, value, &all, &defined);
        Ok(Resampled { value, standard_error: deviation(&values), interval })
    }

    fn ends(&self, sorted: &[f64], value: f64, all: &[usize], statistic: &dyn Fn(&[usize]) -> Option<f64>) -> Interval {
        let tail = 0.5 * (1.0 - self.level);
        let at = |share: f64| quantile(sorted, share);
        let (low, high, method) = match self.kind {
            BootstrapKind::Percentile => (at(tail), at(1.0 - tail), IntervalMethod::BootstrapPercentile),
            BootstrapKind::Basic => {
                (2.0 * value - at(1.0 - tail), 2.0 * value - at(tail), IntervalMethod::BootstrapBasic)
            }
            BootstrapKind::Bca => {
                let bias = normal_quantile(share_below(sorted, value));
                let skew = acceleration(all, statistic);
                let corrected = |share: f64| {
                    let z = bias + normal_quantile(share);
                    let moved = normal_cdf(bias + z / (1.0 - skew * z));
                    if moved.is_finite() { moved } else { share }
                };
                (at(corrected(tail)), at(corrected(1.0 - tail)), IntervalMethod::BootstrapBca)
            }
        };
        Interval::new(low, high, self.level, method)
    }
}

/// Rows drawn with replacement, in ascending order.
struct Draws {
    seed: u64,
    drawn: u64,
    counts: Vec<u32>,
    rows: Vec<usize>,
}

impl Draws {
    fn new(seed: u64, rows: usize) -> Self {
        Self { seed, drawn: 0, counts: vec![0; rows], rows: Vec::with_capacity(rows) }
    }

    fn next_rows(&mut self) -> &[usize] {
        self.counts.fill(0);
        for _ in 0..self.counts.len() {
            let row = draw_below(self.seed, self.drawn, self.counts.len() as u64);
            self.drawn = self.drawn.wrapping_add(1);
            if let Some(count) = self.counts.get_mut(row as usize) {
                *count += 1;
            }
        }
        self.rows.clear();
        let repeated = self.counts.iter().enumerate();
        self.rows.extend(repeated.flat_map(|(row, &count)| std::iter::repeat_n(row, count as usize)));
        &self.rows
    }
}

/// Share of values below, ties counting one half, kept off 0 and 1.
fn share_below(sorted: &[f64], value: f64) -> f64 {
    let (less, up_to) = (sorted.partition_point(|v| *v < value), sorted.partition_point(|v| *v <= value));
    let n = sorted.len() as f64;
    (((less + up_to) as f64) / 2.0 / n).clamp(0.5 / n, 1.0 - 0.5 / n)
}

/// Sum of cubes over 6 (sum of squares)^1.5 of the jackknife's deviations; zero when it has none.
fn acceleration(all: &[usize], statistic: &dyn Fn(&[usize]) -> Option<f64>) -> f64 {
    let block = all.len().div_ceil(JACKKNIFE_MAX).max(1);
    let without = |start: usize| -> Option<f64> {
        let (before, rest) = all.split_at_checked(start)?;
        let rows: Vec<usize> = before.iter().chain(rest.iter().skip(block)).copied().collect();
        statistic(&rows)
    };
    let left_out: Vec<f64> = (0..all.len()).step_by(block).filter_map(without).collect();
    let mean = left_out.iter().sum::<f64>() / left_out.len().max(1) as f64;
    let (squares, cubes) = left_out
        .iter()
        .map(|value| mean - value)
        .fold((0.0, 0.0), |(squares, cubes), d| (squares + d * d, cubes + d * d * d));
    if squares > 0.0 { cubes / (6.0 * squares.powf(1.5)) } else { 0.0 }
}

/// Type 7 quantile of sorted values.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share.clamp(0.0, 1.0) * sorted.len().saturating_sub(1) as f64;
    let at = |index: usize| sorted.get(index).or_else(|| sorted.last()).copied().unwrap_or(f64::NAN);
    let (low, high) = (at(position as usize), at(position as usize + 1));
    low + (high - low) * position.fract()
}

fn deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_of(values: &[f64]) -> impl Fn(&[usize]) -> Option<f64> {
        move |rows| (!rows.is_empty()).then(|| rows.iter().map(|&row| values[row]).sum::<f64>() / rows.len() as f64)
    }

    #[test]
    fn one_seed_gives_one_interval() {
        let values: Vec<f64> = (0..50).map(|i| f64::from(i * i % 17)).collect();
        for kind in [BootstrapKind::Percentile, BootstrapKind::Basic, BootstrapKind::Bca] {
            let run = |seed| Bootstrap { seed, kind, ..Bootstrap::default() }.run(50, mean_of(&values)).unwrap();
            assert_eq!(run(1), run(1));
            assert_ne!(run(1).interval, run(2).interval);
            assert!(run(1).interval.contains(run(1).value));
        }
    }

    #[test]
    fn undefined_statistics_are_refused() {
        let bootstrap = Bootstrap::default();
        assert!(bootstrap.run(0, |rows| (!rows.is_empty()).then_some(1.0)).is_err());
        assert!(bootstrap.run(5, |_| Some(f64::NAN)).is_err());
        assert!(Bootstrap { resamples: 0, ..bootstrap }.run(5, |_| Some(1.0)).is_err());
        let constant = Bootstrap { kind: BootstrapKind::Bca, ..bootstrap }.run(5, |_| Some(2.0)).unwrap();
        assert_eq!((constant.interval.low, constant.interval.high), (2.0, 2.0));
    }
}
