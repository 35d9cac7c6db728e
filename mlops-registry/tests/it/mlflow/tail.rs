//! A run that is watched over HTTP.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    http::{Request, Response},
};
use mlops_registry::{
    ArtifactStore, MlflowServer,
    tracking::tail::{LiveTail, TailSettings},
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::Client;
use crate::{in_memory, tracking};

impl Client {
    async fn watched() -> (Self, LiveTail) {
        let meta = in_memory().await;
        let settings = TailSettings { poll_ms: 3_600_000, ..TailSettings::default() };
        let live = LiveTail::new(Arc::new(tracking(Arc::clone(&meta)).await), settings).unwrap();
        let models = Arc::new(crate::registry(meta).await);
        let server = MlflowServer::new(Arc::new(live.clone()), models, ArtifactStore::in_memory());
        (Self { router: server.with_tail(live.clone()).router() }, live)
    }

    /// An answer whose body is not read yet.
    async fn tail(&self, run: &str, last_event_id: &str) -> Response<Body> {
        let request = Request::get(format!("/ajax-api/3.0/mlops/runs/{run}/tail"));
        let request = request.header("last-event-id", last_event_id).body(Body::empty()).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }
}

/// Name, id and data of the events of a stream that ends.
async fn events(response: Response<Body>) -> Vec<(String, String, Value)> {
    let text = String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap();
    let field = |event: &str, name: &str| -> String {
        event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default().to_owned()
    };
    let events = text.split("\n\n").filter(|event| event.contains("data"));
    events.map(|e| (field(e, "event"), field(e, "id"), serde_json::from_str(&field(e, "data")).unwrap())).collect()
}

#[tokio::test]
async fn a_stream_begins_with_the_run_and_ends_with_it() {
    let (client, _) = Client::watched().await;
    let run = client.run().await;
    client.post("runs/log-parameter", json!({ "run_id": run, "key": "lr", "value": "1" })).await;
    let stream = client.tail(&run, "").await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert_eq!(stream.headers()["cache-control"], "no-cache");
    let point =
        |key: &str, value: Value, step: i64| json!({ "key": key, "value": value, "timestamp": 5, "step": step });
    let metrics = [point("loss", json!("NaN"), 1), point("auc", json!(0.5), 1)];
    client
        .post("runs/log-batch", json!({ "run_id": run, "metrics": metrics, "tags": [{ "key": "a", "value": "x\ny" }] }))
        .await;
    client.post("runs/delete-tag", json!({ "run_id": run, "key": "a" })).await;
    client.post("runs/update", json!({ "run_id": run, "status": "FINISHED" })).await;

    let all = events(stream).await;
    let names: Vec<&str> = all.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["state", "change", "change", "change", "end"]);
    assert_eq!((&all[0].2["info"]["run_id"], &all[0].2["data"]["params"][0]["key"]), (&json!(run), &json!("lr")));
    assert_eq!(all[1].2, json!({ "metrics": metrics, "tags": [{ "key": "a", "value": "x\ny" }] }));
    assert_eq!(all[2].2, json!({ "removed_tags": ["a"] }));
    assert_eq!(all[3].2, json!({ "status": "FINISHED" }));
    assert_eq!(all[4].1, all[3].1, "the end goes on from where the last change did");

    let again = events(client.tail(&run, &all[1].1).await).await;
    assert_eq!(again, all[2..], "what came after the cursor");
    assert_eq!(client.tail(&run, &all[4].1).await.status(), 204, "a browser stops asking");
    let late = events(client.tail(&run, "no cursor").await).await;
    assert_eq!((late[0].0.as_str(), late[1].0.as_str(), late.len()), ("state", "end", 2));
}

#[tokio::test]
async fn a_server_that_stops_ends_streams_and_what_is_not_there_is_said() {
    let (client, live) = Client::watched().await;
    let run = client.run().await;
    let stream = client.tail(&run, "").await;
    live.close();
    let names: Vec<String> = events(stream).await.into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["state"], "no end: the run goes on");
    assert_eq!(client.tail(&"0".repeat(32), "").await.status(), 404);
    assert_eq!(client.tail("a%40b", "").await.status(), 400);
    let without = Client::new().await;
    let run = without.run().await;
    assert_eq!(without.tail(&run, "").await.status(), 501);
}
