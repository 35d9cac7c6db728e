//! Rows to learn from.
//!
//! Invariant: there is at least one row, every feature column exists and has a feature type,
//! labels are finite, weights are finite and not negative. Immutable; [`TableDataset::take`] makes
//! the subsets that validation needs.

use std::{borrow::Cow, sync::Arc};

use arrow_array::{
    Array, ArrayRef, Float64Array, RecordBatch, UInt32Array, cast::AsArray, new_null_array,
    types::TimestampMicrosecondType,
};
use mlops_core::{DataType, Error, Result, Signature, TensorSpec, arrow_schema};
use mlops_metrics::square_unit;

use super::{
    column::{numbers, value_type},
    label::{self, Labels, Task},
    roles::{Roles, role_methods},
};

/// Feature columns that one dataset may have; models address them with sixteen bits.
const FEATURES_MAX: usize = 10_000;

/// Largest label of a row without weight that trainers see.
const UNWEIGHTED_MAX: f64 = 1e100;

/// Features, labels and optionally weights and times of a table.
///
/// Features are numbers, booleans or text; nulls are allowed and mean missing, as do NaN and
/// infinities. Decimals, and columns without any value, become doubles.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
/// use mlops_train::{TableDataset, Task};
///
/// let batch = RecordBatch::try_from_iter([
///     ("age", Arc::new(Float64Array::from(vec![Some(31.0), None, Some(47.0)])) as ArrayRef),
///     ("plan", Arc::new(StringArray::from(vec!["free", "paid", "free"])) as ArrayRef),
///     ("churned", Arc::new(StringArray::from(vec!["no", "yes", "no"])) as ArrayRef),
/// ])?;
/// let data = TableDataset::classification(batch, "churned").with_positive_class("yes").build()?;
/// assert_eq!(data.task(), Task::BinaryClassification);
/// assert_eq!(data.labels(), [0.0, 1.0, 0.0]);
/// assert_eq!(data.features().len(), 2);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct TableDataset {
    task: Task,
    features: Arc<[TensorSpec]>,
    classes: Option<[String; 2]>,
    batch: RecordBatch,
    labels: Vec<f64>,
    labeled: bool,
    weights: Option<Vec<f64>>,
    times_us: Option<Vec<i64>>,
}

/// Collects what makes a [`TableDataset`].
#[derive(Debug, Clone)]
pub struct TableDatasetBuilder {
    task: Task,
    batch: RecordBatch,
    /// None where nothing is to be predicted.
    label: Option<String>,
    positive: Option<String>,
    roles: Roles,
}

impl TableDatasetBuilder {
    fn new(task: Task, batch: RecordBatch, label: Option<String>) -> Self {
        Self { task, batch, label, positive: None, roles: Roles::default() }
    }

    role_methods!();

    /// Names all of these columns at once.
    pub(crate) fn with_roles(self, roles: Roles) -> Self {
        Self { roles, ..self }
    }

