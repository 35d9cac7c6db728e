//! Can a model tell the rows of the two windows apart?
//!
//! Invariant: no row is scored by a forest that was grown on it. Rows are dealt into folds that hold the same share of
//! both windows; each fold is scored by extremely randomized trees (Geurts, Ernst, Wehenkel, Machine Learning 63, 2006)
//! grown on the others.
//!
//! Statistic and effect: the AUC, the mean over folds, 0.5 when the windows cannot be told apart and 1 when they always
//! can. Interval: DeLong's variance fold by fold (LeDell, Petersen, van der Laan, Electronic Journal of Statistics 9,
//! 2015), widened because folds are not independent: forests that share rows are lucky together.

use arrow_array::RecordBatch;
use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};
use smartcore::{
    ensemble::extra_trees_regressor::{ExtraTreesRegressor, ExtraTreesRegressorParameters},
    linalg::basic::matrix::DenseMatrix,
};

use super::{EncoderSettings, Faults, MultivariateDetector, MultivariateTest, encoder::Encoded, matrix::Matrix, top};
use crate::{
    detector::{DriftTest, Thresholds, Verdict},
    random::Draws,
    stats::{RocAuc, Tail, count_of, float, roc_auc},
};

/// AUC that matters: what a shift by 0.36 standard deviations of one normal column makes for the best of all models.
pub const AUC_MIN: f64 = 0.6;
/// Most rows on a side.
const ROWS_MAX: usize = 50_000;
const PERMUTATIONS_MAX: u32 = 10_000;
/// Two-sided 95 % point of the standard normal law.
const NORMAL_975: f64 = 1.959_963_984_540_054;
/// One-sided 95 % and 80 % points together.
const REACH: f64 = 1.644_853_626_951_472_7 + 0.841_621_233_572_914_4;

/// What the p-value of an AUC is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AucTest {
    /// The normal limit of Mann and Whitney's U fold by fold, with Nadeau and Bengio's correction for what folds share
    /// (Machine Learning 52, 2003). Conservative: 2 to 4 % of windows without a change are below 5 %.
    Normal,
    /// So many times the windows' names are dealt out anew and all forests grown again: (k + 1) / (B + 1), exact, and as
    /// many times as long. 19 to 10,000.
    Permutation(u32),
}

/// Settings of [`DomainClassifier`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DomainClassifierSettings {
    /// Smallest AUC that counts, see [`AUC_MIN`]; 0.5 to 1.
    pub auc_min: f64,
    /// Significance level. Default 0.05.
    pub alpha: f64,
    /// Fewest rows on each side. Default 100.
    pub n_min: u64,
    /// Rows of each side that take part, drawn without replacement; 2 to 50,000. Default 2,000.
    pub rows_max: usize,
    /// Folds, 2 to 20. Default 5.
    pub folds: usize,
    /// Trees of a forest, 1 to 1,000. Default 50.
    pub trees: usize,
    /// Splits from root to leaf at most, 1 to 30. Default 8.
    pub depth_max: u16,
    /// Fewest rows in a leaf, at least 1. Default 5.
    pub leaf_rows_min: usize,
    /// What the p-value is. Default [`AucTest::Normal`].
    pub p_value: AucTest,
    /// Seed of drawn rows, folds and forests. Default 0.
    pub seed: u64,
    /// How columns become numbers.
    pub encoder: EncoderSettings,
}

impl Default for DomainClassifierSettings {
    fn default() -> Self {
        Self {
            auc_min: AUC_MIN,
            alpha: 0.05,
            n_min: 100,
            rows_max: 2_000,
            folds: 5,
            trees: 50,
            depth_max: 8,
            leaf_rows_min: 5,
            p_value: AucTest::Normal,
            seed: 0,
            encoder: EncoderSettings::default(),
        }
    }
}

