//! The promises around stages, approvals, protected aliases and the trash.

use std::sync::Arc;

use mlops_core::{Alias, ErrorKind, ModelName, Principal, Timestamp, Version};

use super::{WRITERS, model, package, versions};
use crate::{
    Actor, AliasPolicy, Approval, ApprovalFilter, ApprovalState, ApprovalTarget, Approvals, CreateModel, CreateVersion,
    Decide, Decision, MetricGate, ModelRegistry, MoveAlias, MoveStage, PageRequest, Purge, RequestApproval, Stage,
    Trash,
};

pub(super) async fn stages_move_at_once<R: ModelRegistry>(registry: R) {
    let name = model(&registry).await;
    versions(&registry, &name, WRITERS).await;
    let archive = MoveStage { archive_existing: true, ..MoveStage::default() };
    let error = registry.transition_stage(&name, Version(1), Stage::Archived, archive.clone()).await;
    assert_eq!(error.expect_err("archives for no stage").kind(), ErrorKind::InvalidArgument);
    let registry = Arc::new(registry);
    let mover = |registry: Arc<R>, name: ModelName, version: u64, archive: MoveStage| async move {
        registry.transition_stage(&name, Version(version), Stage::Production, archive).await
    };
    let tasks: Vec<_> = (1..=WRITERS)
        .map(|version| tokio::spawn(mover(Arc::clone(&registry), name.clone(), version, archive.clone())))
        .collect();
    for task in tasks {
        let moved = task.await.expect("no mover panics").expect("moves");
        assert!(matches!(Stage::of(&moved), Stage::Production | Stage::Archived), "moved, perhaps by a later one too");
    }
    let all = registry.list_versions(&name, &PageRequest::default()).await.expect("lists").items;
    let stages: Vec<Stage> = all.iter().map(Stage::of).collect();
    assert_eq!(stages.iter().filter(|stage| **stage == Stage::Production).count(), 1, "{stages:?}");
    assert_eq!(stages.iter().filter(|stage| **stage == Stage::Archived).count() as u64, WRITERS - 1);
    let tag = [(crate::registry::STAGE_TAG.to_owned(), "Production".to_owned())];
    let error = registry.set_version_tags(&name, Version(1), &tag, &Actor::default()).await;
    assert_eq!(error.expect_err("writes the tag of stages").kind(), ErrorKind::InvalidArgument);
}

pub(super) async fn the_past_of_an_alias_is_known<R: ModelRegistry>(registry: R) {
    let name = model(&registry).await;
    versions(&registry, &name, 2).await;
    let champion = Alias::new("champion").expect("an alias");
    for to in [1, 2] {
        registry.set_alias(&name, &champion, Version(to), MoveAlias::default()).await.expect("moves");
    }
    registry.delete_alias(&name, &champion, MoveAlias::default()).await.expect("deletes");
    let moves = registry.alias_history(&name, &PageRequest::default()).await.expect("reads").items;
    for step in &moves {
        // Of several moves at one instant the last one counts.
        let last = moves.iter().rev().find(|later| later.at <= step.at).expect("the step itself");
        assert_eq!(registry.alias_at(&name, &champion, step.at).await.expect("reads"), last.to);
    }
    assert_eq!(registry.alias_at(&name, &champion, Timestamp::MIN).await.expect("reads"), None);
    let gone = ModelName::new("gone").expect("a name");
    assert_eq!(registry.alias_at(&gone, &champion, Timestamp::MAX).await.expect("reads"), None);
}

/// Runs every promise of [`Approvals`], and of [`ModelRegistry`] about protected aliases; `fresh` gives an empty
/// registry each time.
///
/// # Panics
/// When a promise is broken.
pub async fn approvals<R: ModelRegistry + Approvals>(fresh: impl AsyncFn() -> R) {
    requester_and_approver_differ(fresh().await).await;
    an_approval_is_for_bytes_and_one_move(fresh().await).await;
    one_of_several_deciders_wins(fresh().await).await;
    one_of_several_movers_uses_the_approval(fresh().await).await;
    what_is_closed_stays_closed(fresh().await).await;
    policies_hold_for_names(fresh().await).await;
    environments_use_an_approval_again_for_the_same(fresh().await).await;
}

