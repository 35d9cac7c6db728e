//! Doing a run again from its capsule, and comparing.
//!
//! Invariant: the code runs in a fresh checkout of its own, never in the repository it came from, and the new run is
//! ended however the command ends; only a caller that gives up leaves it open.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::TryStreamExt as _;
use mlops_core::{
    Digest, DigestBuilder, Error, ErrorKind, Metric, Result, RunId, RunLogger as _, RunStatus, Timestamp,
};
use serde::Deserialize;

use super::{
    CAPSULE_FILE, Capsule, Code, DIFF_FILE, Difference, Tolerance, WITHHELD,
    command::{Outcome, git, run},
    compare::{Results, compare},
    secret::without_user,
};
use crate::{
    limits::{BATCH_METRICS_MAX, BATCH_PARAMS_MAX},
    tracking::Run,
};

/// The tag of a run that does another one again, whose value is that run's id.
pub const REPRODUCES_TAG: &str = "mlops.reproduces";
/// Where the output of the command is kept among the files of the new run.
const OUTPUT_DIRECTORY: &str = "reproduction";
/// The variable that names the new run to clients of MLflow.
const RUN_VARIABLE: &str = "MLFLOW_RUN_ID";
/// The variable that names a file for results.
const RESULTS_VARIABLE: &str = "MLOPS_RESULTS";
/// Largest file of results.
const RESULTS_BYTES_MAX: u64 = 1 << 20;
/// How long a copy of the repository may take.
const CHECKOUT_LIMIT: Duration = Duration::from_secs(300);

/// How to do a run again.
#[derive(Debug, Clone, PartialEq)]
pub struct Reproduce {
    /// An empty or absent directory for the checkout and the results; it is left as it is for a look.
    pub workplace: PathBuf,
    /// The repository to take the code from. Default: the one on the host that the capsule names.
    pub repository: Option<String>,
    /// Variables of the command beside those of this process and of the capsule, such as where the tracking server is, or
    /// secrets that were withheld. Of one name the one given here counts, then that of the capsule.
    pub environment: BTreeMap<String, String>,
    /// How long the command may take. Default: an hour.
    pub timeout: Duration,
    /// How much of each of its outputs is kept, in bytes. Default: 4 MiB.
    pub output_bytes_max: usize,
    /// When metrics agree.
    pub tolerance: Tolerance,
}

impl Reproduce {
    /// Below this directory, with the defaults.
    #[must_use]
    pub fn new(workplace: impl Into<PathBuf>) -> Self {
        Self {
            workplace: workplace.into(),
            repository: None,
            environment: BTreeMap::new(),
            timeout: Duration::from_secs(3_600),
            output_bytes_max: 4 << 20,
            tolerance: Tolerance::default(),
        }
    }
}

/// How a run that was done again compares.
#[derive(Debug, Clone, PartialEq)]
pub struct Reproduction {
    /// The original.
    pub original: RunId,
    /// The new run, nested below it, with the command's output below `reproduction/`.
    pub run: RunId,
    /// How the command ended; none when it was ended.
    pub exit_code: Option<i32>,
    /// Whether it took too long.
    pub timed_out: bool,
    /// How many params, metrics and files agree.
    pub same: usize,
    /// What does not.
    pub differences: Vec<Difference>,
}

impl Reproduction {
    /// Whether the command succeeded and all that the original has came out again.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.exit_code == Some(0) && self.differences.is_empty()
    }
}

impl fmt::Display for Reproduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_same() { "reproduced" } else { "not reproduced" };
        write!(f, "run {} {verdict} by run {}: ", self.original, self.run)?;
        match self.exit_code {
            _ if self.timed_out => f.write_str("the command took too long")?,
            Some(code) => write!(f, "exit code {code}")?,
            None => f.write_str("the command was killed")?,
        }
        write!(f, ", {} values and files agree, {} differ", self.same, self.differences.len())?;
        self.differences.iter().try_for_each(|difference| write!(f, "\n  {difference}"))
    }
}

/// What a command without a client of the server may write to the file that `MLOPS_RESULTS` names, as JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    params: BTreeMap<String, String>,
    metrics: BTreeMap<String, f64>,
}

