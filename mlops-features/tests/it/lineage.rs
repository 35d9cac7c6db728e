//! Lineage of reads and writes: events, their transports, and the graph of columns. `.ci/lineage.py` holds the events
//! against OpenLineage's own schemas.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use mlops_core::{
    Error, EventBus, EventFilter, InProcessBus, LineageSink, LineageState, Result, Timestamp,
    arrow_array::RecordBatch,
    arrow_schema::DataType,
    testing::{FaultySink, RecordingHandler, RecordingSink},
};
use mlops_features::{
    Aggregation, Entity, FeatureService, FeatureStore, FeatureView, Function, MemoryOnlineStore, OfflineStore as _,
    OnDemandView, Permission,
    lineage::{
        BusTransport, ColumnId, DatasetFacts, FileTransport, Lineage, LineageGraph, SinkTransport, Transport,
        wire::{EventType, RunEvent},
    },
};

use crate::data::{batch, clock, row, schema};

/// Keeps events.
#[derive(Debug, Default)]
struct Kept(Mutex<Vec<RunEvent>>);

#[async_trait]
impl Transport for Kept {
    async fn send(&self, event: &RunEvent) -> Result<()> {
        self.0.lock().unwrap().push(event.clone());
        Ok(())
    }
}

async fn store(home: &std::path::Path) -> FeatureStore {
    let view = FeatureView::builder("v", Entity::new("e", ["k"]).unwrap(), "events")
        .with_column("x")
        .with_aggregation(Aggregation::new("n_sum", Function::Sum, "n", Duration::from_secs(60)))
        .build()
        .unwrap();
    let service = FeatureService::new("s", ["v:x".parse().unwrap(), "v:n_sum".parse().unwrap()]).unwrap();
    let builder = FeatureStore::builder(home.to_str().unwrap()).with_table("events", schema()).with_clock(clock());
    builder.with_view(view).with_service(service).build().await.unwrap()
}

#[tokio::test]
async fn every_read_and_write_leaves_a_start_and_an_end_and_columns_lead_to_their_source() {
    let home = tempfile::tempdir().unwrap();
    let (kept, graph) = (Arc::new(Kept::default()), Arc::new(LineageGraph::default()));
    let file = home.path().join("lineage.jsonl");
    let lineage = Lineage::builder("test")
        .with_clock(clock())
        .with_seed(1)
        .with_transport(Arc::<Kept>::clone(&kept))
        .with_transport(Arc::<LineageGraph>::clone(&graph))
        .with_transport(Arc::new(FileTransport::open(&file).unwrap()))
        .build();
    let traced = store(home.path()).await.traced(lineage.clone());
    let rows = batch(&[row(1, 10, 1), row(1, 20, 2)]);
    traced.ingestor("events").unwrap().append("b1", &rows).await.unwrap();
    traced.materializer().run("v", Timestamp::from_micros(100)).await.unwrap();
    let spine = batch(&[row(1, 30, 9)]).project(&[0, 1]).unwrap();
    let service = traced.store().service("s").unwrap().clone();
    let set = traced.offline().get_historical(&spine, &service).await.unwrap();
    assert_eq!(set.batch.num_columns(), 4);
    assert!(traced.materializer().run("no", Timestamp::from_micros(100)).await.is_err());

    let events = kept.0.lock().unwrap().clone();
    let steps: Vec<_> = events.iter().map(|event| (event.job.name.as_str(), event.event_type)).collect();
    let jobs = ["ingest.events", "materialize.v", "training_set.s", "materialize.no"];
    for (job, pair) in jobs.into_iter().zip(steps.chunks(2)) {
        let end = if job == "materialize.no" { EventType::Fail } else { EventType::Complete };
        assert_eq!(pair, [(job, EventType::Start), (job, end)]);
    }
    for pair in events.chunks(2) {
        assert_eq!(pair[0].run.run_id, pair[1].run.run_id);
    }
    let ingest = &events[1];
    assert_eq!(ingest.outputs[0].facets["version"]["datasetVersion"], "1");
    assert_eq!(ingest.outputs[0].output_facets["outputStatistics"]["rowCount"], 2);
    let metrics = &ingest.inputs[0].input_facets["dataQualityMetrics"];
    assert_eq!((&metrics["rowCount"], &metrics["columnMetrics"]["n"]["max"]), (&2.into(), &2.0.into()));
    let (training, failed) = (&events[5], &events[7]);
    let table = training.inputs.iter().find(|dataset| dataset.namespace == "file").unwrap();
    assert_eq!(table.facets["version"]["datasetVersion"], "1");
    assert!(failed.run.facets["errorMessage"]["message"].as_str().unwrap().contains("\"no\""));

    let path = home.path().join("tables/events");
    let source = |column: &str| ColumnId::new("file", path.to_str().unwrap(), column);
    let feature = |column: &str| ColumnId::new("test", "feature_view/v", column);
    let trained = |column: &str| ColumnId::new("test", "training_set/s", column);
    for graph in [graph.as_ref(), &LineageGraph::read(&file).unwrap()] {
        let up = graph.upstream(&trained("n_sum"));
        for column in [feature("n_sum"), source("n"), source("event_timestamp"), source("k")] {
            assert!(up.contains(&column), "{column}");
        }
        assert!(!up.contains(&source("x")), "n_sum is not made of x");
        assert!(up.contains(&ColumnId::new("test", "batch/events", "n")), "back to the batch");
        let down = graph.downstream(&source("x"));
        assert!(down.contains(&feature("x")) && down.contains(&trained("x")) && !down.contains(&trained("n_sum")));
    }
    graph.link(trained("x"), ColumnId::new("models", "fraud", "input"));
    assert!(graph.downstream(&source("x")).contains(&ColumnId::new("models", "fraud", "input")));
    assert_eq!(lineage.lost(), 0);
}

