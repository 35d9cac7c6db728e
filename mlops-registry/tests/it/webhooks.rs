//! Webhooks: messages are written with the change or not at all, delivered until they are taken, signed, and sent only
//! where that is allowed.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use axum::{Router, http::HeaderMap, routing::post};
use mlops_core::{Alias, ErrorKind, KeyProvider, ModelName, Result, Timestamp, Version, testing::ManualClock};
use mlops_registry::{
    Actor, CreateModel, CreateVersion, ModelRegistry as _, MoveAlias, SqlModelRegistry,
    webhooks::{
        CreateWebhook, DELIVERY_ID_HEADER, Delivered, HttpWebhookSender, SIGNATURE_HEADER, SqlWebhookStore,
        TIMESTAMP_HEADER, WebhookAnswer, WebhookEvent, WebhookRequest, WebhookSender, WebhookSettings,
        WebhookStore as _, WebhookTargets, WebhookUpdate, WebhookWorker, sign,
    },
};
use mlops_store::{BlobStore, MetaStore, MetaStoreExt as _};
use serde_json::{Value, json};

use crate::{Refusing, in_memory};

/// Answers with a status and keeps what it was sent.
#[derive(Debug)]
struct Receiver {
    status: Mutex<u16>,
    seen: Mutex<Vec<WebhookRequest>>,
}

impl Receiver {
    fn new(status: u16) -> Arc<Self> {
        Arc::new(Self { status: Mutex::new(status), seen: Mutex::default() })
    }

    fn take(&self) -> Vec<WebhookRequest> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

#[async_trait]
impl WebhookSender for Receiver {
    async fn send(&self, request: WebhookRequest) -> Result<WebhookAnswer> {
        self.seen.lock().unwrap().push(request);
        Ok(WebhookAnswer { status: *self.status.lock().unwrap(), body: "ok".into() })
    }
}

struct House {
    meta: Arc<dyn MetaStore>,
    store: Arc<SqlWebhookStore>,
    registry: SqlModelRegistry,
    clock: Arc<ManualClock>,
}

impl House {
    async fn new() -> Self {
        let meta = in_memory().await;
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_700_000_000_000)));
        let store = SqlWebhookStore::builder(Arc::clone(&meta))
            .with_clock(Arc::<ManualClock>::clone(&clock))
            .build()
            .await
            .unwrap();
        let store = Arc::new(store);
        let registry =
            SqlModelRegistry::builder(Arc::clone(&meta), BlobStore::in_memory())
                .with_changes(Arc::<SqlWebhookStore>::clone(&store));
        Self { registry: registry.build().await.unwrap(), meta, store, clock }
    }

    fn worker(&self, receiver: &Arc<Receiver>) -> WebhookWorker {
        // One after the other, so that they arrive in their order.
        let settings = WebhookSettings { attempts_max: 3, concurrent_max: 1, ..WebhookSettings::default() };
        let worker =
            WebhookWorker::new(Arc::<SqlWebhookStore>::clone(&self.store), Arc::<Receiver>::clone(receiver), settings)
                .unwrap();
        worker.with_clock(Arc::<ManualClock>::clone(&self.clock))
    }

    async fn hook(&self, events: &[(&str, &str)]) -> String {
        let events = events.iter().map(|(entity, action)| WebhookEvent::new(entity, action).unwrap());
        let create = CreateWebhook::new("ci", "https://ci.example.com/hook", events).with_secret("s3cret");
        self.store.create(create).await.unwrap().id
    }
}

const CREATED: [(&str, &str); 1] = [("registered_model", "created")];

fn name(text: &str) -> ModelName {
    ModelName::new(text).unwrap()
}

fn header<'a>(request: &'a WebhookRequest, name: &str) -> &'a str {
    request.headers.iter().find(|(found, _)| *found == name).map_or("", |(_, value)| value)
}

fn delivered(sent: u64, deferred: u64, dropped: u64) -> Delivered {
    Delivered { sent, deferred, dropped }
}

