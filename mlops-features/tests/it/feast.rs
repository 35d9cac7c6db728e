//! Feast's HTTP contract, request by request. Shapes were measured on `feast serve` 0.67.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use mlops_core::{
    Action, Authorizer, Error, Principal, PrometheusMeter, Resource, Result, Timestamp,
    arrow_array::{ArrayRef, Float64Array, RecordBatch, cast::AsArray, types::Float64Type},
    arrow_schema::{DataType, Field, Schema, SchemaRef},
    testing::ManualClock,
};
use mlops_features::{
    Aggregation, Entity, FeatureService, FeatureStore, FeatureView, Function, MemoryOnlineStore, OnDemandView,
    Permission,
    feast::{FeastServer, FeastServerBuilder, FeastSettings},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::data::time_type;

/// 2025-01-01T00:00:00Z.
const NOW: i64 = 1_735_689_600_000_000;
const DAY: i64 = 86_400_000_000;

fn schema() -> SchemaRef {
    let columns = [
        ("driver_id", DataType::Int64),
        ("city", DataType::Utf8),
        ("event_timestamp", time_type()),
        ("created", time_type()),
        ("a", DataType::Float64),
        ("b", DataType::Int64),
    ];
    Arc::new(Schema::new(columns.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec()))
}

async fn store(home: &tempfile::TempDir) -> FeatureStore {
    let driver = || Entity::new("driver", ["driver_id"]).unwrap();
    let drv = FeatureView::builder("drv", driver(), "stats").with_column("a").with_column("b").with_created("created");
    let pair = FeatureView::builder("pair", Entity::new("pair", ["driver_id", "city"]).unwrap(), "pairs");
    let trips = Aggregation::new("trips", Function::Count, "b", Duration::from_secs(3_600));
    let windows = FeatureView::builder("win", driver(), "stats").with_aggregation(trips);
    let world = FeatureView::builder("world", Entity::global(), "stats").with_column("a");
    FeatureStore::builder(home.path().to_str().unwrap())
        .with_clock(Arc::new(ManualClock::at(Timestamp::from_micros(NOW))))
        .with_online(Arc::new(MemoryOnlineStore::default()))
        .with_table("stats", schema())
        .with_table("pairs", schema())
        .with_view(drv.with_ttl(Duration::from_secs(86_400)).build().unwrap())
        .with_view(pair.with_column("a").build().unwrap())
        .with_view(windows.build().unwrap())
        .with_view(world.build().unwrap())
        .with_service(FeatureService::new("svc", ["drv:b".parse().unwrap(), "pair:a".parse().unwrap()]).unwrap())
        .build()
        .await
        .unwrap()
}

/// A server over a fresh store, and its directory.
struct Server {
    app: Router,
    server: FeastServer,
    store: FeatureStore,
    _home: tempfile::TempDir,
}

async fn server(change: impl FnOnce(FeastServerBuilder) -> FeastServerBuilder) -> Server {
    let home = tempfile::tempdir().unwrap();
    let store = store(&home).await;
    let server = change(FeastServer::builder(store.clone())).build();
    Server { app: server.router(), server, store, _home: home }
}

impl Server {
    async fn send(&self, request: Request<Body>) -> (u16, Value) {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() })
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.send(Request::post(path).body(body.to_string().into()).unwrap()).await
    }

    /// The class and message of an error in Feast's form, with its status.
    async fn fails(&self, path: &str, body: Value) -> (u16, String, String) {
        let (status, body) = self.post(path, body).await;
        let detail: Value = serde_json::from_str(body.as_str().expect("a JSON string")).unwrap();
        assert_eq!(detail["module"], "feast.errors");
        (status, detail["class"].as_str().unwrap().to_owned(), detail["message"].as_str().unwrap().to_owned())
    }

    async fn write(&self, view: &str, df: Value) {
        let answer = self.post("/write-to-online-store", json!({ "feature_view_name": view, "df": df })).await;
        assert_eq!(answer, (200, Value::Null));
    }
}

