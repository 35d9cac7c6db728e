//! From a table to a registered model that was searched for, validated, judged, made fairer and explained:
//!
//! ```text
//! cargo run --release --example train_adult -- --data ../shared/data/adult.parquet
//! ```
//!
//! Everything is written into one directory (`--out`), whose registry makes the next run's model prove itself against
//! this one's.

#![allow(unreachable_pub, reason = "a program: nothing in it is public")]
#![allow(clippy::indexing_slicing, reason = "names are drawn below their number")]

mod explained;
mod fair;
mod options;
mod people;
#[path = "../common/program.rs"]
mod program;
mod registered;
mod search;
#[path = "../common/table_file.rs"]
mod table_file;

use std::{num::NonZeroUsize, path::Path, process::ExitCode, sync::Arc, time::Duration};

use clap::Parser as _;
use mlops::{
    core::{Clock as _, Error, ModelPackage, Result, RunLogger as _, SystemClock},
    train::{
        CrossValidation, CvResult, FitContext, Gate, GateInput, LinearTrainer, Metric, Params, Slice, StratifiedKFold,
        TrainedModel, Trainer as _, Verdict, explain::Attribution, latency_per_row, load_package, log_importance,
        log_params, log_study, scores,
    },
};
use tokio::runtime::Builder;

use crate::{
    fair::Frames,
    options::{Kind, Options},
    people::{People, SEX, groups},
    program::end,
    registered::Registry,
    search::METRIC,
};

/// Folds of the final validation.
const FOLDS: usize = 5;
/// Rows of the simulation.
const SIMULATED_ROWS: usize = 12_000;
/// Area under the curve below which no model is of use, on the census and on the simulation.
const AUC_MIN: f64 = 0.75;

fn main() -> ExitCode {
    end(&mut Builder::new_multi_thread(), run(&Options::parse()))
}

async fn run(options: &Options) -> Result<()> {
    let people = match &options.data {
        Some(path) => People::of_file(path)?,
        None => {
            println!("no --data: {SIMULATED_ROWS} simulated people stand in for the census");
            People::simulated(SIMULATED_ROWS, options.seed)?
        }
    };
    let out = &options.out;
    std::fs::create_dir_all(out)
        .map_err(|error| Error::unavailable(format!("{} cannot be created: {error}", out.display())))?;
    let registry = Registry::open(&out.join("registry")).await?;
    let (learn, judge) = (&people.learn, &people.judge);
    println!(
        "rows     {} to learn from, {} to set thresholds by, {} to judge by",
        learn.rows(),
        people.tune.rows(),
        judge.rows()
    );

    let kind = options.model.trainer().name();
    let name = format!("{kind} on {}, seed {}", people.digest.short(), options.seed);
    let study = search::search(options, &name, learn, &out.join("study.json"))?;
    let best = study.best().ok_or_else(|| Error::failed_precondition("no trial succeeded"))?;
    let params = search::with_fixed(options.model, &best.params);
    let (complete, pruned) = search::tally(&study);
    println!(
        "search   {complete} trials complete, {pruned} pruned, best {} {:.4}",
        METRIC.name(),
        best.value().unwrap_or_default()
    );

    let validated = validate(options, &params, &people)?;
    println!(
        "folds    {} {:.4} +- {:.4} over {} folds",
        METRIC.name(),
        validated.mean,
        validated.std,
        validated.folds.len()
    );

    let champion = champion(&registry, options, &people).await?;
    let trained = train(options, &params, &people)?;
    let package = trained.model.to_package()?;
    let judged = scores(&*trained.model, judge.batch())?;
    let verdict = judge_by_gate(&*trained.model, &package, &champion.1, &judged, &people)?;
    println!("gate     {}", if verdict.passed { "passed" } else { "refused" });
    verdict.checks.iter().for_each(|check| {
        println!("         {} {}: {}", if check.passed { "pass" } else { "FAIL" }, check.name, check.detail);
    });

    let tuned = scores(&*trained.model, people.tune.batch())?;
    let (before, after, rules) = fair::mitigate((&people.tune, &tuned), (judge, &judged), options.seed)?;
    tell_fairness(&before, &after)?;

    let (summary, shap) = explained::page(&format!("Why: {name}"), &trained.attribution)?;
    let ranked = summary.ranked();
    let most: Vec<&str> = ranked.iter().take(5).map(|(name, _)| *name).collect();
    println!("why      most important: {}", most.join(", "));

    let run = registry.start(&name).await?;
    log_params(&run, &params).await?;
    let now = SystemClock::default().now();
    log_study(&run, &study, now).await?;
    log_importance(&run, &summary, now).await?;
    let (gap, fair_gap) = (before.gap()?.0, after.gap()?.0);
    let auc = METRIC.compute(judge.labels(), &judged)?;
    let numbers = [
        ("cv_roc_auc", validated.mean),
        ("roc_auc", auc),
        ("selection_gap", gap),
        ("selection_gap_mitigated", fair_gap),
    ];
    registered::log_numbers(&run, &numbers).await?;

    let gate = verdict.to_markdown();
    let fairness =
        format!("# Before\n\n{}\n# After thresholds by {SEX}\n\n{}", before.to_markdown(), after.to_markdown());
    let rules = serde_json::to_string_pretty(&rules)
        .map_err(|error| Error::internal("the thresholds cannot be written as JSON").with_source(error))?;
    let files = [
        ("search.html", explained::study_page(&study)),
        ("shap.html", shap),
        ("gate.md", gate),
        ("gate.xml", verdict.to_junit_xml("train_adult")),
        ("fairness.md", fairness),
        ("thresholds.json", rules),
    ];
    for (file, text) in &files {
        write(&out.join(file), text)?;
        run.log_artifact(file, text.clone().into()).await?;
    }
    registered::finish(&run).await?;
    let mut written: Vec<&str> = files.iter().map(|(file, _)| *file).collect();
    if verdict.passed {
        let version = registry.register(&package, &run).await?;
        registry.promote(version, Some(champion.0), "passed the gate of train_adult").await?;
        write(&out.join("model_card.md"), &registry.card(version).await?)?;
        written.push("model_card.md");
        println!("registry version {version} is the champion now, instead of version {}", champion.0);
    } else {
        println!("registry version {} stays the champion", champion.0);
    }
    written.extend(["study.json", "registry/"]);
    println!("written  {}: {}", out.display(), written.join(", "));
    Ok(())
}

