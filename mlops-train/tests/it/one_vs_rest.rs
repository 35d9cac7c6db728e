//! Several classes by a model for each.

use std::{
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use arrow_array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, cast::AsArray,
    types::Float64Type,
};
use mlops_core::{DataType, ErrorKind, Model, ModelPackage, Result, Signature, TensorSpec};
use mlops_metrics::{Average, ClassMetric, ClassRows};
use mlops_train::{
    AutoencoderTrainer, Checkpoints, FitContext, GbdtTrainer, LinearTrainer, MlpTrainer, OneVsRestTrainer, Params,
    SearchSpace, TableDataset, TrainedModel, Trainer, load_package,
};
use serde_json::{Value, json};

/// Three clouds around the corners of a triangle, and a category that tells nothing.
fn clouds(rows: usize, seed: u64) -> (RecordBatch, Vec<usize>) {
    let (random, mut draws) = (mlops_core::testing::SplitMix64::new(seed), 0..);
    let mut normal = || draws.by_ref().take(12).map(|draw| random.uniform(draw)).sum::<f64>() - 6.0;
    let labels: Vec<usize> = (0..rows).map(|row| row % 3).collect();
    let at = |class: usize| [(0.0, 0.0), (3.0, 0.0), (1.5, 2.6)][class];
    let points: Vec<(f64, f64)> =
        labels.iter().map(|&class| (at(class).0 + normal(), at(class).1 + normal())).collect();
    let batch = RecordBatch::try_from_iter([
        ("x", Arc::new(points.iter().map(|p| Some(p.0)).collect::<Float64Array>()) as ArrayRef),
        ("y", Arc::new(points.iter().map(|p| Some(p.1)).collect::<Float64Array>()) as ArrayRef),
        ("noise", Arc::new((0..rows).map(|row| Some(["u", "v"][row / 3 % 2])).collect::<StringArray>()) as ArrayRef),
        ("kind", Arc::new(labels.iter().map(|&l| Some(["ash", "elm", "oak"][l])).collect::<StringArray>()) as ArrayRef),
    ]);
    (batch.unwrap(), labels)
}

fn accuracy(model: &mlops_train::OneVsRestModel, batch: &RecordBatch, labels: &[usize]) -> f64 {
    let probabilities = model.probabilities(batch).unwrap();
    assert!(probabilities.chunks(3).all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-12));
    let rows = ClassRows::from_probabilities(3, labels, &probabilities).unwrap();
    assert!(ClassMetric::RocAucOvr(Average::Macro).compute(&rows).unwrap() > 0.9);
    rows.confusion().unwrap().accuracy()
}

#[test]
fn every_trainer_of_two_classes_learns_three() {
    let ((train, _), (test, labels)) = (clouds(900, 1), clouds(600, 2));
    let check = |trainer: Arc<dyn Trainer>, params: Params| {
        let name = trainer.name();
        let model = OneVsRestTrainer::new(trainer).fit(&train, "kind", &params, &FitContext::new(3)).unwrap();
        let found = accuracy(&model, &test, &labels);
        // What the true densities reach on these clouds is 0.87.
        assert!(found > 0.83, "{name}: {found}");
        assert!(model.steps() >= 3, "{name}");
    };
    check(Arc::new(GbdtTrainer), Params::new().with("rounds", 40).with("max_depth", 3));
    check(Arc::new(LinearTrainer), Params::new());
    check(Arc::new(MlpTrainer), Params::new().with("epochs", 15));
}

