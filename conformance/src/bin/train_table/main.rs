//! Trains a model on one Parquet file, predicts another, and prints one JSON line: metrics, seconds, CPU seconds, samples
//! per second. Exit 2 with one sentence on bad input.

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
    Checkpoints, DeviceKind, FitContext, GbdtTrainer, LinearTrainer, Metric, MlpTrainer, ParamValue, Params,
    TableDataset, Task, TrainedModel, Trainer, scores,
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
    /// Whether labels are two classes or numbers; by default two distinct values, text and booleans are classes.
    #[arg(long, default_value = "auto")]
    task: TaskKind,
    /// Where the perceptron is trained: cpu, wgpu or cuda.
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
    /// Steps between checkpoints: updates of the perceptron's weights, or rounds of boosting.
    #[arg(long, default_value = "100", requires = "checkpoints")]
    checkpoint_every: NonZeroU64,
    /// Threads that share each step of the perceptron: they divide its `accumulate` batches.
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
    if arguments.model != ModelKind::Mlp && device != DeviceKind::Cpu {
        let model = arguments.model.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        return Err(Error::invalid_argument(format!("model {model} runs on device cpu only, found --device {device}")));
    }
    device.open()?;
    let (train, test) = datasets(arguments)?;
    let mut context = FitContext::new(arguments.seed).with_device(device).with_workers(arguments.workers);
    if let Some(directory) = &arguments.checkpoints {
        context = context.with_checkpoints(Checkpoints::new(directory).with_every(arguments.checkpoint_every));
    }
    let clock = SystemClock::default();
    let (fit_clock, fit_cpu) = (clock.monotonic(), cpu::seconds());
    let model = trainer(arguments.model)
        .fit(&train, &params, &context)
        .context(format!("training on label column {:?}", arguments.label))?;
    let fit = Spent::since(&clock, fit_clock, fit_cpu);
    let (predict_clock, predict_cpu) = (clock.monotonic(), cpu::seconds());
    let output = model.predict(test.batch())?;
    let predict = Spent::since(&clock, predict_clock, predict_cpu);
    if let Some(path) = &arguments.predictions {
        table::write(path, &output)?;
    }
    let mut report = report(&*model, &train, &test)?;
    // An epoch sees each training row once; a round of boosting does, too.
    let samples = train.rows() as f64 * model.steps().max(1) as f64;
    report.insert("device".to_owned(), json!(device.name()));
    report.insert("seed".to_owned(), json!(arguments.seed));
    report.insert("fit_seconds".to_owned(), json!(fit.seconds));
    report.insert("fit_cpu_seconds".to_owned(), json!(fit.cpu_seconds));
    report.insert("samples_per_second".to_owned(), json!(samples / fit.seconds));
    report.insert("samples_per_cpu_second".to_owned(), json!(fit.cpu_seconds.map(|seconds| samples / seconds)));
    report.insert("predict_seconds".to_owned(), json!(predict.seconds));
    report.insert("predict_cpu_seconds".to_owned(), json!(predict.cpu_seconds));
    Ok(Value::Object(report))
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

fn trainer(kind: ModelKind) -> Arc<dyn Trainer> {
    match kind {
        ModelKind::Mlp => Arc::new(MlpTrainer),
        ModelKind::Gbdt => Arc::new(GbdtTrainer),
        ModelKind::Logistic => Arc::new(LinearTrainer),
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
fn datasets(arguments: &Arguments) -> Result<(TableDataset, TableDataset)> {
    let train = table::read(&arguments.train)?;
    let test = table::read(&arguments.test)?;
    let both = table::stack(&train, &test, &arguments.test)?;
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
        (TaskKind::Auto, ModelKind::Mlp | ModelKind::Gbdt) if is_number => {
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

fn report(model: &dyn TrainedModel, train: &TableDataset, test: &TableDataset) -> Result<Map<String, Value>> {
    let (task, wanted) = match test.task() {
        Task::BinaryClassification => {
            let wanted = [Metric::RocAuc, Metric::AveragePrecision, Metric::LogLoss, Metric::Brier, Metric::Accuracy];
            ("classification", wanted.to_vec())
        }
        Task::Regression => ("regression", vec![Metric::Rmse, Metric::Mae, Metric::R2]),
    };
    let scores = scores(model, test.batch())?;
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
