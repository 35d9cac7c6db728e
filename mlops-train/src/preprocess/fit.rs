//! Learning a preprocessor from training rows.
//!
//! Medians are of the rows that have a value; means and deviations are of the imputed column
//! (population form, dividing by n), and a constant column keeps scale one.

use std::{cmp::Reverse, collections::HashMap};

use mlops_core::{Error, Result, TensorSpec};
use mlops_metrics::square_unit;
use serde::{Deserialize, Serialize};

use super::{
    matrix::Matrix,
    median::median,
    plan::{ColumnPlan, Preprocessor, Step},
    quantile::quantiles,
    target::{Labeled, Means, cross_fitted},
};
use crate::{
    data::{Column, TableDataset, decode},
    strands::sum_of,
};

/// Categories that one column may keep.
const CATEGORIES_MAX: usize = 10_000;

/// Quantiles that one column may keep.
const QUANTILES_MAX: usize = 10_000;

/// How text becomes numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CategoryEncoding {
    /// The rank by frequency, most frequent first: compact, for trees.
    Ordinal,
    /// A column per category: for models that add and multiply.
    OneHot,
    /// The position by frequency as a code, with one code for unseen and rare categories and one for
    /// missing: for networks that learn a vector per code.
    Embedding,
    /// The mean label of the category's training rows, drawn towards the mean of all: one column
    /// however many categories there are. Training rows get means of folds they are not in.
    Target,
}

/// What to learn about columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PreprocessorSettings {
    /// Replace missing numbers by the median and add an indicator where training rows lack values.
    pub impute: bool,
    /// Shift and scale numbers to mean zero and deviation one.
    pub standardize: bool,
    /// Put numbers onto a standard normal distribution by their ranks, with so many quantiles of the
    /// training rows, instead of standardizing them; zero does not. From 2 to 10,000 otherwise.
    pub quantiles: usize,
    /// How text becomes numbers.
    pub encoding: CategoryEncoding,
    /// Of [`CategoryEncoding::Target`]: rows of the mean of all that count into each category.
    pub smoothing_rows: usize,
    /// Categories kept per column, the most frequent first; the rest counts as unseen. At least 1,
    /// at most 10,000.
    pub categories_max: usize,
    /// Training rows that a category must have to be kept; rarer ones count as unseen, so that what
    /// unseen means is learnt from them.
    pub category_rows_min: usize,
}

impl Default for PreprocessorSettings {
    fn default() -> Self {
        Self::for_trees()
    }
}

impl PreprocessorSettings {
    /// Missing values stay missing, categories are ranks.
    #[must_use]
    pub fn for_trees() -> Self {
        Self {
            impute: false,
            standardize: false,
            quantiles: 0,
            encoding: CategoryEncoding::Ordinal,
            smoothing_rows: 20,
            categories_max: 200,
            category_rows_min: 1,
        }
    }

    /// As for networks, but categories are codes of which a network learns vectors: many may be
    /// kept, and those of fewer than five rows make up what unseen means.
    #[must_use]
    pub fn for_embeddings() -> Self {
        Self {
            encoding: CategoryEncoding::Embedding,
            categories_max: CATEGORIES_MAX,
            category_rows_min: 5,
            ..Self::for_networks()
        }
    }

    /// No missing values, comparable scales, a column per category.
    #[must_use]
    pub fn for_networks() -> Self {
        Self {
            impute: true,
            standardize: true,
            encoding: CategoryEncoding::OneHot,
            categories_max: 50,
            ..Self::for_trees()
        }
    }
}

impl Preprocessor {
    /// Learns from the rows of `data`.
    ///
    /// # Errors
    /// `InvalidArgument` when the settings are out of range.
    pub fn fit(settings: &PreprocessorSettings, data: &TableDataset) -> Result<Self> {
        if !(1..=CATEGORIES_MAX).contains(&settings.categories_max) {
            return Err(Error::invalid_argument(format!(
                "categories_max must be from 1 to {CATEGORIES_MAX}, found {}",
                settings.categories_max
            )));
        }
        if settings.quantiles != 0 && !(2..=QUANTILES_MAX).contains(&settings.quantiles) {
            return Err(Error::invalid_argument(format!(
                "quantiles must be 0 or from 2 to {QUANTILES_MAX}, found {}",
                settings.quantiles
            )));
        }
        let plan = |(input, array): (&TensorSpec, _)| {
            let step = match decode(&input.name, input.data_type, array)? {
                Column::Numbers(values) => number_step(settings, values),
                Column::Categories(values) => category_step(settings, &values, data),
            };
            Ok(ColumnPlan { input: input.clone(), step })
        };
        let columns = data.features().iter().zip(data.batch().columns()).map(plan).collect::<Result<_>>()?;
        Ok(Self { columns })
    }