fn iso(micros: i64) -> String {
    Timestamp::from_micros(micros).to_string().trim_end_matches('Z').to_owned()
}

#[allow(clippy::needless_pass_by_value, reason = "callers write the value in place")]
fn question(features: &[&str], entities: Value) -> Value {
    json!({ "features": features, "entities": entities })
}

#[tokio::test]
async fn an_answer_has_feasts_shape_and_says_why_a_value_is_as_it_is() {
    let server = server(|builder| builder).await;
    let df = json!({
        "driver_id": [1, 2, 3], "a": [1.5, null, 2.5], "b": [9_007_199_254_740_993_i64, 7, 8],
        "event_timestamp": [iso(NOW - 1_250_000), iso(NOW - DAY), iso(NOW - DAY - 1)], "created": [null, null, null],
    });
    server.write("drv", df).await;
    let (status, body) = server
        .post("/get-online-features", question(&["drv:b", "drv:a"], json!({ "driver_id": [2, 1, 9, 3, null] })))
        .await;
    assert_eq!(status, 200);
    let times = [
        "2024-12-31T00:00:00Z",
        "2024-12-31T23:59:58.750Z",
        "1970-01-01T00:00:00Z",
        "2024-12-30T23:59:59.999999Z",
        "1970-01-01T00:00:00Z",
    ];
    let never = ["1970-01-01T00:00:00Z"; 5];
    assert_eq!(
        body,
        json!({
            "results": [
                { "values": [2, 1, 9, 3, null], "event_timestamps": never,
                  "statuses": ["PRESENT", "PRESENT", "PRESENT", "PRESENT", "NULL_VALUE"] },
                { "values": [7, 9_007_199_254_740_993_i64, null, null, null], "event_timestamps": times,
                  "statuses": ["PRESENT", "PRESENT", "NOT_FOUND", "OUTSIDE_MAX_AGE", "NOT_FOUND"] },
                { "values": [null, 1.5, null, null, null], "event_timestamps": times,
                  "statuses": ["NULL_VALUE", "PRESENT", "NOT_FOUND", "OUTSIDE_MAX_AGE", "NOT_FOUND"] },
            ],
            "metadata": { "feature_names": ["driver_id", "b", "a"] },
        })
    );
}

#[tokio::test]
async fn services_full_names_composite_keys_windows_and_global_views() {
    let server = server(|builder| builder).await;
    let row = |name: &str, value: f64| json!({ "driver_id": [1], "city": [name], "a": [value], "b": [4], "event_timestamp": [iso(NOW - 5)] });
    for view in ["drv", "win", "world", "pair"] {
        server.write(view, row("Oslo", 0.5)).await;
    }
    server.write("pair", row("Rome", 0.75)).await;
    let asked = json!({ "feature_service": "svc", "full_feature_names": true,
        "entities": { "city": ["Rome", "Oslo"], "driver_id": [1, 1] } });
    let (status, body) = server.post("/get-online-features", asked).await;
    assert_eq!(status, 200);
    assert_eq!(body["metadata"]["feature_names"], json!(["city", "driver_id", "drv__b", "pair__a"]));
    assert_eq!(body["results"][3]["values"], json!([0.75, 0.5]));
    // The entity's own name and a column that nobody needs, as from older clients.
    let asked = question(&["win:trips", "world:a", "drv@latest:b"], json!({ "driver": [1, 2], "other": ["x", "y"] }));
    let (status, body) = server.post("/get-online-features", asked).await;
    assert_eq!((status, &body["metadata"]["feature_names"]), (200, &json!(["driver_id", "trips", "a", "b"])));
    assert_eq!(body["results"][1]["values"], json!([1, 0]), "a stranger's count is 0, as in training sets");
    assert_eq!(body["results"][2]["values"], json!([0.5, 0.5]));
    let (_, body) = server.post("/get-online-features", question(&["world:a"], json!({}))).await;
    assert_eq!(body["results"][0]["values"], json!([0.5]));
}

