//! Which columns of predictions and of labels are what.
//!
//! Invariant: a task says how many numbers a row's prediction has, and every label is one number:
//! 0 or 1, a class index, an amount or a relevance.

use mlops_core::{Error, Result};
use mlops_metrics::{Average, CLASSES_MAX, ClassMetric, Measure, Metric, RankKind, RankMetric, RegressionMetric};
use serde::{Deserialize, Serialize};

/// What is predicted, and in which columns of the outputs it is found.
///
/// ```
/// use mlops_monitor::performance::Task;
///
/// let task: Task = serde_json::from_str(r#"{"kind": "binary", "score": "p"}"#)?;
/// assert_eq!(task, Task::binary("p"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
#[non_exhaustive]
pub enum Task {
    /// Labels 0 and 1 (or booleans), one score.
    Binary {
        /// Column of the score.
        score: String,
        /// Rows are called positive from this score on. Default 0.5.
        #[serde(default = "half")]
        threshold: f64,
    },
    /// One class out of several; labels are names of classes or their indices.
    Multiclass {
        /// Names of the classes, 2 to [`CLASSES_MAX`].
        classes: Vec<String>,
        /// Columns of their probabilities, in the same order; empty when only the class is known.
        #[serde(default)]
        probabilities: Vec<String>,
        /// Column of the predicted class, when there are no probabilities.
        #[serde(default)]
        predicted: Option<String>,
    },
    /// A number.
    Regression {
        /// Column of the prediction.
        prediction: String,
    },
    /// A list of items in the rows of one request; labels are relevances of at least 0.
    Ranking {
        /// Column of the score, highest first.
        score: String,
        /// Relevance from which an item is relevant. Default 1.
        #[serde(default = "one")]
        relevant_min: f64,
    },
}

fn half() -> f64 {
    0.5
}

fn one() -> f64 {
    1.0
}

impl Task {
    /// Two classes, called positive from one half on.
    #[must_use]
    pub fn binary(score: impl Into<String>) -> Self {
        Self::Binary { score: score.into(), threshold: half() }
    }

    /// A number.
    #[must_use]
    pub fn regression(prediction: impl Into<String>) -> Self {
        Self::Regression { prediction: prediction.into() }
    }

    /// The metrics that are watched when none are named.
    #[must_use]
    pub fn default_metrics(&self) -> Vec<Measure> {
        let scores = |metrics: &[Metric]| metrics.iter().copied().map(Measure::Score).collect::<Vec<_>>();
        match self {
            Self::Binary { .. } => {
                scores(&[Metric::RocAuc, Metric::LogLoss, Metric::Precision, Metric::Recall, Metric::F1])
            }
            Self::Multiclass { probabilities, .. } => {
                let mut metrics = scores(&[Metric::Accuracy, Metric::BalancedAccuracy]);
                metrics.push(Measure::Class(ClassMetric::F1(Average::Macro)));
                if !probabilities.is_empty() {
                    metrics.push(Measure::Score(Metric::LogLoss));
                }
                metrics
            }
            Self::Regression { .. } => {
                let mut metrics = scores(&[Metric::Mae, Metric::Rmse, Metric::R2]);
                metrics.push(Measure::Number(RegressionMetric::Bias));
                metrics
            }
            Self::Ranking { .. } => {
                let at = |kind| Measure::Rank(RankMetric { kind, at: Some(10) });
                vec![at(RankKind::Ndcg), at(RankKind::Mrr)]
            }
        }
    }

    /// Whether a metric can be computed for it.
    #[must_use]
    pub fn takes(&self, measure: Measure) -> bool {
        match (self, measure) {
            (Self::Binary { .. }, Measure::Score(metric)) => metric.is_classification(),
            (Self::Binary { .. }, Measure::Ece { .. })
            | (Self::Multiclass { .. }, Measure::Class(_))
            | (Self::Regression { .. }, Measure::Number(_))
            | (Self::Ranking { .. }, Measure::Rank(_)) => true,
            (Self::Multiclass { .. }, Measure::Score(metric)) => {
                matches!(metric, Metric::Accuracy | Metric::BalancedAccuracy | Metric::Mcc | Metric::LogLoss)
            }
            (Self::Regression { .. }, Measure::Score(metric)) => !metric.is_classification(),
            _ => false,
        }
    }

