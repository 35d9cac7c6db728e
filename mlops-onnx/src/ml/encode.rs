//! Categories to numbers and back: `OneHotEncoder`, `LabelEncoder`, `CategoryMapper`.
//!
//! A repeated key keeps its last value. A missing number is a key like any other from version 4 of LabelEncoder on;
//! before, it matches nothing.

use std::collections::HashMap;

use mlops_core::{DataType, Error, Result};

use crate::{
    Tensor,
    graph::{Args, Kernel, NodeDef},
    tensor::{Data, Text},
};

pub(crate) fn kernel(node: &NodeDef) -> Result<Kernel> {
    match node.op_type.as_str() {
        "OneHotEncoder" => one_hot(node),
        "CategoryMapper" => mapper(node),
        _ => label_encoder(node),
    }
}

/// Keys as they are looked up: numbers by their bits, with one zero and one not-a-number.
#[derive(Debug)]
enum Lookup {
    Texts(HashMap<Text, usize>),
    Ints(HashMap<i64, usize>),
    Singles(HashMap<u32, usize>),
    Doubles(HashMap<u64, usize>),
}

fn single_bits(value: f32) -> u32 {
    if value.is_nan() { f32::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

fn double_bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

impl Lookup {
    fn new(keys: &Data) -> Result<Self> {
        Ok(match keys {
            Data::String(keys) => Self::Texts(keys.iter().cloned().enumerate().map(|(i, key)| (key, i)).collect()),
            Data::Float32(keys) => {
                Self::Singles(keys.iter().enumerate().map(|(i, &key)| (single_bits(key), i)).collect())
            }
            Data::Float64(keys) => {
                Self::Doubles(keys.iter().enumerate().map(|(i, &key)| (double_bits(key), i)).collect())
            }
            _ => {
                let keys = Tensor::vector(keys.clone());
                Self::Ints(keys.converted::<i64>()?.iter().enumerate().map(|(i, &key)| (key, i)).collect())
            }
        })
    }

    /// Where each element's key stands; none for an unknown one.
    fn find(&self, x: &Tensor) -> Result<Vec<Option<usize>>> {
        Ok(match self {
            Self::Texts(keys) => x.values::<Text>()?.iter().map(|text| keys.get(text).copied()).collect(),
            Self::Singles(keys) => {
                x.converted::<f32>()?.iter().map(|&value| keys.get(&single_bits(value)).copied()).collect()
            }
            Self::Doubles(keys) => {
                x.converted::<f64>()?.iter().map(|&value| keys.get(&double_bits(value)).copied()).collect()
            }
            Self::Ints(_) if x.data_type() == DataType::String => {
                return Err(Error::invalid_argument("keys are numbers, but the input is text"));
            }
            Self::Ints(keys) => x.converted::<i64>()?.iter().map(|value| keys.get(value).copied()).collect(),
        })
    }
}

/// One column for each category. Floats are truncated to the integers of the list.
fn one_hot(node: &NodeDef) -> Result<Kernel> {
    let (texts, ints) = (node.texts("cats_strings")?, node.ints("cats_int64s")?);
    if texts.is_empty() == ints.is_empty() {
        return Err(Error::invalid_argument("exactly one of cats_strings and cats_int64s must be given"));
    }
    let count = texts.len().max(ints.len());
    let lookup = Lookup::new(&if texts.is_empty() { Data::from(ints.to_vec()) } else { Data::from(shared(texts)) })?;
    let zeros = node.int("zeros", 1)? != 0;
    Ok(Kernel::one(move |args| {
        let x = args.get(0)?;
        let mut shape = x.shape().to_vec();
        shape.push(count);
        let mut values = vec![0.0_f32; args.limits.elements(&shape)?];
        for (found, row) in lookup.find(x)?.into_iter().zip(values.chunks_exact_mut(count)) {
            match found.and_then(|found| row.get_mut(found)) {
                Some(one) => *one = 1.0,
                None if zeros => {}
                None => return Err(unknown_category()),
            }
        }
        Tensor::new(shape, values)
    }))
}

fn unknown_category() -> Error {
    let message = "a category is not among those the model was trained on; export with handle_unknown=\"ignore\"";
    Error::invalid_argument(message).with(crate::INPUT_VALUE, "category")
}

fn shared(texts: &[String]) -> Vec<Text> {
    texts.iter().map(|text| text.as_str().into()).collect()
}

/// Keys to values; both may be given as lists or tensors.
#[derive(Debug)]
struct Mapping {
    lookup: Lookup,
    /// The values, then the default.
    values: Tensor,
}

impl Mapping {
    fn new(keys: &Data, values: &Data, default: &Data) -> Result<Self> {
        if keys.len() != values.len() || default.len() != 1 {
            return Err(Error::invalid_argument(format!("{} keys have {} values", keys.len(), values.len())));
        }
        let values = crate::ops::concat(&[&Tensor::vector(values.clone()), &Tensor::vector(default.clone())], 0)?;
        Ok(Self { lookup: Lookup::new(keys)?, values })
    }

    fn run(&self, x: &Tensor) -> Result<Tensor> {
        let default = self.values.len() - 1;
        let places: Vec<usize> = self.lookup.find(x)?.into_iter().map(|found| found.unwrap_or(default)).collect();
        self.values.gathered(x.shape(), &places, 1)
    }
}

/// The list attribute of this prefix, whatever its type.
fn list(node: &NodeDef, prefix: &str) -> Result<Option<Data>> {
    let name = |kind: &str| format!("{prefix}_{kind}");
    if let Some(tensor) = node.tensor(&name("tensor"))? {
        return Ok(Some(tensor.data().clone()));
    }
    if node.has(&name("strings")) {
        return Ok(Some(Data::from(shared(node.texts(&name("strings"))?))));
    }
    if node.has(&name("int64s")) {
        return Ok(Some(Data::from(node.ints(&name("int64s"))?.to_vec())));
    }
    if node.has(&name("floats")) {
        return Ok(Some(Data::from(node.floats(&name("floats"))?.to_vec())));
    }
    Ok(None)
}

fn label_encoder(node: &NodeDef) -> Result<Kernel> {
    if node.version < 2 {
        return class_encoder(node);
    }
    let missing = |what: &str| Error::invalid_argument(format!("LabelEncoder has no {what}"));
    let keys = list(node, "keys")?.ok_or_else(|| missing("keys"))?;
    let values = list(node, "values")?.ok_or_else(|| missing("values"))?;
    let given = node.tensor("default_tensor")?.map(|tensor| tensor.data().clone());
    let default = match (given, values.data_type()) {
        (Some(given), _) => given,
        (None, DataType::String) => Data::from(vec![Text::from(node.text("default_string", "_Unused")?)]),
        (None, DataType::Float32) => Data::from(vec![node.float("default_float", -0.0)?]),
        (None, DataType::Float64) => Data::from(vec![-0.0_f64]),
        (None, other) => crate::tensor::cast(&Data::from(vec![node.int("default_int64", -1)?]), other)?,
    };
    let mut mapping = Mapping::new(&keys, &values, &default)?;
    if node.version < 4
        && let Lookup::Singles(keys) = &mut mapping.lookup
    {
        keys.remove(&single_bits(f32::NAN));
    }
    Ok(Kernel::one(move |args| mapping.run(args.get(0)?)))
}

/// Version 1: texts to their positions and back.
fn class_encoder(node: &NodeDef) -> Result<Kernel> {
    let texts = Data::from(shared(node.texts("classes_strings")?));
    let numbers = Data::from((0..texts.len()).filter_map(|i| i64::try_from(i).ok()).collect::<Vec<_>>());
    both_ways(node, &texts, &numbers)
}

fn mapper(node: &NodeDef) -> Result<Kernel> {
    let texts = Data::from(shared(node.texts("cats_strings")?));
    both_ways(node, &texts, &Data::from(node.ints("cats_int64s")?.to_vec()))
}

fn both_ways(node: &NodeDef, texts: &Data, numbers: &Data) -> Result<Kernel> {
    let to_numbers = Mapping::new(texts, numbers, &Data::from(vec![node.int("default_int64", -1)?]))?;
    let to_texts =
        Mapping::new(numbers, texts, &Data::from(vec![Text::from(node.text("default_string", "_Unused")?)]))?;
    Ok(Kernel::one(move |args: &Args<'_>| {
        let x = args.get(0)?;
        if x.data_type() == DataType::String { to_numbers.run(x) } else { to_texts.run(x) }
    }))
}