fn actor(name: &str) -> Actor {
    Actor(Principal::new(name))
}

fn champion() -> Alias {
    Alias::new("champion").expect("an alias")
}

fn as_champion() -> RequestApproval {
    RequestApproval::new(ApprovalTarget::Alias(champion()), actor("ann"))
}

fn by(name: &str) -> Decide {
    Decide { actor: actor(name), ..Decide::default() }
}

async fn protect<R: Approvals>(registry: &R, name: &ModelName) {
    let policy = AliasPolicy::default().with_approval();
    registry.set_alias_policy(Some(name), &champion(), Some(&policy), &actor("root")).await.expect("protects");
}

async fn approved<R: Approvals>(registry: &R, name: &ModelName, version: u64) -> Approval {
    let asked = registry.request_approval(name, Version(version), as_champion()).await.expect("asks");
    registry.decide(asked.id, Decision::Approve, by("bob")).await.expect("approves")
}

async fn crown<R: ModelRegistry>(registry: &R, name: &ModelName, version: u64) -> Result<(), ErrorKind> {
    let moved = registry.set_alias(name, &champion(), Version(version), MoveAlias::default()).await;
    moved.map(drop).map_err(|error| error.kind())
}

async fn requester_and_approver_differ<R: ModelRegistry + Approvals>(registry: R) {
    let name = model(&registry).await;
    versions(&registry, &name, 1).await;
    let asked = registry.request_approval(&name, Version(1), as_champion()).await.expect("asks");
    let again = registry.request_approval(&name, Version(1), as_champion()).await.expect("asks again");
    assert_eq!(again, asked, "a repeated request is the first");
    for decision in [Decision::Approve, Decision::Reject] {
        let error = registry.decide(asked.id, decision, by("ann")).await.expect_err("decides the own request");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    }
    let granted = registry.decide(asked.id, Decision::Approve, by("bob")).await.expect("approves");
    assert_eq!((granted.state, granted.decided_by.as_deref()), (ApprovalState::Approved, Some("bob")));
    let repeated = registry.decide(asked.id, Decision::Approve, by("bob")).await.expect("approves again");
    assert_eq!(repeated, granted, "a repeated decision is the first");
    let error = registry.decide(asked.id, Decision::Reject, by("bob")).await.expect_err("changes the decision");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
}

async fn an_approval_is_for_bytes_and_one_move<R: ModelRegistry + Approvals>(registry: R) {
    let name = model(&registry).await;
    versions(&registry, &name, 2).await;
    // The bytes of version 1 again, under another number.
    registry.create_version(&name, &package("0"), CreateVersion::default()).await.expect("registers");
    protect(&registry, &name).await;
    assert_eq!(crown(&registry, &name, 1).await, Err(ErrorKind::FailedPrecondition), "not approved");
    let granted = approved(&registry, &name, 1).await;
    assert_eq!(crown(&registry, &name, 2).await, Err(ErrorKind::FailedPrecondition), "approved for other bytes");
    assert_eq!(registry.alias(&name, &champion()).await.expect_err("did not move").kind(), ErrorKind::NotFound);
    crown(&registry, &name, 3).await.expect("the same bytes under another number");
    crown(&registry, &name, 3).await.expect("no move, no approval");
    let used = registry.approval(granted.id).await.expect("reads");
    assert_eq!((used.state, used.used_by.as_deref()), (ApprovalState::Used, Some("local")));
    assert_eq!(crown(&registry, &name, 1).await, Err(ErrorKind::FailedPrecondition), "used up");
    let link = registry.create_version_from_uri(&name, "s3://b/m", CreateVersion::default()).await.expect("registers");
    let error = registry.request_approval(&name, link.version, as_champion()).await.expect_err("a mere link");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert_eq!(crown(&registry, &name, link.version.0).await, Err(ErrorKind::FailedPrecondition));
    registry.delete_alias(&name, &champion(), MoveAlias::default()).await.expect("removal needs no approval");
}

