//! Logged models and traces of a running server of ours; `.ci/import_mlflow.py` does the same with MLflow's own.

use std::sync::Arc;

use mlops_core::{Metric, Timestamp};
use mlops_registry::{
    ArtifactStore, AssessmentSource, AssessmentValue, Batch, CreateAssessment, CreateLoggedModel, CreateRun,
    ExperimentId, LoggedModelSearch, LoggedModelStatus, LoggedModelStore, MlflowRemote, MlflowServer, ModelMetric,
    ModelOutput, Search, Span, SqlLoggedModelStore, SqlTraceStore, SqlTrackingStore, TraceInfo, TraceStore,
    TrackingStore,
    import::{ImportOptions, Importer, MlflowApi},
    traces::{SOURCE_RUN_METADATA, TraceState, otlp::ResourceSpans},
};
use tokio::net::TcpListener;

use crate::{in_memory, logged, registry, traces};

struct Stores {
    tracking: SqlTrackingStore,
    models: SqlLoggedModelStore,
    traces: SqlTraceStore,
    files: ArtifactStore,
}

impl Stores {
    async fn new() -> Self {
        let meta = in_memory().await;
        let (tracking, models) = logged(Arc::clone(&meta)).await;
        Self { tracking, models, traces: traces(meta).await, files: ArtifactStore::in_memory() }
    }

    fn importer(&self) -> Importer {
        Importer::new(Arc::new(self.tracking.clone()))
            .with_artifacts(self.files.clone())
            .with_logged_models(Arc::new(self.models.clone()))
            .with_traces(Arc::new(self.traces.clone()))
    }

    async fn serve(&self) -> String {
        let registry = Arc::new(registry(in_memory().await).await);
        let router = MlflowServer::new(Arc::new(self.tracking.clone()), registry, self.files.clone())
            .with_logged_models(Arc::new(self.models.clone()))
            .with_traces(Arc::new(self.traces.clone()))
            .router();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, router).await });
        url
    }
}

const TRACE: &str = "tr-0af7651916cd43dd8448eb211c80319c";

fn span(id: &str, name: &str) -> Span {
    Span {
        trace_id: TRACE[3..].to_owned(),
        span_id: id.to_owned(),
        name: name.to_owned(),
        start_time_unix_nano: 5_000_000,
        end_time_unix_nano: 9_000_000,
        ..Span::default()
    }
}

