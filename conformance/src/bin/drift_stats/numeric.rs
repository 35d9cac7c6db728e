//! Two samples of numbers.

use mlops_core::Result;
use mlops_monitor::stats::{
    KsMode, KsStatistic, WidthRule, ZeroRule, anderson_darling, anderson_darling_tail, bin_counts, cramer_von_mises,
    energy, hellinger, jensen_shannon, ks_p_value, ks_statistic, kuiper, kullback_leibler, l_infinity, mann_whitney,
    moments, psi, quantile_edges, reference_width_counts, student_t, sturges_counts, total_variation, wasserstein,
    welch_t,
};
use serde_json::{Map, Value, json};

use crate::{inputs::Inputs, number, put_tail};

/// Largest product of sample sizes for which the vectors have the exact law.
const EXACT_CELLS_MAX: u64 = 250_000;

pub(crate) fn case(inputs: &Inputs, case: &Value) -> Result<Value> {
    let (reference, dropped_ref) = finite(inputs.sample(case, "ref")?);
    let (current, dropped_cur) = finite(inputs.sample(case, "cur")?);
    let mut results = Map::new();
    for (name, count) in [
        ("n_ref", reference.len()),
        ("n_cur", current.len()),
        ("dropped_ref", dropped_ref),
        ("dropped_cur", dropped_cur),
    ] {
        results.insert(name.to_owned(), json!(count));
    }
    if let Some(found) = ks_statistic(&reference, &current) {
        results.insert("ties".to_owned(), json!(has_ties(&reference, &current)));
        results.insert("ks".to_owned(), ks(&found));
        let (v, tail) = kuiper(&found);
        let mut around = Map::from_iter([("v".to_owned(), json!(v))]);
        put_tail(&mut around, "p", Some(tail));
        results.insert("kuiper".to_owned(), Value::Object(around));
        results.extend(ranks(&reference, &current));
        results.extend(means(&reference, &current));
        results.insert("energy".to_owned(), json!(energy(&reference, &current)));
        results.insert("binned".to_owned(), binned(&reference, &current));
    } else {
        results.insert("empty".to_owned(), json!(true));
    }
    Ok(json!({ "name": case.get("name"), "expected": results }))
}

/// The finite values in ascending order, and how many others there were.
fn finite(mut values: Vec<f64>) -> (Vec<f64>, usize) {
    let all = values.len();
    values.retain(|value| value.is_finite());
    values.sort_unstable_by(f64::total_cmp);
    let dropped = all - values.len();
    (values, dropped)
}

fn has_ties(reference: &[f64], current: &[f64]) -> bool {
    mann_whitney(reference, current).is_some_and(|ranks| ranks.ties > 0.0)
}

fn ks(ks: &KsStatistic) -> Value {
    let mut results = Map::new();
    results.insert("d".to_owned(), json!(ks.d));
    results.insert("d_plus".to_owned(), json!(ks.d_plus));
    results.insert("d_minus".to_owned(), json!(ks.d_minus));
    results.insert("h".to_owned(), json!(ks.h));
    if ks.n.saturating_mul(ks.m) <= EXACT_CELLS_MAX {
        put_tail(&mut results, "p_exact", ks_p_value(ks, KsMode::Exact));
    }
    put_tail(&mut results, "p_kolm", ks_p_value(ks, KsMode::Limit));
    put_tail(&mut results, "p_kstwo", ks_p_value(ks, KsMode::OneSample));
    // Its definition is a double, which has no logarithm once it is zero.
    if results.get("p_kstwo").and_then(Value::as_f64) == Some(0.0) {
        results.insert("p_kstwo_log10".to_owned(), Value::Null);
    }
    Value::Object(results)
}

/// The tests that look at ranks.
fn ranks(reference: &[f64], current: &[f64]) -> Map<String, Value> {
    let mut results = Map::new();
    if let Some(test) = mann_whitney(reference, current) {
        let mut found = Map::from_iter([("u1".to_owned(), json!(test.u))]);
        put_tail(&mut found, "p_asymp", test.limit_tail());
        put_tail(&mut found, "p_exact", test.exact_tail());
        results.insert("mwu".to_owned(), Value::Object(found));
    }
    if let Some(test) = cramer_von_mises(reference, current) {
        let mut found = Map::new();
        found.insert("t".to_owned(), json!(test.t));
        found.insert("tn".to_owned(), json!(test.standardised));
        put_tail(&mut found, "p_asymp", Some(test.limit_tail()));
        put_tail(&mut found, "p_exact", test.exact_tail());
        results.insert("cvm".to_owned(), Value::Object(found));
    }
    if let Some(statistic) = anderson_darling(reference, current) {
        let found = json!({ "a2": statistic, "p": anderson_darling_tail(statistic).p() });
        results.insert("ad".to_owned(), found);
    }
    results
}

