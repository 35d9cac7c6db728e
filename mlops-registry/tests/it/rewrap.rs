//! Another key for what is sealed, by calls that end in the middle.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use mlops_core::{Error, ErrorKind, KeyProvider, Result};
use mlops_registry::{
    KeyRing,
    gateway::{CreateSecret, LocalKeys, SecretStore as _, SecretUpdate, SqlGatewayStore},
    webhooks::{CreateWebhook, SqlWebhookStore, WebhookEvent, WebhookStore as _},
};
use mlops_store::{MetaStore, MetaStoreExt as _, params};

use crate::in_memory;

/// A key service that fails, or hangs, once it has wrapped so many keys.
#[derive(Debug)]
struct Worn {
    keys: Arc<LocalKeys>,
    left: AtomicUsize,
    hangs: bool,
}

#[async_trait]
impl KeyProvider for Worn {
    async fn wrap(&self, key_id: &str, data_key: &[u8]) -> Result<Vec<u8>> {
        let wrapped = self.keys.wrap(key_id, data_key).await?;
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Ok(wrapped),
            Err(_) if self.hangs => std::future::pending().await,
            Err(_) => Err(Error::unavailable("the key service is away")),
        }
    }

    async fn unwrap(&self, key_id: &str, wrapped: &[u8]) -> Result<Vec<u8>> {
        self.keys.unwrap(key_id, wrapped).await
    }
}

/// The keys of before and of now.
struct Keys {
    before: Arc<LocalKeys>,
    now: Arc<LocalKeys>,
}

impl Keys {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = |name: &str| Arc::new(LocalKeys::from_file(&directory.path().join(name)).unwrap());
        Self { before: key("before.key"), now: key("now.key") }
    }

    fn ring(&self) -> Arc<dyn KeyProvider> {
        self.ring_with(Arc::clone(&self.now) as Arc<dyn KeyProvider>)
    }

    fn ring_with(&self, now: Arc<dyn KeyProvider>) -> Arc<dyn KeyProvider> {
        Arc::new(KeyRing::new([now, Arc::clone(&self.before) as Arc<dyn KeyProvider>]))
    }

    fn worn(&self, left: usize, hangs: bool) -> Arc<dyn KeyProvider> {
        self.ring_with(Arc::new(Worn { keys: Arc::clone(&self.now), left: left.into(), hangs }))
    }

    async fn gateway(&self, meta: &Arc<dyn MetaStore>, keys: Arc<dyn KeyProvider>, of: &LocalKeys) -> SqlGatewayStore {
        SqlGatewayStore::builder_with_keys(Arc::clone(meta), keys, of.key_id()).build().await.unwrap()
    }
}

async fn under(meta: &Arc<dyn MetaStore>, table: &str, keys: &LocalKeys) -> u64 {
    let sql = format!("SELECT COUNT(*) AS count FROM {table} WHERE key_id = $1");
    meta.query_one(&sql, params![keys.key_id()]).await.unwrap().get("count").unwrap()
}

fn value(number: usize) -> String {
    format!("sk-0123456789-{number}")
}

