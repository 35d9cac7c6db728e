//! The `explain` section of the reference vectors: shap 0.51.0, scikit-learn 1.9.1, and exact
//! enumeration. The program that answers it for checkers from outside is judged here, so that
//! there is one of them.

#[path = "../../../conformance/src/bin/metrics_eval/explain.rs"]
mod program;

use serde_json::Value;

use crate::common::shared;

/// Numbers of any nesting, flat.
fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        value => vec![value.as_f64().unwrap()],
    }
}

/// Within `tolerance`, relative for numbers beyond one.
fn close(found: &Value, expected: &Value, path: &str, tolerance: f64) {
    let (found, expected) = (flat(found.pointer(path).unwrap()), flat(expected.pointer(path).unwrap()));
    assert_eq!(found.len(), expected.len(), "{path}");
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() <= tolerance * expected.abs().max(1.0), "{path}: {found} {expected}");
    }
}

#[test]
fn explanations_match() {
    let Some(path) = shared("vectors/ml/ml_vectors.json") else { return };
    let vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let expected = &vectors["explain"];
    let found = program::section(expected).unwrap();
    // References are written with twelve digits, those of KernelSHAP with eight.
    for (path, tolerance) in [
        ("/exact_shapley/phi", 1e-11),
        ("/exact_shapley/base", 1e-11),
        ("/kernel_shap_2000/phi", 1e-8),
        ("/linear_shapley", 1e-11),
        ("/tree_shap_path_dependent/phi", 1e-11),
        ("/tree_shap_path_dependent/base", 1e-11),
        // The reference computes its weights in single precision: its own contributions miss the prediction by up to
        // 1.1e-7, where ours sum up to 1e-15 and are those of the enumeration (see `tree_shap_is_the_definition`).
        ("/tree_shap_interventional/phi", 1e-7),
        ("/tree_shap_interventional/base", 1e-11),
        ("/forest_shap_path_dependent/phi", 1e-11),
        ("/forest_shap_path_dependent/base", 1e-11),
        ("/forest_pred_rows", 1e-11),
        ("/mdi_importance", 1e-11),
        ("/pdp_feature0/grid", 1e-11),
        ("/pdp_feature0/average", 1e-11),
        ("/pdp_feature0/ice_rows_0_5", 1e-11),
        ("/ale_feature0/edges", 1e-11),
        ("/ale_feature0/values", 1e-11),
        ("/integrated_gradients/attr", 1e-11),
        ("/integrated_gradients/completeness_error", 1e-11),
        ("/permutation_importance_r2/base", 1e-11),
    ] {
        close(&found, expected, path, tolerance);
    }
    // With five features all coalitions fit, so the estimate is exact.
    for (kernel, exact) in flat(&found["kernel_shap_2000"]["phi"]).iter().zip(flat(&found["exact_shapley"]["phi"])) {
        assert!((kernel - exact).abs() < 1e-12, "{kernel} {exact}");
    }
    permutation_is_within_its_noise(&found["permutation_importance_r2"], &expected["permutation_importance_r2"]);
}

/// Two means of 50 repetitions differ by their two standard errors, three times which is nearly never passed.
fn permutation_is_within_its_noise(found: &Value, expected: &Value) {
    let of = |section: &Value, name: &str| flat(&section[name]);
    let pairs = of(found, "mean")
        .into_iter()
        .zip(of(found, "std"))
        .zip(of(expected, "mean").into_iter().zip(of(expected, "std")));
    for ((mean, std), (expected, expected_std)) in pairs {
        let error = ((std * std + expected_std * expected_std) / 50.0).sqrt();
        assert!((mean - expected).abs() <= 3.0 * error, "{mean} {expected}");
        assert!((0.6..1.6).contains(&(std / expected_std)), "{std} {expected_std}");
    }
}
