//! Approvals, protected aliases, promotion and deletion: who is asked, what is recorded, what time does.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use mlops_core::{
    Action, Alias, AuditEntry, Authorizer, Clock as _, Error, ErrorKind, ModelName, Principal, Resource, Result,
    SystemClock, Timestamp, Version, testing::ManualClock,
};
use mlops_registry::{
    Actor, AliasPolicy, ApprovalState, ApprovalTarget, Approvals as _, Bundles as _, CollectGarbage, CreateModel,
    CreateVersion, Decide, Decision, Environment, GarbageCollector as _, ImportModel, ModelRegistry as _, MoveAlias,
    MoveStage, PageRequest, PromoteVersion, Promoter, Purge, RequestApproval, SqlModelRegistry, Stage, Trash as _,
    registry::{LineageKind, LineageRelation},
};
use mlops_store::{BlobStore, MetaStoreExt as _, SqliteMetaStore, Transaction, TransactionalAudit, params};

use crate::{Refusing, in_memory, package, registry};

fn actor(name: &str) -> Actor {
    Actor(Principal::new(name))
}

fn decide(name: &str) -> Decide {
    Decide { actor: actor(name), ..Decide::default() }
}

fn names() -> (ModelName, Alias) {
    (ModelName::new("fraud").unwrap(), Alias::new("champion").unwrap())
}

fn ask(target: ApprovalTarget) -> RequestApproval {
    RequestApproval::new(target, actor("ann")).with_reason("better")
}

async fn with_version(registry: &SqlModelRegistry) -> (ModelName, Alias) {
    let (fraud, champion) = names();
    registry.create_model(&fraud, CreateModel::default()).await.unwrap();
    registry.create_version(&fraud, &package(), CreateVersion::default()).await.unwrap();
    (fraud, champion)
}

