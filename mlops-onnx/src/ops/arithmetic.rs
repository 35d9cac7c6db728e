//! Two values in, one out: arithmetic, comparison, logic, with broadcasting.

use mlops_core::{Error, Result};

use super::no_type;
use crate::{
    Tensor,
    graph::{Args, Kernel, NodeDef},
    tensor::{Data, Element, binary},
};

/// Arithmetic of the four types that models compute in.
trait Arithmetic: Element + Copy + PartialOrd {
    fn apply(op: Combine, a: Self, b: Self) -> Self;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Combine {
    Add,
    Sub,
    Mul,
    Div,
    /// Remainder with the sign of the divisor.
    Mod,
    /// Remainder with the sign of the dividend, as C's fmod.
    Fmod,
    Min,
    Max,
}

macro_rules! floats {
    ($type:ty) => {
        impl Arithmetic for $type {
            #[inline(always)]
            fn apply(op: Combine, a: Self, b: Self) -> Self {
                match op {
                    Combine::Add => a + b,
                    Combine::Sub => a - b,
                    Combine::Mul => a * b,
                    Combine::Div => a / b,
                    Combine::Mod => a - (a / b).floor() * b,
                    Combine::Fmod => a % b,
                    // A missing value stays missing.
                    Combine::Min => {
                        if a.is_nan() || a < b {
                            a
                        } else {
                            b
                        }
                    }
                    Combine::Max => {
                        if a.is_nan() || a > b {
                            a
                        } else {
                            b
                        }
                    }
                }
            }
        }
    };
}

macro_rules! integers {
    ($type:ty) => {
        impl Arithmetic for $type {
            #[inline(always)]
            fn apply(op: Combine, a: Self, b: Self) -> Self {
                match op {
                    Combine::Add => a.wrapping_add(b),
                    Combine::Sub => a.wrapping_sub(b),
                    Combine::Mul => a.wrapping_mul(b),
                    // The standard leaves division by zero open; nothing is divided.
                    Combine::Div => a.checked_div(b).unwrap_or(0),
                    Combine::Mod => {
                        a.checked_rem(b).map_or(0, |r| if r != 0 && (r < 0) != (b < 0) { r + b } else { r })
                    }
                    Combine::Fmod => a.checked_rem(b).unwrap_or(0),
                    Combine::Min => a.min(b),
                    Combine::Max => a.max(b),
                }
            }
        }
    };
}

floats!(f32);
floats!(f64);
integers!(i32);
integers!(i64);

fn combined<T: Arithmetic>(op: Combine, a: &Tensor, b: &Tensor, args: &Args<'_>) -> Result<Tensor>
where
    Data: From<Vec<T>>,
{
    let (left, right) = ((a.values::<T>()?, a.shape()), (b.values::<T>()?, b.shape()));
    let limits = args.limits;
    // The operation is chosen outside of the loop, so that the loop is vector code.
    let (shape, values) = match op {
        Combine::Add => binary(left, right, limits, |&a, &b| T::apply(Combine::Add, a, b)),
        Combine::Sub => binary(left, right, limits, |&a, &b| T::apply(Combine::Sub, a, b)),
        Combine::Mul => binary(left, right, limits, |&a, &b| T::apply(Combine::Mul, a, b)),
        Combine::Div => binary(left, right, limits, |&a, &b| T::apply(Combine::Div, a, b)),
        other => binary(left, right, limits, |&a, &b| T::apply(other, a, b)),
    }?;
    Tensor::new(shape, values)
}

fn combine_two(op: Combine, a: &Tensor, b: &Tensor, args: &Args<'_>) -> Result<Tensor> {
    match a.data() {
        Data::Float32(_) => combined::<f32>(op, a, b, args),
        Data::Float64(_) => combined::<f64>(op, a, b, args),
        Data::Int64(_) => combined::<i64>(op, a, b, args),
        Data::Int32(_) => combined::<i32>(op, a, b, args),
        _ => Err(no_type(a.data_type())),
    }
}

/// `Add`, `Sub`, ..., and the ones of any number of inputs: `Min`, `Max`, `Sum`, `Mean`.
pub(super) fn combine(node: &NodeDef) -> Result<Kernel> {
    let op = match node.op_type.as_str() {
        "Add" | "Sum" | "Mean" => Combine::Add,
        "Sub" => Combine::Sub,
        "Mul" => Combine::Mul,
        "Div" => Combine::Div,
        "Mod" if node.int("fmod", 0)? != 0 => Combine::Fmod,
        "Mod" => Combine::Mod,
        "Min" => Combine::Min,
        "Max" => Combine::Max,
        _ => return Ok(Kernel::one(power)),
    };
    let mean = node.op_type == "Mean";
    Ok(Kernel::one(move |args| {
        let first = args.get(0)?.clone();
        let sum = args.all().skip(1).try_fold(first, |sum, next| combine_two(op, &sum, next, args))?;
        if !mean {
            return Ok(sum);
        }
        let count = args.all().count();
        match sum.data() {
            Data::Float64(_) => combine_two(Combine::Div, &sum, &Tensor::vector(vec![count as f64]), args),
            _ => combine_two(Combine::Div, &sum, &Tensor::vector(vec![count as f32]), args),
        }
    }))
}

/// `Pow`: the exponent may be of another type than the base, whose type the result has.
fn power(args: &Args<'_>) -> Result<Tensor> {
    let (base, exponent) = (args.get(0)?, args.get(1)?);
    let exponents = exponent.converted::<f64>()?;
    let bases = base.converted::<f64>()?;
    let (left, right) = ((&*bases, base.shape()), (&*exponents, exponent.shape()));
    let (shape, values) = binary(left, right, args.limits, |a, b| if *b == 2.0 { a * a } else { a.powf(*b) })?;
    Tensor::new(shape, crate::tensor::cast(&Data::from(values), base.data_type())?)
}

/// `Equal`, `Less`, ...
pub(super) fn compare(node: &NodeDef) -> Result<Kernel> {
    let name = node.op_type.clone();
    Ok(Kernel::one(move |args| {
        let (a, b) = (args.get(0)?, args.get(1)?);
        match a.data() {
            Data::Float32(_) => compared::<f32>(&name, a, b, args),
            Data::Float64(_) => compared::<f64>(&name, a, b, args),
            Data::Int64(_) => compared::<i64>(&name, a, b, args),
            Data::Int32(_) => compared::<i32>(&name, a, b, args),
            Data::UInt8(_) => compared::<u8>(&name, a, b, args),
            Data::Bool(_) => compared::<bool>(&name, a, b, args),
            Data::String(_) => compared::<crate::tensor::Text>(&name, a, b, args),
            _ => Err(no_type(a.data_type())),
        }
    }))
}

fn compared<T: Element + PartialOrd>(name: &str, a: &Tensor, b: &Tensor, args: &Args<'_>) -> Result<Tensor> {
    let (left, right) = ((a.values::<T>()?, a.shape()), (b.values::<T>()?, b.shape()));
    let (shape, values) = match name {
        "Equal" => binary(left, right, args.limits, |a, b| a == b),
        "Less" => binary(left, right, args.limits, |a, b| a < b),
        "LessOrEqual" => binary(left, right, args.limits, |a, b| a <= b),
        "Greater" => binary(left, right, args.limits, |a, b| a > b),
        _ => binary(left, right, args.limits, |a, b| a >= b),
    }?;
    Tensor::new(shape, values)
}

/// `And`, `Or`, `Xor`.
pub(super) fn logic(node: &NodeDef) -> Result<Kernel> {
    let name = node.op_type.clone();
    Ok(Kernel::one(move |args| {
        let (a, b) = (args.get(0)?, args.get(1)?);
        let (left, right) = ((a.values::<bool>()?, a.shape()), (b.values::<bool>()?, b.shape()));
        let (shape, values) = match name.as_str() {
            "And" => binary(left, right, args.limits, |&a, &b| a & b),
            "Or" => binary(left, right, args.limits, |&a, &b| a | b),
            _ => binary(left, right, args.limits, |&a, &b| a ^ b),
        }?;
        Tensor::new(shape, values)
    }))
}

/// `Not`, `IsNaN`, `IsInf`.
pub(super) fn test(node: &NodeDef) -> Result<Kernel> {
    let name = node.op_type.clone();
    let (negative, positive) = (node.int("detect_negative", 1)? != 0, node.int("detect_positive", 1)? != 0);
    Ok(Kernel::one(move |args| {
        let x = args.get(0)?;
        if name == "Not" {
            let values: Vec<bool> = x.values::<bool>()?.iter().map(|value| !value).collect();
            return Tensor::new(x.shape(), values);
        }
        let infinite = |v: f64| v.is_infinite() && if v > 0.0 { positive } else { negative };
        let check = |v: f64| if name == "IsNaN" { v.is_nan() } else { infinite(v) };
        let values: Vec<bool> = match x.data() {
            Data::Float32(values) => values.iter().map(|&v| check(v.into())).collect(),
            Data::Float64(values) => values.iter().map(|&v| check(v)).collect(),
            other => return Err(Error::invalid_argument(format!("floats are expected, found {}", other.data_type()))),
        };
        Tensor::new(x.shape(), values)
    }))
}
