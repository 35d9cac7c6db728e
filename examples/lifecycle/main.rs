//! The main job: from raw events to a monitored model that retrains itself.
//!
//! ```text
//! cargo run --example lifecycle
//! cargo run --example lifecycle -- --data FILE --time COLUMN --label COLUMN [--entity COLUMNS]
//! ```
//!
//! It ingests events in time order, builds features with windows, makes a point-in-time training set,
//! searches hyper-parameters, cross-validates, gates, registers and serves a model over real HTTP, replays the rest of
//! the stream as live traffic, detects drift when it happens, retrains, gates the challenger against
//! the champion, promotes it by canary under traffic, and writes `report.html`.
//!
//! State lives in `--home`. A second run goes on with the next version numbers; a run that was killed resumes
//! when the same command is given again.

#![allow(unreachable_pub, reason = "a program: nothing in it is public")]
#![allow(clippy::indexing_slicing, reason = "columns are those of schemas made here, rows those of the batch at hand")]

mod alarms;
mod campaign;
mod chart;
mod console;
mod evaluate;
mod lineage;
mod loss;
mod options;
mod replay;
mod report;
mod results;
mod simulate;
mod state;
mod stream;
#[path = "../common/table_file.rs"]
mod table_file;
mod traffic;
mod training;
mod views;
mod world;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Parser as _;
use mlops::{
    core::{ErrorKind, Result},
    pipeline::CancellationToken,
    store::Home,
};

use crate::{
    console::{Console, summary},
    options::Options,
    results::Results,
    state::State,
    world::{World, WorldOptions},
};

/// Bad input or a home that cannot be used.
const EXIT_BAD_INPUT: u8 = 2;
/// Stopped by Ctrl-C, as shells report it.
const EXIT_INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads for the program: {error}");
            return ExitCode::from(EXIT_BAD_INPUT);
        }
    };
    match runtime.block_on(lifecycle(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::Cancelled => {
            eprintln!("{}", error.message());
            ExitCode::from(EXIT_INTERRUPTED)
        }
        Err(error) => {
            eprintln!("error: {}", error.chain());
            ExitCode::from(EXIT_BAD_INPUT)
        }
    }
}

async fn lifecycle(options: &Options) -> Result<()> {
    let (stream, data) = options.stream()?;
    let home = Home::open(&options.home)?;
    let state = State::open(&home).await?;
    let campaign = state.begin(&stream, &data, &options.fingerprint(&data)).await?;
    let (stop, flag) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
    tokio::spawn(watch_ctrl_c(stop.clone(), Arc::clone(&flag)));
    let console = Console::new(options.json, flag);
    let world_options = WorldOptions {
        seed: options.seed,
        trials: options.trials as usize,
        port: options.port,
        stop,
        console: console.clone(),
    };
    console.say(&format!("{} in {} (run {campaign})", stream.description, home.path().display()));
    let world = Arc::new(World::open(&home, state.meta(), stream, campaign, world_options).await?);
    let outcome = campaign::run(&world, campaign).await;
    // A run that failed or was stopped leaves its server to be closed here.
    let closed = world.close().await;
    let results = outcome?;
    closed?;
    let report = options.report.clone().unwrap_or_else(|| home.join("report.html"));
    write_report(&results, &report)?;
    state.finish(campaign, &results).await?;
    print(&results, options, &report)
}

/// The first Ctrl-C stops after the work at hand; the journal has everything up to there.
async fn watch_ctrl_c(stop: CancellationToken, flag: Arc<AtomicBool>) {
    if tokio::signal::ctrl_c().await.is_ok() {
        eprintln!("stopping; press Ctrl-C again to leave at once");
        flag.store(true, Ordering::Relaxed);
        stop.cancel();
    }
    if tokio::signal::ctrl_c().await.is_ok() {
        std::process::exit(i32::from(EXIT_INTERRUPTED));
    }
}

/// Written aside and renamed, so that nobody ever sees half a report.
fn write_report(results: &Results, path: &PathBuf) -> Result<()> {
    let aside = path.with_extension("html.new");
    let written = std::fs::write(&aside, report::html(results)).and_then(|()| std::fs::rename(&aside, path));
    written.map_err(|error| {
        mlops::Error::unavailable(format!("report {} cannot be written: {error}", path.display())).with_source(error)
    })
}

fn print(results: &Results, options: &Options, report: &std::path::Path) -> Result<()> {
    if options.json {
        let json = serde_json::to_string_pretty(results)
            .map_err(|error| mlops::Error::internal("results are not JSON").with_source(error))?;
        println!("{json}");
    } else {
        println!("{}", summary(results, report));
    }
    Ok(())
}
