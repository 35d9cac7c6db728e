//! Numbers against scikit-learn 1.9.1, SciPy 1.17.1 and Fairlearn 0.15.0: a subset of rows that lies
//! beside this file, and all rows when the reference data are present.

use mlops_metrics::{
    Average, Bootstrap, BootstrapKind, CalibrationBins, ClassMetric, ClassRows, EstimateOptions, FairnessMetric,
    GroupOutcomes, Measure, Metric, Rate, RegressionMetric, ScoredRows, clopper_pearson, expected_calibration_error,
    stats::auc_variance, wilson,
};
use serde_json::Value;

pub(crate) fn sources() -> Vec<(&'static str, Value)> {
    let subset = serde_json::from_str(include_str!("subset.json")).unwrap();
    let mut sources = vec![("subset", subset)];
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors/ml/ml_vectors.json");
    match std::fs::read(path) {
        Ok(bytes) => sources.push(("shared", serde_json::from_slice(&bytes).unwrap())),
        Err(_) => println!("only the subset: shared/vectors/ml/ml_vectors.json is absent"),
    }
    sources
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|item| item.as_f64().unwrap()).collect()
}

pub(crate) fn indices(value: &Value) -> Vec<usize> {
    numbers(value).into_iter().map(|item| item as usize).collect()
}

pub(crate) fn close(found: f64, expected: &Value, what: &str) {
    let expected = expected.as_f64().unwrap_or_else(|| panic!("{what}"));
    // References are written with twelve digits.
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-3), "{what}: {found} {expected}");
}

fn point(measure: &str, rows: &ScoredRows<'_>) -> f64 {
    let options = EstimateOptions { resamples: 20, ..EstimateOptions::default() };
    let estimate = measure.parse::<Measure>().unwrap().estimate(rows, &options).unwrap();
    if let Some(interval) = estimate.interval {
        assert!(interval.low <= interval.high && interval.low.is_finite() && interval.high.is_finite(), "{measure}");
    }
    estimate.value
}

#[test]
fn binary_metrics_match() {
    for (source, vectors) in sources() {
        let section = &vectors["binary"];
        let (labels, scores) = (numbers(&section["y"]), numbers(&section["score"]));
        let rows = ScoredRows::Binary { labels: &labels, scores: &scores, threshold: 0.5 };
        for metric in Metric::all().filter(|metric| metric.is_classification()) {
            let what = format!("{source} {metric}");
            close(metric.compute(&labels, &scores).unwrap(), &section["expected"][metric.name()], &what);
            close(point(metric.name(), &rows), &section["expected"][metric.name()], &what);
        }
        for (name, bins, kind) in [
            ("ece_10", 10, CalibrationBins::Width),
            ("ece_15", 15, CalibrationBins::Width),
            ("ece_quantile_10", 10, CalibrationBins::Quantile),
        ] {
            let found = expected_calibration_error(&labels, &scores, bins, kind).unwrap();
            close(found, &section["expected"][name], &format!("{source} {name}"));
        }
    }
}

#[test]
fn metrics_of_classes_match() {
    for (source, vectors) in sources() {
        let section = &vectors["multiclass"];
        let labels = indices(&section["y"]);
        let probabilities: Vec<f64> = section["proba"].as_array().unwrap().iter().flat_map(numbers).collect();
        let rows = ClassRows::from_probabilities(4, &labels, &probabilities).unwrap();
        let scored = ScoredRows::Classes(rows.clone());
        let mut checked = 0;
        for metric in ClassMetric::all() {
            let (name, expected) = (metric.to_string(), &section["expected"]);
            if expected.get(&name).is_some() {
                close(metric.compute(&rows).unwrap(), &expected[&name], &format!("{source} {name}"));
                close(point(&name, &scored), &expected[&name], &format!("{source} {name}"));
                checked += 1;
            }
        }
        assert!(checked >= 12, "{source} {checked}");
        for name in ["accuracy", "balanced_accuracy", "mcc", "log_loss"] {
            close(point(name, &scored), &section["expected"][name], &format!("{source} {name}"));
        }
        assert_eq!(ClassMetric::F1(Average::Micro).compute(&rows).unwrap(), rows.confusion().unwrap().accuracy());
    }
}

#[test]
fn metrics_of_numbers_match() {
    for (source, vectors) in sources() {
        let section = &vectors["regression"];
        let (labels, predictions) = (numbers(&section["y"]), numbers(&section["pred"]));
        let rows = ScoredRows::Numbers { labels: &labels, predictions: &predictions };
        for name in [
            "r2",
            "mae",
            "mse",
            "rmse",
            "explained_variance",
            "msle",
            "rmsle",
            "mape",
            "smape",
            "median_ae",
            "max_error",
        ] {
            close(point(name, &rows), &section["expected"][name], &format!("{source} {name}"));
        }
        for (percent, column, name) in [(10, "q10", "pinball_0_1"), (90, "q90", "pinball_0_9")] {
            let found = RegressionMetric::Pinball { percent }.compute(&labels, &numbers(&section[column])).unwrap();
            close(found, &section["expected"][name], &format!("{source} {name}"));
        }
        let bias = predictions.iter().sum::<f64>() / 1.0 - labels.iter().sum::<f64>();
        assert!((point("bias", &rows) - bias / labels.len() as f64).abs() < 1e-12);
    }
}