fn validate(options: &Options, params: &Params, people: &People) -> Result<CvResult> {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let folds = StratifiedKFold::new(FOLDS).with_shuffle(options.seed + 1);
    let validation = CrossValidation::new(folds, METRIC).with_threads(threads);
    validation.run(&*options.model.trainer(), &people.learn, params, &FitContext::new(options.seed))
}

/// The model in service; before the first there is a line through the columns, which a challenger has to beat.
async fn champion(registry: &Registry, options: &Options, people: &People) -> Result<(mlops::core::Version, Vec<f64>)> {
    let judge = people.judge.batch();
    if let Some((version, package)) = registry.champion().await? {
        return Ok((version, scores(&*load_package(&package)?, judge)?));
    }
    let run = registry.start("logistic regression").await?;
    let line = LinearTrainer.fit(&people.learn, &Params::new(), &FitContext::new(options.seed))?;
    let said = scores(&*line, judge)?;
    registered::log_numbers(&run, &[("roc_auc", METRIC.compute(people.judge.labels(), &said)?)]).await?;
    registered::finish(&run).await?;
    let version = registry.register(&line.to_package()?, &run).await?;
    registry.promote(version, None, "the first model").await?;
    Ok((version, said))
}

/// A fitted model and why it says what it says.
struct Trained {
    model: Arc<dyn TrainedModel>,
    attribution: Attribution,
}

fn train(options: &Options, params: &Params, people: &People) -> Result<Trained> {
    let context = FitContext::new(options.seed);
    if options.model == Kind::Gbdt {
        let model = explained::fit_trees(&people.learn, params, &context)?;
        let attribution = explained::of_trees(&model, &people.judge)?;
        return Ok(Trained { model: Arc::new(model), attribution });
    }
    let model = options.model.trainer().fit(&people.learn, params, &context)?;
    let attribution = explained::of_any(&*model, &people.learn, &people.judge, options.seed)?;
    Ok(Trained { model, attribution })
}

fn judge_by_gate(
    model: &dyn TrainedModel,
    package: &ModelPackage,
    champion: &[f64],
    judged: &[f64],
    people: &People,
) -> Result<Verdict> {
    let data = &people.judge;
    let gate = Gate::builder()
        .require(METRIC, AUC_MIN)
        .require(Metric::Brier, 0.2)
        .beat_champion(METRIC, 0.0, 0.95)
        .require_on_slices(METRIC, AUC_MIN - 0.05, 100)
        .no_leakage(0.05, 0.95)
        .latency_max(Duration::from_millis(5))
        .size_max(64 << 20)
        .build()?;
    let sexes = groups(data, SEX)?;
    let mut names: Vec<&String> = sexes.iter().collect();
    names.sort_unstable();
    names.dedup();
    let slice = |name: &String| Slice {
        name: format!("{SEX} = {name}"),
        rows: sexes.iter().enumerate().filter(|(_, sex)| *sex == name).map(|(row, _)| row).collect(),
    };
    let slices: Vec<Slice> = names.into_iter().map(slice).collect();
    let some = data.batch().slice(0, data.rows().min(200));
    let input = GateInput::new(data.labels(), judged)
        .with_champion(champion)
        .with_slices(&slices)
        .with_training(&people.learn, data)
        .with_latency_per_row(latency_per_row(model, &some, 5, &SystemClock::default())?)
        .with_model_bytes(package.files().map(|(_, bytes)| bytes.len() as u64).sum());
    Ok(gate.judge(&input))
}

fn tell_fairness(before: &Frames, after: &Frames) -> Result<()> {
    let ((gap, ratio), (fair_gap, fair_ratio)) = (before.gap()?, after.gap()?);
    println!(
        "fairness selection by {SEX} differs by {gap:.3} (ratio {ratio:.2}), with thresholds by {SEX} by {fair_gap:.3} (ratio {fair_ratio:.2})"
    );
    println!("\nbefore\n{}\nafter\n{}", before.to_markdown(), after.to_markdown());
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)
        .map_err(|error| Error::unavailable(format!("{} cannot be written: {error}", path.display())))
}
