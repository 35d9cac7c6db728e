//! What a request says beside its tensors, over REST and gRPC alike: which outputs it wants in which form, and how
//! urgent it is.

use std::{borrow::Cow, time::Duration};

use mlops_core::{Error, Result};

use crate::{
    executor::Priority,
    protocol::{known_output, largest},
    repository::LoadedVersion,
    server::{InferOptions, context_of},
    tensor::Tensor,
};

/// Named values, as JSON and protobuf write them.
pub(crate) trait Parameters {
    fn has(&self, name: &str) -> bool;
    fn text(&self, name: &str) -> Option<&str>;
    /// A whole number that is not negative.
    fn number(&self, name: &str) -> Option<u64>;
    fn flag(&self, name: &str) -> Option<bool>;
}

impl<P: Parameters> Parameters for Option<P> {
    fn has(&self, name: &str) -> bool {
        self.as_ref().is_some_and(|all| all.has(name))
    }
    fn text(&self, name: &str) -> Option<&str> {
        self.as_ref()?.text(name)
    }
    fn number(&self, name: &str) -> Option<u64> {
        self.as_ref()?.number(name)
    }
    fn flag(&self, name: &str) -> Option<bool> {
        self.as_ref()?.flag(name)
    }
}

/// How a request with these parameters wants to be answered; an empty id is none.
///
/// # Errors
/// `InvalidArgument` for a context that is no list of numbers.
pub(crate) fn options(id: Option<&str>, parameters: &impl Parameters) -> Result<InferOptions> {
    Ok(InferOptions {
        request_id: id.filter(|id| !id.is_empty()).map(str::to_owned),
        routing_key: parameters.text("routing_key").map(str::to_owned),
        timeout: parameters.number("timeout").filter(|&us| us > 0).map(Duration::from_micros),
        priority: Priority::from_level(parameters.number("priority").unwrap_or(0)),
        context: parameters.text("context").map(context_of).transpose()?.unwrap_or_default(),
        ..InferOptions::default()
    })
}

/// Refuses a tensor that is to lie in shared memory, which clients of Triton register beforehand; here it cannot be.
///
/// # Errors
/// `InvalidArgument` naming the region.
pub(crate) fn not_shared(what: &str, name: &str, parameters: &impl Parameters) -> Result<()> {
    match parameters.text("shared_memory_region") {
        Some(region) => Err(Error::invalid_argument(format!(
            "{what} {name:?} is to lie in the shared memory region {region:?}, and this server takes none; send the values"
        ))),
        None => Ok(()),
    }
}

/// How one output should look.
#[derive(Debug)]
pub(crate) struct WishedOutput {
    pub(crate) name: String,
    /// In binary; where the request does not say, it is decided for all outputs together.
    pub(crate) binary: Option<bool>,
    /// Only the largest values, as text.
    pub(crate) classes: Option<usize>,
}

impl WishedOutput {
    /// Reads a requested output.
    ///
    /// # Errors
    /// `InvalidArgument` for an output that the model does not have, one that is to lie in shared memory, and a number of
    /// classes that is none.
    pub(crate) fn of(name: &str, parameters: &impl Parameters, version: &LoadedVersion) -> Result<Self> {
        let name = known_output(version, name)?.name.clone();
        not_shared("output", &name, parameters)?;
        let classes = parameters.number("classification").and_then(|count| usize::try_from(count).ok());
        let classes = classes.filter(|count| *count > 0);
        if classes.is_none() && parameters.has("classification") {
            return Err(Error::invalid_argument(format!(
                "classification of output {name:?} must be a whole number above 0"
            )));
        }
        Ok(Self { name, binary: parameters.flag("binary_data"), classes })
    }

    /// Every output as it is.
    #[cfg(feature = "grpc")]
    pub(crate) fn all(tensors: &[Tensor]) -> Vec<Self> {
        let plain = |tensor: &Tensor| Self { name: tensor.name().to_owned(), binary: None, classes: None };
        tensors.iter().map(plain).collect()
    }

    /// The tensor that is meant, in the form that was asked for.
    ///
    /// # Errors
    /// `Internal` when the model did not give an output it describes; `InvalidArgument` for classes of what is no number.
    pub(crate) fn granted<'a>(&self, tensors: &'a [Tensor]) -> Result<Cow<'a, Tensor>> {
        let tensor = tensors.iter().find(|tensor| tensor.name() == self.name);
        let tensor =
            tensor.ok_or_else(|| Error::internal(format!("the model did not give its output {:?}", self.name)))?;
        match self.classes {
            Some(count) => largest(tensor, count).map(Cow::Owned),
            None => Ok(Cow::Borrowed(tensor)),
        }
    }
}
