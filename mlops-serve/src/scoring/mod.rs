//! SageMaker's container contract and MLflow's scoring server: `/ping`, `/invocations` and what goes with them.
//!
//! The two share their routes. The content type tells CSV and JSON lines from JSON, and the keys of a JSON body tell
//! MLflow's forms from bare rows; the answer is `{"predictions": ..}`. Errors are `{"error_code", "message"}`, as
//! MLflow's clients read them and SageMaker passes them on.

mod convert;
mod csv;
mod routes;

pub(crate) use routes::{ping, routes};
