//! A process that is killed while it approves, promotes, deletes and collects: no version loses a blob, no approval admits
//! two moves, and what was cut off can be finished.

use std::{path::Path, sync::Arc, time::Duration};

use mlops_core::{
    Alias, Clock as _, DataType, ModelName, ModelPackage, ModelSource as _, Principal, Signature, SystemClock,
    TensorSpec, Timestamp, Version,
    testing::{ManualClock, SplitMix64, acknowledge, run_and_kill},
};
use mlops_registry::{
    Actor, AliasPolicy, ApprovalFilter, ApprovalState, ApprovalTarget, Approvals as _, CollectGarbage, CreateModel,
    CreateVersion, Decide, Decision, Environment, GarbageCollector as _, ModelRegistry as _, ModelRegistryExt as _,
    MoveAlias, PageRequest, PromoteVersion, Promoter, Purge, RequestApproval, SqlModelRegistry, Trash as _,
};
use mlops_store::{BlobStore, SqliteMetaStore, SqliteSettings};

const HOME: &str = "MLOPS_REGISTRY_GOVERNANCE_HOME";
const FIRST: &str = "MLOPS_REGISTRY_GOVERNANCE_FIRST";
const ROUND: &str = "MLOPS_REGISTRY_GOVERNANCE_ROUND";

struct Stores {
    staging: Arc<SqlModelRegistry>,
    production: Arc<SqlModelRegistry>,
    fraud: ModelName,
    champion: Alias,
}

/// Each round is an hour later, so that the lease of a collector that was killed has ended.
async fn open(home: &Path, round: u64) -> Stores {
    let clock = Arc::new(ManualClock::at(SystemClock::new().now() + Duration::from_secs(3_600 * (round + 1))));
    let registry = async |name: &str| {
        let path = home.join(format!("{name}.db"));
        let meta = Arc::new(SqliteMetaStore::open(&path, SqliteSettings::default()).await.unwrap());
        let blobs = BlobStore::local(&home.join(name)).unwrap();
        let builder = SqlModelRegistry::builder(meta, blobs).with_clock(Arc::clone(&clock) as _);
        Arc::new(builder.build().await.unwrap())
    };
    let (staging, production) = (registry("staging").await, registry("production").await);
    let (fraud, champion) = (ModelName::new("fraud").unwrap(), Alias::new("champion").unwrap());
    staging.ensure_model(&fraud, CreateModel::default()).await.unwrap();
    let policy = AliasPolicy::default().with_approval();
    staging.set_alias_policy(Some(&fraud), &champion, Some(&policy), &Actor::default()).await.unwrap();
    Stores { staging, production, fraud, champion }
}

fn package(number: u64) -> ModelPackage {
    let signature = Signature::new([], [TensorSpec::column("score", DataType::Float64)]).unwrap();
    ModelPackage::new("constant", signature)
        .with_file("model.json", format!("{{\"value\":{number}}}"))
        .with_file("shared.json", format!("{}", number % 3))
}

impl Stores {
    async fn approve(&self, version: Version, target: ApprovalTarget) {
        let request = RequestApproval::new(target, Principal::new("ann"));
        let asked = self.staging.request_approval(&self.fraud, version, request).await.unwrap();
        let bob = Decide { actor: Actor(Principal::new("bob")), ..Decide::default() };
        self.staging.decide(asked.id, Decision::Approve, bob).await.unwrap();
    }

    fn promoter(&self) -> Promoter {
        let from = Environment::new("staging", Arc::clone(&self.staging) as _).unwrap();
        let to = Environment::new("production", Arc::clone(&self.production) as _).unwrap();
        Promoter::between(from, to).unwrap().with_approvals(Arc::clone(&self.staging) as _)
    }

    async fn sweep(registry: &SqlModelRegistry) -> u64 {
        let all = Purge { deleted_before: Timestamp::MAX, model: None, actor: Actor::default() };
        registry.purge(all).await.unwrap();
        let now = CollectGarbage { grace: Duration::ZERO, ..CollectGarbage::default() };
        registry.collect_garbage(&now).await.unwrap().garbage.blobs
    }
}