    /// Numbers of a row's prediction.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Multiclass { probabilities, .. } => probabilities.len().max(1),
            _ => 1,
        }
    }

    /// Classes that can be counted in a matrix; none for numbers and lists.
    pub(crate) fn classes(&self) -> Option<usize> {
        match self {
            Self::Binary { .. } => Some(2),
            Self::Multiclass { classes, .. } => Some(classes.len()),
            Self::Regression { .. } | Self::Ranking { .. } => None,
        }
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        match self {
            Self::Binary { threshold, .. } if !threshold.is_finite() => {
                faults.push(format!("threshold must be finite, found {threshold}"));
            }
            Self::Ranking { relevant_min, .. } if !relevant_min.is_finite() => {
                faults.push(format!("relevant_min must be finite, found {relevant_min}"));
            }
            Self::Multiclass { classes, probabilities, predicted } => {
                if !(2..=CLASSES_MAX).contains(&classes.len()) {
                    faults.push(format!("a task needs 2 to {CLASSES_MAX} classes, found {}", classes.len()));
                }
                match (probabilities.len(), predicted) {
                    (0, Some(_)) => {}
                    (count, None) if count == classes.len() => {}
                    _ => faults.push(
                        "a task of several classes needs one column of probabilities a class, or else a predicted column"
                            .to_owned(),
                    ),
                }
            }
            _ => {}
        }
        faults
    }
}

/// Columns of a batch of labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LabelColumns {
    /// Id of the request; text or integers. Default `request_id`.
    pub request_id: String,
    /// Row within the request, an integer; a batch without this column is about rows 0. Default
    /// `row`.
    pub row: String,
    /// What happened. Default `label`.
    pub label: String,
    /// When it was known: a timestamp or microseconds since 1970; without this column, the time at
    /// which the batch is handed in. Of two labels the later one wins. Default `labeled_at`.
    pub labeled_at: String,
}

impl Default for LabelColumns {
    fn default() -> Self {
        let own = str::to_owned;
        Self { request_id: own("request_id"), row: own("row"), label: own("label"), labeled_at: own("labeled_at") }
    }
}

/// What is kept of a prediction until its label comes, and where it is found.
///
/// ```
/// use mlops_monitor::performance::{RowColumns, Task};
///
/// let columns = RowColumns::new(Task::binary("p")).with_kept(["country", "age"]);
/// assert!(columns.validate().is_ok());
/// assert!(RowColumns::new(Task::binary("p")).with_kept(["age", "age"]).validate().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowColumns {
    /// The task with its columns.
    pub task: Task,
    /// Columns of inputs or outputs that reports need: segments, protected attributes, values.
    #[serde(default)]
    pub kept: Vec<String>,
    /// Columns of labels.
    #[serde(default)]
    pub labels: LabelColumns,
}

impl RowColumns {
    /// For a task, keeping nothing else, labels in columns of the default names.
    #[must_use]
    pub fn new(task: Task) -> Self {
        Self { task, kept: Vec::new(), labels: LabelColumns::default() }
    }

    /// Keeps columns.
    #[must_use]
    pub fn with_kept(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.kept = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Checks the task and that no kept column is named twice.
    ///
    /// # Errors
    /// `InvalidArgument` naming all that is wrong.
    pub fn validate(&self) -> Result<()> {
        let mut faults = self.task.faults();
        let twice =
            self.kept.iter().enumerate().filter(|(i, name)| self.kept.iter().take(*i).any(|other| other == *name));
        faults.extend(twice.map(|(_, name)| format!("column {name:?} is kept twice")));
        refuse("performance columns", &faults)
    }
}

/// One error for all faults.
pub(crate) fn refuse(what: &str, faults: &[String]) -> Result<()> {
    if faults.is_empty() {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("{what}: {}", faults.join("; "))))
}
