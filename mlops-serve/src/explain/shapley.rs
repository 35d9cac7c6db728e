//! Shapley values of any model on rows, over a background.

use arrow_array::RecordBatch;
use mlops_core::{Error, Model, Result};
use serde::{Deserialize, Serialize};

use super::{Explainer, Explanation, coalition::Plan, game::Game};

/// Most rows of a background.
const BACKGROUND_MAX: usize = 10_000;

/// Bounds of a [`ShapleyExplainer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShapleySettings {
    /// Most rows that the model predicts to explain one. While all subsets of the features, each over the whole background,
    /// fit in, values are exact; else they are estimated from as many random orders as fit in.
    pub evaluations_max: usize,
    /// Most rows that are explained at a time.
    pub rows_max: usize,
    /// What the random orders come from. The same seed gives the same values.
    pub seed: u64,
}

impl Default for ShapleySettings {
    fn default() -> Self {
        Self { evaluations_max: 1 << 16, rows_max: 64, seed: 0 }
    }
}

/// Explains any model on rows by Shapley values: each feature's mean contribution over all orders in which features
/// become known, where unknown ones are taken from the rows of a background.
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::{DataType, Signature, TensorSpec, arrow_array::{ArrayRef, Float64Array, RecordBatch, cast::AsArray, record_batch, types::Float64Type}};
/// use mlops_serve::{ClosureModel, Explainer, ShapleyExplainer, ShapleySettings};
///
/// let column = |name: &str| TensorSpec::column(name, DataType::Float64);
/// let signature = Signature::new([column("a"), column("b")], [column("y")])?;
/// let model = ClosureModel::new(signature, |batch: &RecordBatch| {
///     let (a, b) = (batch["a"].as_primitive::<Float64Type>(), batch["b"].as_primitive::<Float64Type>());
///     let y = a.values().iter().zip(b.values()).map(|(a, b)| 3.0 * a - b);
///     Ok(RecordBatch::try_from_iter([("y", Arc::new(Float64Array::from_iter_values(y)) as ArrayRef)])?)
/// });
/// let background = record_batch!(("a", Float64, [0.0, 2.0]), ("b", Float64, [0.0, 0.0]))?;
/// let explainer = ShapleyExplainer::new(background, ShapleySettings::default())?;
/// let rows = record_batch!(("a", Float64, [5.0]), ("b", Float64, [1.0]))?;
/// let explanation = explainer.explain(&model, &rows, &|| false)?;
/// assert_eq!((explanation.base_values[0], explanation.of(0, 0).unwrap()), (3.0, [12.0, -1.0].as_slice()));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug)]
pub struct ShapleyExplainer {
    background: RecordBatch,
    output: Option<String>,
    settings: ShapleySettings,
}

impl ShapleyExplainer {
    /// Explains over `background`, typical rows with all inputs of the model; some tens to hundreds are enough.
    ///
    /// # Errors
    /// `InvalidArgument` for a background without rows or with more than 10,000, and for bounds that are 0.
    pub fn new(background: RecordBatch, settings: ShapleySettings) -> Result<Self> {
        let rows = background.num_rows();
        if !(1..=BACKGROUND_MAX).contains(&rows) || settings.evaluations_max == 0 || settings.rows_max == 0 {
            return Err(Error::invalid_argument(format!(
                "an explainer needs bounds above 0 and a background of 1 to {BACKGROUND_MAX} rows, found {rows} rows and \
                 {settings:?}"
            )));
        }
        Ok(Self { background, output: None, settings })
    }

    /// Explains this output, instead of all that are floating-point numbers.
    #[must_use]
    pub fn with_output(mut self, output: impl Into<String>) -> Self {
        self.output = Some(output.into());
        self
    }

    fn plan(&self, features: usize) -> Result<Plan> {
        let coalitions_max = self.settings.evaluations_max / self.background.num_rows();
        Plan::new(features, coalitions_max, self.settings.seed).ok_or_else(|| {
            let (found, needed) = (self.settings.evaluations_max, 2 * (features - 1) * self.background.num_rows());
            Error::failed_precondition(format!(
                "explaining {features} features over this background takes {needed} evaluations, evaluations_max is {found}"
            ))
        })
    }
}

