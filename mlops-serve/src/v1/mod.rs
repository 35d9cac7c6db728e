//! KServe v1 and TensorFlow Serving over REST: `/v1/models/...`.
//!
//! The two share paths and the row form of `:predict`, so one set of routes answers both; the status of a model has the
//! fields of both. Labels are `stable`, the version in service, and `canary`, the candidate of a rollout. Numbers that
//! are not finite travel as bare `NaN`, `Infinity` and `-Infinity`, as TensorFlow Serving defines; errors are
//! `{"error": text}`. A call that comes as a CloudEvent, as KServe takes it, is answered by one.

mod convert;
mod explain;
mod routes;
mod wire;

pub(crate) use routes::routes;