#[tokio::test]
async fn every_change_is_told_once_and_signed() {
    let house = House::new().await;
    house
        .hook(&[
            ("registered_model", "created"),
            ("model_version", "created"),
            ("model_version_tag", "set"),
            ("model_version_tag", "deleted"),
            ("model_version_alias", "created"),
            ("model_version_alias", "deleted"),
        ])
        .await;
    let (fraud, champion, actor) = (name("fraud"), Alias::new("champion").unwrap(), Actor::default());
    let registry = &house.registry;
    registry.create_model(&fraud, CreateModel::default()).await.unwrap();
    registry.create_version_from_uri(&fraud, "s3://b/m", CreateVersion::default()).await.unwrap();
    registry.set_version_tags(&fraud, Version(1), &[("k".into(), "v".into())], &actor).await.unwrap();
    registry.delete_version_tag(&fraud, Version(1), "k", &actor).await.unwrap();
    registry.set_model_tags(&fraud, &[("k".into(), "v".into())], &actor).await.unwrap();
    registry.set_alias(&fraud, &champion, Version(1), MoveAlias::default()).await.unwrap();
    registry.set_alias(&fraud, &champion, Version(1), MoveAlias::default()).await.unwrap();
    registry.delete_alias(&fraud, &champion, MoveAlias::default()).await.unwrap();

    let receiver = Receiver::new(200);
    let worker = house.worker(&receiver);
    assert_eq!(worker.deliver_due().await.unwrap(), delivered(6, 0, 0));
    assert_eq!(worker.deliver_due().await.unwrap(), Delivered::default());
    let seen = receiver.take();
    let mut told: Vec<String> = Vec::new();
    for request in &seen {
        let body: Value = serde_json::from_str(&request.body).unwrap();
        told.push(format!("{}.{}", body["entity"].as_str().unwrap(), body["action"].as_str().unwrap()));
        assert_eq!((&body["data"]["name"], &body["timestamp"]), (&json!("fraud"), &json!("2023-11-14T22:13:20+00:00")));
        let (id, at) = (header(request, DELIVERY_ID_HEADER), header(request, TIMESTAMP_HEADER));
        assert_eq!(header(request, SIGNATURE_HEADER), sign("s3cret", id, at.parse().unwrap(), &request.body).unwrap());
        assert!(!format!("{request:?}").contains("example.com"));
    }
    told.sort();
    let mut expected = [
        "registered_model.created",
        "model_version.created",
        "model_version_tag.set",
        "model_version_tag.deleted",
        "model_version_alias.created",
        "model_version_alias.deleted",
    ];
    expected.sort_unstable();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_change_that_did_not_happen_is_not_told() {
    let house = House::new().await;
    house.hook(&[("registered_model", "created"), ("model_version_alias", "created")]).await;
    let (fraud, champion) = (name("fraud"), Alias::new("champion").unwrap());
    house.registry.create_model(&fraud, CreateModel::default()).await.unwrap();
    house.registry.create_model(&fraud, CreateModel::default()).await.unwrap_err();
    house.registry.create_version_from_uri(&fraud, "s3://b/m", CreateVersion::default()).await.unwrap();
    let audited = SqlModelRegistry::builder(Arc::clone(&house.meta), BlobStore::in_memory())
        .with_changes(Arc::<SqlWebhookStore>::clone(&house.store))
        .with_audit(Arc::new(Refusing));
    let audited = audited.build().await.unwrap();
    audited.set_alias(&fraud, &champion, Version(1), MoveAlias::default()).await.unwrap_err();
    let receiver = Receiver::new(200);
    assert_eq!(house.worker(&receiver).deliver_due().await.unwrap(), delivered(1, 0, 0));
}

#[tokio::test]
async fn a_receiver_that_is_down_is_tried_again_with_the_same_id_and_at_last_given_up() {
    let house = House::new().await;
    house.hook(&CREATED).await;
    house.registry.create_model(&name("a"), CreateModel::default()).await.unwrap();
    let receiver = Receiver::new(503);
    let worker = house.worker(&receiver);
    assert_eq!(worker.deliver_due().await.unwrap(), delivered(0, 1, 0));
    assert_eq!(worker.deliver_due().await.unwrap(), Delivered::default(), "not before its time");
    house.clock.advance(Duration::from_secs(1));
    assert_eq!(worker.deliver_due().await.unwrap(), delivered(0, 1, 0));
    house.clock.advance(Duration::from_secs(2));
    assert_eq!(worker.deliver_due().await.unwrap(), delivered(0, 0, 1));
    let seen = receiver.take();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|request| header(request, DELIVERY_ID_HEADER) == header(&seen[0], DELIVERY_ID_HEADER)));
    assert_ne!(header(&seen[0], SIGNATURE_HEADER), header(&seen[2], SIGNATURE_HEADER), "signed with the time");

    house.registry.create_model(&name("b"), CreateModel::default()).await.unwrap();
    *receiver.status.lock().unwrap() = 410;
    assert_eq!(worker.deliver_due().await.unwrap(), delivered(0, 0, 1), "refused for good");
}

