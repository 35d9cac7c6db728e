//! Flat elements of any of the supported types.
//!
//! Elements are behind an `Arc`, so identities, reshapes and outputs cost nothing.

use std::{fmt, sync::Arc};

use mlops_core::DataType;

/// Text is shared: one label is given to many rows.
pub type Text = Arc<str>;

/// Elements of one type.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each variant is named after its element type")]
pub enum Data {
    Bool(Arc<Vec<bool>>),
    Int8(Arc<Vec<i8>>),
    Int16(Arc<Vec<i16>>),
    Int32(Arc<Vec<i32>>),
    Int64(Arc<Vec<i64>>),
    UInt8(Arc<Vec<u8>>),
    UInt16(Arc<Vec<u16>>),
    UInt32(Arc<Vec<u32>>),
    UInt64(Arc<Vec<u64>>),
    Float32(Arc<Vec<f32>>),
    Float64(Arc<Vec<f64>>),
    String(Arc<Vec<Text>>),
}

/// Runs an expression with the elements, whatever their type.
macro_rules! each_data {
    ($data:expr, $values:ident => $body:expr) => {
        match $data {
            $crate::tensor::Data::Bool($values) => $body,
            $crate::tensor::Data::Int8($values) => $body,
            $crate::tensor::Data::Int16($values) => $body,
            $crate::tensor::Data::Int32($values) => $body,
            $crate::tensor::Data::Int64($values) => $body,
            $crate::tensor::Data::UInt8($values) => $body,
            $crate::tensor::Data::UInt16($values) => $body,
            $crate::tensor::Data::UInt32($values) => $body,
            $crate::tensor::Data::UInt64($values) => $body,
            $crate::tensor::Data::Float32($values) => $body,
            $crate::tensor::Data::Float64($values) => $body,
            $crate::tensor::Data::String($values) => $body,
        }
    };
}
pub(crate) use each_data;

/// A type that tensors hold.
pub trait Element: Clone + PartialEq + fmt::Debug + Send + Sync + sealed::Sealed + 'static {
    /// Its name in signatures.
    const TYPE: DataType;
    /// The elements, when `data` is of this type.
    fn of(data: &Data) -> Option<&[Self]>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($type:ty => $variant:ident),* $(,)?) => {
        $(
            impl sealed::Sealed for $type {}
            impl Element for $type {
                const TYPE: DataType = DataType::$variant;
                fn of(data: &Data) -> Option<&[Self]> {
                    match data {
                        Data::$variant(values) => Some(values),
                        _ => None,
                    }
                }
            }
            impl From<Vec<$type>> for Data {
                fn from(values: Vec<$type>) -> Self {
                    Self::$variant(Arc::new(values))
                }
            }
        )*

        impl Data {
            /// The element type.
            #[must_use]
            pub fn data_type(&self) -> DataType {
                match self {
                    $(Self::$variant(_) => DataType::$variant,)*
                }
            }
        }
    };
}

elements! {
    bool => Bool, i8 => Int8, i16 => Int16, i32 => Int32, i64 => Int64, u8 => UInt8, u16 => UInt16, u32 => UInt32,
    u64 => UInt64, f32 => Float32, f64 => Float64, Text => String,
}

impl Data {
    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        each_data!(self, values => values.len())
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `count` zeros, falses or empty texts.
    pub(crate) fn zeros(data_type: DataType, count: usize) -> Option<Self> {
        Some(match data_type {
            DataType::Bool => vec![false; count].into(),
            DataType::Int8 => vec![0_i8; count].into(),
            DataType::Int16 => vec![0_i16; count].into(),
            DataType::Int32 => vec![0_i32; count].into(),
            DataType::Int64 => vec![0_i64; count].into(),
            DataType::UInt8 => vec![0_u8; count].into(),
            DataType::UInt16 => vec![0_u16; count].into(),
            DataType::UInt32 => vec![0_u32; count].into(),
            DataType::UInt64 => vec![0_u64; count].into(),
            DataType::Float32 => vec![0_f32; count].into(),
            DataType::Float64 => vec![0_f64; count].into(),
            DataType::String => vec![Text::from(""); count].into(),
            _ => return None,
        })
    }
}

/// Blocks of elements by their number; none when one lies outside.
pub(super) fn take<T: Clone>(values: &[T], places: &[usize], block: usize) -> Option<Vec<T>> {
    if block == 1 {
        return places.iter().map(|&place| values.get(place).cloned()).collect();
    }
    let mut taken = Vec::with_capacity(places.len().saturating_mul(block).min(values.len().saturating_mul(2)));
    for &place in places {
        let from = place.checked_mul(block)?;
        taken.extend_from_slice(values.get(from..from.checked_add(block)?)?);
    }
    Some(taken)
}