/// Compares windows by how well a forest tells their rows apart.
///
/// A column's weight is the AUC that is lost when its values are dealt out anew among the held-out rows (Breiman, Machine
/// Learning 45, 2001). The detectable effect is an AUC of the forest, not a property of the data: drift that the forest
/// does not learn from so many rows has none.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Float64Array, RecordBatch};
/// use mlops_monitor::{Verdict, multivariate::{DomainClassifier, DomainClassifierSettings, MultivariateDetector}};
///
/// let window = |shift: f64| {
///     let quiet: ArrayRef = Arc::new(Float64Array::from_iter_values((0..200).map(|i| f64::from(i * 37 % 200))));
///     let moved: ArrayRef = Arc::new(Float64Array::from_iter_values((0..200).map(|i| f64::from(i * 91 % 200) + shift)));
///     RecordBatch::try_from_iter([("quiet", quiet), ("moved", moved)])
/// };
/// let settings = DomainClassifierSettings { trees: 20, ..DomainClassifierSettings::default() };
/// let test = DomainClassifier::new(settings)?.test(&window(0.0)?, &window(80.0)?)?;
/// assert_eq!(test.test.verdict, Verdict::Drift);
/// assert_eq!(test.columns[0].column, "moved");
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct DomainClassifier {
    settings: DomainClassifierSettings,
}

impl DomainClassifier {
    /// A detector with these settings.
    ///
    /// # Errors
    /// `InvalidArgument` naming every setting out of range.
    pub fn new(settings: DomainClassifierSettings) -> Result<Self> {
        let mut faults = Faults::of("domain classifier");
        faults.check_common(Self::thresholds(&settings), settings.rows_max, ROWS_MAX);
        let DomainClassifierSettings { auc_min, folds, trees, depth_max, leaf_rows_min, .. } = settings;
        faults.check((0.5..=1.0).contains(&auc_min), "auc_min", "0.5 to 1", &auc_min);
        faults.check((2..=20).contains(&folds), "folds", "2 to 20", &folds);
        faults.check((1..=1_000).contains(&trees), "trees", "1 to 1000", &trees);
        faults.check((1..=30).contains(&depth_max), "depth_max", "1 to 30", &depth_max);
        faults.check(leaf_rows_min >= 1, "leaf_rows_min", "at least 1", &leaf_rows_min);
        if let AucTest::Permutation(permutations) = settings.p_value {
            let range = format!("19 to {PERMUTATIONS_MAX} permutations");
            faults.check((19..=PERMUTATIONS_MAX).contains(&permutations), "p_value", &range, &permutations);
        }
        settings.encoder.check(&mut faults);
        faults.into_result()?;
        Ok(Self { settings })
    }

    fn thresholds(settings: &DomainClassifierSettings) -> Thresholds {
        Thresholds { effect_min: settings.auc_min, alpha: settings.alpha, n_min: settings.n_min }
    }

    fn tail(&self, rows: &Matrix, n: usize, observed: RocAuc) -> Result<Option<Tail>> {
        let AucTest::Permutation(permutations) = self.settings.p_value else { return Ok(observed.tail()) };
        let (mut draws, mut order) = (Draws::new(self.settings.seed ^ 2), (0..rows.len()).collect::<Vec<_>>());
        let mut as_large = 1_u32;
        for _ in 0..permutations {
            draws.shuffle(&mut order);
            let (first, second) = order.split_at(n.min(order.len()));
            let dealt = Folds::new(rows, (first, second), &self.settings)?.auc();
            as_large += u32::from(dealt.is_some_and(|dealt| dealt.auc >= observed.auc));
        }
        Ok(Some(Tail::from_ln((f64::from(as_large) / f64::from(permutations + 1)).ln())))
    }
}

