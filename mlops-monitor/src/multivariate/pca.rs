//! How far rows lie from the linear structure of the reference.
//!
//! Invariant: the rows that the components are learnt from are not those that errors are compared with. Every other
//! reference row is held out, so that reference and current errors are of the same kind and the test keeps its level.
//!
//! The error of a row is the length of what the first principal components leave of it. Statistic: the mean error of the
//! window; band: mean +- 3 standard deviations of the mean errors of reference chunks, as NannyML draws it. Effect, p and
//! detectable effect: those of Kolmogorov and Smirnov's test on the errors of single rows. It does not see changes within
//! the components: a shift along the main axis of the data has no error.

use arrow_array::RecordBatch;
use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{
    EncoderSettings, Faults, MultivariateDetector, MultivariateTest,
    eigen::symmetric,
    encoder::{Encoder, drawn, taken},
    matrix::{Matrix, dot},
    top,
};
use crate::{
    detector::{DriftTest, Thresholds, Verdict},
    random::Draws,
    stats::{KsMode, count_of, detectable_d, float, ks_test, moments},
};

/// Most rows on a side.
const ROWS_MAX: usize = 1_000_000;
/// A residual of this share of a row's length is rounding.
const ROUNDING: f64 = 1e-9;

/// Settings of [`PcaReconstruction`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PcaSettings {
    /// Smallest Kolmogorov distance of the row errors that counts, see [`crate::KS_D_MIN`].
    pub effect_min: f64,
    /// Significance level. Default 0.05.
    pub alpha: f64,
    /// Fewest rows on each side. Default 100.
    pub n_min: u64,
    /// Share of the variance that the components explain, above 0 and below 1. Default 0.65.
    pub variance_share: f64,
    /// Chunks of the reference whose mean errors make the band; 2 to 1,000. Default 10.
    pub chunks: usize,
    /// Rows of each side that take part, drawn without replacement; 2 to 1,000,000. Default 20,000.
    pub rows_max: usize,
    /// Seed of the drawn rows. Default 0.
    pub seed: u64,
    /// How columns become numbers.
    pub encoder: EncoderSettings,
}

impl Default for PcaSettings {
    fn default() -> Self {
        Self {
            effect_min: crate::settings::KS_D_MIN,
            alpha: 0.05,
            n_min: 100,
            variance_share: 0.65,
            chunks: 10,
            rows_max: 20_000,
            seed: 0,
            encoder: EncoderSettings::default(),
        }
    }
}

/// Learns the linear structure of a reference and compares windows with it.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Float64Array, RecordBatch};
/// use mlops_monitor::{Verdict, multivariate::{FittedPca, PcaReconstruction, PcaSettings}};
///
/// let window = |sign: f64| {
///     let x: ArrayRef = Arc::new(Float64Array::from_iter_values((0..400).map(|i| f64::from(i * 37 % 400))));
///     let y: ArrayRef = Arc::new(Float64Array::from_iter_values((0..400).map(|i| sign * f64::from(i * 37 % 400 - 200) + f64::from(i % 7))));
///     RecordBatch::try_from_iter([("x", x), ("y", y)])
/// };
/// let fitted = PcaReconstruction::new(PcaSettings::default())?.fit(&window(1.0)?)?;
/// let stored = serde_json::to_string(&fitted)?;
/// let fitted: FittedPca = serde_json::from_str(&stored)?;
/// assert_eq!(fitted.test(&window(1.0)?)?.test.verdict, Verdict::Ok);
/// let broken = fitted.test(&window(-1.0)?)?;
/// assert!(broken.test.verdict == Verdict::Drift && broken.outside_band());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PcaReconstruction {
    settings: PcaSettings,
}

impl PcaReconstruction {
    const NAME: &'static str = "pca_reconstruction";

    /// A detector with these settings.
    ///
    /// # Errors
    /// `InvalidArgument` naming every setting out of range.
    pub fn new(settings: PcaSettings) -> Result<Self> {
        settings.validate()?;
        Ok(Self { settings })
    }