#[test]
fn metrics_of_ranked_lists_match() {
    for (source, vectors) in sources() {
        let section = &vectors["ranking"];
        let (relevance, scores) = (section["relevance"].as_array().unwrap(), section["score"].as_array().unwrap());
        let queries: Vec<usize> =
            relevance.iter().enumerate().flat_map(|(query, row)| vec![query; row.as_array().unwrap().len()]).collect();
        let (relevance, scores): (Vec<f64>, Vec<f64>) =
            (relevance.iter().flat_map(numbers).collect(), scores.iter().flat_map(numbers).collect());
        let rows = ScoredRows::Queries { queries: &queries, relevance: &relevance, scores: &scores, relevant_min: 2.0 };
        for name in ["ndcg", "ndcg_at_5"] {
            close(point(name, &rows), &section["expected"][name], &format!("{source} {name}"));
        }
    }
}

#[test]
fn fairness_matches() {
    for (source, vectors) in sources() {
        let section = &vectors["fairness"];
        let (labels, scores) = (numbers(&section["y"]), numbers(&section["score"]));
        let mut outcomes = GroupOutcomes::default();
        for (row, group) in section["A"].as_array().unwrap().iter().enumerate() {
            outcomes.add(group.as_str().unwrap(), labels[row] == 1.0, scores[row] >= 0.5).unwrap();
        }
        for metric in FairnessMetric::all() {
            let gap = outcomes.gap(metric, 0.95).unwrap();
            close(gap.value, &section["expected"][metric.name()], &format!("{source} {metric}"));
            assert!(gap.interval.unwrap().contains(gap.value), "{source} {metric}");
        }
        let rates = [
            (Rate::Selection, "selection_rate"),
            (Rate::TruePositive, "tpr"),
            (Rate::FalsePositive, "fpr"),
            (Rate::FalseNegative, "fnr"),
            (Rate::Precision, "precision"),
            (Rate::Accuracy, "accuracy"),
            (Rate::Base, "base_rate"),
        ];
        for (rate, name) in rates {
            for (group, _) in outcomes.groups() {
                let (successes, trials) = outcomes.rate(group, rate).unwrap();
                let expected = &section["expected"]["by_group"][name][group];
                close(successes as f64 / trials as f64, expected, &format!("{source} {name} {group}"));
            }
        }
    }
}

#[test]
fn intervals_match() {
    for (source, vectors) in sources() {
        let tests = &vectors["tests"];
        let section = &tests["proportion_ci"];
        let (k, n) = (section["k"].as_u64().unwrap(), section["n"].as_u64().unwrap());
        for (interval, name) in [(wilson(k, n, 0.95), "wilson"), (clopper_pearson(k, n, 0.95), "clopper_pearson")] {
            let interval = interval.unwrap();
            close(interval.low, &section[name][0], &format!("{source} {name}"));
            close(interval.high, &section[name][1], &format!("{source} {name}"));
        }
        let delong = &tests["delong"];
        let (area, variance) = auc_variance(&numbers(&delong["y"]), &numbers(&delong["s1"])).unwrap();
        let half = 1.959_963_984_540_054 * variance.sqrt();
        close(area - half, &delong["ci95_auc1"][0], "DeLong");
        close(area + half, &delong["ci95_auc1"][1], "DeLong");
    }
}

#[test]
fn the_bootstrap_matches_within_its_noise() {
    let (_, vectors) = sources().remove(0);
    let (section, values) = (&vectors["tests"]["bootstrap_mean"], numbers(&vectors["tests"]["paired"]["a"]));
    let mean = |rows: &[usize]| Some(rows.iter().map(|&row| values[row]).sum::<f64>() / rows.len() as f64);
    for (kind, name) in
        [(BootstrapKind::Percentile, "percentile"), (BootstrapKind::Basic, "basic"), (BootstrapKind::Bca, "bca")]
    {
        let bootstrap = Bootstrap { resamples: 20_000, seed: 5, kind, ..Bootstrap::default() };
        let found = bootstrap.run(values.len(), mean).unwrap().interval;
        let tolerance = section["tolerance"].as_f64().unwrap();
        for (end, expected) in [(found.low, &section[name][0]), (found.high, &section[name][1])] {
            let expected = expected.as_f64().unwrap();
            assert!((end - expected).abs() <= tolerance * expected.abs(), "{name}: {end} {expected}");
        }
    }
}
