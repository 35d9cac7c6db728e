//! TorchServe's inference and management over REST.
//!
//! A body is JSON (rows in an array, or one row), a form with a part for each input, or the bytes of a model's one
//! input; the answer is the bare value. Management names models of the repository and never fetches a URL; it shares
//! `/models` with SageMaker's multi-model contract, whose bodies tell themselves apart. All models share the server's
//! workers: a model that is scaled has all of them or, out of service, none. Errors are `{"code", "type", "message"}`.

mod body;
mod failure;
mod manage;
mod page;
mod routes;
mod scale;

pub(crate) use failure::nowhere;
pub(crate) use manage::management;
pub(crate) use routes::routes;
