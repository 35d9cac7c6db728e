//! The lifecycle program as its users start it, and what it answers.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::program::example;

/// The program, about to run with its state in `home`.
pub(crate) fn lifecycle(home: &Path, arguments: &[&str]) -> Command {
    let mut command = example("lifecycle");
    command.arg("--home").arg(home).args(arguments).stdin(Stdio::null());
    command
}

/// The results of a run that must succeed.
pub(crate) fn results(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {text}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What must be the same in every run over the same events: everything but how long it took, and what
/// depends on the run ids, which are random and part of each package's manifest.
pub(crate) fn reproducible(mut results: Value) -> Value {
    for version in results["versions"].as_array_mut().unwrap() {
        let version = version.as_object_mut().unwrap();
        assert!(version.remove("run_id").is_some() && version.remove("digest").is_some());
    }
    let traffic = results["traffic"].as_object_mut().unwrap();
    traffic.remove("latency_ms_p50").unwrap();
    traffic.remove("latency_ms_p99").unwrap();
    results
}

/// Where two results differ, as JSON pointers with both values.
pub(crate) fn differences(left: &Value, right: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", left, right, &mut found);
    found
}

fn compare(path: &str, left: &Value, right: &Value, found: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) if left.keys().eq(right.keys()) => {
            for (key, value) in left {
                compare(&format!("{path}/{key}"), value, &right[key], found);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                compare(&format!("{path}/{index}"), left, right, found);
            }
        }
        _ if left != right => found.push(format!("{path}: {left} is not {right}")),
        _ => {}
    }
}
