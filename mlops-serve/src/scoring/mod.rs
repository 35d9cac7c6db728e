//! SageMaker's container contract and MLflow's scoring server: `/ping`, `/invocations` and what goes with them.
//!
//! The two share their routes. The content type tells CSV and JSON lines from JSON, and the keys of a JSON body tell
//! MLflow's forms from bare rows and from Open Inference, which is answered in its own words; the answer to all others is
//! `{"predictions": ..}`, or CSV where only that is accepted. Errors are `{"error_code", "message"}`, as
//! MLflow's clients read them and SageMaker passes them on.

mod convert;
mod csv;
mod routes;

pub(crate) use routes::{ping, routes, told};