    /// Names the class whose probability is predicted; otherwise the later of the two in order.
    #[must_use]
    pub fn with_positive_class(mut self, class: impl Into<String>) -> Self {
        self.positive = Some(class.into());
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// `InvalidArgument` naming the column that is missing, of the wrong type, has nulls where none
    /// are allowed or labels that cannot be learnt; also for no rows or no features.
    pub fn build(self) -> Result<TableDataset> {
        let rows = self.batch.num_rows();
        if rows == 0 || u32::try_from(rows).is_err() {
            return Err(Error::invalid_argument(format!(
                "dataset must have from 1 to {} rows, found {rows}",
                u32::MAX
            )));
        }
        let Labels { values: labels, classes } = match &self.label {
            None => Labels { values: vec![0.0; rows], classes: None },
            Some(name) => {
                let label = self.column("label", name)?;
                match self.task {
                    Task::BinaryClassification => label::classification(name, label, self.positive.as_deref())?,
                    Task::Regression => label::regression(name, label)?,
                }
            }
        };
        let labeled = self.label.is_some();
        let features = self.feature_specs()?;
        let batch = self.feature_batch(&features)?;
        let Roles { weight, time, .. } = &self.roles;
        let weights = weight.as_deref().map(|name| weights(name, self.column("weight", name)?)).transpose()?;
        let times_us = time.as_deref().map(|name| times(name, self.column("time", name)?)).transpose()?;
        Ok(TableDataset {
            task: self.task,
            features: features.into(),
            classes,
            batch,
            labels,
            labeled,
            weights,
            times_us,
        })
    }

    fn column(&self, role: &str, name: &str) -> Result<&ArrayRef> {
        self.batch.column_by_name(name).ok_or_else(|| {
            Error::invalid_argument(format!("{role} column {name:?} is missing from the batch")).with("column", name)
        })
    }

    fn feature_specs(&self) -> Result<Vec<TensorSpec>> {
        let schema = self.batch.schema();
        let columns = schema.fields().iter().map(|field| field.name());
        let names = self.roles.feature_names(self.label.as_ref(), columns);
        if names.is_empty() || names.len() > FEATURES_MAX {
            return Err(Error::invalid_argument(format!(
                "dataset must have from 1 to {FEATURES_MAX} feature columns, found {}",
                names.len()
            )));
        }
        names.iter().map(|name| self.feature_spec(name)).collect()
    }

    fn feature_spec(&self, name: &str) -> Result<TensorSpec> {
        if self.label.as_deref() == Some(name) {
            return Err(Error::invalid_argument(format!("column {name:?} is the label and cannot be a feature too")));
        }
        let found = self.column("feature", name)?.data_type();
        match value_type(found) {
            Ok(data_type) if !matches!(data_type, DataType::Binary | DataType::Timestamp) => {
                Ok(TensorSpec::column(name, data_type).nullable())
            }
            _ => Err(Error::invalid_argument(format!(
                "feature column {name:?} must hold numbers, booleans or text, found {found}; derive such a feature or \
                 leave it out"
            ))
            .with("column", name)),
        }
    }

    fn feature_batch(&self, features: &[TensorSpec]) -> Result<RecordBatch> {
        let mut fields = Vec::with_capacity(features.len());
        let mut columns = Vec::with_capacity(features.len());
        for spec in features {
            let column = match self.column("feature", &spec.name)? {
                empty if *empty.data_type() == arrow_schema::DataType::Null => {
                    new_null_array(&arrow_schema::DataType::Float64, empty.len())
                }
                column => plain(column)?,
            };
            fields.push(arrow_schema::Field::new(&spec.name, column.data_type().clone(), true));
            columns.push(column);
        }
        Signature::new(features.iter().cloned(), [TensorSpec::column("output", DataType::Float64)])?;
        Ok(RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(fields)), columns)?)
    }
}

/// The column with the entries of a dictionary in place and decimals as doubles, so that whatever changes columns meets
/// plain ones.
pub(crate) fn plain(column: &ArrayRef) -> Result<ArrayRef> {
    if let Some(dictionary) = column.as_any_dictionary_opt() {
        return plain(&arrow_select::take::take(dictionary.values(), dictionary.keys(), None)?);
    }
    match column.data_type() {
        arrow_schema::DataType::Decimal128(_, _) => {
            let values = numbers("decimals", column)?.into_iter().map(|value| Some(value).filter(|v| !v.is_nan()));
            Ok(Arc::new(values.collect::<Float64Array>()))
        }
        _ => Ok(Arc::clone(column)),
    }
}

fn weights(name: &str, array: &ArrayRef) -> Result<Vec<f64>> {
    let values = numbers(name, array)?;
    let bad = values.iter().filter(|value| value.is_nan() || **value < 0.0).count();
    let sum: f64 = values.iter().sum();
    if bad > 0 || !sum.is_normal() {
        return Err(Error::invalid_argument(format!(
            "weight column {name:?} must hold finite numbers of at least zero with a finite positive sum, found {bad} \
             others and the sum {sum}"
        ))
        .with("column", name));
    }
    Ok(values)
}

