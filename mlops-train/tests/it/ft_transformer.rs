//! The transformer over columns.

use mlops_core::{
    Error, ErrorKind,
    arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray},
};
use mlops_train::{
    BurnSettings, FitContext, FtTransformerSettings, FtTransformerTrainer, Metric, Params, TableDataset, TrainedModel,
    Trainer, load_package, scores,
};

use crate::common::{check_round_trip, xor};

fn settings() -> FtTransformerSettings {
    let training =
        BurnSettings { epochs: 12, batch_rows: 64, learning_rate: 3e-3, ..FtTransformerSettings::default().training };
    FtTransformerSettings { token_width: 16, heads: 4, blocks: 2, training, ..FtTransformerSettings::default() }
}

#[test]
fn learns_an_interaction_and_survives_storage() {
    let (train, test) = (xor(3_000, 1), xor(1_000, 2));
    let model = FtTransformerTrainer.fit_settings(&train, &settings(), &FitContext::new(3)).unwrap();
    let auc = Metric::RocAuc.compute(test.labels(), &scores(&model, test.batch()).unwrap()).unwrap();
    assert!(auc > 0.97, "{auc}");
    assert_eq!(model.history().len(), model.history().last().unwrap().epoch);
    check_round_trip(&model, test.batch());
}

#[test]
fn a_seed_names_one_model() {
    let data = xor(300, 3);
    let params = Params::new().with("epochs", 2).with("token_width", 8).with("heads", 2).with("blocks", 1);
    let digest = |seed| {
        let model = FtTransformerTrainer.fit(&data, &params, &FitContext::new(seed)).unwrap();
        model.to_package().unwrap().digest().unwrap()
    };
    assert_eq!(digest(5), digest(5));
    assert_ne!(digest(5), digest(6));
}

#[test]
fn faults_are_typed() {
    let data = xor(200, 1);
    let kind = |error: &Error, kind: ErrorKind, what: &str| {
        assert!(error.kind() == kind && error.message().contains(what), "{error}");
    };
    let fit =
        |data: &TableDataset, params: Params| FtTransformerTrainer.fit(data, &params, &FitContext::new(1)).unwrap_err();
    kind(&fit(&data, Params::new().with("heads", 7)), ErrorKind::InvalidArgument, "heads");
    kind(&fit(&data, Params::new().with("widht", 7)), ErrorKind::InvalidArgument, "widht");
    let negatives: Vec<usize> = (0..200).filter(|&row| data.labels()[row] < 0.5).collect();
    kind(&fit(&data.take(&negatives).unwrap(), Params::new()), ErrorKind::InvalidArgument, "both classes");
    let wild =
        Params::new().with("optimizer", "sgd").with("learning_rate", 1.0).with("weight_decay", 1e30).with("epochs", 3);
    kind(&fit(&data, wild.with("token_width", 8)), ErrorKind::FailedPrecondition, "diverged");
    let unlabeled = TableDataset::unlabeled(data.batch().clone()).build().unwrap();
    kind(&fit(&unlabeled, Params::new()), ErrorKind::InvalidArgument, "no labels");
}

#[test]
fn damaged_packages_are_refused() {
    let params = Params::new().with("epochs", 1).with("token_width", 8).with("heads", 2).with("blocks", 1);
    let package = FtTransformerTrainer.fit(&xor(100, 1), &params, &FitContext::new(0)).unwrap().to_package().unwrap();
    let mut bytes = package.file("weights.safetensors").unwrap().to_vec();
    bytes.truncate(bytes.len() - 4);
    let damaged = package.clone().with_file("weights.safetensors", bytes);
    assert_eq!(load_package(&damaged).unwrap_err().kind(), ErrorKind::DataLoss);
    let description = String::from_utf8(package.file("model.json").unwrap().to_vec()).unwrap();
    for (from, to) in
        [("\"numbers\":6", "\"numbers\":7"), ("\"width\":8", "\"width\":8000000"), ("\"codes\":[5]", "\"codes\":[6]")]
    {
        assert!(description.contains(from), "{description}");
        let damaged = package.clone().with_file("model.json", description.replace(from, to).into_bytes());
        assert_eq!(load_package(&damaged).unwrap_err().kind(), ErrorKind::DataLoss, "{from}");
    }
}

/// Columns of text alone, of numbers alone, and one that is missing throughout.
#[test]
fn odd_columns_are_tokens_too() {
    let texts = || StringArray::from_iter((0..120).map(|row| (row % 5 != 0).then_some(["a", "b", "c"][row % 3])));
    let numbers = |missing: bool| Float64Array::from_iter((0..120).map(|row| (!missing).then_some(f64::from(row))));
    let y = Float64Array::from_iter_values((0..120).map(|row| f64::from(row % 3)));
    let fit = |column: ArrayRef| {
        let columns = [("x", column), ("y", std::sync::Arc::new(y.clone()) as ArrayRef)];
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
        let data = TableDataset::regression(batch, "y").build().unwrap();
        let params = Params::new().with("epochs", 2).with("token_width", 8).with("heads", 2);
        let model = FtTransformerTrainer.fit(&data, &params, &FitContext::new(0)).unwrap();
        check_round_trip(&*model, data.batch());
        assert!(scores(&*model, data.batch()).unwrap().iter().all(|score| score.is_finite()));
    };
    fit(std::sync::Arc::new(texts()));
    fit(std::sync::Arc::new(numbers(false)));
    fit(std::sync::Arc::new(numbers(true)));
}
