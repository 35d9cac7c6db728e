//! Trains a model on one Parquet file, predicts another, and prints one JSON line: metrics, seconds, CPU seconds, samples
//! per second. Exit 2 with one sentence on bad input.

mod classes;
mod cpu;
mod table;

use std::{
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use arrow_array::RecordBatch;
use clap::{Parser, ValueEnum};
use mlops_core::{Clock, Error, Result, ResultExt, SystemClock};
use mlops_train::{
    AutoencoderTrainer, Checkpoints, DeviceKind, FitContext, FtTransformerTrainer, GbdtTrainer, LinearTrainer, Metric,
    MlpTrainer, ParamValue, Params, TableDataset, Task, TrainedModel, Trainer, scores_of,
};
use serde_json::{Map, Value, json};

/// Trains and predicts tables.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rows to learn from.
    #[arg(long)]
    train: PathBuf,
    /// Rows to predict and to judge by.
    #[arg(long)]
    test: PathBuf,
    /// The column to predict; every other column is a feature.
    #[arg(long)]
    label: String,
    /// What to train.
    #[arg(long)]
    model: ModelKind,
    /// Whether labels are classes or numbers; by default two distinct values, text and booleans are classes. More than
    /// two classes are learnt by a model for each.
    #[arg(long, default_value = "auto")]
    task: TaskKind,
    /// Where networks are trained: cpu, wgpu or cuda.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Where all random draws come from.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A hyper-parameter as NAME=VALUE; may be repeated.
    #[arg(long = "param", value_name = "NAME=VALUE")]
    params: Vec<String>,
    /// Where to write the predictions, as Parquet.
    #[arg(long)]
    predictions: Option<PathBuf>,
    /// Where to write checkpoints; a fit that was killed goes on from the latest when the same command is given again.
    #[arg(long)]
    checkpoints: Option<PathBuf>,
    /// Steps between checkpoints: updates of a network's weights, or rounds of boosting.
    #[arg(long, default_value = "100", requires = "checkpoints")]
    checkpoint_every: NonZeroU64,
    /// Threads that share each step of a network: they divide its `accumulate` batches.
    #[arg(long, default_value = "1")]
    workers: NonZeroUsize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModelKind {
    /// Multi-layer perceptron.
    Mlp,
    /// Gradient-boosted trees.
    Gbdt,
    /// Logistic regression, or linear regression of numbers.
    Logistic,
    /// Transformer over the columns.
    Ft,
    /// Anomaly score; the label is judged by and not learnt from.
    Autoencoder,
}

impl ModelKind {
    fn trainer(self) -> Arc<dyn Trainer> {
        match self {
            Self::Mlp => Arc::new(MlpTrainer),
            Self::Gbdt => Arc::new(GbdtTrainer),
            Self::Logistic => Arc::new(LinearTrainer),
            Self::Ft => Arc::new(FtTransformerTrainer),
            Self::Autoencoder => Arc::new(AutoencoderTrainer),
        }
    }

    /// Whether it is trained on a device of choice.
    fn is_network(self) -> bool {
        matches!(self, Self::Mlp | Self::Ft | Self::Autoencoder)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TaskKind {
    Auto,
    Classification,
    Regression,
}

fn main() -> ExitCode {
    mlops_conformance::end_with_line("train_table", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<Value> {
    let params = arguments.params.iter().map(|text| parse_param(text)).collect::<Result<Params>>()?;
    let device: DeviceKind = arguments.device.parse()?;
    if !arguments.model.is_network() && device != DeviceKind::Cpu {
        let model = arguments.model.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        return Err(Error::invalid_argument(format!("model {model} runs on device cpu only, found --device {device}")));
    }
    device.open()?;
    let mut context = FitContext::new(arguments.seed).with_device(device).with_workers(arguments.workers);
    if let Some(directory) = &arguments.checkpoints {
        context = context.with_checkpoints(Checkpoints::new(directory).with_every(arguments.checkpoint_every));
    }
    let files = [table::read(&arguments.train)?, table::read(&arguments.test)?];
    if classes::several(arguments, &files[0]) {
        return classes::run(arguments, &files, &params, &context);
    }
    let (train, test) = datasets(arguments, &files)?;
    let clock = SystemClock::default();
    let (fit_clock, fit_cpu) = (clock.monotonic(), cpu::seconds());
    let model = arguments
        .model
        .trainer()
        .fit(&train, &params, &context)
        .context(format!("training on label column {:?}", arguments.label))?;
    let fit = Spent::since(&clock, fit_clock, fit_cpu);
    let (predict_clock, predict_cpu) = (clock.monotonic(), cpu::seconds());
    let output = model.predict(test.batch())?;
    let predict = Spent::since(&clock, predict_clock, predict_cpu);
    if let Some(path) = &arguments.predictions {
        table::write(path, &output)?;
    }
    let mut report = report(&*model, &train, &test, &output)?;
    // An epoch sees each training row once; a round of boosting does, too.
    let samples = train.rows() as f64 * model.steps().max(1) as f64;
    report.extend(costs(arguments, device, samples, &fit, &predict));
    Ok(Value::Object(report))
}

/// What the fit, which saw so many samples, and the predictions took.
fn costs(arguments: &Arguments, device: DeviceKind, samples: f64, fit: &Spent, predict: &Spent) -> Map<String, Value> {
    let fields = [
        ("device", json!(device.name())),
        ("seed", json!(arguments.seed)),
        ("fit_seconds", json!(fit.seconds)),
        ("fit_cpu_seconds", json!(fit.cpu_seconds)),
        ("samples_per_second", json!(samples / fit.seconds)),
        ("samples_per_cpu_second", json!(fit.cpu_seconds.map(|seconds| samples / seconds))),
        ("predict_seconds", json!(predict.seconds)),
        ("predict_cpu_seconds", json!(predict.cpu_seconds)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What one part of the work took.
struct Spent {
    seconds: f64,
    cpu_seconds: Option<f64>,
}

impl Spent {
    fn since(clock: &SystemClock, start: Duration, cpu: Option<f64>) -> Self {
        let cpu_seconds = cpu.zip(cpu::seconds()).map(|(before, after)| after - before);
        Self { seconds: (clock.monotonic() - start).as_secs_f64(), cpu_seconds }
    }
}

/// Whole numbers, numbers, switches, else text.
fn parse_param(text: &str) -> Result<(String, ParamValue)> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(Error::invalid_argument(format!("--param must be NAME=VALUE, found {text:?}")));
    };
    let value = match (value.parse::<i64>(), value.parse::<f64>(), value.parse::<bool>()) {
        (Ok(whole), _, _) => ParamValue::Int(whole),
        (_, Ok(number), _) => ParamValue::Float(number),
        (_, _, Ok(switch)) => ParamValue::Bool(switch),
        _ => ParamValue::Text(value.to_owned()),
    };
    Ok((name.to_owned(), value))
}

/// Both files as one dataset, so that classes mean the same in both, parted again.
fn datasets(arguments: &Arguments, [train, test]: &[RecordBatch; 2]) -> Result<(TableDataset, TableDataset)> {
    let both = table::stack(train, test, &arguments.test)?;
    let data = dataset(arguments, &both)?;
    let rows = |range: std::ops::Range<usize>| data.take(&range.collect::<Vec<_>>());
    Ok((rows(0..train.num_rows())?, rows(train.num_rows()..data.rows())?))
}

fn dataset(arguments: &Arguments, batch: &RecordBatch) -> Result<TableDataset> {
    let classification = || TableDataset::classification(batch.clone(), &arguments.label).build();
    let regression = || TableDataset::regression(batch.clone(), &arguments.label).build();
    let is_number = batch.column_by_name(&arguments.label).is_some_and(|label| label.data_type().is_numeric());
    match (arguments.task, arguments.model) {
        (TaskKind::Regression, _) => regression(),
        (TaskKind::Auto, model) if model != ModelKind::Logistic && is_number => {
            let data = regression()?;
            if two_values(data.labels()) { classification() } else { Ok(data) }
        }
        _ => classification(),
    }
}

/// Whether there are at most two distinct values.
fn two_values(values: &[f64]) -> bool {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    values.iter().all(|&value| value == low || value == high)
}

fn report(
    model: &dyn TrainedModel,
    train: &TableDataset,
    test: &TableDataset,
    output: &RecordBatch,
) -> Result<Map<String, Value>> {
    let is_prediction = model.signature().outputs().len() == 1;
    let (task, wanted) = match test.task() {
        // An anomaly score ranks rows; it is no probability and no number of the label's kind.
        Task::BinaryClassification if !is_prediction => {
            ("classification", vec![Metric::RocAuc, Metric::AveragePrecision])
        }
        Task::Regression if !is_prediction => ("regression", Vec::new()),
        Task::BinaryClassification => {
            let wanted = [Metric::RocAuc, Metric::AveragePrecision, Metric::LogLoss, Metric::Brier, Metric::Accuracy];
            ("classification", wanted.to_vec())
        }
        Task::Regression => ("regression", vec![Metric::Rmse, Metric::Mae, Metric::R2]),
    };
    let scores = scores_of(output)?;
    // A metric that does not exist on these rows, such as the AUC of one class, is null.
    let value = |metric: Metric| json!(metric.compute(test.labels(), &scores).ok());
    let metrics: Map<String, Value> = wanted.into_iter().map(|metric| (metric.to_string(), value(metric))).collect();
    let fields = json!({
        "task": task,
        "rows_train": train.rows(),
        "rows_test": test.rows(),
        "steps": model.steps(),
        "package_digest": model.to_package()?.digest()?.to_string(),
        "metrics": metrics,
    });
    match fields {
        Value::Object(fields) => Ok(fields),
        _ => Err(Error::internal("the report is not an object")),
    }
}
