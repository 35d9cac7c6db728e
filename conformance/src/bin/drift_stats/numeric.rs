//! Two samples of numbers.

use mlops_core::Result;
use mlops_monitor::stats::{
    KsMode, ZeroRule, bin_counts, ks_p_value, ks_statistic, psi, quantile_edges, sturges_counts,
};
use serde_json::{Map, Value, json};

use crate::{inputs::Inputs, put_tail};

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
    if let Some(found) = ks(&reference, &current) {
        results.insert("ks".to_owned(), found);
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

fn ks(reference: &[f64], current: &[f64]) -> Option<Value> {
    let ks = ks_statistic(reference, current)?;
    let mut results = Map::new();
    results.insert("d".to_owned(), json!(ks.d));
    results.insert("d_plus".to_owned(), json!(ks.d_plus));
    results.insert("d_minus".to_owned(), json!(ks.d_minus));
    results.insert("h".to_owned(), json!(ks.h));
    if ks.n.saturating_mul(ks.m) <= EXACT_CELLS_MAX {
        put_tail(&mut results, "p_exact", ks_p_value(&ks, KsMode::Exact));
    }
    put_tail(&mut results, "p_kolm", ks_p_value(&ks, KsMode::Limit));
    put_tail(&mut results, "p_kstwo", ks_p_value(&ks, KsMode::OneSample));
    // Its definition is a double, which has no logarithm once it is zero.
    if results.get("p_kstwo").and_then(Value::as_f64) == Some(0.0) {
        results.insert("p_kstwo_log10".to_owned(), Value::Null);
    }
    Some(Value::Object(results))
}

fn binned(reference: &[f64], current: &[f64]) -> Value {
    let edges = quantile_edges(reference, 10);
    let counts = (bin_counts(reference, &edges), bin_counts(current, &edges));
    let mut deciles = distances(&counts.0, &counts.1);
    deciles.insert("edges".to_owned(), json!(edges));
    let (reference, current) = sturges_counts(reference, current);
    json!({ "q10": deciles, "evidently": distances(&reference, &current) })
}

/// Counts of more bins than this are left out.
const BINS_SHOWN_MAX: usize = 60;

/// PSI under every zero rule.
pub(crate) fn distances(reference: &[u64], current: &[u64]) -> Map<String, Value> {
    let mut results = Map::new();
    results.insert("bins".to_owned(), json!(reference.len()));
    let shown = |counts: &[u64]| (counts.len() <= BINS_SHOWN_MAX).then(|| counts.to_vec());
    results.insert("ref".to_owned(), json!(shown(reference)));
    results.insert("cur".to_owned(), json!(shown(current)));
    let rules = [("psi_e4", ZeroRule::Floor(1e-4)), ("psi_evi", ZeroRule::Evidently), ("psi_lap", ZeroRule::Laplace)];
    for (name, rule) in rules {
        results.insert(name.to_owned(), json!(psi(reference, current, rule)));
    }
    results
}
