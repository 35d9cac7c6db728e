//! The maximum mean discrepancy of two windows: any change of the joint distribution.
//!
//! Invariant: the kernel matrix never exists as a whole. Each tile of it is computed once, serves every permutation, and
//! is forgotten; memory is one number per row and permutation, and time rows^2 x (features + permutations / 4).
//!
//! Statistic: the unbiased estimate of MMD^2 (Gretton, Borgwardt, Rasch, Schoelkopf, Smola, Journal of Machine Learning
//! Research 13, 2012, equation 3) under the kernel k = exp(-|x - y|^2 / (2 s^2)), which is below zero half of the time
//! when nothing changed. p: the share of permutations with a statistic as large, (k + 1) / (B + 1), never zero.
//!
//! Effect: MMD / sqrt(V), the distance of the mean embeddings in standard deviations of the embedding, with V the mean of
//! 1 - E k(x, x') over both sides: Cohen's d in the space of the kernel.

use arrow_array::RecordBatch;
use mlops_core::Result;
use serde::{Deserialize, Serialize};

use super::{
    EncoderSettings, Faults, MultivariateDetector, MultivariateTest,
    encoder::Encoded,
    matrix::{Matrix, dot},
    top,
};
use crate::{
    detector::{DriftTest, Thresholds, Verdict},
    random::Draws,
    stats::{Tail, count_of, float, moments, quantile},
};

/// Effect that matters: what a shift of 0.37 deviations in one of ten independent normal columns makes, or of
/// 0.12 in all.
pub const MMD_MIN: f64 = 0.1;
/// Most rows on a side; time grows with their square.
const ROWS_MAX: usize = 20_000;
const PERMUTATIONS_MAX: usize = 10_000;
/// Rows out of which the median distance is taken.
const MEDIAN_ROWS: usize = 1_000;
/// Rows out of which the columns are ranked.
const RANKING_ROWS: usize = 500;
/// Rows and columns of a tile: 128 KiB of kernel values.
const TILE: (usize, usize) = (32, 512);
/// The 80 % point of the standard normal law.
const NORMAL_80: f64 = 0.841_621_233_572_914_4;

/// Settings of [`Mmd`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MmdSettings {
    /// Smallest effect that counts, see [`MMD_MIN`].
    pub effect_min: f64,
    /// Significance level. Default 0.05.
    pub alpha: f64,
    /// Fewest rows on each side. Default 100.
    pub n_min: u64,
    /// Rows of each side that take part, drawn without replacement; 2 to 20,000. Default 2,000.
    pub rows_max: usize,
    /// Permutations; p is at least 1 / (permutations + 1). 19 to 10,000. Default 199.
    pub permutations: usize,
    /// Width s of the kernel, above 0; the median distance of the pooled rows by default.
    pub bandwidth: Option<f64>,
    /// Seed of the drawn rows and permutations. Default 0.
    pub seed: u64,
    /// How columns become numbers.
    pub encoder: EncoderSettings,
}

impl Default for MmdSettings {
    fn default() -> Self {
        Self {
            effect_min: MMD_MIN,
            alpha: 0.05,
            n_min: 100,
            rows_max: 2_000,
            permutations: 199,
            bandwidth: None,
            seed: 0,
            encoder: EncoderSettings::default(),
        }
    }
}

/// Compares windows by maximum mean discrepancy.
///
/// The detectable effect is the one whose square exceeds the 95 % point of the permutations by 0.84 standard deviations,
/// where the variance is that of the permutations plus 4 effect^2 (1/n + 1/m), the most that a difference of this size can
/// add: the power is at least 80 %. A column's weight is the effect that it has alone.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Float64Array, RecordBatch};
/// use mlops_monitor::{Verdict, multivariate::{Mmd, MmdSettings, MultivariateDetector}};
///
/// // Two columns that go together, then against each other: alone, each looks the same.
/// let window = |sign: f64| {
///     let x: ArrayRef = Arc::new(Float64Array::from_iter_values((0..200).map(|i| f64::from(i * 37 % 200))));
///     let y: ArrayRef = Arc::new(Float64Array::from_iter_values((0..200).map(|i| sign * f64::from(i * 37 % 200 - 100))));
///     RecordBatch::try_from_iter([("x", x), ("y", y)])
/// };
/// let test = Mmd::new(MmdSettings::default())?.test(&window(1.0)?, &window(-1.0)?)?;
/// assert_eq!(test.test.verdict, Verdict::Drift);
/// assert!((test.test.p() - 1.0 / 200.0).abs() < 1e-12);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Mmd {
    settings: MmdSettings,
}

