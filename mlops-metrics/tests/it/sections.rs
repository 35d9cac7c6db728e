//! Curves, weighted metrics, ranked lists, labellings and inequality against scikit-learn 1.9.1, SciPy 1.17.1 and
//! the formulas of AIF360.

use mlops_metrics::{
    Agreement, Average, CalibrationBins, ClassRows, RankedList, Rate, RegressionMetric, benefit_entropy,
    calibration_curve, d2_log_loss, dcg, det_curve, huber_loss, mase, maximum_calibration_error, ndcg, partial_roc_auc,
    precision_recall_auc, precision_recall_curve, roc_curve, tweedie_deviance,
};
use serde_json::Value;

use crate::vectors::{close, indices, numbers, sources};

fn shared() -> Option<Value> {
    sources().into_iter().find(|(source, _)| *source == "shared").map(|(_, vectors)| vectors)
}

fn all_close(found: &[f64], expected: &Value, what: &str) {
    let expected = expected.as_array().unwrap();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        if expected.is_null() {
            assert!(found.is_infinite(), "{what}");
        } else {
            close(*found, expected, what);
        }
    }
}

#[test]
fn curves_match() {
    let Some(vectors) = shared() else { return };
    let section = &vectors["binary"];
    let (labels, scores) = (numbers(&section["y"]), numbers(&section["score"]));
    let expected = &section["expected"];
    let roc = roc_curve(&labels, &scores, None).unwrap();
    all_close(&roc.false_positive_rates, &expected["roc_curve"]["fpr"], "fpr");
    all_close(&roc.true_positive_rates, &expected["roc_curve"]["tpr"], "tpr");
    all_close(&roc.thresholds[1..], &expected["roc_curve"]["thresholds"], "ROC thresholds");
    let pr = precision_recall_curve(&labels, &scores, None).unwrap();
    all_close(&pr.precisions, &expected["pr_curve"]["precision"], "precision");
    all_close(&pr.recalls, &expected["pr_curve"]["recall"], "recall");
    all_close(&pr.thresholds, &expected["pr_curve"]["thresholds"], "PR thresholds");
    let det = det_curve(&labels, &scores, None).unwrap();
    all_close(&det.false_positive_rates, &expected["det_curve"][0], "DET fpr");
    all_close(&det.false_negative_rates, &expected["det_curve"][1], "DET fnr");
    all_close(&det.thresholds, &expected["det_curve"][2], "DET thresholds");
    for (name, kind) in
        [("calibration_uniform", CalibrationBins::Width), ("calibration_quantile", CalibrationBins::Quantile)]
    {
        let curve = calibration_curve(&labels, &scores, 10, kind).unwrap();
        let shares: Vec<f64> = curve.iter().map(|bin| bin.positives).collect();
        all_close(&shares, &expected[name]["prob_true"], name);
    }
    let worst = maximum_calibration_error(&labels, &scores, 10, CalibrationBins::Width).unwrap();
    close(worst, &expected["mce_10"], "mce");
}

#[test]
fn areas_match_with_and_without_weights() {
    let Some(vectors) = shared() else { return };
    let section = &vectors["binary"];
    let (labels, scores, weights) = (numbers(&section["y"]), numbers(&section["score"]), numbers(&section["weight"]));
    for (weights, expected) in [(None, "expected"), (Some(&weights[..]), "expected_weighted")] {
        let expected = &section[expected];
        close(partial_roc_auc(&labels, &scores, weights, 0.2).unwrap(), &expected["roc_auc_max_fpr_0_2"], "partial");
        close(precision_recall_auc(&labels, &scores, weights).unwrap(), &expected["pr_auc_trapezoid"], "trapezia");
        close(d2_log_loss(&labels, &scores, weights).unwrap(), &expected["d2_log_loss"], "d2");
    }
}

#[test]
fn weighted_metrics_of_numbers_match() {
    let Some(vectors) = shared() else { return };
    let section = &vectors["regression"];
    let (labels, predictions) = (numbers(&section["y"]), numbers(&section["pred"]));
    let weights = numbers(&section["weight"]);
    for (weights, expected) in [(None, "expected"), (Some(&weights[..]), "expected_weighted")] {
        let expected = &section[expected];
        for (metric, name) in [
            (RegressionMetric::ExplainedVariance, "explained_variance"),
            (RegressionMetric::Msle, "msle"),
            (RegressionMetric::Mape, "mape"),
            (RegressionMetric::MedianAe, "median_ae"),
            (RegressionMetric::PoissonDeviance, "poisson_dev"),
            (RegressionMetric::GammaDeviance, "gamma_dev"),
            (RegressionMetric::D2Absolute, "d2_abs"),
        ] {
            close(metric.compute_weighted(&labels, &predictions, weights).unwrap(), &expected[name], name);
        }
        close(tweedie_deviance(&labels, &predictions, weights, 1.5).unwrap(), &expected["tweedie_1_5"], "tweedie");
    }
    let expected = &section["expected"];
    for (metric, name) in [
        (RegressionMetric::Wape, "wape"),
        (RegressionMetric::Pearson, "pearson"),
        (RegressionMetric::Spearman, "spearman"),
        (RegressionMetric::KendallTau, "kendall_b"),
    ] {
        close(metric.compute(&labels, &predictions).unwrap(), &expected[name], name);
        assert!(metric.compute_weighted(&labels, &predictions, Some(&weights)).is_err() || name == "wape");
    }
    close(huber_loss(&labels, &predictions, None, 1.0).unwrap(), &expected["huber_1"], "huber");
    close(mase(&labels, &predictions, 1).unwrap(), &expected["mase_lag1"], "mase");
}

