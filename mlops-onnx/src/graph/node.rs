//! A node's attributes, by name and type, with the version of its operator set.
//!
//! Invariant: an attribute of another type than asked for is an error that names it, never a default.

use std::collections::BTreeMap;

use mlops_core::{Error, Result};

use crate::{
    Limits, Tensor,
    proto::{self, AttributeValue},
};

#[derive(Debug)]
pub(crate) struct NodeDef {
    pub(crate) op_type: String,
    pub(crate) domain: String,
    /// Version of the operator set of `domain`.
    pub(crate) version: i64,
    pub(crate) outputs: usize,
    attributes: BTreeMap<String, Value>,
    limits: Limits,
}

#[derive(Debug)]
enum Value {
    Plain(AttributeValue),
    Tensor(Tensor),
}

macro_rules! lists {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $variant:ident;)*) => {
        $($(#[$doc])*
        pub(crate) fn $name(&self, name: &str) -> Result<&[$type]> {
            match self.attributes.get(name) {
                None => Ok(&[]),
                Some(Value::Plain(AttributeValue::$variant(values))) => Ok(values),
                Some(_) => Err(self.wrong(name, stringify!($variant))),
            }
        })*
    };
}

impl NodeDef {
    pub(crate) fn new(node: proto::Node, version: i64, limits: &Limits) -> Result<Self> {
        let mut attributes = BTreeMap::new();
        for attribute in node.attributes {
            let value = match attribute.value {
                AttributeValue::Tensor(tensor) => Value::Tensor(tensor.into_tensor()?),
                plain => Value::Plain(plain),
            };
            attributes.insert(attribute.name, value);
        }
        Ok(Self {
            op_type: node.op_type,
            domain: node.domain,
            version,
            outputs: node.outputs.len(),
            attributes,
            limits: limits.clone(),
        })
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    fn wrong(&self, name: &str, expected: &str) -> Error {
        Error::invalid_argument(format!("attribute {name:?} of {} must be of type {expected}", self.op_type))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.attributes.contains_key(name)
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> Result<i64> {
        match self.attributes.get(name) {
            None => Ok(default),
            Some(Value::Plain(AttributeValue::Int(value))) => Ok(*value),
            Some(_) => Err(self.wrong(name, "Int")),
        }
    }

    pub(crate) fn float(&self, name: &str, default: f32) -> Result<f32> {
        match self.attributes.get(name) {
            None => Ok(default),
            Some(Value::Plain(AttributeValue::Float(value))) => Ok(*value),
            Some(_) => Err(self.wrong(name, "Float")),
        }
    }

    pub(crate) fn text<'a>(&'a self, name: &str, default: &'a str) -> Result<&'a str> {
        match self.attributes.get(name) {
            None => Ok(default),
            Some(Value::Plain(AttributeValue::Text(value))) => Ok(value),
            Some(_) => Err(self.wrong(name, "String")),
        }
    }

    pub(crate) fn tensor(&self, name: &str) -> Result<Option<&Tensor>> {
        match self.attributes.get(name) {
            None => Ok(None),
            Some(Value::Tensor(tensor)) => Ok(Some(tensor)),
            Some(_) => Err(self.wrong(name, "Tensor")),
        }
    }

    lists! {
        /// Empty when the attribute is absent.
        floats: f32 = Floats;
        /// Empty when the attribute is absent.
        ints: i64 = Ints;
        /// Empty when the attribute is absent.
        texts: String = Texts;
    }
}