    /// Learns from a reference, usually where the model is trained; the result is stored beside it.
    ///
    /// # Errors
    /// `FailedPrecondition` when there are fewer than two rows for each chunk; `InvalidArgument` when no column can be
    /// compared, or when they make more features than the settings allow.
    pub fn fit(&self, reference: &RecordBatch) -> Result<FittedPca> {
        let (settings, mut draws) = (self.settings, Draws::new(self.settings.seed));
        let rows = drawn(reference, settings.rows_max, &mut draws)?;
        let (n, needed) = (rows.num_rows(), 2 * settings.chunks);
        if n < needed {
            return Err(Error::failed_precondition(format!(
                "the reference has {n} rows; expected at least {needed}, two for each of {} chunks",
                settings.chunks
            )));
        }
        let learn = draws.choose(n / 2, n);
        let hold: Vec<usize> = (0..n).filter(|row| learn.binary_search(row).is_err()).collect();
        let (learn, hold) = (taken(&rows, &learn)?, taken(&rows, &hold)?);
        let encoder = Encoder::fit(&learn, &settings.encoder)?;
        let projection = Projection::fit(&encoder.encode(&learn)?, settings.variance_share);
        let Residuals { mut errors, by_feature } = projection.residuals(&encoder.encode(&hold)?);
        let band = band(&errors, settings.chunks);
        errors.sort_by(f64::total_cmp);
        Ok(FittedPca { settings, encoder, projection, errors, by_feature, band })
    }
}

impl PcaSettings {
    fn validate(&self) -> Result<()> {
        let mut faults = Faults::of("pca");
        faults.check_common(self.thresholds(), self.rows_max, ROWS_MAX);
        let share = self.variance_share;
        faults.check(share > 0.0 && share < 1.0, "variance_share", "above 0 and below 1", &share);
        faults.check((2..=1_000).contains(&self.chunks), "chunks", "2 to 1000", &self.chunks);
        self.encoder.check(&mut faults);
        faults.into_result()
    }

    fn thresholds(&self) -> Thresholds {
        Thresholds { effect_min: self.effect_min, alpha: self.alpha, n_min: self.n_min }
    }
}

impl MultivariateDetector for PcaReconstruction {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn test(&self, reference: &RecordBatch, current: &RecordBatch) -> Result<MultivariateTest> {
        if reference.num_rows() < 2 * self.settings.chunks {
            let n = (count_of(reference.num_rows() / 2), count_of(current.num_rows()));
            return Ok(MultivariateTest::degenerate(Self::NAME, n, self.settings.thresholds(), &[]));
        }
        self.fit(reference)?.test(current)
    }
}

/// What [`PcaReconstruction`] learnt of a reference; serializable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct FittedPca {
    settings: PcaSettings,
    encoder: Encoder,
    projection: Projection,
    /// Errors of the rows held out, ascending.
    errors: Vec<f64>,
    /// Mean squared residual of each feature among them.
    by_feature: Vec<f64>,
    band: [f64; 2],
}

/// The same, before it is known to be sound.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    settings: PcaSettings,
    encoder: Encoder,
    projection: Projection,
    errors: Vec<f64>,
    by_feature: Vec<f64>,
    band: [f64; 2],
}

impl TryFrom<Stored> for FittedPca {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Self> {
        let Stored { settings, encoder, projection, errors, by_feature, band } = stored;
        settings.validate()?;
        let width = encoder.width();
        let finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
        let wide = |values: &Vec<f64>| values.len() == width && finite(values);
        let sound = (1..=settings.encoder.features_max).contains(&width)
            && encoder.is_sound()
            && wide(&projection.mean)
            && wide(&by_feature)
            && projection.components.len() <= width
            && projection.components.iter().all(wide)
            && errors.len() <= settings.rows_max
            && finite(&errors)
            && errors.is_sorted()
            && finite(&band);
        if !sound {
            return Err(Error::new(
                mlops_core::ErrorKind::DataLoss,
                format!(
                    "the stored pca state is damaged: expected finite numbers for {width} features, errors ascending"
                ),
            ));
        }
        Ok(Self { settings, encoder, projection, errors, by_feature, band })
    }
}

