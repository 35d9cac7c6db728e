//! TorchServe's inference and management over REST.
//!
//! A body is JSON: rows in an array, or one row; the answer is the bare value. Management names models of the
//! repository and never fetches a URL; it shares `/models` with SageMaker's multi-model contract, whose bodies tell
//! themselves apart. Scaling of workers is not offered: all models share the server's workers. Errors are
//! `{"code", "type", "message"}`.

mod failure;
mod manage;
mod routes;

pub(crate) use manage::management;
pub(crate) use routes::routes;
