//! The training loop over modules that are not ours.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData},
};
use mlops_core::{Digest, ErrorKind, Result};
use mlops_train::{
    BurnSettings, BurnTrainer, Checkpoints, DeviceKind, FitContext, Learner, Loader, Metric, MlpSettings, MlpTrainer,
    OptimizerKind, Pass, Precision, Trained, TrainedModel, scores,
};

use crate::common::xor;

/// `y = w x + b` whose scale is not trained.
#[derive(Module, Debug)]
struct Line {
    slope: Param<Tensor<1>>,
    shift: Param<Tensor<1>>,
    scale: Param<Tensor<1>>,
}

#[derive(Debug)]
struct Fits;

impl Learner for Fits {
    type Module = Line;
    type Batch = Vec<[f32; 2]>;

    fn init(&self, seed: u64, device: &Device) -> Result<Line> {
        let parameter = |value: f32| Param::<Tensor<1>>::from_data(TensorData::from([value]), device);
        let scale = parameter(2.0).set_require_grad(false);
        Ok(Line { slope: parameter(seed as f32), shift: parameter(0.0), scale })
    }

    fn loss(&self, module: &Line, batch: &Vec<[f32; 2]>, device: &Device) -> Result<Tensor<1>> {
        let column = |at: usize| -> Tensor<1> {
            let values: Vec<f32> = batch.iter().map(|row| row[at]).collect();
            Tensor::from_data(TensorData::from(values.as_slice()), device)
        };
        let predicted = (column(0) * module.slope.val() + module.shift.val()) * module.scale.val();
        Ok((predicted - column(1)).square().mean())
    }

    fn rows(&self, batch: &Vec<[f32; 2]>) -> usize {
        batch.len()
    }
}

struct Points(Vec<[f32; 2]>);

impl Points {
    fn new(count: u16) -> Self {
        // Seven is prime to the counts, so that batches are alike.
        let x = |i: u16| f32::from(i * 7 % count) / f32::from(count) - 0.5;
        Self((0..count).map(|i| [x(i), 6.0 * x(i) - 1.0]).collect())
    }
}

impl Loader for Points {
    type Batch = Vec<[f32; 2]>;

    fn batches(&self, batch_rows: usize) -> usize {
        self.0.len().div_ceil(batch_rows)
    }

    fn pass(&self, pass: &Pass) -> Result<Box<dyn Iterator<Item = Result<Vec<[f32; 2]>>> + '_>> {
        Ok(Box::new(self.0.chunks(pass.batch_rows).skip(pass.skip).map(|rows| Ok(rows.to_vec()))))
    }

    fn digest(&self) -> Result<Digest> {
        let bytes: Vec<u8> = self.0.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
        Ok(Digest::of(&bytes))
    }
}

fn settings() -> BurnSettings {
    BurnSettings { epochs: 60, batch_rows: 10, learning_rate: 0.1, early_stopping_epochs: 0, ..BurnSettings::default() }
}

fn numbers(line: &Line) -> [f32; 3] {
    [&line.slope, &line.shift, &line.scale]
        .map(|param| param.val().into_data().convert::<f32>().try_into_vec::<f32>().unwrap()[0])
}

fn fit(settings: BurnSettings, context: &FitContext) -> Result<Trained<Line>> {
    BurnTrainer::new(settings).fit(&Fits, &Points::new(50), Some(&Points::new(20)), context)
}

#[test]
fn any_module_is_trained_but_for_what_is_frozen() {
    let trained = fit(settings(), &FitContext::new(1)).unwrap();
    let [slope, shift, scale] = numbers(&trained.module);
    assert!((slope - 3.0).abs() < 0.1 && (shift + 0.5).abs() < 0.05, "{slope} {shift}");
    assert_eq!(scale, 2.0);
    let losses: Vec<f64> = trained.history.iter().map(|epoch| epoch.valid_loss.unwrap()).collect();
    assert!(losses[0] > 0.3 && losses[losses.len() - 1] < 1e-2, "{losses:?}");
    assert_eq!(trained.steps, 5 * trained.history.len() as u64);
    for optimizer in [OptimizerKind::Adam, OptimizerKind::AdamW, OptimizerKind::Sgd] {
        let decayed = BurnSettings { optimizer, weight_decay: 0.1, learning_rate: 0.01, epochs: 2, ..settings() };
        assert_eq!(numbers(&fit(decayed, &FitContext::new(1)).unwrap().module)[2], 2.0, "{optimizer:?}");
    }
}