impl FittedPca {
    /// Compares a window with the reference. A column's weight is how much its mean squared residual grew, in squared
    /// deviations.
    ///
    /// # Errors
    /// `FailedPrecondition` when the window lacks a column of the reference or holds another kind of values in it.
    pub fn test(&self, current: &RecordBatch) -> Result<MultivariateTest> {
        let (name, settings) = (PcaReconstruction::NAME, &self.settings);
        let rows = drawn(current, settings.rows_max, &mut Draws::new(settings.seed))?;
        let Residuals { mut errors, by_feature } = self.projection.residuals(&self.encoder.encode(&rows)?);
        errors.sort_by(f64::total_cmp);
        let n = (count_of(self.errors.len()), count_of(errors.len()));
        let blank = MultivariateTest::degenerate(name, n, settings.thresholds(), self.encoder.skipped());
        let Some((ks, tail)) = ks_test(&self.errors, &errors, KsMode::Auto) else { return Ok(blank) };
        let constant = ks.h == 0 && self.errors.first() == self.errors.last();
        let verdict = if constant { Verdict::Degenerate } else { Verdict::Ok };
        let statistic = moments(&errors).map_or(f64::NAN, |found| found.mean);
        let test = DriftTest { statistic, tail: Some(tail), effect: ks.d, verdict, ..blank.test };
        let growth = |places: std::ops::Range<usize>| -> f64 {
            let of = |values: &[f64]| values.get(places.clone()).unwrap_or_default().iter().sum::<f64>();
            of(&by_feature) - of(&self.by_feature)
        };
        Ok(MultivariateTest {
            test: DriftTest { mde: detectable_d(n.0, n.1), ..test }.judge(tail, settings.alpha),
            band: Some(self.band),
            columns: top(self.encoder.places().map(|(name, places)| (name.to_owned(), growth(places)))),
            ..blank
        })
    }

    /// How many components there are.
    #[must_use]
    pub fn components(&self) -> usize {
        self.projection.components.len()
    }

    /// Share of the variance that they explain; not a number when the reference has none.
    #[must_use]
    pub fn explained(&self) -> f64 {
        self.projection.explained
    }
}

/// Mean +- 3 standard deviations of the mean errors of chunks of equal size; not below zero.
fn band(errors: &[f64], chunks: usize) -> [f64; 2] {
    let size = (errors.len() / chunks.max(1)).max(1);
    let means: Vec<f64> = errors.chunks_exact(size).filter_map(|chunk| Some(moments(chunk)?.mean)).collect();
    let Some(found) = moments(&means) else { return [0.0, 0.0] };
    let n = float(found.n);
    let reach = 3.0 * (found.variance * (n - 1.0) / n).sqrt();
    [(found.mean - reach).max(0.0), found.mean + reach]
}

/// A center and orthonormal directions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Projection {
    mean: Vec<f64>,
    components: Vec<Vec<f64>>,
    #[serde(default, deserialize_with = "number_or_nan")]
    explained: f64,
}

/// JSON has no word for what is not a number.
fn number_or_nan<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

struct Residuals {
    /// The length of what is left of each row.
    errors: Vec<f64>,
    /// The mean square of what is left of each feature.
    by_feature: Vec<f64>,
}

impl Projection {
    /// The fewest principal components that explain `share` of the variance.
    fn fit(rows: &Matrix, share: f64) -> Self {
        let (mean, width) = (rows.means(), rows.width());
        let mut found = symmetric(covariance(rows, &mean), width);
        let total: f64 = found.iter().map(|eigen| eigen.value.max(0.0)).sum();
        let mut sum = 0.0;
        let enough = found.iter().position(|eigen| {
            sum += eigen.value;
            sum >= share * total
        });
        found.truncate(if total > 0.0 { enough.map_or(width, |last| last + 1) } else { 0 });
        let explained = found.iter().map(|eigen| eigen.value).sum::<f64>() / total;
        Self { mean, components: found.into_iter().map(|eigen| eigen.vector).collect(), explained }
    }

