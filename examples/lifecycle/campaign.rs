//! One run of the lifecycle from history to report; resumable at every step.
//!
//! The plan of what happens next follows from what the journal has: each step is a DAG run under a
//! key made of the run's number, so repeating the plan after a crash answers the finished part from the
//! journal and goes on with the rest.

use std::{collections::BTreeMap, sync::Arc};

use mlops::{
    core::{ErrorKind, Result, Timestamp, Version},
    pipeline::{Dag, Task, TaskContext},
    registry::{ModelRegistry as _, MoveAlias, PageRequest},
};
use serde_json::{Value, json};

use crate::{
    alarms::{Alarms, Verdict},
    evaluate::{Logged, answered_by, labels_of, quality, read_log, same_as_previous, system_scores},
    loss::Loss,
    replay::{PeriodOutcome, PeriodPlan, ingest, run_period},
    results::{
        AliasMove, AuditFacts, Lineage, Period, Prequential, Quality, Results, StreamFacts, Traffic, VersionFacts,
    },
    stream::Stream,
    training::{TrainingOutcome, TrainingRequest, train},
    views::SERVICE,
    world::{World, actor},
};

/// A share of positives below this makes average precision the headline metric, else accuracy.
const RARE_CLASS: f64 = 0.2;

/// Everything that happened, as it goes along.
#[derive(Default)]
struct Story {
    periods: Vec<Period>,
    versions: Vec<VersionFacts>,
    outcomes: Vec<TrainingOutcome>,
    latency_ms: Vec<f32>,
    requests: u64,
    failed: u64,
}

/// Carries out the whole run.
pub async fn run(world: &Arc<World>, campaign: u64) -> Result<Results> {
    let stream = Arc::clone(&world.stream);
    let live_from = stream.start() + stream.history;
    let mut story = Story::default();
    load_history(world, campaign, live_from).await?;
    let first = first_model(world, campaign, live_from, &mut story).await?;
    let alarms = Alarms::new(world, campaign)?;
    let (mut champion, mut candidate, mut loss) = (first, None, Loss::default());
    for (index, (start, end)) in periods(&stream, live_from).into_iter().enumerate() {
        let rows = stream.row_at(start)..stream.row_at(end);
        if rows.is_empty() {
            continue;
        }
        let plan = PeriodPlan { campaign, index, start, end, rows, champion, first, candidate: candidate.take() };
        let outcome = run_period(world, &plan).await?;
        if let Some(promotion) = &outcome.promotion {
            settle_candidate(world, &mut story, &plan, promotion.promoted, &promotion.reason);
            if promotion.promoted {
                champion = plan.candidate.unwrap_or(champion);
                loss = Loss::default();
            }
        }
        let Verdict { retrain: needed, worse, mut text } =
            alarms.consider(world, &plan, champion, &outcome, loss).await?;
        if !worse {
            loss = loss.and(outcome.evaluation.loss);
        }
        if needed && end < stream.end() {
            match retrain(world, &plan, (champion, trained_until(&story, champion)), end).await {
                Ok(trained) => {
                    text = format!("{text}; {}", describe_training(&trained));
                    candidate = trained.version;
                    story.versions.extend(version_facts(&trained, "waiting for its canary"));
                    story.outcomes.push(trained);
                }
                // Nothing to learn from; the champion goes on and the next alarm tries again.
                Err(error) if error.kind() == ErrorKind::FailedPrecondition => {
                    text = format!("{text}; {}", error.message());
                }
                Err(error) => return Err(error),
            }
        }
        world.console.say(&period_line(&plan, &outcome, &text));
        tell_period(&mut story, &plan, outcome, champion, text);
    }
    world.close().await?;
    results(world, campaign, live_from, first, story).await
}

/// Periods of live traffic; the last ends with the stream.
fn periods(stream: &Stream, live_from: Timestamp) -> Vec<(Timestamp, Timestamp)> {
    let mut periods = Vec::new();
    let mut start = live_from;
    while start < stream.end() {
        let end = start + stream.period;
        // A remainder shorter than half a period belongs to the last one.
        let end = if end + stream.period / 2 >= stream.end() { stream.end() } else { end };
        periods.push((start, end));
        start = end;
    }
    periods
}

/// Events before the live part, and the labels known by then, become tables and online features.
async fn load_history(world: &Arc<World>, campaign: u64, live_from: Timestamp) -> Result<()> {
    let inner = Arc::clone(world);
    let load = Task::new("ingest", move |_: TaskContext| {
        let world = Arc::clone(&inner);
        async move {
            let bar = world.console.bar("history", 1);
            let events = 0..world.stream.row_at(live_from);
            let labels = 0..world.stream.row_at(live_from - world.stream.label_delay);
            let appended = ingest(&world, events, labels).await?;
            world.catch_up(live_from).await?;
            bar.advance(1);
            Ok(json!(appended))
        }
    });
    let dag = Dag::builder("history").with_task(load).build()?;
    world.run(&dag, &format!("run-{campaign}-history"), Value::Null).await.map(drop)
}

