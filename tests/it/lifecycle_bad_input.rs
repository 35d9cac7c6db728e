//! Bad input: one sentence that says what and how to fix, exit code 2, nothing damaged.

use std::{fs, net::TcpListener, path::Path, process::Stdio};

use crate::lifecycle::{lifecycle, results};

/// `rows` lines of `time,amount,fraud`, an hour apart.
fn csv(rows: usize, label: impl Fn(usize) -> usize) -> String {
    let line = |row: usize| format!("2024-01-{:02}T{:02}:00:00Z,{},{}\n", 1 + row / 24, row % 24, row % 7, label(row));
    std::iter::once("time,amount,fraud\n".to_owned()).chain((0..rows).map(line)).collect()
}

/// Runs the program on a file; it must refuse it with one sentence that has all of `words`.
fn check_file(content: &str, arguments: &[&str], words: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events.csv");
    fs::write(&file, content).unwrap();
    check(&directory.path().join("home"), &[&["--data", file.to_str().unwrap()], arguments].concat(), words);
}

fn check(home: &Path, arguments: &[&str], words: &[&str]) {
    let output = lifecycle(home, arguments).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert!(output.stdout.is_empty(), "it went on: {}", String::from_utf8_lossy(&output.stdout));
    let last = complaint.trim_end().lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{complaint}");
    for word in words {
        assert!(last.contains(word), "no {word:?} in: {complaint}");
    }
}

const COLUMNS: &[&str] = &["--time", "time", "--label", "fraud"];

#[test]
fn a_missing_column_is_named_with_those_there_are() {
    let file = csv(500, |row| row % 2);
    check_file(&file, &["--time", "time", "--label", "fraudulent"], &["fraudulent", "amount", "fraud"]);
    check_file(&file, &["--time", "when", "--label", "fraud"], &["when", "time"]);
    check_file(&file, &[COLUMNS, &["--entity", "card"]].concat(), &["card", "amount"]);
}

#[test]
fn a_label_with_one_class_cannot_be_learned() {
    check_file(&csv(500, |_| 0), COLUMNS, &["fraud", "class"]);
}

#[test]
fn a_time_that_cannot_be_read_is_named_with_its_row() {
    let file = csv(500, |row| row % 2).replace("2024-01-03T05:00:00Z", "yesterday");
    check_file(&file, COLUMNS, &["time"]);
}

#[test]
fn unsorted_time_is_refused_and_the_option_is_named() {
    let file = csv(500, |row| row % 2).replace("2024-01-03T05:00:00Z", "2023-01-03T05:00:00Z");
    check_file(&file, COLUMNS, &["time", "--sort"]);
}

#[test]
fn an_empty_file_and_one_without_rows() {
    check_file("", COLUMNS, &["empty"]);
    check_file("time,amount,fraud\n", COLUMNS, &["no rows"]);
}

#[test]
fn a_directory_or_nothing_instead_of_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let (home, path) = (directory.path().join("home"), directory.path().to_str().unwrap());
    check(&home, &[&["--data", path], COLUMNS].concat(), &["directory", path]);
    let absent = directory.path().join("absent.parquet");
    check(&home, &[&["--data", absent.to_str().unwrap()], COLUMNS].concat(), &["absent.parquet"]);
    assert!(!home.exists(), "a refused file leaves no home behind");
}

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let directory = tempfile::tempdir().unwrap();
    check(directory.path(), &["--events", "4000", "--port", &port, "--json"], &[&port, "--port"]);
}

#[test]
fn a_home_of_a_newer_format_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let format = directory.path().join("format");
    drop(mlops::store::Home::open(directory.path()).unwrap());
    let newer = fs::read_to_string(&format).unwrap().replace('1', "999");
    fs::write(&format, &newer).unwrap();
    check(directory.path(), &["--events", "4000"], &["format 999", "upgrade"]);
    assert_eq!(fs::read_to_string(&format).unwrap(), newer);
    assert!(!directory.path().join("meta.db").exists());
}

#[test]
fn a_home_in_use_by_another_process_is_refused_and_the_other_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = &["--events", "4000", "--json"];
    let first = lifecycle(directory.path(), arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !directory.path().join("meta.db").exists() {
        std::thread::yield_now();
    }
    check(directory.path(), arguments, &["in use"]);
    results(&first.wait_with_output().unwrap());
}
