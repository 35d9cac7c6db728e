//! The identity of a value, or of a tuple, as bytes: equal bytes, equal values.
//!
//! Invariant: layouts and widths do not matter (large and small text, 32 and 64-bit integers, a
//! decimal at another scale), kinds do. A null has a key of its own.

use arrow_array::{Array, ArrayRef};

use super::{
    column::{Column, Lane, Meaning, with_text},
    exception::Checked,
    literal::canonical,
};

impl Column {
    /// Appends the identity of a row's value.
    pub(super) fn write_key(&self, row: usize, key: &mut Vec<u8>) {
        if row >= self.rows || self.valid.as_ref().is_some_and(|valid| valid.is_null(row)) {
            return key.push(0);
        }
        match &self.lane {
            Lane::Int(values, meaning) => {
                write_integer(values.get(row).map_or(0, |value| i128::from(*value)), *meaning, key);
            }
            Lane::Wide(values, meaning) => write_integer(values.get(row).copied().unwrap_or(0), *meaning, key),
            Lane::Float(values) => {
                key.push(2);
                key.extend(canonical(values.get(row).copied().unwrap_or(0.0)).to_le_bytes());
            }
            Lane::Bool(values) => key.extend([3, u8::from(values.value(row))]),
            Lane::Text(text) => {
                let text = with_text!(text, array => array.value(row));
                key.push(4);
                key.extend((text.len() as u64).to_le_bytes());
                key.extend(text.as_bytes());
            }
            // `keyable` has refused such a column.
            Lane::Opaque(_) => key.push(5),
        }
    }

    /// # Errors
    /// When values of this column have no identity that can be written.
    pub(super) fn keyable(&self) -> Checked<()> {
        match &self.lane {
            Lane::Opaque(array) if all_null(array) => Ok(()),
            Lane::Opaque(_) => Err(self.unfit("numbers, booleans, times or text")),
            _ => Ok(()),
        }
    }
}

fn all_null(array: &ArrayRef) -> bool {
    array.logical_null_count() == array.len()
}

fn write_integer(value: i128, meaning: Meaning, key: &mut Vec<u8>) {
    let (tag, value, scale) = match meaning {
        Meaning::Number { scale } => {
            let (value, scale) = reduced(value, scale);
            (6, value, scale)
        }
        Meaning::Days => (7, value, 0),
        Meaning::Instant { per_second, utc } => {
            (8 + u8::from(utc), value.saturating_mul(1_000_000_000 / per_second), 0)
        }
        Meaning::Ticks { per_second } => (10, value.saturating_mul(1_000_000_000 / per_second), 0),
    };
    key.push(tag);
    key.extend(value.to_le_bytes());
    key.extend(scale.to_le_bytes());
}

/// Without trailing zeros after the point: 1.50 is 1.5.
fn reduced(mut value: i128, mut scale: i32) -> (i128, i32) {
    if value == 0 {
        return (0, 0);
    }
    while scale > 0 && value % 10 == 0 {
        value /= 10;
        scale -= 1;
    }
    (value, scale)
}
