//! A fitted preprocessor: what happens to each column, as plain data.

use arrow_array::RecordBatch;
use mlops_core::{DataType, Error, Result, TensorSpec};
use serde::{Deserialize, Serialize};

use super::{matrix::Matrix, transform::transform};

/// What happens to one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Step {
    /// Number, `(value or fill - mean) / scale`, then 1 or 0 for missing if `indicator`. Without a
    /// fill a missing number stays missing.
    Number { fill: Option<f64>, mean: f64, scale: f64, indicator: bool },
    /// Position of the category; the number of categories for an unseen one; missing stays missing.
    Ordinal { categories: Vec<String> },
    /// Position of the category, then one code for unseen and rare ones, then one for missing.
    Code { categories: Vec<String> },
    /// A column per category, one for unseen ones, and one for missing if `indicator` (else missing
    /// counts as unseen).
    OneHot { categories: Vec<String>, indicator: bool },
    /// Number as a normal score by quantiles of training rows, which ascend; then as `Number`.
    Quantile { fill: Option<f64>, quantiles: Vec<f64>, indicator: bool },
    /// The mean label of the category, of all rows for an unseen one, and of rows without a value.
    Target { categories: Vec<String>, means: Vec<f64>, prior: f64, missing: f64 },
}

impl Step {
    pub(super) fn width(&self) -> usize {
        match self {
            Self::Number { indicator, .. } | Self::Quantile { indicator, .. } => 1 + usize::from(*indicator),
            Self::Ordinal { .. } | Self::Code { .. } | Self::Target { .. } => 1,
            Self::OneHot { categories, indicator } => categories.len() + 1 + usize::from(*indicator),
        }
    }

    /// The categories it tells apart, none where it is for numbers.
    pub(super) fn categories(&self) -> &[String] {
        match self {
            Self::Number { .. } | Self::Quantile { .. } => &[],
            Self::Ordinal { categories }
            | Self::Code { categories }
            | Self::OneHot { categories, .. }
            | Self::Target { categories, .. } => categories,
        }
    }

    fn check(&self, input: &TensorSpec) -> Result<()> {
        let fits = match self {
            Self::Number { fill, mean, scale, .. } => {
                let finite = mean.is_finite() && scale.is_finite() && *scale != 0.0;
                input.data_type != DataType::String && finite && fill.is_none_or(f64::is_finite)
            }
            Self::Quantile { fill, quantiles, .. } => {
                let ascends = quantiles.len() >= 2 && quantiles.is_sorted() && quantiles.iter().all(|q| q.is_finite());
                input.data_type != DataType::String && ascends && fill.is_none_or(f64::is_finite)
            }
            Self::Target { categories, means, prior, missing } => {
                let finite = means.iter().chain([prior, missing]).all(|mean| mean.is_finite());
                input.data_type == DataType::String && finite && means.len() == categories.len()
            }
            Self::Ordinal { .. } | Self::Code { .. } | Self::OneHot { .. } => input.data_type == DataType::String,
        };
        let usable = !matches!(input.data_type, DataType::Binary | DataType::Timestamp);
        if fits && usable && input.row_shape.is_empty() {
            return Ok(());
        }
        Err(Error::data_loss(format!("preprocessing step of column {:?} does not fit its type", input.name)))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ColumnPlan {
    pub(crate) input: TensorSpec,
    pub(crate) step: Step,
}

/// Columns of a batch into the numbers that a model was trained on.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Float64Array, RecordBatch};
/// use mlops_train::{Preprocessor, PreprocessorSettings, TableDataset};
///
/// let batch = RecordBatch::try_from_iter([
///     ("x", Arc::new(Float64Array::from(vec![Some(1.0), None, Some(3.0)])) as ArrayRef),
///     ("y", Arc::new(Float64Array::from(vec![0.0, 1.0, 2.0])) as ArrayRef),
/// ])?;
/// let data = TableDataset::regression(batch, "y").build()?;
/// let preprocessor = Preprocessor::fit(&PreprocessorSettings::for_networks(), &data)?;
/// let matrix = preprocessor.transform(data.batch())?;
/// assert_eq!(matrix.row(1), [0.0, 1.0]); // the median, standardized, and the missing indicator
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Preprocessor {
    pub(crate) columns: Vec<ColumnPlan>,
}

impl Preprocessor {
    /// Numbers per row after preprocessing.
    #[must_use]
    pub fn width(&self) -> usize {
        self.columns.iter().map(|column| column.step.width()).sum()
    }

    /// The raw columns it reads.
    pub fn inputs(&self) -> impl Iterator<Item = &TensorSpec> {
        self.columns.iter().map(|column| &column.input)
    }

    /// Names of the numbers it gives, such as `age`, `age is missing`, `plan = free`.
    #[must_use]
    pub fn output_names(&self) -> Vec<String> {
        let mut names = Vec::with_capacity(self.width());
        for ColumnPlan { input, step } in &self.columns {
            let name = &input.name;
            let (categories, indicator) = match step {
                Step::Number { indicator, .. } | Step::Quantile { indicator, .. } => (None, *indicator),
                Step::Ordinal { .. } | Step::Code { .. } | Step::Target { .. } => (None, false),
                Step::OneHot { categories, indicator } => (Some(categories), *indicator),
            };
            match categories {
                None => names.push(name.clone()),
                Some(categories) => {
                    names.extend(categories.iter().map(|category| format!("{name} = {category}")));
                    names.push(format!("{name} is unseen"));
                }
            }
            if indicator {
                names.push(format!("{name} is missing"));
            }
        }
        names
    }

    /// For each number it gives, the name of the raw column that it comes of.
    #[must_use]
    pub fn output_columns(&self) -> Vec<&str> {
        let names = self.columns.iter().map(|column| (column.input.name.as_str(), column.step.width()));
        names.flat_map(|(name, width)| std::iter::repeat_n(name, width)).collect()
    }

    /// For each number it gives: how many codes there are, if it is the code of a category
    /// ([`crate::CategoryEncoding::Embedding`]). The last two codes are those of unseen and of missing
    /// categories.
    #[must_use]
    pub fn code_counts(&self) -> Vec<Option<usize>> {
        let of = |step: &Step| match step {
            Step::Code { categories } => vec![Some(categories.len() + 2)],
            other => vec![None; other.width()],
        };
        self.columns.iter().flat_map(|column| of(&column.step)).collect()
    }

    /// Turns every row into numbers. A row's numbers do not depend on other rows.
    ///
    /// # Errors
    /// `InvalidArgument` naming the column that is missing or of another type.
    pub fn transform(&self, batch: &RecordBatch) -> Result<Matrix> {
        transform(&self.columns, self.width(), batch)
    }

    /// Checks a preprocessor that was read from a package.
    ///
    /// # Errors
    /// `DataLoss` naming the column whose step does not fit.
    pub(crate) fn check(&self) -> Result<()> {
        self.columns.iter().try_for_each(|column| column.step.check(&column.input))
    }
}