#[tokio::test]
async fn core_and_the_bus_hear_of_it_and_a_failing_receiver_stops_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (bus, handler) = (Arc::new(InProcessBus::default()), Arc::new(RecordingHandler::default()));
    bus.subscribe(EventFilter::all(), Arc::<RecordingHandler>::clone(&handler));
    let sink = Arc::new(RecordingSink::default());
    let broken: Arc<dyn LineageSink> = Arc::new(FaultySink::new(RecordingSink::default(), 1));
    let lineage = Lineage::builder("test")
        .with_clock(clock())
        .with_transport(Arc::new(SinkTransport::new(broken)))
        .with_transport(Arc::new(SinkTransport::new(Arc::<RecordingSink>::clone(&sink))))
        .with_transport(Arc::new(BusTransport::new(bus, clock())))
        .build();
    let parent = lineage.begin("pipeline", "PIPELINE", Vec::new(), vec![DatasetFacts::at("s3://b/k")]).await;
    let traced = store(home.path()).await.traced(lineage.with_parent(parent.as_parent()));
    traced.ingestor("events").unwrap().append("b1", &batch(&[row(1, 10, 1)])).await.unwrap();
    let run = parent.as_parent().run_id;
    parent.fail(&Error::cancelled("enough"), Vec::new(), Vec::new()).await;
    let events = sink.lineage_events();
    let states: Vec<_> = events.iter().map(|event| (event.job.as_str(), event.state)).collect();
    let (start, complete) = (LineageState::Start, LineageState::Complete);
    let expected =
        [("pipeline", start), ("ingest.events", start), ("ingest.events", complete), ("pipeline", LineageState::Fail)];
    assert_eq!(states, expected);
    assert_eq!((events[0].outputs[0].namespace.as_str(), events[0].outputs[0].name.as_str()), ("s3://b", "k"));
    assert_eq!(events[2].outputs[0].version.as_deref(), Some("1"));
    assert_eq!(events[3].facts["error"], "enough");
    let whole: RunEvent = serde_json::from_str(&events[2].facts["openlineage"]).unwrap();
    assert_eq!(whole.run.facets["parent"]["run"]["runId"], run);
    assert_eq!(handler.events().len(), 4);
    assert_eq!(lineage.lost(), 3);
}

