//! The promises of an access store, as tests for every implementation.

#![allow(clippy::expect_used, reason = "a promise that is broken ends the test")]

use std::future::Future;

use mlops_core::{Digest, ErrorKind, Timestamp};

use super::{
    AccessStore, EVERY,
    record::{Grant, NewToken, NewUser, Permission, ResourceKind, RoleUpdate, UserUpdate},
};

/// Checks every promise, each on a store that `fresh` makes.
///
/// # Panics
/// At the first promise that is broken.
pub async fn access_store<S: AccessStore, F: Future<Output = S>>(fresh: impl Fn() -> F) {
    users_are_kept_as_given(fresh().await).await;
    an_administrator_remains(fresh().await).await;
    tokens_go_with_their_user(fresh().await).await;
    permissions_come_from_every_role(fresh().await).await;
    a_grant_replaces_the_one_before(fresh().await).await;
    grants_follow_the_name_of_their_resource(fresh().await).await;
    many_resources_are_asked_for_at_once(fresh().await).await;
    own_roles_are_not_shared(fresh().await).await;
    of_several_creators_one_wins(fresh().await).await;
}

fn new(name: &str, admin: bool) -> NewUser {
    NewUser { name: name.to_owned(), password_hash: format!("hash of {name}"), admin }
}

fn on(resource: &str, permission: Permission) -> Grant {
    Grant { kind: ResourceKind::Experiment, resource: resource.to_owned(), permission }
}

async fn held<S: AccessStore>(store: &S, user: &str, resource: &str) -> Option<Permission> {
    let grants = store.grants_for(user, ResourceKind::Experiment, &[resource]).await.expect("reads");
    Permission::fold(grants.into_iter().map(|grant| grant.permission))
}