#[test]
fn a_package_predicts_the_same_bits_and_is_the_same_each_time() {
    let (batch, labels) = clouds(300, 5);
    let trainer = OneVsRestTrainer::new(GbdtTrainer).with_features(["y", "x"]);
    let params = Params::new().with("rounds", 10);
    let fit = |seed| trainer.fit(&batch, "kind", &params, &FitContext::new(seed)).unwrap();
    let model = fit(1);
    let package = model.to_package().unwrap();
    assert_eq!(package.digest().unwrap(), fit(1).to_package().unwrap().digest().unwrap());
    assert_ne!(package.digest().unwrap(), fit(2).to_package().unwrap().digest().unwrap());
    assert_eq!(package.manifest.flavor, OneVsRestTrainer::FLAVOR);

    let served = load_package(&package).unwrap();
    let output = served.predict(&batch).unwrap();
    assert_eq!(output, model.predict(&batch).unwrap());
    let names: Vec<&str> = served.signature().inputs().iter().map(|input| input.name.as_str()).collect();
    assert_eq!(names, ["y", "x"]);
    let nested = output.column(1).as_fixed_size_list().values().as_primitive::<Float64Type>().values().to_vec();
    assert_eq!(nested, model.probabilities(&batch).unwrap());
    let called: Vec<&str> = output.column(0).as_string::<i32>().iter().flatten().collect();
    for (row, called) in nested.chunks(3).zip(&called) {
        let own = model.classes().iter().position(|class| class == called).unwrap();
        assert!(row.iter().all(|probability| *probability <= row[own]));
    }
    let right = called.iter().zip(&labels).filter(|(called, label)| **called == ["ash", "elm", "oak"][**label]).count();
    assert!(right > 240, "{right} of 300");
    assert!(mlops_train::scores(&*served, &batch).is_err(), "there is no one score");
}

#[test]
fn wrong_labels_and_damaged_packages_are_told() {
    let (batch, _) = clouds(60, 1);
    let fit = |label: &str, batch: &RecordBatch| {
        OneVsRestTrainer::new(LinearTrainer).fit(batch, label, &Params::new(), &FitContext::new(1))
    };
    let check = |label: &str, batch: &RecordBatch, expected: &str| {
        let error = fit(label, batch).unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains(expected), "{error}");
    };
    check("absent", &batch, "\"absent\" is missing");
    check("x", &clouds(120, 1).0, "from 2 to 100 classes, found 120; use TableDataset::regression");
    let of = |kinds: Vec<Option<i64>>| {
        let x: ArrayRef = Arc::new((0..kinds.len()).map(|row| Some(row as f64)).collect::<Float64Array>());
        RecordBatch::try_from_iter_with_nullable([("x", x, false), ("k", Arc::new(Int64Array::from(kinds)), true)])
    };
    check("k", &of(vec![Some(1); 6]).unwrap(), "classes, found 1");
    check("k", &of(vec![Some(1), None, Some(2)]).unwrap(), "\"k\" has 1 nulls");
    let wrong = OneVsRestTrainer::new(LinearTrainer);
    let error = wrong.fit(&batch, "kind", &Params::new().with("nope", 1), &FitContext::new(1)).unwrap_err();
    assert!(error.message().contains("the model of class \"ash\""), "{error}");

    let package = fit("kind", &batch).unwrap().to_package().unwrap();
    let without = |gone: &str| {
        let bare = ModelPackage::new(OneVsRestTrainer::FLAVOR, package.manifest.signature.clone());
        let kept = package.files().filter(|(path, _)| !path.starts_with(gone));
        load_package(&kept.fold(bare, |part, (path, bytes)| part.with_file(path, bytes.clone())))
    };
    assert_eq!(without("class-2/").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(without("model.json").unwrap_err().kind(), ErrorKind::NotFound);
    let text = String::from_utf8(package.file("model.json").unwrap().to_vec()).unwrap();
    let damaged = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        load_package(&package.clone().with_file("model.json", text.replace(from, to).into_bytes())).unwrap_err().kind()
    };
    assert_eq!(damaged("\"ash\",", ""), ErrorKind::DataLoss);
    assert_eq!(damaged("\"mlops.linear\"", "\"mlops.one_vs_rest\""), ErrorKind::DataLoss);
    assert_eq!(damaged("\"mlops.linear\"", "\"other\""), ErrorKind::Unimplemented);

    let inputs = package.manifest.signature.inputs().iter().cloned();
    let outputs =
        [TensorSpec::column("class", DataType::String), TensorSpec::tensor("probabilities", DataType::Float64, [101])];
    let names: Vec<String> = (0..101).map(|class| class.to_string()).collect();
    let many = json!({ "format_version": 1, "base": "mlops.linear", "classes": names, "steps": 1 });
    let many = ModelPackage::new(OneVsRestTrainer::FLAVOR, Signature::new(inputs, outputs).unwrap())
        .with_file("model.json", many.to_string().into_bytes());
    assert_eq!(load_package(&many).unwrap_err().kind(), ErrorKind::DataLoss);
}

