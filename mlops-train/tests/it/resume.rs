//! Fits that are interrupted and go on: they end with the bits of one that never stopped.

use std::{
    num::NonZeroU64,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use mlops_core::{ErrorKind, testing::SplitMix64};
use mlops_train::{
    AutoencoderTrainer, Checkpoints, FitContext, FtTransformerTrainer, GbdtTrainer, LinearTrainer, MlpTrainer, Params,
    TableDataset, TrainedModel, Trainer,
};

use crate::common::xor;

/// What a child process is told to do, and where.
const CHILD: &str = "MLOPS_TRAIN_CHILD";

fn data() -> TableDataset {
    xor(300, 3)
}

fn cases() -> [(&'static str, Arc<dyn Trainer>, Params); 6] {
    let mlp = Params::new()
        .with("epochs", 4)
        .with("hidden_units", 8)
        .with("batch_rows", 32)
        .with("accumulate", 2)
        .with("schedule", "cosine")
        .with("warmup_steps", 3)
        .with("clip_norm", 0.5)
        .with("early_stopping_epochs", 3);
    let gbdt = Params::new()
        .with("rounds", 24)
        .with("subsample", 0.7)
        .with("colsample", 0.6)
        .with("early_stopping_rounds", 20);
    let half =
        mlp.clone().with("precision", "bf16").with("optimizer", "adam_w").with("accumulate", 1).with("epochs", 3);
    let vectors = mlp.clone().with("encoding", "embedding");
    let narrow = mlp.iter().filter(|(name, _)| *name != "hidden_units").map(|(name, value)| (name, value.clone()));
    // What a step drops is drawn, so it has to be drawn again after an interruption.
    let ft: Params = narrow.collect();
    let ft = ft.with("token_width", 8).with("heads", 2).with("blocks", 2).with("residual_dropout", 0.1);
    let autoencoder = mlp.clone().with("bottleneck", 2);
    [
        ("mlp", Arc::new(MlpTrainer), mlp),
        ("half", Arc::new(MlpTrainer), half),
        ("vectors", Arc::new(MlpTrainer), vectors),
        ("ft", Arc::new(FtTransformerTrainer), ft),
        ("autoencoder", Arc::new(AutoencoderTrainer), autoencoder),
        ("gbdt", Arc::new(GbdtTrainer), gbdt),
    ]
}

fn every(steps: u64) -> NonZeroU64 {
    NonZeroU64::new(steps).unwrap()
}

fn digest(model: &dyn TrainedModel) -> String {
    model.to_package().unwrap().digest().unwrap().to_string()
}

fn fit(trainer: &dyn Trainer, params: &Params, context: &FitContext) -> mlops_core::Result<String> {
    trainer.fit(&data(), params, context).map(|model| digest(&*model))
}

/// Counts the times that it is asked through the flag and raises it after some.
fn cancelled_after(events: usize, context: FitContext) -> FitContext {
    let flag = Arc::new(AtomicBool::new(events == 0));
    let seen = AtomicUsize::new(0);
    let raised = Arc::clone(&flag);
    context.with_cancel(flag).with_progress(move |_| {
        if seen.fetch_add(1, Ordering::Relaxed) + 1 >= events {
            raised.store(true, Ordering::Relaxed);
        }
    })
}

#[test]
fn a_fit_that_is_cancelled_again_and_again_ends_with_the_same_bits() {
    for (name, trainer, params) in cases() {
        let whole = fit(&*trainer, &params, &FitContext::new(5)).unwrap();
        let home = tempfile::tempdir().unwrap();
        let context = || FitContext::new(5).with_checkpoints(Checkpoints::new(home.path()).with_every(every(1_000)));
        let mut interruptions = 0;
        let ended = loop {
            match fit(&*trainer, &params, &cancelled_after(1, context())) {
                Ok(digest) => break digest,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Cancelled, "{name}: {error}");
                    interruptions += 1;
                    assert!(interruptions < 50, "{name} does not get on");
                }
            }
        };
        assert!(interruptions >= 2, "{name} was interrupted {interruptions} times");
        assert_eq!(ended, whole, "{name}");
        assert_eq!(fit(&*trainer, &params, &context()).unwrap(), whole, "{name}: nothing is left to do");
    }
}

