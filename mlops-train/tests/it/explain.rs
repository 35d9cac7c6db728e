//! Explanations against definitions: enumeration over subsets, bounds, faults.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use mlops_core::{
    DataType, ErrorKind, Model, Result, Signature, TensorSpec, Timestamp,
    arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, cast::AsArray, types::Float64Type},
    testing::{ManualClock, SplitMix64},
};
use mlops_train::{
    BurnSettings, FitContext, GbdtSettings, GbdtTrainer, Matrix, Metric, MlpSettings, MlpTrainer,
    explain::{
        Attribution, Background, DependenceSettings, ExplainContext, FeatureGroups, Grid, IntegratedGradientsSettings,
        InterventionalTreeShap, KernelSettings, PathDependentTreeShap, PermutationImportance, ShapleyExplainer,
        Summary, TreeArrays, TreeEnsemble, accumulated_effects, partial_dependence, plot,
    },
    scores,
};
use proptest::prelude::*;

use crate::common::{xor, xor_batch};

/// A random tree over `features` numbers, grown by coin flips.
fn random_tree(random: &SplitMix64, at: &mut u64, features: usize, depth: usize) -> TreeArrays {
    fn grow(tree: &mut TreeArrays, draw: &mut dyn FnMut() -> f64, features: usize, depth: usize, cover: f64) -> i64 {
        let node = tree.left.len();
        let split = depth > 0 && draw() < 0.85;
        tree.left.push(-1);
        tree.right.push(-1);
        tree.feature.push(if split { (draw() * features as f64) as i64 } else { -1 });
        tree.threshold.push(2.0 * draw() - 1.0);
        tree.value.push(10.0 * draw() - 5.0);
        tree.cover.push(cover);
        tree.missing_left.push(draw() < 0.5);
        if split {
            // Some sides are reached by no row.
            let share = if draw() < 0.1 { 0.0 } else { draw() };
            tree.left[node] = grow(tree, draw, features, depth - 1, cover * share);
            tree.right[node] = grow(tree, draw, features, depth - 1, cover * (1.0 - share));
        }
        node as i64
    }
    let mut draw = || {
        *at += 1;
        random.uniform(*at)
    };
    let mut tree = TreeArrays::default();
    grow(&mut tree, &mut draw, features, depth, 100.0);
    tree
}

fn random_rows(random: &SplitMix64, at: &mut u64, rows: usize, features: usize) -> Matrix {
    let mut value = || {
        *at += 1;
        let draw = random.uniform(*at);
        if draw < 0.05 { f64::NAN } else { 2.0 * random.uniform(*at + (1 << 40)) - 1.0 }
    };
    Matrix::new(features, (0..rows * features).map(|_| value()).collect()).unwrap()
}

/// Shapley values by their definition, given what is said of a set of features.
fn by_definition(features: usize, said: impl Fn(usize) -> f64) -> Vec<f64> {
    let factorial = |n: usize| (1..=n).map(|k| k as f64).product::<f64>();
    let value = |feature: usize| {
        let without = (0..1_usize << features).filter(|bits| (bits >> feature) & 1 == 0);
        let gain = |bits: usize| {
            let s = bits.count_ones() as usize;
            let weight = factorial(s) * factorial(features - s - 1) / factorial(features);
            weight * (said(bits | (1 << feature)) - said(bits))
        };
        without.map(gain).sum()
    };
    (0..features).map(value).collect()
}