fn times(name: &str, array: &ArrayRef) -> Result<Vec<i64>> {
    let Some(values) = array.as_primitive_opt::<TimestampMicrosecondType>() else {
        return Err(Error::invalid_argument(format!(
            "time column {name:?} must be a timestamp in microseconds, found {}",
            array.data_type()
        )));
    };
    match values.null_count() {
        0 => Ok(values.values().to_vec()),
        nulls => {
            Err(Error::invalid_argument(format!("time column {name:?} has {nulls} nulls; every row needs a time")))
        }
    }
}

impl TableDataset {
    /// Rows of two classes: booleans, two numbers or two texts in the label column.
    #[must_use]
    pub fn classification(batch: RecordBatch, label: impl Into<String>) -> TableDatasetBuilder {
        TableDatasetBuilder::new(Task::BinaryClassification, batch, Some(label.into()))
    }

    /// Rows with a number to predict in the label column.
    #[must_use]
    pub fn regression(batch: RecordBatch, label: impl Into<String>) -> TableDatasetBuilder {
        TableDatasetBuilder::new(Task::Regression, batch, Some(label.into()))
    }

    /// Rows of which nothing is to be predicted, for [`crate::AutoencoderTrainer`]. All labels are zero,
    /// and trainers that learn from labels refuse it.
    #[must_use]
    pub fn unlabeled(batch: RecordBatch) -> TableDatasetBuilder {
        TableDatasetBuilder::new(Task::Regression, batch, None)
    }

    /// What kind of label it has.
    #[must_use]
    pub fn task(&self) -> Task {
        self.task
    }