/// The child: each number is registered, approved, moved, promoted, and its predecessor deleted and collected. Does
/// nothing when run as a test.
#[test]
fn child() {
    let env = |name| std::env::var(name).ok();
    let (Some(home), Some(first), Some(round)) = (env(HOME), env(FIRST), env(ROUND)) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let stores = open(Path::new(&home), round.parse().unwrap()).await;
        let (staging, fraud, champion) = (&stores.staging, &stores.fraud, &stores.champion);
        for number in first.parse::<u64>().unwrap()..10_000 {
            let made = staging.create_version(fraud, &package(number), CreateVersion::default()).await.unwrap();
            stores.approve(made.version, ApprovalTarget::Alias(champion.clone())).await;
            staging.set_alias(fraud, champion, made.version, MoveAlias::default()).await.unwrap();
            stores.approve(made.version, ApprovalTarget::Environment("production".to_owned())).await;
            stores.promoter().promote(fraud, made.version, PromoteVersion::default()).await.unwrap();
            if number.is_multiple_of(2) {
                for old in staging.list_versions(fraud, &PageRequest::default()).await.unwrap().items.iter().skip(2) {
                    staging.delete_version(fraud, old.version, &Actor::default()).await.unwrap();
                }
                Stores::sweep(staging).await;
            }
            acknowledge(number);
        }
    });
}

#[tokio::test]
async fn versions_keep_their_blobs_and_approvals_admit_one_move_after_kill_9() {
    let home = tempfile::tempdir().unwrap();
    let random = SplitMix64::new(20_261_125);
    let mut acknowledged = 0_u64;
    for round in 0..8 {
        let first = acknowledged + 1;
        let (acks, spins) =
            (1 + usize::try_from(random.bits(2 * round) % 4).unwrap(), random.bits(2 * round + 1) % 40_000);
        let envs = [(HOME, home.path().to_str().unwrap()), (FIRST, &first.to_string()), (ROUND, &round.to_string())];
        let last =
            run_and_kill("crash_governance::child", &envs, acks, spins).expect("the child acknowledged something");
        acknowledged = acknowledged.max(last);
    }

    let stores = open(home.path(), 8).await;
    let all = PageRequest { max_results: Some(50_000), token: None };
    Stores::sweep(&stores.staging).await;
    Stores::sweep(&stores.production).await;
    for registry in [&stores.staging, &stores.production] {
        let versions = registry.list_versions(&stores.fraud, &all).await.unwrap().items;
        assert!(!versions.is_empty());
        for version in versions {
            let reference = format!("fraud/{}", version.version).parse().unwrap();
            let id = registry.resolve(&reference).await.unwrap();
            assert_eq!(registry.fetch(&id).await.unwrap().digest().unwrap(), id.digest);
        }
        assert_eq!(Stores::sweep(registry).await, 0, "one collection finds all that was left");
    }
    let there = stores.production.list_versions(&stores.fraud, &all).await.unwrap().items;
    assert!(there.len() as u64 >= acknowledged, "every acknowledged promotion arrived");

    let moves = stores.staging.alias_history(&stores.fraud, &all).await.unwrap().items;
    let used = ApprovalFilter { state: Some(ApprovalState::Used), model: None };
    let used = stores.staging.approvals(&used, &all).await.unwrap().items;
    let to_alias = used.iter().filter(|found| matches!(found.target, ApprovalTarget::Alias(_))).count();
    assert_eq!(to_alias, moves.len(), "as many moves as approvals used, no more and no fewer");
    assert!(moves.len() as u64 >= acknowledged);
    // What was cut off between two registries is finished by doing it again.
    let newest = stores.staging.latest_version(&stores.fraud).await.unwrap().version;
    if used.iter().any(|found| found.version == newest && matches!(found.target, ApprovalTarget::Environment(_))) {
        stores.promoter().promote(&stores.fraud, newest, PromoteVersion::default()).await.unwrap();
    }
}