/// A directory as it was after each of a fit's checkpoints.
fn snapshots(trainer: &dyn Trainer, params: &Params, home: &Path) -> Vec<std::path::PathBuf> {
    let checkpoints = Checkpoints::new(home).with_every(every(1)).with_keep_last(usize::MAX);
    fit(trainer, params, &FitContext::new(5).with_checkpoints(checkpoints.clone())).unwrap();
    checkpoints.list().unwrap().into_iter().map(|info| info.path).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn from_every_single_step_the_end_is_the_same() {
    for (name, trainer, params) in cases() {
        let whole = fit(&*trainer, &params, &FitContext::new(5)).unwrap();
        let home = tempfile::tempdir().unwrap();
        let steps = snapshots(&*trainer, &params, home.path());
        assert!(steps.len() >= 16, "{name}: {}", steps.len());
        for step in steps {
            let other = tempfile::tempdir().unwrap();
            copy(&step, &other.path().join(step.file_name().unwrap()));
            let context = FitContext::new(5).with_checkpoints(Checkpoints::new(other.path()).with_every(every(1_000)));
            assert_eq!(fit(&*trainer, &params, &context).unwrap(), whole, "{name} from {}", step.display());
        }
    }
}

#[test]
fn another_fit_is_refused_and_says_why() {
    for (name, trainer, params) in cases() {
        let home = tempfile::tempdir().unwrap();
        let context = |seed| FitContext::new(seed).with_checkpoints(Checkpoints::new(home.path()));
        fit(&*trainer, &params, &context(5)).unwrap();
        let check = |error: mlops_core::Error, what: &str| {
            assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{name}: {error}");
            assert!(error.message().contains(what) && error.message().contains("manifest.json"), "{name}: {error}");
        };
        check(fit(&*trainer, &params, &context(6)).unwrap_err(), "its seed is 5, this fit's is 6");
        let other = params.clone().with("learning_rate", 0.05);
        check(fit(&*trainer, &other, &context(5)).unwrap_err(), "its settings");
        if name == "ft" {
            // The weights have the same shapes.
            for other in [params.clone().with("heads", 4), params.clone().with("attention_dropout", 0.4)] {
                check(fit(&*trainer, &other, &context(5)).unwrap_err(), "its settings");
            }
        }
        check(trainer.fit(&xor(300, 4), &params, &context(5)).unwrap_err(), "its data");
    }
    let home = tempfile::tempdir().unwrap();
    let context = FitContext::new(5).with_checkpoints(Checkpoints::new(home.path()));
    LinearTrainer.fit(&data(), &Params::new(), &context).unwrap();
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "linear models write none");
}

#[test]
fn a_damaged_file_is_named() {
    for (name, trainer, params) in cases() {
        let home = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(home.path()).with_keep_last(1);
        let context = FitContext::new(5).with_checkpoints(checkpoints.clone());
        fit(&*trainer, &params, &context).unwrap();
        let latest = checkpoints.list().unwrap().pop().unwrap().path;
        for entry in std::fs::read_dir(latest).unwrap() {
            let path = entry.unwrap().path();
            let whole = std::fs::read(&path).unwrap();
            for bytes in [&whole[..whole.len() / 2], &[], &[whole.as_slice(), b"x"].concat()] {
                std::fs::write(&path, bytes).unwrap();
                let error = fit(&*trainer, &params, &context).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::DataLoss, "{name}: {error}");
                assert!(error.message().contains(path.to_str().unwrap()), "{name}: {error}");
            }
            std::fs::write(&path, whole).unwrap();
        }
        fit(&*trainer, &params, &context).unwrap();
    }
}

/// Not a test of its own: what a child process runs until it is killed.
#[test]
#[allow(clippy::disallowed_methods, reason = "the environment is how a test binary tells its child what to do")]
fn child_process() {
    let Some(told) = std::env::var_os(CHILD) else { return };
    let told = told.into_string().unwrap();
    let (name, home) = told.split_once(' ').unwrap();
    let (_, trainer, params) = cases().into_iter().find(|case| case.0 == name).unwrap();
    let context = FitContext::new(5).with_checkpoints(Checkpoints::new(home).with_every(every(1)));
    let digest = fit(&*trainer, &params, &context).unwrap();
    std::fs::write(Path::new(home).join("digest"), digest).unwrap();
}

fn spawn(name: &str, home: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["resume::child_process", "--exact", "--test-threads=1"])
        .env(CHILD, format!("{name} {}", home.display()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Names of whole checkpoints that lie there.
fn steps(home: &Path) -> usize {
    let entries = std::fs::read_dir(home).into_iter().flatten().map(|entry| entry.unwrap().file_name());
    let numbers = entries.filter_map(|name| name.to_str()?.strip_prefix("step-")?.parse::<usize>().ok());
    numbers.max().unwrap_or(0)
}

#[test]
fn a_process_that_is_killed_at_random_steps_ends_with_the_same_bits() {
    let random = SplitMix64::new(11);
    for (name, trainer, params) in cases() {
        let whole = fit(&*trainer, &params, &FitContext::new(5)).unwrap();
        let home = tempfile::tempdir().unwrap();
        let mut kills = 0;
        loop {
            let target = steps(home.path()) + 1 + (random.uniform(kills) * 6.0) as usize;
            let mut child = spawn(name, home.path());
            let status = loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break status;
                }
                if steps(home.path()) >= target {
                    // On Unix this is SIGKILL: the process has no say in it.
                    child.kill().unwrap();
                    break child.wait().unwrap();
                }
                std::thread::yield_now();
            };
            if status.success() {
                break;
            }
            kills += 1;
            assert!(kills < 60, "{name} does not get on");
        }
        assert!(kills >= 2, "{name} was killed {kills} times");
        println!("{name}: killed {kills} times");
        assert_eq!(std::fs::read_to_string(home.path().join("digest")).unwrap(), whole, "{name}");
    }
}
