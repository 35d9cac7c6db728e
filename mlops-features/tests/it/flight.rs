//! Features over Arrow Flight, asked by the protocol's own client through the router.

use std::{sync::Arc, time::Duration};

use arrow_flight::{FlightDescriptor, FlightInfo, Ticket, client::FlightClient, error::FlightError};
use arrow_select::concat::concat_batches;
use axum::{Extension, Router};
use futures::TryStreamExt as _;
use mlops_core::{
    Action, Authorizer, Error, FeatureReader, FeatureRef, Principal, Resource, Result, Timestamp,
    arrow_array::RecordBatch,
};
use mlops_features::{
    Aggregation, Entity, FeatureService, FeatureStore, FeatureView, Function, LabelView, MemoryOnlineStore,
    OfflineStore,
    flight::{FlightServer, FlightServerBuilder, FlightSettings},
};
use serde_json::{Value, json};
use tonic::Code;

use crate::data::{batch, clock, ints, row, schema, times};

const SECOND: i64 = 1_000_000;

fn features() -> Vec<FeatureRef> {
    ["v:x", "v:n", "v:count_5"].iter().map(|text| text.parse().unwrap()).collect()
}

async fn store(home: &tempfile::TempDir) -> FeatureStore {
    let entity = || Entity::new("e", ["k"]).unwrap();
    let view = FeatureView::builder("v", entity(), "events")
        .with_column("x")
        .with_column("n")
        .with_ttl(Duration::from_secs(100))
        .with_aggregation(Aggregation::new("count_5", Function::Count, "x", Duration::from_secs(5)));
    let label = Aggregation::new("next", Function::Count, "n", Duration::from_secs(2));
    let labels = LabelView::builder("fate", entity(), "events").with_label(label);
    let service = FeatureService::new("s", features()).unwrap();
    let labelled = FeatureService::new("l", features()).unwrap().with_labels(["fate:next".parse().unwrap()]).unwrap();
    let store = FeatureStore::builder(home.path().to_str().unwrap())
        .with_clock(clock())
        .with_online(Arc::new(MemoryOnlineStore::default()))
        .with_table("events", schema())
        .with_table("rows", schema())
        .with_view(view.build().unwrap())
        .with_label_view(labels.build().unwrap())
        .with_service(service)
        .with_service(labelled)
        .build()
        .await
        .unwrap();
    append(&store, "events", "first", 0..20).await;
    append(&store, "rows", "first", 5..26).await;
    store.materializer().run("v", Timestamp::from_micros(100 * SECOND)).await.unwrap();
    store
}

/// One event a second, keys by turns.
async fn append(store: &FeatureStore, table: &str, id: &str, seconds: std::ops::Range<i64>) {
    let rows: Vec<_> = seconds.map(|second| row(second % 3, second * SECOND, second)).collect();
    assert!(store.ingestor(table).unwrap().append(id, &batch(&rows)).await.unwrap().accepted());
}

struct World {
    store: FeatureStore,
    client: FlightClient<Router>,
    _home: tempfile::TempDir,
}

async fn world(change: impl FnOnce(FlightServerBuilder) -> FlightServerBuilder) -> World {
    let home = tempfile::tempdir().unwrap();
    let store = store(&home).await;
    let client = FlightClient::new(change(FlightServer::builder(store.clone())).build().router());
    World { store, client, _home: home }
}

impl World {
    async fn info(&mut self, asked: &Value) -> std::result::Result<FlightInfo, FlightError> {
        self.client.get_flight_info(FlightDescriptor::new_cmd(asked.to_string())).await
    }

    /// All rows, of the ticket that the server gives for the question.
    async fn rows(&mut self, asked: &Value) -> RecordBatch {
        let info = self.info(asked).await.unwrap();
        let schema = Arc::new(info.clone().try_decode_schema().unwrap());
        let described = self.client.get_schema(FlightDescriptor::new_cmd(asked.to_string())).await.unwrap();
        assert_eq!(*schema, described);
        let rows = self.get(info.endpoint[0].ticket.clone().unwrap()).await;
        assert_eq!(rows.schema(), schema);
        assert!(info.total_records == -1 || info.total_records == rows.num_rows() as i64);
        rows
    }

