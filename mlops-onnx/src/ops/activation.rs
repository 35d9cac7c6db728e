//! One value in, one out: elementary functions and the activations of dense networks.

use mlops_core::{DataType, Result};

use super::no_type;
use crate::{
    Tensor,
    graph::{Args, Kernel, NodeDef},
    tensor::Data,
    trees::logistic,
};

/// Applies a function to every float; single precision is computed as such.
fn map(x: &Tensor, single: impl Fn(f32) -> f32, double: impl Fn(f64) -> f64) -> Result<Tensor> {
    let data: Data = match x.data() {
        Data::Float32(values) => values.iter().map(|&v| single(v)).collect::<Vec<_>>().into(),
        Data::Float64(values) => values.iter().map(|&v| double(v)).collect::<Vec<_>>().into(),
        _ => return Err(no_type(x.data_type())),
    };
    Tensor::new(x.shape(), data)
}

/// A kernel of one function, written once for both precisions.
macro_rules! each {
    ($v:ident => $body:expr) => {
        Ok(Kernel::one(move |args: &Args<'_>| map(args.get(0)?, |$v: f32| $body, |$v: f64| $body)))
    };
}

/// `Abs`, `Exp`, ...
pub(super) fn elementary(node: &NodeDef) -> Result<Kernel> {
    match node.op_type.as_str() {
        "Abs" => Ok(Kernel::one(|args| signed(args.get(0)?, i64::saturating_abs, f64::abs))),
        "Neg" => Ok(Kernel::one(|args| signed(args.get(0)?, i64::wrapping_neg, |v| -v))),
        "Sign" => Ok(Kernel::one(|args| signed(args.get(0)?, i64::signum, sign))),
        "Sqrt" => each!(v => v.sqrt()),
        "Exp" => each!(v => v.exp()),
        "Log" => each!(v => v.ln()),
        "Floor" => each!(v => v.floor()),
        "Ceil" => each!(v => v.ceil()),
        "Round" => each!(v => v.round_ties_even()),
        "Reciprocal" => each!(v => v.recip()),
        "Sin" => each!(v => v.sin()),
        "Cos" => each!(v => v.cos()),
        "Tan" => each!(v => v.tan()),
        "Atan" => each!(v => v.atan()),
        "Asin" => each!(v => v.asin()),
        "Acos" => each!(v => v.acos()),
        "Sinh" => each!(v => v.sinh()),
        "Cosh" => each!(v => v.cosh()),
        _ => Ok(Kernel::one(|args| map(args.get(0)?, |v| erf(v.into()) as f32, erf))),
    }
}

fn sign(v: f64) -> f64 {
    if v > 0.0 {
        1.0
    } else if v < 0.0 {
        -1.0
    } else {
        v
    }
}

/// Functions that integers have too.
fn signed(x: &Tensor, int: impl Fn(i64) -> i64, float: impl Fn(f64) -> f64) -> Result<Tensor> {
    match x.data_type() {
        DataType::Float32 | DataType::Float64 => map(x, |v| float(v.into()) as f32, &float),
        DataType::Int64 | DataType::Int32 => {
            let values: Vec<i64> = x.converted::<i64>()?.iter().map(|&v| int(v)).collect();
            Tensor::new(x.shape(), crate::tensor::cast(&Data::from(values), x.data_type())?)
        }
        other => Err(no_type(other)),
    }
}

/// `Relu`, `Sigmoid`, ...
pub(super) fn kernel(node: &NodeDef) -> Result<Kernel> {
    let alpha = |default: f32| node.float("alpha", default);
    match node.op_type.as_str() {
        "Relu" => Ok(Kernel::one(|args| signed_relu(args.get(0)?))),
        "LeakyRelu" => {
            let alpha = alpha(0.01)?;
            Ok(Kernel::one(move |args| map(args.get(0)?, |v| leaky(v, alpha), |v| leaky(v, f64::from(alpha)))))
        }
        "ThresholdedRelu" => {
            let alpha = alpha(1.0)?;
            Ok(Kernel::one(move |args| {
                let double = f64::from(alpha);
                map(args.get(0)?, |v| if v > alpha { v } else { 0.0 }, |v| if v > double { v } else { 0.0 })
            }))
        }
        "PRelu" => Ok(Kernel::one(parametric)),
        "Elu" => {
            let alpha = f64::from(alpha(1.0)?);
            through_double(move |v| if v < 0.0 { alpha * v.exp_m1() } else { v })
        }
        "Celu" => {
            let alpha = f64::from(alpha(1.0)?);
            through_double(move |v| v.max(0.0) + (alpha * (v / alpha).exp_m1()).min(0.0))
        }
        "Selu" => {
            let (alpha, gamma) = (f64::from(alpha(1.673_263_2)?), f64::from(node.float("gamma", 1.050_701)?));
            through_double(move |v| gamma * if v > 0.0 { v } else { alpha * v.exp_m1() })
        }
        "HardSigmoid" => {
            let (alpha, beta) = (f64::from(alpha(0.2)?), f64::from(node.float("beta", 0.5)?));
            through_double(move |v| (alpha * v + beta).clamp(0.0, 1.0))
        }
        "HardSwish" => through_double(|v| v * (v / 6.0 + 0.5).clamp(0.0, 1.0)),
        "Sigmoid" => Ok(Kernel::one(|args| map(args.get(0)?, logistic, |v| 1.0 / (1.0 + (-v).exp())))),
        "Tanh" => each!(v => v.tanh()),
        "Softplus" => through_double(softplus),
        "Softsign" => each!(v => v / (1.0 + v.abs())),
        "Mish" => through_double(|v| v * softplus(v).tanh()),
        _ if node.text("approximate", "none")? == "tanh" => through_double(|v| {
            0.5 * v * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (v + 0.044_715 * v * v * v)).tanh())
        }),
        _ => through_double(|v| 0.5 * v * (1.0 + erf(v / std::f64::consts::SQRT_2))),
    }
}

