//! Census incomes: a table with text, missing values and a known difficulty.

use std::fs::File;

use mlops_core::{Clock, SystemClock, arrow_array::RecordBatch};
use mlops_train::{
    BurnSettings, FitContext, GbdtSettings, GbdtTrainer, Metric, MlpSettings, MlpTrainer, TableDataset, Trainer, scores,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::common::{check_round_trip, shared};

pub(crate) fn adult() -> Option<(TableDataset, TableDataset)> {
    let file = File::open(shared("data/adult.parquet")?).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().with_batch_size(100_000).build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let [batch] = &batches[..] else { panic!("one batch of 48,842 rows is expected") };
    let features: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    let features = features.into_iter().filter(|name| name != "income" && name != "split");
    let data = TableDataset::classification(batch.clone(), "income").with_features(features).build().unwrap();
    let (train, test): (Vec<usize>, Vec<usize>) = (0..data.rows()).partition(|row| row % 3 != 0);
    Some((data.take(&train).unwrap(), data.take(&test).unwrap()))
}

fn auc(model: &dyn mlops_core::Model, data: &TableDataset) -> f64 {
    Metric::RocAuc.compute(data.labels(), &scores(model, data.batch()).unwrap()).unwrap()
}

#[test]
fn trees_tell_incomes_apart() {
    let Some((train, test)) = adult() else { return };
    let clock = SystemClock::default();
    let start = clock.monotonic();
    let settings = GbdtSettings { early_stopping_rounds: 20, rounds: 300, ..GbdtSettings::default() };
    let model = GbdtTrainer.fit_settings(&train, &settings, &FitContext::new(1)).unwrap();
    let found = auc(&model, &test);
    println!(
        "adult: {} trees on {} rows in {:?}, AUC {found:.4}",
        mlops_train::TrainedModel::steps(&model),
        train.rows(),
        clock.monotonic() - start
    );
    assert!(found > 0.92, "{found}");
    check_round_trip(&model, &test.batch().slice(0, 500));
}

#[test]
fn a_perceptron_tells_incomes_apart() {
    let Some((train, test)) = adult() else { return };
    let training = BurnSettings { epochs: 6, ..BurnSettings::default() };
    let settings = MlpSettings { training, ..MlpSettings::default() };
    let model = MlpTrainer.fit_settings(&train, &settings, &FitContext::new(1)).unwrap();
    let found = auc(&model, &test);
    println!("adult: perceptron AUC {found:.4} by {}", MlpTrainer.name());
    assert!(found > 0.90, "{found}");
    check_round_trip(&model, &test.batch().slice(0, 500));
}