    async fn get(&mut self, ticket: Ticket) -> RecordBatch {
        let mut stream = self.client.do_get(ticket).await.unwrap();
        let mut batches = Vec::new();
        while let Some(batch) = stream.try_next().await.unwrap() {
            batches.push(batch);
        }
        concat_batches(stream.schema().unwrap(), &batches).unwrap()
    }

    async fn code(&mut self, asked: &Value) -> (Code, String) {
        let info = self.info(asked).await.map(drop);
        let answer = self.client.do_get(Ticket::new(asked.to_string())).await.map(drop);
        let (FlightError::Tonic(info), FlightError::Tonic(answer)) = (info.unwrap_err(), answer.unwrap_err()) else {
            panic!("statuses")
        };
        assert_eq!(info.message(), answer.message());
        (answer.code(), answer.message().to_owned())
    }
}

fn training(spine: &Value) -> Value {
    json!({ "training_set": { "service": "s", "spine": spine } })
}

#[tokio::test]
async fn online_features_are_those_of_the_reader() {
    let mut world = world(|builder| builder).await;
    let entities = RecordBatch::try_from_iter([("k", ints([Some(1), Some(2), Some(9), None]))]).unwrap();
    let at = Timestamp::from_micros(21 * SECOND);
    let expected = world.store.get_online(&features(), &entities, at).await.unwrap();
    let columns = json!({ "k": [1, 2, 9, null] });
    let by_name =
        json!({ "online": { "features": ["v:x", "v:n", "v:count_5"], "entities": columns, "as_of": 21 * SECOND } });
    assert_eq!(world.rows(&by_name).await, expected);
    let by_service = json!({ "online": { "service": "s", "entities": columns, "as_of": 21 * SECOND } });
    assert_eq!(world.rows(&by_service).await, expected);
}

#[tokio::test]
async fn a_training_set_of_rows_keeps_the_versions_of_its_ticket() {
    let mut world = world(|builder| builder).await;
    let asked = training(&json!({ "rows": { "k": [1, 2], "event_timestamp": ["1970-01-01T00:00:21Z", 21] } }));
    let at = Some(21 * SECOND);
    let columns = [("k", ints([Some(1), Some(2)]), true), ("event_timestamp", times([at, at]), true)];
    let spine = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let service = world.store.service("s").unwrap().clone();
    let expected = world.store.offline().get_historical(&spine, &service).await.unwrap().batch;
    assert_eq!(world.rows(&asked).await, expected);
    let ticket = world.info(&asked).await.unwrap().endpoint[0].ticket.clone().unwrap();
    append(&world.store, "events", "second", 20..22).await;
    assert_eq!(world.get(ticket).await, expected);
    let newer = world.store.offline().get_historical(&spine, &service).await.unwrap().batch;
    assert_ne!(newer, expected);
    assert_eq!(world.rows(&asked).await, newer);
}

#[tokio::test]
async fn a_training_set_of_a_table_comes_in_pieces_and_is_the_whole() {
    for piece_rows in [1, 4, 1_000] {
        let settings = FlightSettings { piece_rows, message_bytes: 64, ..FlightSettings::default() };
        let mut world = world(|builder| builder.with_settings(settings)).await;
        let table = json!({ "name": "rows", "columns": ["k", "event_timestamp"], "after": 6 * SECOND });
        let asked = json!({ "training_set": { "service": "l", "spine": { "table": table } } });
        let spine: Vec<_> = (7..26).map(|second| row(second % 3, second * SECOND, second)).collect();
        let spine = batch(&spine).project(&[0, 1]).unwrap();
        let service = world.store.service("l").unwrap().clone();
        let expected = world.store.offline().get_historical(&spine, &service).await.unwrap().batch;
        assert_eq!(world.rows(&asked).await, expected, "{piece_rows}");
    }
}