impl Mmd {
    /// A detector with these settings.
    ///
    /// # Errors
    /// `InvalidArgument` naming every setting out of range.
    pub fn new(settings: MmdSettings) -> Result<Self> {
        let mut faults = Faults::of("mmd");
        let thresholds = Self::thresholds(&settings);
        faults.check_common(thresholds, settings.rows_max, ROWS_MAX);
        let (permutations, bandwidth) = (settings.permutations, settings.bandwidth.unwrap_or(1.0));
        let range = format!("19 to {PERMUTATIONS_MAX}");
        faults.check((19..=PERMUTATIONS_MAX).contains(&permutations), "permutations", &range, &permutations);
        faults.check(bandwidth.is_finite() && bandwidth > 0.0, "bandwidth", "finite and above 0", &bandwidth);
        settings.encoder.check(&mut faults);
        faults.into_result()?;
        Ok(Self { settings })
    }

    fn thresholds(settings: &MmdSettings) -> Thresholds {
        Thresholds { effect_min: settings.effect_min, alpha: settings.alpha, n_min: settings.n_min }
    }
}

impl MultivariateDetector for Mmd {
    fn name(&self) -> &'static str {
        "mmd"
    }

    fn p_min(&self) -> f64 {
        1.0 / (float(count_of(self.settings.permutations)) + 1.0)
    }

    fn test(&self, reference: &RecordBatch, current: &RecordBatch) -> Result<MultivariateTest> {
        let settings = &self.settings;
        let rows = Encoded::new((reference, current), &settings.encoder, (settings.rows_max, settings.seed))?;
        let thresholds = Self::thresholds(settings);
        let blank = MultivariateTest::degenerate(self.name(), rows.n, thresholds, &rows.skipped);
        if rows.n.0 < 2 || rows.n.1 < 2 {
            return Ok(blank);
        }
        let Some(bandwidth) = settings.bandwidth.or_else(|| median_distance(&rows.left, &rows.right)) else {
            return Ok(blank);
        };
        let sums = KernelSums::new(&rows.left, &rows.right, bandwidth, (settings.permutations, settings.seed));
        let Some(found) = sums.conclude() else { return Ok(blank) };
        let verdict = Verdict::Ok;
        let test = DriftTest { tail: Some(found.tail), verdict, ..blank.test };
        let test = DriftTest { statistic: found.statistic, effect: found.effect, mde: found.mde, ..test };
        Ok(MultivariateTest {
            test: test.judge(found.tail, settings.alpha),
            columns: top(rows.places.iter().map(|(name, places)| (name.clone(), alone(&rows, places)))),
            ..blank
        })
    }
}

/// The effect of some features alone.
fn alone(rows: &Encoded, places: &[usize]) -> f64 {
    let side = |matrix: &Matrix| matrix.thinned(RANKING_ROWS).select(places);
    let (left, right) = (side(&rows.left), side(&rows.right));
    let found = median_distance(&left, &right)
        .and_then(|bandwidth| KernelSums::new(&left, &right, bandwidth, (0, 0)).statistics(0));
    found.map_or(0.0, |found| found.effect())
}

fn squared_distance(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(x, y)| (x - y) * (x - y)).sum()
}

/// The median distance of the pooled rows; where half of them are equal, the mean of the others. `None` when all are.
fn median_distance(left: &Matrix, right: &Matrix) -> Option<f64> {
    let rows = left.thinned(MEDIAN_ROWS / 2).stacked(&right.thinned(MEDIAN_ROWS / 2));
    let mut squares: Vec<f64> = Vec::new();
    let mut others = rows.rows();
    while let Some(row) = others.next() {
        squares.extend(others.clone().map(|other| squared_distance(row, other)));
    }
    squares.sort_unstable_by(f64::total_cmp);
    let median = quantile(&squares, 0.5)?.sqrt();
    let apart = squares.get(squares.partition_point(|square| *square == 0.0)..)?;
    let fallback = || moments(&apart.iter().map(|square| square.sqrt()).collect::<Vec<_>>()).map(|found| found.mean);
    (median > 0.0).then_some(median).or_else(fallback)
}

/// Sums of the kernel over pairs of different rows, for the windows as they are and for every permutation.
#[derive(Debug)]
struct KernelSums {
    n: usize,
    m: usize,
    /// One per permutation, after that of the windows: 1 for the rows of the first side.
    sides: Vec<Vec<f64>>,
    /// Pairs within the first side, each once.
    within: Vec<f64>,
    /// Each row with all others.
    by_row: Vec<f64>,
}

/// Mean kernel values within and between two sides.
#[derive(Debug, Clone, Copy)]
struct Means {
    first: f64,
    second: f64,
    between: f64,
}

impl Means {
    fn squared(&self) -> f64 {
        self.first + self.second - 2.0 * self.between
    }