/// What a tree says when the features of the bits are known, by covers.
fn conditional(tree: &TreeArrays, node: usize, row: &[f64], known: usize) -> f64 {
    let feature = tree.feature[node];
    if tree.left[node] < 0 {
        return tree.value[node];
    }
    let (left, right) = (tree.left[node] as usize, tree.right[node] as usize);
    let of = |child| conditional(tree, child, row, known);
    if (known >> feature) & 1 == 1 {
        let value = row[feature as usize];
        let goes = if value.is_nan() { tree.missing_left[node] } else { value <= tree.threshold[node] };
        return of(if goes { left } else { right });
    }
    let total = tree.cover[left] + tree.cover[right];
    let share = if total > 0.0 { tree.cover[left] / total } else { 0.5 };
    share * of(left) + (1.0 - share) * of(right)
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= tolerance, "{found} {expected}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn tree_shap_is_the_definition(seed in any::<u64>(), features in 1_usize..8, depth in 0_usize..9, trees in 1_usize..4) {
        let (random, mut at) = (SplitMix64::new(seed), 0);
        let trees: Vec<TreeArrays> = (0..trees).map(|_| random_tree(&random, &mut at, features, depth)).collect();
        let ensemble = TreeEnsemble::sum(features, 0.5, &trees).unwrap();
        let rows = random_rows(&random, &mut at, 3, features);
        let background = random_rows(&random, &mut at, 70, features);
        let weights: Vec<f64> = (0..70).map(|row| if seed.is_multiple_of(2) { 1.0 } else { f64::from(row % 3) }).collect();
        let total: f64 = weights.iter().sum();
        let path = PathDependentTreeShap::new(&ensemble).explain(&rows).unwrap();
        let interventional = InterventionalTreeShap::weighted(&ensemble, &background, &weights).unwrap();
        let interventional = interventional.explain(&rows).unwrap();
        for row in 0..3 {
            let x = rows.row(row);
            let said = |known: usize| 0.5 + trees.iter().map(|tree| conditional(tree, 0, x, known)).sum::<f64>();
            assert_close(path.row(row).unwrap(), &by_definition(features, said), 1e-10);
            let said = |known: usize| {
                let mixed: Vec<f64> = (0..70).flat_map(|b| {
                    let other = background.row(b);
                    (0..features).map(move |f| if (known >> f) & 1 == 1 { x[f] } else { other[f] })
                }).collect();
                let said = ensemble.predict(&Matrix::new(features, mixed).unwrap()).unwrap();
                said.iter().zip(&weights).map(|(said, weight)| said * weight / total).sum::<f64>()
            };
            assert_close(interventional.row(row).unwrap(), &by_definition(features, said), 1e-10);
        }
    }
}

#[test]
fn deep_paths_of_many_features_keep_their_digits() {
    // A path of 60 different features needs a rule of 32 points: v prod o_j, each z_j one half.
    let depth = 60_usize;
    let (mut tree, nodes) = (TreeArrays::default(), 2 * depth + 1);
    for node in 0..nodes {
        let inner = node.is_multiple_of(2) && node < nodes - 1;
        tree.left.push(if inner { node as i64 + 1 } else { -1 });
        tree.right.push(if inner { node as i64 + 2 } else { -1 });
        tree.feature.push(if inner { node as i64 / 2 } else { -1 });
        tree.threshold.push(0.5);
        tree.value.push(if node == nodes - 1 { 1.0 } else { 0.0 });
        tree.cover.push(0.5_f64.powi((node as i32 + 1) / 2));
    }
    let explainer = PathDependentTreeShap::new(&TreeEnsemble::sum(depth, 0.0, &[tree]).unwrap());
    let found = explainer.explain(&Matrix::new(depth, vec![1.0; depth]).unwrap()).unwrap();
    let expected = (1.0 - 0.5_f64.powi(60)) / 60.0;
    found.attributions.iter().for_each(|value| assert!((value - expected).abs() < 1e-15, "{value} {expected}"));
}

#[test]
fn broken_trees_are_named() {
    let stump = TreeArrays {
        left: vec![1, -1, -1],
        right: vec![2, -1, -1],
        feature: vec![0, -1, -1],
        threshold: vec![0.0; 3],
        value: vec![1.0; 3],
        cover: vec![2.0, 1.0, 1.0],
        missing_left: vec![],
    };
    let with = |change: fn(&mut TreeArrays)| {
        let mut changed = stump.clone();
        change(&mut changed);
        let error = TreeEnsemble::sum(1, 0.0, &[stump.clone(), changed]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().starts_with("tree 1: "), "{error}");
    };
    with(|tree| tree.right[0] = 0);
    with(|tree| tree.right[0] = 1);
    with(|tree| tree.right[0] = 3);
    with(|tree| tree.right[0] = -1);
    with(|tree| tree.feature[0] = 1);
    with(|tree| tree.value[2] = f64::INFINITY);
    with(|tree| tree.threshold[0] = f64::NAN);
    with(|tree| tree.cover[1] = -1.0);
    with(|tree| tree.cover.truncate(2));
    with(|tree| *tree = TreeArrays::default());
    let ensemble = TreeEnsemble::sum(1, 0.0, &[stump]).unwrap();
    assert!(ensemble.predict(&Matrix::zeros(1, 2)).is_err());
    assert!(ensemble.clone().with_covers_of(&Matrix::zeros(0, 1)).is_err());
    assert!(InterventionalTreeShap::new(&ensemble, &Matrix::zeros(0, 1)).is_err());
}

