//! What the protocol adapters share: the checks of a request against the model's metadata, the way a body comes in,
//! and how a failure is told.
//!
//! Invariant: no adapter hands the server a tensor that did not pass [`Inputs`], so every protocol refuses the same
//! requests. Nothing here knows the words of one protocol.

mod cell;
mod classes;
pub(crate) mod encoding;
mod event;
mod explained;
mod extract;
mod failure;
mod fields;
mod inputs;
mod intake;
pub(crate) mod json;
pub(crate) mod multipart;
mod predict;
mod records;
mod routes;
mod settings;
mod target;
mod whole;

pub(crate) use cell::json_of;
pub(crate) use classes::largest;
pub(crate) use event::{Envelope, media_type};
pub(crate) use explained::explained_rows;
pub(crate) use extract::{Named, Queried};
pub(crate) use failure::{Answer, Failure};
pub(crate) use fields::Field;
pub(crate) use inputs::{Inputs, known_output};
#[cfg(feature = "grpc")]
pub(crate) use intake::offload;
pub(crate) use intake::{Incoming, bytes_of, finish};
pub(crate) use predict::{Origin, Question, Target, ask, ask_why, predict};
pub(crate) use records::{Form, Layout, Shown, columns, transposed, write};
pub(crate) use routes::{Operation, Routes};
pub use settings::{ProtocolSettings, VertexSettings};
pub(crate) use target::{known_model, only_model, parse_version};
pub(crate) use whole::too_slow;
