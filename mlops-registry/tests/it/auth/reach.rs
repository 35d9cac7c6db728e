//! What nobody reaches by a name, a link or half of a call that the grants alone would not give.

use axum::http::Method;
use mlops_registry::{access::Permission, mlflow::AuthSettings};
use serde_json::json;

use super::{Server, settings};

async fn closed() -> Server {
    Server::with(AuthSettings { default_permission: Permission::NoPermissions, ..settings() }).await
}

#[tokio::test]
async fn whoever_names_a_model_like_all_of_them_gets_none() {
    let server = closed().await;
    server.post("ann", "registered-models/create", json!({ "name": "hers" })).await.ok();
    server.post("bob", "registered-models/create", json!({ "name": "his" })).await.ok();
    for refused in [
        server.post("bob", "registered-models/create", json!({ "name": "*" })).await,
        server.post("bob", "registered-models/rename", json!({ "name": "his", "new_name": "*" })).await,
    ] {
        assert_eq!((refused.status, refused.body["error_code"].as_str()), (400, Some("INVALID_PARAMETER_VALUE")));
    }
    // Everybody may make models, which is asked as a write to all of them; to one that is called so it is none.
    let tag = json!({ "name": "*", "key": "k", "value": "v" });
    assert_eq!(server.post("bob", "registered-models/set-tag", tag.clone()).await.status, 403);
    assert_eq!(server.post("root", "registered-models/set-tag", tag).await.status, 404);
    assert_eq!(server.get("bob", "2.0/mlflow/registered-models/get?name=hers").await.status, 403);
}

#[tokio::test]
async fn a_model_that_gets_the_name_it_has_keeps_its_grants() {
    let server = closed().await;
    server.post("ann", "registered-models/create", json!({ "name": "m" })).await.ok();
    server.grant("ann", "bob", "registered_model", "m", "READ").await.ok();
    server.post("ann", "registered-models/rename", json!({ "name": "m", "new_name": "m" })).await.ok();
    for user in ["ann", "bob"] {
        server.get(user, "2.0/mlflow/registered-models/get?name=m").await.ok();
    }
    server.call("ann", Method::DELETE, "2.0/mlflow/registered-models/delete", json!({ "name": "m" })).await.ok();
}