async fn one_of_several_deciders_wins<R: ModelRegistry + Approvals>(registry: R) {
    let name = model(&registry).await;
    versions(&registry, &name, 1).await;
    let asked = registry.request_approval(&name, Version(1), as_champion()).await.expect("asks");
    let registry = Arc::new(registry);
    let decide = |registry: Arc<R>, n: u64| async move {
        let decision = if n.is_multiple_of(2) { Decision::Approve } else { Decision::Reject };
        registry.decide(asked.id, decision, by(&format!("decider{n}"))).await
    };
    let tasks: Vec<_> = (0..WRITERS).map(|n| tokio::spawn(decide(Arc::clone(&registry), n))).collect();
    let mut winners = Vec::new();
    for task in tasks {
        match task.await.expect("no decider panics") {
            Ok(approval) => winners.extend(approval.decided_by),
            Err(error) => assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}"),
        }
    }
    let kept = registry.approval(asked.id).await.expect("reads");
    assert_eq!(winners, Vec::from_iter(kept.decided_by), "exactly one, and it is the one on record");
}

async fn one_of_several_movers_uses_the_approval<R: ModelRegistry + Approvals>(registry: R) {
    let name = model(&registry).await;
    // One package under as many numbers as there are movers.
    for _ in 0..WRITERS {
        registry.create_version(&name, &package("0"), CreateVersion::default()).await.expect("registers");
    }
    protect(&registry, &name).await;
    approved(&registry, &name, 1).await;
    let registry = Arc::new(registry);
    let mover =
        |registry: Arc<R>, name: ModelName, version: u64| async move { crown(&*registry, &name, version).await };
    let tasks: Vec<_> = (1..=WRITERS).map(|to| tokio::spawn(mover(Arc::clone(&registry), name.clone(), to))).collect();
    let mut won = 0;
    for task in tasks {
        match task.await.expect("no mover panics") {
            Ok(()) => won += 1,
            Err(kind) => assert_eq!(kind, ErrorKind::FailedPrecondition),
        }
    }
    assert_eq!(won, 1, "one approval admits one move");
    let moves = registry.alias_history(&name, &PageRequest::default()).await.expect("reads").items;
    assert_eq!(moves.len(), 1);
}

async fn what_is_closed_stays_closed<R: ModelRegistry + Approvals>(registry: R) {
    let name = model(&registry).await;
    versions(&registry, &name, 1).await;
    protect(&registry, &name).await;
    let rejected = registry.request_approval(&name, Version(1), as_champion()).await.expect("asks");
    registry.decide(rejected.id, Decision::Reject, by("bob")).await.expect("rejects");
    assert_eq!(crown(&registry, &name, 1).await, Err(ErrorKind::FailedPrecondition));
    let withdrawn = approved(&registry, &name, 1).await;
    let error = registry.withdraw_approval(withdrawn.id, &actor("eve")).await.expect_err("not hers");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    registry.withdraw_approval(withdrawn.id, &actor("ann")).await.expect("withdraws");
    assert_eq!(crown(&registry, &name, 1).await, Err(ErrorKind::FailedPrecondition));
    for id in [rejected.id, withdrawn.id] {
        let error = registry.decide(id, Decision::Approve, by("carl")).await.expect_err("decides what is closed");
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    }
    let lost = approved(&registry, &name, 1).await;
    registry.delete_model(&name, &Actor::default()).await.expect("deletes");
    registry.create_model(&name, CreateModel::default()).await.expect("creates again");
    versions(&registry, &name, 1).await;
    let state = registry.approval(lost.id).await.expect("is kept").state;
    assert_eq!(state, ApprovalState::Withdrawn, "void with the model");
    assert_eq!(crown(&registry, &name, 1).await, Err(ErrorKind::FailedPrecondition), "protection belongs to the name");
    let of_model = ApprovalFilter { model: Some(name), state: None };
    let all = registry.approvals(&of_model, &PageRequest::default()).await.expect("lists").items;
    assert_eq!(all.iter().map(|found| found.id).collect::<Vec<_>>(), [rejected.id, withdrawn.id, lost.id]);
    let pending = ApprovalFilter { state: Some(ApprovalState::Pending), ..of_model };
    assert!(registry.approvals(&pending, &PageRequest::default()).await.expect("lists").items.is_empty());
}

