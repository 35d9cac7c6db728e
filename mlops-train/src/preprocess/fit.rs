//! Learning a preprocessor from training rows.
//!
//! Medians are of the rows that have a value; means and deviations are of the imputed column
//! (population form, dividing by n), and a constant column keeps scale one.

use std::{cmp::Reverse, collections::HashMap};

use mlops_core::{Error, Result, TensorSpec};
use serde::{Deserialize, Serialize};

use super::plan::{ColumnPlan, Preprocessor, Step};
use crate::data::{Column, TableDataset, decode};

/// Categories that one column may keep.
const CATEGORIES_MAX: usize = 10_000;

/// How text becomes numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CategoryEncoding {
    /// The rank by frequency, most frequent first: compact, for trees.
    Ordinal,
    /// A column per category: for models that add and multiply.
    OneHot,
}

/// What to learn about columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PreprocessorSettings {
    /// Replace missing numbers by the median and add an indicator where training rows lack values.
    pub impute: bool,
    /// Shift and scale numbers to mean zero and deviation one.
    pub standardize: bool,
    /// How text becomes numbers.
    pub encoding: CategoryEncoding,
    /// Categories kept per column, the most frequent first; the rest counts as unseen. At least 1,
    /// at most 10,000.
    pub categories_max: usize,
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
        Self { impute: false, standardize: false, encoding: CategoryEncoding::Ordinal, categories_max: 200 }
    }

    /// No missing values, comparable scales, a column per category.
    #[must_use]
    pub fn for_networks() -> Self {
        Self { impute: true, standardize: true, encoding: CategoryEncoding::OneHot, categories_max: 50 }
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
        let plan = |(input, array): (&TensorSpec, _)| {
            let step = match decode(&input.name, input.data_type, array)? {
                Column::Numbers(values) => number_step(settings, values),
                Column::Categories(values) => category_step(settings, &values),
            };
            Ok(ColumnPlan { input: input.clone(), step })
        };
        let columns = data.features().iter().zip(data.batch().columns()).map(plan).collect::<Result<_>>()?;
        Ok(Self { columns })
    }
}

fn number_step(settings: &PreprocessorSettings, mut values: Vec<f64>) -> Step {
    let (fill, indicator) = match settings.impute {
        true => (Some(median(&values)), values.iter().any(|value| value.is_nan())),
        false => (None, false),
    };
    if let Some(fill) = fill {
        values.iter_mut().filter(|value| value.is_nan()).for_each(|value| *value = fill);
    }
    values.retain(|value| !value.is_nan());
    let (mean, scale) = if settings.standardize { moments(&values) } else { (0.0, 1.0) };
    Step::Number { fill, mean, scale, indicator }
}

/// The median of the values that are present; the mean of the middle two of an even count, zero of
/// none.
fn median(values: &[f64]) -> f64 {
    let mut present: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    present.sort_by(f64::total_cmp);
    let upper = present.get(present.len() / 2).copied().unwrap_or(0.0);
    let lower = present.get(present.len().saturating_sub(1) / 2).copied().unwrap_or(0.0);
    lower / 2.0 + upper / 2.0
}

fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
    let usable = mean.is_finite() && deviation.is_normal() && deviation > mean.abs() * 1e-12;
    if usable { (mean, deviation) } else { (if mean.is_finite() { mean } else { 0.0 }, 1.0) }
}

fn category_step(settings: &PreprocessorSettings, values: &[Option<&str>]) -> Step {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for category in values.iter().flatten() {
        *counts.entry(category).or_default() += 1;
    }
    let mut ranked: Vec<(&str, usize)> = counts.into_iter().collect();
    ranked.sort_by_key(|&(category, count)| (Reverse(count), category));
    ranked.truncate(settings.categories_max);
    let categories = ranked.into_iter().map(|(category, _)| category.to_owned()).collect();
    match settings.encoding {
        CategoryEncoding::Ordinal => Step::Ordinal { categories },
        CategoryEncoding::OneHot => Step::OneHot { categories, indicator: values.contains(&None) },
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
    fn constant_and_empty_columns_stay_finite() {
        let settings = PreprocessorSettings::for_networks();
        for column in [vec![Some(1e300), Some(1e300)], vec![None, None], vec![Some(f64::MAX), Some(f64::MIN)]] {
            let train = batch(column, vec![None, None]);
            let matrix = fit(&settings, train.clone()).transform(&train).unwrap();
            assert!((0..2).all(|row| matrix.row(row).iter().all(|value| value.is_finite())));
        }
    }

    #[test]
    fn json_round_trips() {
        let train = batch(vec![Some(0.1), None], vec![Some("a"), None]);
        let preprocessor = fit(&PreprocessorSettings::for_networks(), train);
        let json = serde_json::to_string(&preprocessor).unwrap();
        assert_eq!(serde_json::from_str::<Preprocessor>(&json).unwrap(), preprocessor);
    }
}
