//! Triton's classification extension: the largest values of each row, as text.

use std::sync::Arc;

use arrow_array::{BinaryArray, cast::AsArray as _, types::Float64Type};
use arrow_schema::DataType;
use mlops_core::{Error, Result};

use crate::tensor::{Tensor, TensorType};

/// The `count` largest values of each row of `tensor`, largest first, each as `value:index`; fewer when a row has
/// fewer. A value that is not a number counts as smallest; of equal values the first comes first.
///
/// # Errors
/// `InvalidArgument` for a tensor that does not hold numbers, and for a count of 0.
pub(crate) fn largest(tensor: &Tensor, count: usize) -> Result<Tensor> {
    let name = tensor.name();
    let numbers = !matches!(tensor.data_type(), TensorType::Bool | TensorType::Bytes | TensorType::Bf16);
    if !numbers || count == 0 {
        return Err(Error::invalid_argument(format!(
            "output {name:?} of {} has no {count} largest classes; it must hold numbers, and at least 1 be asked for",
            tensor.data_type()
        )));
    }
    let values = arrow_cast::cast(tensor.values(), &DataType::Float64)?;
    let values = values.as_primitive::<Float64Type>();
    let whole = !matches!(tensor.data_type(), TensorType::Fp16 | TensorType::Fp32 | TensorType::Fp64);
    let rows = tensor.rows();
    let width = values.len().checked_div(rows).unwrap_or(0);
    let kept = count.min(width);
    let mut texts = Vec::with_capacity(rows.saturating_mul(kept));
    for row in values.values().chunks(width.max(1)) {
        let mut order: Vec<(usize, f64)> = row.iter().copied().enumerate().collect();
        let key = |value: f64| if value.is_nan() { f64::NEG_INFINITY } else { value };
        order.sort_by(|left, right| key(right.1).total_cmp(&key(left.1)));
        texts.extend(order.into_iter().take(kept).map(|(index, value)| match whole {
            true => format!("{value:.0}:{index}"),
            false => format!("{value:.6}:{index}"),
        }));
    }
    Tensor::new(name, TensorType::Bytes, [rows, kept], Arc::new(BinaryArray::from_iter_values(texts)))
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, Float32Array, Int64Array};

    use super::*;

    fn texts(values: ArrayRef, data_type: TensorType, shape: &[usize], count: usize) -> (Vec<usize>, Vec<String>) {
        let largest = largest(&Tensor::new("t", data_type, shape, values).unwrap(), count).unwrap();
        let bytes = largest.values().as_binary::<i32>();
        let texts = bytes.iter().map(|text| String::from_utf8(text.unwrap().to_vec()).unwrap()).collect();
        (largest.shape().to_vec(), texts)
    }

    #[test]
    fn the_largest_come_first_with_their_places() {
        let values = || Arc::new(Float32Array::from(vec![0.25, f32::NAN, 0.75, 1.0, 1.0, -1.0])) as ArrayRef;
        let (shape, found) = texts(values(), TensorType::Fp32, &[2, 3], 2);
        assert_eq!((shape, found.join(" ")), (vec![2, 2], "0.750000:2 0.250000:0 1.000000:0 1.000000:1".to_owned()));
        assert_eq!(texts(values(), TensorType::Fp32, &[2, 3], 9).0, [2, 3]);
        let whole = Arc::new(Int64Array::from(vec![5, 7])) as ArrayRef;
        assert_eq!(texts(whole, TensorType::Int64, &[2], 1).1, ["5:0", "7:0"]);
        assert_eq!(texts(Arc::new(Int64Array::from(Vec::<i64>::new())), TensorType::Int64, &[0, 3], 1).0, [0, 0]);
    }

    #[test]
    fn text_has_no_largest() {
        let text = Tensor::new("t", TensorType::Bytes, [1], Arc::new(BinaryArray::from(vec![&b"a"[..]]))).unwrap();
        assert!(largest(&text, 1).is_err());
    }
}
