//! Logistic and linear regression.

use std::sync::{Arc, atomic::AtomicBool};

use mlops_core::{
    ErrorKind,
    arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, cast::AsArray, types::Float64Type},
};
use mlops_train::{
    FitContext, LinearModel, LinearSettings, LinearTrainer, Metric, Params, TableDataset, TrainedModel, Trainer,
    load_package, scores,
};

use crate::common::{check_round_trip, xor};

/// Sixty rows of three columns, a score, whether it exceeds 1.2, and weights 1, 2, 3.
fn sixty() -> RecordBatch {
    let column = |f: &dyn Fn(f64, i64) -> f64| -> Vec<f64> { (0..60).map(|i| f(i as f64, i)).collect() };
    let a = column(&|_, i| (i * 37 % 61) as f64 / 10.0);
    let b = column(&|x, _| (x * 1.3).sin() * 4.0);
    let c = column(&|_, i| (i * i % 17) as f64 / 3.0);
    let score: Vec<f64> = (0..60).map(|i| 0.4 * a[i] - b[i] + 0.3 * c[i] + (i as f64 * 2.1).cos() * 2.0).collect();
    let class = score.iter().map(|&value| f64::from(u8::from(value > 1.2))).collect();
    let weight = column(&|_, i| 1.0 + (i % 3) as f64);
    let named = [("a", a), ("b", b), ("c", c), ("score", score), ("class", class), ("weight", weight)];
    RecordBatch::try_from_iter(named.map(|(name, values)| (name, Arc::new(Float64Array::from(values)) as ArrayRef)))
        .unwrap()
}

fn fit(data: &TableDataset, l2: f64) -> LinearModel {
    let settings = LinearSettings { l2, ..LinearSettings::default() };
    LinearTrainer.fit_settings(data, &settings, &FitContext::new(0)).unwrap()
}

fn check(model: &LinearModel, coefficients: [f64; 3], intercept: f64) {
    for ((name, found), expected) in model.coefficients().iter().zip(coefficients) {
        assert!((found - expected).abs() < 1e-9, "{name}: {found} {expected}");
    }
    assert!((model.intercept() - intercept).abs() < 1e-9, "{} {intercept}", model.intercept());
}

// Expected values: scikit-learn 1.9.1 on standardized columns, LogisticRegression(solver="newton-cholesky", tol=1e-14)
// with C = 1 / l2, and Ridge(solver="cholesky").
#[test]
fn coefficients_are_those_of_an_independent_solver() {
    let features = ["a", "b", "c"];
    let classes = || TableDataset::classification(sixty(), "class").with_features(features);
    let plain = fit(&classes().build().unwrap(), 1.0);
    check(&plain, [0.7552475760258075, -2.4081113912535863, 0.24970058368379733], 0.5660462905203237);
    let weighted = fit(&classes().with_weight("weight").build().unwrap(), 2.0);
    check(&weighted, [0.8604650470596841, -2.543440023948198, 0.35888023829584964], 0.166355841005329);
    let numbers = TableDataset::regression(sixty(), "score").with_features(features).build().unwrap();
    check(&fit(&numbers, 2.5), [0.6716429357330783, -2.782416371649217, 0.46370452327432543], 1.9370936835725416);
}

#[test]
fn is_stored_and_served_bit_for_bit() {
    let data = xor(400, 3);
    let model = fit(&data, 1.0);
    let auc = Metric::RocAuc.compute(data.labels(), &scores(&model, data.batch()).unwrap()).unwrap();
    assert!(auc < 0.7, "an interaction is out of reach of a line: {auc}");
    check_round_trip(&model, data.batch());
    let damaged = model.to_package().unwrap().with_file("model.json", b"{}".to_vec());
    assert_eq!(load_package(&damaged).unwrap_err().kind(), ErrorKind::DataLoss);
}

#[test]
fn separable_classes_need_a_penalty_to_have_a_minimum() {
    let x: ArrayRef = Arc::new(Float64Array::from_iter_values((0..40).map(f64::from)));
    let y: ArrayRef = Arc::new(Int64Array::from_iter_values((0..40).map(|row| i64::from(row >= 20))));
    let batch = RecordBatch::try_from_iter([("x", x), ("y", y)]).unwrap();
    let data = TableDataset::classification(batch, "y").build().unwrap();
    let model = fit(&data, 1e-3);
    assert_eq!(Metric::RocAuc.compute(data.labels(), &scores(&model, data.batch()).unwrap()).unwrap(), 1.0);
    let (_, weight) = model.coefficients()[0];
    assert!(weight.is_finite() && weight > 1.0, "{weight}");
}