#[test]
fn several_classes_match() {
    let Some(vectors) = shared() else { return };
    let section = &vectors["multiclass"];
    let labels = indices(&section["y"]);
    let probabilities: Vec<f64> = section["proba"].as_array().unwrap().iter().flat_map(numbers).collect();
    let rows = ClassRows::from_probabilities(4, &labels, &probabilities).unwrap();
    let expected = &section["expected"];
    close(rows.top_k_accuracy(2).unwrap(), &expected["top2_accuracy"], "top 2");
    close(rows.brier().unwrap(), &expected["brier_multiclass_sum"], "Brier");
    close(rows.roc_auc_ovo(Average::Macro).unwrap(), &expected["roc_auc_ovo_macro"], "OVO macro");
    close(rows.roc_auc_ovo(Average::Weighted).unwrap(), &expected["roc_auc_ovo_weighted"], "OVO weighted");
    let matrix = rows.confusion().unwrap();
    close(matrix.ordinal_kappa(false), &expected["kappa_linear"], "linear kappa");
    close(matrix.ordinal_kappa(true), &expected["kappa_quadratic"], "quadratic kappa");
}

#[test]
fn ranked_lists_and_labellings_match() {
    let Some(vectors) = shared() else { return };
    let section = &vectors["ranking"];
    let lists: Vec<(Vec<f64>, Vec<f64>)> = section["relevance"]
        .as_array()
        .unwrap()
        .iter()
        .zip(section["score"].as_array().unwrap())
        .map(|(relevance, scores)| (numbers(relevance), numbers(scores)))
        .collect();
    let mean = |of: &dyn Fn(&[f64], &[f64]) -> f64| {
        lists.iter().map(|(relevance, scores)| of(relevance, scores)).sum::<f64>() / lists.len() as f64
    };
    let listed = |of: fn(&RankedList<'_>) -> f64| {
        mean(&|relevance: &[f64], scores: &[f64]| {
            let relevant: Vec<bool> = relevance.iter().map(|degree| *degree >= 2.0).collect();
            of(&RankedList { relevant: &relevant, scores })
        })
    };
    let expected = &section["expected"];
    close(mean(&|r, s| dcg(r, s, Some(5), false).unwrap()), &expected["dcg_at_5"], "DCG");
    // The reference's order of ties is that of an unstable sort, so only what lies between the worst and the best
    // order can be asked for; breaking ties by relevance gives these.
    let broken = |sign: f64| {
        mean(&|r, s| {
            let scores: Vec<f64> = s.iter().zip(r).map(|(score, relevance)| score + sign * 1e-6 * relevance).collect();
            ndcg(r, &scores, Some(5), true).unwrap()
        })
    };
    let found = mean(&|r, s| ndcg(r, s, Some(5), true).unwrap());
    assert!(broken(-1.0) <= found && found <= broken(1.0), "{found}");
    let given = expected["ndcg_at_5_ignore_ties"].as_f64().unwrap();
    assert!(broken(-1.0) <= given && given <= broken(1.0), "{given}");
    close(listed(|list| list.average_precision().unwrap()), &expected["lrap"], "LRAP");
    close(listed(|list| list.coverage().unwrap()), &expected["coverage_error"], "coverage");
    close(listed(|list| list.ranking_loss().unwrap()), &expected["ranking_loss"], "ranking loss");
    let section = &vectors["clustering"];
    let agreement = Agreement::of(&indices(&section["a"]), &indices(&section["b"])).unwrap();
    for (found, name) in [
        (agreement.adjusted_rand(), "ari"),
        (agreement.adjusted_mutual_information(), "ami"),
        (agreement.homogeneity(), "homogeneity"),
        (agreement.completeness(), "completeness"),
        (agreement.v_measure(), "nmi"),
        (agreement.fowlkes_mallows(), "fowlkes"),
    ] {
        close(found, &section["expected"][name], name);
    }
}

#[test]
fn inequality_matches() {
    let Some(vectors) = shared() else { return };
    let section = &vectors["fairness"];
    let (labels, scores) = (numbers(&section["y"]), numbers(&section["score"]));
    let calls: Vec<f64> = scores.iter().map(|score| f64::from(u8::from(*score >= 0.5))).collect();
    close(benefit_entropy(&labels, &calls, 1.0).unwrap(), &section["expected"]["theil_index"], "Theil");
    close(benefit_entropy(&labels, &calls, 2.0).unwrap(), &section["expected"]["generalized_entropy_2"], "GE(2)");
    let mut outcomes = mlops_metrics::GroupOutcomes::default();
    for (row, group) in section["A"].as_array().unwrap().iter().enumerate() {
        outcomes.add(group.as_str().unwrap(), labels[row] == 1.0, calls[row] == 1.0).unwrap();
    }
    for (group, impact) in section["expected"]["disparate_impact_vs_a"].as_object().unwrap() {
        close(outcomes.ratio_to(group, "a", Rate::Selection).unwrap(), impact, group);
    }
    let odds = outcomes.average_odds_difference("b", "a").unwrap();
    close(odds, &section["expected"]["average_odds_difference_b_vs_a"], "average odds");
}