impl MultivariateDetector for DomainClassifier {
    fn name(&self) -> &'static str {
        "domain_classifier"
    }

    fn p_min(&self) -> f64 {
        match self.settings.p_value {
            AucTest::Permutation(permutations) => 1.0 / (f64::from(permutations) + 1.0),
            AucTest::Normal => 0.0,
        }
    }

    fn test(&self, reference: &RecordBatch, current: &RecordBatch) -> Result<MultivariateTest> {
        let settings = &self.settings;
        let encoded = Encoded::new((reference, current), &settings.encoder, (settings.rows_max, settings.seed))?;
        let blank = MultivariateTest::degenerate(self.name(), encoded.n, Self::thresholds(settings), &encoded.skipped);
        let rows = encoded.left.stacked(&encoded.right);
        let (n, m) = (encoded.left.len(), encoded.right.len());
        // Every fold needs a row of both sides; without features there is nothing to learn.
        if n.min(m) < settings.folds || encoded.places.is_empty() {
            return Ok(blank);
        }
        let order: Vec<usize> = (0..rows.len()).collect();
        let folds = Folds::new(&rows, order.split_at(n), settings)?;
        let Some(found) = folds.auc() else { return Ok(blank) };
        let Some(tail) = self.tail(&rows, n, found)? else { return Ok(blank) };
        let reach = NORMAL_975 * found.variance.sqrt();
        let mde = (0.5 + REACH * null_deviation(n, m) * dependence(settings.folds).sqrt()).min(1.0);
        let test = DriftTest { statistic: found.auc, effect: found.auc, tail: Some(tail), mde, ..blank.test };
        let weights: Result<Vec<(String, f64)>> = encoded
            .places
            .iter()
            .map(|(name, places)| Ok((name.clone(), found.auc - folds.auc_without(places)?.unwrap_or(found).auc)))
            .collect();
        Ok(MultivariateTest {
            test: DriftTest { verdict: Verdict::Ok, ..test }.judge(tail, settings.alpha),
            interval: Some([(found.auc - reach).max(0.0), (found.auc + reach).min(1.0)]),
            columns: top(weights?.into_iter()),
            ..blank
        })
    }
}

/// Standard deviation of the AUC of scores that say nothing.
fn null_deviation(n: usize, m: usize) -> f64 {
    let (n, m) = (float(count_of(n)), float(count_of(m)));
    ((n + m + 1.0) / (12.0 * n * m)).sqrt()
}

type Forest = ExtraTreesRegressor<f64, f64, DenseMatrix<f64>, Vec<f64>>;

/// Forests and the rows that each has not seen.
struct Folds {
    folds: Vec<Fold>,
    seed: u64,
}

struct Fold {
    forest: Forest,
    held: Matrix,
    /// The first of them are of the reference.
    held_reference: usize,
    scores: Vec<f64>,
}

impl Folds {
    /// Grows a forest for every fold out of the rows outside it.
    fn new(
        rows: &Matrix,
        (reference, current): (&[usize], &[usize]),
        settings: &DomainClassifierSettings,
    ) -> Result<Self> {
        let table: Vec<&[f64]> = rows.rows().collect();
        let mut draws = Draws::new(settings.seed ^ 3);
        let sides = [reference, current].map(|side| {
            let mut side = side.to_vec();
            draws.shuffle(&mut side);
            side
        });
        let grow = |fold: usize| -> Result<Fold> {
            let pick = |inside: bool, side: &[usize]| -> Vec<usize> {
                let of = |(at, row): (usize, &usize)| (inside == (at % settings.folds == fold)).then_some(*row);
                side.iter().enumerate().filter_map(of).collect()
            };
            let gather = |inside: bool| -> (Matrix, usize) {
                let [first, second] = [pick(inside, &sides[0]), pick(inside, &sides[1])];
                let picked = first.iter().chain(&second).filter_map(|row| table.get(*row).copied());
                (Matrix::new(rows.width(), picked.flatten().copied().collect()), first.len())
            };
            let ((grown, grown_reference), (held, held_reference)) = (gather(false), gather(true));
            let labels: Vec<f64> = (0..grown.len()).map(|at| f64::from(u8::from(at >= grown_reference))).collect();
            let seed = settings.seed.wrapping_mul(1_000_003).wrapping_add(count_of(fold * settings.trees));
            let parameters = ExtraTreesRegressorParameters::default()
                .with_n_trees(settings.trees)
                .with_max_depth(settings.depth_max + 1)
                .with_min_samples_leaf(settings.leaf_rows_min)
                .with_seed(seed);
            let forest = Forest::fit(&dense(&grown)?, &labels, parameters).map_err(failed)?;
            let scores = forest.predict(&dense(&held)?).map_err(failed)?;
            Ok(Fold { forest, held, held_reference, scores })
        };
        let folds: Result<Vec<Fold>> = (0..settings.folds).map(grow).collect();
        Ok(Self { folds: folds?, seed: settings.seed })
    }

    fn auc(&self) -> Option<RocAuc> {
        mean(self.folds.iter().map(|fold| fold.auc(&fold.scores)))
    }

