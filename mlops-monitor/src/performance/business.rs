//! What predictions are worth and what they cost: settings and the value of a row.
//!
//! Invariant: every number is in one currency, and a value is that of the decision a prediction led
//! to, given what happened. Costs come in as plain numbers; nobody is asked for prices here.

use mlops_core::{Error, Result};
use mlops_metrics::ConfusionMatrix;
use serde::{Deserialize, Serialize};

use super::{
    columns::Task,
    rows::{Cell, LabeledRows, index},
    uplift::HoldoutSettings,
};

/// Values of the four outcomes of two classes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinaryValues {
    /// A positive called so, such as a fraud stopped.
    pub true_positive: f64,
    /// A negative called positive, such as a good customer turned away.
    pub false_positive: f64,
    /// A positive missed.
    pub false_negative: f64,
    /// A negative called so.
    pub true_negative: f64,
}

/// The value of each true class (row) called each class (column).
///
/// ```
/// use mlops_metrics::ConfusionMatrix;
/// use mlops_monitor::performance::{BinaryValues, ValueMatrix};
///
/// let values = ValueMatrix::from(BinaryValues {
///     true_positive: 100.0,
///     false_positive: -5.0,
///     false_negative: -100.0,
///     true_negative: 0.0,
/// });
/// let outcomes = ConfusionMatrix::from_classes(2, &[1, 1, 0, 0], &[1, 0, 1, 0])?;
/// assert_eq!(values.total(&outcomes)?, -5.0);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ValueMatrix {
    values: Vec<Vec<f64>>,
}

impl From<BinaryValues> for ValueMatrix {
    fn from(values: BinaryValues) -> Self {
        let BinaryValues { true_positive, false_positive, false_negative, true_negative } = values;
        Self { values: vec![vec![true_negative, false_positive], vec![false_negative, true_positive]] }
    }
}

impl ValueMatrix {
    /// For several classes, row by row.
    ///
    /// # Errors
    /// `InvalidArgument` unless it has as many finite columns as rows, at least two.
    pub fn new(values: Vec<Vec<f64>>) -> Result<Self> {
        let matrix = Self { values };
        match matrix.fault(matrix.values.len()) {
            Some(fault) => Err(Error::invalid_argument(fault)),
            None => Ok(matrix),
        }
    }

    fn fault(&self, classes: usize) -> Option<String> {
        let square = self.values.len() == classes && classes > 1 && self.values.iter().all(|row| row.len() == classes);
        if square && self.values.iter().flatten().all(|value| value.is_finite()) {
            return None;
        }
        Some(format!("a value matrix needs {} rows and columns of finite values", classes.max(2)))
    }

    /// The value of one row; zero for classes there are not.
    #[must_use]
    pub fn value(&self, label: usize, called: usize) -> f64 {
        self.values.get(label).and_then(|row| row.get(called)).copied().unwrap_or(0.0)
    }

    /// The value of counted outcomes.
    ///
    /// # Errors
    /// `InvalidArgument` when the numbers of classes differ.
    pub fn total(&self, outcomes: &ConfusionMatrix) -> Result<f64> {
        let classes = self.values.len();
        if outcomes.classes() != classes {
            return Err(Error::invalid_argument(format!(
                "a value matrix of {classes} classes cannot value outcomes of {}",
                outcomes.classes()
            )));
        }
        let cells = (0..classes).flat_map(|label| (0..classes).map(move |called| (label, called)));
        Ok(cells.map(|(label, called)| outcomes.cell(label, called) * self.value(label, called)).sum())
    }
}

/// Where the value of a row comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueSource {
    /// From the class and what the model called it.
    Matrix(ValueMatrix),
    /// A kept column with the value itself; rows without a number are left out.
    Column(String),
}

/// What would be done without the model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BaselinePolicy {
    /// Every row is called this class; valued by the matrix.
    Class(usize),
    /// Every row is worth so much.
    ValuePerRow(f64),
}

/// What a window cost to run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunCost {
    /// Of each prediction: compute, licenses.
    pub per_prediction: f64,
    /// Of each label: reviewers, surveys.
    pub per_label: f64,
    /// Of each day: machines that stand ready, training spread over its use, people.
    pub per_day: f64,
}

impl RunCost {
    pub(crate) fn of(&self, predictions: f64, labels: f64, days: f64) -> f64 {
        self.per_prediction * predictions + self.per_label * labels + self.per_day * days
    }
}

