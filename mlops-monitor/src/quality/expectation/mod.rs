//! What a rule expects, as data. Nothing here evaluates; exact semantics are in the table of the module documentation.
//!
//! Invariant: the serialized form is stable.

mod parameters;
mod subject;
mod vocabulary;

pub use parameters::{
    IgnoreRowIf, Interpolation, LengthUnit, Limits, PairLimits, QuantileLimits, SchemaField, ValuePair,
};
pub use vocabulary::Expectation;
