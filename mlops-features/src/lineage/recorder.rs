//! Making events: one when a run begins, one when it ends.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arrow_schema::SchemaRef;
use mlops_core::{CheckFailure, Clock, Error, Result, SystemClock, arrow_array::RecordBatch};

use super::{
    columns::ColumnLineage,
    facet::FacetMaker,
    run_id::RunIds,
    transport::Transport,
    wire::{Dataset, EventType, Facets, Job, Run, RunEvent, SCHEMA_URL},
};

/// Who the events come from, unless told otherwise.
const PRODUCER: &str = concat!("https://crates.io/crates/mlops-features/", env!("CARGO_PKG_VERSION"));

/// The run that runs belong to, such as that of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentRun {
    /// Its UUID.
    pub run_id: String,
    /// Namespace of its job.
    pub namespace: String,
    /// Its job.
    pub job: String,
}

/// Makes events and hands them to transports. Clones share everything but the parent.
#[derive(Debug, Clone)]
pub struct Lineage {
    inner: Arc<Inner>,
    parent: Option<ParentRun>,
}

#[derive(Debug)]
struct Inner {
    namespace: String,
    facets: FacetMaker,
    clock: Arc<dyn Clock>,
    ids: RunIds,
    transports: Vec<Arc<dyn Transport>>,
    lost: AtomicU64,
}

/// Collects the parts of a [`Lineage`].
#[derive(Debug)]
#[must_use]
pub struct LineageBuilder {
    namespace: String,
    producer: String,
    clock: Arc<dyn Clock>,
    ids: RunIds,
    transports: Vec<Arc<dyn Transport>>,
}

impl LineageBuilder {
    /// Says that events come from `producer`, a URI, instead of this crate.
    pub fn with_producer(mut self, producer: impl Into<String>) -> Self {
        self.producer = producer.into();
        self
    }

    /// Takes the time from `clock`.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Makes ids of runs from `seed`, so that a replay makes the same; else they are drawn.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.ids = RunIds::seeded(seed);
        self
    }

    /// Sends events by `transport` as well.
    pub fn with_transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transports.push(transport);
        self
    }

    /// The recorder.
    #[must_use]
    pub fn build(self) -> Lineage {
        let facets = FacetMaker { producer: self.producer };
        let (namespace, clock, ids, transports) = (self.namespace, self.clock, self.ids, self.transports);
        let inner = Inner { namespace, facets, clock, ids, transports, lost: AtomicU64::new(0) };
        Lineage { inner: Arc::new(inner), parent: None }
    }
}

impl Lineage {
    /// Begins a recorder whose jobs, and datasets that have no place of their own, are in `namespace`.
    pub fn builder(namespace: impl Into<String>) -> LineageBuilder {
        LineageBuilder {
            namespace: namespace.into(),
            producer: PRODUCER.to_owned(),
            clock: Arc::new(SystemClock::new()),
            ids: RunIds::random(),
            transports: Vec::new(),
        }
    }

    /// The same with runs that belong to `parent`.
    #[must_use]
    pub fn with_parent(&self, parent: ParentRun) -> Self {
        Self { inner: Arc::clone(&self.inner), parent: Some(parent) }
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.inner.namespace
    }

    /// Events that a transport did not take, so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.inner.lost.load(Ordering::Relaxed)
    }

    /// A run of `job` (of the kind `kind`, such as `INGEST`) begins and will read and write what is known by now.
    pub async fn begin(
        &self,
        job: impl Into<String>,
        kind: &str,
        inputs: Vec<DatasetFacts>,
        outputs: Vec<DatasetFacts>,
    ) -> LineageRun {
        let inner = &self.inner;
        let mut facets = Facets::new();
        facets.insert("processing_engine".into(), inner.facets.processing_engine());
        if let Some(parent) = &self.parent {
            facets.insert("parent".into(), inner.facets.parent(parent));
        }
        let job_facets = Facets::from([("jobType".to_owned(), inner.facets.job_type(kind))]);
        let job = Job { namespace: inner.namespace.clone(), name: job.into(), facets: job_facets };
        let run = Run { run_id: inner.ids.next(inner.clock.now()), facets };
        let run = LineageRun { lineage: self.clone(), run, job };
        run.emit(EventType::Start, run.run.clone(), inputs, outputs).await;
        run
    }
}

/// A run that has begun.
#[derive(Debug)]
#[must_use = "a run ends by complete or fail"]
pub struct LineageRun {
    lineage: Lineage,
    run: Run,
    job: Job,
}

impl LineageRun {
    /// The run as the parent of others.
    #[must_use]
    pub fn as_parent(&self) -> ParentRun {
        let Job { namespace, name, .. } = &self.job;
        ParentRun { run_id: self.run.run_id.clone(), namespace: namespace.clone(), job: name.clone() }
    }

