//! The `quantization` section: its numbers as signed bytes around zero and as unsigned bytes over their range.

use mlops_core::{Error, Result};
use mlops_train::compress::edge::{Affine, Symmetric};
use serde_json::{Value, json};

/// Computes the section from its inputs: `input` is the section, or a document that has it.
pub(crate) fn section(input: &Value) -> Result<Value> {
    let numbers = input.get("quantization").unwrap_or(input).get("x").cloned().unwrap_or(Value::Null);
    let x: Vec<f32> = serde_json::from_value(numbers)
        .map_err(|error| Error::invalid_argument("section quantization: /x cannot be read").with_source(error))?;
    let symmetric = Symmetric::of(x.iter().copied());
    let (low, high) = x.iter().fold((f32::MAX, f32::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
    let affine = Affine::over(low, high);
    let signed: Vec<i8> = x.iter().map(|value| symmetric.quantize(*value)).collect();
    let unsigned: Vec<u8> = x.iter().map(|value| affine.quantize(*value)).collect();
    // What the codes stand for, in full precision, so that nothing but the rounding to codes is measured.
    let miss = |steps: i32, scale: f32, value: f32| (f64::from(steps) * f64::from(scale) - f64::from(value)).abs();
    let signed_misses = x.iter().zip(&signed).map(|(value, code)| miss(i32::from(*code), symmetric.scale, *value));
    let steps = |code: u8| i32::from(code) - i32::from(affine.zero_point);
    let unsigned_misses = x.iter().zip(&unsigned).map(|(value, code)| miss(steps(*code), affine.scale, *value));
    Ok(json!({
        "int8_symmetric": { "scale": symmetric.scale, "q": signed, "max_abs_err": signed_misses.fold(0.0, f64::max) },
        "uint8_affine": {
            "scale": affine.scale, "zero_point": affine.zero_point, "q": unsigned,
            "max_abs_err": unsigned_misses.fold(0.0, f64::max),
        },
    }))
}
