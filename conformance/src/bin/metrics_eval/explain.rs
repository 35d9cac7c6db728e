//! The `explain` section: contributions, importance and effects of the functions and trees that it
//! describes, over its own rows.
//!
//! What the section leaves unsaid is fixed here as its author had it: the function to explain is
//! `sigmoid(2 x0 - x1 + x2 x3)`, the background is the first `background_rows` rows, curves follow
//! `x0` over 12 values or 8 intervals, and every feature is permuted 50 times.

use std::{fmt, sync::Arc};

use mlops_core::{
    DataType, Error, Model, Result, Signature, TensorSpec,
    arrow_array::{ArrayRef, Float64Array, RecordBatch, cast::AsArray, types::Float64Type},
};
use mlops_train::{
    Matrix, Metric, TableDataset,
    explain::{
        Attribution, Background, DependenceSettings, Differentiable, ExplainContext, Grid, IntegratedGradientsSettings,
        InterventionalTreeShap, KernelSettings, LinearScore, PathDependentTreeShap, PathRule, PermutationImportance,
        ShapleyExplainer, TreeArrays, TreeEnsemble, accumulated_effects, integrated_gradients, linear_shap,
        partial_dependence,
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Computes the section from its inputs: `input` is the section, or a document that has it.
pub(crate) fn section(input: &Value) -> Result<Value> {
    let inputs = Inputs::read(input.get("explain").unwrap_or(input))?;
    let context = ExplainContext::new(0);
    let (background, rows) = (inputs.part(0..inputs.background_rows)?, inputs.part(inputs.rows.clone())?);
    let weights = vec![1.0; background.rows()];

    let logistic = RowFunction::new(inputs.width, Logistic::score)?;
    let shapley = ShapleyExplainer::new(Background::new(batch(&background)?)?);
    let exact = shapley.exact(&logistic, &batch(&rows)?, &context)?;
    let settings = KernelSettings { coalitions_max: 2_000 };
    let kernel = shapley.kernel(&logistic, &batch(&rows)?, &settings, &context)?.attribution;
    let linear = linear_shap(&inputs.linear, &background, &weights, &rows)?;

    let tree = TreeEnsemble::sum(inputs.width, 0.0, std::slice::from_ref(&inputs.tree))?;
    let forest = TreeEnsemble::mean(inputs.width, &inputs.forest)?;
    let path_dependent = PathDependentTreeShap::new(&tree).explain(&rows)?;
    let interventional = InterventionalTreeShap::new(&tree, &background)?.explain(&rows)?;
    let of_forest = PathDependentTreeShap::new(&forest).explain(&rows)?;

    let way = IntegratedGradientsSettings { rule: PathRule::Midpoint, steps: inputs.steps };
    let gradients = integrated_gradients(&Logistic(inputs.width), &inputs.baseline, &rows, &way, &context)?;
    Ok(json!({
        "exact_shapley": { "phi": phi(&exact), "base": exact.base_value },
        "kernel_shap_2000": { "phi": phi(&kernel), "base": kernel.base_value },
        "linear_shapley": phi(&linear),
        "tree_shap_path_dependent": { "phi": phi(&path_dependent), "base": path_dependent.base_value },
        "tree_shap_interventional": { "phi": phi(&interventional), "base": interventional.base_value },
        "forest_shap_path_dependent": { "phi": phi(&of_forest), "base": of_forest.base_value },
        "forest_pred_rows": of_forest.predictions,
        "mdi_importance": forest.impurity_importance(),
        "permutation_importance_r2": permutation(&inputs, &forest, &context)?,
        "pdp_feature0": partial(&inputs, &forest, &context)?,
        "ale_feature0": accumulated(&inputs, &forest, &context)?,
        "integrated_gradients": {
            "attr": phi(&gradients.attribution), "completeness_error": gradients.convergence_deltas,
        },
    }))
}

fn permutation(inputs: &Inputs, forest: &TreeEnsemble, context: &ExplainContext) -> Result<Value> {
    let mut columns = columns(&inputs.x);
    columns.push(("y".to_owned(), Arc::new(Float64Array::from(inputs.y.clone()))));
    let data = TableDataset::regression(RecordBatch::try_from_iter(columns)?, "y").build()?;
    let importance = PermutationImportance::new(Metric::R2).with_repeats(50);
    let found = importance.measure(&model_of(forest)?, &data, context)?;
    Ok(json!({ "base": found.baseline, "mean": found.means, "std": found.deviations }))
}

fn partial(inputs: &Inputs, forest: &TreeEnsemble, context: &ExplainContext) -> Result<Value> {
    let settings = DependenceSettings { places: 12, individual_rows_max: 5, ..DependenceSettings::default() };
    let found = partial_dependence(&model_of(forest)?, &batch(&inputs.x)?, "x0", &settings, context)?;
    let Grid::Numbers(grid) = &found.grid else {
        return Err(Error::internal("a column of numbers has a grid of levels"));
    };
    Ok(json!({ "grid": grid, "average": found.average, "ice_rows_0_5": found.individual }))
}

fn accumulated(inputs: &Inputs, forest: &TreeEnsemble, context: &ExplainContext) -> Result<Value> {
    let settings = DependenceSettings { places: 8, ..DependenceSettings::default() };
    let found = accumulated_effects(&model_of(forest)?, &batch(&inputs.x)?, "x0", &settings, context)?;
    Ok(json!({ "edges": found.edges, "values": found.values }))
}

/// What the section gives.
struct Inputs {
    width: usize,
    x: Matrix,
    y: Vec<f64>,
    background_rows: usize,
    rows: std::ops::Range<usize>,
    linear: LinearScore,
    tree: TreeArrays,
    forest: Vec<TreeArrays>,
    baseline: Vec<f64>,
    steps: usize,
}

impl Inputs {
    fn read(section: &Value) -> Result<Self> {
        let x: Vec<Vec<f64>> = field(section, "/X")?;
        let width = x.first().map_or(0, Vec::len);
        if x.iter().any(|row| row.len() != width) {
            return Err(Error::invalid_argument(format!("rows of X must all have {width} numbers")));
        }
        let [from, to]: [usize; 2] = field(section, "/rows")?;
        Ok(Self {
            width,
            x: Matrix::new(width, x.concat())?,
            y: field(section, "/y")?,
            background_rows: field(section, "/background_rows")?,
            rows: from..to,
            linear: LinearScore {
                weights: field(section, "/linear_fn/w")?,
                intercept: field(section, "/linear_fn/b")?,
            },
            tree: field(section, "/tree")?,
            forest: field(section, "/forest")?,
            baseline: field(section, "/integrated_gradients/baseline")?,
            steps: field(section, "/integrated_gradients/steps_midpoint")?,
        })
    }

    fn part(&self, rows: std::ops::Range<usize>) -> Result<Matrix> {
        if rows.start > rows.end || rows.end > self.x.rows() {
            return Err(Error::invalid_argument(format!("rows {rows:?} are not among the {} of X", self.x.rows())));
        }
        Matrix::new(self.width, rows.flat_map(|row| self.x.row(row).to_vec()).collect())
    }
}

fn field<T: DeserializeOwned>(section: &Value, path: &str) -> Result<T> {
    let value = section.pointer(path).cloned().unwrap_or(Value::Null);
    serde_json::from_value(value)
        .map_err(|error| Error::invalid_argument(format!("section explain: {path} cannot be read")).with_source(error))
}

fn phi(attribution: &Attribution) -> Vec<&[f64]> {
    attribution.iter().collect()
}

fn columns(rows: &Matrix) -> Vec<(String, ArrayRef)> {
    let column = |index| Arc::new(Float64Array::from_iter_values(rows.column(index))) as ArrayRef;
    (0..rows.columns()).map(|index| (format!("x{index}"), column(index))).collect()
}

fn batch(rows: &Matrix) -> Result<RecordBatch> {
    Ok(RecordBatch::try_from_iter(columns(rows))?)
}

/// A function of the numbers of a row as a model of columns `x0`, `x1`...
struct RowFunction<F> {
    signature: Signature,
    function: F,
}

impl<F: Fn(&[f64]) -> f64> RowFunction<F> {
    fn new(width: usize, function: F) -> Result<Self> {
        let column = |index| TensorSpec::column(format!("x{index}"), DataType::Float64);
        let output = [TensorSpec::column("score", DataType::Float64)];
        Ok(Self { signature: Signature::new((0..width).map(column), output)?, function })
    }
}

impl<F> fmt::Debug for RowFunction<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowFunction").field("signature", &self.signature).finish_non_exhaustive()
    }
}