    /// The run ended well.
    pub async fn complete(self, inputs: Vec<DatasetFacts>, outputs: Vec<DatasetFacts>) {
        self.emit(EventType::Complete, self.run.clone(), inputs, outputs).await;
    }

    /// The run ended in `error`.
    pub async fn fail(self, error: &Error, inputs: Vec<DatasetFacts>, outputs: Vec<DatasetFacts>) {
        let mut run = self.run.clone();
        run.facets.insert("errorMessage".into(), self.lineage.inner.facets.error_message(error));
        self.emit(EventType::Fail, run, inputs, outputs).await;
    }

    async fn emit(&self, event_type: EventType, run: Run, inputs: Vec<DatasetFacts>, outputs: Vec<DatasetFacts>) {
        let inner = &self.lineage.inner;
        let event = RunEvent {
            event_time: inner.clock.now().to_string(),
            producer: inner.facets.producer.clone(),
            schema_url: SCHEMA_URL.to_owned(),
            event_type,
            run,
            job: self.job.clone(),
            inputs: inputs.into_iter().map(|facts| facts.to_input(&inner.facets)).collect(),
            outputs: outputs.into_iter().map(|facts| facts.to_output(&inner.facets)).collect(),
        };
        for transport in &inner.transports {
            let sent: Result<()> = transport.send(&event).await;
            if let Err(error) = sent {
                inner.lost.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(job = event.job.name, ?transport, %error, "a lineage event was not delivered");
            }
        }
    }
}

/// What is known of a dataset.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct DatasetFacts {
    namespace: String,
    name: String,
    schema: Option<SchemaRef>,
    version: Option<String>,
    columns: Option<ColumnLineage>,
    rows: Option<u64>,
    bytes: Option<u64>,
    content: Option<RecordBatch>,
    failures: Vec<CheckFailure>,
}

impl DatasetFacts {
    /// The dataset `name` in `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into(), ..Self::default() }
    }

    /// A dataset at `location`, a directory or a URL, as OpenLineage names it: `file` and the path, or scheme and
    /// authority and the rest.
    pub fn at(location: &str) -> Self {
        if let Some((scheme, rest)) = location.split_once("://") {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let namespace = if scheme == "file" { "file".to_owned() } else { format!("{scheme}://{authority}") };
            return Self::new(namespace, if scheme == "file" { format!("/{path}") } else { path.to_owned() });
        }
        let absolute = std::path::absolute(location).unwrap_or_else(|_| location.into());
        Self::new("file", absolute.to_string_lossy())
    }

    /// Its columns.
    pub fn with_schema(mut self, schema: SchemaRef) -> Self {
        self.schema = Some(schema);
        self
    }

    /// The version that is read or written.
    pub fn with_version(mut self, version: impl std::fmt::Display) -> Self {
        self.version = Some(version.to_string());
        self
    }

    /// What its columns are made of.
    pub fn with_columns(mut self, columns: ColumnLineage) -> Self {
        self.columns = Some(columns);
        self
    }

    /// Rows written.
    pub fn with_rows(mut self, rows: u64) -> Self {
        self.rows = Some(rows);
        self
    }

    /// Bytes written.
    pub fn with_bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// The rows read, whose statistics the event tells.
    pub fn with_content(mut self, batch: RecordBatch) -> Self {
        self.content = Some(batch);
        self
    }

    /// Rules that the rows read broke.
    pub fn with_failures(mut self, failures: Vec<CheckFailure>) -> Self {
        self.failures = failures;
        self
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn to_dataset(&self, facets: &FacetMaker) -> Dataset {
        let mut dataset = Dataset::new(&self.namespace, &self.name);
        let schema = self.schema.as_ref().map(|schema| ("schema", facets.schema(schema)));
        let version = self.version.as_ref().map(|version| ("version", facets.version(version)));
        let columns = self.columns.as_ref().map(|columns| ("columnLineage", facets.column_lineage(columns)));
        let known = schema.into_iter().chain(version).chain(columns);
        dataset.facets.extend(known.map(|(name, facet)| (name.to_owned(), facet)));
        dataset
    }

    fn to_input(&self, facets: &FacetMaker) -> Dataset {
        let mut dataset = self.to_dataset(facets);
        if let Some(content) = &self.content {
            dataset.input_facets.insert("dataQualityMetrics".into(), facets.data_quality_metrics(content));
        }
        if !self.failures.is_empty() {
            let assertions = facets.data_quality_assertions(&self.failures);
            dataset.input_facets.insert("dataQualityAssertions".into(), assertions);
        }
        dataset
    }

    fn to_output(&self, facets: &FacetMaker) -> Dataset {
        let mut dataset = self.to_dataset(facets);
        if let Some(rows) = self.rows {
            let statistics = facets.output_statistics(rows, self.bytes);
            dataset.output_facets.insert("outputStatistics".into(), statistics);
        }
        dataset
    }
}