    /// The spread V of the embedding.
    fn spread(&self) -> f64 {
        1.0 - f64::midpoint(self.first, self.second)
    }

    fn effect(&self) -> f64 {
        let share = self.squared().max(0.0) / self.spread();
        if share.is_finite() { share.sqrt() } else { 0.0 }
    }
}

struct Found {
    statistic: f64,
    effect: f64,
    tail: Tail,
    mde: f64,
}

impl KernelSums {
    fn new(left: &Matrix, right: &Matrix, bandwidth: f64, (permutations, seed): (usize, u64)) -> Self {
        let (n, m) = (left.len(), right.len());
        let mut side: Vec<f64> = (0..n + m).map(|i| f64::from(u8::from(i < n))).collect();
        let mut sides = vec![side.clone()];
        let mut draws = Draws::new(seed ^ 1);
        sides.extend((0..permutations).map(|_| {
            draws.shuffle(&mut side);
            side.clone()
        }));
        let (within, by_row) = (vec![0.0; sides.len()], vec![0.0; n + m]);
        let mut sums = Self { n, m, sides, within, by_row };
        let pooled = left.stacked(right);
        let rows: Vec<&[f64]> = pooled.rows().collect();
        let factor = -0.5 / (bandwidth * bandwidth);
        for from in (0..rows.len()).step_by(TILE.0) {
            for start in (from..rows.len()).step_by(TILE.1) {
                sums.add_tile(&rows, factor, (from, start));
            }
        }
        sums
    }

    /// Adds the pairs (i, j), i < j, with i in the rows of the tile and j in its columns.
    fn add_tile(&mut self, rows: &[&[f64]], factor: f64, (from, start): (usize, usize)) {
        let across = rows.iter().enumerate().skip(start).take(TILE.1);
        let mut tile = Vec::with_capacity(TILE.0);
        for (i, row) in rows.iter().enumerate().skip(from).take(TILE.0) {
            let value = |(j, other): (usize, &&[f64])| {
                if j > i { (factor * squared_distance(row, other)).exp() } else { 0.0 }
            };
            let values: Vec<f64> = across.clone().map(value).collect();
            if let Some(sum) = self.by_row.get_mut(i) {
                *sum += values.iter().sum::<f64>();
            }
            for (sum, value) in self.by_row.iter_mut().skip(start).zip(&values) {
                *sum += value;
            }
            tile.push(values);
        }
        for (side, sum) in self.sides.iter().zip(&mut self.within) {
            let columns = side.get(start..rows.len().min(start + TILE.1)).unwrap_or_default();
            let members = tile.iter().zip(side.iter().skip(from)).filter(|(_, member)| **member > 0.0);
            *sum += members.map(|(values, _)| dot(values, columns)).sum::<f64>();
        }
    }

    /// Means for one way of dealing the rows; the first is that of the windows.
    fn statistics(&self, which: usize) -> Option<Means> {
        let (n, m) = (float(count_of(self.n)), float(count_of(self.m)));
        let first = 2.0 * self.within.get(which)?;
        let between = dot(self.sides.get(which)?, &self.by_row) - first;
        let second = self.by_row.iter().sum::<f64>() - first - 2.0 * between;
        Some(Means { first: first / (n * (n - 1.0)), second: second / (m * (m - 1.0)), between: between / (n * m) })
    }

    fn conclude(&self) -> Option<Found> {
        let means = self.statistics(0)?;
        let (statistic, spread) = (means.squared(), means.spread());
        let mut permuted: Vec<f64> =
            (1..self.sides.len()).filter_map(|b| Some(self.statistics(b)?.squared())).collect();
        permuted.sort_by(f64::total_cmp);
        if spread <= 0.0 || !statistic.is_finite() {
            return None;
        }
        // Sums in another order differ in the last digits.
        let as_large = permuted.len() - permuted.partition_point(|other| *other < statistic - 1e-12);
        let p = float(count_of(as_large) + 1) / float(count_of(permuted.len()) + 1);
        let critical = quantile(&permuted, 0.95)?.max(0.0) / spread;
        let variance = moments(&permuted)?.variance / (spread * spread);
        let unit = 1.0 / float(count_of(self.n)) + 1.0 / float(count_of(self.m));
        let mde = detectable(critical, variance, unit);
        Some(Found { statistic, effect: means.effect(), tail: Tail::from_ln(p.ln()), mde })
    }
}