/// How a window is valued.
///
/// ```
/// use mlops_monitor::performance::{BaselinePolicy, BusinessSettings, ValueSource};
///
/// let settings = BusinessSettings::new(ValueSource::Column("margin".into()), BaselinePolicy::ValuePerRow(0.4));
/// assert_eq!(settings.currency, "EUR");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusinessSettings {
    /// The value of a row.
    pub value: ValueSource,
    /// What it is compared with.
    pub baseline: BaselinePolicy,
    /// Costs of running.
    #[serde(default)]
    pub cost: RunCost,
    /// Name of the currency in reports. Default `EUR`.
    #[serde(default = "euro")]
    pub currency: String,
    /// A share of traffic that is treated without the model, when there is one.
    #[serde(default)]
    pub holdout: Option<HoldoutSettings>,
}

fn euro() -> String {
    "EUR".to_owned()
}

impl BusinessSettings {
    /// Without costs and holdout, in euros.
    #[must_use]
    pub fn new(value: ValueSource, baseline: BaselinePolicy) -> Self {
        Self { value, baseline, cost: RunCost::default(), currency: euro(), holdout: None }
    }

    /// Sets the costs.
    #[must_use]
    pub fn with_cost(mut self, cost: RunCost) -> Self {
        self.cost = cost;
        self
    }

    /// Sets the holdout.
    #[must_use]
    pub fn with_holdout(mut self, holdout: HoldoutSettings) -> Self {
        self.holdout = Some(holdout);
        self
    }

    pub(crate) fn column(&self) -> Option<&String> {
        match &self.value {
            ValueSource::Column(column) => Some(column),
            ValueSource::Matrix(_) => None,
        }
    }

    pub(crate) fn faults(&self, task: &Task) -> Vec<String> {
        let mut faults = Vec::new();
        match (&self.value, task.classes()) {
            (ValueSource::Matrix(_), None) => faults.push("a value matrix needs a task with classes".to_owned()),
            (ValueSource::Matrix(matrix), Some(classes)) => faults.extend(matrix.fault(classes)),
            (ValueSource::Column(_), _) => {}
        }
        match self.baseline {
            BaselinePolicy::Class(class) if self.column().is_some() || task.classes().is_none_or(|k| class >= k) => {
                faults.push(format!("baseline class {class} needs a value matrix that has it"));
            }
            BaselinePolicy::ValuePerRow(value) if !value.is_finite() => {
                faults.push(format!("the baseline's value must be finite, found {value}"));
            }
            _ => {}
        }
        let RunCost { per_prediction, per_label, per_day } = self.cost;
        for (name, cost) in [("per_prediction", per_prediction), ("per_label", per_label), ("per_day", per_day)] {
            if !(cost.is_finite() && cost >= 0.0) {
                faults.push(format!("cost.{name} must be finite and at least 0, found {cost}"));
            }
        }
        faults.extend(self.holdout.iter().flat_map(HoldoutSettings::faults));
        faults
    }

    /// Value with the model and without it of every row that has one; rows of the holdout, which
    /// the model did not decide on, count by the matrix as the baseline would have them.
    pub(crate) fn values(&self, task: &Task, rows: &LabeledRows) -> Vec<ValuedRow> {
        let called = rows.outcomes.predicted(task);
        let column = self.column().and_then(|name| rows.column(name));
        let held_out = |row: usize| {
            let variant = rows.variants.get(row);
            self.holdout.as_ref().is_some_and(|holdout| variant.is_some_and(|variant| **variant == *holdout.variant))
        };
        let value = |row: usize| -> Option<ValuedRow> {
            let label = *rows.outcomes.labels.get(row)?;
            let baseline = match (&self.value, self.baseline) {
                (ValueSource::Matrix(matrix), BaselinePolicy::Class(class)) => matrix.value(index(label), class),
                (_, BaselinePolicy::ValuePerRow(value)) => value,
                (ValueSource::Column(_), BaselinePolicy::Class(_)) => return None,
            };
            let held_out = held_out(row);
            let value = match &self.value {
                ValueSource::Matrix(_) if held_out => baseline,
                ValueSource::Matrix(matrix) => matrix.value(index(label), *called.get(row)?),
                ValueSource::Column(_) => match column?.get(row)? {
                    Cell::Number(value) => *value,
                    Cell::Missing | Cell::Level(_) => return None,
                },
            };
            Some(ValuedRow { value, baseline, held_out })
        };
        (0..rows.len()).filter_map(value).collect()
    }
}

/// What a row is worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ValuedRow {
    pub(crate) value: f64,
    pub(crate) baseline: f64,
    pub(crate) held_out: bool,
}
