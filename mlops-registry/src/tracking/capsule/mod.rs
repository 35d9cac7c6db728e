//! What a run was made from, so that it can be made again: code, lock file, toolchain, command line, environment, host,
//! seeds, data.
//!
//! Invariant: what looks like a secret is never kept, wherever it stands; its name is. Nothing is asked of the
//! process's own environment: the caller hands it in. A part that cannot be found out is left out, never guessed.

mod collect;
mod command;
mod compare;
mod reproduce;
mod secret;

use std::collections::BTreeMap;

use mlops_core::{Digest, Error, Result, RunLogger};
use serde::{Deserialize, Serialize};

pub use compare::{Difference, Tolerance};
pub use reproduce::{REPRODUCES_TAG, Reproduce, Reproduction, reproduce};

use super::Run;

/// The file of a run that holds its capsule.
pub const CAPSULE_FILE: &str = "capsule.json";
/// The file of a run that holds what its code differed in from the revision.
pub const DIFF_FILE: &str = "capsule.diff";
/// What stands where a secret was in a command line.
pub const WITHHELD: &str = "[withheld]";

/// What to put into a capsule beside what can be found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CapsuleOptions {
    /// Program and arguments, as they were started.
    pub command: Vec<String>,
    /// The environment, as the process got it; only variables that are allowed are kept.
    pub environment: BTreeMap<String, String>,
    /// Names of variables to keep; `NAME*` stands for all that begin so. Default: those that change what numeric
    /// programs compute, such as `OMP_*`, `RAYON_*`, `CUDA_*`, `RUST*`.
    pub environment_allowed: Vec<String>,
    /// Seeds by what they are for.
    pub seeds: BTreeMap<String, u64>,
    /// Versions or digests of data by name.
    pub data: BTreeMap<String, String>,
    /// Largest difference of the code that is kept, in bytes; of a larger one, and of one that looks as if it held a
    /// secret, only its existence. Default: 4 MiB.
    pub diff_bytes_max: usize,
    /// How long one question to `git` or `rustc` may take, in milliseconds. Default: 10 s.
    pub timeout_ms: u64,
}

impl Default for CapsuleOptions {
    fn default() -> Self {
        let allowed =
            ["OMP_*", "MKL_*", "OPENBLAS_*", "RAYON_*", "CUDA_*", "NVIDIA_*", "RUST*", "CARGO_*", "LANG", "TZ"];
        Self {
            command: Vec::new(),
            environment: BTreeMap::new(),
            environment_allowed: allowed.map(str::to_owned).to_vec(),
            seeds: BTreeMap::new(),
            data: BTreeMap::new(),
            diff_bytes_max: 4 << 20,
            timeout_ms: 10_000,
        }
    }
}

/// The code that ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Code {
    /// The revision that was checked out.
    pub revision: String,
    /// Its branch; none when there is none.
    pub branch: Option<String>,
    /// Where the repository comes from, without user and password.
    pub origin: Option<String>,
    /// The repository on the host.
    pub root: String,
    /// The directory of the program below it; empty for the repository itself.
    pub directory: String,
    /// Whether tracked files differ from the revision.
    pub dirty: bool,
    /// The digest of the difference, which is kept beside; none when there is none or it was left out.
    pub diff: Option<Digest>,
    /// Whether the difference was too large to keep or looked as if it held a secret.
    pub diff_left_out: bool,
    /// How many files are neither tracked nor ignored; they are not kept.
    pub untracked: u64,
}

/// Where it ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    /// Its name.
    pub name: Option<String>,
    /// Operating system, in Rust's words.
    pub os: String,
    /// Processor architecture, in Rust's words.
    pub arch: String,
    /// Processors that the process may use.
    pub cpus: Option<usize>,
}