#[tokio::test]
async fn a_worker_delivers_in_the_background_until_it_is_stopped() {
    let house = House::new().await;
    house.hook(&CREATED).await;
    house.registry.create_model(&name("a"), CreateModel::default()).await.unwrap();
    let receiver = Receiver::new(200);
    let worker = house.worker(&receiver);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    // A task: the future can move between threads. It looks once before it stops.
    let task = tokio::spawn(async move { worker.run(async { drop(stopped.await) }).await });
    stop.send(()).unwrap();
    task.await.unwrap();
    assert_eq!(receiver.take().len(), 1);
}

#[tokio::test]
async fn a_claimed_message_is_left_alone_until_its_lease_has_passed() {
    let house = House::new().await;
    house.hook(&CREATED).await;
    house.registry.create_model(&name("a"), CreateModel::default()).await.unwrap();
    let (now, lease) = (Timestamp::from_millis(1_700_000_000_000), Duration::from_secs(60));
    let first = house.store.claim(now, lease, lease, 10).await.unwrap();
    assert_eq!(first.len(), 1);
    assert!(house.store.claim(now + Duration::from_secs(59), lease, lease, 10).await.unwrap().is_empty());
    let again = house.store.claim(now + lease, lease, lease, 10).await.unwrap();
    assert_eq!((&again[0].id, again[0].attempts), (&first[0].id, 1));
}

#[tokio::test]
async fn a_clock_that_is_set_back_holds_no_message_up_nor_changes_their_order() {
    let house = House::new().await;
    house.hook(&CREATED).await;
    let (receiver, day) = (Receiver::new(503), Duration::from_secs(86_400));
    let worker = house.worker(&receiver);
    house.registry.create_model(&name("a"), CreateModel::default()).await.unwrap();
    assert_eq!(worker.deliver_due().await.unwrap(), delivered(0, 1, 0));
    house.registry.create_model(&name("b"), CreateModel::default()).await.unwrap();
    house.clock.set(Timestamp::from_millis(1_700_000_000_000) - day);
    house.registry.create_model(&name("c"), CreateModel::default()).await.unwrap();
    *receiver.status.lock().unwrap() = 200;
    receiver.take();
    assert_eq!(worker.deliver_due().await.unwrap(), delivered(3, 0, 0));
    let told: Vec<String> = receiver.take().into_iter().map(|request| request.body).collect();
    for (body, model) in told.iter().zip(["a", "b", "c"]) {
        assert_eq!(serde_json::from_str::<Value>(body).unwrap()["data"]["name"], model);
    }
}

