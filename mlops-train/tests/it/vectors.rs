//! Numbers against scikit-learn 1.9.1 and SciPy 1.17.1.

use mlops_train::{KFold, Metric, StratifiedKFold, TimeSeriesSplit, stats};
use serde_json::Value;

use crate::common::shared;

pub(crate) fn vectors() -> Option<Value> {
    let path = shared("vectors/ml/ml_vectors.json")?;
    Some(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|item| item.as_f64().unwrap()).collect()
}

pub(crate) fn indices(value: &Value) -> Vec<usize> {
    numbers(value).into_iter().map(|item| item as usize).collect()
}

pub(crate) fn close(found: f64, expected: &Value, what: &str) {
    let expected = expected.as_f64().unwrap();
    // References are written with twelve digits.
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-3), "{what}: {found} {expected}");
}

fn check_metrics(section: &Value, scores: &str, metrics: &[Metric]) {
    let (labels, scores, weights) = (numbers(&section["y"]), numbers(&section[scores]), numbers(&section["weight"]));
    for &metric in metrics {
        let what = metric.name();
        close(metric.compute(&labels, &scores).unwrap(), &section["expected"][what], what);
        let weighted = metric.compute_weighted(&labels, &scores, Some(&weights)).unwrap();
        close(weighted, &section["expected_weighted"][what], what);
    }
}

#[test]
fn metrics_match() {
    let Some(vectors) = vectors() else { return };
    let regression = [Metric::R2, Metric::Mae, Metric::Mse, Metric::Rmse];
    let binary: Vec<Metric> = Metric::all().filter(|metric| !regression.contains(metric)).collect();
    assert_eq!(binary.len(), 10);
    check_metrics(&vectors["binary"], "score", &binary);
    check_metrics(&vectors["regression"], "pred", &regression);
}

#[test]
fn edges_match() {
    let Some(vectors) = vectors() else { return };
    let edges = &vectors["binary_edge"];
    for name in ["constant_score", "perfect", "reversed"] {
        let (labels, scores) = (numbers(&edges[name]["y"]), numbers(&edges[name]["score"]));
        close(Metric::RocAuc.compute(&labels, &scores).unwrap(), &edges[name]["roc_auc"], name);
        close(Metric::AveragePrecision.compute(&labels, &scores).unwrap(), &edges[name]["average_precision"], name);
    }
    let constant = &edges["r2_constant_target"];
    let labels = numbers(&constant["y"]);
    close(Metric::R2.compute(&labels, &numbers(&constant["pred"])).unwrap(), &constant["r2"], "r2");
    close(Metric::R2.compute(&labels, &[1.0, 2.0, 3.0]).unwrap(), &constant["r2_wrong"], "r2_wrong");
}

#[test]
fn folds_match() {
    let Some(vectors) = vectors() else { return };
    let splits = &vectors["splits"];
    let rows = splits["n"].as_u64().unwrap() as usize;
    let check = |folds: Vec<mlops_train::Fold>, expected: &Value| {
        assert_eq!(folds.len(), expected.as_array().unwrap().len());
        for (fold, expected) in folds.iter().zip(expected.as_array().unwrap()) {
            assert_eq!(fold.test, indices(expected));
            assert_eq!(fold.train.len() + fold.test.len(), rows);
            assert!(fold.train.iter().all(|row| !fold.test.contains(row)));
        }
    };
    check(KFold::new(5).split_rows(rows).unwrap(), &splits["test_indices"]["kfold5"]);
    let labels = numbers(&splits["y"]);
    check(StratifiedKFold::new(4).split_labels(&labels).unwrap(), &splits["test_indices"]["stratified4"]);
}

#[test]
fn windows_in_time_match() {
    let Some(vectors) = vectors() else { return };
    let ranges = &vectors["splits"]["time_series_ranges_end_exclusive"];
    let check = |split: TimeSeriesSplit, name: &str| {
        let folds = split.split_rows(23).unwrap();
        let expected = ranges[name].as_array().unwrap();
        assert_eq!(folds.len(), expected.len());
        for (fold, expected) in folds.iter().zip(expected) {
            let range = |side: &str| (indices(&expected[side])[0]..indices(&expected[side])[1]).collect::<Vec<_>>();
            assert_eq!((&fold.train, &fold.test), (&range("train"), &range("test")), "{name}");
        }
    };
    check(TimeSeriesSplit::new(4), "ts4");
    check(TimeSeriesSplit::new(3).with_gap_rows(2), "ts3_gap2");
    check(TimeSeriesSplit::new(3).with_test_rows(3).with_train_rows_max(8), "ts3_test3_max8");
    assert!(TimeSeriesSplit::new(30).split_rows(23).is_err());
}

#[test]
fn tests_match() {
    let Some(vectors) = vectors() else { return };
    let delong = &vectors["tests"]["delong"];
    let test = stats::delong(&numbers(&delong["y"]), &numbers(&delong["s1"]), &numbers(&delong["s2"])).unwrap();
    close(test.auc[0], &delong["auc1"], "auc1");
    close(test.auc[1], &delong["auc2"], "auc2");
    for (row, column) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        close(test.covariance[row][column], &delong["cov"][row][column], "covariance");
    }
    close(test.z(), &delong["z"], "z");
    close(test.p_value(), &delong["p"], "p");
    let mcnemar = &vectors["tests"]["mcnemar"];
    let counts = [&mcnemar["n01"], &mcnemar["n10"]].map(|count| count.as_u64().unwrap());
    close(stats::mcnemar_mid_p(counts[0], counts[1]), &mcnemar["midp"], "mid-p");
}