/// The batch with one more column.
fn with_column(batch: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let schema = batch.schema();
    let named = schema.fields().iter().map(|field| field.name().as_str()).zip(batch.columns().iter().map(Arc::clone));
    RecordBatch::try_from_iter(named.chain([(name, column)])).unwrap()
}

#[test]
fn rows_count_by_their_weight_and_times_are_no_features() {
    let (batch, labels) = clouds(600, 11);
    // The second half has wrong labels.
    let wrong = |row: usize| ["ash", "elm", "oak"][(labels[row] + usize::from(row >= 300)) % 3];
    let kinds: ArrayRef = Arc::new((0..600).map(|row| Some(wrong(row))).collect::<StringArray>());
    let batch = with_column(&batch.project(&[0, 1]).unwrap(), "kind", kinds);
    let weights: ArrayRef =
        Arc::new((0..600).map(|row| Some(f64::from(u8::from(row < 300)))).collect::<Float64Array>());
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(0..600));
    let batch = with_column(&with_column(&batch, "w", weights), "t", times);
    let fit = |trainer: OneVsRestTrainer| trainer.fit(&batch, "kind", &Params::new(), &FitContext::new(1)).unwrap();
    let trainer = OneVsRestTrainer::new(LinearTrainer).with_time("t");
    let (weighted, plain) = (fit(trainer.clone().with_weight("w")), fit(trainer.with_features(["x", "y"])));
    let names: Vec<&str> = weighted.signature().inputs().iter().map(|input| input.name.as_str()).collect();
    assert_eq!(names, ["x", "y"]);
    let (test, labels) = clouds(600, 12);
    assert!(accuracy(&weighted, &test, &labels) > 0.83);
    let probabilities = plain.probabilities(&test).unwrap();
    let rows = ClassRows::from_probabilities(3, &labels, &probabilities).unwrap();
    assert!(rows.confusion().unwrap().accuracy() < 0.75, "half of its rows are wrong");
}

#[test]
fn a_row_that_is_of_no_class_is_of_each_alike() {
    let (batch, _) = clouds(60, 1);
    let fitted = OneVsRestTrainer::new(LinearTrainer).fit(&batch, "kind", &Params::new(), &FitContext::new(1)).unwrap();
    // So far below zero that the probability of the class is no double above it.
    let impossible = (0..3).fold(fitted.to_package().unwrap(), |package, class| {
        let path = format!("class-{class}/model.json");
        let mut model: Value = serde_json::from_slice(package.file(&path).unwrap()).unwrap();
        model["intercept"] = (-1e5).into();
        package.with_file(path, model.to_string().into_bytes())
    });
    let output = load_package(&impossible).unwrap().predict(&batch).unwrap();
    let probabilities = output.column(1).as_fixed_size_list().values().as_primitive::<Float64Type>();
    assert!(probabilities.values().iter().all(|probability| *probability == 1.0 / 3.0), "{probabilities:?}");
    assert!(output.column(0).as_string::<i32>().iter().all(|called| called == Some("ash")));
}