    /// The AUC when these features of the held-out rows are dealt out anew.
    fn auc_without(&self, places: &[usize]) -> Result<Option<RocAuc>> {
        let mut draws = Draws::new(self.seed ^ 4);
        let folds = self.folds.iter().map(|fold| {
            let mut order: Vec<usize> = (0..fold.held.len()).collect();
            draws.shuffle(&mut order);
            let scores = fold.forest.predict(&dense(&fold.held.with_moved(places, &order))?).map_err(failed)?;
            Ok(fold.auc(&scores))
        });
        Ok(mean(folds.collect::<Result<Vec<_>>>()?.into_iter()))
    }
}

impl Fold {
    fn auc(&self, scores: &[f64]) -> Option<RocAuc> {
        let (reference, current) = scores.split_at_checked(self.held_reference)?;
        let [mut reference, mut current] = [reference.to_vec(), current.to_vec()];
        reference.sort_by(f64::total_cmp);
        current.sort_by(f64::total_cmp);
        roc_auc(&reference, &current)
    }
}

/// How many times the variance of a mean over folds is what it would be if they were independent: 1 + k / (k - 1), where
/// Nadeau and Bengio take the correlation of two folds to be 1 / k; at most k, which is one fold's variance.
fn dependence(folds: usize) -> f64 {
    let k = float(count_of(folds));
    (1.0 + k / (k - 1.0)).min(k)
}

/// The mean over folds with its variance.
fn mean(folds: impl Iterator<Item = Option<RocAuc>>) -> Option<RocAuc> {
    let folds: Option<Vec<RocAuc>> = folds.collect();
    let folds = folds?;
    let k = float(count_of(folds.len()));
    let over = |pick: fn(&RocAuc) -> f64| folds.iter().map(pick).sum::<f64>() / k;
    let shrink = dependence(folds.len()) / k;
    Some(RocAuc {
        auc: over(|fold| fold.auc),
        variance: over(|fold| fold.variance) * shrink,
        null_variance: over(|fold| fold.null_variance) * shrink,
    })
}

fn dense(rows: &Matrix) -> Result<DenseMatrix<f64>> {
    DenseMatrix::new(rows.len(), rows.width(), rows.rows().flatten().copied().collect(), false).map_err(failed)
}

fn failed(error: smartcore::error::Failed) -> Error {
    Error::new(mlops_core::ErrorKind::Internal, "the forest of the domain classifier failed").with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_deal_every_row_once_and_their_mean_is_corrected() {
        let rows = Matrix::new(1, (0..53).map(f64::from).collect());
        let order: Vec<usize> = (0..53).collect();
        let settings = DomainClassifierSettings { trees: 3, ..DomainClassifierSettings::default() };
        let folds = Folds::new(&rows, order.split_at(30), &settings).unwrap();
        let mut held: Vec<f64> = folds.folds.iter().flat_map(|fold| fold.held.column(0).collect::<Vec<_>>()).collect();
        held.sort_by(f64::total_cmp);
        assert_eq!(held, rows.column(0).collect::<Vec<_>>());
        assert!(folds.folds.iter().all(|fold| fold.held_reference == 6 && (4..=5).contains(&(fold.held.len() - 6))));
        let fold = RocAuc { auc: 0.6, variance: 0.01, null_variance: 0.02 };
        let mean = mean([Some(fold), Some(RocAuc { auc: 0.8, ..fold })].into_iter()).unwrap();
        assert!((mean.auc - 0.7).abs() < 1e-15 && mean.variance == 0.01 && mean.null_variance == 0.02);
        assert_eq!(dependence(5), 2.25);
    }

    #[test]
    fn settings_out_of_range_are_named_at_once() {
        let settings = DomainClassifierSettings {
            auc_min: 0.4,
            folds: 1,
            trees: 0,
            p_value: AucTest::Permutation(0),
            ..DomainClassifierSettings::default()
        };
        let error = DomainClassifier::new(settings).unwrap_err();
        assert!(["auc_min", "folds", "trees", "p_value"].iter().all(|name| error.message().contains(name)), "{error}");
        let read: DomainClassifierSettings = serde_json::from_str(r#"{"p_value": {"permutation": 99}}"#).unwrap();
        assert_eq!(read.p_value, AucTest::Permutation(99));
    }
}
