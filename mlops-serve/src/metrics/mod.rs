//! Measurements of requests and predictions, and their text for Prometheus.
//!
//! Counting costs a few atomic additions and takes no lock; everything else happens when somebody scrapes. Label values
//! are names of models, versions, variants, status codes and reasons: a bounded set.

mod histogram;
mod red;
mod scrape;
mod tally;
mod traffic;

pub(crate) use histogram::Histogram;
pub(crate) use red::{Failed, Red};
pub(crate) use scrape::scrape;
pub(crate) use tally::{Kinds, Tally};
pub(crate) use traffic::{Refusal, Traffic};
