//! Times the point-in-time join on the benchmark's data: `spine.parquet` and `fv1.parquet` to `fv3.parquet`, from
//! files to an answer in memory. Prints one JSON line: seconds, processor seconds, peak memory and the digest of the
//! answer by which contenders are compared. Exit 2 with one sentence on bad input.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow_array::{
    Array, RecordBatch,
    cast::AsArray,
    types::{Float64Type, Int64Type},
};
use arrow_schema::DataType;
use clap::{Parser, ValueEnum};
use mlops_core::{Error, Result};
use mlops_features::{JoinSettings, JoinView, Knowledge, PointInTimeJoin};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value, json};

/// Point-in-time join of the benchmark's data.
#[derive(Debug, Parser)]
struct Arguments {
    /// Directory with spine.parquet and the three views.
    data: PathBuf,
    /// Which rows count: what had happened, or what was known.
    #[arg(long, default_value = "event")]
    mode: Mode,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Most memory for the join's state, in MiB; the answer is then dropped piece by piece instead of kept.
    #[arg(long)]
    memory_mib: Option<usize>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    Event,
    Known,
}

const DAY: Duration = Duration::from_secs(86_400);

/// Times to live of the three views, the same for every contender.
const TTL: [Duration; 3] = [Duration::ZERO, DAY.saturating_mul(7), DAY];

fn main() -> ExitCode {
    mlops_conformance::end_with_line("pit_bench", run(&Arguments::parse()))
}

#[allow(clippy::disallowed_methods, reason = "measuring is what the system's clock is for")]
fn run(arguments: &Arguments) -> Result<Value> {
    let (start, cpu_start) = (Instant::now(), cpu_seconds()?);
    let path = arguments.data.join("spine.parquet");
    let fail = || Error::invalid_argument(format!("{} cannot be read", path.display()));
    let file = File::open(&path).map_err(|error| fail().with_source(error))?;
    let spine = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| fail().with_source(error))?;
    let schema = Arc::clone(spine.schema());
    let spine = spine.build().map_err(|error| fail().with_source(error))?;
    let spine = spine.map(|batch| batch.map_err(|error| fail().with_source(error)));

    let knowledge = match arguments.mode {
        Mode::Event => Knowledge::Event,
        Mode::Known => Knowledge::Known,
    };
    let memory = arguments.memory_mib.map(|mib| mib.saturating_mul(1 << 20));
    let defaults = JoinSettings { threads: arguments.threads, ..JoinSettings::default() };
    let memory_bytes_max = memory.unwrap_or(defaults.memory_bytes_max);
    let mut join = PointInTimeJoin::new(RecordBatch::new_empty(schema))
        .with_knowledge(knowledge)
        .with_settings(JoinSettings { memory_bytes_max, ..defaults });
    for number in 1..=TTL.len() {
        join = join.with_view(view(&arguments.data, number)?);
    }
    let (mut kept, mut digest, mut pieces) = (Vec::new(), Digest::default(), 0);
    join.run_each(spine, |piece| {
        pieces += 1;
        match memory {
            Some(_) => digest.add(&piece)?,
            None => kept.push(piece),
        }
        Ok(())
    })?;
    let (wall, cpu, peak) = (start.elapsed().as_secs_f64(), cpu_seconds()? - cpu_start, peak_mib()?);
    for piece in &kept {
        digest.add(piece)?;
    }
    Ok(json!({
        "name": format!("mlops_{:?}", arguments.mode).to_lowercase(), "wall_s": round(wall), "cpu_s": round(cpu),
        "peak_rss_mib": peak, "threads": arguments.threads, "pieces": pieces, "check": digest.into_json(),
    }))
}

fn view(data: &Path, number: usize) -> Result<JoinView> {
    let name = format!("fv{number}");
    let ttl = TTL.get(number - 1).copied().unwrap_or_default();
    let mut view = JoinView::parquet(&name, [data.join(format!("{name}.parquet"))])?
        .with_key("driver_id", "driver_id")
        .with_created("created")
        .with_ttl(ttl);
    for feature in ["a", "b", "c", "d", "e"].map(|feature| format!("{name}_{feature}")) {
        view = view.with_feature(&feature, &feature);
    }
    Ok(view)
}

/// Per feature the number of nulls and the sum of the values, whatever the order of rows; of a text `cat17` the value
/// is 17.
#[derive(Debug, Default)]
struct Digest {
    rows: usize,
    columns: Map<String, Value>,
    sums: Vec<(String, usize, Sum)>,
}

#[derive(Debug, Clone, Copy)]
enum Sum {
    /// Value and what rounding has lost so far (Neumaier).
    Float(f64, f64),
    Integer(i128),
}

impl Digest {
    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows();
        let schema = batch.schema();
        let features = schema.fields().iter().zip(batch.columns()).filter(|(field, _)| field.name().starts_with("fv"));
        for (index, (field, column)) in features.enumerate() {
            if self.sums.len() == index {
                let zero = if field.data_type() == &DataType::Float64 { Sum::Float(0.0, 0.0) } else { Sum::Integer(0) };
                self.sums.push((field.name().clone(), 0, zero));
            }
            let Some((_, nulls, sum)) = self.sums.get_mut(index) else { continue };
            *nulls += column.null_count();
            sum.add(column.as_ref())?;
        }
        Ok(())
    }

    fn into_json(mut self) -> Value {
        self.columns.insert("rows".into(), self.rows.into());
        for (name, nulls, sum) in self.sums {
            let sum = match sum {
                Sum::Float(sum, lost) => json!(round(sum + lost)),
                Sum::Integer(sum) => i64::try_from(sum).map_or_else(|_| json!(sum as f64), Value::from),
            };
            self.columns.insert(name, json!([nulls, sum]));
        }
        Value::Object(self.columns)
    }
}

impl Sum {
    fn add(&mut self, column: &dyn Array) -> Result<()> {
        match (self, column.data_type()) {
            (Self::Float(sum, lost), DataType::Float64) => {
                for value in column.as_primitive::<Float64Type>().iter().flatten() {
                    let next = *sum + value;
                    *lost += if sum.abs() >= value.abs() { (*sum - next) + value } else { (value - next) + *sum };
                    *sum = next;
                }
            }
            (Self::Integer(sum), DataType::Int64) => {
                *sum += column.as_primitive::<Int64Type>().iter().flatten().map(i128::from).sum::<i128>();
            }
            (Self::Integer(sum), DataType::Utf8) => {
                for text in column.as_string::<i32>().iter().flatten() {
                    let number = text.strip_prefix("cat").and_then(|digits| digits.parse::<i128>().ok());
                    *sum += number.ok_or_else(|| Error::data_loss(format!("{text:?} is no category of the data")))?;
                }
            }
            (_, other) => return Err(Error::data_loss(format!("the data have no feature of type {other}"))),
        }
        Ok(())
    }
}

/// To thousandths.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// Processor time of all threads of the process, in hundredths.
fn cpu_seconds() -> Result<f64> {
    let text = read("/proc/self/stat")?;
    // The name of the program, in brackets, may have spaces.
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

/// The most memory that the process has had, in MiB.
fn peak_mib() -> Result<u64> {
    let text = read("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|field| field.parse::<u64>().ok());
    kib.map(|kib| kib / 1024).ok_or_else(|| Error::unavailable("the status of the process has no VmHWM"))
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Error::unavailable(format!("{path} cannot be read")).with_source(error))
}