#[test]
fn constant_and_repeated_columns_without_penalty_do_no_harm() {
    let x =
        |scale: f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values((0..50).map(|i| scale * f64::from(i)))) };
    let y: ArrayRef = Arc::new(Float64Array::from_iter_values((0..50).map(|i| 2.0 * f64::from(i) - 5.0)));
    let batch = RecordBatch::try_from_iter([("x", x(1.0)), ("twice", x(2.0)), ("zero", x(0.0)), ("y", y)]).unwrap();
    let data = TableDataset::regression(batch, "y").build().unwrap();
    let predicted = scores(&fit(&data, 0.0), data.batch()).unwrap();
    for (predicted, label) in predicted.iter().zip(data.labels()) {
        assert!((predicted - label).abs() < 1e-9, "{predicted} {label}");
    }
}

#[test]
fn cancellation_and_bad_parameters_are_typed() {
    let data = xor(200, 1);
    let context = FitContext::new(1).with_cancel(Arc::new(AtomicBool::new(true)));
    assert_eq!(LinearTrainer.fit(&data, &Params::new(), &context).unwrap_err().kind(), ErrorKind::Cancelled);
    let error = LinearTrainer.fit(&data, &Params::new().with("l2", -1.0), &FitContext::new(1)).unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains("l2"), "{error}");
}

#[test]
fn a_row_without_weight_sets_no_measure_for_small_labels() {
    let x: ArrayRef = Arc::new(Float64Array::from_iter_values((0..50).map(f64::from)));
    for (size, other) in [(1e-9, 1e9), (1e-9, 1e250), (1e-250, 1e250), (1e250, 1.0)] {
        check_unweighted(&x, size, other);
    }
}

/// Forty-nine rows on a line of this size and one without weight that is far off it.
fn check_unweighted(x: &ArrayRef, size: f64, other: f64) {
    let label = |row: i32| if row == 49 { other } else { size * (2.0 * f64::from(row) - 5.0) };
    let y: ArrayRef = Arc::new(Float64Array::from_iter_values((0..50).map(label)));
    let w: ArrayRef = Arc::new(Float64Array::from_iter_values((0..50).map(|row| f64::from(u8::from(row < 49)))));
    let batch = RecordBatch::try_from_iter([("x", Arc::clone(x)), ("y", y), ("w", w)]).unwrap();
    let data = TableDataset::regression(batch, "y").with_weight("w").build().unwrap();
    let predicted = scores(&fit(&data, 0.0), data.batch()).unwrap();
    for (predicted, label) in predicted.iter().zip(data.labels()).take(49) {
        assert!((predicted - label).abs() < 1e-4 * size, "{predicted} {label}");
    }
}

#[test]
fn small_labels_are_fitted_like_large_ones() {
    let fit = |unit: f64| -> Vec<f64> {
        let batch = sixty();
        let score = batch.column_by_name("score").unwrap().as_primitive::<Float64Type>();
        let scaled: ArrayRef =
            Arc::new(score.values().iter().map(|score| Some(score * unit)).collect::<Float64Array>());
        let columns = ["a", "b", "c"].map(|name| (name, Arc::clone(batch.column_by_name(name).unwrap())));
        let batch = RecordBatch::try_from_iter(columns.into_iter().chain([("y", scaled)])).unwrap();
        let data = TableDataset::regression(batch, "y").build().unwrap();
        let model = LinearTrainer.fit(&data, &Params::new(), &FitContext::new(0)).unwrap();
        scores(&*model, data.batch()).unwrap().iter().map(|score| score / unit).collect()
    };
    let plain = fit(1.0);
    assert!(plain.iter().any(|score| (score - plain[0]).abs() > 1.0), "{plain:?}");
    for unit in [1e-300, 1e-200, 1e-12, 1e-6, 1e9, 1e200, 1e300] {
        for (found, expected) in fit(unit).iter().zip(&plain) {
            assert!((found - expected).abs() < 1e-7, "{unit}: {found} {expected}");
        }
    }
}
