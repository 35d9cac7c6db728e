//! Processes that are killed, and disks that are full: an output part is whole or absent, and the job goes on.
#![allow(
    clippy::disallowed_methods,
    reason = "the test tells its child process where to work by an environment variable"
)]

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use mlops_core::{
    ErrorKind,
    testing::{SplitMix64, acknowledge, run_and_kill},
};
use mlops_serve::BatchSettings;

use super::data::{expected, job, names, read, rows, write};

const HOME: &str = "MLOPS_SERVE_BATCH_HOME";
const WORKERS: &str = "MLOPS_SERVE_BATCH_WORKERS";
const STOP: &str = "MLOPS_SERVE_BATCH_STOP";
const FULL: &str = "MLOPS_SERVE_BATCH_FULL";
const PARTS: u32 = 12;
const ROWS: u32 = 3_000;

fn inputs(data: &Path) {
    for part in 0..PARTS {
        write(&data.join(format!("in/{part:02}.parquet")), &rows(&format!("{part}-"), ROWS), 1_000);
    }
}

/// The child: predicts on some threads, says how many rows it did, and after so many reports stands still until it is
/// killed. Does nothing when run as a test.
#[test]
fn child() {
    let env = |name| std::env::var(name).ok();
    let (Some(home), Some(workers), Some(stop)) = (env(HOME), env(WORKERS), env(STOP)) else { return };
    let (reports, stop) = (AtomicUsize::new(0), stop.parse::<usize>().unwrap());
    let settings = BatchSettings {
        workers: workers.parse().unwrap(),
        rows_per_batch: 64,
        progress_every_ms: 0,
        ..BatchSettings::default()
    };
    let job = job(Path::new(&home), "1").with_settings(settings).with_progress(move |progress| {
        acknowledge(progress.rows_done);
        while reports.load(Ordering::Relaxed) + 1 >= stop {
            std::thread::park();
        }
        reports.fetch_add(1, Ordering::Relaxed);
    });
    job.build().unwrap().run_blocking().unwrap();
}

#[test]
fn a_killed_job_goes_on_and_ends_like_an_undisturbed_one() {
    let (killed, undisturbed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    inputs(killed.path());
    let home = killed.path().to_str().unwrap();
    let random = SplitMix64::new(20_261_126);
    let mut before = 0;
    // One thread stands still at once; of two, the other goes on to whatever is left until the process is killed.
    for (round, workers) in (0..).zip(["1", "1", "1", "1", "2", "2"]) {
        let stop = 1 + usize::try_from(random.bits(2 * round) % if workers == "1" { 120 } else { 20 }).unwrap();
        let envs = [(HOME, home), (WORKERS, workers), (STOP, &stop.to_string())];
        let spins = random.bits(2 * round + 1) % 2_000;
        run_and_kill("batch::crash::child", &envs, stop, spins).expect("the child predicted something");
        let out = killed.path().join("out");
        let parts: Vec<String> = names(&out).into_iter().filter(|name| !name.starts_with('.')).collect();
        assert!((before..PARTS as usize).contains(&parts.len()), "what was in place stays, and there is more to do");
        before = parts.len();
        for name in parts {
            let part: u32 = name.split('.').next().unwrap().parse().unwrap();
            let rows = rows(&format!("{part}-"), ROWS);
            assert_eq!(read(&out.join(name)), expected(&rows), "whole or absent");
        }
    }
    let report = job(killed.path(), "1").build().unwrap().run_blocking().unwrap();
    assert_eq!(report.rows, u64::from(PARTS * ROWS));
    assert_eq!(report.parts.iter().filter(|part| part.found).count(), before);

    // The same files, with their times of change, predicted at one go.
    fs::rename(killed.path().join("in"), undisturbed.path().join("in")).unwrap();
    job(undisturbed.path(), "1").build().unwrap().run_blocking().unwrap();
    for part in 0..PARTS {
        let name = format!("out/{part:02}.parquet");
        let of = |data: &tempfile::TempDir| fs::read(data.path().join(&name)).unwrap();
        assert!(of(&killed) == of(&undisturbed), "{name} differs");
    }
    assert_eq!(names(&killed.path().join("out")), names(&undisturbed.path().join("out")), "and nothing else");
}

/// The child: may write files of a few kilobytes only. Does nothing when run as a test.
#[test]
fn small_disk() {
    let Ok(home) = std::env::var(FULL) else { return };
    let settings = BatchSettings { workers: 1, row_group_rows: 500, ..BatchSettings::default() };
    let error = job(Path::new(&home), "1").with_settings(settings).build().unwrap().run_blocking().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error:?}");
    assert!(error.context().iter().any(|(key, value)| *key == "path" && value.contains("b.parquet")), "{error:?}");
}

/// A bound on the size of files stands for a disk that is full: the operating system refuses the write.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_whole_parts_only() {
    let data = tempfile::tempdir().unwrap();
    write(&data.path().join("in/a.parquet"), &rows("a", 50), 1_000);
    write(&data.path().join("in/b.parquet"), &rows("b", 20_000), 1_000);
    let program = std::env::current_exe().unwrap();
    // 64 blocks of 512 or 1024 bytes. Ignoring the signal lets the write fail instead.
    let child = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" batch::crash::small_disk --exact --nocapture"])
        .arg(program)
        .env(FULL, data.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said} {}", String::from_utf8_lossy(&child.stderr));
    assert_eq!(names(&data.path().join("out")), ["a.parquet"]);
    let report = job(data.path(), "1").build().unwrap().run_blocking().unwrap();
    assert_eq!(report.rows, 20_050);
    assert_eq!(read(&data.path().join("out/b.parquet")), expected(&rows("b", 20_000)));
}
