//! Predicts with a compressed model anywhere: without dependencies, without the standard library,
//! on `wasm32-unknown-unknown` as on a microcontroller with an allocator.
//!
//! A model is one file. It holds what happens to raw columns before the network, so that a device
//! cannot prepare them in another way than training did. `mlops-train` writes it and predicts with
//! this very code, so that what was judged there is what runs here.
//!
//! ```
//! use mlops_edge::{Column, Layer, Model, Output, Scratch, Value};
//!
//! let columns = vec![Column::number("age", 40.0, 40.0, 10.0, false), Column::one_hot("plan", ["free", "paid"], false)];
//! let layer = Layer::f32(4, 1, vec![1.0, 0.0, 2.0, -1.0], vec![0.5])?;
//! let bytes = Model::new(columns, vec![layer], Output::number(0.0, 1.0))?.to_bytes();
//!
//! let model = Model::from_bytes(&bytes)?;
//! let row = [Value::Number(50.0), Value::Text("paid")];
//! assert_eq!(model.predict(&row, &mut Scratch::default())?, 3.5);
//! # Ok::<(), mlops_edge::Error>(())
//! ```
//!
//! Invariants: decoding allocates no more than a small multiple of the bytes it is given and
//! accepts only what can be predicted with; predicting never panics and does not depend on the
//! rows before.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod cells;
mod codec;
mod column;
mod error;
mod layer;
mod math;
mod model;
mod quantize;

pub use column::{Column, Value};
pub use error::Error;
pub use layer::Layer;
pub use model::{Model, Output, Scratch};
pub use quantize::{Affine, Symmetric};