#[tokio::test]
async fn approvals_expire_before_and_after_the_decision() {
    let clock = Arc::new(ManualClock::at("2026-01-01".parse().unwrap()));
    let registry = SqlModelRegistry::builder(in_memory().await, BlobStore::in_memory())
        .with_clock(Arc::clone(&clock) as _)
        .build()
        .await;
    let registry = registry.unwrap();
    let (fraud, champion) = with_version(&registry).await;
    let policy = AliasPolicy::default().with_approval();
    registry.set_alias_policy(Some(&fraud), &champion, Some(&policy), &actor("root")).await.unwrap();
    let hour = Duration::from_secs(3_600);
    let request = ask(ApprovalTarget::Alias(champion.clone())).with_valid_for(hour);

    let late = registry.request_approval(&fraud, Version(1), request.clone()).await.unwrap();
    clock.advance(hour);
    let error = registry.decide(late.id, Decision::Approve, decide("bob")).await.unwrap_err();
    assert!(error.message().contains("expired"), "{error}");

    let unused = registry.request_approval(&fraud, Version(1), request.clone()).await.unwrap();
    assert_ne!(unused.id, late.id, "an expired request is not given again");
    registry.decide(unused.id, Decision::Approve, decide("bob")).await.unwrap();
    clock.advance(hour);
    let error = registry.set_alias(&fraud, &champion, Version(1), MoveAlias::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    assert_eq!(registry.approval(unused.id).await.unwrap().state, ApprovalState::Expired);

    for valid_for in [Duration::ZERO, Duration::MAX] {
        let error = registry.request_approval(&fraud, Version(1), request.clone().with_valid_for(valid_for)).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}

/// Remembers what it was asked, and refuses one action.
#[derive(Debug)]
struct Guard {
    refuses: Option<Action>,
    asked: Mutex<Vec<Action>>,
}

impl Guard {
    fn refusing(refuses: Option<Action>) -> Arc<Self> {
        Arc::new(Self { refuses, asked: Mutex::default() })
    }
}

#[async_trait]
impl Authorizer for Guard {
    async fn authorize(&self, principal: &Principal, action: Action, resource: &Resource) -> Result<()> {
        self.asked.lock().unwrap().push(action);
        if self.refuses == Some(action) {
            return Err(Error::permission_denied(format!("{} may not {action:?} {resource}", principal.name)));
        }
        Ok(())
    }
}

#[tokio::test]
async fn the_authorizer_is_asked_before_anything_governed() {
    let (meta, blobs) = (in_memory().await, BlobStore::in_memory());
    let open = SqlModelRegistry::builder(Arc::clone(&meta), blobs.clone()).build().await.unwrap();
    let (fraud, champion) = with_version(&open).await;
    let asked = open.request_approval(&fraud, Version(1), ask(ApprovalTarget::Alias(champion.clone()))).await.unwrap();
    let guarded = async |action: Action| {
        let builder = SqlModelRegistry::builder(Arc::clone(&meta), blobs.clone());
        builder.with_authorizer(Guard::refusing(Some(action))).build().await.unwrap()
    };
    let local = Actor::default();
    let before = open.export_model(&fraud).await.unwrap();
    let mut refused = Vec::new();

    let registry = guarded(Action::Approve).await;
    refused.push(registry.decide(asked.id, Decision::Approve, decide("bob")).await.err());
    let registry = guarded(Action::Promote).await;
    refused.push(registry.set_alias(&fraud, &champion, Version(1), MoveAlias::default()).await.err());
    refused.push(registry.transition_stage(&fraud, Version(1), Stage::Production, MoveStage::default()).await.err());
    refused.push(registry.use_approval(&fraud, Version(1), "production", &local).await.err());
    let registry = guarded(Action::Write).await;
    refused
        .push(registry.request_approval(&fraud, Version(1), ask(ApprovalTarget::Alias(champion.clone()))).await.err());
    refused.push(registry.withdraw_approval(asked.id, &actor("ann")).await.err());
    refused.push(registry.rename_model(&fraud, &ModelName::new("x").unwrap(), &local).await.err());
    refused.push(registry.import_model(&before, &open, &ImportModel::default()).await.err());
    refused.push(registry.restore_version(&fraud, Version(1), &local).await.err());
    let registry = guarded(Action::Administer).await;
    refused.push(registry.set_alias_policy(None, &champion, None, &local).await.err());
    let registry = guarded(Action::Delete).await;
    refused.push(registry.collect_garbage(&CollectGarbage::default()).await.err());
    let purge = Purge { deleted_before: Timestamp::MAX, model: None, actor: local.clone() };
    refused.push(registry.purge(purge).await.err());
    refused.push(registry.delete_version(&fraud, Version(1), &local).await.err());

    for (place, error) in refused.into_iter().enumerate() {
        assert_eq!(error.expect("is refused").kind(), ErrorKind::PermissionDenied, "call {place}");
    }
    assert_eq!(open.export_model(&fraud).await.unwrap(), before, "nothing changed");
    assert_eq!(open.approval(asked.id).await.unwrap(), asked);
    let guard = Guard::refusing(None);
    let registry =
        SqlModelRegistry::builder(meta, blobs).with_authorizer(Arc::clone(&guard) as _).build().await.unwrap();
    registry.decide(asked.id, Decision::Approve, decide("bob")).await.unwrap();
    assert_eq!(*guard.asked.lock().unwrap(), [Action::Approve]);
}

#[tokio::test]
async fn nothing_of_governance_happens_without_its_audit_row() {
    let (meta, blobs) = (in_memory().await, BlobStore::in_memory());
    let open = SqlModelRegistry::builder(Arc::clone(&meta), blobs.clone()).build().await.unwrap();
    let (fraud, champion) = with_version(&open).await;
    open.create_version(&fraud, &package(), CreateVersion::default()).await.unwrap();
    open.delete_version(&fraud, Version(2), &Actor::default()).await.unwrap();
    let target = ApprovalTarget::Environment("production".to_owned());
    let asked = open.request_approval(&fraud, Version(1), ask(target.clone())).await.unwrap();
    let (approved, record) = (asked.id, open.export_model(&fraud).await.unwrap());
    let bin = open.deleted_versions(&fraud, &PageRequest::default()).await.unwrap();
    let audited = SqlModelRegistry::builder(meta, blobs.clone()).with_audit(Arc::new(Refusing)).build().await.unwrap();
    let local = Actor::default();
    let policy = AliasPolicy::default().with_signature();

    let alias_target = ApprovalTarget::Alias(champion.clone());
    assert!(audited.request_approval(&fraud, Version(1), ask(alias_target)).await.is_err());
    assert!(audited.decide(approved, Decision::Approve, decide("bob")).await.is_err());
    assert!(audited.withdraw_approval(approved, &actor("ann")).await.is_err());
    assert!(audited.set_alias_policy(Some(&fraud), &champion, Some(&policy), &local).await.is_err());
    assert!(audited.transition_stage(&fraud, Version(1), Stage::Staging, MoveStage::default()).await.is_err());
    assert!(audited.restore_version(&fraud, Version(2), &local).await.is_err());
    let purge = Purge { deleted_before: Timestamp::MAX, model: None, actor: local.clone() };
    assert!(audited.purge(purge).await.is_err());
    assert_eq!(open.approval(approved).await.unwrap(), asked);
    assert_eq!(open.approvals(&Default::default(), &PageRequest::default()).await.unwrap().items.len(), 1);
    assert!(open.alias_policy(&fraud, &champion).await.unwrap().is_empty());
    assert_eq!(open.export_model(&fraud).await.unwrap(), record);
    assert_eq!(open.deleted_versions(&fraud, &PageRequest::default()).await.unwrap(), bin);

    open.decide(approved, Decision::Approve, decide("bob")).await.unwrap();
    assert!(audited.use_approval(&fraud, Version(1), "production", &local).await.is_err());
    assert_eq!(open.approval(approved).await.unwrap().state, ApprovalState::Approved, "not used up");

    blobs.put("garbage".into()).await.unwrap();
    let now = CollectGarbage { grace: Duration::ZERO, ..CollectGarbage::default() };
    assert!(audited.collect_garbage(&now).await.is_err());
    assert_eq!(open.collect_garbage(&now).await.unwrap().garbage.blobs, 1, "it is still there");

    open.delete_model(&fraud, &local).await.unwrap();
    let [trash] = &*open.deleted_models(&PageRequest::default()).await.unwrap().items else { panic!() };
    assert!(audited.restore_model(trash.id, &local).await.is_err());
    assert!(audited.import_model(&record, &open, &ImportModel::default()).await.is_err());
    assert_eq!(open.model(&fraud).await.unwrap_err().kind(), ErrorKind::NotFound);
    open.restore_model(trash.id, &local).await.unwrap();
}

/// Keeps what was recorded.
#[derive(Debug, Default)]
struct Remembering(Mutex<Vec<AuditEntry>>);

#[async_trait]
impl TransactionalAudit for Remembering {
    async fn append_in(&self, _: &mut dyn Transaction, entry: &AuditEntry) -> Result<()> {
        self.0.lock().unwrap().push(entry.clone());
        Ok(())
    }
}

#[tokio::test]
async fn promotion_needs_its_approval_and_both_audits() {
    let (staging, production) = (Arc::new(registry(in_memory().await).await), in_memory().await);
    let blobs = BlobStore::in_memory();
    let open = SqlModelRegistry::builder(Arc::clone(&production), blobs.clone()).build().await.unwrap();
    let refusing = SqlModelRegistry::builder(production, blobs).with_audit(Arc::new(Refusing)).build().await.unwrap();
    let (fraud, champion) = with_version(&staging).await;
    let promoter = |to: &SqlModelRegistry| {
        let from = Environment::new("staging", Arc::clone(&staging) as _).unwrap();
        let to = Environment::new("production", Arc::new(to.clone())).unwrap();
        Promoter::between(from, to).unwrap().with_approvals(Arc::clone(&staging) as _)
    };
    let options = PromoteVersion { alias: Some(champion.clone()), ..PromoteVersion::default() };
    let error = promoter(&open).promote(&fraud, Version(1), options.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    assert_eq!(open.model(&fraud).await.unwrap_err().kind(), ErrorKind::NotFound);

    let target = ApprovalTarget::Environment("production".to_owned());
    let asked = staging.request_approval(&fraud, Version(1), ask(target)).await.unwrap();
    staging.decide(asked.id, Decision::Approve, decide("bob")).await.unwrap();
    assert!(promoter(&refusing).promote(&fraud, Version(1), options.clone()).await.is_err());
    assert_eq!(open.model(&fraud).await.unwrap().last_version, 0, "nothing is registered without the audit there");
    let promoted = promoter(&open).promote(&fraud, Version(1), options.clone()).await.unwrap();
    assert_eq!(promoted.approval.unwrap().id, asked.id, "the one used by the attempt that failed");
    assert_eq!(open.alias(&fraud, &champion).await.unwrap(), Version(1));
    let again = promoter(&open).promote(&fraud, Version(1), options).await.unwrap();
    assert_eq!((again.version, again.blobs_copied), (promoted.version, 0));
}

#[tokio::test]
async fn the_record_of_a_move_names_its_approval() {
    let log = Arc::new(Remembering::default());
    let registry = SqlModelRegistry::builder(in_memory().await, BlobStore::in_memory())
        .with_audit(Arc::clone(&log) as _)
        .build()
        .await
        .unwrap();
    let (fraud, champion) = with_version(&registry).await;
    let policy = AliasPolicy::default().with_approval();
    registry.set_alias_policy(None, &champion, Some(&policy), &actor("root")).await.unwrap();
    let asked =
        registry.request_approval(&fraud, Version(1), ask(ApprovalTarget::Alias(champion.clone()))).await.unwrap();
    registry.decide(asked.id, Decision::Approve, decide("bob")).await.unwrap();
    registry.set_alias(&fraud, &champion, Version(1), MoveAlias::default()).await.unwrap();
    let entries = log.0.lock().unwrap().clone();
    let shown: Vec<_> = entries.iter().map(|entry| (entry.action, entry.principal.name.as_str())).collect();
    assert_eq!(
        shown,
        [
            (Action::Write, "local"),
            (Action::Administer, "root"),
            (Action::Write, "ann"),
            (Action::Approve, "bob"),
            (Action::Promote, "local")
        ]
    );
    for entry in &entries[2..] {
        assert_eq!(entry.details["approval"], asked.id.to_string(), "{entry:?}");
    }
    assert_eq!(entries[3].details["digest"], asked.digest.to_string());
    assert_eq!(entries[1].resource, Resource::new("model", "*"));
}

#[tokio::test]
async fn lineage_leads_from_data_to_environments() {
    let staging = Arc::new(registry(in_memory().await).await);
    let production = Arc::new(registry(in_memory().await).await);
    let (fraud, champion) = with_version(&staging).await;
    let mut made = package();
    made.manifest.run_id = Some("r1".parse().unwrap());
    made.manifest.data_versions.insert("cards".to_owned(), "7".to_owned());
    made.manifest.features.push("cards:spend_1h".parse().unwrap());
    made.manifest.notes.insert(mlops_core::PARENT_NOTE.to_owned(), "fraud/1".to_owned());
    staging.create_version(&fraud, &made, CreateVersion::default()).await.unwrap();
    staging.set_alias(&fraud, &champion, Version(2), MoveAlias::default()).await.unwrap();
    let from = Environment::new("staging", Arc::clone(&staging) as _).unwrap();
    let to = Environment::new("production", Arc::clone(&production) as _).unwrap();
    let promoter = Promoter::between(from, to).unwrap();
    promoter.promote(&fraud, Version(2), PromoteVersion::default()).await.unwrap();

    let graph = mlops_registry::lineage(&staging, None, &fraud, Version(2)).await.unwrap();
    let near = |relation| -> Vec<(LineageKind, &str, Option<&str>)> {
        let nodes = graph.neighbors(relation).into_iter();
        nodes.map(|node| (node.kind, node.name.as_str(), node.version.as_deref())).collect()
    };
    assert_eq!(near(LineageRelation::Made), [(LineageKind::Run, "r1", None)]);
    assert_eq!(near(LineageRelation::ParentOf), [(LineageKind::Version, "fraud", Some("1"))]);
    assert_eq!(near(LineageRelation::ServedAs), [(LineageKind::Alias, "champion", None)]);
    assert_eq!(near(LineageRelation::PromotedTo), [(LineageKind::Environment, "production", Some("1"))]);
    let read: Vec<_> = graph.edges.iter().filter(|edge| edge.relation == LineageRelation::ReadBy).collect();
    assert_eq!(read.len(), 2);
    assert!(read.iter().all(|edge| graph.nodes[edge.to].name == "r1"), "the run read the data");
    let there = mlops_registry::lineage(&production, None, &fraud, Version(1)).await.unwrap();
    let origin: Vec<_> = there.neighbors(LineageRelation::PromotedTo);
    assert_eq!((origin[0].name.as_str(), origin[0].version.as_deref()), ("staging", Some("2")));
    let json = serde_json::to_string(&graph).unwrap();
    assert_eq!(serde_json::from_str::<mlops_registry::LineageGraph>(&json).unwrap(), graph);
}

#[tokio::test]
async fn lineage_asks_the_run_for_its_data() {
    use mlops_registry::{CreateRun, DatasetInput, ExperimentId, LoggedDataset, SqlTrackingStore, TrackingStore as _};

    let meta = in_memory().await;
    let registry = registry(Arc::clone(&meta)).await;
    let tracking = SqlTrackingStore::builder(meta).build().await.unwrap();
    let mut create = CreateRun::new(ExperimentId(0));
    create.tags.insert("mlflow.parentRunId".to_owned(), "sweep".to_owned());
    let run = tracking.create_run(create).await.unwrap().id;
    let dataset = LoggedDataset {
        name: "cards".to_owned(),
        digest: "7".to_owned(),
        source_type: "delta".to_owned(),
        source: "{}".to_owned(),
        schema: None,
        profile: None,
    };
    tracking.log_inputs(&run, &[DatasetInput { dataset, tags: Default::default() }]).await.unwrap();
    let (fraud, _) = with_version(&registry).await;
    let options = CreateVersion { run_id: Some(run.clone()), ..CreateVersion::default() };
    registry.create_version_from_uri(&fraud, "s3://b/m", options).await.unwrap();
    let graph = mlops_registry::lineage(&registry, Some(&tracking), &fraud, Version(2)).await.unwrap();
    let shown: Vec<_> = graph.nodes.iter().map(|node| (node.kind, node.name.as_str())).collect();
    assert_eq!(
        shown,
        [
            (LineageKind::Version, "fraud"),
            (LineageKind::Run, run.as_str()),
            (LineageKind::Dataset, "cards"),
            (LineageKind::Run, "sweep")
        ]
    );
}

/// What a database of the first version of the tables holds: no list of blobs, no word on who deleted.
#[tokio::test]
async fn versions_of_an_older_program_are_no_garbage() {
    let meta = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
    let blobs = BlobStore::in_memory();
    let registry = SqlModelRegistry::builder(Arc::clone(&meta) as _, blobs.clone()).build().await.unwrap();
    let (fraud, _) = with_version(&registry).await;
    registry.create_version(&fraud, &package().with_file("more", "x"), CreateVersion::default()).await.unwrap();
    meta.execute("DELETE FROM registry_package_blob", &[]).await.unwrap();
    let old = "UPDATE registry_version SET deleted = 1, deleted_at = NULL, deleted_by = NULL WHERE version = $1";
    meta.execute(old, params![2]).await.unwrap();
    let now = CollectGarbage { grace: Duration::ZERO, ..CollectGarbage::default() };
    let report = registry.collect_garbage(&now).await.unwrap();
    assert_eq!((report.garbage.blobs, report.reachable.blobs), (0, 4));
    let bin = registry.deleted_versions(&fraud, &PageRequest::default()).await.unwrap().items;
    assert_eq!(bin[0].deletion.by, "");

    let manifest = package().digest().unwrap();
    blobs.delete(&manifest).await.unwrap();
    meta.execute("DELETE FROM registry_package_blob", &[]).await.unwrap();
    assert!(registry.collect_garbage(&now).await.is_err(), "nobody knows what the version refers to");
    assert_eq!(
        registry.collect_garbage(&CollectGarbage { dry_run: true, ..now }).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[tokio::test]
async fn a_collector_that_was_cut_off_is_finished_by_the_next() {
    let meta = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
    let (blobs, clock) = (BlobStore::in_memory(), Arc::new(ManualClock::at(SystemClock::new().now())));
    let builder = SqlModelRegistry::builder(Arc::clone(&meta) as _, blobs.clone());
    let registry = builder.with_clock(Arc::clone(&clock) as _).build().await.unwrap();
    let (fraud, _) = names();
    registry.create_model(&fraud, CreateModel::default()).await.unwrap();
    clock.advance(Duration::from_secs(60));
    // A collector condemned this blob, holds its lease still, and is gone.
    let file = blobs.put("{\"value\":0.5}".into()).await.unwrap();
    let insert = "INSERT INTO registry_condemned (blob) VALUES ($1)";
    meta.execute(insert, params![file.to_string()]).await.unwrap();
    let lease = "INSERT INTO registry_collector (id, run, until) VALUES (1, 7, $1)";
    meta.execute(lease, params![clock.now() + Duration::from_secs(600)]).await.unwrap();

    let error = registry.create_version(&fraud, &package(), CreateVersion::default()).await.unwrap_err();
    assert!(error.message().contains("being collected"), "{error}");
    let now = CollectGarbage { grace: Duration::ZERO, ..CollectGarbage::default() };
    let error = registry.collect_garbage(&now).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    clock.advance(Duration::from_secs(600));
    registry.collect_garbage(&now).await.unwrap();
    assert!(!blobs.contains(&file).await.unwrap(), "what was condemned is deleted");
    registry.create_version(&fraud, &package(), CreateVersion::default()).await.unwrap();
    assert_eq!(registry.collect_garbage(&now).await.unwrap().garbage.blobs, 0);
}

#[tokio::test]
async fn an_upload_that_took_too_long_is_not_registered() {
    let meta = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
    let (blobs, clock) = (BlobStore::in_memory(), Arc::new(ManualClock::at(SystemClock::new().now())));
    let builder = SqlModelRegistry::builder(Arc::clone(&meta) as _, blobs.clone());
    let registry = builder.with_clock(Arc::clone(&clock) as _).build().await.unwrap();
    let (fraud, _) = names();
    registry.create_model(&fraud, CreateModel::default()).await.unwrap();

    /// A source that takes two days for each blob, during which garbage is collected.
    #[derive(Debug)]
    struct Slow(BlobStore, Arc<ManualClock>, SqlModelRegistry);
    #[async_trait]
    impl mlops_registry::BlobSource for Slow {
        async fn open(&self, digest: &mlops_core::Digest) -> Result<mlops_store::ByteStream> {
            self.1.advance(Duration::from_secs(2 * 86_400));
            self.2.collect_garbage(&CollectGarbage::default()).await?;
            self.0.get_stream(digest).await
        }
        async fn size(&self, digest: &mlops_core::Digest) -> Result<u64> {
            self.0.size(digest).await
        }
    }
    let elsewhere = BlobStore::in_memory();
    let origin = SqlModelRegistry::builder(in_memory().await, elsewhere.clone()).build().await.unwrap();
    with_version(&origin).await;
    let slow = Slow(elsewhere, clock, registry.clone());
    let digest = package().digest().unwrap();
    let outcome =
        mlops_registry::Packages::receive_version(&registry, &fraud, &digest, &slow, CreateVersion::default()).await;
    let error = outcome.unwrap_err();
    assert!(error.message().contains("24 hours"), "{error}");
    assert_eq!(registry.model(&fraud).await.unwrap().last_version, 0);
    registry.create_version(&fraud, &package(), CreateVersion::default()).await.unwrap();
}
