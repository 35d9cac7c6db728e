//! Finding out what a run is made from.

use std::{path::Path, time::Duration};

use mlops_core::Digest;

use super::{
    Capsule, CapsuleOptions, Code, Host, WITHHELD,
    command::{Output, git, run},
    secret::{holds_secret, is_secret_name, is_secret_value, withhold, without_user},
};

/// Longest answer to a short question.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Longest list of files that are not tracked; of a longer one the beginning is counted.
const LIST_BYTES_MAX: usize = 4 << 20;

impl Capsule {
    /// Finds out what the program in `directory` is made from. That there is no repository, `git` or `rustc` is no error.
    ///
    /// The toolchain is the one that `directory` chooses now, which need not be the one that built the program.
    pub async fn collect(directory: &Path, options: CapsuleOptions) -> Self {
        let limit = Duration::from_millis(options.timeout_ms);
        let (code, diff) = code(directory, limit, options.diff_bytes_max).await.unwrap_or_default();
        let mut rustc = std::process::Command::new("rustc");
        let rustc = run(rustc.arg("--version").current_dir(directory), b"", limit, ANSWER_BYTES_MAX).await;
        let toolchain = rustc.ok().filter(|said| said.succeeded()).map(|said| line(&said.stdout));
        let root = code.as_ref().map(|code| Path::new(&code.root).to_owned());
        let mut cargo_lock = None;
        for place in std::iter::once(directory).chain(root.as_deref()) {
            if cargo_lock.is_none() {
                cargo_lock = tokio::fs::read(place.join("Cargo.lock")).await.ok().map(|bytes| Digest::of(&bytes));
            }
        }
        let mut capsule = Self {
            code,
            cargo_lock,
            toolchain,
            command: withhold(&options.command, WITHHELD),
            seeds: options.seeds,
            data: options.data,
            host: host().await,
            diff,
            ..Self::default()
        };
        for (name, value) in options.environment {
            if !is_allowed(&options.environment_allowed, &name) {
                continue;
            }
            if is_secret_name(&name) || is_secret_value(&value) {
                capsule.withheld.push(name);
            } else {
                capsule.environment.insert(name, value);
            }
        }
        capsule
    }
}

fn is_allowed(allowed: &[String], name: &str) -> bool {
    allowed.iter().any(|allowed| match allowed.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == allowed,
    })
}

fn line(output: &Output) -> String {
    String::from_utf8_lossy(&output.bytes).trim().to_owned()
}

async fn host() -> Host {
    let name = tokio::fs::read_to_string("/proc/sys/kernel/hostname").await.ok();
    Host {
        name: name.map(|name| name.trim().to_owned()),
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        cpus: std::thread::available_parallelism().ok().map(Into::into),
    }
}

/// The code and its difference; none outside of a repository, before its first revision, or without `git`.
async fn code(directory: &Path, limit: Duration, diff_max: usize) -> Option<(Option<Code>, Vec<u8>)> {
    let ask = async |args: &[&str]| -> Option<String> {
        let said = run(&mut git(directory, args), b"", limit, ANSWER_BYTES_MAX).await.ok()?;
        said.succeeded().then(|| line(&said.stdout)).filter(|said| !said.is_empty())
    };
    let revision = ask(&["rev-parse", "--verify", "HEAD"]).await?;
    let root = ask(&["rev-parse", "--show-toplevel"]).await?;
    let origin = ask(&["remote", "get-url", "origin"]).await;
    let mut code = Code {
        revision,
        branch: ask(&["symbolic-ref", "--short", "--quiet", "HEAD"]).await,
        origin: origin.map(|origin| without_user(&origin).unwrap_or(origin)),
        directory: ask(&["rev-parse", "--show-prefix"]).await.unwrap_or_default(),
        root,
        ..Code::default()
    };
    let root = Path::new(&code.root);
    let diff = ["diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD"];
    let diff = run(&mut git(root, &diff), b"", limit, diff_max).await.ok().filter(|said| said.succeeded());
    let untracked = ["ls-files", "--others", "--exclude-standard", "-z"];
    if let Ok(said) = run(&mut git(root, &untracked), b"", limit, LIST_BYTES_MAX).await {
        code.untracked = said.stdout.bytes.iter().filter(|byte| **byte == 0).count() as u64;
    }
    // A difference that cannot be told is one that was left out.
    code.diff_left_out = diff.as_ref().is_none_or(|said| said.stdout.cut || holds_secret(&said.stdout.bytes));
    let bytes = diff.filter(|_| !code.diff_left_out).map(|said| said.stdout.bytes).unwrap_or_default();
    code.dirty = code.diff_left_out || !bytes.is_empty();
    code.diff = (!bytes.is_empty()).then(|| Digest::of(&bytes));
    Some((Some(code), bytes))
}