#[tokio::test]
async fn a_change_of_keys_that_ended_in_the_middle_goes_on() {
    const SECRETS: usize = 300;
    let (meta, keys) = (in_memory().await, Keys::new());
    let before = keys.gateway(&meta, Arc::clone(&keys.before) as _, &keys.before).await;
    let mut ids = Vec::new();
    for number in 0..SECRETS {
        let create = CreateSecret::new(format!("s{number}"), [("api_key", value(number))]);
        ids.push(before.create_secret(create).await.unwrap().id);
    }
    let readable = async |store: &SqlGatewayStore| {
        for (number, id) in ids.iter().enumerate() {
            assert_eq!(store.values(id).await.unwrap().get("api_key"), Some(value(number).as_str()));
        }
    };

    let shaky = keys.gateway(&meta, keys.worn(100, false), &keys.now).await;
    let error = shaky.rewrap().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(format!("{error:?}").contains("100"), "it says how far it came: {error:?}");
    readable(&keys.gateway(&meta, keys.ring(), &keys.now).await).await;

    // A task that is killed while it waits for the key service.
    let hanging = keys.gateway(&meta, keys.worn(100, true), &keys.now).await;
    let task = tokio::spawn(async move { hanging.rewrap().await.map(drop) });
    while under(&meta, "gateway_secret", &keys.now).await < 200 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(under(&meta, "gateway_secret", &keys.before).await, 100);

    let ring = keys.gateway(&meta, keys.ring(), &keys.now).await;
    readable(&ring).await;
    let report = ring.rewrap().await.unwrap();
    assert!(report.changed == 100 && report.failed.is_empty(), "{report:?}");
    let now = keys.gateway(&meta, Arc::clone(&keys.now) as _, &keys.now).await;
    readable(&now).await;
    assert_eq!(now.rewrap().await.unwrap().changed, 0, "nothing is left, and the key of before is not asked for");
    assert_eq!(before.values(&ids[0]).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn what_does_not_open_stays_and_is_told_and_holds_up_nothing() {
    let (meta, keys) = (in_memory().await, Keys::new());
    let before = keys.gateway(&meta, Arc::clone(&keys.before) as _, &keys.before).await;
    let mut ids = Vec::new();
    for number in 0..4 {
        let create = CreateSecret::new(format!("s{number}"), [("api_key", value(number))]);
        ids.push(before.create_secret(create).await.unwrap().id);
    }
    // The second is that of the first, the third under a key that nobody has.
    let sql = "UPDATE gateway_secret SET wrapped = (SELECT wrapped FROM gateway_secret WHERE id = $1) WHERE id = $2";
    meta.execute(sql, params![&ids[0], &ids[1]]).await.unwrap();
    meta.execute("UPDATE gateway_secret SET key_id = 'lost' WHERE id = $1", params![&ids[2]]).await.unwrap();
    let rows = async || {
        let sql = "SELECT sealed, wrapped, key_id FROM gateway_secret WHERE id IN ($1, $2) ORDER BY seq";
        format!("{:?}", meta.query(sql, params![&ids[1], &ids[2]]).await.unwrap())
    };
    let held = rows().await;

    let report = keys.gateway(&meta, keys.ring(), &keys.now).await.rewrap().await.unwrap();
    assert_eq!(report.changed, 2);
    let failed: Vec<_> = report.failed.iter().map(|(id, error)| (id.as_str(), error.kind())).collect();
    assert_eq!(failed, [(ids[1].as_str(), ErrorKind::DataLoss), (ids[2].as_str(), ErrorKind::NotFound)]);
    assert_eq!(rows().await, held);
}

/// A key service during whose first call somebody gives the secret other values.
#[derive(Debug)]
struct Slow {
    keys: Arc<LocalKeys>,
    meanwhile: Mutex<Option<(SqlGatewayStore, String)>>,
}

#[async_trait]
impl KeyProvider for Slow {
    async fn wrap(&self, key_id: &str, data_key: &[u8]) -> Result<Vec<u8>> {
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some((store, id)) = meanwhile {
            let values = [("api_key".to_owned(), "sk-newer".to_owned())].into_iter().collect();
            store.update_secret(&id, SecretUpdate { values: Some(values), ..SecretUpdate::default() }).await?;
        }
        self.keys.wrap(key_id, data_key).await
    }

    async fn unwrap(&self, key_id: &str, wrapped: &[u8]) -> Result<Vec<u8>> {
        self.keys.unwrap(key_id, wrapped).await
    }
}

#[tokio::test]
async fn values_that_are_given_meanwhile_stay() {
    let (meta, keys) = (in_memory().await, Keys::new());
    let before = keys.gateway(&meta, Arc::clone(&keys.before) as _, &keys.before).await;
    let id = before.create_secret(CreateSecret::new("s", [("api_key", "sk-older")])).await.unwrap().id;
    let slow = Slow { keys: Arc::clone(&keys.now), meanwhile: Mutex::new(Some((before, id.clone()))) };
    let store = keys.gateway(&meta, keys.ring_with(Arc::new(slow)), &keys.now).await;
    let report = store.rewrap().await.unwrap();
    assert!(report.changed == 1 && report.failed.is_empty(), "{report:?}");
    let now = keys.gateway(&meta, Arc::clone(&keys.now) as _, &keys.now).await;
    assert_eq!(now.values(&id).await.unwrap().get("api_key"), Some("sk-newer"));
}

#[tokio::test]
async fn secrets_of_webhooks_come_under_the_new_key_whatever_they_were_under() {
    let (meta, keys) = (in_memory().await, Keys::new());
    let open = SqlWebhookStore::builder(Arc::clone(&meta)).build().await.unwrap();
    assert_eq!(open.rewrap().await.unwrap_err().kind(), ErrorKind::FailedPrecondition);
    let store = async |provider: Arc<dyn KeyProvider>, of: &LocalKeys| {
        let builder = SqlWebhookStore::builder(Arc::clone(&meta)).with_keys(provider, of.key_id());
        builder.with_unnamed_key(keys.before.key_id()).build().await.unwrap()
    };
    let before = store(Arc::clone(&keys.before) as _, &keys.before).await;
    let create = |secret: Option<&str>| {
        let create = CreateWebhook::new("x", "https://a.example/", [WebhookEvent::new("prompt", "created").unwrap()]);
        match secret {
            Some(secret) => create.with_secret(secret),
            None => create,
        }
    };
    // Plain, sealed, sealed before rows named their key, and none.
    let mut ids = vec![open.create(create(Some("plain"))).await.unwrap().id];
    for secret in [Some("sealed"), Some("unnamed"), None] {
        ids.push(before.create(create(secret)).await.unwrap().id);
    }
    meta.execute("UPDATE webhook_hook SET key_id = NULL WHERE id = $1", params![&ids[2]]).await.unwrap();
    let readable = async |store: &SqlWebhookStore| {
        for (id, secret) in ids.iter().zip([Some("plain"), Some("sealed"), Some("unnamed"), None]) {
            assert_eq!(store.secret(id).await.unwrap().as_deref(), secret);
        }
    };

    let error = store(keys.worn(1, false), &keys.now).await.rewrap().await.unwrap_err();
    assert_eq!((error.kind(), under(&meta, "webhook_hook", &keys.now).await), (ErrorKind::Unavailable, 1));
    let ring = store(keys.ring(), &keys.now).await;
    readable(&ring).await;
    let report = ring.rewrap().await.unwrap();
    assert!(report.changed == 2 && report.failed.is_empty(), "{report:?}");
    let now = SqlWebhookStore::builder(Arc::clone(&meta)).with_keys(Arc::clone(&keys.now) as _, keys.now.key_id());
    readable(&now.build().await.unwrap()).await;
}