/// Does a run again: checks its code out anew, applies the difference, runs the command there with a new run below the
/// original, and compares. The command finds the new run's id in `MLFLOW_RUN_ID`, and may write
/// `{"params": {...}, "metrics": {...}}` to the file named by `MLOPS_RESULTS` instead of logging.
///
/// Read the capsule before: its command is run with your rights.
///
/// # Errors
/// `InvalidArgument` when the tolerance is no distance; `FailedPrecondition` when the capsule lacks code or command, a
/// difference was left out or a secret of the command line was withheld, or when the workplace is not empty; `NotFound` without capsule, `git` or program; `Unavailable` when the
/// revision cannot be checked out.
pub async fn reproduce(original: &Run, how: &Reproduce) -> Result<Reproduction> {
    how.tolerance.check()?;
    let capsule = original.capsule().await?;
    let (code, program) = check(original.run_id(), &capsule)?;
    let checkout = check_out(code, &capsule.diff, how).await?;
    let again = original.start_nested(&format!("reproduction of {}", original.run_id())).await?;
    let outcome = execute(original, &again, &capsule, program, &checkout.join(&code.directory), how).await;
    let status = if outcome.as_ref().is_ok_and(Outcome::succeeded) { RunStatus::Finished } else { RunStatus::Failed };
    again.finish(status).await?;
    let outcome = outcome?;
    let (same, differences) = compare(&results(original).await?, &results(&again).await?, how.tolerance);
    Ok(Reproduction {
        original: original.run_id().clone(),
        run: again.run_id().clone(),
        exit_code: outcome.code,
        timed_out: outcome.timed_out,
        same,
        differences,
    })
}

fn check<'a>(run: &RunId, capsule: &'a Capsule) -> Result<(&'a Code, &'a str)> {
    let lacks = |what: &str| Error::failed_precondition(format!("run {run} cannot be done again: {what}"));
    let code = capsule.code.as_ref().ok_or_else(|| lacks("its capsule names no code"))?;
    let program = capsule.command.first().ok_or_else(|| lacks("its capsule names no command"))?;
    if code.diff_left_out {
        return Err(lacks("the difference of its code from the revision was too large to keep or held a secret"));
    }
    if capsule.command.iter().any(|word| word.contains(WITHHELD)) {
        return Err(lacks("its command line held a secret; pass secrets by the environment"));
    }
    let inside = Path::new(&code.directory).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let hex = code.revision.chars().all(|c| c.is_ascii_hexdigit());
    if !inside || !hex {
        return Err(lacks("its capsule names a directory outside of the repository or no revision"));
    }
    Ok((code, program))
}

/// A fresh checkout with the difference applied.
async fn check_out(code: &Code, diff: &[u8], how: &Reproduce) -> Result<PathBuf> {
    let io = |error: std::io::Error| {
        Error::unavailable(format!("workplace {} cannot be used: {error}", how.workplace.display())).with_source(error)
    };
    tokio::fs::create_dir_all(&how.workplace).await.map_err(io)?;
    let workplace = tokio::fs::canonicalize(&how.workplace).await.map_err(io)?;
    if tokio::fs::read_dir(&workplace).await.map_err(io)?.next_entry().await.map_err(io)?.is_some() {
        return Err(Error::failed_precondition(format!(
            "workplace {} is not empty; choose another directory",
            workplace.display()
        )));
    }
    let repository = how.repository.as_deref().unwrap_or(&code.root);
    ask(&workplace, &["clone", "--quiet", "--no-checkout", "--", repository, "code"], b"").await?;
    let checkout = workplace.join("code");
    ask(&checkout, &["checkout", "--quiet", "--detach", &code.revision], b"").await?;
    if !diff.is_empty() {
        ask(&checkout, &["apply", "--binary", "--whitespace=nowarn", "-"], diff).await?;
    }
    Ok(checkout)
}

