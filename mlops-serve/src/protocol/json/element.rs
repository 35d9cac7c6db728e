//! Which JSON scalars an element type takes.
//!
//! Nothing is converted that would lose something: whole numbers become floats, never the other way round, and a
//! number out of range is refused.

/// An element type that JSON scalars can become.
pub(super) trait Element: Sized {
    const EXPECTED: &'static str;
    /// Whether numbers of JSON become it.
    const NUMBER: bool = false;
    fn from_bool(_: bool) -> Option<Self> {
        None
    }
    fn from_u64(_: u64) -> Option<Self> {
        None
    }
    fn from_i64(_: i64) -> Option<Self> {
        None
    }
    fn from_f64(_: f64) -> Option<Self> {
        None
    }
    fn from_text(_: &str) -> Option<Self> {
        None
    }
    /// From the value of a `{"b64": text}` object.
    fn from_bytes(_: Vec<u8>) -> Option<Self> {
        None
    }
    fn from_null() -> Option<Self> {
        None
    }
    /// From `NaN`, `Infinity` or `-Infinity`.
    fn from_non_finite(_: f64) -> Option<Self> {
        None
    }
}

macro_rules! integer {
    ($($type:ty)*) => {
        $(impl Element for $type {
            const EXPECTED: &'static str = concat!("a whole number that fits ", stringify!($type));
            const NUMBER: bool = true;
            fn from_u64(value: u64) -> Option<Self> {
                value.try_into().ok()
            }
            fn from_i64(value: i64) -> Option<Self> {
                value.try_into().ok()
            }
        })*
    };
}
integer!(u8 u16 u32 u64 i8 i16 i32 i64);

macro_rules! float {
    ($($type:ty)*) => {
        $(impl Element for $type {
            const EXPECTED: &'static str = concat!("a number that fits ", stringify!($type));
            const NUMBER: bool = true;
            fn from_u64(value: u64) -> Option<Self> {
                Some(value as Self)
            }
            fn from_i64(value: i64) -> Option<Self> {
                Some(value as Self)
            }
            // Rounding to the nearest is what a float means; a finite number that becomes infinite is a loss.
            fn from_f64(value: f64) -> Option<Self> {
                Some(value as Self).filter(|rounded| rounded.is_finite())
            }
            fn from_non_finite(value: f64) -> Option<Self> {
                Some(value as Self)
            }
        })*
    };
}
float!(f32 f64);

impl Element for bool {
    const EXPECTED: &'static str = "true or false";
    fn from_bool(value: bool) -> Option<Self> {
        Some(value)
    }
}

impl Element for Vec<u8> {
    const EXPECTED: &'static str = "a string";
    fn from_text(text: &str) -> Option<Self> {
        Some(text.as_bytes().to_vec())
    }
    fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        Some(bytes)
    }
}

/// An element that may be missing.
impl<T: Element> Element for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    const NUMBER: bool = T::NUMBER;
    fn from_bool(value: bool) -> Option<Self> {
        T::from_bool(value).map(Some)
    }
    fn from_u64(value: u64) -> Option<Self> {
        T::from_u64(value).map(Some)
    }
    fn from_i64(value: i64) -> Option<Self> {
        T::from_i64(value).map(Some)
    }
    fn from_f64(value: f64) -> Option<Self> {
        T::from_f64(value).map(Some)
    }
    fn from_text(text: &str) -> Option<Self> {
        T::from_text(text).map(Some)
    }
    fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        T::from_bytes(bytes).map(Some)
    }
    fn from_null() -> Option<Self> {
        Some(None)
    }
    fn from_non_finite(value: f64) -> Option<Self> {
        T::from_non_finite(value).map(Some)
    }
}