async fn first_model(world: &Arc<World>, campaign: u64, live_from: Timestamp, story: &mut Story) -> Result<u64> {
    world.clock.set(live_from);
    let request = TrainingRequest { until: live_from, span: world.stream.history, champion: None };
    let trained = train(world, &format!("run-{campaign}-train-first"), request).await?;
    let Some(version) = trained.version else {
        return Err(mlops::Error::failed_precondition(format!(
            "the first model did not pass its gate ({}); the columns hold too little about the label",
            trained.gate
        )));
    };
    let inner = Arc::clone(world);
    let promote = Task::new("promote", move |_: TaskContext| {
        let world = Arc::clone(&inner);
        async move {
            let options = MoveAlias { expected: None, reason: "first model of this run".to_owned(), actor: actor() };
            world.registry.set_alias(&world.model, &world.champion, Version(version), options).await?;
            Ok(json!(version))
        }
    });
    let dag = Dag::builder("promote_first").with_task(promote).build()?;
    world.run(&dag, &format!("run-{campaign}-promote-first"), Value::Null).await?;
    world.console.say(&format!("first champion: {}", describe_training(&trained)));
    story.versions.extend(version_facts(&trained, "promoted"));
    story.outcomes.push(trained);
    Ok(version)
}

/// Trains a challenger on as much as the first model had, up to now.
async fn retrain(
    world: &Arc<World>,
    plan: &PeriodPlan,
    (champion, seen_until): (u64, Timestamp),
    until: Timestamp,
) -> Result<TrainingOutcome> {
    world.clock.set(until);
    let request = TrainingRequest { until, span: world.stream.history, champion: Some((champion, seen_until)) };
    train(world, &format!("run-{}-train-{:03}", plan.campaign, plan.index), request).await
}

/// Up to when a version has seen labels.
fn trained_until(story: &Story, version: u64) -> Timestamp {
    let known = story.versions.iter().find(|known| known.version == version);
    known.map_or(Timestamp::MIN, |known| known.trained_until)
}

fn describe_training(trained: &TrainingOutcome) -> String {
    match trained.version {
        Some(version) => format!("v{version} ({}, {} rows) passed the gate", trained.trainer, trained.rows),
        None => format!("the gate refused the {} challenger", trained.trainer),
    }
}

fn version_facts(trained: &TrainingOutcome, outcome: &str) -> Option<VersionFacts> {
    Some(VersionFacts {
        version: trained.version?,
        digest: trained.digest.clone(),
        run_id: trained.run_id.clone(),
        trainer: trained.trainer.clone(),
        trained_until: trained.until,
        training_rows: trained.rows,
        cv_metric: "roc_auc".to_owned(),
        cv_mean: trained.cv_mean,
        cv_std: trained.cv_std,
        gate: trained.gate.clone(),
        outcome: outcome.to_owned(),
    })
}

fn settle_candidate(world: &World, story: &mut Story, plan: &PeriodPlan, promoted: bool, reason: &str) {
    let Some(candidate) = plan.candidate else { return };
    let outcome = if promoted { "promoted".to_owned() } else { format!("rolled back: {reason}") };
    world.console.say(&format!("v{candidate} {outcome}"));
    if let Some(version) = story.versions.iter_mut().find(|version| version.version == candidate) {
        version.outcome = outcome;
    }
}

fn period_line(plan: &PeriodPlan, outcome: &PeriodOutcome, decision: &str) -> String {
    let evaluation = &outcome.evaluation;
    format!(
        "{} {:>5} rows  accuracy {:.4} (never retrained {:.4})  {decision}",
        crate::report::day(plan.start),
        plan.rows.len(),
        evaluation.system.accuracy,
        evaluation.never_retrained.accuracy
    )
}

fn tell_period(story: &mut Story, plan: &PeriodPlan, outcome: PeriodOutcome, champion: u64, decision: String) {
    let mut answered: BTreeMap<u64, u64> = BTreeMap::new();
    for segment in &outcome.segments {
        story.requests += segment.requests;
        story.failed += segment.failed;
        story.latency_ms.extend(&segment.latency_ms);
        for (version, rows) in &segment.answered_by {
            *answered.entry(*version).or_default() += rows;
        }
    }
    let evaluation = outcome.evaluation;
    story.periods.push(Period {
        index: plan.index,
        start: plan.start,
        end: plan.end,
        rows: plan.rows.len() as u64,
        system: evaluation.system,
        never_retrained: evaluation.never_retrained,
        same_as_previous_accuracy: evaluation.same_as_previous_accuracy,
        drift: evaluation.drift,
        decision,
        champion,
        answered_by: answered,
    });
}

