//! Compressed models against the ones they were made of.

#[path = "../../../conformance/src/bin/metrics_eval/quantization.rs"]
mod program;

use std::time::Duration;

use mlops_core::{ErrorKind, Model, SystemClock};
use mlops_train::{
    BurnSettings, FitContext, GbdtSettings, GbdtTrainer, Metric, MlpModel, MlpSettings, MlpTrainer, Params,
    TableDataset, TrainedModel,
    compress::{
        Calibration, CompressedModel, CompressionGate, CompressionReport, Compressor, DistillSettings, Granularity,
        Pruning, Quantization, distill, edge,
    },
    load_package, scores,
};

use crate::common::{check_round_trip, shared, xor};

fn trained(data: &TableDataset) -> MlpModel {
    let training = BurnSettings { epochs: 30, learning_rate: 3e-3, ..BurnSettings::default() };
    let settings = MlpSettings { training, ..MlpSettings::default() };
    MlpTrainer.fit_settings(data, &settings, &FitContext::new(0)).unwrap()
}

fn one_epoch() -> MlpSettings {
    let training = BurnSettings { epochs: 1, ..BurnSettings::default() };
    MlpSettings { training, ..MlpSettings::default() }
}

fn auc(model: &dyn Model, data: &TableDataset) -> f64 {
    Metric::RocAuc.compute(data.labels(), &scores(model, data.batch()).unwrap()).unwrap()
}