#[tokio::test]
async fn a_version_leads_to_its_own_columns_and_an_on_demand_view_to_its_inputs_and_the_request() {
    let home = tempfile::tempdir().unwrap();
    let of = |column: &str| {
        let sum = Aggregation::new("total", Function::Sum, column, Duration::from_secs(60));
        let view = FeatureView::builder("v", Entity::new("e", ["k"]).unwrap(), "events").with_event_id("id");
        let y = OnDemandView::builder("od", "1").with_input("v:total".parse().unwrap());
        let y = y.with_request("amount", DataType::Int64).with_output("y", DataType::Int64).build().unwrap();
        let code = |inputs: &RecordBatch| Ok(vec![Arc::clone(inputs.column(1))]);
        FeatureStore::builder(home.path().to_str().unwrap())
            .with_table("events", schema())
            .with_clock(clock())
            .with_online(Arc::new(MemoryOnlineStore::default()))
            .with_view(view.with_aggregation(sum).build().unwrap())
            .with_on_demand_view(y, code)
    };
    for column in ["n", "x"] {
        let plan = of(column).plan().await.unwrap();
        of(column).apply(&plan, Permission::Destructive).await.unwrap();
    }
    let graph = Arc::new(LineageGraph::default());
    let lineage = Lineage::builder("test").with_clock(clock()).with_transport(Arc::<LineageGraph>::clone(&graph));
    let traced = of("x").build().await.unwrap().traced(lineage.build());
    let features = ["v@v1:total", "od:y"].map(|text| text.parse().unwrap());
    let service = FeatureService::new("s", features).unwrap();
    let rows = batch(&[row(1, 30, 9)]);
    let columns = [("k", rows.column(0)), ("event_timestamp", rows.column(1)), ("amount", rows.column(4))];
    let spine = RecordBatch::try_from_iter(columns.map(|(name, column)| (name, Arc::clone(column)))).unwrap();
    let set = traced.offline().get_historical(&spine, &service).await.unwrap();
    assert_eq!(set.batch.column(4), rows.column(4));
    traced.materializer().run("v@v1", Timestamp::from_micros(50)).await.unwrap();

    let path = home.path().join("tables/events");
    let source = |column: &str| ColumnId::new("file", path.to_str().unwrap(), column);
    let trained = |column: &str| graph.upstream(&ColumnId::new("test", "training_set/s", column));
    let (total, y) = (trained("total"), trained("y"));
    assert!(total.contains(&source("n")) && !total.contains(&source("x")), "v1 sums n: {total:?}");
    assert!(total.contains(&ColumnId::new("test", "feature_view/v@v1", "total")));
    assert!(y.contains(&source("x")) && !y.contains(&source("n")), "the view reads v2, which sums x: {y:?}");
    for (dataset, column) in [("on_demand_view/od", "y"), ("feature_view/v", "total"), ("spine/s", "amount")] {
        assert!(y.contains(&ColumnId::new("test", dataset, column)), "{dataset} in {y:?}");
    }
}

#[cfg(feature = "lineage-http")]
#[tokio::test]
async fn events_are_posted_and_a_busy_receiver_is_tried_again() {
    use mlops_features::lineage::HttpTransport;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/base", listener.local_addr().unwrap());
    let receiver = tokio::spawn(async move {
        let mut requests = Vec::new();
        for answer in ["503 Service Unavailable", "201 Created"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut request, mut buffer) = (String::new(), [0; 4096]);
            // The event ends with its list of outputs.
            while !request.ends_with("]}") {
                let read = stream.read(&mut buffer).await.unwrap();
                request.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
            }
            let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            requests.push(request);
        }
        requests
    });
    let transport = HttpTransport::new(&url).unwrap().with_bearer("secret").unwrap();
    assert!(!format!("{transport:?}").contains("secret"));
    let lineage = Lineage::builder("test").with_clock(clock()).with_transport(Arc::new(transport)).build();
    let _run = lineage.begin("job", "INGEST", Vec::new(), Vec::new()).await;
    assert_eq!(lineage.lost(), 0);
    let requests = receiver.await.unwrap();
    let (head, body) = requests[1].split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /base/api/v1/lineage HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("authorization: bearer secret"), "{head}");
    assert_eq!(serde_json::from_str::<RunEvent>(body).unwrap().job.name, "job");
    assert!(requests[0].ends_with(body), "the same event again");
    assert!(HttpTransport::new("ftp://x").is_err());
}

#[tokio::test]
async fn a_line_that_a_crash_cut_off_hurts_no_other() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("events.jsonl");
    let lineage = |path: &std::path::Path| {
        let transport = FileTransport::open(path).unwrap();
        Lineage::builder("test").with_clock(clock()).with_transport(Arc::new(transport)).build()
    };
    lineage(&path).begin("a", "INGEST", Vec::new(), Vec::new()).await.complete(Vec::new(), Vec::new()).await;
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.truncate(text.len() - 9);
    std::fs::write(&path, &text).unwrap();
    assert!(LineageGraph::read(&path).is_ok(), "a cut last line is left out");
    let _run = lineage(&path).begin("b", "INGEST", Vec::new(), Vec::new()).await;
    let lines: Vec<_> = std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3);
    assert!(serde_json::from_str::<RunEvent>(&lines[2]).is_ok());
    assert!(LineageGraph::read(&path).unwrap_err().message().contains("line 2"));
}
