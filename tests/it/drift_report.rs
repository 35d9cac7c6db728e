//! The drift report on two files.

use std::{fs, path::Path, process::Output};

use serde_json::Value;

use crate::program::example;

fn csv(rows: u32, shift: u32) -> String {
    let line = |row: u32| format!("{},{}\n", row % 97 + shift, ["red", "green"][(row % 2) as usize]);
    std::iter::once("amount,color\n".to_owned()).chain((0..rows).map(line)).collect()
}

fn report(directory: &Path, current: &str) -> Output {
    fs::write(directory.join("a.csv"), csv(2_000, 0)).unwrap();
    fs::write(directory.join("b.csv"), current).unwrap();
    let mut program = example("drift_report");
    program.current_dir(directory).args(["--reference", "a.csv", "--current", "b.csv"]);
    program.args(["--json", "report.json", "--html", "report.html"]).output().unwrap()
}

#[test]
fn a_shifted_column_is_found_and_the_other_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let output = report(directory.path(), &csv(2_000, 40));
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("drift in 1 of 2 columns"), "{output:?}");
    let json: Value = serde_json::from_slice(&fs::read(directory.path().join("report.json")).unwrap()).unwrap();
    let verdicts: Vec<_> = json["columns"].as_array().unwrap().iter().map(|c| (&c["name"], &c["verdict"])).collect();
    assert_eq!(json["verdict"], "drift");
    assert!(verdicts.contains(&(&"amount".into(), &"drift".into())), "{verdicts:?}");
    assert!(verdicts.contains(&(&"color".into(), &"ok".into())), "{verdicts:?}");
    assert!(fs::read_to_string(directory.path().join("report.html")).unwrap().contains("amount"));
}

#[test]
fn the_same_data_is_no_drift() {
    let directory = tempfile::tempdir().unwrap();
    let output = report(directory.path(), &csv(1_500, 0));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("no drift"), "{output:?}");
}

#[test]
fn bad_input_is_one_sentence_and_exit_code_2() {
    let directory = tempfile::tempdir().unwrap();
    for (content, word) in [("", "b.csv is empty"), ("amount,color\n", "b.csv has no rows")] {
        let output = report(directory.path(), content);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        assert!(complaint.contains(word) && complaint.trim_end().lines().count() == 1, "{complaint}");
        assert!(!directory.path().join("report.json").exists());
    }
}