#[test]
fn boosted_trees_explain_what_they_predict() {
    let data = xor(1_500, 1);
    let settings = GbdtSettings { rounds: 30, ..GbdtSettings::default() };
    let model = GbdtTrainer.fit_settings(&data, &settings, &FitContext::new(0)).unwrap();
    let rows = data.batch().slice(0, 200);
    let trees = model.trees(data.batch()).unwrap();
    let matrix = model.tree_rows(&rows).unwrap();
    let odds = |p: f64| (p / (1.0 - p)).ln();
    let expected: Vec<f64> = scores(&model, &rows).unwrap().into_iter().map(odds).collect();
    for found in [
        PathDependentTreeShap::new(&trees).explain(&matrix).unwrap(),
        InterventionalTreeShap::new(&trees, &model.tree_rows(&data.batch().slice(200, 80)).unwrap())
            .unwrap()
            .explain(&matrix)
            .unwrap(),
    ] {
        assert_close(&found.predictions, &expected, 1e-9);
        assert!(found.additivity_error() < 1e-12);
        let summary = Summary::of_attribution(&found);
        let first_two: Vec<&str> = summary.ranked().iter().take(2).map(|(name, _)| *name).collect();
        assert!(first_two.contains(&"x0") && first_two.contains(&"x1"), "{summary:?}");
    }
}

/// A function of columns `a`, `b`... as a model that counts what it predicts.
struct Counted {
    signature: Signature,
    function: fn(&[f64]) -> f64,
    calls: AtomicUsize,
    clock: Option<Arc<ManualClock>>,
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").finish_non_exhaustive()
    }
}

impl Counted {
    fn new(width: usize, function: fn(&[f64]) -> f64) -> Self {
        let column = |index| TensorSpec::column(name(index), DataType::Float64);
        let signature = Signature::new((0..width).map(column), [TensorSpec::column("y", DataType::Float64)]).unwrap();
        Self { signature, function, calls: AtomicUsize::new(0), clock: None }
    }
}

fn name(index: usize) -> String {
    format!("f{index:02}")
}

impl Model for Counted {
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn predict(&self, inputs: &RecordBatch) -> Result<RecordBatch> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(clock) = &self.clock {
            clock.advance(Duration::from_millis(1));
        }
        let columns: Vec<&[f64]> =
            inputs.columns().iter().map(|column| &**column.as_primitive::<Float64Type>().values()).collect();
        let row = |row: usize| columns.iter().map(|column| column[row]).collect::<Vec<f64>>();
        let scores = Float64Array::from_iter_values((0..inputs.num_rows()).map(|index| (self.function)(&row(index))));
        Ok(RecordBatch::try_from_iter([("y", Arc::new(scores) as ArrayRef)])?)
    }
}

fn batch(width: usize, rows: usize, seed: u64) -> RecordBatch {
    let random = SplitMix64::new(seed);
    let column = |index: usize| {
        let values = (0..rows).map(|row| 2.0 * random.uniform((row * width + index) as u64) - 1.0);
        Arc::new(Float64Array::from_iter_values(values)) as ArrayRef
    };
    RecordBatch::try_from_iter((0..width).map(|index| (name(index), column(index)))).unwrap()
}

/// Interactions of three and of all: of fewer, complements in pairs would cancel all noise.
fn wavy(row: &[f64]) -> f64 {
    let threes = row.windows(3).enumerate().map(|(place, three)| (place as f64 + 1.0) * three[0] * three[1] * three[2]);
    threes.sum::<f64>() + (2.0 * row.iter().sum::<f64>()).sin()
}

