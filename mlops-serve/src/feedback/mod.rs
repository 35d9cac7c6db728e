//! Labels that come after their predictions: an endpoint that hands them to core's
//! [`LabelSink`](mlops_core::LabelSink).
//!
//! It exists only where the application gave a sink. Nothing is joined or kept here: what was predicted is known by its
//! request id, which the server put into the prediction log.

mod read;
mod routes;

pub(crate) use routes::routes;