/// Puts the results together from what is durable: the log, the registry, the audit log.
async fn results(world: &Arc<World>, campaign: u64, live_from: Timestamp, first: u64, story: Story) -> Result<Results> {
    let stream = &world.stream;
    let logged = read_log(world, campaign, live_from, stream.end()).await?;
    let counted: u64 = answered_by(&logged.batch).values().sum();
    let prequential = prequential(world, first, logged).await?;
    let verification = world.audit.verify().await?;
    let positives = stream.labels().values().iter().sum::<i64>() as f64 / stream.batch.num_rows() as f64;
    let rare = positives.min(1.0 - positives) < RARE_CLASS;
    Ok(Results {
        campaign,
        stream: StreamFacts {
            name: stream.name.clone(),
            description: stream.description.clone(),
            simulated: stream.simulated,
            rows: stream.batch.num_rows() as u64,
            history_rows: stream.row_at(live_from) as u64,
            start: stream.start(),
            live_from,
            end: stream.end(),
        },
        headline_metric: if rare { "average_precision" } else { "accuracy" }.to_owned(),
        prequential,
        alias_moves: alias_moves(world, &story).await?,
        traffic: Traffic {
            requests: story.requests,
            failed: story.failed,
            logged: counted,
            latency_ms_p50: percentile(&story.latency_ms, 0.50),
            latency_ms_p99: percentile(&story.latency_ms, 0.99),
        },
        audit: AuditFacts { verified: true, entries: verification.entries },
        lineage: lineage(world, &story),
        periods: story.periods,
        versions: story.versions,
    })
}

async fn prequential(world: &Arc<World>, first: u64, logged: Logged) -> Result<Prequential> {
    let frozen = mlops::train::load_package(&world.package(Version(first)).await?)?;
    let stream = Arc::clone(&world.stream);
    let work = move || {
        let labels = labels_of(&stream, &logged.rows);
        let frozen = mlops::train::scores(frozen.as_ref(), &logged.batch)?;
        let quality_of = |scores: &[f64]| -> Result<Quality> { quality(&labels, scores) };
        Ok(Prequential {
            system: quality_of(&system_scores(&logged.batch)?)?,
            never_retrained: quality_of(&frozen)?,
            same_as_previous_accuracy: same_as_previous(&stream, &logged.rows),
        })
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| mlops::Error::internal("the evaluation panicked").with_source(error))?
}

/// The moves of the champion alias among this run's versions.
async fn alias_moves(world: &World, story: &Story) -> Result<Vec<AliasMove>> {
    let ours = |version: u64| story.versions.iter().any(|known| known.version == version);
    let mut moves = Vec::new();
    let mut page = PageRequest::default();
    loop {
        let found = world.registry.alias_history(&world.model, &page).await?;
        for alias_move in found.items {
            if let Some(to) = alias_move.to.filter(|to| ours(to.0)) {
                let from = alias_move.from.map(|version| version.0);
                moves.push(AliasMove { at: alias_move.at, alias: alias_move.alias.to_string(), from, to: to.0 });
            }
        }
        match found.next_page_token {
            Some(token) => page.token = Some(token),
            None => return Ok(moves),
        }
    }
}

fn percentile(values: &[f32], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().map_or(0.0, f64::from)
}

fn lineage(world: &World, story: &Story) -> Lineage {
    let mut edges = Vec::new();
    let (source, model) = (if world.stream.simulated { "simulator" } else { "file" }, &world.model);
    for table in [&world.definitions.events, &world.definitions.labels] {
        edges.push((source.to_owned(), table.clone()));
    }
    for view in &world.definitions.views {
        edges.push((view.table().to_owned(), view.name().to_owned()));
        edges.push((view.name().to_owned(), SERVICE.to_owned()));
    }
    for (version, outcome) in
        story.versions.iter().zip(story.outcomes.iter().filter(|outcome| outcome.version.is_some()))
    {
        let set = format!("training set until {}", crate::report::day(outcome.until));
        edges.push((SERVICE.to_owned(), set.clone()));
        edges.push((set, format!("{model} v{}", version.version)));
        if version.outcome == "promoted" {
            edges.push((format!("{model} v{}", version.version), format!("{model}@champion")));
        }
    }
    Lineage { edges }
}
