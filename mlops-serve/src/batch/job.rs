//! A batch job from the outside: put together, run, stopped.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use mlops_core::{Clock, Digest, Error, ErrorKind, Model, ModelName, Result, SystemClock};
use tokio::sync::oneshot;

use super::{
    fault::{about, of_disk},
    input::BatchInput,
    part,
    plan::{Planned, plan, refuse_overlap},
    progress::{BatchProgress, Report, Tracker},
    settings::BatchSettings,
};
use crate::repository::ModelRepository;

/// Held by the job that writes into a folder.
const LOCK: &str = ".mlops-batch.lock";

/// Predicts all rows of Parquet files.
///
/// For each input file there is one output file of the same name in the output folder, with the key columns and the
/// model's outputs, one row per row of the input and in its order. A job that is run again skips files that are there
/// already, if they were made of the same file by the same model (see
/// [`BatchJobBuilder::with_model_digest`]) and settings.
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::{DataType, Digest, Signature, TensorSpec, arrow_array::{RecordBatch, record_batch}};
/// use mlops_serve::{BatchJob, ClosureModel};
/// # use parquet::arrow::ArrowWriter;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (data, out) = (tempfile::tempdir()?, tempfile::tempdir()?);
/// # let batch = record_batch!(("id", Utf8, ["a", "b"]), ("x", Float64, [1.0, 2.0]))?;
/// # let mut writer = ArrowWriter::try_new(std::fs::File::create(data.path().join("x.parquet"))?, batch.schema(), None)?;
/// # writer.write(&batch)?;
/// # writer.close()?;
/// let spec = |name: &str| [TensorSpec::column(name, DataType::Float64)];
/// let signature = Signature::new(spec("x"), spec("y"))?;
/// let outputs = signature.output_schema();
/// let model = ClosureModel::new(signature, move |batch: &RecordBatch| {
///     Ok(RecordBatch::try_new(Arc::clone(&outputs), vec![Arc::clone(batch.column(0))])?)
/// });
///
/// let job = BatchJob::builder(Arc::new(model), data.path(), out.path())
///     .with_keys(["id"])
///     .with_model_digest(Digest::of(b"version 1"))
///     .with_progress(|progress| println!("{} of {} rows", progress.rows_done, progress.rows_total))
///     .build()?;
/// let report = job.run().await?;
/// assert_eq!((report.rows, report.parts[0].name.as_str()), (2, "x.parquet"));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct BatchJob {
    job: Job,
    input: BatchInput,
}

/// What all workers share.
pub(super) struct Job {
    pub(super) model: Arc<dyn Model>,
    pub(super) digest: Option<Digest>,
    pub(super) output: PathBuf,
    pub(super) keys: Vec<String>,
    pub(super) settings: BatchSettings,
    pub(super) stop: BatchCancel,
    clock: Arc<dyn Clock>,
    progress: Option<Arc<Report>>,
    /// Set when a part failed: the others need not be finished.
    failed: AtomicBool,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { output, keys, settings, .. } = self;
        let mut shown = f.debug_struct("Job");
        shown.field("output", output).field("keys", keys).field("settings", settings).finish_non_exhaustive()
    }
}

/// Stops a job from anywhere. Cloning gives the same switch.
#[derive(Debug, Clone, Default)]
pub struct BatchCancel(Arc<AtomicBool>);

impl BatchCancel {
    /// Lets the job end with `Cancelled` after the batches that are being predicted. What is in place stays.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// # Errors
    /// `Cancelled` when it was.
    pub(super) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(Error::cancelled("the batch job was cancelled; run it again to go on"));
        }
        Ok(())
    }
}

/// The parts of a [`BatchJob`].
#[derive(Debug)]
#[must_use]
pub struct BatchJobBuilder {
    job: Job,
    input: BatchInput,
}

impl BatchJobBuilder {
    /// Bounds and choices; safe defaults otherwise.
    pub fn with_settings(mut self, settings: BatchSettings) -> Self {
        self.job.settings = settings;
        self
    }

    /// Rows that the model predicts at a time, instead of those of the settings.
    pub fn with_rows_per_batch(mut self, rows: usize) -> Self {
        self.job.settings.rows_per_batch = rows;
        self
    }

    /// Copies these columns of the input into the output, before the predictions.
    pub fn with_keys(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.job.keys = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Names the model's bytes, such as by the digest of its package, so that parts which the same model made are
    /// skipped. Without it every part is made anew.
    pub fn with_model_digest(mut self, digest: Digest) -> Self {
        self.job.digest = Some(digest);
        self
    }

    /// Tells `report` how far the job is, at most every
    /// [`progress_every_ms`](BatchSettings::progress_every_ms), and once at its end. It is called by the workers, by one
    /// at a time.
    pub fn with_progress(mut self, report: impl Fn(&BatchProgress) + Send + Sync + 'static) -> Self {
        self.job.progress = Some(Arc::new(report));
        self
    }

    /// Listens to a switch that the caller has already.
    pub fn with_cancel(mut self, cancel: BatchCancel) -> Self {
        self.job.stop = cancel;
        self
    }

    /// The clock that measures the pace; the operating system's otherwise.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.job.clock = clock;
        self
    }

