//! [`mlops_edge`] behind plain exported functions, for JavaScript and other hosts of wasm.
//!
//! The host writes into one buffer and calls: the bytes of a model for [`edge_load`], a row for
//! [`edge_predict`]. A row has for each column a byte, 0 missing, 1 number, 2 text; then a number
//! as f64, or the length of the text as u32 and its UTF-8, all little endian. What went wrong is
//! text in the buffer, of the length that was returned. One model per instance.

#![allow(unsafe_code, reason = "exported names must not be mangled; there is no other unsafe code")]

use std::cell::RefCell;

use mlops_edge::{Model, Scratch, Value};

/// Bytes of a model or a row at most.
const BUFFER_MAX: usize = 256 << 20;

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    model: Option<Model>,
    scratch: Scratch,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Makes the buffer `length` bytes long and tells where it is; null for more than 256 MiB. The
/// place is good until the next call of any function here.
#[unsafe(no_mangle)]
pub extern "C" fn edge_buffer(length: usize) -> *mut u8 {
    if length > BUFFER_MAX {
        return std::ptr::null_mut();
    }
    STATE.with_borrow_mut(|state| {
        state.buffer.resize(length, 0);
        state.buffer.as_mut_ptr()
    })
}

/// Reads the model that is in the buffer. Zero, or the length of the error's text.
#[unsafe(no_mangle)]
pub extern "C" fn edge_load() -> usize {
    STATE.with_borrow_mut(|state| match Model::from_bytes(&state.buffer) {
        Ok(model) => {
            state.model = Some(model);
            0
        }
        Err(error) => state.fail(&error.to_string()),
    })
}

/// The prediction for the row that is in the buffer; NaN when it cannot be made, see
/// [`edge_error`].
#[unsafe(no_mangle)]
pub extern "C" fn edge_predict() -> f64 {
    STATE.with_borrow_mut(|state| {
        let State { buffer, model, scratch } = state;
        let predicted = match (model, row(buffer)) {
            (None, _) => Err("no model is loaded".to_owned()),
            (_, None) => Err("the row cannot be read".to_owned()),
            (Some(model), Some(row)) => model.predict(&row, scratch).map_err(|error| error.to_string()),
        };
        predicted.unwrap_or_else(|error| {
            state.fail(&error);
            f64::NAN
        })
    })
}

/// The length of the text that the last failed call left at the beginning of the buffer.
#[unsafe(no_mangle)]
pub extern "C" fn edge_error() -> usize {
    STATE.with_borrow(|state| state.buffer.len())
}

impl State {
    fn fail(&mut self, error: &str) -> usize {
        self.buffer.clear();
        self.buffer.extend(error.bytes());
        self.buffer.len()
    }
}

fn row(mut bytes: &[u8]) -> Option<Vec<Value<'_>>> {
    let mut row = Vec::new();
    while let Some((kind, rest)) = bytes.split_first() {
        let (value, rest) = match kind {
            0 => (Value::Missing, rest),
            1 => {
                let (number, rest) = rest.split_first_chunk()?;
                (Value::Number(f64::from_le_bytes(*number)), rest)
            }
            2 => {
                let (length, rest) = rest.split_first_chunk()?;
                let (text, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
                (Value::Text(std::str::from_utf8(text).ok()?), rest)
            }
            _ => return None,
        };
        row.push(value);
        bytes = rest;
    }
    Some(row)
}
