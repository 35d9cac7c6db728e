//! The autoencoder as a detector of anomalies.

use std::sync::Arc;

use mlops_core::{
    ErrorKind, Model,
    arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, cast::AsArray, types::Float64Type},
    testing::SplitMix64,
};
use mlops_train::{
    AutoencoderModel, AutoencoderSettings, AutoencoderTrainer, BurnSettings, FitContext, Metric, Params, TableDataset,
    TrainedModel, Trainer, load_package, scores,
};

use crate::common::check_round_trip;

/// Rows on a curved surface of two dimensions in a space of six, with a text that goes with the first
/// number. The rows of `strange` have the numbers of other rows in their second half: each number alone
/// is as common as ever. Every thirteenth `x4` is missing.
fn rows(count: usize, strange: impl Fn(usize) -> bool, seed: u64) -> RecordBatch {
    let random = SplitMix64::new(seed);
    let hidden = |row: usize, which: usize| 2.0 * random.uniform((2 * row + which) as u64) - 1.0;
    let cell = |row: usize, column: usize| {
        let source = if strange(row) && column >= 3 { (row + count / 2) % count } else { row };
        let (u, v) = (hidden(source, 0), hidden(source, 1));
        [u, v, u * v, u - v, u * u + v, (3.0 * u).sin()][column]
    };
    let column = |column: usize| {
        let cells = (0..count).map(|row| (column != 4 || row % 13 != 0).then(|| cell(row, column)));
        Arc::new(cells.collect::<Float64Array>()) as ArrayRef
    };
    let text = (0..count).map(|row| Some(if hidden(row, 0) > 0.0 { "high" } else { "low" }));
    let mut named: Vec<(String, ArrayRef)> = (0..6).map(|index| (format!("x{index}"), column(index))).collect();
    named.push(("level".to_owned(), Arc::new(text.collect::<StringArray>())));
    RecordBatch::try_from_iter_with_nullable(named.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn fit(count: usize, epochs: usize) -> AutoencoderModel {
    let data = TableDataset::unlabeled(rows(count, |_| false, 1)).build().unwrap();
    let training = BurnSettings { epochs, batch_rows: 64, learning_rate: 3e-3, ..BurnSettings::default() };
    let settings = AutoencoderSettings { hidden_units: 32, bottleneck: 4, training, ..AutoencoderSettings::default() };
    AutoencoderTrainer.fit_settings(&data, &settings, &FitContext::new(7)).unwrap()
}

#[test]
fn rows_put_together_otherwise_stand_out() {
    let model = fit(3_000, 40);
    let strange = |row: usize| row.is_multiple_of(10);
    let test = rows(2_000, strange, 2);
    let labels: Vec<f64> = (0..2_000).map(|row| f64::from(u8::from(strange(row)))).collect();
    let found = scores(&model, &test).unwrap();
    let auc = Metric::RocAuc.compute(&labels, &found).unwrap();
    assert!(auc > 0.95, "{auc}");
    // No single number tells them apart, or there would be nothing to learn.
    for column in test.columns().iter().take(6) {
        let values: Vec<f64> = column.as_primitive::<Float64Type>().iter().map(Option::unwrap_or_default).collect();
        let alone = Metric::RocAuc.compute(&labels, &values).unwrap();
        assert!((alone - 0.5).abs() < 0.1, "{alone}");
    }
    // Of normal rows about one in a hundred exceeds the threshold.
    let flags = model.predict_anomalies(&test).unwrap();
    let share = |wanted: bool| {
        let of: Vec<bool> =
            flags.iter().enumerate().filter(|(row, _)| strange(*row) == wanted).map(|(_, f)| *f).collect();
        of.iter().filter(|flag| **flag).count() as f64 / of.len() as f64
    };
    assert!(share(false) < 0.04 && share(true) > 0.5, "{} {}", share(false), share(true));
    let output = model.predict(&test).unwrap();
    let served: &BooleanArray = output.column_by_name("is_anomaly").unwrap().as_boolean();
    assert!(served.iter().map(Option::unwrap).eq(flags));
    check_round_trip(&model, &test);
}

#[test]
fn columns_say_what_is_strange() {
    let model = fit(2_000, 30);
    let usual = rows(1, |_| false, 3);
    let place = usual.schema().index_of("x3").unwrap();
    let mut columns = usual.columns().to_vec();
    columns[place] = Arc::new(Float64Array::from(vec![9.0]));
    let strange = RecordBatch::try_new(usual.schema(), columns).unwrap();
    let (names, parts) = model.score_by_column(&strange).unwrap();
    let total: f64 = parts.row(0).iter().sum();
    assert!((total - scores(&model, &strange).unwrap()[0]).abs() < 1e-9 * total);
    let most = (0..names.len()).max_by(|a, b| parts.row(0)[*a].total_cmp(&parts.row(0)[*b])).unwrap();
    assert_eq!(names[most], "x3");
    assert!(parts.row(0)[most] > total / 2.0);
    // A category that was never seen is strange as well.
    let place = usual.schema().index_of("level").unwrap();
    let mut columns = usual.columns().to_vec();
    columns[place] = Arc::new(StringArray::from(vec!["middle"]));
    let unseen = RecordBatch::try_new(usual.schema(), columns).unwrap();
    assert!(scores(&model, &unseen).unwrap()[0] > scores(&model, &usual).unwrap()[0]);
}

#[test]
fn heavy_rows_are_learnt_better() {
    // Two kinds of rows that want opposite answers of one number; weights say which counts.
    let x: Vec<f64> = (0..400).map(|row| f64::from(row / 2) / 100.0 - 1.0).collect();
    let y: Vec<f64> = x.iter().enumerate().map(|(row, x)| if row % 2 == 0 { *x } else { -x }).collect();
    let fit = |even: f64, odd: f64| {
        let weights: Vec<f64> = (0..400).map(|row| if row % 2 == 0 { even } else { odd }).collect();
        let columns = [("x", &x), ("y", &y), ("w", &weights)];
        let columns = columns.map(|(name, values)| (name, Arc::new(Float64Array::from(values.clone())) as ArrayRef));
        let data =
            TableDataset::unlabeled(RecordBatch::try_from_iter(columns).unwrap()).with_weight("w").build().unwrap();
        let params = Params::new().with("bottleneck", 1).with("hidden_units", 8).with("learning_rate", 0.01);
        let params = params.with("batch_rows", 32).with("early_stopping_epochs", 0).with("epochs", 50);
        let model = AutoencoderTrainer.fit(&data, &params, &FitContext::new(1)).unwrap();
        let errors = scores(&*model, data.batch()).unwrap();
        let sum = |parity: usize| errors.iter().skip(parity).step_by(2).sum::<f64>();
        sum(0) / sum(1)
    };
    let (even, odd) = (fit(50.0, 1.0), fit(1.0, 50.0));
    assert!(even < odd / 4.0, "{even} {odd}");
}

#[test]
fn faults_are_typed() {
    let data = TableDataset::unlabeled(rows(100, |_| false, 1)).build().unwrap();
    let refused = |params: Params, what: &str| {
        let error = AutoencoderTrainer.fit(&data, &params, &FitContext::new(1)).unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains(what), "{error}");
    };
    refused(Params::new().with("bottleneck", 0), "bottleneck");
    refused(Params::new().with("threshold_quantile", 1.5), "threshold_quantile");
    refused(Params::new().with("bottle", 3), "bottle");
    let package = AutoencoderTrainer
        .fit(&data, &Params::new().with("epochs", 1), &FitContext::new(1))
        .unwrap()
        .to_package()
        .unwrap();
    let description = String::from_utf8(package.file("model.json").unwrap().to_vec()).unwrap();
    let damaged = package.clone().with_file("model.json", description.replace("relu", "tanh").into_bytes());
    assert_eq!(load_package(&damaged).unwrap_err().kind(), ErrorKind::DataLoss);
    let mut bytes = package.file("weights.safetensors").unwrap().to_vec();
    bytes.truncate(bytes.len() / 2);
    let damaged = package.with_file("weights.safetensors", bytes);
    assert_eq!(load_package(&damaged).unwrap_err().kind(), ErrorKind::DataLoss);
}
