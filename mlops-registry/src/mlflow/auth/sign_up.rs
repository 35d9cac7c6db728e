//! `/signup`: the form by which an administrator makes a user in a browser, as MLflow's app has it.
//!
//! Invariant: a form counts only with the token that its page put both into it and into a cookie that pages elsewhere
//! neither read nor send: a browser adds the password of who signed in to any form that is sent here.

use axum::{
    Router,
    body::Bytes,
    http::{
        HeaderMap,
        header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, SET_COOKIE},
    },
    response::{Html, IntoResponse as _, Response},
    routing,
};
use mlops_core::Error;
use subtle::ConstantTimeEq as _;

use super::{Caller, users};
use crate::mlflow::{
    Api,
    failure::{Failure, bad_request},
};

const COOKIE_NAME: &str = "mlops_signup";
const FIELD: &str = "csrf_token";
/// Where the form is sent to.
const TARGET: &str = "/api/2.0/mlflow/users/create-ui";
/// Nothing but the form itself may do anything.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";
const FORM: &str = "application/x-www-form-urlencoded";

/// The page.
pub(in crate::mlflow) fn page_routes() -> Router<Api> {
    Router::new().route("/signup", routing::get(page))
}

/// What the form is sent to, below `/2.0/mlflow`.
pub(super) fn routes() -> Router<Api> {
    Router::new().route("/users/create-ui", routing::post(create))
}

async fn page(Caller(api): Caller) -> Result<Response, Failure> {
    let (guard, _) = api.desk()?;
    guard.check_admin().await?;
    let token = format!("{:032x}{:032x}", guard.parts().ids.next_id(), guard.parts().ids.next_id());
    let form = format!(
        "<form action=\"{TARGET}\" method=\"post\"><input type=\"hidden\" name=\"{FIELD}\" value=\"{token}\"/>
<p><label>Username <input name=\"username\" required autocomplete=\"off\"></label></p>
<p><label>Password <input name=\"password\" type=\"password\" required autocomplete=\"new-password\"></label></p>
<p><button>Sign up</button></p></form>"
    );
    let cookie = format!("{COOKIE_NAME}={token}; Path={TARGET}; HttpOnly; SameSite=Strict");
    let mut response = shown(&form);
    let cookie = cookie.parse().map_err(|_| Failure(Error::internal("a token is no header")))?;
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

/// A page with a body of the program's own.
fn shown(body: &str) -> Response {
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>New user</title>
<style>body{{font:16px system-ui;max-width:24rem;margin:4rem auto}}input{{display:block;width:100%}}</style>
<h1>New user</h1>{body}</html>"
    );
    ([(CONTENT_SECURITY_POLICY, POLICY)], Html(page)).into_response()
}

async fn create(Caller(api): Caller, headers: HeaderMap, body: Bytes) -> Result<Response, Failure> {
    let field = |name: &str| {
        let mut fields = url::form_urlencoded::parse(&body);
        fields.find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.into_owned())
    };
    check_token(&headers, field(FIELD).as_deref())?;
    if !headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(FORM.as_bytes())) {
        return Err(bad_request(format!("Invalid content type. Must be {FORM}")).into());
    }
    let (Some(name), Some(password)) = (field("username"), field("password")) else {
        return Err(bad_request("Username and password cannot be empty.").into());
    };
    users::make(&api, &name, &password).await?;
    Ok(shown("<p>Successfully signed up user.</p><p><a href=\"/signup\">Another one</a></p>"))
}

/// Refuses a form that is not of a page that this server gave to the same browser.
fn check_token(headers: &HeaderMap, given: Option<&str>) -> Result<(), Failure> {
    let Some(given) = given else { return Err(bad_request("The CSRF token is missing.").into()) };
    let cookies = headers.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let kept = pairs.find(|(name, _)| *name == COOKIE_NAME).map(|(_, token)| token);
    let same = kept.is_some_and(|kept| kept.as_bytes().ct_eq(given.as_bytes()).into());
    if same { Ok(()) } else { Err(bad_request("The CSRF tokens do not match. Open /signup again.").into()) }
}