    /// Learns from the rows of `data` and turns them into numbers. They are those of
    /// [`Preprocessor::transform`] but for target encoding, where no row sees its own label; the
    /// folds for that are drawn from `seed`.
    ///
    /// # Errors
    /// As [`Preprocessor::fit`].
    pub fn fit_transform(settings: &PreprocessorSettings, data: &TableDataset, seed: u64) -> Result<(Self, Matrix)> {
        let fitted = Self::fit(settings, data)?;
        let mut matrix = fitted.transform(data.batch())?;
        let mut at = 0;
        for (ColumnPlan { input, step }, array) in fitted.columns.iter().zip(data.batch().columns()) {
            if let Step::Target { .. } = step
                && let Column::Categories(values) = decode(&input.name, input.data_type, array)?
            {
                let rows = labeled(&values, data);
                for (row, value) in cross_fitted(&rows, settings.smoothing_rows as f64, seed).into_iter().enumerate() {
                    matrix.set(row, at, value);
                }
            }
            at += step.width();
        }
        Ok((fitted, matrix))
    }
}

fn labeled<'a>(values: &[Option<&'a str>], data: &TableDataset) -> Vec<Labeled<'a>> {
    let rows = values.iter().zip(data.labels()).enumerate();
    rows.map(|(row, (&category, &label))| Labeled { category, label, weight: data.weight(row) }).collect()
}

fn number_step(settings: &PreprocessorSettings, mut values: Vec<f64>) -> Step {
    let is_missing = |value: &&mut f64| value.is_nan();
    let missing = values.iter().filter(|value| value.is_nan()).count();
    let fill = settings.impute.then(|| median(&values));
    let indicator = settings.impute && missing > 0;
    match fill {
        _ if missing == 0 => {}
        Some(fill) => values.iter_mut().filter(is_missing).for_each(|value| *value = fill),
        None => values.retain(|value| !value.is_nan()),
    }
    if settings.quantiles > 0 {
        return Step::Quantile { fill, quantiles: quantiles(values, settings.quantiles), indicator };
    }
    let (mean, scale) = if settings.standardize { moments(&values) } else { (0.0, 1.0) };
    Step::Number { fill, mean, scale, indicator }
}

fn moments(values: &[f64]) -> (f64, f64) {
    let in_unit = |unit: f64| {
        let (n, per_unit) = (values.len().max(1) as f64, unit.recip());
        let mean = sum_of(values, |value| value * per_unit) / n;
        let deviation = (sum_of(values, |value| (value * per_unit - mean).powi(2)) / n).sqrt();
        (mean * unit, deviation * unit)
    };
    let (mean, deviation) = match in_unit(1.0) {
        usual @ (_, 1e-140..1e140) => usual,
        // What is usable in that unit may be none in that of the column.
        _ => in_unit(square_unit(values.iter().copied())),
    };
    if mean.is_finite() && deviation.is_normal() && deviation > mean.abs() * 1e-12 {
        return (mean, deviation);
    }
    // The mean of equal numbers may miss them by rounding, which without a scale is much where they are large.
    let (low, high) =
        values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)));
    match high - low {
        spread if spread.is_finite() && spread >= 0.0 => (low, spread.max(1.0)),
        _ => (if mean.is_finite() { mean } else { 0.0 }, 1.0),
    }
}

