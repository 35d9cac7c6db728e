//! Azure ML's inference server: `/`, `/score`, `/swagger.json`.
//!
//! The inputs are MLflow's on Azure, `{"input_data": ..}`, or `{"data": rows}`, or the query of a GET; the answer is the
//! bare value. Faults of
//! the caller are 4xx here, not the 500 of the original; errors are `{"message": text}`.

mod convert;
mod routes;

pub(crate) use routes::{routes, told};