#[tokio::test]
async fn webhooks_change_and_go_with_their_messages() {
    let house = House::new().await;
    let id = house.hook(&CREATED).await;
    let off = WebhookUpdate { active: Some(false), ..WebhookUpdate::default() };
    house.store.update(&id, off).await.unwrap();
    house.registry.create_model(&name("a"), CreateModel::default()).await.unwrap();
    let on = WebhookUpdate { active: Some(true), secret: Some(String::new()), ..WebhookUpdate::default() };
    house.store.update(&id, on).await.unwrap();
    assert_eq!(house.store.secret(&id).await.unwrap(), None);
    house.registry.create_model(&name("b"), CreateModel::default()).await.unwrap();
    let receiver = Receiver::new(200);
    let worker = house.worker(&receiver);
    assert_eq!(worker.test(&id, None).await.unwrap().status, 200);
    let example = receiver.take();
    assert!(example[0].body.contains("example_model") && header(&example[0], SIGNATURE_HEADER).is_empty());
    house.store.delete(&id).await.unwrap();
    assert_eq!(worker.deliver_due().await.unwrap(), Delivered::default(), "only b was told, and went with its webhook");
    assert_eq!(house.store.delete(&id).await.unwrap_err().kind(), ErrorKind::NotFound);
    let local = CreateWebhook::new("x", "https://169.254.169.254/", [WebhookEvent::new("prompt", "created").unwrap()]);
    assert_eq!(house.store.create(local).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
}

/// Seals by turning bits over; enough to see that the secret is not stored as it is.
#[derive(Debug)]
struct Flipping;

#[async_trait]
impl KeyProvider for Flipping {
    async fn wrap(&self, _: &str, data_key: &[u8]) -> Result<Vec<u8>> {
        Ok(data_key.iter().map(|byte| !byte).collect())
    }

    async fn unwrap(&self, key_id: &str, wrapped: &[u8]) -> Result<Vec<u8>> {
        self.wrap(key_id, wrapped).await
    }
}

#[tokio::test]
async fn secrets_are_sealed_when_there_are_keys() {
    let meta = in_memory().await;
    let open = SqlWebhookStore::builder(Arc::clone(&meta)).build().await.unwrap();
    let sealed = SqlWebhookStore::builder(Arc::clone(&meta)).with_keys(Arc::new(Flipping), "k");
    let sealed = sealed.build().await.unwrap();
    let event = WebhookEvent::new("prompt", "created").unwrap();
    let create = CreateWebhook::new("x", "https://a.example/", [event]).with_secret("s3cret");
    let id = sealed.create(create).await.unwrap().id;
    let row = meta.query_one("SELECT secret FROM webhook_hook", &[]).await.unwrap();
    assert_ne!(row.get::<Vec<u8>>("secret").unwrap(), b"s3cret");
    assert_eq!(sealed.secret(&id).await.unwrap().as_deref(), Some("s3cret"));
    assert_eq!(open.secret(&id).await.unwrap_err().kind(), ErrorKind::FailedPrecondition);
}

#[tokio::test]
async fn over_http_only_allowed_targets_are_reached() {
    let seen: Arc<Mutex<Vec<(HeaderMap, String)>>> = Arc::default();
    let keep = Arc::clone(&seen);
    let router = Router::new().route(
        "/hook",
        post(async move |headers: HeaderMap, body: String| {
            keep.lock().unwrap().push((headers, body));
            "thanks"
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let request = |host: &str| WebhookRequest {
        url: format!("http://{host}:{port}/hook"),
        headers: vec![(DELIVERY_ID_HEADER, "d-1".into())],
        body: "{}".into(),
    };
    let open = HttpWebhookSender::new(WebhookTargets { http: true, private: true }).unwrap();
    let answer = open.send(request("localhost")).await.unwrap();
    assert_eq!(answer, WebhookAnswer { status: 200, body: "thanks".into() });
    let closed = HttpWebhookSender::new(WebhookTargets { http: true, private: false }).unwrap();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let error = closed.send(request(host)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    server.abort();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!((&seen[0].0["x-mlflow-delivery-id"], seen[0].1.as_str()), (&"d-1".parse().unwrap(), "{}"));
    assert_eq!(seen[0].0["content-type"], "application/json");
}
