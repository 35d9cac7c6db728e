//! One period of live traffic as a DAG: requests, canary steps, then what the period leaves behind.
//!
//! A plain period is one segment of traffic. A period with a candidate has three canary segments
//! with rising share, the promotion (or not), and the rest. Every segment is a task of its own and
//! leaves its predictions, under an id of its own, in the durable log before it is done; so
//! a run that is killed repeats at most the segment it was in, and the log holds every answer once.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use mlops::{
    core::{Result, Timestamp, Version},
    features::OnlineWriter,
    pipeline::{Dag, Task, TaskContext},
    registry::{ModelRegistry as _, MoveAlias},
    serve::rollout::{Phase, Requirement, Rollout, RolloutSettings},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    evaluate,
    stream::{EVENT_ID, EVENT_TIMESTAMP, LABEL, Stream},
    traffic::{Answer, waves},
    training::read,
    world::{World, actor},
};

/// Shares of the period's rows that go to the canary steps.
const CANARY_ROWS: [f64; 3] = [0.4, 0.2, 0.1];

/// One period.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct PeriodPlan {
    pub campaign: u64,
    pub index: usize,
    pub start: Timestamp,
    pub end: Timestamp,
    pub rows: Range<usize>,
    /// The champion when the period begins.
    pub champion: u64,
    /// The first champion of this run, for comparison.
    pub first: u64,
    /// A version that passed the gate and now has to prove itself.
    pub candidate: Option<u64>,
}

/// What one segment of traffic did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Segment {
    pub requests: u64,
    pub failed: u64,
    pub answered_by: BTreeMap<u64, u64>,
    /// Milliseconds of every request, rounded to a hundredth.
    pub latency_ms: Vec<f32>,
    /// The rollout after the segment.
    pub rollout: Option<Rollout>,
}

/// What the promotion task did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Promotion {
    pub promoted: bool,
    pub reason: String,
}

/// What a period came to.
#[derive(Debug)]
pub struct PeriodOutcome {
    pub segments: Vec<Segment>,
    pub promotion: Option<Promotion>,
    pub evaluation: evaluate::Evaluation,
}

type BodyFuture = std::pin::Pin<Box<dyn Future<Output = Result<Value>> + Send>>;
type Body = fn(Arc<World>, PeriodPlan, Range<usize>, TaskContext) -> BodyFuture;

/// Replays one period, or answers from the journal.
pub async fn run_period(world: &Arc<World>, plan: &PeriodPlan) -> Result<PeriodOutcome> {
    let task = |name: &str, rows: Range<usize>, after: Option<&str>, body: Body| {
        let (world, plan) = (Arc::clone(world), plan.clone());
        let task =
            Task::new(name, move |context: TaskContext| body(Arc::clone(&world), plan.clone(), rows.clone(), context));
        match after {
            Some(after) => task.after([after]),
            None => task,
        }
    };
    let all = plan.rows.clone();
    let mut tasks = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    match plan.candidate {
        None => {
            tasks.push(task("traffic", all.clone(), None, |w, p, r, c| Box::pin(plain_segment(w, p, r, c))));
            names.push("traffic");
        }
        Some(_) => {
            let cuts = canary_cuts(&all);
            let steps = ["canary_1", "canary_2", "canary_3"];
            for (index, name) in steps.iter().enumerate() {
                let after = index.checked_sub(1).map(|before| steps[before]);
                tasks.push(task(name, cuts[index].clone(), after, |w, p, r, c| Box::pin(canary_segment(w, p, r, c))));
            }
            tasks.push(task("promote", cuts[2].clone(), Some("canary_3"), |w, p, r, c| Box::pin(promote(w, p, r, c))));
            tasks.push(task("traffic", cuts[3].clone(), Some("promote"), |w, p, r, c| {
                Box::pin(plain_segment(w, p, r, c))
            }));
            names.extend(steps);
            names.push("traffic");
        }
    }
    tasks.push(task("settle", all.clone(), Some("traffic"), |w, p, r, c| Box::pin(settle(w, p, r, c))));
    tasks.push(task("evaluate", all, Some("settle"), |w, p, r, c| Box::pin(evaluate::task(w, p, r, c))));
    let name = if plan.candidate.is_some() { "period_with_canary" } else { "period" };
    let dag = tasks.into_iter().fold(Dag::builder(name), |dag, task| dag.with_task(task)).build()?;
    let report = world.run(&dag, &period_key(plan), json!(plan)).await?;
    Ok(PeriodOutcome {
        segments: names.iter().map(|name| read(report.output(name))).collect::<Result<_>>()?,
        promotion: plan.candidate.map(|_| read(report.output("promote"))).transpose()?,
        evaluation: read(report.output("evaluate"))?,
    })
}