impl Explainer for ShapleyExplainer {
    fn explain(&self, model: &dyn Model, inputs: &RecordBatch, given_up: &dyn Fn() -> bool) -> Result<Explanation> {
        let (rows, rows_max) = (inputs.num_rows(), self.settings.rows_max);
        if rows > rows_max {
            return Err(Error::invalid_argument(format!("{rows} rows are to be explained; at most {rows_max} are")));
        }
        let game = Game::new(model, &self.background, self.output.as_deref(), given_up)?;
        let (features, targets) = (game.features.len(), game.targets.len());
        let plan = self.plan(features)?;
        let (base_values, predictions) = (game.said_of_none()?, game.said_of_all(inputs)?);
        let mut attributions = Vec::with_capacity(rows * targets * features);
        for (row, predicted) in predictions.chunks(targets).enumerate() {
            let said = game.said_of_some(&inputs.slice(row, 1), &plan.coalitions)?;
            for (target, (none, all)) in base_values.iter().zip(predicted).enumerate() {
                let of_target: Vec<f64> = said.iter().skip(target).step_by(targets).copied().collect();
                attributions.extend(plan.values(features, *none, *all, &of_target));
            }
        }
        let Game { features, targets, .. } = game;
        Ok(Explanation { targets, features, base_values, predictions, attributions })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use arrow_array::{
        ArrayRef, FixedSizeListArray, Float32Array, Float64Array, StringArray, cast::AsArray as _, types::*,
    };
    use arrow_schema::{DataType as ArrowType, Field};
    use mlops_core::{DataType, ErrorKind, Signature, TensorSpec};

    use super::*;
    use crate::model::ClosureModel;

    fn matrix(values: &[f32], width: i32) -> ArrayRef {
        let field = Arc::new(Field::new_list_field(ArrowType::Float32, true));
        Arc::new(FixedSizeListArray::new(field, width, Arc::new(Float32Array::from(values.to_vec())), None))
    }

    /// `y = 2 X0 - 3 X1 + X0 X2 + (5 when kind is "b")`, and `z = X1` as two elements, X1 and 2 X1.
    fn model() -> ClosureModel<impl Fn(&RecordBatch) -> Result<RecordBatch>> {
        let inputs = [TensorSpec::column("kind", DataType::String), TensorSpec::tensor("X", DataType::Float32, [3])];
        let outputs = [
            TensorSpec::column("label", DataType::Int64),
            TensorSpec::column("y", DataType::Float64),
            TensorSpec::tensor("z", DataType::Float32, [2]),
        ];
        ClosureModel::new(Signature::new(inputs, outputs).unwrap(), |batch: &RecordBatch| {
            let kinds = batch["kind"].as_string::<i32>();
            let x = batch["X"].as_fixed_size_list().values().as_primitive::<Float32Type>();
            let rows = || x.values().chunks(3).map(|x| [x[0], x[1], x[2]]);
            let y = rows().zip(kinds).map(|(x, kind)| {
                let [a, b, c] = x.map(f64::from);
                2.0 * a - 3.0 * b + a * c + if kind == Some("b") { 5.0 } else { 0.0 }
            });
            let y: ArrayRef = Arc::new(Float64Array::from_iter_values(y));
            let z = rows().flat_map(|x| [x[1], 2.0 * x[1]]).collect::<Vec<_>>();
            let label: ArrayRef = Arc::new(arrow_array::Int64Array::from(vec![1; batch.num_rows()]));
            Ok(RecordBatch::try_from_iter([("label", label), ("y", y), ("z", matrix(&z, 2))])?)
        })
    }

    fn rows(kinds: &[&str], x: &[f32]) -> RecordBatch {
        let kinds: ArrayRef = Arc::new(StringArray::from(kinds.to_vec()));
        RecordBatch::try_from_iter([("X", matrix(x, 3)), ("kind", kinds)]).unwrap()
    }

    fn background() -> RecordBatch {
        rows(&["a", "b", "a", "a"], &[1.0, 2.0, 0.5, -1.0, 0.0, 2.0, 0.25, 4.0, -3.0, 2.0, 1.0, 1.0])
    }

    fn close(found: &[f64], expected: &[f64], tolerance: f64) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= tolerance, "{found} {expected}");
        }
    }

    #[test]
    fn values_are_those_of_shap() {
        let explainer = ShapleyExplainer::new(background(), ShapleySettings::default()).unwrap();
        let x = rows(&["b", "a"], &[3.0, -1.0, 4.0, 0.5, 0.5, 0.5]);
        let signature = model().signature().clone();
        let inputs = signature.project_inputs(&x).unwrap();
        let explanation = explainer.explain(&model(), &inputs, &|| false).unwrap();
        assert_eq!(explanation.targets, ["y", "z[0]", "z[1]"]);
        assert_eq!(explanation.features, ["kind", "X[0]", "X[1]", "X[2]"]);
        // shap 0.51.0, shap.explainers.Exact with maskers.Independent over the same background.
        close(explanation.of(0, 0).unwrap(), &[3.75, 9.96875, 8.25, 6.96875], 1e-12);
        close(explanation.of(1, 0).unwrap(), &[-1.25, -0.078125, 3.75, 0.265625], 1e-12);
        close(explanation.of(0, 2).unwrap(), &[0.0, 0.0, -5.5, 0.0], 1e-12);
        close(&explanation.base_values, &[-2.9375, 1.75, 3.5], 1e-12);
        assert!(explanation.of(2, 0).is_none() && explanation.of(0, 3).is_none());
        for row in 0..2 {
            for target in 0..3 {
                let sum: f64 = explanation.of(row, target).unwrap().iter().sum();
                let gap = explanation.predictions[row * 3 + target] - explanation.base_values[target];
                assert!((sum - gap).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_sum_is_explained_exactly_by_few_orders_within_the_bound() {
        let width = 30;
        let (calls, spec) = (Arc::new(AtomicUsize::new(0)), TensorSpec::tensor("X", DataType::Float32, [width]));
        let counted = Arc::clone(&calls);
        let weight = |feature: usize| f64::from(u8::try_from(feature).unwrap()) - 7.0;
        let signature = Signature::new([spec], [TensorSpec::column("y", DataType::Float64)]).unwrap();
        let model = ClosureModel::new(signature, move |batch: &RecordBatch| {
            counted.fetch_add(batch.num_rows(), Ordering::Relaxed);
            let x = batch["X"].as_fixed_size_list().values().as_primitive::<Float32Type>();
            let y =
                x.values().chunks(width).map(|x| x.iter().enumerate().map(|(i, x)| weight(i) * f64::from(*x)).sum());
            Ok(RecordBatch::try_from_iter([(
                "y",
                Arc::new(Float64Array::from_iter_values::<Vec<f64>>(y.collect())) as ArrayRef,
            )])?)
        });
        let of = |rows: usize, at: fn(usize) -> f32| {
            let values: Vec<f32> = (0..rows * width).map(at).collect();
            RecordBatch::try_from_iter([("X", matrix(&values, width as i32))]).unwrap()
        };
        let (background, row) = (of(5, |i| (i % 7) as f32), of(1, |i| i as f32 * 0.5));
        let settings = ShapleySettings { evaluations_max: 1_000, seed: 3, ..ShapleySettings::default() };
        let explainer = ShapleyExplainer::new(background.clone(), settings).unwrap();
        let explanation = explainer.explain(&model, &row, &|| false).unwrap();
        let mean = |feature: usize| (0..5).map(|row| ((row * width + feature) % 7) as f64).sum::<f64>() / 5.0;
        let expected: Vec<f64> = (0..width).map(|i| weight(i) * (i as f64 * 0.5 - mean(i))).collect();
        close(explanation.of(0, 0).unwrap(), &expected, 1e-9);
        assert!(calls.load(Ordering::Relaxed) <= 1_000 + 5 + 1, "coalitions, background, row");

        let explained = |settings, rows: &RecordBatch, given_up: bool| {
            let explainer = ShapleyExplainer::new(background.clone(), settings).unwrap();
            explainer.explain(&model, rows, &|| given_up).unwrap_err().kind()
        };
        let few = ShapleySettings { evaluations_max: 289, ..ShapleySettings::default() };
        assert_eq!(explained(few, &row, false), ErrorKind::FailedPrecondition);
        let one = ShapleySettings { rows_max: 1, ..ShapleySettings::default() };
        assert_eq!(explained(one, &of(2, |_| 0.0), false), ErrorKind::InvalidArgument);
        assert_eq!(explained(ShapleySettings::default(), &row, true), ErrorKind::Cancelled);
    }

    #[test]
    fn what_cannot_be_explained_is_told() {
        let empty = background().slice(0, 0);
        assert!(ShapleyExplainer::new(empty, ShapleySettings::default()).is_err());
        let x = model().signature().project_inputs(&background()).unwrap();
        let explain = |output: &str, background: RecordBatch| {
            let explainer = ShapleyExplainer::new(background, ShapleySettings::default()).unwrap().with_output(output);
            explainer.explain(&model(), &x, &|| false)
        };
        assert_eq!(explain("label", background()).unwrap().targets, ["label"]);
        assert_eq!(explain("kind", background()).unwrap_err().kind(), ErrorKind::FailedPrecondition);
        let narrow = background().project(&[0]).unwrap();
        assert_eq!(explain("y", narrow).unwrap_err().kind(), ErrorKind::FailedPrecondition);
    }
}
