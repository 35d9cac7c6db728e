//! The operators, by domain and name.
//!
//! Each file has one idea; an operator is a function from a node's attributes to a kernel. What is not in the table is
//! refused when the model is loaded.

mod activation;
mod arithmetic;
mod choose;
mod constant;
mod dense;
mod extremes;
mod join;
mod layer;
mod normalize;
mod pick;
mod product;
mod reduce;
mod reorder;
mod shape;

use mlops_core::{DataType, Error, Result};

pub(crate) use join::concat as concat_within;
pub(crate) use layer::Layer;
pub(crate) use pick::{along, index_of};
pub(crate) use product::multiply_into;

use crate::{
    Limits, Tensor,
    graph::{Kernel, NodeDef},
    ml, trees,
};

/// Tensors that a model stores, one after the other along an axis.
pub(crate) fn concat(parts: &[&Tensor], axis: i64) -> Result<Tensor> {
    join::concat(parts, axis, &Limits::default())
}

/// The value of a node that is one, whatever the inputs.
pub(crate) fn constant(node: &NodeDef) -> Result<Option<Tensor>> {
    if node.domain.is_empty() || node.domain == "ai.onnx" { constant::value(node) } else { Ok(None) }
}

/// The kernel of a node.
///
/// # Errors
/// `Unimplemented` for an unknown operator, else what is wrong with its attributes.
pub(crate) fn kernel(node: &NodeDef) -> Result<Kernel> {
    match node.domain.as_str() {
        "" | "ai.onnx" => main(node),
        "ai.onnx.ml" => traditional(node),
        "com.microsoft" if node.op_type == "Gelu" => activation::kernel(node),
        "com.microsoft" if node.op_type == "CDist" => dense::distances(node),
        _ => Err(unknown(node)),
    }
}

fn unknown(node: &NodeDef) -> Error {
    Error::unimplemented(format!(
        "operator {} of domain {:?} version {} is not supported; export the model without it",
        node.op_type, node.domain, node.version
    ))
}

fn main(node: &NodeDef) -> Result<Kernel> {
    match node.op_type.as_str() {
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Pow" | "Min" | "Max" | "Sum" | "Mean" => arithmetic::combine(node),
        "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" => arithmetic::compare(node),
        "And" | "Or" | "Xor" => arithmetic::logic(node),
        "Not" | "IsNaN" | "IsInf" => arithmetic::test(node),
        "Abs" | "Neg" | "Sign" | "Sqrt" | "Exp" | "Log" | "Floor" | "Ceil" | "Round" | "Reciprocal" | "Sin" | "Cos"
        | "Tan" | "Atan" | "Asin" | "Acos" | "Sinh" | "Cosh" | "Erf" => activation::elementary(node),
        "Relu" | "LeakyRelu" | "PRelu" | "Elu" | "Selu" | "Celu" | "Sigmoid" | "HardSigmoid" | "Tanh" | "Softplus"
        | "Softsign" | "Gelu" | "HardSwish" | "Mish" | "ThresholdedRelu" => activation::kernel(node),
        "Softmax" | "LogSoftmax" => normalize::softmax(node),
        "Clip" => activation::clip(node),
        "MatMul" | "Gemm" => dense::kernel(node),
        "BatchNormalization" => normalize::batch(node),
        "LayerNormalization" => normalize::layer(node),
        "LpNormalization" => normalize::lp(node),
        "Cast" | "CastLike" => shape::cast_to(node),
        "Identity" | "Dropout" => shape::identity(node),
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => shape::kernel(node),
        "Shape" | "Size" => shape::describe(node),
        "Transpose" | "Expand" | "Tile" => reorder::kernel(node),
        "Slice" | "Gather" | "GatherElements" | "GatherND" => pick::kernel(node),
        "Concat" | "Split" => join::kernel(node),
        "Pad" | "ScatterElements" => join::place(node),
        "ConstantOfShape" | "Range" | "EyeLike" => constant::kernel(node),
        "Where" | "OneHot" | "Compress" | "NonZero" => choose::kernel(node),
        "ArgMax" | "ArgMin" | "TopK" => extremes::kernel(node),
        "CumSum" => reduce::cumulative(node),
        name if name.starts_with("Reduce") => reduce::kernel(node),
        _ => Err(unknown(node)),
    }
}

fn traditional(node: &NodeDef) -> Result<Kernel> {
    match node.op_type.as_str() {
        "TreeEnsembleClassifier" => trees::classifier(node),
        "TreeEnsembleRegressor" => trees::regressor(node),
        "TreeEnsemble" => trees::ensemble(node),
        "LinearClassifier" | "LinearRegressor" => ml::linear(node),
        "SVMClassifier" | "SVMRegressor" => ml::svm(node),
        "Scaler" | "Normalizer" | "Binarizer" | "Imputer" => ml::scale(node),
        "OneHotEncoder" | "LabelEncoder" | "CategoryMapper" => ml::encode(node),
        "FeatureVectorizer" | "ArrayFeatureExtractor" | "ZipMap" => ml::arrange(node),
        _ => Err(unknown(node)),
    }
}

/// Refuses to go on with a type that an operator is not made for.
pub(crate) fn no_type(data_type: DataType) -> Error {
    Error::unimplemented(format!("it does not work on {data_type}; cast to float32 before it"))
}