async fn ask(directory: &Path, args: &[&str], input: &[u8]) -> Result<()> {
    let said = run(&mut git(directory, args), input, CHECKOUT_LIMIT, 64 << 10).await?;
    if said.succeeded() {
        return Ok(());
    }
    // It may repeat the address, and with it a password.
    let why = String::from_utf8_lossy(&said.stderr.bytes);
    let word = |word: &str| without_user(word.trim_matches(['\'', '"'])).unwrap_or_else(|| word.to_owned());
    let why = why.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    Err(Error::unavailable(format!("git {} failed: {why}", args.first().copied().unwrap_or_default())))
}

/// Runs the command and keeps what it wrote with the new run.
async fn execute(
    original: &Run,
    again: &Run,
    capsule: &Capsule,
    program: &str,
    directory: &Path,
    how: &Reproduce,
) -> Result<Outcome> {
    again.set_tags(&[(REPRODUCES_TAG.to_owned(), original.run_id().to_string())]).await?;
    again.log_capsule(capsule).await?;
    let file = tokio::fs::canonicalize(&how.workplace).await.map(|workplace| workplace.join("results.json"));
    let file = file.map_err(|error| Error::unavailable("the workplace is gone").with_source(error))?;
    let mut command = std::process::Command::new(program);
    command.args(capsule.command.iter().skip(1)).current_dir(directory);
    command.envs(&capsule.environment).envs(&how.environment);
    command.env(RUN_VARIABLE, again.run_id().as_str()).env(RESULTS_VARIABLE, &file);
    let outcome = run(&mut command, b"", how.timeout, how.output_bytes_max).await?;
    for (name, output) in [("stdout", &outcome.stdout), ("stderr", &outcome.stderr)] {
        let mut bytes = output.bytes.clone();
        if output.cut {
            bytes.extend(b"\n[cut]\n");
        }
        again.log_artifact(&format!("{OUTPUT_DIRECTORY}/{name}.txt"), bytes.into()).await?;
    }
    log_written(again, &file).await?;
    Ok(outcome)
}

async fn log_written(again: &Run, file: &Path) -> Result<()> {
    let Ok(found) = tokio::fs::metadata(file).await else { return Ok(()) };
    let wrong = |why: &dyn fmt::Display| {
        Error::invalid_argument(format!(
            "the results that the command wrote to {} cannot be read: {why}",
            file.display()
        ))
    };
    if found.len() > RESULTS_BYTES_MAX {
        return Err(wrong(&format_args!("{} bytes, at most {RESULTS_BYTES_MAX} are read", found.len())));
    }
    let text = tokio::fs::read(file).await.map_err(|error| wrong(&error))?;
    let written: Written = serde_json::from_slice(&text).map_err(|error| wrong(&error))?;
    let started: Timestamp = again.record().await?.started;
    let metric = |(key, value)| Metric { key, value, timestamp: started, step: 0 };
    let metrics: Vec<Metric> = written.metrics.into_iter().map(metric).collect();
    let params: Vec<(String, String)> = written.params.into_iter().collect();
    for params in params.chunks(BATCH_PARAMS_MAX) {
        again.log_params(params).await?;
    }
    for metrics in metrics.chunks(BATCH_METRICS_MAX) {
        again.log_metrics(metrics).await?;
    }
    Ok(())
}

/// What a run came to. Figures of the machine and the files of capsules and reproductions are no results.
async fn results(run: &Run) -> Result<Results> {
    let record = run.record().await?;
    let mut found = Results { params: record.params, metrics: record.metrics, files: BTreeMap::new() };
    found.metrics.retain(|name, _| !name.starts_with("system/"));
    let files = match run.artifacts().await {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        files => files?,
    };
    for (path, _) in files {
        let output = path.strip_prefix(OUTPUT_DIRECTORY).is_some_and(|below| below.starts_with('/'));
        if !output && path != CAPSULE_FILE && path != DIFF_FILE {
            let digest = digest(run, &path).await?;
            found.files.insert(path, digest);
        }
    }
    Ok(found)
}