    /// How many rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.labels.len()
    }

    /// The feature columns in order; all nullable.
    #[must_use]
    pub fn features(&self) -> &[TensorSpec] {
        &self.features
    }

    /// The feature columns as a batch, which every model trained on this dataset can predict.
    #[must_use]
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// Labels by row; 0 or 1 in a classification.
    #[must_use]
    pub fn labels(&self) -> &[f64] {
        &self.labels
    }

    /// The negative and the positive class by name; none in a regression.
    #[must_use]
    pub fn classes(&self) -> Option<&[String; 2]> {
        self.classes.as_ref()
    }

    /// Weights by row, if there are any.
    #[must_use]
    pub fn weights(&self) -> Option<&[f64]> {
        self.weights.as_deref()
    }

    /// The weight of one row; 1 without weights.
    #[must_use]
    pub fn weight(&self, row: usize) -> f64 {
        self.weights.as_deref().and_then(|weights| weights.get(row)).copied().unwrap_or(1.0)
    }

    /// Event times by row in microseconds since the epoch, if there are any.
    #[must_use]
    pub fn times_us(&self) -> Option<&[i64]> {
        self.times_us.as_deref()
    }

    /// The signature of models trained on it: the features in, `probability` or `prediction` out.
    ///
    /// # Errors
    /// `InvalidArgument` never in practice; the features were checked when the dataset was built.
    pub fn signature(&self) -> Result<Signature> {
        let output = match self.task {
            Task::BinaryClassification => "probability",
            Task::Regression => "prediction",
        };
        Signature::new(self.features.iter().cloned(), [TensorSpec::column(output, DataType::Float64)])
    }

    /// The rows at `indices`, in that order. The subset may have one class only.
    ///
    /// # Errors
    /// `InvalidArgument` when there are none or an index is out of range.
    pub fn take(&self, indices: &[usize]) -> Result<Self> {
        let rows = self.rows();
        if indices.is_empty() || indices.iter().any(|&index| index >= rows) {
            return Err(Error::invalid_argument(format!("row indices must be below {rows} and at least one")));
        }
        let wanted = UInt32Array::from_iter_values(indices.iter().map(|&index| index as u32));
        Ok(Self {
            task: self.task,
            features: Arc::clone(&self.features),
            classes: self.classes.clone(),
            batch: arrow_select::take::take_record_batch(&self.batch, &wanted)?,
            labels: pick(&self.labels, indices),
            labeled: self.labeled,
            weights: self.weights.as_deref().map(|values| pick(values, indices)),
            times_us: self.times_us.as_deref().map(|values| pick(values, indices)),
        })
    }

    /// Row indices in order of time, ties in row order; the identity without a time column.
    #[must_use]
    pub fn time_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.rows()).collect();
        if let Some(times) = &self.times_us {
            order.sort_by_key(|&row| times.get(row));
        }
        order
    }

    /// The same rows with numbers to be predicted in a unit in which they can be squared, and that unit: one but for
    /// numbers near the ends of the range of doubles. What stands in rows without weight does not count, and is
    /// bounded, for nothing times infinity is no number.
    pub(crate) fn in_unit(&self) -> (Cow<'_, Self>, f64) {
        let counts = |row: usize| self.weight(row) > 0.0;
        let weighted = self.labels.iter().enumerate().filter(|(row, _)| counts(*row));
        let unit = square_unit(weighted.map(|(_, label)| *label));
        let scaled = |(row, label): (usize, &f64)| {
            let label = label / unit;
            if counts(row) { label } else { label.clamp(-UNWEIGHTED_MAX, UNWEIGHTED_MAX) }
        };
        let labels: Vec<f64> = self.labels.iter().enumerate().map(scaled).collect();
        if labels == self.labels {
            return (Cow::Borrowed(self), unit);
        }
        (Cow::Owned(Self { labels, ..self.clone() }), unit)
    }

    /// The weighted variance of numbers to be predicted; one where they are one constant up to rounding, and in a
    /// classification, whose losses have no unit.
    pub(crate) fn label_variance(&self) -> f64 {
        if self.task == Task::BinaryClassification {
            return 1.0;
        }
        let weighted = self.labels.iter().enumerate().map(|(row, &label)| (label, self.weight(row)));
        // A row without weight says nothing, whatever stands in it.
        let weighted: Vec<(f64, f64)> = weighted.filter(|(_, weight)| *weight > 0.0).collect();
        let total: f64 = weighted.iter().map(|(_, weight)| weight).sum();
        let mean: f64 = weighted.iter().map(|(label, weight)| label * (weight / total)).sum();
        let variance: f64 = weighted.iter().map(|(label, weight)| (label - mean).powi(2) * (weight / total)).sum();
        if variance.sqrt() > mean.abs() * 1e-12 { variance } else { 1.0 }
    }

    /// Fails when there are no labels, or a classification has rows of one class only.
    pub(crate) fn check_learnable(&self) -> Result<()> {
        if !self.labeled {
            return Err(Error::invalid_argument(
                "the dataset has no labels to learn from; name a label column, or train an autoencoder",
            ));
        }
        let positive = self.labels.iter().filter(|&&label| label > 0.5).count();
        if self.task == Task::BinaryClassification && (positive == 0 || positive == self.rows()) {
            return Err(Error::invalid_argument(format!(
                "training rows must have both classes, found {positive} positive of {}",
                self.rows()
            )));
        }
        Ok(())
    }
}

fn pick<T: Copy>(values: &[T], indices: &[usize]) -> Vec<T> {
    indices.iter().filter_map(|&index| values.get(index).copied()).collect()
}

#[cfg(test)]
mod tests {
    use arrow_array::{
        BinaryArray, Decimal128Array, Int64Array, NullArray, TimestampMicrosecondArray, types::Float64Type,
    };
    use mlops_core::ErrorKind;

    use super::*;

