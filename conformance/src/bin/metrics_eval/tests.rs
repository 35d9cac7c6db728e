//! Models against each other, intervals, corrections.

use mlops_core::{Error, Result};
use mlops_metrics::{
    Bootstrap, BootstrapKind, clopper_pearson,
    special::normal_quantile,
    stats::{
        Correction, TestResult, WilcoxonMode, ZeroRule, auc_variance, cohen_d_paired, corrected_resampled_t, cv_5x2_f,
        cv_5x2_t, delong, friedman, mcnemar, paired_t, permutation_test, sign_test, wilcoxon,
    },
    wilson,
};
use mlops_monitor::stats::{mann_whitney, moments, welch_t};
use serde_json::{Map, Value, json};

use crate::{Section, inputs::field};

const LEVEL: f64 = 0.95;

pub(crate) fn section(input: &Value) -> Result<Value> {
    let parts: [(&str, Section); 9] = [
        ("delong", areas),
        ("mcnemar", calls),
        ("paired", pairs),
        ("cv5x2", five_by_two),
        ("corrected_resampled_t", resampled),
        ("friedman", ranks),
        ("proportion_ci", proportion),
        ("multiple", many),
        ("bootstrap_mean", |_| Ok(Value::Null)),
    ];
    let mut out = Map::new();
    for (name, of) in parts {
        if let Some(input) = input.get(name) {
            out.insert(name.to_owned(), of(input)?);
        }
    }
    // The mean that is resampled is that of the first side of the pairs.
    if let (Some(slot), Some(paired)) = (out.get_mut("bootstrap_mean"), input.get("paired")) {
        *slot = bootstrap(&field::<Vec<f64>>(paired, "a")?)?;
    }
    Ok(Value::Object(out))
}

fn areas(input: &Value) -> Result<Value> {
    let (labels, first, second): (Vec<f64>, Vec<f64>, Vec<f64>) =
        (field(input, "y")?, field(input, "s1")?, field(input, "s2")?);
    let test = delong(&labels, &first, &second)?;
    let (area, variance) = auc_variance(&labels, &first)?;
    let half = normal_quantile(0.5 + LEVEL / 2.0) * variance.sqrt();
    let [auc1, auc2] = test.auc;
    Ok(json!({
        "auc1": auc1, "auc2": auc2, "cov": test.covariance, "z": test.z(), "p": test.p_value(),
        "ci95_auc1": [area - half, area + half],
    }))
}

fn calls(input: &Value) -> Result<Value> {
    let test = mcnemar(field(input, "n01")?, field(input, "n10")?);
    Ok(json!({
        "exact_p": test.exact_p, "chi2_cc": test.corrected.statistic, "p_cc": test.corrected.p_value, "midp": test.mid_p,
    }))
}

fn pair(test: TestResult) -> Value {
    json!([test.statistic, test.p_value])
}

fn pairs(input: &Value) -> Result<Value> {
    let (a, b): (Vec<f64>, Vec<f64>) = (field(input, "a")?, field(input, "b")?);
    let t = paired_t(&a, &b)?;
    let pratt = wilcoxon(&a, &b, ZeroRule::Pratt, WilcoxonMode::Normal { continuity: true })?;
    let (sorted_a, sorted_b) = (sorted(&a), sorted(&b));
    let moments = moments(&sorted_a).zip(moments(&sorted_b));
    let welch = moments.and_then(|(a, b)| welch_t(&a, &b));
    let ranks = mann_whitney(&sorted_a, &sorted_b);
    let undefined = || Error::failed_precondition("the pairs have no Welch or Mann-Whitney test");
    let (welch, ranks) = welch.zip(ranks).ok_or_else(undefined)?;
    // Exact where SciPy is: without ties and with eight values or fewer on a side.
    let exact = if ranks.n.min(ranks.m) <= 8 { ranks.exact_tail() } else { None };
    Ok(json!({
        "t": t.statistic, "t_p": t.p_value,
        "wilcoxon": pair(wilcoxon(&a, &b, ZeroRule::LeaveOut, WilcoxonMode::Auto)?),
        "wilcoxon_pratt_approx": pair(pratt),
        "permutation_p": permutation_test(&a, &b, 20_000, 1)?.p_value,
        "sign_p": sign_test(&a, &b)?.p_value,
        "welch": [welch.t, welch.tail.p()],
        "mannwhitney": [ranks.u, exact.or_else(|| ranks.limit_tail()).map(|tail| tail.p())],
        "cohen_d_paired": cohen_d_paired(&a, &b)?,
    }))
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn five_by_two(input: &Value) -> Result<Value> {
    let differences: [[f64; 2]; 5] = field(input, "diffs")?;
    let (t, f) = (cv_5x2_t(&differences)?, cv_5x2_f(&differences)?);
    Ok(json!({ "t": t.statistic, "t_p": t.p_value, "F": f.statistic, "F_p": f.p_value }))
}

fn resampled(input: &Value) -> Result<Value> {
    let differences: Vec<f64> = field(input, "diffs")?;
    let test = corrected_resampled_t(&differences, field(input, "test_over_train")?)?;
    Ok(json!({ "t": test.statistic, "p": test.p_value }))
}

fn ranks(input: &Value) -> Result<Value> {
    let found = friedman(&field::<Vec<Vec<f64>>>(input, "scores")?)?;
    Ok(json!({ "chi2": found.test.statistic, "p": found.test.p_value, "ranks_mean": found.mean_ranks }))
}

fn proportion(input: &Value) -> Result<Value> {
    let (k, n) = (field(input, "k")?, field(input, "n")?);
    let (score, exact) = (wilson(k, n, LEVEL)?, clopper_pearson(k, n, LEVEL)?);
    Ok(json!({ "wilson": [score.low, score.high], "clopper_pearson": [exact.low, exact.high] }))
}

fn many(input: &Value) -> Result<Value> {
    let p_values: Vec<f64> = field(input, "p")?;
    Ok(json!({
        "bh": Correction::BenjaminiHochberg.adjust(&p_values)?, "holm": Correction::Holm.adjust(&p_values)?,
    }))
}

fn bootstrap(values: &[f64]) -> Result<Value> {
    let mean = |rows: &[usize]| Some(rows.iter().filter_map(|row| values.get(*row)).sum::<f64>() / rows.len() as f64);
    let mut found = Map::new();
    for (name, kind) in
        [("bca", BootstrapKind::Bca), ("percentile", BootstrapKind::Percentile), ("basic", BootstrapKind::Basic)]
    {
        let bootstrap = Bootstrap { resamples: 50_000, seed: 7, level: LEVEL, kind };
        let interval = bootstrap.run(values.len(), mean)?.interval;
        found.insert(name.to_owned(), json!([interval.low, interval.high]));
    }
    Ok(Value::Object(found))
}