async fn policies_hold_for_names<R: ModelRegistry + Approvals>(registry: R) {
    let name = model(&registry).await;
    versions(&registry, &name, 1).await;
    let mut good = package("good");
    good.manifest.metrics.insert("auc".to_owned(), 0.9);
    registry.create_version(&name, &good, CreateVersion::default()).await.expect("registers");
    let root = actor("root");
    let gate = AliasPolicy::default().with_metric(MetricGate::at_least("auc", 0.8));
    registry.set_alias_policy(None, &champion(), Some(&gate), &root).await.expect("protects everywhere");
    assert_eq!(crown(&registry, &name, 1).await, Err(ErrorKind::FailedPrecondition), "lacks the metric");
    crown(&registry, &name, 2).await.expect("has the metric");
    protect(&registry, &name).await;
    let both = registry.alias_policy(&name, &champion()).await.expect("reads");
    assert!(both.approval && both.metrics.len() == 1, "{both:?}");
    let renamed = ModelName::new("renamed").expect("a name");
    registry.rename_model(&name, &renamed, &root).await.expect("renames");
    for name in [&name, &renamed] {
        assert!(registry.alias_policy(name, &champion()).await.expect("reads").approval, "{name}");
    }
    registry.set_alias_policy(Some(&renamed), &champion(), None, &root).await.expect("lifts");
    registry.set_alias_policy(None, &champion(), None, &root).await.expect("lifts everywhere");
    crown(&registry, &renamed, 1).await.expect("nothing is asked for");
}

async fn environments_use_an_approval_again_for_the_same<R: ModelRegistry + Approvals>(registry: R) {
    let name = model(&registry).await;
    versions(&registry, &name, 2).await;
    let to_production = RequestApproval::new(ApprovalTarget::Environment("production".to_owned()), actor("ann"));
    let asked = registry.request_approval(&name, Version(1), to_production).await.expect("asks");
    let mover = actor("mover");
    let error = registry.use_approval(&name, Version(1), "production", &mover).await.expect_err("only pending");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    registry.decide(asked.id, Decision::Approve, by("bob")).await.expect("approves");
    for (version, environment) in [(2, "production"), (1, "staging")] {
        let error = registry.use_approval(&name, Version(version), environment, &mover).await;
        assert_eq!(error.expect_err("approved for something else").kind(), ErrorKind::FailedPrecondition);
    }
    let used = registry.use_approval(&name, Version(1), "production", &mover).await.expect("uses");
    let again = registry.use_approval(&name, Version(1), "production", &mover).await.expect("uses again");
    assert_eq!((used.id, &again), (asked.id, &used));
    let error = registry.use_approval(&name, Version(1), "production", &actor("other")).await;
    assert_eq!(error.expect_err("used by another").kind(), ErrorKind::FailedPrecondition);
}

/// Runs every promise of [`Trash`]; `fresh` gives an empty registry each time.
///
/// # Panics
/// When a promise is broken.
pub async fn trash<R: ModelRegistry + Trash>(fresh: impl AsyncFn() -> R) {
    versions_come_back(fresh().await).await;
    models_come_back(fresh().await).await;
}