/// What a run was made from.
///
/// ```
/// use mlops_registry::tracking::capsule::{Capsule, CapsuleOptions};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let options = CapsuleOptions {
///     command: ["train", "--rounds", "50", "--password", "hunter2"].map(str::to_owned).to_vec(),
///     environment: [("RAYON_NUM_THREADS", "4"), ("HOME", "/root")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
///     seeds: [("split".to_owned(), 7)].into(),
///     ..CapsuleOptions::default()
/// };
/// # let directory = tempfile::tempdir().unwrap();
/// let capsule = Capsule::collect(directory.path(), options).await;
/// assert_eq!(capsule.command.last().unwrap(), "[withheld]");
/// assert_eq!(capsule.environment.into_keys().collect::<Vec<_>>(), ["RAYON_NUM_THREADS"]);
/// # });
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capsule {
    /// The code; none when it is in no repository or there is no `git`.
    pub code: Option<Code>,
    /// The digest of `Cargo.lock` in the directory or the repository.
    pub cargo_lock: Option<Digest>,
    /// What `rustc --version` says.
    pub toolchain: Option<String>,
    /// Program and arguments, less secrets.
    pub command: Vec<String>,
    /// The variables that were allowed, less secrets.
    pub environment: BTreeMap<String, String>,
    /// Variables that were allowed and not kept because they look like secrets.
    pub withheld: Vec<String>,
    /// Seeds by what they are for.
    pub seeds: BTreeMap<String, u64>,
    /// Versions or digests of data by name.
    pub data: BTreeMap<String, String>,
    /// The host.
    pub host: Host,
    /// What the code differed in from the revision, as `git diff --binary` writes it; kept in a file of its own.
    #[serde(skip)]
    pub diff: Vec<u8>,
}

impl Capsule {
    /// The tags by which MLflow's clients find the code of a run.
    #[must_use]
    pub fn tags(&self) -> Vec<(String, String)> {
        let mut tags = Vec::new();
        let mut tag = |key: &str, value: &str| tags.push((format!("mlflow.source.{key}"), value.to_owned()));
        if let Some(program) = self.command.first() {
            tag("name", program);
            tag("type", "LOCAL");
        }
        if let Some(code) = &self.code {
            tag("git.commit", &code.revision);
            tag("git.dirty", if code.dirty { "True" } else { "False" });
            code.branch.iter().for_each(|branch| tag("git.branch", branch));
            code.origin.iter().for_each(|origin| tag("git.repoURL", origin));
        }
        tags
    }
}

impl Run {
    /// Keeps a capsule with the run, as the files [`CAPSULE_FILE`] and [`DIFF_FILE`] and the tags of its source.
    ///
    /// # Errors
    /// As [`RunLogger::log_artifact`] and [`RunLogger::set_tags`].
    pub async fn log_capsule(&self, capsule: &Capsule) -> Result<()> {
        let json = serde_json::to_vec_pretty(capsule)
            .map_err(|error| Error::internal("a capsule cannot be written as JSON").with_source(error))?;
        if !capsule.diff.is_empty() {
            self.log_artifact(DIFF_FILE, capsule.diff.clone().into()).await?;
        }
        self.log_artifact(CAPSULE_FILE, json.into()).await?;
        self.set_tags(&capsule.tags()).await
    }

    /// The capsule that was kept with the run, its difference checked against the digest.
    ///
    /// # Errors
    /// `NotFound` when it has none, `DataLoss` when it cannot be read or the difference is another one.
    pub async fn capsule(&self) -> Result<Capsule> {
        let json = self.artifact(CAPSULE_FILE).await?;
        let mut capsule: Capsule = serde_json::from_slice(&json).map_err(|error| {
            Error::data_loss(format!("{CAPSULE_FILE} of run {} is no capsule", self.run_id())).with_source(error)
        })?;
        if let Some(expected) = capsule.code.as_ref().and_then(|code| code.diff) {
            capsule.diff = self.artifact(DIFF_FILE).await?.to_vec();
            if Digest::of(&capsule.diff) != expected {
                return Err(Error::data_loss(format!("{DIFF_FILE} of run {} was changed", self.run_id())));
            }
        }
        Ok(capsule)
    }
}