#[test]
fn the_kernel_estimate_comes_close_and_knows_how_close() {
    let width = 12;
    let model = Counted::new(width, wavy);
    let explainer = ShapleyExplainer::new(Background::new(batch(width, 8, 1)).unwrap());
    let (rows, context) = (batch(width, 6, 2), ExplainContext::new(3));
    let exact = explainer.exact(&model, &rows, &context).unwrap();
    exact.check_additivity(1e-12).unwrap();
    let settings = KernelSettings { coalitions_max: 400 };
    let found = explainer.kernel(&model, &rows, &settings, &context).unwrap();
    found.attribution.check_additivity(1e-12).unwrap();
    assert_eq!((found.coalitions_planned, found.coalitions.clone()), (400, vec![400; 6]));
    let misses = found.attribution.attributions.iter().zip(&exact.attributions).map(|(a, b)| (a - b).abs());
    let ratios: Vec<f64> = misses.zip(&found.standard_errors).map(|(miss, error)| miss / error).collect();
    let mean_square = ratios.iter().map(|ratio| ratio * ratio).sum::<f64>() / ratios.len() as f64;
    // Were errors right and normal it would be near one (a little more, for ten parts give Student's t).
    assert!((0.3..2.5).contains(&mean_square), "{mean_square}");
    assert_eq!(explainer.kernel(&model, &rows, &settings, &context).unwrap(), found, "by the seed alone");
    assert_ne!(explainer.kernel(&model, &rows, &settings, &ExplainContext::new(4)).unwrap(), found);
    let all = KernelSettings { coalitions_max: 1 << 12 };
    let all = explainer.kernel(&model, &rows, &all, &context).unwrap();
    assert_close(&all.attribution.attributions, &exact.attributions, 1e-10);
    assert!(all.standard_errors.iter().all(|error| *error == 0.0));
}