async fn users_are_kept_as_given<S: AccessStore>(store: S) {
    let ann = store.create_user(new("ann", false)).await.expect("creates");
    assert_eq!(store.user("ann").await.expect("reads"), Some(ann.clone()));
    assert_eq!(store.user("Ann").await.expect("reads"), None);
    for (name, kind) in
        [("ann", ErrorKind::AlreadyExists), ("", ErrorKind::InvalidArgument), ("a:b", ErrorKind::InvalidArgument)]
    {
        assert_eq!(store.create_user(new(name, false)).await.expect_err("refused").kind(), kind, "{name:?}");
    }
    let update = UserUpdate { password_hash: Some("other".to_owned()), admin: None };
    store.update_user("ann", update).await.expect("changes");
    let read = store.user("ann").await.expect("reads").expect("is there");
    assert_eq!((read.password_hash.as_str(), read.admin, read.id), ("other", false, ann.id));
    store.delete_user("ann").await.expect("deletes");
    assert_eq!(store.users().await.expect("lists"), []);
    let gone = store.update_user("ann", UserUpdate::default()).await.expect_err("gone");
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

async fn an_administrator_remains<S: AccessStore>(store: S) {
    store.create_user(new("root", true)).await.expect("creates");
    let demote = UserUpdate { admin: Some(false), ..UserUpdate::default() };
    assert_eq!(store.delete_user("root").await.expect_err("last").kind(), ErrorKind::FailedPrecondition);
    let last = store.update_user("root", demote.clone()).await.expect_err("last");
    assert_eq!(last.kind(), ErrorKind::FailedPrecondition);
    store.create_user(new("heir", true)).await.expect("creates");
    store.update_user("root", demote).await.expect("another remains");
}

async fn tokens_go_with_their_user<S: AccessStore>(store: S) {
    let ann = store.create_user(new("ann", false)).await.expect("creates");
    let digest = Digest::of(b"secret");
    let token = NewToken {
        digest,
        label: "ci".to_owned(),
        created: Timestamp::from_millis(1),
        expires: Some(Timestamp::from_millis(9)),
    };
    let made = store.add_token("ann", token.clone()).await.expect("adds");
    assert_eq!(store.token(&digest).await.expect("reads"), Some((made.clone(), ann)));
    assert_eq!(store.tokens("ann").await.expect("lists"), std::slice::from_ref(&made));
    assert_eq!(store.add_token("ann", token.clone()).await.expect_err("known").kind(), ErrorKind::AlreadyExists);
    store.create_user(new("bob", false)).await.expect("creates");
    let foreign = store.delete_token("bob", made.id).await.expect_err("not bob's");
    assert_eq!(foreign.kind(), ErrorKind::NotFound);
    store.delete_user("ann").await.expect("deletes");
    assert_eq!(store.token(&digest).await.expect("reads"), None);
}

async fn permissions_come_from_every_role<S: AccessStore>(store: S) {
    let ann = store.create_user(new("ann", false)).await.expect("creates");
    let team = store.create_role("team", Some("the team")).await.expect("creates");
    assert_eq!(held(&store, "ann", "1").await, None);
    store.grant(ann.own_role, on("1", Permission::Read)).await.expect("grants");
    store.grant(team.id, on("*", Permission::Edit)).await.expect("grants");
    assert_eq!(held(&store, "ann", "1").await, Some(Permission::Read));
    let first = store.assign_role("ann", team.id).await.expect("assigns");
    assert_eq!(store.assign_role("ann", team.id).await.expect("again"), first);
    assert_eq!(held(&store, "ann", "1").await, Some(Permission::Edit));
    assert_eq!(held(&store, "ann", "2").await, Some(Permission::Edit));
    let models = store.grants_for("ann", ResourceKind::RegisteredModel, &["1"]).await.expect("reads");
    assert_eq!(models, []);
    assert_eq!(store.members_of(team.id).await.expect("lists"), [(first, ann.id)]);
    let standing = store.standing("ann").await.expect("reads").expect("is there");
    assert_eq!((standing.user, standing.roles), (ann.clone(), vec!["team".to_owned()]));
    assert_eq!(store.standing("nobody").await.expect("reads"), None);
    let names: Vec<_> = store.roles_of("ann").await.expect("lists").into_iter().map(|role| role.id).collect();
    assert_eq!(names, [ann.own_role, team.id]);
    store.unassign_role("ann", team.id).await.expect("unassigns");
    assert_eq!(held(&store, "ann", "2").await, None);
    store.assign_role("ann", team.id).await.expect("assigns");
    store.delete_role(team.id).await.expect("deletes");
    assert_eq!(held(&store, "ann", "2").await, None);
    assert_eq!(held(&store, "nobody", "1").await, None);
}

async fn a_grant_replaces_the_one_before<S: AccessStore>(store: S) {
    let role = store.create_role("r", None).await.expect("creates").id;
    let first = store.grant(role, on("1", Permission::Manage)).await.expect("grants");
    let second = store.grant(role, on("1", Permission::Deny)).await.expect("grants");
    assert_eq!(first.id, second.id);
    assert_eq!(store.role(role).await.expect("reads").grants, std::slice::from_ref(&second));
    assert_eq!(store.role_grant(first.id).await.expect("reads"), second);
    store.revoke(first.id).await.expect("revokes");
    assert_eq!(store.revoke(first.id).await.expect_err("gone").kind(), ErrorKind::NotFound);
    assert_eq!(store.grant(999, on("1", Permission::Read)).await.expect_err("no role").kind(), ErrorKind::NotFound);
    assert_eq!(
        store.grant(role, on("", Permission::Read)).await.expect_err("nothing").kind(),
        ErrorKind::InvalidArgument
    );
}

async fn grants_follow_the_name_of_their_resource<S: AccessStore>(store: S) {
    let ann = store.create_user(new("ann", false)).await.expect("creates");
    let kind = ResourceKind::RegisteredModel;
    let grant = |name: &str, permission| Grant { kind, resource: name.to_owned(), permission };
    store.grant(ann.own_role, grant("old", Permission::Manage)).await.expect("grants");
    store.grant(ann.own_role, grant("new", Permission::Read)).await.expect("grants");
    store.move_grants(kind, "old", Some("new")).await.expect("moves");
    let of = async |name| store.grants_for("ann", kind, &[name]).await.expect("reads");
    assert_eq!(of("new").await, [grant("new", Permission::Manage)]);
    assert_eq!(of("old").await, []);
    store.move_grants(kind, "new", Some("new")).await.expect("stays");
    assert_eq!(of("new").await, [grant("new", Permission::Manage)]);
    for (from, to) in [("new", Some(EVERY)), (EVERY, Some("new")), (EVERY, None)] {
        let error = store.move_grants(kind, from, to).await.expect_err("one would become all");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{from} {to:?}");
    }
    assert_eq!(of("new").await, [grant("new", Permission::Manage)]);
    store.move_grants(kind, "new", None).await.expect("forgets");
    assert_eq!(of("new").await, []);
}

async fn many_resources_are_asked_for_at_once<S: AccessStore>(store: S) {
    let ann = store.create_user(new("ann", false)).await.expect("creates");
    assert_eq!(store.standing("ann").await.expect("reads").expect("is there").roles, Vec::<String>::new());
    let names: Vec<String> = (0..1_201).map(|n| n.to_string()).collect();
    let mut want = vec![on(EVERY, Permission::Use), on("0", Permission::Read), on("1200", Permission::Edit)];
    for grant in want.iter().chain([&on("9999", Permission::Manage)]) {
        store.grant(ann.own_role, grant.clone()).await.expect("grants");
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut found = store.grants_for("ann", ResourceKind::Experiment, &names).await.expect("reads");
    let key = |grant: &Grant| grant.resource.clone();
    found.sort_by_key(key);
    want.sort_by_key(key);
    assert_eq!(found, want);
    assert_eq!(store.grants_for("ann", ResourceKind::Experiment, &[]).await.expect("reads"), []);
}

async fn own_roles_are_not_shared<S: AccessStore>(store: S) {
    let ann = store.create_user(new("ann", false)).await.expect("creates");
    store.create_user(new("bob", false)).await.expect("creates");
    assert_eq!(store.roles().await.expect("lists"), []);
    let rename = RoleUpdate { name: Some("x".to_owned()), description: None };
    let kinds = [
        store.assign_role("bob", ann.own_role).await.expect_err("own").kind(),
        store.delete_role(ann.own_role).await.expect_err("own").kind(),
        store.update_role(ann.own_role, rename).await.expect_err("own").kind(),
        store.unassign_role("ann", ann.own_role).await.expect_err("own").kind(),
    ];
    assert_eq!(kinds, [ErrorKind::FailedPrecondition; 4]);
    for reserved in ["admin", "__user_1__", ""] {
        let error = store.create_role(reserved, None).await.expect_err("reserved");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{reserved:?}");
    }
}

async fn of_several_creators_one_wins<S: AccessStore>(store: S) {
    let store = std::sync::Arc::new(store);
    let create = |store: std::sync::Arc<S>| async move { store.create_user(new("race", false)).await };
    let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(create(std::sync::Arc::clone(&store)))).collect();
    let mut won = 0;
    for task in tasks {
        match task.await.expect("no creator panics") {
            Ok(_) => won += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
        }
    }
    assert_eq!(won, 1);
}