/// A run with a logged model that has a point and files, and a trace that was made in it.
async fn filled() -> Stores {
    let stores = Stores::new().await;
    let run = stores.tracking.create_run(CreateRun::new(ExperimentId(0))).await.unwrap();
    let create = CreateLoggedModel {
        model_type: "classifier".to_owned(),
        source_run: Some(run.id.clone()),
        params: vec![("depth".to_owned(), "3".to_owned())],
        tags: vec![("team".to_owned(), "risk".to_owned())],
        ..CreateLoggedModel::new(ExperimentId(0)).with_name("net")
    };
    let model = stores.models.create_logged_model(create).await.unwrap();
    let metric = Metric { key: "auc".into(), value: 0.9, timestamp: Timestamp::from_millis(7), step: 2 };
    let point = ModelMetric {
        model: model.id.clone(),
        metric: metric.clone(),
        run: None,
        dataset_name: Some("holdout".to_owned()),
        dataset_digest: Some("1".to_owned()),
    };
    let batch = Batch { metrics: vec![metric], model_metrics: vec![point], ..Batch::default() };
    stores.tracking.log_batch(&run.id, &batch).await.unwrap();
    stores.models.link_output_models(&run.id, &[ModelOutput { model: model.id.clone(), step: 0 }]).await.unwrap();
    stores.models.finalize_logged_model(&model.id, LoggedModelStatus::Ready).await.unwrap();
    let root = stores.files.path_of(&model.artifact_uri).unwrap();
    for (path, text) in [("MLmodel", "flavors: {}"), ("data/a b.bin", "\u{1}ü")] {
        stores.files.put(&format!("{root}/{path}"), text.into()).await.unwrap();
    }

    let spans = vec![ResourceSpans { resource: Vec::new(), spans: vec![span("00f067aa0ba902b7", "root")] }];
    let mut info = TraceInfo::new(TRACE, ExperimentId(0), Timestamp::from_millis(5));
    info.metadata.insert(SOURCE_RUN_METADATA.to_owned(), run.id.to_string());
    info.request_preview = Some("what?".to_owned());
    stores.traces.start(info).await.unwrap();
    stores.traces.add_spans(ExperimentId(0), spans).await.unwrap();
    let good = CreateAssessment::new("good", AssessmentValue::feedback(true), AssessmentSource::human("ann"));
    let first = stores.traces.assess(TRACE, good.clone()).await.unwrap();
    let value = AssessmentValue::expectation(serde_json::json!(["a", "b"]));
    stores.traces.assess(TRACE, CreateAssessment::new("answer", value, AssessmentSource::code("x"))).await.unwrap();
    let better = CreateAssessment { overrides: Some(first.id), ..good };
    stores.traces.assess(TRACE, better).await.unwrap();
    stores
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logged_models_and_traces_of_a_server_are_imported_once() {
    let theirs = filled().await;
    let source = MlflowApi::new(MlflowRemote::builder(theirs.serve().await).build().unwrap());
    let ours = Stores::new().await;
    let dry = ours.importer().with_options(ImportOptions { dry_run: true, ..ImportOptions::default() });
    let counted = dry.import(&source).await.unwrap().counts;
    let none = ours.models.search_logged_models(&[ExperimentId(0)], &LoggedModelSearch::new()).await.unwrap();
    assert!(none.items.is_empty() && ours.traces.traces(&[TRACE.to_owned()]).await.unwrap().is_empty());
    let report = ours.importer().import(&source).await.unwrap();
    assert_eq!(report.notes, []);
    let counts = report.counts;
    assert_eq!((counts.runs, counts.logged_models, counts.files, counts.traces, counts.spans), (1, 1, 2, 1, 1));
    assert_eq!((counted.logged_models, counted.traces), (1, 1), "a dry run counts them");

    let experiments = [ExperimentId(0)];
    let run = ours.tracking.search_runs(&experiments, &Search::new()).await.unwrap().items.remove(0);
    let model =
        ours.models.search_logged_models(&experiments, &LoggedModelSearch::new()).await.unwrap().items.remove(0);
    assert_eq!((model.name.as_str(), model.model_type.as_str()), ("net", "classifier"));
    assert_eq!((model.status, model.source_run.as_ref()), (LoggedModelStatus::Ready, Some(&run.id)));
    assert_eq!((model.params["depth"].as_str(), model.tags["team"].as_str()), ("3", "risk"));
    let point = &model.metrics[0];
    assert_eq!((point.metric.value, point.metric.step, point.dataset_name.as_deref()), (0.9, 2, Some("holdout")));
    assert_eq!(point.run.as_ref(), Some(&run.id));
    assert_eq!(ours.models.models_of_runs(std::slice::from_ref(&run.id)).await.unwrap()[0].outputs[0].model, model.id);
    let root = ours.files.path_of(&model.artifact_uri).unwrap();
    assert_eq!(ours.files.get(&format!("{root}/data/a b.bin")).await.unwrap(), "\u{1}ü");

    let trace = ours.traces.traces(&[TRACE.to_owned()]).await.unwrap().remove(0);
    assert_eq!(trace.metadata[SOURCE_RUN_METADATA], run.id.to_string(), "the run as it is called here");
    assert_eq!(trace.request_preview.as_deref(), Some("what?"));
    let mut said: Vec<&str> = trace.assessments.iter().map(|said| said.name.as_str()).collect();
    said.sort_unstable();
    assert_eq!(said, ["answer", "good"], "what was replaced stays there");
    let spans = ours.traces.spans(&[TRACE.to_owned()]).await.unwrap();
    let known = theirs.traces.spans(&[TRACE.to_owned()]).await.unwrap();
    assert_eq!(spans, known);

    let again = ours.importer().import(&source).await.unwrap().counts;
    assert_eq!((again.logged_models, again.logged_models_present, again.traces, again.traces_present), (0, 1, 0, 1));
    let models = ours.models.search_logged_models(&experiments, &LoggedModelSearch::new()).await.unwrap();
    assert_eq!(models.items.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_under_way_is_brought_up_to_date_and_what_is_deleted_here_stays_so() {
    let theirs = Stores::new().await;
    let create = CreateLoggedModel::new(ExperimentId(0)).with_name("net");
    let model = theirs.models.create_logged_model(create).await.unwrap();
    let mut info = TraceInfo::new(TRACE, ExperimentId(0), Timestamp::from_millis(5));
    info.state = TraceState::InProgress;
    theirs.traces.start(info.clone()).await.unwrap();
    let said =
        |name: &str| CreateAssessment::new(name, AssessmentValue::feedback(true), AssessmentSource::human("ann"));
    theirs.traces.assess(TRACE, said("early")).await.unwrap();
    let source = MlflowApi::new(MlflowRemote::builder(theirs.serve().await).build().unwrap());
    let ours = Stores::new().await;
    ours.importer().import(&source).await.unwrap();
    ours.traces.assess(TRACE, said("here")).await.unwrap();

    let root = theirs.files.path_of(&model.artifact_uri).unwrap();
    theirs.files.put(&format!("{root}/MLmodel"), "flavors: {}".into()).await.unwrap();
    theirs.models.set_logged_model_tags(&model.id, &[("team".to_owned(), "risk".to_owned())]).await.unwrap();
    theirs.models.finalize_logged_model(&model.id, LoggedModelStatus::Ready).await.unwrap();
    info.state = TraceState::Ok;
    theirs.traces.start(info).await.unwrap();
    let spans = vec![ResourceSpans { resource: Vec::new(), spans: vec![span("00f067aa0ba902b7", "root")] }];
    theirs.traces.add_spans(ExperimentId(0), spans).await.unwrap();
    theirs.traces.assess(TRACE, said("late")).await.unwrap();
    let counts = ours.importer().import(&source).await.unwrap().counts;
    assert_eq!((counts.logged_models, counts.files, counts.traces, counts.spans), (1, 1, 1, 1));

    let found = ours.models.search_logged_models(&[ExperimentId(0)], &LoggedModelSearch::new()).await.unwrap().items;
    assert_eq!((found.len(), found[0].status, found[0].tags["team"].as_str()), (1, LoggedModelStatus::Ready, "risk"));
    let trace = ours.traces.traces(&[TRACE.to_owned()]).await.unwrap().remove(0);
    assert_eq!(trace.state, TraceState::Ok);
    let mut names: Vec<&str> = trace.assessments.iter().map(|said| said.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["early", "here", "late"]);
    assert_eq!(ours.traces.spans(&[TRACE.to_owned()]).await.unwrap()[TRACE].len(), 1);

    ours.models.delete_logged_model(&found[0].id).await.unwrap();
    let again = ours.importer().import(&source).await.unwrap().counts;
    assert_eq!((again.logged_models, again.logged_models_present, again.traces, again.traces_present), (0, 1, 0, 1));
    let left = ours.models.search_logged_models(&[ExperimentId(0)], &LoggedModelSearch::new()).await.unwrap().items;
    assert!(left.is_empty());
}
