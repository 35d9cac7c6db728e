//! What becomes known after predictions, by their request ids: labels, which go to core's
//! [`LabelSink`](mlops_core::LabelSink) where the application gave one, and outcomes, by which rollouts are judged and
//! bandits learn, where the settings allow it.
//!
//! Nothing is joined or kept here: the server put the id into the prediction log, and into the headers of the answer where
//! the client gave none.

mod outcomes;
mod read;
mod routes;

pub(crate) use outcomes::routes as outcome_routes;
pub(crate) use routes::routes;