fn period_key(plan: &PeriodPlan) -> String {
    format!("run-{}-period-{:03}", plan.campaign, plan.index)
}

/// The id that a row's request carries, and by which its label finds it.
pub fn request_id(campaign: u64, row: usize) -> String {
    format!("run-{campaign}-row-{row}")
}

fn canary_cuts(rows: &Range<usize>) -> [Range<usize>; 4] {
    let n = rows.len() as f64;
    let mut at = rows.start;
    let mut cut = |share: f64| {
        let start = at;
        at = (at + (n * share) as usize).min(rows.end);
        start..at
    };
    let [a, b, c] = CANARY_ROWS.map(&mut cut);
    let rest = at..rows.end;
    [a, b, c, rest]
}

async fn plain_segment(world: Arc<World>, plan: PeriodPlan, rows: Range<usize>, task: TaskContext) -> Result<Value> {
    let (server, _) = world.serving().await?;
    server.repository().sync().await.into_result()?;
    Ok(json!(send(&world, &plan, rows, task.task()).await?))
}

/// A step of the canary: the first begins the rollout, the next go on with what the journal has.
async fn canary_segment(world: Arc<World>, plan: PeriodPlan, rows: Range<usize>, task: TaskContext) -> Result<Value> {
    let (server, _) = world.serving().await?;
    server.repository().sync().await.into_result()?;
    let before = task.outputs().values().next().map(|output| read::<Segment>(Some(output))).transpose()?;
    let rollout = match before.and_then(|segment| segment.rollout) {
        Some(rollout) => rollout,
        None => {
            let candidate = Version(plan.candidate.unwrap_or_default());
            let planned = Rollout::new(world.model.clone(), Version(plan.champion), candidate, rollout_settings())?;
            planned.started(Timestamp::default())
        }
    };
    let installed = server.rollout(&world.model);
    if installed.is_none_or(|installed| installed.phase != rollout.phase || installed.candidates != rollout.candidates)
    {
        server.resume_rollout(rollout).await?;
    }
    let mut segment = send(&world, &plan, rows, task.task()).await?;
    server.step_rollout(&world.model).await?;
    segment.rollout = server.rollout(&world.model);
    Ok(json!(segment))
}

/// The requests of a segment are few, so a step asks for no failure rather than for proof; on loopback and in a debug build
/// latency says little, so only stalls are slow; and the time of the data is not that of the server.
fn rollout_settings() -> RolloutSettings {
    RolloutSettings {
        requirement: Requirement::NoFailure,
        min_requests: 5,
        slow_above_us: 5_000_000,
        stage_max_s: 0,
        ..RolloutSettings::default()
    }
}

/// Moves the alias when the rollout came to its end; otherwise the champion stays.
async fn promote(world: Arc<World>, plan: PeriodPlan, rows: Range<usize>, task: TaskContext) -> Result<Value> {
    let segment: Segment = task.output_as("canary_3")?;
    let phase = segment.rollout.map(|rollout| rollout.phase);
    let (server, _) = world.serving().await?;
    if matches!(phase, Some(Phase::Promoted { .. })) {
        world.clock.set(time_of(&world.stream, rows.end.saturating_sub(1)));
        let candidate = Version(plan.candidate.unwrap_or_default());
        let reason = format!("canary in period {} kept its guardrails", plan.index);
        let options = MoveAlias { expected: None, reason: reason.clone(), actor: actor() };
        world.registry.set_alias(&world.model, &world.champion, candidate, options).await?;
        server.repository().sync().await.into_result()?;
        return Ok(json!(Promotion { promoted: true, reason }));
    }
    let reason = match phase {
        Some(Phase::RolledBack { reason }) => reason,
        _ => "the canary saw too few requests to decide".to_owned(),
    };
    if server.rollout(&world.model).is_some_and(|rollout| rollout.is_active()) {
        server.roll_back(&world.model, &reason).await?;
    }
    Ok(json!(Promotion { promoted: false, reason }))
}

fn time_of(stream: &Stream, row: usize) -> Timestamp {
    Timestamp::from_micros(stream.times().value(row))
}