/// The digest of a file of any size.
async fn digest(run: &Run, path: &str) -> Result<Digest> {
    let mut pieces = run.open_artifact(path).await?.pieces;
    let mut builder = DigestBuilder::default();
    while let Some(piece) = pieces.try_next().await? {
        builder.update(&piece);
    }
    Ok(builder.finish())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mlops_store::SqliteMetaStore;

    use super::{super::CapsuleOptions, *};
    use crate::{ArtifactStore, SqlTrackingStore, Tracker, tracking::PARENT_RUN_TAG};

    async fn git(directory: &Path, args: &[&str]) {
        ask(directory, args, b"").await.unwrap();
    }

    /// A repository whose script writes the number of its file as a metric.
    async fn repository(directory: &Path) {
        let script = "set -e\nread n < number\nprintf '{\"params\":{\"n\":\"%s\"},\"metrics\":{\"auc\":0.%s}}' $n $n \
                      > \"$MLOPS_RESULTS\"\necho said $MODE\n";
        std::fs::create_dir(directory.join("sub")).unwrap();
        std::fs::write(directory.join("sub/train.sh"), script).unwrap();
        std::fs::write(directory.join("sub/number"), "5\n").unwrap();
        std::fs::write(directory.join("Cargo.lock"), "version = 4\n").unwrap();
        git(directory, &["init", "--quiet", "--initial-branch=trunk"]).await;
        git(directory, &["remote", "add", "origin", "https://me:pw@example.org/a.git"]).await;
        git(directory, &["add", "."]).await;
        let me = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"];
        git(directory, &[&me[..], &["commit", "--quiet", "-m", "first"]].concat()).await;
    }

    async fn original(directory: &Path, command: &[&str]) -> (Run, Capsule) {
        let store = SqlTrackingStore::builder(Arc::new(SqliteMetaStore::in_memory().await.unwrap()));
        let store = Arc::new(store.build().await.unwrap());
        let run = Tracker::new(store, ArtifactStore::in_memory()).start("e", "first").await.unwrap();
        let options = CapsuleOptions {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            environment: [("MODE", "fast"), ("API_TOKEN", "x"), ("HOME", "/h")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            environment_allowed: vec!["MODE".into(), "API_*".into()],
            ..CapsuleOptions::default()
        };
        let capsule = Capsule::collect(directory, options).await;
        run.log_capsule(&capsule).await.unwrap();
        (run, capsule)
    }

    async fn logged(run: &Run, auc: f64) {
        run.log_params(&[("n".into(), "7".into())]).await.unwrap();
        let point = Metric { key: "auc".into(), value: auc, timestamp: Timestamp::from_millis(1), step: 0 };
        run.log_metrics(&[point]).await.unwrap();
    }

    #[tokio::test]
    async fn a_dirty_run_comes_out_again_and_a_changed_value_is_told() {
        let home = tempfile::tempdir().unwrap();
        let code = home.path().join("origin");
        std::fs::create_dir(&code).unwrap();
        repository(&code).await;
        std::fs::write(code.join("sub/number"), "7\n").unwrap();
        std::fs::write(code.join("sub/new"), "").unwrap();
        let (run, capsule) = original(&code.join("sub"), &["sh", "train.sh"]).await;
        let found = capsule.code.as_ref().unwrap();
        assert_eq!(
            (found.branch.as_deref(), found.origin.as_deref()),
            (Some("trunk"), Some("https://example.org/a.git"))
        );
        assert_eq!((found.dirty, found.directory.as_str(), found.untracked), (true, "sub/", 1));
        assert_eq!(capsule.cargo_lock, Some(Digest::of(b"version = 4\n")));
        assert_eq!((capsule.environment.len(), capsule.withheld.as_slice()), (1, ["API_TOKEN".to_owned()].as_slice()));
        assert_eq!(run.capsule().await.unwrap(), capsule);
        assert_eq!(run.record().await.unwrap().tags["mlflow.source.git.commit"], found.revision);
        logged(&run, 0.7).await;
        // The origin goes on; the capsule does not.
        std::fs::write(code.join("sub/number"), "9\n").unwrap();

        let report = reproduce(&run, &Reproduce::new(home.path().join("again"))).await.unwrap();
        assert!(report.is_same() && report.same == 2, "{report}");
        let again = run.tracker().open(&report.run).await.unwrap();
        assert_eq!(again.artifact("reproduction/stdout.txt").await.unwrap(), "said fast\n");
        let again = again.record().await.unwrap();
        assert_eq!(again.tags[PARENT_RUN_TAG], run.run_id().as_str());
        assert_eq!(again.tags[REPRODUCES_TAG], run.run_id().as_str());
        assert_eq!((again.status, again.params["n"].as_str()), (RunStatus::Finished, "7"));

        run.log_metrics(&[Metric { key: "auc".into(), value: 0.8, timestamp: Timestamp::from_millis(2), step: 1 }])
            .await
            .unwrap();
        run.log_artifact("model.bin", "1".into()).await.unwrap();
        let report = reproduce(&run, &Reproduce::new(home.path().join("third"))).await.unwrap();
        assert!(!report.is_same() && report.exit_code == Some(0), "{report}");
        let text = report.to_string();
        assert!(text.contains("metric auc: 0.8, now 0.7") && text.contains("file model.bin: "), "{text}");
        let used = reproduce(&run, &Reproduce::new(home.path().join("third"))).await.unwrap_err();
        assert_eq!(used.kind(), ErrorKind::FailedPrecondition);
    }

    /// More than one batch holds of either kind.
    #[tokio::test]
    async fn many_results_are_logged_in_parts() {
        let home = tempfile::tempdir().unwrap();
        let code = home.path().join("origin");
        std::fs::create_dir(&code).unwrap();
        repository(&code).await;
        let list = |name: &str, count: usize, value: &str| {
            let entries: Vec<String> = (0..count).map(|i| format!("\"{name}{i}\":{value}")).collect();
            entries.join(",")
        };
        let written =
            format!("{{\"params\":{{{}}},\"metrics\":{{{}}}}}", list("p", 101, "\"1\""), list("m", 1_001, "2"));
        let script = format!("cat > \"$MLOPS_RESULTS\" <<'END'\n{written}\nEND\n");
        let (run, _) = original(&code, &["sh", "-c", &script]).await;
        let report = reproduce(&run, &Reproduce::new(home.path().join("again"))).await.unwrap();
        let again = run.tracker().open(&report.run).await.unwrap().record().await.unwrap();
        assert_eq!((again.status, again.params.len(), again.metrics.len()), (RunStatus::Finished, 101, 1_001));
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_ended_and_so_is_its_run() {
        let home = tempfile::tempdir().unwrap();
        let code = home.path().join("origin");
        std::fs::create_dir(&code).unwrap();
        repository(&code).await;
        let (run, _) = original(&code, &["sh", "-c", "echo begun; exec tail -f /dev/null"]).await;
        let how = Reproduce { timeout: Duration::from_millis(300), ..Reproduce::new(home.path().join("again")) };
        let report = reproduce(&run, &how).await.unwrap();
        assert!(report.timed_out && !report.is_same(), "{report}");
        let again = run.tracker().open(&report.run).await.unwrap();
        assert_eq!(again.record().await.unwrap().status, RunStatus::Failed);
    }

    #[tokio::test]
    async fn a_difference_with_a_key_is_left_out_and_not_reproduced() {
        let home = tempfile::tempdir().unwrap();
        let code = home.path().join("origin");
        std::fs::create_dir(&code).unwrap();
        repository(&code).await;
        std::fs::write(code.join("sub/number"), "AKIAIOSFODNN7EXAMPLE\n").unwrap();
        let (run, capsule) = original(&code, &["sh", "train.sh"]).await;
        let found = capsule.code.as_ref().unwrap();
        assert!(found.dirty && found.diff_left_out && found.diff.is_none() && capsule.diff.is_empty());
        let refused = reproduce(&run, &Reproduce::new(home.path().join("again"))).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::FailedPrecondition);
    }

    #[tokio::test]
    async fn without_a_repository_there_is_a_capsule_but_no_reproduction() {
        let home = tempfile::tempdir().unwrap();
        let (run, capsule) = original(home.path(), &["sh", "train.sh"]).await;
        assert_eq!((capsule.code, capsule.cargo_lock), (None, None));
        let refused = reproduce(&run, &Reproduce::new(home.path().join("again"))).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::FailedPrecondition);
    }
}