#[tokio::test]
async fn what_the_caller_did_wrong_is_a_4xx_with_the_class_to_raise() {
    let server =
        server(|builder| builder.with_settings(FeastSettings { rows_max: 3, ..FeastSettings::default() })).await;
    let ids = || json!({ "driver_id": [1] });
    let check = async |path: &str, body: Value, status: u16, class: &str, says: &str| {
        let (found, found_class, message) = server.fails(path, body).await;
        assert_eq!((found, found_class.as_str()), (status, class), "{message}");
        assert!(message.contains(says), "{message}");
    };
    let get = "/get-online-features";
    check(get, question(&["nope:a"], ids()), 404, "FeatureViewNotFoundException", "\"nope\"").await;
    check(get, question(&["drv@v2:a"], ids()), 404, "FeatureViewVersionNotFound", "no version \"v2\"").await;
    check(get, question(&["drv:zz"], ids()), 404, "FeastObjectNotFoundException", "it has a, b").await;
    check(get, question(&["drv"], ids()), 400, "FeastError", "view:feature").await;
    check(get, question(&[], ids()), 400, "FeastError", "neither").await;
    let service = json!({ "feature_service": "nope", "entities": ids() });
    check(get, service, 404, "FeatureServiceNotFoundException", "\"nope\"").await;
    check(get, question(&["pair:a"], ids()), 400, "FeastError", "join key \"city\"").await;
    check(get, question(&["drv:a"], json!({ "driver_id": ["1"] })), 400, "FeastError", "must be Int64").await;
    check(get, question(&["drv:a"], json!({ "driver_id": [1], "x": [] })), 400, "FeastError", "equally many").await;
    check(get, question(&["drv:a"], json!({ "driver_id": [1, 2, 3, 4] })), 400, "FeastError", "at most 3").await;
    let twice = question(&["drv:a", "pair:a"], json!({ "driver_id": [1], "city": ["x"] }));
    check(get, twice, 400, "FeatureNameCollisionError", "\"a\"").await;
    let write = "/write-to-online-store";
    let unknown = json!({ "feature_view_name": "nope", "df": ids() });
    check(write, unknown, 404, "FeatureViewNotFoundException", "nope").await;
    check(write, json!({ "feature_view_name": "drv", "df": ids() }), 400, "FeastError", "no column").await;
    let push = json!({ "push_source_name": "nope", "df": ids() });
    check("/push", push, 422, "PushSourceNotFoundException", "nope").await;
    check("/search", json!({ "features": [], "top_k": 1 }), 400, "FeastError", "no features").await;
    let none = json!({ "features": ["drv:a"], "query": [1.0], "top_k": 1 });
    check("/search", none, 400, "FeastError", "has no vectors").await;
    for body in ["{", "[]", "{\"entities\":{\"k\":[1],\"k\":[2]},\"features\":[\"drv:a\"]}", "{\"entities\":{\"k\":1}}"]
    {
        let (status, body) = server.send(Request::post(get).body(body.to_owned().into()).unwrap()).await;
        assert_eq!(status, 422);
        assert_eq!(body["detail"][0]["loc"], json!(["body"]));
    }
    assert_eq!(server.send(Request::get("/health").body(Body::empty()).unwrap()).await, (200, Value::Null));
}

#[tokio::test]
async fn bodies_and_content_types() {
    let server =
        server(|builder| builder.with_settings(FeastSettings { body_bytes_max: 200, ..FeastSettings::default() }))
            .await;
    let body = question(&["drv:a"], json!({ "driver_id": [1] })).to_string();
    for content_type in ["application/json", "text/plain", "application/x-www-form-urlencoded"] {
        let request = Request::post("/get-online-features").header("content-type", content_type);
        assert_eq!(server.send(request.body(body.clone().into()).unwrap()).await.0, 200, "{content_type}");
    }
    let long = question(&["drv:a"], json!({ "driver_id": vec![1; 200] }));
    assert_eq!(server.fails("/get-online-features", long).await.0, 413);
}