#[test]
fn averaged_batches_step_like_one_large_batch() {
    let sgd = |batch_rows, accumulate| {
        let optimizer = OptimizerKind::Sgd;
        let settings = BurnSettings { optimizer, batch_rows, accumulate, epochs: 5, learning_rate: 0.05, ..settings() };
        let trained = fit(settings, &FitContext::new(1)).unwrap();
        (numbers(&trained.module), trained.steps)
    };
    // Fifty rows: steps of 20, 20 and 10 rows, the last of them a single batch.
    let ((large, steps), (averaged, averaged_steps)) = (sgd(20, 1), sgd(10, 2));
    assert_eq!((steps, averaged_steps), (15, 15));
    for (large, averaged) in large.iter().zip(averaged) {
        assert!((large - averaged).abs() < 1e-5, "{large} {averaged}");
    }
}

#[test]
fn a_diverging_loss_stops_and_names_the_last_good_checkpoint() {
    let wild = BurnSettings { optimizer: OptimizerKind::Sgd, learning_rate: 1.0, epochs: 400, ..settings() };
    let wild = BurnSettings { early_stopping_epochs: 0, weight_decay: 5.0, ..wild };
    let home = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(home.path()).with_every(std::num::NonZeroU64::MIN);
    let context = FitContext::new(1).with_checkpoints(checkpoints.clone());
    let error = fit(wild, &context).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    assert!(error.message().contains("diverged after step"), "{error}");
    let last = checkpoints.list().unwrap().pop().unwrap();
    assert!(error.message().contains(last.path.to_str().unwrap()), "{error}");
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    for kind in DeviceKind::ALL.into_iter().filter(|kind| !kind.is_available()) {
        let error = fit(settings(), &FitContext::new(1).with_device(kind)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        assert!(error.message().contains(kind.name()), "{error}");
    }
}

#[test]
fn faults_of_learners_and_loaders_are_typed() {
    #[derive(Debug)]
    struct Constant;
    impl Learner for Constant {
        type Module = Line;
        type Batch = Vec<[f32; 2]>;
        fn init(&self, seed: u64, device: &Device) -> Result<Line> {
            Fits.init(seed, device)
        }
        fn loss(&self, _: &Line, _: &Vec<[f32; 2]>, device: &Device) -> Result<Tensor<1>> {
            Ok(Tensor::from_data(TensorData::from([1.0_f32]), device))
        }
        fn rows(&self, batch: &Vec<[f32; 2]>) -> usize {
            batch.len()
        }
    }
    let trainer = BurnTrainer::new(settings());
    let error = trainer.fit(&Constant, &Points::new(50), None, &FitContext::new(1)).unwrap_err();
    assert!(error.message().contains("does not depend"), "{error}");
    let error = trainer.fit(&Fits, &Points(Vec::new()), None, &FitContext::new(1)).unwrap_err();
    assert!(error.message().contains("no rows"), "{error}");
    let error = fit(BurnSettings { accumulate: 0, ..settings() }, &FitContext::new(1)).unwrap_err();
    assert!(error.message().contains("accumulate"), "{error}");
}

#[test]
fn balanced_classes_shift_probabilities_to_the_rare_class() {
    let data = xor(600, 3);
    let positives: Vec<usize> = (0..600).filter(|&row| data.labels()[row] > 0.5).collect();
    let negatives: Vec<usize> = (0..600).filter(|&row| data.labels()[row] < 0.5).collect();
    let rows: Vec<usize> = positives.iter().take(30).chain(&negatives).copied().collect();
    let rare = data.take(&rows).unwrap();
    let mean = |balance_classes| {
        let training = BurnSettings { epochs: 80, early_stopping_epochs: 0, ..BurnSettings::default() };
        let training = BurnSettings { learning_rate: 0.05, batch_rows: 64, ..training };
        let settings = MlpSettings { hidden_layers: 0, balance_classes, training, ..MlpSettings::default() };
        let model = MlpTrainer.fit_settings(&rare, &settings, &FitContext::new(1)).unwrap();
        assert_eq!((model.history().len(), model.steps()), (80, 80));
        let scores = scores(&model, rare.batch()).unwrap();
        scores.iter().sum::<f64>() / scores.len() as f64
    };
    let (plain, balanced) = (mean(false), mean(true));
    assert!((plain - 30.0 / rows.len() as f64).abs() < 0.02, "{plain}");
    assert!((balanced - 0.5).abs() < 0.1, "{balanced}");
}

#[test]
fn threads_that_share_steps_learn_what_one_thread_learns() {
    let data = xor(700, 4);
    let training = BurnSettings { epochs: 4, batch_rows: 16, accumulate: 4, ..BurnSettings::default() };
    let settings = MlpSettings { hidden_units: 8, training, ..MlpSettings::default() };
    let fit = |workers: usize| {
        let context = FitContext::new(3).with_workers(workers.try_into().unwrap());
        let model = MlpTrainer.fit_settings(&data, &settings, &context).unwrap();
        (model.history().to_vec(), model.to_package().unwrap().digest().unwrap())
    };
    let (alone, bits) = fit(1);
    assert_eq!(alone.len(), 4);
    // Each gets a power of two of batches.
    for workers in [2, 4] {
        assert_eq!(fit(workers), (alone.clone(), bits), "{workers} workers");
    }
    for (found, expected) in fit(3).0.iter().zip(&alone) {
        assert!((found.train_loss - expected.train_loss).abs() < 1e-6, "{found:?} {expected:?}");
        assert!((found.valid_loss.unwrap() - expected.valid_loss.unwrap()).abs() < 1e-6, "{found:?} {expected:?}");
    }
}

#[test]
fn members_judge_held_out_rows_once_between_them() {
    /// Counts the batches that held-out rows are read in.
    struct Counted(Points, std::sync::atomic::AtomicUsize);
    impl Loader for Counted {
        type Batch = Vec<[f32; 2]>;
        fn batches(&self, batch_rows: usize) -> usize {
            self.0.batches(batch_rows)
        }
        fn pass(&self, pass: &Pass) -> Result<Box<dyn Iterator<Item = Result<Vec<[f32; 2]>>> + '_>> {
            let count = |_: &Result<Vec<[f32; 2]>>| {
                self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            };
            Ok(Box::new(self.0.pass(pass)?.inspect(count)))
        }
        fn digest(&self) -> Result<Digest> {
            self.0.digest()
        }
    }
    let settings = BurnSettings { epochs: 3, accumulate: 4, batch_rows: 3, ..settings() };
    let fit = |workers: usize| {
        let valid = Counted(Points::new(20), std::sync::atomic::AtomicUsize::new(0));
        let context = FitContext::new(1).with_workers(workers.try_into().unwrap());
        let trained = BurnTrainer::new(settings.clone()).fit(&Fits, &Points::new(48), Some(&valid), &context).unwrap();
        let losses: Vec<u64> = trained.history.iter().map(|epoch| epoch.valid_loss.unwrap().to_bits()).collect();
        (losses, valid.1.into_inner())
    };
    // Twenty rows are seven batches, whatever the number of members.
    let (alone, batches) = fit(1);
    assert_eq!((alone.len(), batches), (3, 21));
    for workers in [2, 4] {
        assert_eq!(fit(workers), (alone.clone(), 21), "{workers} workers");
    }
}