#[test]
fn a_deadline_shortens_the_estimate_and_then_refuses() {
    let width = 12;
    let clock = Arc::new(ManualClock::at(Timestamp::from_micros(0)));
    let mut model = Counted::new(width, wavy);
    model.clock = Some(Arc::clone(&clock));
    // 512 rows: 8 coalitions in a prediction, each of which takes a millisecond.
    let explainer = ShapleyExplainer::new(Background::new(batch(width, 512, 1)).unwrap());
    let settings = KernelSettings { coalitions_max: 400 };
    let kernel = |ms: u64| {
        let context =
            ExplainContext::new(3).with_deadline(Arc::<ManualClock>::clone(&clock), Duration::from_millis(ms));
        explainer.kernel(&model, &batch(width, 2, 2), &settings, &context)
    };
    let whole = kernel(1_000).unwrap();
    assert_eq!(whole.coalitions, [400, 400]);
    let short = kernel(2 + 40).unwrap();
    assert_eq!(short.coalitions, [160, 160]);
    short.attribution.check_additivity(1e-12).unwrap();
    let sum = |errors: &[f64]| errors.iter().sum::<f64>();
    assert!(sum(&short.standard_errors) > sum(&whole.standard_errors));
    assert_eq!(kernel(2).unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    let late = ExplainContext::new(3).with_deadline(Arc::<ManualClock>::clone(&clock), Duration::from_millis(5));
    assert_eq!(explainer.exact(&model, &batch(width, 1, 2), &late).unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    let cancelled = ExplainContext::new(3).with_cancel(Arc::new(AtomicBool::new(true)));
    let refused = explainer.kernel(&model, &batch(width, 1, 2), &settings, &cancelled).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Cancelled);
    let few = KernelSettings { coalitions_max: 27 };
    let refused = explainer.kernel(&model, &batch(width, 1, 2), &few, &ExplainContext::new(0)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::FailedPrecondition);
}

#[test]
fn a_group_contributes_as_one_player() {
    let model = Counted::new(4, |row| row[0] * row[1] + 3.0 * row[2] - row[1] * row[3]);
    let (background, rows) = (batch(4, 9, 1), batch(4, 3, 2));
    let groups = FeatureGroups::new().with_group("pair", ["f00", "f03"]);
    let explainer = ShapleyExplainer::new(Background::new(background.clone()).unwrap()).with_groups(groups);
    let found = explainer.exact(&model, &rows, &ExplainContext::new(0)).unwrap();
    assert_eq!(found.features, ["pair", "f01", "f02"]);
    let members: [&[usize]; 3] = [&[0, 3], &[1], &[2]];
    let value =
        |batch: &RecordBatch, row: usize, column: usize| batch.column(column).as_primitive::<Float64Type>().value(row);
    for row in 0..3 {
        let said = |known: usize| {
            let own = |column: usize| (0..3).any(|group| (known >> group) & 1 == 1 && members[group].contains(&column));
            let mixed = |other: usize| {
                let x: Vec<f64> = (0..4)
                    .map(
                        |column| {
                            if own(column) { value(&rows, row, column) } else { value(&background, other, column) }
                        },
                    )
                    .collect();
                (model.function)(&x)
            };
            (0..9).map(mixed).sum::<f64>() / 9.0
        };
        assert_close(found.row(row).unwrap(), &by_definition(3, said), 1e-12);
    }
    let kernel = explainer.kernel(&model, &rows, &KernelSettings::default(), &ExplainContext::new(0)).unwrap();
    assert_close(&kernel.attribution.attributions, &found.attributions, 1e-12);
}

#[test]
fn a_summarized_background_keeps_the_base_value_near() {
    let batch = xor_batch(2_000, 5, 3);
    let data = xor(2_000, 3);
    let model =
        GbdtTrainer.fit_settings(&data, &GbdtSettings { rounds: 20, ..GbdtSettings::default() }, &FitContext::new(0));
    let model = model.unwrap();
    let summary = Background::kmeans(&batch.project(&[0, 1, 2, 3, 4, 5]).unwrap(), 60, 1).unwrap();
    assert_eq!(summary.rows().num_rows(), 60);
    assert!((summary.row_shares().iter().sum::<f64>() - 1.0).abs() < 1e-12);
    let weighted = scores(&model, summary.rows()).unwrap();
    let weighted: f64 = weighted.iter().zip(summary.row_shares()).map(|(score, share)| score * share).sum();
    let plain = scores(&model, &batch).unwrap().iter().sum::<f64>() / 2_000.0;
    assert!((weighted - plain).abs() < 0.1, "{weighted} {plain}");
    assert_eq!(Background::kmeans(&batch, 60, 1).unwrap(), Background::kmeans(&batch, 60, 1).unwrap());
    assert!(Background::kmeans(&batch, 0, 1).is_err());
}

#[test]
fn a_perceptron_is_explained_by_its_slopes() {
    let data = xor(600, 1);
    let training = BurnSettings { epochs: 15, ..BurnSettings::default() };
    let settings = MlpSettings { training, ..MlpSettings::default() };
    let model = MlpTrainer.fit_settings(&data, &settings, &FitContext::new(0)).unwrap();
    let rows = data.batch().slice(0, 20);
    let fine = IntegratedGradientsSettings { steps: 500, ..IntegratedGradientsSettings::default() };
    let found = model.integrated_gradients(&rows, &fine, &ExplainContext::new(0)).unwrap();
    assert_eq!(found.attribution.features, ["x0", "x1", "x2", "x3", "x4", "color"]);
    let odds = |p: f64| (p / (1.0 - p)).ln();
    let expected: Vec<f64> = scores(&model, &rows).unwrap().into_iter().map(odds).collect();
    assert_close(&found.attribution.predictions, &expected, 1e-4);
    for (row, delta) in found.convergence_deltas.iter().enumerate() {
        let sum: f64 = found.attribution.row(row).unwrap().iter().sum();
        let gap = found.attribution.predictions[row] - found.attribution.base_value;
        assert!((sum - gap - delta).abs() < 1e-6, "{sum} {gap} {delta}");
        assert!(delta.abs() < 0.02 * gap.abs().max(1.0), "{delta} {gap}");
    }
    let none = IntegratedGradientsSettings { steps: 0, ..fine };
    assert!(model.integrated_gradients(&rows, &none, &ExplainContext::new(0)).is_err());
}

#[test]
fn held_out_rows_tell_what_the_model_needs() {
    let (train, held_out) = (xor(2_000, 1), xor(800, 2));
    let model = GbdtTrainer.fit_settings(&train, &GbdtSettings::default(), &FitContext::new(0)).unwrap();
    let context = ExplainContext::new(5);
    let importance = PermutationImportance::new(Metric::LogLoss).with_repeats(4);
    let found = importance.measure(&model, &held_out, &context).unwrap();
    assert!(found.means[0] > 0.5 && found.means[1] > 0.5, "{found:?}");
    assert!(found.means[2..].iter().all(|mean| mean.abs() < 0.05), "{found:?}");
    assert_eq!(importance.measure(&model, &held_out, &context).unwrap(), found);
    let groups = FeatureGroups::new().with_group("both", ["x0", "x1"]);
    let together = importance.clone().with_groups(groups).measure(&model, &held_out, &context).unwrap();
    assert_eq!(together.features[0], "both");
    // Permuted together they keep their signs' product, which is all that the label depends on.
    assert!(together.means[0] > 0.5);
    assert!(importance.with_repeats(0).measure(&model, &held_out, &context).is_err());
}

#[test]
fn effects_follow_the_function_where_rows_are() {
    // b is a with noise: partial dependence on a sees rows that cannot be, and says so.
    let random = SplitMix64::new(4);
    let a: Vec<f64> = (0..3_000).map(|row| random.uniform(row)).collect();
    let b = a.iter().enumerate().map(|(row, a)| a + 0.1 * random.uniform((row as u64) + 10_000));
    let columns: [(&str, ArrayRef); 2] =
        [("f00", Arc::new(Float64Array::from(a.clone()))), ("f01", Arc::new(Float64Array::from_iter_values(b)))];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let model = Counted::new(2, |row| 3.0 * row[0] + row[1]);
    let (settings, context) = (DependenceSettings::default(), ExplainContext::new(0));
    let effects = accumulated_effects(&model, &rows, "f00", &settings, &context).unwrap();
    let ends: Vec<(f64, f64)> = effects.edges.iter().copied().zip(effects.values.iter().copied()).collect();
    for pair in ends.windows(2) {
        assert!(((pair[1].1 - pair[0].1) / (pair[1].0 - pair[0].0) - 3.0).abs() < 1e-9);
    }
    assert_eq!(effects.counts.iter().sum::<usize>(), 3_000);
    let partial = partial_dependence(&model, &rows, "f00", &settings, &context).unwrap();
    assert_eq!(partial.correlated[0].feature, "f01");
    assert!(partial.correlated[0].correlation > 0.9);
    assert_eq!(partial.individual.len(), 100);
    assert!(plot::partial(&partial).title.contains("doubtful"));
    assert!(accumulated_effects(&model, &rows, "nope", &settings, &context).unwrap_err().message().contains("nope"));
    let few = DependenceSettings { places: 1, ..settings };
    assert!(partial_dependence(&model, &rows, "f00", &few, &context).is_err());
}

#[test]
fn text_is_followed_by_its_levels() {
    let data = xor(600, 1);
    let model =
        GbdtTrainer.fit_settings(&data, &GbdtSettings { rounds: 5, ..GbdtSettings::default() }, &FitContext::new(0));
    let model = model.unwrap();
    let (settings, context) = (DependenceSettings::default(), ExplainContext::new(0));
    let found = partial_dependence(&model, data.batch(), "color", &settings, &context).unwrap();
    assert_eq!(found.grid, Grid::Levels(["blue", "green", "red"].map(str::to_owned).to_vec()));
    let red: ArrayRef = Arc::new(StringArray::from(vec!["red"; 600]));
    let mut columns = data.batch().columns().to_vec();
    let place = data.batch().schema().index_of("color").unwrap();
    columns[place] = red;
    let all_red = RecordBatch::try_new(data.batch().schema(), columns).unwrap();
    let expected = scores(&model, &all_red).unwrap().iter().sum::<f64>() / 600.0;
    assert!((found.average[2] - expected).abs() < 1e-12);
    let refused = accumulated_effects(&model, data.batch(), "color", &settings, &context).unwrap_err();
    assert!(refused.message().contains("\"color\"") && refused.message().contains("partial dependence"));
}

#[test]
fn pictures_hold_together_and_harm_nobody() {
    let attribution = Attribution {
        features: vec!["a<script>".to_owned(), "b".to_owned()],
        base_value: 1.0,
        predictions: vec![2.0, 0.5],
        attributions: vec![1.5, -0.5, f64::NAN, 0.25],
    };
    let values = Matrix::new(2, vec![1.0, f64::NAN, 3.0, 4.0]).unwrap();
    let summary = Summary::of_attribution(&attribution);
    let plots = [
        plot::importance(&summary),
        plot::beeswarm(&attribution, Some(&values)),
        plot::beeswarm(&attribution, None),
        plot::waterfall(&attribution, 0).unwrap(),
    ];
    assert!(plot::waterfall(&attribution, 2).is_none());
    let page = plot::page("Model <7>", &plots);
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    assert!(page.contains("Model &lt;7&gt;") && page.contains("a&lt;script&gt;") && !page.contains("<script"));
    for name in ["x", "y", "width", "height", "points", "cx", "cy", "fill"] {
        for value in page.split(&format!(" {name}=\"")).skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(!value.contains("NaN") && !value.contains("inf"), "{name}={value}");
        }
    }
    let json = serde_json::to_string(&summary).unwrap();
    assert!(json.contains("mean |shap|"));
}