fn category_step(settings: &PreprocessorSettings, values: &[Option<&str>], data: &TableDataset) -> Step {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for category in values.iter().flatten() {
        *counts.entry(category).or_default() += 1;
    }
    let mut ranked: Vec<(&str, usize)> = counts.into_iter().collect();
    ranked.sort_by_key(|&(category, count)| (Reverse(count), category));
    ranked.truncate(settings.categories_max);
    ranked.retain(|&(_, count)| count >= settings.category_rows_min);
    let categories: Vec<String> = ranked.into_iter().map(|(category, _)| category.to_owned()).collect();
    match settings.encoding {
        CategoryEncoding::Ordinal => Step::Ordinal { categories },
        CategoryEncoding::Embedding => Step::Code { categories },
        CategoryEncoding::OneHot => Step::OneHot { categories, indicator: values.contains(&None) },
        CategoryEncoding::Target => {
            let means = Means::of(labeled(values, data).into_iter(), settings.smoothing_rows as f64);
            Step::Target {
                means: categories.iter().map(|category| means.mean(Some(category))).collect(),
                prior: means.prior(),
                missing: means.mean(None),
                categories,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};

    use super::*;

    fn batch(x: Vec<Option<f64>>, kind: Vec<Option<&str>>) -> RecordBatch {
        let y: Vec<f64> = (0..x.len()).map(|i| i as f64).collect();
        RecordBatch::try_from_iter([
            ("x", Arc::new(Float64Array::from(x)) as ArrayRef),
            ("kind", Arc::new(StringArray::from(kind)) as ArrayRef),
            ("y", Arc::new(Float64Array::from(y)) as ArrayRef),
        ])
        .unwrap()
    }

    fn fit(settings: &PreprocessorSettings, batch: RecordBatch) -> Preprocessor {
        Preprocessor::fit(settings, &TableDataset::regression(batch, "y").build().unwrap()).unwrap()
    }

    #[test]
    fn networks_get_standardized_numbers_and_indicator_columns() {
        let train = batch(vec![Some(1.0), None, Some(5.0), Some(3.0)], vec![Some("b"), Some("a"), Some("b"), None]);
        let preprocessor = fit(&PreprocessorSettings::for_networks(), train.clone());
        let names = ["x", "x is missing", "kind = b", "kind = a", "kind is unseen", "kind is missing"];
        assert_eq!(preprocessor.output_names(), names);
        let matrix = preprocessor.transform(&train).unwrap();
        let x: Vec<f64> = matrix.column(0).collect();
        assert!(x.iter().sum::<f64>().abs() < 1e-12);
        assert!((x.iter().map(|v| v * v).sum::<f64>() / 4.0 - 1.0).abs() < 1e-12);
        assert_eq!(matrix.row(1)[1..], [1.0, 0.0, 1.0, 0.0, 0.0]);
        assert_eq!(matrix.row(3)[1..], [0.0, 0.0, 0.0, 0.0, 1.0]);
        let later = preprocessor.transform(&batch(vec![Some(0.0)], vec![Some("new")])).unwrap();
        assert_eq!(later.row(0)[1..], [0.0, 0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn numbers_of_any_size_are_standardized() {
        let plain = [1.0, -2.0, 4.0, 5.5];
        let values = |unit: f64| -> Vec<f64> {
            let train = batch(plain.iter().map(|value| Some(value * unit)).collect(), vec![None; 4]);
            fit(&PreprocessorSettings::for_networks(), train.clone()).transform(&train).unwrap().column(0).collect()
        };
        let expected = values(1.0);
        for power in [-1_000, -600, 600, 1_000] {
            assert_eq!(values(2.0_f64.powi(power)), expected, "2^{power}");
        }
    }

    #[test]
    fn a_constant_column_of_any_size_is_zero() {
        for constant in [0.1, 7.0, 1e15, 1e300, f64::MAX, -1e-300, 0.0] {
            let train = batch(vec![Some(constant); 401], vec![None; 401]);
            let matrix = fit(&PreprocessorSettings::for_networks(), train.clone()).transform(&train).unwrap();
            assert!(matrix.column(0).all(|value| value == 0.0), "{constant}: {:?}", matrix.row(0));
        }
        // Nearly constant, and the differences are large.
        let values = (0..400).map(|row| Some(1e300 * (1.0 + 1e-14 * f64::from(row % 3)))).collect();
        let train = batch(values, vec![None; 400]);
        let matrix = fit(&PreprocessorSettings::for_networks(), train.clone()).transform(&train).unwrap();
        assert!(matrix.column(0).all(|value| (0.0..=1.0).contains(&value)));
    }

    #[test]
    fn a_deviation_below_the_normal_doubles_divides_nothing() {
        let train = batch(vec![Some(0.0), Some(5e-324)], vec![None; 2]);
        let matrix = fit(&PreprocessorSettings::for_networks(), train.clone()).transform(&train).unwrap();
        assert!(matrix.column(0).all(|value| value.abs() <= 5e-324));
    }

    #[test]
    fn trees_get_ranks_and_keep_what_is_missing() {
        let train = batch(vec![Some(1.0), None, Some(5.0)], vec![Some("b"), Some("b"), Some("a")]);
        let preprocessor = fit(&PreprocessorSettings::for_trees(), train);
        let matrix = preprocessor.transform(&batch(vec![None, Some(2.0)], vec![Some("z"), None])).unwrap();
        assert!(matrix.row(0)[0].is_nan() && matrix.row(1)[1].is_nan());
        assert_eq!((matrix.row(0)[1], matrix.row(1)[0]), (2.0, 2.0));
    }

    #[test]
    fn rare_categories_count_as_unseen() {
        let settings = PreprocessorSettings { categories_max: 1, ..PreprocessorSettings::for_networks() };
        let train = batch(vec![Some(0.0); 3], vec![Some("a"), Some("b"), Some("b")]);
        assert_eq!(fit(&settings, train).output_names(), ["x", "kind = b", "kind is unseen"]);
    }

    #[test]
    fn codes_keep_rare_unseen_and_missing_apart_from_known() {
        let settings = PreprocessorSettings { category_rows_min: 2, ..PreprocessorSettings::for_embeddings() };
        let kinds = vec![Some("b"), Some("a"), Some("b"), Some("rare"), None, Some("a"), Some("b")];
        let train = batch(vec![Some(0.0); 7], kinds);
        let preprocessor = fit(&settings, train.clone());
        assert_eq!(preprocessor.output_names(), ["x", "kind"]);
        assert_eq!(preprocessor.code_counts(), [None, Some(4)]);
        let codes: Vec<f64> = preprocessor.transform(&train).unwrap().column(1).collect();
        assert_eq!(codes, [0.0, 1.0, 0.0, 2.0, 3.0, 1.0, 0.0]);
        let later = preprocessor.transform(&batch(vec![None], vec![Some("new")])).unwrap();
        assert_eq!(later.row(0), [0.0, 2.0]);
    }

    #[test]
    fn constant_and_empty_columns_stay_finite() {
        let settings = PreprocessorSettings::for_networks();
        for column in [vec![Some(1e300), Some(1e300)], vec![None, None], vec![Some(f64::MAX), Some(f64::MIN)]] {
            let train = batch(column, vec![None, None]);
            let matrix = fit(&settings, train.clone()).transform(&train).unwrap();
            assert!((0..2).all(|row| matrix.row(row).iter().all(|value| value.is_finite())));
        }
    }

    #[test]
    fn target_means_of_training_rows_are_of_other_folds() {
        let kinds = (0..40).map(|row| Some(if row % 2 == 0 { "even" } else { "odd" })).collect();
        let train = batch((0..40).map(|row| Some(f64::from(row))).collect(), kinds);
        let data = TableDataset::regression(train.clone(), "y").build().unwrap();
        let settings = PreprocessorSettings { encoding: CategoryEncoding::Target, ..PreprocessorSettings::for_trees() };
        let (preprocessor, matrix) = Preprocessor::fit_transform(&settings, &data, 3).unwrap();
        assert_eq!(preprocessor.output_names(), ["x", "kind"]);
        // Even rows have mean label 19, all have 19.5; twenty rows of that are added.
        let later = preprocessor.transform(&batch(vec![None; 3], vec![Some("even"), Some("z"), None])).unwrap();
        assert_eq!((0..3).map(|row| later.row(row)[1]).collect::<Vec<_>>(), [19.25, 19.5, 19.5]);
        let distinct: std::collections::BTreeSet<u64> = (0..40).map(|row| matrix.row(row)[1].to_bits()).collect();
        // Two categories of five folds each, of which means may coincide; transformed, there would be two.
        assert!((5..=10).contains(&distinct.len()), "{distinct:?}");
        assert_eq!(matrix.row(7)[0], 7.0);
    }

    #[test]
    fn quantiles_replace_standard_scores() {
        let settings = PreprocessorSettings { quantiles: 5, ..PreprocessorSettings::for_networks() };
        let train = batch((0..9).map(|row| Some(f64::from(row).exp())).collect(), vec![None; 9]);
        let matrix = fit(&settings, train.clone()).transform(&train).unwrap();
        let x: Vec<f64> = matrix.column(0).collect();
        assert!(x.is_sorted() && x[4].abs() < 1e-7 && (x[0] + x[8]).abs() < 1e-6, "{x:?}");
        let bad = PreprocessorSettings { quantiles: 1, ..settings };
        let data = TableDataset::regression(train, "y").build().unwrap();
        assert!(Preprocessor::fit(&bad, &data).unwrap_err().message().contains("quantiles"));
    }

    #[test]
    fn json_round_trips() {
        let train = batch(vec![Some(0.1), None], vec![Some("a"), None]);
        let target = PreprocessorSettings { encoding: CategoryEncoding::Target, quantiles: 3, ..Default::default() };
        for settings in [PreprocessorSettings::for_networks(), PreprocessorSettings::for_embeddings(), target] {
            let preprocessor = fit(&settings, train.clone());
            let json = serde_json::to_string(&preprocessor).unwrap();
            assert_eq!(serde_json::from_str::<Preprocessor>(&json).unwrap(), preprocessor);
            preprocessor.check().unwrap();
        }
    }
}