    /// Checks settings and names; touches no file.
    ///
    /// # Errors
    /// `InvalidArgument` naming all settings at fault, or the key column that is named twice or like an output.
    pub fn build(self) -> Result<BatchJob> {
        let Self { job, input } = self;
        job.settings.validate()?;
        let mut taken: Vec<&str> = job.model.signature().outputs().iter().map(|spec| spec.name.as_str()).collect();
        for key in &job.keys {
            if taken.contains(&key.as_str()) {
                return Err(Error::invalid_argument(format!("key column {key:?} is named twice, or like an output")));
            }
            taken.push(key);
        }
        Ok(BatchJob { job, input })
    }
}

/// What a job did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchReport {
    /// Rows in the output.
    pub rows: u64,
    /// Those among them that the model could not take.
    pub bad_rows: u64,
    /// Every part, by name.
    pub parts: Vec<PartReport>,
    /// How long it took, without listing and checking the files.
    pub elapsed: Duration,
}

/// What became of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartReport {
    /// Its path below the input and below the output folder.
    pub name: String,
    /// Rows of its input and of its output.
    pub rows: u64,
    /// Those among them that the model could not take.
    pub bad_rows: u64,
    /// Whether an earlier run had made it.
    pub found: bool,
}

impl PartReport {
    pub(super) fn new(name: &str, rows: u64, bad_rows: u64, found: bool) -> Self {
        Self { name: name.to_owned(), rows, bad_rows, found }
    }
}

impl BatchJob {
    /// Predicts the rows of `input` by `model` into the folder `output`, which is made if it does not exist.
    pub fn builder(model: Arc<dyn Model>, input: impl Into<BatchInput>, output: impl Into<PathBuf>) -> BatchJobBuilder {
        let job = Job {
            model,
            digest: None,
            output: output.into(),
            keys: Vec::new(),
            settings: BatchSettings::default(),
            stop: BatchCancel::default(),
            clock: Arc::new(SystemClock::new()),
            progress: None,
            failed: AtomicBool::new(false),
        };
        BatchJobBuilder { job, input: input.into() }
    }

    /// The same by the version of `name` that is in service now, known by the digest of its package. Features that the
    /// server looks up for requests must be columns of the input.
    ///
    /// # Errors
    /// `NotFound` for a name that is not served, `Unavailable` when no version is in service, `FailedPrecondition` for a
    /// model on raw tensors.
    pub fn of_served(
        repository: &ModelRepository,
        name: &ModelName,
        input: impl Into<BatchInput>,
        output: impl Into<PathBuf>,
    ) -> Result<BatchJobBuilder> {
        let state = repository.entry(name.as_str())?.state();
        let none = || Error::unavailable(format!("model \"{name}\" is not in service"));
        let champion = state.champion().ok_or_else(none)?;
        let Some(model) = champion.model.to_rows() else {
            return Err(Error::failed_precondition(format!("model \"{name}\" works on raw tensors, not on rows")));
        };
        let mut builder = Self::builder(model, input, output);
        builder.job.digest = champion.digest;
        Ok(builder)
    }

    /// The switch that stops it.
    #[must_use]
    pub fn cancel_switch(&self) -> BatchCancel {
        self.job.stop.clone()
    }

    /// Runs on threads of its own. Dropping the future cancels the job.
    ///
    /// # Errors
    /// As [`BatchJob::run_blocking`].
    pub async fn run(self) -> Result<BatchReport> {
        let _cancels = CancelOnDrop(self.job.stop.clone());
        let (reply, answer) = oneshot::channel();
        let work = move || {
            // Nobody may be there any more to hear of it.
            let _ = reply.send(self.run_blocking());
        };
        let thread = thread::Builder::new().name("mlops-batch".into());
        thread
            .spawn(work)
            .map_err(|error| Error::resource_exhausted("no thread for a batch job").with_source(error))?;
        answer.await.unwrap_or_else(|_| Err(panicked()))
    }

