//! The perceptron.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use mlops_core::{
    Clock, ErrorKind, SystemClock,
    arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray},
    testing::SplitMix64,
};
use mlops_train::{
    BurnSettings, CategoryEncoding, FitContext, Metric, MlpSettings, MlpTrainer, Params, TableDataset, TrainedModel,
    Trainer, compress::Compressor, load_package, scores,
};

use crate::common::{check_round_trip, xor, xor_batch};

fn settings() -> MlpSettings {
    let training = BurnSettings { epochs: 40, batch_rows: 64, learning_rate: 5e-3, ..BurnSettings::default() };
    MlpSettings { training, ..MlpSettings::default() }
}

#[test]
fn learns_an_interaction_and_survives_storage() {
    let (train, test) = (xor(3_000, 1), xor(1_000, 2));
    let model = MlpTrainer.fit_settings(&train, &settings(), &FitContext::new(3)).unwrap();
    let auc = Metric::RocAuc.compute(test.labels(), &scores(&model, test.batch()).unwrap()).unwrap();
    assert!(auc > 0.97, "{auc}");
    assert!(model.steps() <= 40);
    check_round_trip(&model, test.batch());
}

#[test]
fn categories_become_vectors_that_are_learnt_and_stored() {
    // The sign of x counts one way for some of thirty categories and the other way for the rest.
    let table = |rows: usize, seed: u64| {
        let random = SplitMix64::new(seed);
        let x: Vec<f64> = (0..rows).map(|row| 2.0 * random.uniform(row as u64) - 1.0).collect();
        let kind = |row: usize| (random.uniform((rows + row) as u64) * 30.0) as usize;
        let names: Vec<Option<String>> =
            (0..rows).map(|row| (row % 50 != 0).then(|| format!("kind {}", kind(row)))).collect();
        let label = |row: usize| f64::from(u8::from((x[row] > 0.0) == kind(row).is_multiple_of(2)));
        let labels: Vec<f64> = (0..rows).map(label).collect();
        let columns: [(&str, ArrayRef); 3] = [
            ("x", Arc::new(Float64Array::from(x.clone()))),
            ("kind", Arc::new(StringArray::from(names))),
            ("label", Arc::new(Float64Array::from(labels))),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)));
        TableDataset::classification(batch.unwrap(), "label").build().unwrap()
    };
    let (train, test) = (table(4_000, 1), table(1_000, 2));
    let training = BurnSettings { epochs: 60, ..settings().training };
    let settings = MlpSettings { encoding: CategoryEncoding::Embedding, training, ..settings() };
    let model = MlpTrainer.fit_settings(&train, &settings, &FitContext::new(3)).unwrap();
    let auc = Metric::RocAuc.compute(test.labels(), &scores(&model, test.batch()).unwrap()).unwrap();
    assert!(auc > 0.95, "{auc}");
    check_round_trip(&model, test.batch());
    let embeddings = model.embeddings();
    let [(name, vectors)] = &embeddings[..] else { panic!("one column has vectors, found {}", embeddings.len()) };
    // Thirty categories, unseen and missing; 1.6 * 32^0.56 = 11.1.
    assert_eq!((name.as_str(), vectors.len(), vectors[0].len()), ("kind", 32, 11));
    let seen = |vector: &Vec<f32>| vector.iter().any(|value| *value != 0.0);
    assert!(vectors[..30].iter().all(seen) && !seen(&vectors[30]) && seen(&vectors[31]));
    // A category that was never seen is answered from the numbers alone.
    let odd: [(&str, ArrayRef); 2] =
        [("x", Arc::new(Float64Array::from(vec![0.5]))), ("kind", Arc::new(StringArray::from(vec!["new"])))];
    let odd = RecordBatch::try_from_iter_with_nullable(odd.map(|(name, column)| (name, column, true))).unwrap();
    assert!(scores(&model, &odd).unwrap()[0].is_finite());
    let error = Compressor::new().compress(&model, test.batch()).unwrap_err();
    assert!(error.kind() == ErrorKind::Unimplemented && error.message().contains("one_hot"), "{error}");
}

#[test]
fn a_table_of_text_alone_is_learnt_from() {
    let kind: Vec<&str> = (0..300).map(|row| ["a", "b", "c"][row % 3]).collect();
    let label: Vec<f64> = (0..300).map(|row| f64::from(u8::from(row % 3 == 1))).collect();
    let columns: [(&str, ArrayRef); 2] =
        [("kind", Arc::new(StringArray::from(kind))), ("label", Arc::new(Float64Array::from(label)))];
    let data = TableDataset::classification(RecordBatch::try_from_iter(columns).unwrap(), "label").build().unwrap();
    let settings = MlpSettings { encoding: CategoryEncoding::Embedding, ..settings() };
    let model = MlpTrainer.fit_settings(&data, &settings, &FitContext::new(1)).unwrap();
    assert_eq!(Metric::RocAuc.compute(data.labels(), &scores(&model, data.batch()).unwrap()).unwrap(), 1.0);
    check_round_trip(&model, data.batch());
}

