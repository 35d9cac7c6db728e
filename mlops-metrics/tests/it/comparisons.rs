//! Tests of models against each other and scores into probabilities, against SciPy 1.17.1 and scikit-learn 1.9.1.

use mlops_metrics::{
    PlattScaling, TemperatureScaling,
    stats::{
        Correction, WilcoxonMode, ZeroRule, cohen_d_paired, corrected_resampled_t, cv_5x2_f, cv_5x2_t, friedman,
        mcnemar, paired_t, permutation_test, sign_test, wilcoxon,
    },
};
use serde_json::Value;

use crate::vectors::{close, numbers, sources};

/// The whole vectors; the subset beside this file does not have these.
fn shared() -> Option<Value> {
    sources().into_iter().find(|(source, _)| *source == "shared").map(|(_, vectors)| vectors)
}

#[test]
fn paired_tests_match() {
    let Some(vectors) = shared() else { return };
    let paired = &vectors["tests"]["paired"];
    let (a, b) = (numbers(&paired["a"]), numbers(&paired["b"]));
    let t = paired_t(&a, &b).unwrap();
    close(t.statistic, &paired["t"], "t");
    close(t.p_value, &paired["t_p"], "p of t");
    close(cohen_d_paired(&a, &b).unwrap(), &paired["cohen_d_paired"], "d");
    close(sign_test(&a, &b).unwrap().p_value, &paired["sign_p"], "sign");
    for (rule, mode, name) in [
        (ZeroRule::LeaveOut, WilcoxonMode::Auto, "wilcoxon"),
        (ZeroRule::Pratt, WilcoxonMode::Normal { continuity: true }, "wilcoxon_pratt_approx"),
    ] {
        let test = wilcoxon(&a, &b, rule, mode).unwrap();
        close(test.statistic, &paired[name][0], name);
        close(test.p_value, &paired[name][1], name);
    }
    let p = permutation_test(&a, &b, 20_000, 3).unwrap().p_value;
    assert!((p - paired["permutation_p"].as_f64().unwrap()).abs() < 0.02, "{p}");
}

#[test]
fn tests_of_calls_and_folds_match() {
    let Some(vectors) = shared() else { return };
    let tests = &vectors["tests"];
    let expected = &tests["mcnemar"];
    let test = mcnemar(expected["n01"].as_u64().unwrap(), expected["n10"].as_u64().unwrap());
    close(test.exact_p, &expected["exact_p"], "exact");
    close(test.corrected.statistic, &expected["chi2_cc"], "chi squared");
    close(test.corrected.p_value, &expected["p_cc"], "corrected");
    close(test.mid_p, &expected["midp"], "mid-p");
    let rows: Vec<Vec<f64>> = tests["cv5x2"]["diffs"].as_array().unwrap().iter().map(numbers).collect();
    let folds: [[f64; 2]; 5] = std::array::from_fn(|i| [rows[i][0], rows[i][1]]);
    let (t, f) = (cv_5x2_t(&folds).unwrap(), cv_5x2_f(&folds).unwrap());
    close(t.statistic, &tests["cv5x2"]["t"], "5x2 t");
    close(t.p_value, &tests["cv5x2"]["t_p"], "5x2 p of t");
    close(f.statistic, &tests["cv5x2"]["F"], "5x2 F");
    close(f.p_value, &tests["cv5x2"]["F_p"], "5x2 p of F");
    let resampled = &tests["corrected_resampled_t"];
    let ratio = resampled["test_over_train"].as_f64().unwrap();
    let test = corrected_resampled_t(&numbers(&resampled["diffs"]), ratio).unwrap();
    close(test.statistic, &resampled["t"], "corrected t");
    close(test.p_value, &resampled["p"], "corrected p");
}

#[test]
fn ranks_and_corrections_match() {
    let Some(vectors) = shared() else { return };
    let expected = &vectors["tests"]["friedman"];
    let blocks: Vec<Vec<f64>> = expected["scores"].as_array().unwrap().iter().map(numbers).collect();
    let found = friedman(&blocks).unwrap();
    close(found.test.statistic, &expected["chi2"], "Friedman");
    close(found.test.p_value, &expected["p"], "Friedman p");
    assert_eq!(found.mean_ranks, numbers(&expected["ranks_mean"]));
    let many = &vectors["tests"]["multiple"];
    for (correction, name) in [(Correction::BenjaminiHochberg, "bh"), (Correction::Holm, "holm")] {
        let adjusted = correction.adjust(&numbers(&many["p"])).unwrap();
        for (row, p) in adjusted.into_iter().enumerate() {
            close(p, &many[name][row], name);
        }
    }
}

#[test]
fn scalings_match() {
    let Some(vectors) = shared() else { return };
    let section = &vectors["calibration_fit"];
    let (logits, labels) = (numbers(&section["logit"]), numbers(&section["y"]));
    // Written with six digits.
    let near = |found: f64, expected: &Value| (found / expected.as_f64().unwrap() - 1.0).abs() < 1e-5;
    let platt = PlattScaling::fit(&logits, &labels).unwrap();
    assert!(near(platt.slope, &section["platt"]["a"]) && near(platt.intercept, &section["platt"]["b"]), "{platt:?}");
    let scaling = TemperatureScaling::fit(&logits, &labels).unwrap();
    assert!(near(scaling.temperature, &section["temperature"]), "{scaling:?}");
    close(scaling.log_loss(&logits, &labels), &section["nll"], "nll");
}