    /// Runs here and on as many threads as the settings say.
    ///
    /// # Errors
    /// Each names the file, in its context as `path`; errors of rows name the first as `row`.
    /// `NotFound` when there is no such input; `InvalidArgument` when a file or a row does not fit the model;
    /// `FailedPrecondition` when the output folder is another job's or holds parts that are not of this input;
    /// `DataLoss` when a file is damaged; `Conflict` when one was changed meanwhile; `ResourceExhausted` when the disk is
    /// full; `Cancelled`; `Internal` when the model panicked or broke its contract; what else it returned.
    /// Parts that are in place by then stay.
    pub fn run_blocking(self) -> Result<BatchReport> {
        let Self { job, input } = self;
        let listed = input.parts()?;
        refuse_overlap(&job.output, &listed)?;
        fs::create_dir_all(&job.output).map_err(|error| of_disk(&job.output, error))?;
        let _lock = lock(&job.output)?;
        let planned = plan(&job, listed)?;
        job.run(&planned)
    }
}

struct CancelOnDrop(BatchCancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn panicked() -> Error {
    Error::internal("a thread of the batch job panicked")
}

/// Keeps other jobs out of the folder until it is dropped.
fn lock(output: &Path) -> Result<File> {
    let path = output.join(LOCK);
    let options = File::options().create(true).truncate(false).write(true).open(&path);
    let file = options.map_err(|error| of_disk(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(about(ErrorKind::FailedPrecondition, &path, "is locked: another batch job writes there"))
        }
        Err(TryLockError::Error(error)) => Err(of_disk(&path, error)),
    }
}

/// What the workers of one run have made.
#[derive(Debug, Default)]
struct Made {
    reports: Vec<(usize, PartReport)>,
    failed: Option<(usize, Error)>,
}

impl Made {
    fn add(&mut self, index: usize, outcome: Result<PartReport>) {
        let told = |error: &Error| error.kind() == ErrorKind::Cancelled;
        match outcome {
            Ok(report) => self.reports.push((index, report)),
            // Of several failures the first part's is told, and one that others were stopped for rather than theirs.
            Err(error) => {
                let rank = (told(&error), index);
                if self.failed.as_ref().is_none_or(|(first, kept)| rank < (told(kept), *first)) {
                    self.failed = Some((index, error));
                }
            }
        }
    }
}

impl Job {
    /// # Errors
    /// `Cancelled` when it was, or when another part failed.
    pub(super) fn check(&self) -> Result<()> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(Error::cancelled("another part failed"));
        }
        self.stop.check()
    }

    fn run(&self, planned: &[Planned]) -> Result<BatchReport> {
        let tracker = self.tracker(planned);
        let missing: Vec<(usize, &Planned)> =
            planned.iter().enumerate().filter(|(_, planned)| planned.found.is_none()).collect();
        let threads = self.settings.workers.min(missing.len()).max(1);
        let lanes = self.settings.workers / threads;
        let (made, next) = (Mutex::new(Made::default()), AtomicUsize::new(0));
        let work = || {
            while let Some((index, planned)) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                let work = AssertUnwindSafe(|| self.check().and_then(|()| part::run(self, planned, lanes, &tracker)));
                let outcome = catch_unwind(work).unwrap_or_else(|_| Err(panicked()));
                self.failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
                made.lock().unwrap_or_else(PoisonError::into_inner).add(*index, outcome);
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads {
                // With fewer threads the others do the work.
                drop(thread::Builder::new().spawn_scoped(scope, work));
            }
            work();
        });
        tracker.tell(true);
        let made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
        match made.failed {
            Some((_, error)) => Err(error),
            None => Ok(report(planned, made.reports, tracker.now())),
        }
    }

    fn tracker(&self, planned: &[Planned]) -> Tracker {
        let found = || planned.iter().filter_map(|planned| planned.found.as_ref());
        let rows_found = found().map(|record| record.rows).sum();
        let start = BatchProgress {
            rows_done: rows_found,
            rows_total: planned.iter().map(|planned| planned.rows).sum(),
            rows_found,
            bad_rows: found().map(|record| record.bad_rows).sum(),
            parts_done: found().count() as u64,
            parts_total: planned.len() as u64,
            elapsed: Duration::ZERO,
        };
        let every = Duration::from_millis(self.settings.progress_every_ms);
        Tracker::new(start, Arc::clone(&self.clock), self.progress.clone(), every)
    }
}

fn report(planned: &[Planned], made: Vec<(usize, PartReport)>, end: BatchProgress) -> BatchReport {
    let found = planned.iter().enumerate().filter_map(|(index, planned)| {
        let record = planned.found.as_ref()?;
        Some((index, PartReport::new(&planned.part.name, record.rows, record.bad_rows, true)))
    });
    let mut parts: Vec<(usize, PartReport)> = made.into_iter().chain(found).collect();
    parts.sort_unstable_by_key(|(index, _)| *index);
    let parts = parts.into_iter().map(|(_, part)| part).collect();
    BatchReport { rows: end.rows_done, bad_rows: end.bad_rows, parts, elapsed: end.elapsed }
}
