//! Tensors as a file stores them: dimensions, a type, and values in one of several fields.
//!
//! Invariant: a tensor is made only when the values that are there fill the declared shape exactly, so a shape never
//! causes an allocation by itself.

use mlops_core::{DataType, Error, Result};

use super::wire::Reader;
use crate::tensor::{Data, Tensor, Text};

#[derive(Debug, Default)]
pub(crate) struct TensorProto {
    pub(crate) name: String,
    dims: Vec<i64>,
    data_type: i64,
    floats: Vec<f32>,
    ints: Vec<i64>,
    texts: Vec<Text>,
    longs: Vec<i64>,
    doubles: Vec<f64>,
    raw: Vec<u8>,
    external: bool,
}

/// The type that a number of `TensorProto.DataType` stands for.
///
/// # Errors
/// `Unimplemented` for half precision, complex and sub-byte types.
pub(crate) fn element_type(number: i64) -> Result<DataType> {
    Ok(match number {
        1 => DataType::Float32,
        2 => DataType::UInt8,
        3 => DataType::Int8,
        4 => DataType::UInt16,
        5 => DataType::Int16,
        6 => DataType::Int32,
        7 => DataType::Int64,
        8 => DataType::String,
        9 => DataType::Bool,
        11 => DataType::Float64,
        12 => DataType::UInt32,
        13 => DataType::UInt64,
        _ => {
            return Err(Error::unimplemented(format!(
                "ONNX element type number {number} is not supported; export the model with float32"
            )));
        }
    })
}

impl TensorProto {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let mut tensor = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next()? {
            match number {
                1 => field.push_ints(&mut tensor.dims)?,
                2 => tensor.data_type = field.int()?,
                4 => field.push_floats(&mut tensor.floats)?,
                5 => field.push_ints(&mut tensor.ints)?,
                6 => tensor.texts.push(String::from_utf8_lossy(field.bytes()?).into()),
                7 | 11 => field.push_ints(&mut tensor.longs)?,
                8 => tensor.name = field.text()?,
                9 => tensor.raw = field.bytes()?.to_vec(),
                10 => field.push_doubles(&mut tensor.doubles)?,
                13 => tensor.external = true,
                14 => tensor.external |= field.int()? != 0,
                _ => {}
            }
        }
        Ok(tensor)
    }

    /// The values in the declared shape.
    ///
    /// # Errors
    /// `InvalidArgument` when values and shape differ, `Unimplemented` for external data and exotic types.
    pub(crate) fn into_tensor(self) -> Result<Tensor> {
        let name = self.name.clone();
        if self.external {
            return Err(Error::unimplemented(format!(
                "tensor {name:?} keeps its values in another file; save the model in one file"
            )));
        }
        let shape = self.dims.iter().map(|&dim| usize::try_from(dim)).collect::<Result<Vec<usize>, _>>();
        let shape = shape.map_err(|_| Error::invalid_argument(format!("tensor {name:?} has a negative dimension")))?;
        Tensor::new(shape, self.into_data()?)
            .map_err(|error| Error::new(error.kind(), format!("stored tensor {name:?}: {}", error.message())))
    }

    fn into_data(self) -> Result<Data> {
        let raw = !self.raw.is_empty();
        Ok(match element_type(self.data_type)? {
            DataType::Float32 if !raw => Data::from(self.floats),
            DataType::Float64 if !raw => Data::from(self.doubles),
            DataType::Int64 if !raw => Data::from(self.longs),
            DataType::UInt32 if !raw => Data::from(narrow(&self.longs, |v| v as u32)),
            DataType::UInt64 if !raw => Data::from(narrow(&self.longs, |v| v as u64)),
            DataType::Int32 if !raw => Data::from(narrow(&self.ints, |v| v as i32)),
            DataType::Int16 if !raw => Data::from(narrow(&self.ints, |v| v as i16)),
            DataType::Int8 if !raw => Data::from(narrow(&self.ints, |v| v as i8)),
            DataType::UInt16 if !raw => Data::from(narrow(&self.ints, |v| v as u16)),
            DataType::UInt8 if !raw => Data::from(narrow(&self.ints, |v| v as u8)),
            DataType::Bool if !raw => Data::from(narrow(&self.ints, |v| v != 0)),
            DataType::String => Data::from(self.texts),
            DataType::Float32 => Data::from(words(&self.raw, f32::from_le_bytes)?),
            DataType::Float64 => Data::from(words(&self.raw, f64::from_le_bytes)?),
            DataType::Int64 => Data::from(words(&self.raw, i64::from_le_bytes)?),
            DataType::UInt64 => Data::from(words(&self.raw, u64::from_le_bytes)?),
            DataType::Int32 => Data::from(words(&self.raw, i32::from_le_bytes)?),
            DataType::UInt32 => Data::from(words(&self.raw, u32::from_le_bytes)?),
            DataType::Int16 => Data::from(words(&self.raw, i16::from_le_bytes)?),
            DataType::UInt16 => Data::from(words(&self.raw, u16::from_le_bytes)?),
            DataType::Int8 => Data::from(words(&self.raw, i8::from_le_bytes)?),
            DataType::UInt8 => Data::from(self.raw),
            DataType::Bool => Data::from(words(&self.raw, |[byte]: [u8; 1]| byte != 0)?),
            other => return Err(Error::unimplemented(format!("tensors of {other} are not supported"))),
        })
    }
}

/// The wire widens small types; a value that does not fit wraps, as in the reference reader.
fn narrow<T>(values: &[i64], to: impl Fn(i64) -> T) -> Vec<T> {
    values.iter().map(|&value| to(value)).collect()
}

fn words<const N: usize, T>(raw: &[u8], read: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
    let (words, []) = raw.as_chunks::<N>() else {
        return Err(Error::data_loss(format!("raw tensor data of {} bytes is not a multiple of {N}", raw.len())));
    };
    Ok(words.iter().map(|word| read(*word)).collect())
}