#[tokio::test]
async fn a_push_reaches_table_and_views_once() {
    let meter = Arc::new(PrometheusMeter::default());
    let server = server(|builder| builder.with_meter(Arc::<PrometheusMeter>::clone(&meter))).await;
    let df = json!({ "driver_id": [1, 2], "city": ["x", null], "a": [0.5, 1.0], "b": [1, 2],
        "event_timestamp": [iso(NOW - 7), iso(NOW - 6)], "created": [iso(NOW - 3), null] });
    let push = json!({ "push_source_name": "stats", "df": df, "to": "online_and_offline" });
    for _ in 0..2 {
        assert_eq!(server.post("/push", push.clone()).await, (200, Value::Null));
    }
    assert_eq!(server.store.table("stats").unwrap().num_rows(None).await.unwrap(), 2);
    let asked = question(&["drv:a", "win:trips"], json!({ "driver_id": [2] }));
    let (_, body) = server.post("/get-online-features", asked).await;
    assert_eq!((&body["results"][1]["values"], &body["results"][2]["values"]), (&json!([1.0]), &json!([1])));
    let text = meter.render();
    for line in [
        "mlops_feast_requests_total{path=\"/push\",status=\"200\"} 2",
        "mlops_feast_values_total{status=\"PRESENT\"} 2",
        "mlops_feast_request_seconds_count{path=\"/get-online-features\"} 1",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[tokio::test]
async fn materialization_takes_start_to_end_exclusive_at_once_or_in_the_background() {
    let server = server(|builder| builder).await;
    let df = json!({ "driver_id": [1, 2, 3], "city": [null, null, null], "a": [0.1, 0.2, 0.3], "b": [1, 2, 3],
        "event_timestamp": [iso(NOW - 30), iso(NOW - 20), iso(NOW - 10)], "created": [null, null, null] });
    let push = json!({ "push_source_name": "stats", "df": df, "to": "offline" });
    assert_eq!(server.post("/push", push).await.0, 200);
    let values = async || {
        let asked = question(&["drv:b"], json!({ "driver_id": [1, 2, 3] }));
        server.post("/get-online-features", asked).await.1["results"][1]["values"].clone()
    };
    assert_eq!(values().await, json!([null, null, null]), "offline alone");
    let range = json!({ "start_ts": iso(NOW - 20), "end_ts": iso(NOW - 10), "feature_views": ["drv"] });
    assert_eq!(server.post("/materialize", range).await, (200, Value::Null));
    assert_eq!(values().await, json!([null, 2, null]));
    let all = json!({ "feature_views": ["drv"], "disable_event_timestamp": true });
    assert_eq!(server.post("/materialize", all).await.0, 200);
    assert_eq!(values().await, json!([1, 2, 3]));
    let until = json!({ "end_ts": iso(NOW), "feature_views": ["win"] });
    let accepted = server.post("/materialize-incremental?async=true", until).await;
    assert_eq!(accepted, (202, json!({ "status": "accepted", "feature_views": ["win"] })));
    server.server.close(Duration::from_secs(60)).await;
    let asked = question(&["win:trips"], json!({ "driver_id": [3] }));
    assert_eq!(server.post("/get-online-features", asked).await.1["results"][1]["values"], json!([1]));
    for (path, body) in [
        ("/materialize", json!({})),
        ("/materialize", json!({ "start_ts": iso(NOW), "end_ts": iso(NOW - 1) })),
        ("/materialize-incremental", json!({ "feature_views": ["drv"] })),
        ("/materialize-incremental", json!({ "end_ts": "soon" })),
    ] {
        assert_eq!(server.post(path, body).await.0, 422);
    }
    let version = json!({ "end_ts": iso(NOW), "feature_views": ["drv"], "version": "v2" });
    assert_eq!(server.fails("/materialize-incremental", version).await.0, 404);
}

#[tokio::test]
async fn a_view_that_is_being_materialized_is_a_conflict_unless_forced() {
    let server = server(|builder| builder).await;
    let until = || json!({ "end_ts": iso(NOW), "feature_views": ["drv"] });
    // On this single-threaded runtime a job first runs when this test waits for something that is not ready.
    let mut answers = Vec::new();
    for query in ["async=true", "async=true", "async=true&force=true"] {
        answers.push(server.post(&format!("/materialize-incremental?{query}"), until()).await);
    }
    assert_eq!(answers[0].0, 202);
    assert_eq!((answers[1].0, &answers[1].1["feature_views"]), (409, &json!(["drv"])));
    assert_eq!(answers[2].0, 202);
    server.server.close(Duration::from_secs(60)).await;
    assert_eq!(server.fails("/materialize-incremental?async=1", until()).await.0, 503);
}

/// Lets readers read.
#[derive(Debug)]
struct ReadersRead;

#[async_trait::async_trait]
impl Authorizer for ReadersRead {
    async fn authorize(&self, who: &Principal, action: Action, on: &Resource) -> Result<()> {
        match action {
            Action::Read if who.roles.iter().any(|role| role == "reader") && on.kind == "feature_view" => Ok(()),
            _ => Err(Error::permission_denied(format!("{:?} may not do that to {on}", who.name))),
        }
    }
}

#[tokio::test]
async fn nobody_reads_or_writes_without_permission() {
    let server = server(|builder| builder.with_authorizer(Arc::new(ReadersRead))).await;
    let asked = question(&["drv:a"], json!({ "driver_id": [1] }));
    assert_eq!(server.fails("/get-online-features", asked.clone()).await.0, 401);
    let send = async |path: &str, body: &Value, principal: Principal| {
        let request = Request::post(path).extension(principal).body(body.to_string().into()).unwrap();
        server.send(request).await.0
    };
    let reader = || Principal::new("r").with_role("reader");
    assert_eq!(send("/get-online-features", &asked, reader()).await, 200);
    assert_eq!(send("/get-online-features", &asked, Principal::new("x")).await, 403);
    let df = json!({ "driver_id": [1], "city": ["x"], "a": [0.5], "b": [1], "event_timestamp": [iso(NOW)], "created": [null] });
    for (path, body) in [
        ("/write-to-online-store", json!({ "feature_view_name": "drv", "df": df })),
        ("/push", json!({ "push_source_name": "stats", "df": df, "to": "offline" })),
        ("/materialize-incremental", json!({ "end_ts": iso(NOW) })),
    ] {
        assert_eq!(send(path, &body, reader()).await, 403, "{path}");
    }
    assert_eq!(server.store.table("stats").unwrap().num_rows(None).await.unwrap(), 0);
}

/// The store of `home` with view `drv` over `columns`, applied, and a view that adds what the request says.
async fn with_on_demand(home: &tempfile::TempDir, online: &Arc<MemoryOnlineStore>, columns: &[&str]) -> Server {
    let builder = || {
        let drv = FeatureView::builder("drv", Entity::new("driver", ["driver_id"]).unwrap(), "stats");
        let drv = columns.iter().fold(drv, |drv, column| drv.with_column(column)).build().unwrap();
        let fare = OnDemandView::builder("fare", "1")
            .with_input("drv:a".parse().unwrap())
            .with_request("tip", DataType::Float64)
            .with_output("total", DataType::Float64)
            .build()
            .unwrap();
        let code = |inputs: &RecordBatch| {
            let [a, tip] = [0, 1].map(|column| inputs.column(column).as_primitive::<Float64Type>().iter());
            let total: Float64Array = a.zip(tip).map(|(a, tip)| Some(a? + tip?)).collect();
            Ok(vec![Arc::new(total) as ArrayRef])
        };
        FeatureStore::builder(home.path().to_str().unwrap())
            .with_clock(Arc::new(ManualClock::at(Timestamp::from_micros(NOW))))
            .with_online(Arc::<MemoryOnlineStore>::clone(online))
            .with_table("stats", schema())
            .with_view(drv)
            .with_on_demand_view(fare, code)
            .with_service(FeatureService::new("svc", ["fare:total".parse().unwrap()]).unwrap())
    };
    let plan = builder().plan().await.unwrap();
    let store = builder().apply(&plan, Permission::Safe).await.unwrap();
    let server = FeastServer::builder(store.clone()).build();
    Server { app: server.router(), server, store, _home: tempfile::tempdir().unwrap() }
}

#[tokio::test]
async fn features_on_demand_are_computed_from_the_request_and_versions_are_served_by_number() {
    let (home, online) = (tempfile::tempdir().unwrap(), Arc::new(MemoryOnlineStore::default()));
    let first = with_on_demand(&home, &online, &["a"]).await;
    let row = |a: f64| json!({ "driver_id": [1], "a": [a], "b": [7], "event_timestamp": [iso(NOW - 1_000_000)] });
    first.write("drv", row(1.5)).await;
    let server = with_on_demand(&home, &online, &["a", "b"]).await;
    server.write("drv", row(2.5)).await;
    let get = "/get-online-features";
    let features = ["drv@v1:a", "drv:b", "fare:total", "drv@2:a", "drv@latest:a"];
    let asked = json!({
        "features": features, "full_feature_names": true, "entities": { "tip": [0.25, 1], "driver_id": [1, 2] },
    });
    let (status, body) = server.post(get, asked).await;
    assert_eq!(status, 200, "{body}");
    let names = json!(["driver_id", "drv@v1__a", "drv__b", "fare__total", "drv@v2__a", "drv__a"]);
    assert_eq!(body["metadata"]["feature_names"], names);
    let values: Vec<&Value> = body["results"].as_array().unwrap().iter().map(|result| &result["values"]).collect();
    let expected = json!([[1, 2], [1.5, null], [7, null], [2.75, null], [2.5, null], [2.5, null]]);
    assert_eq!(json!(values), expected);
    let computed = &body["results"][3];
    assert_eq!(computed["statuses"], json!(["PRESENT", "NULL_VALUE"]));
    assert_eq!(computed["event_timestamps"], json!(["1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"]));
    let service = json!({ "feature_service": "svc", "entities": { "driver_id": [1], "tip": [1.0] } });
    assert_eq!(server.post(get, service).await.1["results"][1]["values"], json!([3.5]));

    let lacking = server.fails(get, question(&["fare:total"], json!({ "driver_id": [1] }))).await;
    assert_eq!((lacking.0, lacking.1.as_str()), (400, "RequestDataNotFoundInEntityRowsException"));
    assert!(lacking.2.contains("\"tip\""), "{}", lacking.2);
    let wrong = json!({ "driver_id": [1], "tip": ["x"] });
    let wrong = server.fails(get, question(&["fare:total"], wrong)).await;
    assert!(wrong.0 == 400 && wrong.2.contains("\"tip\" must be Float64"), "{wrong:?}");
    let (status, class, _) = server.fails(get, question(&["drv@v9:a"], json!({ "driver_id": [1] }))).await;
    assert_eq!((status, class.as_str()), (404, "FeatureViewVersionNotFound"));

    let rows = json!({ "push_source_name": "stats", "to": "offline", "df": {
        "driver_id": [3], "city": [null], "a": [9.5], "b": [1], "created": [null],
        "event_timestamp": [iso(NOW - 1_000_000)],
    } });
    assert_eq!(server.post("/push", rows).await.0, 200);
    let old = json!({ "end_ts": iso(NOW), "feature_views": ["drv"], "version": "v1" });
    assert_eq!(server.post("/materialize-incremental", old).await.0, 200);
    let asked = question(&["drv@v1:a"], json!({ "driver_id": [3] }));
    assert_eq!(server.post(get, asked).await.1["results"][1]["values"], json!([9.5]));
    let asked = question(&["drv:b"], json!({ "driver_id": [3] }));
    assert_eq!(server.post(get, asked).await.1["results"][1]["values"], json!([null]), "v2 was not materialized");
}
