//! Two rows of counted levels.

use mlops_core::{Error, Result};
use mlops_monitor::stats::{Continuity, chi_squared, fisher, g_test, goodness_of_fit, two_proportions};
use serde_json::{Map, Value, json};

use crate::{number, numeric::distances, put_tail};

pub(crate) fn case(case: &Value) -> Result<Value> {
    let (reference, current) = (counts(case, "ref")?, counts(case, "cur")?);
    let mut results = Map::new();
    results.insert("n_ref".to_owned(), json!(reference.iter().sum::<u64>()));
    results.insert("n_cur".to_owned(), json!(current.iter().sum::<u64>()));
    if let Some(test) = chi_squared(&reference, &current, Continuity::None) {
        let mut plain = Map::new();
        plain.insert("x2".to_owned(), json!(test.statistic));
        plain.insert("df".to_owned(), json!(test.degrees_of_freedom));
        put_tail(&mut plain, "p", Some(test.tail));
        results.insert("chi2_contingency".to_owned(), Value::Object(plain));
        results.insert("min_expected".to_owned(), json!(test.expected_min));
        results.insert("cramers_v".to_owned(), json!(test.cramers_v));
    }
    if let Some((ratio, fit)) = g_test(&reference, &current).zip(goodness_of_fit(&reference, &current)) {
        let mut found = Map::from_iter([("g".to_owned(), json!(ratio.statistic))]);
        put_tail(&mut found, "p", Some(ratio.tail));
        results.insert("g_contingency".to_owned(), Value::Object(found));
        let mut found = Map::new();
        found.insert("x2".to_owned(), number(fit.statistic));
        found.insert("df".to_owned(), json!(fit.degrees_of_freedom));
        put_tail(&mut found, "p", Some(fit.tail));
        results.insert("chi2_gof_ref_as_law".to_owned(), Value::Object(found));
    }
    if let (&[a, b], &[c, d]) = (reference.as_slice(), current.as_slice()) {
        if let Some(test) = chi_squared(&reference, &current, Continuity::Yates) {
            let mut yates = Map::new();
            yates.insert("x2".to_owned(), json!(test.statistic));
            put_tail(&mut yates, "p", Some(test.tail));
            results.insert("chi2_yates".to_owned(), Value::Object(yates));
        }
        if let Some((z, tail)) = two_proportions((a, a + b), (c, c + d)) {
            let mut test = Map::new();
            test.insert("z".to_owned(), json!(z));
            put_tail(&mut test, "p", Some(tail));
            results.insert("ztest".to_owned(), Value::Object(test));
        }
        let mut exact = Map::new();
        put_tail(&mut exact, "p", Some(fisher((a, b), (c, d))));
        results.insert("fisher".to_owned(), Value::Object(exact));
    }
    // A level that neither side has is no bin.
    let levels = reference.iter().zip(&current).filter(|(a, b)| **a + **b > 0);
    let (reference, current): (Vec<u64>, Vec<u64>) = levels.unzip();
    results.insert("levels".to_owned(), json!(reference.len()));
    results.insert("binned".to_owned(), Value::Object(distances(&reference, &current)));
    Ok(json!({ "name": case.get("name"), "expected": results }))
}

fn counts(case: &Value, side: &str) -> Result<Vec<u64>> {
    let found = case.get(side).cloned().unwrap_or_default();
    serde_json::from_value(found)
        .map_err(|error| Error::invalid_argument(format!("{side} of {} is no list of counts: {error}", case["name"])))
}