#[test]
fn a_group_goes_on_from_a_checkpoint_with_another_size() {
    let data = xor(700, 4);
    let training = BurnSettings { epochs: 5, batch_rows: 16, accumulate: 4, ..BurnSettings::default() };
    let settings = MlpSettings { hidden_units: 8, training, ..MlpSettings::default() };
    let fit = |context: &FitContext| {
        let model = MlpTrainer.fit_settings(&data, &settings, context)?;
        model.to_package().unwrap().digest()
    };
    let whole = fit(&FitContext::new(3)).unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut sizes = [4_usize, 1, 2].into_iter().cycle();
    for interruption in 0.. {
        assert!(interruption < 20, "the fit does not get on");
        let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let raised = std::sync::Arc::clone(&flag);
        let context = FitContext::new(3)
            .with_checkpoints(Checkpoints::new(home.path()))
            .with_workers(sizes.next().unwrap().try_into().unwrap())
            .with_cancel(flag)
            .with_progress(move |_| raised.store(true, std::sync::atomic::Ordering::Relaxed));
        match fit(&context) {
            Ok(digest) => {
                assert!(interruption >= 2);
                assert_eq!(digest, whole);
                break;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}"),
        }
    }
}

#[test]
fn half_precision_learns_what_single_precision_learns() {
    let (train, test) = (xor(2_000, 1), xor(500, 2));
    let auc = |precision| {
        let training =
            BurnSettings { epochs: 30, batch_rows: 64, learning_rate: 5e-3, precision, ..BurnSettings::default() };
        let settings = MlpSettings { training, ..MlpSettings::default() };
        let model = MlpTrainer.fit_settings(&train, &settings, &FitContext::new(3)).unwrap();
        Metric::RocAuc.compute(test.labels(), &scores(&model, test.batch()).unwrap()).unwrap()
    };
    let single = auc(Precision::F32);
    for precision in [Precision::Bf16, Precision::F16] {
        let half = auc(precision);
        assert!(single > 0.9 && (half - single).abs() < 0.03, "{precision:?}: {half} {single}");
    }
}