#[test]
fn numbers_are_classes_in_ascending_order() {
    let (batch, labels) = clouds(300, 7);
    let of_class = [10, 9, -1];
    let numbers: ArrayRef = Arc::new(labels.iter().map(|&label| Some(of_class[label])).collect::<Int64Array>());
    let batch = with_column(&batch.project(&[0, 1]).unwrap(), "number", Arc::clone(&numbers));
    let trainer = OneVsRestTrainer::new(LinearTrainer);
    let model = trainer.fit(&batch, "number", &Params::new(), &FitContext::new(1)).unwrap();
    assert_eq!(model.classes(), ["-1", "9", "10"]);
    let places = model.class_indices("number", &numbers).unwrap();
    assert_eq!(places, labels.iter().map(|label| 2 - label).collect::<Vec<_>>());
    let output = load_package(&model.to_package().unwrap()).unwrap().predict(&batch).unwrap();
    let called = output.column(0).as_string::<i32>().iter().flatten();
    let right = called.zip(&labels).filter(|(called, label)| *called == of_class[**label].to_string()).count();
    assert!(right > 240, "{right} of 300");

    let unknown: ArrayRef = Arc::new(Int64Array::from(vec![9, 11]));
    let error = model.class_indices("number", &unknown).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("\"11\", which the model has not learnt"), "{error}");
}

/// A trainer under a name of its own, whose packages nobody else reads.
#[derive(Debug)]
struct Own;

impl Trainer for Own {
    fn name(&self) -> &'static str {
        "own"
    }

    fn search_space(&self) -> SearchSpace {
        LinearTrainer.search_space()
    }

    fn fit(&self, data: &TableDataset, params: &Params, context: &FitContext) -> Result<Arc<dyn TrainedModel>> {
        LinearTrainer.fit(data, params, context)
    }
}

#[test]
fn a_trainer_whose_packages_could_not_be_read_is_refused_before_it_fits() {
    let (batch, _) = clouds(60, 1);
    let check = |trainer: OneVsRestTrainer, name: &str| {
        let context = FitContext::new(1).with_progress(|_| panic!("it fits"));
        let error = trainer.fit(&batch, "kind", &Params::new(), &context).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(name) && error.message().contains("there are mlops.gbdt"), "{error}");
    };
    check(OneVsRestTrainer::new(Own), "\"own\"");
    check(OneVsRestTrainer::new(AutoencoderTrainer), AutoencoderTrainer::FLAVOR);
}

fn goes_on(trainer: impl Trainer, params: &Params, steps: usize) {
    let (batch, _) = clouds(300, 9);
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("fit");
    let trainer = OneVsRestTrainer::new(trainer);
    let digest = |context: &FitContext| trainer.fit(&batch, "kind", params, context)?.to_package()?.digest();
    let whole = digest(&FitContext::new(4)).unwrap();
    let checkpoints = || Checkpoints::new(&place).with_every(NonZeroU64::MIN);
    let stop = Arc::new(AtomicBool::new(false));
    let (seen, flag) = (AtomicUsize::new(0), Arc::clone(&stop));
    let interrupted = FitContext::new(4).with_checkpoints(checkpoints()).with_cancel(stop).with_progress(move |_| {
        flag.store(seen.fetch_add(1, Ordering::Relaxed) >= steps, Ordering::Relaxed);
    });
    assert_eq!(digest(&interrupted).unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(place.join("class-1").exists() && !place.join("class-2").exists());
    assert_eq!(digest(&FitContext::new(4).with_checkpoints(checkpoints())).unwrap(), whole);
    checkpoints().remove().unwrap();
    assert!(!place.exists());
}

#[test]
fn a_fit_goes_on_from_the_checkpoints_of_its_classes() {
    goes_on(GbdtTrainer, &Params::new().with("rounds", 12), 15);
    goes_on(MlpTrainer, &Params::new().with("epochs", 4).with("early_stopping_epochs", 0), 5);
}
