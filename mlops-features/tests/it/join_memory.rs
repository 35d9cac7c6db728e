//! What a join says that it holds at most, beside what the process then takes: the greatest resident size while it runs,
//! less that before. Each join runs in a process of its own, which nothing else makes larger.
#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    reason = "the test tells its child process what to join by an environment variable"
)]

use std::{path::Path, process::Command, sync::Arc};

use mlops_core::arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use mlops_features::{JoinSettings, JoinView, Knowledge, PointInTimeJoin};
use parquet::{arrow::ArrowWriter, file::properties::WriterProperties};

use crate::data::{ints, times};

const HOME: &str = "MLOPS_FEATURES_MEMORY_HOME";
const ASKED: &str = "MLOPS_FEATURES_MEMORY_ASKED";
const SOURCES: usize = 3;
const SOURCE_ROWS: i64 = 150_000;
const SPINE_ROWS: i64 = 400_000;
const ENTITIES: i64 = 5_000;

fn source(number: usize) -> RecordBatch {
    let rows = 0..SOURCE_ROWS;
    let spread = |row: i64, step: i64| (row * step + number as i64) % ENTITIES;
    let columns: [(&str, ArrayRef); 6] = [
        ("k", ints(rows.clone().map(|row| Some(spread(row, 7_919))))),
        ("event_timestamp", times(rows.clone().map(|row| Some(row * 1_000)))),
        ("created", times(rows.clone().map(|row| Some(row * 1_000 + 37 * (row % 5))))),
        ("n", ints(rows.clone().map(|row| (row % 11 != 0).then_some(row)))),
        ("x", Arc::new(rows.clone().map(|row| Some(row as f64 / 3.0)).collect::<Float64Array>())),
        ("text", Arc::new(rows.map(|row| Some(format!("a text of number {row}"))).collect::<StringArray>())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn write(home: &Path) {
    for number in 0..SOURCES {
        let (batch, path) = (source(number), home.join(format!("{number}.parquet")));
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(20_000)).build();
        let file = std::fs::File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
}

fn spine(rows: std::ops::Range<i64>) -> RecordBatch {
    let moment = |row: i64| (row * 104_729) % (SOURCE_ROWS * 1_000);
    RecordBatch::try_from_iter([
        ("k", ints(rows.clone().map(|row| Some((row * 31) % (ENTITIES + 9))))),
        ("event_timestamp", times(rows.map(|row| Some(moment(row))))),
    ])
    .unwrap()
}

fn join(home: &Path, known: bool, texts: bool, memory_bytes_max: usize) -> PointInTimeJoin {
    let view = |number: usize| {
        let path = home.join(format!("{number}.parquet"));
        let view = JoinView::parquet(format!("v{number}"), [path]).unwrap().with_key("k", "k").with_created("created");
        let columns = if texts { ["n", "text"] } else { ["n", "x"] };
        columns.into_iter().fold(view, |view, name| view.with_feature(name, format!("{name}_{number}")))
    };
    let settings = JoinSettings { threads: 2, memory_bytes_max, ..JoinSettings::default() };
    let knowledge = if known { Knowledge::Known } else { Knowledge::Event };
    let join = PointInTimeJoin::new(spine(0..100)).with_knowledge(knowledge).with_settings(settings);
    (0..SOURCES).map(view).fold(join, PointInTimeJoin::with_view)
}

/// A line of `/proc/self/status` in bytes.
fn status(name: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// The child: joins, and says by how many bytes it grew and how many pieces it gave.
#[test]
fn child() {
    let (Ok(home), Ok(asked)) = (std::env::var(HOME), std::env::var(ASKED)) else { return };
    let asked: Vec<usize> = asked.split(' ').map(|number| number.parse().unwrap()).collect();
    let join = join(Path::new(&home), asked[0] == 1, asked[1] == 1, asked[2]);
    // Code and tables that are touched the first time have nothing to do with the size of a join.
    join.run().unwrap();
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS");
    let (mut pieces, mut rows) = (0, 0);
    let batches = (0..SPINE_ROWS).step_by(8_192).map(|from| Ok(spine(from..SPINE_ROWS.min(from + 8_192))));
    join.run_each(batches, |piece| {
        (pieces, rows) = (pieces + 1, rows + piece.num_rows());
        Ok(())
    })
    .unwrap();
    assert_eq!(rows, SPINE_ROWS as usize);
    println!("grew {} in {pieces} pieces", status("VmHWM").saturating_sub(before));
}

#[test]
fn a_join_takes_no_more_memory_than_its_settings_say() {
    let home = tempfile::tempdir().unwrap();
    write(home.path());
    for (known, texts, memory) in [(0, 0, 24), (1, 0, 48), (0, 1, 48), (1, 1, 96), (0, 0, 96)] {
        let bytes: usize = memory << 20;
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["join_memory::child", "--exact", "--nocapture", "--test-threads=1"])
            .env(HOME, home.path())
            .env(ASKED, format!("{known} {texts} {bytes}"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let (_, grew) = said.split_once("grew ").unwrap();
        let mut numbers = grew.split(' ').filter_map(|word| word.parse::<usize>().ok());
        let (grew, pieces) = (numbers.next().unwrap(), numbers.next().unwrap());
        println!("known {known} texts {texts}: {memory} MiB allowed, {} MiB taken, {pieces} pieces", grew >> 20);
        assert!(grew <= bytes, "{grew} bytes taken, {bytes} allowed; known {known}, texts {texts}");
        assert!(memory > 48 || pieces > 1, "{pieces} pieces");
    }
}
