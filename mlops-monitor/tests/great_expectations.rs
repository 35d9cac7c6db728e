//! Great Expectations on the same table: its suite is read, and every verdict, count, percentage,
//! figure and list of values is the same. The file names the versions that made it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{fs, path::Path, sync::Arc};

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use mlops_monitor::quality::{Suite, Tables, ValidationSettings};
use serde_json::{Value as Json, json};

fn golden() -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/great_expectations.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn column(column: &Json) -> (String, ArrayRef) {
    let values = column["values"].as_array().unwrap();
    let array: ArrayRef = match column["type"].as_str().unwrap() {
        "Int64" => Arc::new(values.iter().map(Json::as_i64).collect::<Int64Array>()),
        "Float64" => Arc::new(values.iter().map(Json::as_f64).collect::<Float64Array>()),
        "Bool" => Arc::new(values.iter().map(Json::as_bool).collect::<BooleanArray>()),
        _ => Arc::new(values.iter().map(Json::as_str).collect::<StringArray>()),
    };
    (column["name"].as_str().unwrap().to_owned(), array)
}

fn table(golden: &Json) -> RecordBatch {
    RecordBatch::try_from_iter(golden["columns"].as_array().unwrap().iter().map(column)).unwrap()
}

/// Equal, numbers to a relative 1e-12.
fn same(ours: &Json, theirs: &Json) -> bool {
    match (ours, theirs) {
        (Json::Number(a), Json::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 1e-12 * b.abs().max(1.0)
        }
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        _ => ours == theirs,
    }
}

/// What of their result ours must equal: all of it for rules about rows; the figure otherwise,
/// where it is a number or the quantiles.
fn compared(theirs: &Json) -> Vec<&str> {
    if theirs.get("element_count").is_some() {
        return vec![
            "element_count",
            "missing_count",
            "missing_percent",
            "unexpected_count",
            "unexpected_percent",
            "unexpected_percent_total",
            "unexpected_percent_nonmissing",
            "partial_unexpected_list",
        ];
    }
    let figure = theirs.get("observed_value").is_some_and(|value| value.is_number() || value.is_object());
    if figure { vec!["observed_value"] } else { Vec::new() }
}

fn validate(batches: &[RecordBatch], suite: &Suite) -> Json {
    let settings = ValidationSettings { include_values: true, ..ValidationSettings::default() };
    let mut run = suite.start(&settings, &Tables::default());
    batches.iter().for_each(|batch| run.observe(batch));
    run.finish().to_great_expectations()
}

/// Where they are wrong: position 0 is taken for "any position" (1.24.1), so that a column at
/// position 2 is found at position 0.
fn is_their_fault(result: &Json) -> bool {
    result["type"] == "expect_column_to_exist"
        && result["kwargs"]["column_index"] == 0
        && result["kwargs"]["column"] == "x"
}

fn check(batches: &[RecordBatch]) {
    let golden = golden();
    let results = golden["results"].as_array().unwrap();
    let imported = Suite::from_great_expectations(&json!({ "name": "golden", "expectations": results })).unwrap();
    assert_eq!(imported.skipped, []);
    let ours = validate(batches, &imported.suite);
    let ours = ours["results"].as_array().unwrap();
    assert_eq!((ours.len(), results.len() > 130), (results.len(), true));
    let mut faults = Vec::new();
    for (ours, theirs) in ours.iter().zip(results) {
        let mut differ = (ours["success"] != theirs["success"]) != is_their_fault(theirs);
        for key in compared(&theirs["result"]) {
            differ |= !same(&ours["result"][key], &theirs["result"][key]);
        }
        if differ {
            faults.push(format!("ours   {}\ntheirs {theirs}", json!({ "success": ours["success"], "result": ours["result"], "exception": ours["exception_info"]["exception_message"] })));
        }
    }
    assert!(faults.is_empty(), "{} of {} differ\n{}", faults.len(), results.len(), faults.join("\n\n"));
}

#[test]
fn results_are_theirs() {
    check(&[table(&golden())]);
}

#[test]
fn batches_do_not_change_results() {
    let table = table(&golden());
    let parts: Vec<RecordBatch> = [(0, 1), (1, 4), (5, 0), (5, 5), (10, 2)]
        .into_iter()
        .map(|(offset, length)| table.slice(offset, length))
        .collect();
    check(&parts);
}

#[test]
fn a_written_suite_reads_back() {
    let results = golden()["results"].clone();
    let imported = Suite::from_great_expectations(&json!({ "name": "golden", "expectations": results })).unwrap();
    let rules = imported.suite.rules();
    let written: Vec<Json> = rules.iter().map(mlops_monitor::quality::Rule::to_great_expectations).collect();
    let again = Suite::from_great_expectations(&json!({ "name": "golden", "expectations": written })).unwrap();
    assert_eq!((again.suite.rules(), again.skipped.len()), (rules, 0));
    // Without our own entry, from their arguments alone.
    let bare: Vec<Json> = written
        .into_iter()
        .map(|mut config| {
            config["meta"] = json!({});
            config
        })
        .collect();
    let bare = Suite::from_great_expectations(&json!({ "name": "golden", "expectations": bare })).unwrap();
    assert_eq!(bare.skipped, []);
    let batches = [table(&golden())];
    let strip = |json: Json| {
        let results = json["results"].as_array().unwrap().clone();
        results.into_iter().map(|result| (result["success"].clone(), result["result"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(strip(validate(&batches, &bare.suite)), strip(validate(&batches, &imported.suite)));
}