fn furthest(a: &dyn Model, b: &dyn Model, data: &TableDataset) -> f64 {
    let (a, b) = (scores(a, data.batch()).unwrap(), scores(b, data.batch()).unwrap());
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn quantized(granularity: Granularity, calibration: Calibration) -> Compressor {
    Compressor::new().with_quantization(Quantization { granularity, calibration })
}

#[test]
fn bytes_cost_a_quarter_and_hardly_any_accuracy() {
    let (train, test) = (xor(3_000, 1), xor(1_000, 2));
    let model = trained(&train);
    let before = auc(&model, &test);
    assert!(before > 0.95, "{before}");

    let same = Compressor::new().compress(&model, train.batch()).unwrap();
    assert!(furthest(&same, &model, &test) < 1e-15);
    let full_bytes = same.to_bytes().len();

    for (granularity, calibration) in [
        (Granularity::PerTensor, Calibration::MinMax),
        (Granularity::PerChannel, Calibration::MinMax),
        (Granularity::PerChannel, Calibration::Percentile(99.9)),
    ] {
        let small = quantized(granularity, calibration).compress(&model, train.batch()).unwrap();
        assert!(small.to_bytes().len() * 3 < full_bytes, "{} {full_bytes}", small.to_bytes().len());
        assert!((auc(&small, &test) - before).abs() < 0.01, "{granularity:?} {calibration:?}");
        check_round_trip(&small, test.batch());
    }
    let [tensor, channel] = [Granularity::PerTensor, Granularity::PerChannel]
        .map(|granularity| quantized(granularity, Calibration::MinMax).compress(&model, train.batch()).unwrap());
    assert!(furthest(&channel, &model, &test) < 0.2 && furthest(&tensor, &model, &test) < 0.3);
}

#[test]
fn pruning_keeps_what_matters() {
    let (train, test) = (xor(3_000, 1), xor(1_000, 2));
    let model = trained(&train);
    let before = auc(&model, &test);
    let compress = |pruning| Compressor::new().with_pruning(pruning).compress(&model, train.batch()).unwrap();
    let full = compress(Pruning::Magnitude(0.0));
    assert!(furthest(&full, &model, &test) < 1e-15);
    let half = compress(Pruning::Magnitude(0.5));
    assert!(half.to_bytes().len() * 10 < full.to_bytes().len() * 6);
    assert!(before - auc(&half, &test) < 0.02);
    let sparse = compress(Pruning::Magnitude(0.9));
    assert!(sparse.edge().weights() * 5 < full.edge().weights());
    assert!(sparse.edge().memory_bytes() * 3 < full.edge().memory_bytes());
    let narrow = compress(Pruning::Structured(0.5));
    // Half of 64 units in both hidden layers: the middle matrix is a quarter.
    let width = full.edge().columns().iter().map(edge::Column::width).sum::<usize>();
    assert_eq!(narrow.edge().weights(), width * 32 + 32 * 32 + 32);
    assert!(before - auc(&narrow, &test) < 0.05, "{before} {}", auc(&narrow, &test));
    let both = Compressor::new().with_pruning(Pruning::Structured(0.5)).with_quantization(Quantization::default());
    let both = both.compress(&model, train.batch()).unwrap();
    assert!(both.to_bytes().len() * 8 < full.to_bytes().len());
    assert!(before - auc(&both, &test) < 0.05);
    check_round_trip(&both, test.batch());
}

#[test]
fn a_unit_that_never_changes_leaves_only_its_mean() {
    // All but one unit may go; what is left of the others is what they gave on average.
    let train = xor(500, 1);
    let model = trained(&train);
    let one = Compressor::new().with_pruning(Pruning::Structured(0.99)).compress(&model, train.batch()).unwrap();
    let width = one.edge().columns().iter().map(edge::Column::width).sum::<usize>();
    assert_eq!(one.edge().weights(), width + 1 + 1);
    let mean = |model: &dyn Model| scores(model, train.batch()).unwrap().iter().sum::<f64>() / 500.0;
    assert!((mean(&one) - mean(&model)).abs() < 0.2, "{} {}", mean(&one), mean(&model));
}

#[test]
fn settings_and_packages_that_do_not_fit_are_refused() {
    let data = xor(300, 1);
    let model = MlpTrainer.fit_settings(&data, &one_epoch(), &FitContext::new(0));
    let model = model.unwrap();
    for compressor in [
        Compressor::new().with_pruning(Pruning::Magnitude(1.0)),
        Compressor::new().with_pruning(Pruning::Structured(f64::NAN)),
        quantized(Granularity::PerTensor, Calibration::Percentile(50.0)),
    ] {
        assert_eq!(compressor.compress(&model, data.batch()).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    let none = Compressor::new().compress(&model, &data.batch().slice(0, 0)).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::InvalidArgument);
    let small = Compressor::new().compress(&model, data.batch()).unwrap();
    let package = small.to_package().unwrap();
    let broken = |bytes: Vec<u8>| {
        let package = package.clone().with_file("model.mled", bytes);
        load_package(&package).unwrap_err().kind()
    };
    assert_eq!(broken(small.to_bytes()[..100].to_vec()), ErrorKind::DataLoss);
    let mut newer = small.to_bytes();
    newer[4] = 2;
    assert_eq!(broken(newer), ErrorKind::FailedPrecondition);
    let other = Compressor::new().compress(&trained_on_one_column(), data.batch()).unwrap();
    assert_eq!(broken(other.to_bytes()), ErrorKind::DataLoss);
}

fn trained_on_one_column() -> MlpModel {
    let batch = crate::common::xor_batch(300, 5, 1);
    let data = TableDataset::classification(batch, "label").with_features(["x0"]).build().unwrap();
    MlpTrainer.fit_settings(&data, &one_epoch(), &FitContext::new(0)).unwrap()
}

#[test]
fn a_student_learns_from_few_labels_and_a_teacher() {
    let (train, test) = (xor(3_000, 1), xor(1_000, 2));
    let teacher = GbdtTrainer.fit_settings(&train, &GbdtSettings::default(), &FitContext::new(0)).unwrap();
    let params = Params::new().with("epochs", 40).with("learning_rate", 0.003).with("early_stopping_epochs", 0);
    let fit = |share: f64| {
        let settings = DistillSettings { teacher_share: share, ..DistillSettings::default() };
        distill(&teacher, &MlpTrainer, &train, &params, &settings, &FitContext::new(0)).unwrap()
    };
    let student = fit(1.0);
    assert_eq!(student.signature(), teacher.signature());
    assert!(auc(&student, &test) > 0.95, "{}", auc(&student, &test));
    let plain = fit(0.0);
    let apart = furthest_on_average(&student, &plain, &test);
    assert!(apart > 1e-3, "the teacher's share makes no difference: {apart}");
    // It follows the teacher rather than the labels.
    assert!(furthest_on_average(&student, &teacher, &test) < furthest_on_average(&plain, &teacher, &test) + 0.02);
    let wrong = DistillSettings { temperature: 0.0, ..DistillSettings::default() };
    let refused = distill(&teacher, &MlpTrainer, &train, &params, &wrong, &FitContext::new(0)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
}

fn furthest_on_average(a: &dyn Model, b: &dyn Model, data: &TableDataset) -> f64 {
    let (a, b) = (scores(a, data.batch()).unwrap(), scores(b, data.batch()).unwrap());
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64
}

#[test]
fn a_report_weighs_both_models() {
    let (train, test) = (xor(2_000, 1), xor(800, 2));
    let model = trained(&train);
    let compressor =
        Compressor::new().with_pruning(Pruning::Structured(0.5)).with_quantization(Quantization::default());
    let small: CompressedModel = compressor.compress(&model, train.batch()).unwrap();
    let report = CompressionReport::measure(&model, &small, &test, Metric::RocAuc, &SystemClock::new()).unwrap();
    assert!(report.size_ratio() < 0.25, "{report:?}");
    assert_eq!(report.metric_loss(), auc(&model, &test) - auc(&small, &test));
    assert!(report.before.latency_per_row > Duration::ZERO);
    assert!(report.to_markdown().contains("| roc_auc on 800 rows |"));
    let gate = CompressionGate { metric_loss_max: Some(0.05), size_ratio_max: Some(0.25), latency_ratio_max: None };
    assert!(gate.judge(&report).passed, "{}", gate.judge(&report).to_markdown());
    let strict = CompressionGate { size_ratio_max: Some(0.01), ..gate };
    assert_eq!(strict.judge(&report).failures().count(), 1);
}

#[test]
fn codes_are_those_of_the_reference() {
    let Some(path) = shared("vectors/ml/ml_vectors.json") else { return };
    let vectors: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let expected = &vectors["quantization"];
    let found = program::section(expected).unwrap();
    for path in ["/int8_symmetric/q", "/uint8_affine/q", "/uint8_affine/zero_point"] {
        assert_eq!(found.pointer(path), expected.pointer(path), "{path}");
    }
    for path in
        ["/int8_symmetric/scale", "/uint8_affine/scale", "/int8_symmetric/max_abs_err", "/uint8_affine/max_abs_err"]
    {
        let [found, expected] = [&found, expected].map(|section| section.pointer(path).unwrap().as_f64().unwrap());
        assert!((found - expected).abs() < 1e-8, "{path}: {found} {expected}");
    }
}