fn through_double(f: impl Fn(f64) -> f64 + Send + Sync + 'static) -> Result<Kernel> {
    Ok(Kernel::one(move |args| map(args.get(0)?, |v| f(v.into()) as f32, &f)))
}

fn leaky<T: PartialOrd + Default + std::ops::Mul<Output = T>>(v: T, slope: T) -> T {
    if v < T::default() { v * slope } else { v }
}

/// A missing value stays missing.
fn signed_relu(x: &Tensor) -> Result<Tensor> {
    signed(x, |v| v.max(0), |v| if v < 0.0 { 0.0 } else { v })
}

fn parametric(args: &Args<'_>) -> Result<Tensor> {
    let (x, slope) = (args.get(0)?, args.get(1)?);
    let (left, right) = ((x.values::<f32>()?, x.shape()), (slope.values::<f32>()?, slope.shape()));
    let (shape, values) = crate::tensor::binary(left, right, args.limits, |&v, &slope| leaky(v, slope))?;
    Tensor::new(shape, values)
}

/// ln(1 + exp(v)) without overflow.
fn softplus(v: f64) -> f64 {
    v.max(0.0) + (-v.abs()).exp().ln_1p()
}

/// The error function, to 1.2e-7 everywhere: Chebyshev fitting of Numerical Recipes, section 6.2, for the tail; its
/// Maclaurin series near zero, where the fit loses relative precision.
pub(crate) fn erf(x: f64) -> f64 {
    if x.abs() < 0.5 {
        let mut term = x;
        let mut sum = x;
        for n in 1..16 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return std::f64::consts::FRAC_2_SQRT_PI * sum;
    }
    const FIT: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let t = 1.0 / (1.0 + 0.5 * x.abs());
    let polynomial = FIT.iter().rev().fold(0.0, |sum, c| sum * t + c);
    let complement = t * (-x * x + polynomial).exp();
    if x >= 0.0 { 1.0 - complement } else { complement - 1.0 }
}

/// `Clip`: bounds are attributes before version 11, inputs from it on.
pub(super) fn clip(node: &NodeDef) -> Result<Kernel> {
    let (low, high) = (node.float("min", f32::MIN)?, node.float("max", f32::MAX)?);
    let attributes = node.version < 11;
    Ok(Kernel::one(move |args| {
        let x = args.get(0)?;
        let bound = |index: usize, default: f64| -> Result<f64> {
            match args.optional(index) {
                Some(bound) => Ok(bound.converted::<f64>()?.first().copied().unwrap_or(default)),
                None => Ok(default),
            }
        };
        let (low, high) = if attributes {
            (f64::from(low), f64::from(high))
        } else {
            (bound(1, f64::NEG_INFINITY)?, bound(2, f64::INFINITY)?)
        };
        let limit = |v: f64| if v < low { low } else { v };
        let limit = |v: f64| {
            let v = limit(v);
            if v > high { high } else { v }
        };
        match x.data_type() {
            DataType::Float32 | DataType::Float64 => map(x, |v| limit(v.into()) as f32, limit),
            _ => {
                let values: Vec<f64> = x.converted::<f64>()?.iter().map(|&v| limit(v)).collect();
                Tensor::new(x.shape(), crate::tensor::cast(&Data::from(values), x.data_type())?)
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function_agrees_with_scipy() {
        // scipy 1.17 special.erf.
        for (x, value) in [
            (0.0, 0.0),
            (0.1, 0.112_462_916_018_284_9),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (-2.0, -0.995_322_265_018_952_7),
            (6.0, 1.0),
        ] {
            assert!((erf(x) - value).abs() < 2e-7, "erf({x}) = {}", erf(x));
        }
    }
}
