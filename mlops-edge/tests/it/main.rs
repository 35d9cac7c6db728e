//! A stored model of format 1 and what it says of some rows: what this version reads must stay what
//! it was, here and under wasm (`.ci/edge_wasm.sh` predicts the same rows).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{fmt::Write as _, fs, path::PathBuf};

use mlops_edge::{Affine, Column, Layer, Model, Output, Scratch, Symmetric, Value};

fn data(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")).join(name)
}

/// Numbers in [-1, 1) by a multiplicative sequence.
fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let next = |at: &mut u32| {
        *at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((*at >> 8) as f32 / 8_388_608.0 - 1.0)
    };
    (0..count).scan(seed, |at, _| next(at)).collect()
}

/// One layer of each kind: bytes by channel, bytes with zeros left out, single precision.
fn model() -> Model {
    let columns = vec![
        Column::number("age", 38.0, 38.5, 13.5, true),
        Column::one_hot("plan", ["free", "paid", "größer"], true),
        Column::number("amount", 0.0, 120.0, 80.0, false),
    ];
    let width = columns.iter().map(Column::width).sum();
    let by_channel = numbers(1, width * 16);
    let codes: Vec<Symmetric> = by_channel.chunks(width).map(|row| Symmetric::of(row.iter().copied())).collect();
    let quantized = by_channel.chunks(width).zip(&codes).flat_map(|(row, code)| row.iter().map(|w| code.quantize(*w)));
    let first = Layer::i8(
        (width, 16),
        quantized.collect(),
        codes.iter().map(|code| code.scale).collect(),
        Affine::over(-3.0, 3.0),
        numbers(2, 16),
    );
    let pruned: Vec<f32> = numbers(3, 16 * 8).into_iter().map(|w| if w.abs() < 0.8 { 0.0 } else { w }).collect();
    let code = Symmetric::of(pruned.iter().copied());
    let pruned = pruned.iter().map(|w| code.quantize(*w)).collect();
    let second = Layer::i8((16, 8), pruned, vec![code.scale], Affine::over(0.0, 4.0), numbers(4, 8));
    let third = Layer::f32(8, 1, numbers(5, 8), numbers(6, 1));
    Model::new(columns, vec![first.unwrap(), second.unwrap(), third.unwrap()], Output::probability()).unwrap()
}

/// A line per row: its values and what the model says, between tabs; nothing is missing.
fn predicted(model: &Model, rows: &str) -> String {
    let (mut text, mut scratch) = (String::new(), Scratch::default());
    for line in rows.lines() {
        let values: Vec<&str> = line.split('\t').take(model.columns().len()).collect();
        let row: Vec<Value<'_>> = values
            .iter()
            .zip(model.columns())
            .map(|(value, column)| match *value {
                "" => Value::Missing,
                value if column.is_text() => Value::Text(value),
                value => Value::Number(value.parse().unwrap()),
            })
            .collect();
        writeln!(text, "{}\t{}", values.join("\t"), model.predict(&row, &mut scratch).unwrap()).unwrap();
    }
    text
}

#[test]
fn the_stored_model_says_what_it_said() {
    let stored = fs::read(data("model_1.mled")).unwrap();
    let rows = fs::read_to_string(data("rows_1.tsv")).unwrap();
    assert_eq!(rows.lines().count(), 12);
    assert_eq!(predicted(&Model::from_bytes(&stored).unwrap(), &rows), rows);
    assert_eq!(model().to_bytes(), stored);
}

#[test]
#[ignore = "writes the stored model of a new format"]
fn write_the_stored_model() {
    let plans = ["free", "paid", "größer", "", "new", "paid"];
    let rows: String = (0..12)
        .map(|row| {
            let age = if row % 5 == 3 { String::new() } else { (20 + 7 * row).to_string() };
            let amount = if row % 4 == 2 { String::new() } else { format!("{}.5", 35 * row - 40) };
            format!("{age}\t{}\t{amount}\n", plans[row as usize % 6])
        })
        .collect();
    fs::write(data("model_1.mled"), model().to_bytes()).unwrap();
    fs::write(data("rows_1.tsv"), predicted(&model(), &rows)).unwrap();
}
