//! What a period of traffic says about the model: quality once labels are known, drift of inputs.
//!
//! Everything is read back from the durable prediction log, not from what the client remembers.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use arrow_array::{
    RecordBatch, UInt64Array,
    cast::AsArray as _,
    types::{Float64Type, Int64Type},
};
use mlops::{
    core::{Error, Result, Timestamp, Version},
    features::prediction_log::REQUEST_ID,
    monitor::{DriftReport, Monitor, ReferenceProfile},
    pipeline::TaskContext,
    train::{Metric, load_package, scores},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    loss::Loss,
    replay::{PeriodPlan, request_id},
    results::{DriftFacts, Quality},
    stream::Stream,
    training::PROFILE_FILE,
    world::World,
};

/// The verdict on one period.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Evaluation {
    pub system: Quality,
    pub never_retrained: Quality,
    pub same_as_previous_accuracy: f64,
    pub drift: DriftFacts,
    /// Of the system's answers.
    pub loss: Loss,
    pub logged: u64,
}

/// The logged predictions of some rows of the stream, in row order.
pub struct Logged {
    pub rows: Vec<usize>,
    pub batch: RecordBatch,
}

/// The task of the period's DAG.
pub async fn task(world: Arc<World>, plan: PeriodPlan, rows: Range<usize>, _: TaskContext) -> Result<Value> {
    let logged = read_log(&world, plan.campaign, plan.start, plan.end).await?;
    if logged.rows.len() != rows.len() {
        return Err(Error::data_loss(format!(
            "period {} has {} rows, the prediction log {}",
            plan.index,
            rows.len(),
            logged.rows.len()
        )));
    }
    let profile = reference_profile(&world, plan.champion).await?;
    let first = load_package(&world.package(Version(plan.first)).await?)?;
    let work = move || {
        let frozen = scores(first.as_ref(), &logged.batch)?;
        let report = Monitor::builder(profile).build()?.observe(&logged.batch, plan.end);
        let labels = labels_of(&world.stream, &logged.rows);
        let answered = system_scores(&logged.batch)?;
        Ok::<_, Error>(Evaluation {
            loss: Loss::known_at(plan.end, &world.stream, &logged.rows, &labels, &answered),
            system: quality(&labels, &answered)?,
            never_retrained: quality(&labels, &frozen)?,
            same_as_previous_accuracy: same_as_previous(&world.stream, &logged.rows),
            drift: drift_facts(&report),
            logged: logged.rows.len() as u64,
        })
    };
    let evaluation = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("the evaluation panicked").with_source(error))??;
    Ok(json!(evaluation))
}

/// The reference that was stored with a version.
async fn reference_profile(world: &World, version: u64) -> Result<ReferenceProfile> {
    let package = world.package(Version(version)).await?;
    ReferenceProfile::from_bytes(package.file(PROFILE_FILE)?)
}

/// Predictions of run `campaign` between two event times.
pub async fn read_log(world: &World, campaign: u64, start: Timestamp, end: Timestamp) -> Result<Logged> {
    // Features are read, and predictions dated, one microsecond before the event.
    let before = |time: Timestamp| Timestamp::from_micros(time.as_micros() - 2);
    let log = world.predictions().await?;
    let batch = log.read(Some(before(start)), Some(before(end))).await?;
    let ids = batch[REQUEST_ID].as_string::<i32>();
    let prefix = request_id(campaign, 0);
    let prefix = prefix.trim_end_matches('0');
    let row_of = |id: Option<&str>| id.and_then(|id| id.strip_prefix(prefix)).and_then(|row| row.parse::<usize>().ok());
    let mut found: Vec<(usize, u64)> =
        ids.iter().enumerate().filter_map(|(at, id)| Some((row_of(id)?, at as u64))).collect();
    found.sort_unstable();
    let order = UInt64Array::from_iter_values(found.iter().map(|pair| pair.1));
    let batch = arrow_select::take::take_record_batch(&batch, &order)?;
    Ok(Logged { rows: found.into_iter().map(|pair| pair.0).collect(), batch })
}

/// Versions that answered, by number of rows.
pub fn answered_by(batch: &RecordBatch) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    for version in batch["version"].as_primitive::<Int64Type>().iter().flatten() {
        *counts.entry(u64::try_from(version).unwrap_or_default()).or_default() += 1;
    }
    counts
}

/// What the system answered.
pub fn system_scores(batch: &RecordBatch) -> Result<Vec<f64>> {
    let column =
        batch.column_by_name("probability").ok_or_else(|| Error::internal("the log has no column \"probability\""))?;
    Ok(column.as_primitive::<Float64Type>().values().to_vec())
}

/// The classes of some rows as numbers.
pub fn labels_of(stream: &Stream, rows: &[usize]) -> Vec<f64> {
    rows.iter().map(|&row| stream.labels().value(row) as f64).collect()
}

/// Accuracy at one half, and the ranking metrics where both classes occur.
pub fn quality(labels: &[f64], scores: &[f64]) -> Result<Quality> {
    if labels.is_empty() {
        return Ok(Quality::default());
    }
    let both = labels.contains(&0.0) && labels.contains(&1.0);
    let ranking = |metric: Metric| if both { metric.compute(labels, scores).map(Some) } else { Ok(None) };
    Ok(Quality {
        accuracy: Metric::Accuracy.compute(labels, scores)?,
        roc_auc: ranking(Metric::RocAuc)?,
        average_precision: ranking(Metric::AveragePrecision)?,
    })
}

/// Accuracy of always answering the class of the latest earlier row whose label is known.
pub fn same_as_previous(stream: &Stream, rows: &[usize]) -> f64 {
    let labels = stream.labels();
    let delay = i64::try_from(stream.label_delay.as_micros()).unwrap_or(i64::MAX);
    let times = stream.times().values();
    let right = rows.iter().filter(|&&row| {
        let known = times.partition_point(|&time| time < times[row].saturating_sub(delay));
        known.min(row).checked_sub(1).is_some_and(|previous| labels.value(previous) == labels.value(row))
    });
    right.count() as f64 / rows.len().max(1) as f64
}

fn drift_facts(report: &DriftReport) -> DriftFacts {
    let psi = |column: &mlops::monitor::ColumnReport| {
        let test = column.tests.iter().find(|test| test.name == "psi");
        test.map(|test| test.statistic).filter(|value| value.is_finite()).unwrap_or_default()
    };
    let columns: Vec<String> = report.drifted().map(|column| column.name.clone()).collect();
    DriftFacts {
        detected: !columns.is_empty(),
        share: columns.len() as f64 / report.columns().len().max(1) as f64,
        columns,
        psi_max: report.columns().iter().map(psi).fold(0.0, f64::max),
    }
}