    fn batch() -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([
            ("x", Arc::new(Float64Array::from(vec![Some(1.0), None, Some(3.0)])) as ArrayRef, true),
            ("y", Arc::new(Int64Array::from(vec![0, 1, 0])) as ArrayRef, true),
            ("w", Arc::new(Float64Array::from(vec![1.0, 0.0, 2.0])) as ArrayRef, true),
            ("t", Arc::new(TimestampMicrosecondArray::from(vec![30, 10, 20])) as ArrayRef, true),
            ("blob", Arc::new(BinaryArray::from(vec![&b"a"[..], b"b", b"c"])) as ArrayRef, true),
        ])
        .unwrap()
    }

    #[test]
    fn columns_play_their_roles() {
        let data = TableDataset::classification(batch(), "y").with_features(["x"]).with_weight("w").with_time("t");
        let data = data.build().unwrap();
        assert_eq!(data.time_order(), [1, 2, 0]);
        assert_eq!(data.weights().unwrap(), [1.0, 0.0, 2.0]);
        assert_eq!(data.classes().unwrap(), &["0", "1"]);
        assert_eq!(data.signature().unwrap().outputs()[0].name, "probability");
        let subset = data.take(&[2, 0]).unwrap();
        assert_eq!(subset.times_us().unwrap(), [20, 30]);
        assert_eq!(subset.labels(), [0.0, 0.0]);
        assert!(subset.check_learnable().is_err());
        assert!(data.take(&[3]).is_err());
    }

    #[test]
    fn dictionaries_are_taken_as_their_entries() {
        use arrow_array::{DictionaryArray, StringArray, types::Int32Type};

        let words = |words: [Option<&'static str>; 3]| {
            Arc::new(words.into_iter().collect::<DictionaryArray<Int32Type>>()) as ArrayRef
        };
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("plan", words([Some("free"), None, Some("paid")]), true),
            ("y", words([Some("no"), Some("yes"), Some("no")]), true),
        ]);
        let data = TableDataset::classification(batch.unwrap(), "y").build().unwrap();
        assert_eq!((data.labels(), data.classes().unwrap()), (&[0.0, 1.0, 0.0][..], &["no".into(), "yes".into()]));
        assert_eq!(data.features()[0].data_type, DataType::String);
        let plain = data.batch().column(0).as_any().downcast_ref::<StringArray>().unwrap();
        assert_eq!(plain.iter().collect::<Vec<_>>(), [Some("free"), None, Some("paid")]);
    }

    #[test]
    fn decimals_and_columns_without_values_are_doubles() {
        let price = Decimal128Array::from(vec![Some(150), None, Some(-25)]).with_precision_and_scale(9, 2).unwrap();
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("price", Arc::new(price) as ArrayRef, true),
            ("nothing", Arc::new(NullArray::new(3)) as ArrayRef, true),
            ("y", Arc::new(Int64Array::from(vec![0, 1, 0])) as ArrayRef, true),
        ]);
        let data = TableDataset::classification(batch.unwrap(), "y").build().unwrap();
        assert!(data.features().iter().all(|spec| spec.data_type == DataType::Float64));
        let doubles =
            |column: usize| data.batch().column(column).as_primitive::<Float64Type>().iter().collect::<Vec<_>>();
        assert_eq!((doubles(0), doubles(1)), (vec![Some(1.5), None, Some(-0.25)], vec![None; 3]));
    }

    #[test]
    fn faults_name_their_column() {
        let check = |builder: TableDatasetBuilder, expected: &str| {
            let error = builder.build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains(expected), "{error}");
        };
        let data = || TableDataset::classification(batch(), "y").with_features(["x"]);
        check(TableDataset::classification(batch(), "z"), "label column \"z\" is missing");
        check(data().with_features(["nope"]), "feature column \"nope\" is missing");
        check(data().with_features(["blob"]), "feature column \"blob\" must hold");
        check(data().with_features(["t"]), "feature column \"t\" must hold");
        check(data().with_features(["y"]), "\"y\" is the label");
        check(data().with_features(["x", "x"]), "\"x\" appears twice");
        check(data().with_features(Vec::<String>::new()), "feature columns, found 0");
        check(data().with_weight("x"), "weight column \"x\"");
        check(data().with_time("x"), "time column \"x\"");
        check(TableDataset::classification(batch().slice(0, 0), "y"), "found 0");
        let unlabeled = TableDataset::unlabeled(batch()).with_features(["x"]).build().unwrap();
        assert_eq!((unlabeled.labels(), unlabeled.rows()), (&[0.0; 3][..], 3));
        assert!(unlabeled.take(&[0]).unwrap().check_learnable().unwrap_err().message().contains("no labels"));
        check(TableDataset::regression(batch(), "x"), "label column \"x\" has 1 nulls");
    }
}
