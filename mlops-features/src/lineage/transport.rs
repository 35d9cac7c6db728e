//! Where events go: a file, core's port, the event bus.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use mlops_core::{
    Clock, Dataset as CoreDataset, Error, Event, EventBus, Fact, LineageEvent, LineageSink, LineageState, Result,
    Timestamp,
};

use super::wire::{Dataset, EventType, RunEvent};

/// Takes events.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Delivers one event. Delivering it again is harmless: its run and type name it.
    ///
    /// # Errors
    /// `Unavailable` and what else kept the event from its receiver; the sender logs it and goes on.
    async fn send(&self, event: &RunEvent) -> Result<()>;
}

#[async_trait]
impl<T: Transport + ?Sized> Transport for Arc<T> {
    async fn send(&self, event: &RunEvent) -> Result<()> {
        (**self).send(event).await
    }
}

/// The event as one line of JSON.
pub(super) fn line(event: &RunEvent) -> Result<String> {
    serde_json::to_string(event)
        .map_err(|error| Error::internal("a lineage event cannot be written as json").with_source(error))
}

/// Appends events to a file, one line of JSON each.
#[derive(Debug)]
pub struct FileTransport {
    path: PathBuf,
    file: Arc<Mutex<File>>,
}

impl FileTransport {
    /// Appends to the file at `path`, which is made if need be. A line that a crash cut off is ended, so that the next
    /// one stands alone.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let fail = |error| Error::unavailable(format!("cannot open {}", path.display())).with_source(error);
        let file = File::options().read(true).append(true).create(true).open(&path);
        let mut file = file.map_err(|error: std::io::Error| fail(error))?;
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(-1)).is_ok() {
            file.read_exact(&mut last).map_err(fail)?;
        }
        if last != [b'\n'] {
            file.write_all(b"\n").map_err(fail)?;
        }
        Ok(Self { file: Arc::new(Mutex::new(file)), path })
    }
}

#[async_trait]
impl Transport for FileTransport {
    async fn send(&self, event: &RunEvent) -> Result<()> {
        let line = line(event)? + "\n";
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        let write = move || {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let written = file.write_all(line.as_bytes());
            written.map_err(|error| Error::unavailable(format!("cannot write {}", path.display())).with_source(error))
        };
        tokio::task::spawn_blocking(write).await.map_err(|_| Error::internal("writing a lineage event panicked"))?
    }
}

/// Hands events to core's port, in its shorter form; the whole event is the fact `openlineage`.
#[derive(Debug)]
pub struct SinkTransport(Arc<dyn LineageSink>);

impl SinkTransport {
    /// Hands events to `sink`.
    #[must_use]
    pub fn new(sink: Arc<dyn LineageSink>) -> Self {
        Self(sink)
    }
}

#[async_trait]
impl Transport for SinkTransport {
    async fn send(&self, event: &RunEvent) -> Result<()> {
        self.0.emit(to_core(event)?).await
    }
}

/// Announces events on the event bus, as [`Fact::LineageRecorded`].
#[derive(Debug)]
pub struct BusTransport {
    bus: Arc<dyn EventBus>,
    clock: Arc<dyn Clock>,
}

impl BusTransport {
    /// Announces on `bus`, at the time of `clock`.
    #[must_use]
    pub fn new(bus: Arc<dyn EventBus>, clock: Arc<dyn Clock>) -> Self {
        Self { bus, clock }
    }
}

#[async_trait]
impl Transport for BusTransport {
    async fn send(&self, event: &RunEvent) -> Result<()> {
        let fact = Fact::LineageRecorded { event: to_core(event)? };
        self.bus.publish(Event::new(self.clock.now(), fact)).await
    }
}

fn to_core(event: &RunEvent) -> Result<LineageEvent> {
    let state = match event.event_type {
        EventType::Start | EventType::Running | EventType::Other => LineageState::Start,
        EventType::Complete => LineageState::Complete,
        EventType::Abort => LineageState::Abort,
        EventType::Fail => LineageState::Fail,
    };
    let dataset = |dataset: &Dataset| {
        let version = dataset.facets.get("version").and_then(|facet| facet.get("datasetVersion")?.as_str());
        let core = CoreDataset::new(&dataset.namespace, &dataset.name);
        version.map_or(core.clone(), |version| core.at(version))
    };
    let mut facts = BTreeMap::from([("openlineage".to_owned(), line(event)?)]);
    let message = event.run.facets.get("errorMessage").and_then(|facet| facet.get("message")?.as_str());
    facts.extend(message.map(|message| ("error".to_owned(), message.to_owned())));
    Ok(LineageEvent {
        at: event.event_time.parse::<Timestamp>()?,
        state,
        run: event.run.run_id.clone(),
        job: event.job.name.clone(),
        inputs: event.inputs.iter().map(dataset).collect(),
        outputs: event.outputs.iter().map(dataset).collect(),
        facts,
    })
}