#[tokio::test]
async fn training_sets_at_once_are_bounded() {
    let settings = FlightSettings { streams_max: 1, ..FlightSettings::default() };
    let mut world = world(|builder| builder.with_settings(settings)).await;
    let ticket = || {
        Ticket::new(training(&json!({ "table": { "name": "rows", "columns": ["k", "event_timestamp"] } })).to_string())
    };
    let held = world.client.do_get(ticket()).await.unwrap();
    let FlightError::Tonic(refused) = world.client.do_get(ticket()).await.map(drop).unwrap_err() else {
        panic!("a status")
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    drop(held);
    assert_eq!(world.get(ticket()).await.num_rows(), 21);
}

#[tokio::test]
async fn a_client_that_takes_no_rows_does_not_keep_others_from_theirs() {
    let settings = FlightSettings { training_sets_max: 1, piece_rows: 4, ..FlightSettings::default() };
    let mut world = world(|builder| builder.with_settings(settings)).await;
    let asked = training(&json!({ "table": { "name": "rows", "columns": ["k", "event_timestamp"] } }));
    let ticket = || Ticket::new(asked.to_string());
    let mut idle = world.client.do_get(ticket()).await.unwrap();
    let first = idle.try_next().await.unwrap().unwrap();
    let whole = world.get(ticket()).await;
    assert_eq!(whole.num_rows(), 21);
    let rest: Vec<RecordBatch> = idle.try_collect().await.unwrap();
    assert_eq!(concat_batches(&whole.schema(), std::iter::once(&first).chain(&rest)).unwrap(), whole);
}

#[tokio::test]
async fn a_version_of_a_table_that_is_not_read_is_refused() {
    let mut world = world(|builder| builder).await;
    let rows = json!({ "rows": { "k": [1], "event_timestamp": [21] } });
    let with = |versions: Value| json!({ "training_set": { "service": "s", "spine": rows, "versions": versions } });
    for versions in [json!({ "event": 1 }), json!({ "events": 1, "rows": 1 })] {
        let (code, says) = world.code(&with(versions)).await;
        assert_eq!(code, Code::InvalidArgument);
        assert!(says.contains("not read") && says.ends_with("events"), "{says}");
    }
    assert_eq!(world.rows(&with(json!({ "events": 1 }))).await.num_rows(), 1);
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused_before_anything_is_sent() {
    let settings = FlightSettings { rows_max: 2, features_max: 2, ticket_bytes_max: 300, ..FlightSettings::default() };
    let mut world = world(|builder| builder.with_settings(settings)).await;
    let online =
        |features: &[&str], entities: Value| json!({ "online": { "features": features, "entities": entities } });
    let long = "x".repeat(300);
    for (asked, code, says) in [
        (json!({ "what": {} }), Code::InvalidArgument, "unknown variant `what`"),
        (online(&["v:x"], json!({ "k": [long] })), Code::InvalidArgument, "at most 300"),
        (online(&["v:x"], json!({ "k": [1, 2, 3] })), Code::InvalidArgument, "at most 2"),
        (online(&["v:x", "v:n", "v:count_5"], json!({ "k": [1] })), Code::InvalidArgument, "at most 2"),
        (online(&["v:x"], json!({ "k": ["1"] })), Code::InvalidArgument, "must be Int64"),
        (online(&["v:x"], json!({ "k": [1], "z": [1] })), Code::InvalidArgument, "column \"z\""),
        (online(&["v:x"], json!({})), Code::InvalidArgument, "lack the column \"k\""),
        (online(&["v:x", "v:x"], json!({ "k": [1] })), Code::InvalidArgument, "occur twice"),
        (online(&[], json!({ "k": [1] })), Code::InvalidArgument, "either a service or features"),
        (online(&["w:x"], json!({ "k": [1] })), Code::NotFound, "\"w\""),
        (training(&json!({ "rows": { "k": [1] } })), Code::InvalidArgument, "\"event_timestamp\""),
        (training(&json!({ "table": { "name": "none" } })), Code::NotFound, "\"none\""),
        (training(&json!({ "table": { "name": "rows" } })), Code::InvalidArgument, "\"x\" would occur twice"),
        (
            training(&json!({ "table": { "name": "rows", "version": 99, "columns": ["k", "event_timestamp"] } })),
            Code::NotFound,
            "99",
        ),
    ] {
        let found = match says {
            // What the table lacks is told when it is read.
            "99" => {
                let refused = world.client.do_get(Ticket::new(asked.to_string())).await.map(drop).unwrap_err();
                let FlightError::Tonic(status) = refused else { panic!("a status") };
                (status.code(), status.message().to_owned())
            }
            _ => world.code(&asked).await,
        };
        assert_eq!(found.0, code, "{asked}: {}", found.1);
        assert!(found.1.contains(says), "{asked}: {}", found.1);
    }
    let path = world.client.get_flight_info(FlightDescriptor::new_path(vec!["s".into()])).await.unwrap_err();
    assert!(path.to_string().contains("no command"), "{path}");
    let listed = world.client.list_flights(String::new()).await.map(drop).unwrap_err();
    assert!(listed.to_string().contains("no ListFlights"), "{listed}");
}

#[derive(Debug)]
struct ViewsOnly;

#[async_trait::async_trait]
impl Authorizer for ViewsOnly {
    async fn authorize(&self, who: &Principal, action: Action, on: &Resource) -> Result<()> {
        if who.name == "reader" && action == Action::Read && on.kind == "feature_view" {
            return Ok(());
        }
        Err(Error::new(mlops_core::ErrorKind::PermissionDenied, format!("{} may not {action:?} {on}", who.name)))
    }
}

#[tokio::test]
async fn who_may_not_read_is_told_nothing() {
    let home = tempfile::tempdir().unwrap();
    let store = store(&home).await;
    let server = FlightServer::builder(store.clone()).with_authorizer(Arc::new(ViewsOnly)).build();
    let as_reader = |name: &str| {
        let client = FlightClient::new(server.router().layer(Extension(Principal::new(name))));
        World { store: store.clone(), client, _home: tempfile::tempdir().unwrap() }
    };
    let online = json!({ "online": { "service": "s", "entities": { "k": [1] } } });
    let service = |name: &str| json!({ "online": { "service": name, "entities": { "k": [1] } } });
    let feature = |name: &str| json!({ "online": { "features": [name], "entities": { "k": [1] } } });
    let mut nobody =
        World { store: store.clone(), client: FlightClient::new(server.router()), _home: tempfile::tempdir().unwrap() };
    for asked in [online.clone(), service("none"), feature("w:x"), json!({ "what": 1 })] {
        assert_eq!(nobody.code(&asked).await.0, Code::Unauthenticated);
    }
    let mut stranger = as_reader("stranger");
    let spine = json!({ "rows": { "k": [1], "event_timestamp": [21] } });
    let set = |name: &str| json!({ "training_set": { "service": name, "spine": spine } });
    for name in ["s", "l", "none"] {
        for asked in [service(name), set(name)] {
            let says = format!("stranger may not read feature service {name:?}");
            assert_eq!(stranger.code(&asked).await, (Code::PermissionDenied, says));
        }
    }
    let (code, says) = stranger.code(&feature("v:x")).await;
    assert_eq!(stranger.code(&feature("w:x")).await, (code, says.replace("\"v\"", "\"w\"")));
    assert_eq!(code, Code::PermissionDenied);
    assert_eq!(as_reader("reader").code(&feature("w:x")).await.0, Code::NotFound);
    let mut reader = as_reader("reader");
    assert_eq!(reader.rows(&online).await.num_rows(), 1);
    let rows = json!({ "rows": { "k": [1], "event_timestamp": [21] } });
    assert_eq!(reader.rows(&training(&rows)).await.num_rows(), 1);
    let of_table = reader.code(&training(&json!({ "table": { "name": "rows" } }))).await;
    assert_eq!(of_table.0, Code::PermissionDenied, "{}", of_table.1);
    let labels = json!({ "training_set": { "service": "l", "spine": rows } });
    assert_eq!(reader.code(&labels).await.0, Code::PermissionDenied);
}