#[test]
fn a_seed_names_one_model() {
    let data = xor(500, 3);
    let params = Params::new().with("epochs", 3).with("hidden_units", 16);
    let digest = |seed| {
        let model = MlpTrainer.fit(&data, &params, &FitContext::new(seed)).unwrap();
        model.to_package().unwrap().digest().unwrap()
    };
    assert_eq!(digest(5), digest(5));
    assert_ne!(digest(5), digest(6));
}

#[test]
fn no_hidden_layer_is_logistic_regression() {
    let data = xor(400, 3);
    let training = BurnSettings { epochs: 30, ..settings().training };
    let flat = MlpSettings { hidden_layers: 0, training, ..settings() };
    let model = MlpTrainer.fit_settings(&data, &flat, &FitContext::new(0)).unwrap();
    let auc = Metric::RocAuc.compute(data.labels(), &scores(&model, data.batch()).unwrap()).unwrap();
    assert!(auc < 0.7, "an interaction is out of reach of a line: {auc}");
    check_round_trip(&model, data.batch());
}

#[test]
fn labels_of_any_size_are_learnt_alike_whatever_stands_in_rows_without_weight() {
    let fit = |unit: f64, other: f64| -> Vec<f64> {
        let x = || (0..400_u32).map(|row| f64::from(row * 37 % 400) / 200.0 - 1.0);
        let label = |(row, x): (usize, f64)| if row == 7 { other } else { (x * x + 1.0) * unit };
        let y = Float64Array::from_iter_values(x().enumerate().map(label));
        let w = Float64Array::from_iter_values((0..400).map(|row| f64::from(u8::from(row != 7))));
        let columns: [(&str, ArrayRef); 3] =
            [("x", Arc::new(Float64Array::from_iter_values(x()))), ("y", Arc::new(y)), ("w", Arc::new(w))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let data = TableDataset::regression(batch, "y").with_weight("w").build().unwrap();
        let training = BurnSettings { epochs: 5, ..settings().training };
        let settings = MlpSettings { hidden_units: 16, training, ..settings() };
        let model = MlpTrainer.fit_settings(&data, &settings, &FitContext::new(1)).unwrap();
        scores(&model, data.batch()).unwrap().into_iter().map(|score| score / unit).collect()
    };
    let plain = fit(1.0, 0.0);
    assert!(plain.iter().any(|score| (score - plain[0]).abs() > 0.1), "{plain:?}");
    for (power, other) in [(0, 1e300), (-1_000, 0.0), (-600, 1e300), (600, -1e300), (1_000, 1.0)] {
        assert_eq!(fit(2.0_f64.powi(power), other), plain, "2^{power} beside {other}");
    }
}

#[test]
fn cancellation_and_bad_parameters_are_typed() {
    let data = xor(200, 1);
    let context = FitContext::new(1).with_cancel(Arc::new(AtomicBool::new(true)));
    assert_eq!(MlpTrainer.fit(&data, &Params::new(), &context).unwrap_err().kind(), ErrorKind::Cancelled);
    let error = MlpTrainer.fit(&data, &Params::new().with("epochs", 0), &FitContext::new(1)).unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains("epochs"), "{error}");
}

#[test]
fn damaged_weights_are_refused() {
    let params = Params::new().with("epochs", 1).with("hidden_units", 4);
    let model = MlpTrainer.fit(&xor(100, 1), &params, &FitContext::new(0)).unwrap();
    let package = model.to_package().unwrap();
    let mut bytes = package.file("weights.safetensors").unwrap().to_vec();
    bytes.truncate(bytes.len() - 4);
    let damaged = package.with_file("weights.safetensors", bytes);
    assert_eq!(load_package(&damaged).unwrap_err().kind(), ErrorKind::DataLoss);
}

#[test]
fn twenty_thousand_rows_take_seconds() {
    let data = TableDataset::classification(xor_batch(20_000, 20, 5), "label").build().unwrap();
    let training = BurnSettings { epochs: 10, early_stopping_epochs: 0, ..BurnSettings::default() };
    let settings = MlpSettings { training, ..MlpSettings::default() };
    let clock = SystemClock::default();
    let start = clock.monotonic();
    MlpTrainer.fit_settings(&data, &settings, &FitContext::new(0)).unwrap();
    let took = clock.monotonic() - start;
    println!("20000 x 21, 10 epochs of a 64-64 perceptron: {took:?}");
    assert!(took < Duration::from_secs(60));
}
