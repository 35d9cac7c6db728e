//! The form by which an administrator makes a user in a browser.

use axum::{
    body::Body,
    http::{Method, Request},
};
use serde_json::Value;

use super::{Answer, PASSWORD, Server, basic};

const TARGET: &str = "/api/2.0/mlflow/users/create-ui";

async fn send(server: &Server, by: &str, cookie: Option<&str>, body: &str) -> Answer {
    let mut request = Request::post(TARGET).header("content-type", "application/x-www-form-urlencoded");
    request = request.header("authorization", basic(by, PASSWORD));
    if let Some(cookie) = cookie {
        request = request.header("cookie", format!("other=1; {cookie}"));
    }
    server.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn a_form_makes_a_user_only_with_the_token_of_its_page() {
    let server = Server::new().await;
    let page = server.raw("root", Method::GET, "/signup", b"").await;
    let Value::String(html) = &page.body else { panic!("a page") };
    let token = html.split("name=\"csrf_token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let set = page.header("set-cookie");
    let cookie = set.split(';').next().unwrap();
    assert!(cookie.ends_with(token) && set.contains("SameSite=Strict") && set.contains("HttpOnly"), "{set}");
    assert!(page.header("content-security-policy").contains("default-src 'none'"));

    let form = |token: &str| format!("username=eve&password=correct+horse+%26&csrf_token={token}");
    let missing = send(&server, "root", Some(cookie), "username=eve&password=correct+horse+%26").await;
    assert_eq!(missing.status, 400);
    assert!(missing.body["message"].as_str().unwrap().contains("The CSRF token is missing"));
    for (cookie, token) in [(None, token), (Some(cookie), "0"), (Some("mlops_signup=0"), token)] {
        assert_eq!(send(&server, "root", cookie, &form(token)).await.status, 400);
    }
    let empty = send(&server, "root", Some(cookie), &format!("username=eve&password=&csrf_token={token}")).await;
    assert_eq!(empty.body["message"], "Username and password cannot be empty.");
    assert_eq!(send(&server, "ann", Some(cookie), &form(token)).await.status, 403, "not an administrator");
    assert_eq!(server.raw("ann", Method::GET, "/signup", b"").await.status, 403);

    let done = send(&server, "root", Some(cookie), &form(token)).await;
    assert!(done.status == 200 && done.body.as_str().unwrap().contains("Successfully signed up user"));
    let header = basic("eve", "correct horse &");
    let path = "/api/2.0/mlflow/experiments/get?experiment_id=0";
    assert_eq!(server.signed(&header, Method::GET, path, Vec::new()).await.status, 200);
}