    fn residuals(&self, rows: &Matrix) -> Residuals {
        let mut by_feature = vec![0.0; self.mean.len()];
        let mut errors = Vec::with_capacity(rows.len());
        for row in rows.rows() {
            let mut rest: Vec<f64> = row.iter().zip(&self.mean).map(|(value, mean)| value - mean).collect();
            let length = dot(&rest, &rest).sqrt();
            for component in &self.components {
                let score = dot(&rest, component);
                rest.iter_mut().zip(component).for_each(|(value, direction)| *value -= score * direction);
            }
            let error = dot(&rest, &rest).sqrt();
            errors.push(if error <= ROUNDING * length { 0.0 } else { error });
            by_feature.iter_mut().zip(&rest).for_each(|(sum, value)| *sum += value * value);
        }
        let n = float(count_of(rows.len().max(1)));
        by_feature.iter_mut().for_each(|sum| *sum /= n);
        Residuals { errors, by_feature }
    }
}

/// The covariance matrix, row by row, with n - 1 in the denominator.
fn covariance(rows: &Matrix, mean: &[f64]) -> Vec<f64> {
    let width = rows.width();
    let mut sums = vec![0.0; width * width];
    let mut centered = vec![0.0; width];
    for row in rows.rows() {
        for ((value, from), mean) in centered.iter_mut().zip(row).zip(mean) {
            *value = from - mean;
        }
        // Indicators are mostly zero, and zero adds nothing.
        for (line, left) in sums.chunks_exact_mut(width).zip(&centered).filter(|(_, left)| **left != 0.0) {
            line.iter_mut().zip(&centered).for_each(|(sum, right)| *sum += left * right);
        }
    }
    let n = float(count_of(rows.len().max(2))) - 1.0;
    sums.iter_mut().for_each(|sum| *sum /= n);
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x_ij = ((i (j + 3) + j^2) mod (7 + j)) / 2 + i / 10.
    fn grid(from: u32, rows: u32) -> Matrix {
        let value = |i: u32, j: u32| f64::from((i * (j + 3) + j * j) % (7 + j)) / 2.0 + f64::from(i) / 10.0;
        Matrix::new(4, (from..from + rows).flat_map(|i| (0..4).map(move |j| value(i, j))).collect())
    }

    #[test]
    fn components_and_errors_match_scikit_learn() {
        // scikit-learn 1.9.1: x = [[((i * (j + 3) + j * j) % (7 + j)) / 2 + i / 10 for j in range(4)] for i in range(30)];
        // pca = PCA(n_components=.65).fit(x); y the same with i from 40 to 44;
        // norm(y - pca.inverse_transform(pca.transform(y)), axis=1).
        let projection = Projection::fit(&grid(0, 30), 0.65);
        assert_eq!(projection.components.len(), 2);
        assert!((projection.explained / 0.758_790_384_601_032_4 - 1.0).abs() < 1e-12, "{}", projection.explained);
        let found = projection.residuals(&grid(40, 5));
        let expected = [
            1.951_261_612_439_340_5,
            1.790_966_075_396_025_7,
            1.390_959_151_763_392_6,
            1.095_968_214_146_303,
            1.102_767_940_683_164_3,
        ];
        for (found, expected) in found.errors.iter().zip(expected) {
            assert!((found / expected - 1.0).abs() < 1e-10, "{found} {expected}");
        }
        let squares: f64 = expected.iter().map(|error| error * error / 5.0).sum();
        assert!((found.by_feature.iter().sum::<f64>() / squares - 1.0).abs() < 1e-10);
    }

    #[test]
    fn the_band_is_three_deviations_of_chunk_means() {
        // Means 1, 3; deviation 1.
        assert_eq!(band(&[0.0, 2.0, 2.0, 4.0], 2), [0.0, 5.0]);
        assert_eq!(band(&[], 2), [0.0, 0.0]);
    }

    #[test]
    fn what_is_explained_altogether_leaves_no_error() {
        let line = Matrix::new(2, (0..50).flat_map(|i| [f64::from(i) / 7.0, f64::from(i) / 3.0]).collect());
        let projection = Projection::fit(&line, 0.65);
        assert_eq!(projection.components.len(), 1);
        assert!(projection.residuals(&line).errors.iter().all(|error| *error == 0.0));
        assert_eq!(Projection::fit(&Matrix::new(2, vec![1.0; 20]), 0.65).components.len(), 0);
    }
}