/// The tests that look at means, and how far mass moved.
fn means(reference: &[f64], current: &[f64]) -> Map<String, Value> {
    let mut results = Map::new();
    let (Some(a), Some(b)) = (moments(reference), moments(current)) else { return results };
    if a.n > 1 && b.n > 1 {
        let mut found = Map::new();
        for (name, value) in
            [("mean_ref", a.mean), ("mean_cur", b.mean), ("var_ref", a.variance), ("var_cur", b.variance)]
        {
            found.insert(name.to_owned(), number(value));
        }
        if let Some((pooled, welch)) = student_t(&a, &b).zip(welch_t(&a, &b)) {
            found.insert("t".to_owned(), json!(pooled.t));
            put_tail(&mut found, "p", Some(pooled.tail));
            found.insert("welch_t".to_owned(), json!(welch.t));
            found.insert("welch_df".to_owned(), json!(welch.degrees_of_freedom));
            put_tail(&mut found, "welch_p", Some(welch.tail));
        }
        results.insert("ttest".to_owned(), Value::Object(found));
    }
    if let Some(moved) = wasserstein(reference, current) {
        let count = reference.len() as f64;
        // Evidently's scale: the deviation with n in the denominator, at least a thousandth.
        let deviation = (a.variance * (count - 1.0) / count).sqrt();
        results.insert("wasserstein".to_owned(), json!(moved));
        results.insert("wasserstein_norm".to_owned(), json!(moved / deviation.max(0.001)));
    }
    results
}

fn binned(reference: &[f64], current: &[f64]) -> Value {
    let edges = quantile_edges(reference, 10);
    let mut deciles = distances(&bin_counts(reference, &edges), &bin_counts(current, &edges));
    deciles.insert("edges".to_owned(), json!(edges));
    let sturges = sturges_counts(reference, current);
    let mut evidently = distances(&sturges.reference, &sturges.current);
    let shown = sturges.reference.len() <= BINS_SHOWN_MAX;
    evidently.insert("edges".to_owned(), json!(shown.then_some(sturges.edges)));
    let width = reference_width_counts(reference, current, WidthRule::Doane);
    let mut doane = distances(&width.reference, &width.current);
    doane.insert("edges".to_owned(), json!(width.edges));
    json!({ "q10": deciles, "evidently": evidently, "doane": doane })
}

/// Counts of more bins than this are left out.
const BINS_SHOWN_MAX: usize = 60;

/// Every distance between two histograms, those with logarithms under every zero rule.
pub(crate) fn distances(reference: &[u64], current: &[u64]) -> Map<String, Value> {
    let mut results = Map::new();
    results.insert("bins".to_owned(), json!(reference.len()));
    let shown = |counts: &[u64]| (counts.len() <= BINS_SHOWN_MAX).then(|| counts.to_vec());
    results.insert("ref".to_owned(), json!(shown(reference)));
    results.insert("cur".to_owned(), json!(shown(current)));
    for (name, rule) in [("e4", ZeroRule::Floor(1e-4)), ("evi", ZeroRule::Evidently), ("lap", ZeroRule::Laplace)] {
        results.insert(format!("psi_{name}"), json!(psi(reference, current, rule)));
        results.insert(format!("kl_{name}"), json!(kullback_leibler(reference, current, rule)));
    }
    let js = jensen_shannon(reference, current);
    results.insert("js_e".to_owned(), json!(js));
    results.insert("js_2".to_owned(), json!(js.map(|js| js / 2_f64.ln().sqrt())));
    results.insert("hellinger".to_owned(), json!(hellinger(reference, current)));
    results.insert("tvd".to_owned(), json!(total_variation(reference, current)));
    results.insert("linf".to_owned(), json!(l_infinity(reference, current)));
    results
}
