//! The float parameters of a module as one vector on the host, in the order in which the module is
//! visited.

use std::ops::Range;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{DType, Device, Tensor, TensorData},
};
use mlops_core::{Error, Result};

use crate::device;

/// One parameter of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// Its path, such as `layers.0.weight`.
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    /// Whether it requires gradients.
    pub(super) trained: bool,
    length: usize,
}

/// All float parameters of a module.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parameters {
    layout: Vec<Slot>,
    pub(super) values: Vec<f32>,
}

impl Parameters {
    /// Reads a module.
    ///
    /// # Errors
    /// `InvalidArgument` when it has no parameter that requires gradients.
    pub(super) fn of<M: Module>(module: &M) -> Result<Self> {
        let mut reader = Reader { path: Vec::new(), layout: Vec::new(), values: Vec::new(), fault: None };
        module.visit(&mut reader);
        if let Some(fault) = reader.fault {
            return Err(fault);
        }
        if !reader.layout.iter().any(|slot| slot.trained) {
            return Err(Error::invalid_argument(
                "the module has no parameter that requires gradients; make it on the device that init is given",
            ));
        }
        Ok(Self { layout: reader.layout, values: reader.values })
    }

    pub(super) fn layout(&self) -> &[Slot] {
        &self.layout
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// A vector that is laid out like the parameters, parameter by parameter.
    pub(super) fn slots<'a>(&'a self, mut values: &'a [f32]) -> impl Iterator<Item = (&'a Slot, &'a [f32])> {
        self.layout.iter().map(move |slot| {
            let (head, rest) = values.split_at(slot.length.min(values.len()));
            values = rest;
            (slot, head)
        })
    }

    /// The module with these values, rounded to `dtype`, on `device`.
    pub(super) fn write<M: Module>(&self, values: &[f32], module: M, device: &Device, dtype: DType) -> M {
        let values: Vec<&[f32]> = self.slots(values).map(|(_, values)| values).collect();
        module.map(&mut Writer { layout: self.layout.iter(), values: values.into_iter(), device, dtype })
    }

    /// Takes over what the module itself changed: parameters without gradients.
    pub(super) fn refresh<M: Module>(&mut self, module: &M) -> Result<()> {
        if self.layout.iter().all(|slot| slot.trained) {
            return Ok(());
        }
        let now = Self::of(module)?;
        for range in self.frozen() {
            if let (Some(kept), Some(found)) = (self.values.get_mut(range.clone()), now.values.get(range)) {
                kept.copy_from_slice(found);
            }
        }
        Ok(())
    }

    /// Changes the values but for those of parameters without gradients, which weight decay, too, must
    /// leave alone.
    pub(super) fn update(&mut self, change: impl FnOnce(&mut [f32])) {
        let frozen = self.frozen();
        let kept: Vec<Vec<f32>> =
            frozen.iter().map(|range| self.values.get(range.clone()).unwrap_or_default().to_vec()).collect();
        change(&mut self.values);
        for (range, kept) in frozen.into_iter().zip(kept) {
            if let Some(place) = self.values.get_mut(range) {
                place.copy_from_slice(&kept);
            }
        }
    }

    /// Where parameters without gradients lie.
    fn frozen(&self) -> Vec<Range<usize>> {
        let mut ranges = Vec::new();
        let mut at = 0;
        for slot in &self.layout {
            let range = at..at + slot.length;
            at = range.end;
            if !slot.trained {
                ranges.push(range);
            }
        }
        ranges
    }

    /// The gradients of a loss by parameter; zero where it does not depend on one.
    pub(super) fn gradients<M: Module>(&self, loss: &Tensor<1>, module: &M) -> Result<Vec<f32>> {
        let gradients = GradientsParams::from_grads(loss.backward(), module);
        let mut reader = GradientReader { gradients, values: Vec::with_capacity(self.len()), fault: None };
        module.visit(&mut reader);
        match reader.fault {
            Some(fault) => Err(fault),
            None => Ok(reader.values),
        }
    }
}

/// Numbers of a tensor on the host, in single precision. Here a device tells of all that failed since the last time.
///
/// # Errors
/// As [`device::failure`].
pub(crate) fn to_vec<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let data = tensor.try_into_data().map_err(|error| device::failure(&error.to_string()))?;
    data.convert::<f32>()
        .try_into_vec::<f32>()
        .map_err(|error| Error::internal(format!("tensor cannot be read in single precision: {error:?}")))
}

struct Reader {
    path: Vec<String>,
    layout: Vec<Slot>,
    values: Vec<f32>,
    fault: Option<Error>,
}

impl ModuleVisitor for Reader {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let (shape, trained) = (tensor.dims().to_vec(), tensor.is_require_grad());
        match to_vec(tensor) {
            Ok(values) => {
                self.layout.push(Slot { name: self.path.join("."), shape, trained, length: values.len() });
                self.values.extend(values);
            }
            Err(error) => self.fault = Some(error),
        }
    }
}

struct Writer<'a> {
    layout: std::slice::Iter<'a, Slot>,
    values: std::vec::IntoIter<&'a [f32]>,
    device: &'a Device,
    dtype: DType,
}

impl ModuleMapper for Writer<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (Some(slot), Some(values)) = (self.layout.next(), self.values.next()) else { return param };
        let (id, tensor, mapper) = param.consume();
        let data = TensorData::new(values.to_vec(), tensor.dims());
        let fresh = Tensor::<D>::from_data(data, (self.device, self.dtype));
        Param::from_mapped_value(id, if slot.trained { fresh.require_grad() } else { fresh }, mapper)
    }
}

struct GradientReader {
    gradients: GradientsParams,
    values: Vec<f32>,
    fault: Option<Error>,
}

impl ModuleVisitor for GradientReader {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        match self.gradients.remove::<D>(param.id).map(to_vec) {
            Some(Ok(values)) => self.values.extend(values),
            Some(Err(error)) => self.fault = Some(error),
            None => self.values.resize(self.values.len() + param.val().shape().num_elements(), 0.0),
        }
    }
}
