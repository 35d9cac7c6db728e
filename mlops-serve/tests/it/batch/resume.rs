//! Jobs that are run again.

use std::time::{Duration, SystemTime};

use mlops_core::{Digest, ErrorKind};
use mlops_serve::{BatchCancel, BatchJob, BatchSettings, Fingerprint};

use super::data::{expected, job, model, names, read, rows, write};

fn data() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        write(&data.path().join(format!("in/{name}.parquet")), &rows(name, 200), 100);
    }
    data
}

/// The parts that were found rather than made.
fn found(job: BatchJob) -> Vec<String> {
    let report = job.run_blocking().unwrap();
    assert_eq!(report.rows, report.parts.iter().map(|part| part.rows).sum::<u64>());
    report.parts.into_iter().filter(|part| part.found).map(|part| part.name).collect()
}

fn touch(data: &tempfile::TempDir, name: &str, later: Duration) {
    let file = std::fs::File::options().append(true).open(data.path().join("in").join(name)).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + later).unwrap();
}

#[test]
fn what_is_there_is_skipped_and_what_changed_is_made_anew() {
    let data = data();
    let run = |version: &str| found(job(data.path(), version).build().unwrap());
    assert!(run("1").is_empty());
    assert_eq!(run("1"), ["a.parquet", "b.parquet", "c.parquet"]);
    touch(&data, "b.parquet", Duration::ZERO);
    assert_eq!(run("1"), ["a.parquet", "c.parquet"]);
    let other = rows("z", 7);
    write(&data.path().join("in/c.parquet"), &other, 100);
    assert_eq!(run("1"), ["a.parquet", "b.parquet"]);
    assert_eq!(read(&data.path().join("out/c.parquet")), expected(&other));
    assert!(run("2").is_empty(), "another model");
    std::fs::write(data.path().join("out/a.parquet"), "half").unwrap();
    assert_eq!(run("2"), ["b.parquet", "c.parquet"], "a damaged output is no output");
    let keys = job(data.path(), "2").with_keys(["id", "k"]).build().unwrap();
    assert!(found(keys).is_empty(), "other columns");
}

#[test]
fn without_a_digest_of_the_model_nothing_is_taken_for_made() {
    let data = data();
    let build = || BatchJob::builder(model(), data.path().join("in"), data.path().join("out")).build().unwrap();
    assert!(found(build()).is_empty());
    assert!(found(build()).is_empty());
}

#[test]
fn a_copy_of_the_same_bytes_is_the_same_by_content() {
    let data = data();
    let settings = || BatchSettings { fingerprint: Fingerprint::Content, ..BatchSettings::default() };
    let run = || found(job(data.path(), "1").with_settings(settings()).build().unwrap());
    assert!(run().is_empty());
    touch(&data, "a.parquet", Duration::from_secs(9));
    assert_eq!(run(), ["a.parquet", "b.parquet", "c.parquet"]);
}

#[tokio::test]
async fn a_cancelled_job_leaves_whole_parts_and_goes_on_later() {
    let data = data();
    let cancel = BatchCancel::default();
    let switch = cancel.clone();
    let settings = BatchSettings { workers: 1, rows_per_batch: 50, progress_every_ms: 0, ..BatchSettings::default() };
    let job = |settings| job(data.path(), "1").with_settings(settings);
    let stopped = job(settings.clone()).with_cancel(cancel).with_progress(move |progress| {
        if progress.rows_done >= 300 {
            switch.cancel();
        }
    });
    assert_eq!(stopped.build().unwrap().run().await.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(names(&data.path().join("out")), ["a.parquet"]);
    assert_eq!(read(&data.path().join("out/a.parquet")), expected(&rows("a", 200)));
    let report = job(settings).build().unwrap().run().await.unwrap();
    assert_eq!(report.parts.iter().map(|part| part.found).collect::<Vec<_>>(), [true, false, false]);
}

#[tokio::test]
async fn dropping_the_future_cancels() {
    let data = data();
    let job = job(data.path(), "1").build().unwrap();
    let switch = job.cancel_switch();
    drop(job.run());
    // A future that was never polled has not begun; one that was polled is cancelled with it.
    let other = BatchJob::builder(model(), data.path().join("in"), data.path().join("out"))
        .with_cancel(switch)
        .with_model_digest(Digest::of(b"1"))
        .build()
        .unwrap();
    let mut running = Box::pin(other.run());
    assert!(futures::poll!(running.as_mut()).is_pending() || names(&data.path().join("out")).len() == 3);
    drop(running);
    let mut again = super::data::job(data.path(), "1").build().unwrap().run().await;
    // Until the threads of the cancelled job have ended, the folder is theirs.
    while again.as_ref().is_err_and(|error| error.kind() == ErrorKind::FailedPrecondition) {
        tokio::task::yield_now().await;
        again = super::data::job(data.path(), "1").build().unwrap().run().await;
    }
    assert_eq!(again.unwrap().rows, 600);
}