async fn versions_come_back<R: ModelRegistry + Trash>(registry: R) {
    let (name, local) = (model(&registry).await, Actor::default());
    let key = CreateVersion { idempotency_key: Some("job".to_owned()), ..CreateVersion::default() };
    let made = registry.create_version(&name, &package("0"), key.clone()).await.expect("registers");
    registry.set_version_tags(&name, Version(1), &[super::pair("t", "1")], &local).await.expect("tags");
    registry.delete_version(&name, Version(1), &local).await.expect("deletes");
    assert_eq!(registry.version(&name, Version(1)).await.expect_err("invisible").kind(), ErrorKind::NotFound);
    let bin = registry.deleted_versions(&name, &PageRequest::default()).await.expect("lists").items;
    assert_eq!(
        bin.iter().map(|found| (found.version.version, &*found.deletion.by)).collect::<Vec<_>>(),
        [(Version(1), "local")]
    );
    let back = registry.restore_version(&name, Version(1), &local).await.expect("restores");
    assert_eq!((&back.source, back.tags.get("t").map(String::as_str)), (&made.source, Some("1")));
    let error = registry.restore_version(&name, Version(1), &local).await.expect_err("is not deleted");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    registry.delete_version(&name, Version(1), &local).await.expect("deletes again");

    let nothing = Purge { deleted_before: Timestamp::MIN, model: None, actor: local.clone() };
    assert_eq!(registry.purge(nothing.clone()).await.expect("purges what is old").versions, 0);
    let all = Purge { deleted_before: Timestamp::MAX, ..nothing };
    let other = Purge { model: Some(ModelName::new("other").expect("a name")), ..all.clone() };
    assert_eq!(registry.purge(other).await.expect("purges others").versions, 0);
    assert_eq!(registry.purge(all).await.expect("purges").versions, 1);
    let error = registry.restore_version(&name, Version(1), &local).await.expect_err("is purged");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = registry.create_version(&name, &package("0"), key).await.expect_err("key of a purged version");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    let next = registry.create_version(&name, &package("0"), CreateVersion::default()).await.expect("registers");
    assert_eq!(next.version, Version(2), "no number is given twice");
}

async fn models_come_back<R: ModelRegistry + Trash>(registry: R) {
    let (name, local) = (model(&registry).await, Actor::default());
    versions(&registry, &name, 3).await;
    registry.delete_version(&name, Version(2), &local).await.expect("deletes");
    registry.set_alias(&name, &champion(), Version(1), MoveAlias::default()).await.expect("moves");
    let before = registry.version(&name, Version(3)).await.expect("reads");
    registry.delete_model(&name, &local).await.expect("deletes");
    let fresh = registry.create_model(&name, CreateModel::default()).await.expect("the name is free");
    assert_eq!(fresh.last_version, 0);
    let bin = registry.deleted_models(&PageRequest::default()).await.expect("lists").items;
    let [deleted] = &*bin else { panic!("one model was deleted, not {}", bin.len()) };
    assert_eq!((deleted.versions, deleted.model.last_version), (3, 3));
    let error = registry.restore_model(deleted.id, &local).await.expect_err("the name is taken");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let elsewhere = ModelName::new("elsewhere").expect("a name");
    registry.rename_model(&name, &elsewhere, &local).await.expect("renames");
    let back = registry.restore_model(deleted.id, &local).await.expect("restores");
    assert_eq!((back.last_version, back.aliases.len()), (3, 0), "aliases are set anew");
    assert_eq!(registry.version(&name, Version(3)).await.expect("is back"), before);
    let bin = registry.deleted_versions(&name, &PageRequest::default()).await.expect("lists").items;
    assert_eq!(bin.iter().map(|found| found.version.version).collect::<Vec<_>>(), [Version(2)]);
    let error = registry.restore_model(deleted.id, &local).await.expect_err("is restored already");
    assert_eq!(error.kind(), ErrorKind::NotFound);

    registry.delete_model(&name, &local).await.expect("deletes");
    let all = Purge { deleted_before: Timestamp::MAX, model: Some(name), actor: local };
    assert_eq!(registry.purge(all).await.expect("purges").models, 1);
    assert!(registry.deleted_models(&PageRequest::default()).await.expect("lists").items.is_empty());
}