/// Sends rows wave by wave; after each wave its events are online, before each the labels known by then.
async fn send(world: &Arc<World>, plan: &PeriodPlan, rows: Range<usize>, name: &str) -> Result<Segment> {
    let (_, client) = world.serving().await?;
    let stream = &world.stream;
    let writer = world.features.writer();
    let mut labels_from = if rows.start == plan.rows.start {
        world.catch_up(plan.start).await?;
        stream.row_at(plan.start - stream.label_delay)
    } else {
        stream.row_at(time_of(stream, rows.start - 1) - stream.label_delay)
    };
    let bar = world.console.bar(&format!("live period {}", plan.index + 1), rows.len() as u64);
    let mut segment = Segment::default();
    for wave in waves(stream, rows.clone()) {
        if world.stop.is_cancelled() {
            return Err(mlops::Error::cancelled("stopped; run the same command to continue"));
        }
        let now = time_of(stream, wave.end - 1);
        world.clock.set(now);
        let labels_to = stream.row_at(now - stream.label_delay);
        push_labels(world, &writer, labels_from..labels_to).await?;
        labels_from = labels_to.max(labels_from);
        let answers = client.send(stream, plan.campaign, wave.clone()).await?;
        push_events(world, &writer, wave.clone()).await?;
        count(&mut segment, &answers);
        bar.advance(wave.len() as u64);
    }
    // In this order: whoever dies in between sends the rows again, to an online store that is not yet ahead of them;
    // whoever dies after it finds the answers in the log, which keeps the first of each segment.
    if segment.requests > 0 {
        let log = world.predictions().await?;
        log.flush_as(&format!("{}-{name}", period_key(plan))).await?;
    }
    writer.flush().await?;
    Ok(segment)
}

fn count(segment: &mut Segment, answers: &[Answer]) {
    for answer in answers {
        segment.requests += 1 + answer.failed;
        segment.failed += answer.failed;
        *segment.answered_by.entry(answer.version).or_default() += 1;
        segment.latency_ms.push((answer.seconds * 1e5).round() as f32 / 100.0);
    }
}

async fn push_events(world: &World, writer: &OnlineWriter, rows: Range<usize>) -> Result<()> {
    let batch = event_rows(&world.stream, rows)?;
    for view in world.definitions.views.iter().filter(|view| view.table() == world.definitions.events) {
        writer.push(view.name(), &batch).await?;
    }
    Ok(())
}

async fn push_labels(world: &World, writer: &OnlineWriter, rows: Range<usize>) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let batch = label_rows(&world.stream, rows)?;
    for view in world.definitions.views.iter().filter(|view| view.table() == world.definitions.labels) {
        writer.push(view.name(), &batch).await?;
    }
    Ok(())
}

/// The events of `rows`, without their labels.
pub fn event_rows(stream: &Stream, rows: Range<usize>) -> Result<RecordBatch> {
    let schema = stream.batch.schema();
    let keep: Vec<usize> = (0..schema.fields().len()).filter(|&index| schema.field(index).name() != LABEL).collect();
    Ok(stream.batch.slice(rows.start, rows.len()).project(&keep)?)
}

/// The labels of `rows`, at the time at which they are known.
pub fn label_rows(stream: &Stream, rows: Range<usize>) -> Result<RecordBatch> {
    let batch = stream.batch.slice(rows.start, rows.len());
    let delay = i64::try_from(stream.label_delay.as_micros()).unwrap_or(i64::MAX);
    let known: TimestampMicrosecondArray = stream.times().slice(rows.start, rows.len()).unary(|time| time + delay);
    let known: ArrayRef = Arc::new(known.with_timezone("UTC"));
    let mut columns = vec![(EVENT_ID, Arc::clone(&batch[EVENT_ID])), (EVENT_TIMESTAMP, known)];
    columns.extend(stream.entities.iter().map(|key| (key.as_str(), Arc::clone(&batch[key.as_str()]))));
    columns.push((LABEL, Arc::clone(&batch[LABEL])));
    Ok(RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))?)
}

/// Makes the period's events, and the labels that became known in it, part of the tables.
async fn settle(world: Arc<World>, plan: PeriodPlan, rows: Range<usize>, _: TaskContext) -> Result<Value> {
    let delay = world.stream.label_delay;
    let labels = world.stream.row_at(plan.start - delay)..world.stream.row_at(plan.end - delay);
    let versions = ingest(&world, rows, labels).await?;
    Ok(json!(versions))
}

/// Appends events and labels under ids made of their rows: whoever repeats it changes nothing.
pub async fn ingest(world: &World, events: Range<usize>, labels: Range<usize>) -> Result<(u64, u64)> {
    let mut appended = (0, 0);
    if !events.is_empty() {
        let batch = event_rows(&world.stream, events.clone())?;
        let id = format!("events-{}-{}", events.start, events.end);
        world.features.ingestor(&world.definitions.events)?.append(&id, &batch).await?;
        appended.0 = events.len() as u64;
    }
    if !labels.is_empty() {
        let batch = label_rows(&world.stream, labels.clone())?;
        let id = format!("labels-{}-{}", labels.start, labels.end);
        world.features.ingestor(&world.definitions.labels)?.append(&id, &batch).await?;
        appended.1 = labels.len() as u64;
    }
    Ok(appended)
}
