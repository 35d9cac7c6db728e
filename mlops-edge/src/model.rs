//! Columns, layers with rectifiers between them, and what becomes of the last number.

use alloc::vec::Vec;

use crate::{
    codec,
    column::{Column, Value},
    error::Error,
    layer::Layer,
    math::sigmoid,
};

/// Layers at most.
const LAYERS_MAX: usize = 256;

/// What the network's one output becomes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Output {
    pub(crate) probability: bool,
    pub(crate) mean: f64,
    pub(crate) scale: f64,
}

impl Output {
    /// Log odds into a probability.
    #[must_use]
    pub fn probability() -> Self {
        Self { probability: true, mean: 0.0, scale: 1.0 }
    }

    /// `mean + scale x`.
    #[must_use]
    pub fn number(mean: f64, scale: f64) -> Self {
        Self { probability: false, mean, scale }
    }
}

/// Memory that predictions use again.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    current: Vec<f32>,
    next: Vec<f32>,
    codes: Vec<i16>,
}

/// A perceptron for raw rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub(crate) columns: Vec<Column>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) output: Output,
}

impl Model {
    /// Puts a model together.
    ///
    /// # Errors
    /// [`Error::Malformed`] when columns, layers and the single output do not fit, or a number is
    /// not finite.
    pub fn new(columns: Vec<Column>, layers: Vec<Layer>, output: Output) -> Result<Self, Error> {
        columns.iter().try_for_each(Column::check)?;
        if columns.len() > usize::from(u16::MAX) || layers.len() > LAYERS_MAX {
            return Err(Error::Malformed("more than 65,535 columns or 256 layers"));
        }
        let mut width = columns.iter().map(Column::width).sum();
        for layer in &layers {
            if layer.inputs() != width {
                return Err(Error::Malformed("neighboring layers of different widths"));
            }
            width = layer.outputs();
        }
        if layers.is_empty() || width != 1 || !output.mean.is_finite() || !output.scale.is_finite() {
            return Err(Error::Malformed("the output of the network"));
        }
        Ok(Self { columns, layers, output })
    }

    /// Reads a model; the bytes may come from anywhere.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        codec::decode(bytes)
    }

    /// Writes the model, the same bytes each time.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// The columns of a row, in order.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Weights that are kept in memory, biases aside.
    #[must_use]
    pub fn weights(&self) -> usize {
        self.layers.iter().map(Layer::kept).sum()
    }

    /// Bytes of its layers in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.layers.iter().map(Layer::bytes).sum()
    }

    /// The probability or number for one row.
    ///
    /// # Errors
    /// [`Error::Width`] or [`Error::Type`] for a row of another kind.
    pub fn predict(&self, row: &[Value<'_>], scratch: &mut Scratch) -> Result<f64, Error> {
        if row.len() != self.columns.len() {
            return Err(Error::Width { expected: self.columns.len(), found: row.len() });
        }
        scratch.current.clear();
        for (column, value) in self.columns.iter().zip(row) {
            column.write(*value, &mut scratch.current)?;
        }
        for (index, layer) in self.layers.iter().enumerate() {
            layer.forward(&scratch.current, &mut scratch.codes, &mut scratch.next);
            if index + 1 < self.layers.len() {
                scratch.next.iter_mut().for_each(|value| *value = value.max(0.0));
            }
            core::mem::swap(&mut scratch.current, &mut scratch.next);
        }
        let raw = f64::from(scratch.current.first().copied().unwrap_or(f32::NAN));
        let Output { probability, mean, scale } = self.output;
        Ok(if probability { sigmoid(raw) } else { mean + scale * raw })
    }
}