impl<F: Fn(&[f64]) -> f64 + Send + Sync + 'static> Model for RowFunction<F> {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn predict(&self, inputs: &RecordBatch) -> Result<RecordBatch> {
        let inputs = self.signature.project_inputs(inputs)?;
        let columns: Vec<&[f64]> =
            inputs.columns().iter().map(|column| &**column.as_primitive::<Float64Type>().values()).collect();
        let row = |row: usize| columns.iter().filter_map(|column| column.get(row).copied()).collect::<Vec<f64>>();
        let scores = Float64Array::from_iter_values((0..inputs.num_rows()).map(|index| (self.function)(&row(index))));
        Ok(RecordBatch::try_from_iter([("score", Arc::new(scores) as ArrayRef)])?)
    }
}

/// The ensemble as a model of columns `x0`, `x1`...
fn model_of(ensemble: &TreeEnsemble) -> Result<impl Model + use<>> {
    let (width, ensemble) = (ensemble.features(), ensemble.clone());
    RowFunction::new(width, move |row: &[f64]| {
        let scores = Matrix::new(width, row.to_vec()).and_then(|rows| ensemble.predict(&rows));
        scores.ok().and_then(|scores| scores.first().copied()).unwrap_or(f64::NAN)
    })
}

/// `sigmoid(2 x0 - x1 + x2 x3)` of rows of so many numbers.
#[derive(Debug)]
struct Logistic(usize);

impl Logistic {
    fn score(row: &[f64]) -> f64 {
        let x = |index: usize| row.get(index).copied().unwrap_or(0.0);
        1.0 / (1.0 + (-(2.0 * x(0) - x(1) + x(2) * x(3))).exp())
    }
}

impl Differentiable for Logistic {
    fn features(&self) -> Vec<String> {
        (0..self.0).map(|index| format!("x{index}")).collect()
    }

    fn slopes(&self, rows: &Matrix) -> Result<(Vec<f64>, Matrix)> {
        let (mut scores, mut slopes) = (Vec::new(), Vec::new());
        for row in (0..rows.rows()).map(|row| rows.row(row)) {
            let score = Self::score(row);
            let x = |index: usize| row.get(index).copied().unwrap_or(0.0);
            let inner = [2.0, -1.0, x(3), x(2)];
            slopes.extend((0..self.0).map(|index| score * (1.0 - score) * inner.get(index).copied().unwrap_or(0.0)));
            scores.push(score);
        }
        Ok((scores, Matrix::new(self.0, slopes)?))
    }
}