/// The least effect e with e^2 >= critical + z80 sqrt(variance + 4 e^2 unit).
fn detectable(critical: f64, variance: f64, unit: f64) -> f64 {
    let reach = |e: f64| critical + NORMAL_80 * (variance + 4.0 * e * e * unit).sqrt();
    // From above: the right side grows slower than the left, so the steps end at the crossing.
    let start = critical.sqrt() + (NORMAL_80 * variance.sqrt()).sqrt() + 2.0 * NORMAL_80 * unit.sqrt();
    (0..100).fold(start, |e, _| reach(e).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of the reference values below: x_ij = ((7 i + 3 j) mod 11) / 4 - 1, with `from` the first i.
    fn grid(from: u32, rows: u32, width: u32, shift: f64) -> Matrix {
        let value = |i: u32, j: u32| f64::from((7 * i + 3 * j) % 11) / 4.0 - 1.0 + shift;
        Matrix::new(width as usize, (from..from + rows).flat_map(|i| (0..width).map(move |j| value(i, j))).collect())
    }

    #[test]
    fn the_statistic_matches_numpy() {
        // numpy 2.4.6: g(f, r, s) = [[((7 i + 3 j) % 11) / 4 - 1 + s for j in range(3)] for i in range(f, f + r)];
        // x, y = g(0, 12, 0), g(5, 9, .75); K = exp(-d2 / (2 * 1.5**2)); xx, yy without the diagonal, xy = K[:12, 12:].mean();
        // xx + yy - 2 xy; its root over sqrt(1 - (xx + yy) / 2); sqrt(median of d2 above the diagonal).
        let (left, right) = (grid(0, 12, 3, 0.0), grid(5, 9, 3, 0.75));
        let bandwidth = median_distance(&left, &right).unwrap();
        assert!((bandwidth / 2.263_846_284_534_354_3 - 1.0).abs() < 1e-14, "{bandwidth}");
        let means = KernelSums::new(&left, &right, 1.5, (0, 0)).statistics(0).unwrap();
        assert!((means.squared() / 0.179_417_469_262_431_96 - 1.0).abs() < 1e-12, "{}", means.squared());
        assert!((means.effect() / 0.582_513_258_302_823_3 - 1.0).abs() < 1e-12, "{}", means.effect());
    }

    #[test]
    fn tiles_add_up_for_every_permutation() {
        // More rows than a tile has, in both directions.
        let (left, right) = (grid(0, 400, 2, 0.0), grid(3, 300, 2, 0.1));
        let sums = KernelSums::new(&left, &right, 0.8, (3, 9));
        let pooled = left.stacked(&right);
        let rows: Vec<&[f64]> = pooled.rows().collect();
        for (b, side) in sums.sides.iter().enumerate() {
            let mean = |a: f64, c: f64| {
                let pick = |wanted: f64| (0..rows.len()).filter(move |i| side[*i] == wanted);
                let kernel = |(i, j): (usize, usize)| (-0.5 * squared_distance(rows[i], rows[j]) / 0.64).exp();
                let values: Vec<f64> =
                    pick(a).flat_map(|i| pick(c).map(move |j| (i, j))).filter(|(i, j)| i != j).map(kernel).collect();
                values.iter().sum::<f64>() / values.len() as f64
            };
            let found = sums.statistics(b).unwrap();
            assert!((found.first - mean(1.0, 1.0)).abs() < 1e-12);
            assert!((found.second - mean(0.0, 0.0)).abs() < 1e-12);
            assert!((found.between - mean(1.0, 0.0)).abs() < 1e-12);
        }
        assert_ne!(sums.sides[1], sums.sides[2]);
    }

    #[test]
    fn the_threshold_is_at_the_shifts_it_names() {
        let column = |seed: u64, shift: f64| -> Vec<f64> {
            mlops_core::testing::SplitMix64::new(seed).bell(1_500).into_iter().map(|value| value + shift).collect()
        };
        let rows = |seed: u64, shift: &dyn Fn(u64) -> f64| {
            let columns: Vec<Vec<f64>> = (0..10).map(|j| column(100 * seed + j, shift(j))).collect();
            Matrix::new(10, (0..1_500).flat_map(|i| columns.iter().map(move |column| column[i])).collect())
        };
        let reference = rows(1, &|_| 0.0);
        let one = rows(2, &|j| if j == 4 { 0.37 } else { 0.0 });
        for moved in [one, rows(3, &|_| 0.12)] {
            let bandwidth = median_distance(&reference, &moved).unwrap();
            let effect = KernelSums::new(&reference, &moved, bandwidth, (0, 0)).statistics(0).unwrap().effect();
            assert!((0.8..1.2).contains(&(effect / MMD_MIN)), "{effect}");
        }
    }

    #[test]
    fn the_detectable_effect_solves_its_equation() {
        let (critical, variance, unit) = (0.002, 1e-6, 0.001);
        let e = detectable(critical, variance, unit);
        assert!((e * e - critical - NORMAL_80 * (variance + 4.0 * e * e * unit).sqrt()).abs() < 1e-15);
    }
}
