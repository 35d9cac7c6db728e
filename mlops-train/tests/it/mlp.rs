//! The perceptron.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use mlops_core::{Clock, ErrorKind, SystemClock};
use mlops_train::{
    FitContext, Metric, MlpSettings, MlpTrainer, Params, TableDataset, TrainedModel, Trainer, load_package, scores,
};

use crate::common::{check_round_trip, xor, xor_batch};

fn settings() -> MlpSettings {
    MlpSettings { epochs: 40, batch_rows: 64, learning_rate: 5e-3, ..MlpSettings::default() }
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
    let flat = MlpSettings { hidden_layers: 0, epochs: 30, ..settings() };
    let model = MlpTrainer.fit_settings(&data, &flat, &FitContext::new(0)).unwrap();
    let auc = Metric::RocAuc.compute(data.labels(), &scores(&model, data.batch()).unwrap()).unwrap();
    assert!(auc < 0.7, "an interaction is out of reach of a line: {auc}");
    check_round_trip(&model, data.batch());
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
    let settings = MlpSettings { epochs: 10, early_stopping_epochs: 0, ..MlpSettings::default() };
    let clock = SystemClock::default();
    let start = clock.monotonic();
    MlpTrainer.fit_settings(&data, &settings, &FitContext::new(0)).unwrap();
    let took = clock.monotonic() - start;
    println!("20000 x 21, 10 epochs of a 64-64 perceptron: {took:?}");
    assert!(took < Duration::from_secs(60));
}
