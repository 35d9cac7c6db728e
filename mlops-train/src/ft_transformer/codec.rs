//! The file `weights.safetensors`: single precision, dense layers as in PyTorch's `Linear` (weight
//! `[outputs, inputs]`), everything else row by row. See docs/formats.md for the names.

use mlops_core::{Error, Result};

use super::network::{Block, Network, Norm, Shape, Tokenizer};
use crate::{
    neural::table::{Dense, Embedding},
    weights::{self, WeightsFile},
};

pub(super) const WEIGHTS_FILE: &str = "weights.safetensors";

/// Where tensors go to, and where they come from: one walk over the network serves both, so that
/// what is written is what is read.
trait Tensors {
    fn tensor(&mut self, name: String, shape: Vec<usize>, values: &mut Vec<f32>) -> Result<()>;
}

impl Tensors for Vec<(String, Vec<usize>, Vec<f32>)> {
    fn tensor(&mut self, name: String, shape: Vec<usize>, values: &mut Vec<f32>) -> Result<()> {
        self.push((name, shape, values.clone()));
        Ok(())
    }
}

impl Tensors for WeightsFile<'_> {
    fn tensor(&mut self, name: String, shape: Vec<usize>, values: &mut Vec<f32>) -> Result<()> {
        *values = self.read(&name, &shape)?;
        Ok(())
    }
}

fn walk(network: &mut Network, tensors: &mut dyn Tensors) -> Result<()> {
    let width = network.shape.width;
    let numbers = network.shape.numbers;
    let Tokenizer { front, number_weight, number_bias, categories, category_bias } = &mut network.tokenizer;
    tensors.tensor("front".to_owned(), vec![width], front)?;
    // A tensor without numbers is not written.
    if numbers > 0 {
        tensors.tensor("numbers.weight".to_owned(), vec![numbers, width], number_weight)?;
        tensors.tensor("numbers.bias".to_owned(), vec![numbers, width], number_bias)?;
    }
    if !categories.is_empty() {
        tensors.tensor("categories.bias".to_owned(), vec![categories.len(), width], category_bias)?;
    }
    for (index, Embedding { size, weight }) in categories.iter_mut().enumerate() {
        tensors.tensor(format!("categories.{index}.weight"), vec![size.codes, width], weight)?;
    }
    for (index, block) in network.blocks.iter_mut().enumerate() {
        let Block { attention_norm, query, key, value, mix, dense_norm, expand, contract } = block;
        if let Some(attention_norm) = attention_norm {
            norm(&format!("blocks.{index}.attention_norm"), attention_norm, tensors)?;
        }
        norm(&format!("blocks.{index}.dense_norm"), dense_norm, tensors)?;
        for (name, layer) in
            [("query", query), ("key", key), ("value", value), ("mix", mix), ("expand", expand), ("contract", contract)]
        {
            dense(&format!("blocks.{index}.{name}"), layer, tensors)?;
        }
    }
    norm("head_norm", &mut network.head_norm, tensors)?;
    dense("head", &mut network.head, tensors)
}

fn norm(name: &str, norm: &mut Norm, tensors: &mut dyn Tensors) -> Result<()> {
    let width = norm.scale.len();
    tensors.tensor(format!("{name}.weight"), vec![width], &mut norm.scale)?;
    tensors.tensor(format!("{name}.bias"), vec![width], &mut norm.shift)
}

fn dense(name: &str, layer: &mut Dense, tensors: &mut dyn Tensors) -> Result<()> {
    let mut weight = layer.weight_by_output();
    tensors.tensor(format!("{name}.weight"), vec![layer.outputs, layer.inputs], &mut weight)?;
    tensors.tensor(format!("{name}.bias"), vec![layer.outputs], &mut layer.bias)?;
    *layer = Dense::by_output(layer.inputs, layer.outputs, &weight, std::mem::take(&mut layer.bias));
    Ok(())
}

/// Writes the weights.
pub(super) fn encode(network: &Network) -> Result<Vec<u8>> {
    let mut named = Vec::new();
    walk(&mut network.clone(), &mut named)?;
    weights::encode(named.iter().map(|(name, shape, values)| (name.clone(), shape.clone(), values.as_slice())))
}

/// Numbers that a shape may ask for; a file of more would be larger than memory.
const PARAMETERS_MAX: usize = 1 << 30;

/// Reads the weights of a network of this shape.
///
/// # Errors
/// `DataLoss` when a tensor is missing, of another shape or type, or not finite.
pub(super) fn decode(bytes: &[u8], shape: &Shape) -> Result<Network> {
    let damaged = |error: Error| Error::data_loss(format!("{WEIGHTS_FILE} is damaged: {}", error.message()));
    // A shape that asks for more than the file can hold is damaged; nothing is allocated for it.
    let numbers = bytes.len() / size_of::<f32>();
    if shape.least_parameters().is_none_or(|least| least > numbers.min(PARAMETERS_MAX)) {
        return Err(damaged(Error::data_loss("it has fewer numbers than the shape in model.json asks for")));
    }
    let mut file = WeightsFile::open(bytes).map_err(damaged)?;
    let mut network = Network::filled(shape, |count, _| vec![0.0; count]);
    walk(&mut network, &mut file).map_err(damaged)?;
    network.check()
}

impl Shape {
    /// Numbers that the weights are at least; none when there are more than can be counted.
    fn least_parameters(&self) -> Option<usize> {
        let codes = self.codes.iter().try_fold(0_usize, |sum, &codes| sum.checked_add(codes))?;
        let tokens = self.numbers.checked_mul(2)?.checked_add(codes)?.checked_mul(self.width)?;
        let square = self.width.checked_mul(self.width)?.checked_mul(4)?;
        let hidden = self.width.checked_mul(self.hidden)?.checked_mul(3)?;
        square.checked_add(hidden)?.checked_mul(self.blocks)?.checked_add(tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{neural::table::Inputs, preprocess::Matrix};

    fn shape() -> Shape {
        Shape { numbers: 2, codes: vec![4, 3], width: 4, blocks: 2, heads: 2, hidden: 5 }
    }

    #[derive(serde::Deserialize)]
    struct Reference {
        shape: Shape,
        tensors: std::collections::BTreeMap<String, Tensor>,
        numbers: Vec<Vec<f64>>,
        codes: Vec<Vec<f64>>,
        outputs: Vec<f64>,
    }

    #[derive(serde::Deserialize)]
    struct Tensor {
        shape: Vec<usize>,
        values: Vec<f32>,
    }

    /// Expected values: `.ci/ft_transformer.py`, a forward pass written from the paper in double
    /// precision with NumPy 2.
    #[test]
    fn answers_are_those_of_an_independent_program() {
        let Reference { shape, tensors, numbers, codes, outputs } =
            serde_json::from_str(include_str!("reference.json")).unwrap();
        let tensors = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone(), &tensor.values[..]));
        let network = decode(&weights::encode(tensors).unwrap(), &shape).unwrap();
        let rows: Vec<f64> =
            numbers.into_iter().zip(codes).flat_map(|(numbers, codes)| [numbers, codes].concat()).collect();
        let matrix = Matrix::new(shape.numbers + shape.codes.len(), rows).unwrap();
        let counts: Vec<Option<usize>> =
            std::iter::repeat_n(None, shape.numbers).chain(shape.codes.iter().copied().map(Some)).collect();
        let found = network.forward(&Inputs::with_codes(&matrix, &counts));
        assert_eq!(found.len(), outputs.len());
        for (found, expected) in found.iter().zip(&outputs) {
            assert!((f64::from(*found) - expected).abs() <= 2e-5 * expected.abs().max(1.0), "{found} {expected}");
        }
    }

    #[test]
    fn weights_round_trip_and_write_the_same_bytes() {
        let plain = Shape { numbers: 1, codes: Vec::new(), ..shape() };
        let text = Shape { numbers: 0, ..shape() };
        for shape in [shape(), plain, text] {
            let network = Network::random(&shape, 1).unwrap();
            let bytes = encode(&network).unwrap();
            assert_eq!(bytes, encode(&network).unwrap());
            assert_eq!(decode(&bytes, &shape).unwrap(), network);
        }
    }

    #[test]
    fn damage_is_refused() {
        let bytes = encode(&Network::random(&shape(), 1).unwrap()).unwrap();
        for length in (0..bytes.len()).step_by(7) {
            assert!(decode(&bytes[..length], &shape()).is_err());
        }
        let refused = |shape: Shape, what: &str| {
            let error = decode(&bytes, &shape).unwrap_err();
            assert!(error.message().contains(what), "{error}");
        };
        refused(Shape { blocks: 3, ..shape() }, "blocks.2.");
        refused(Shape { codes: vec![4, 2], ..shape() }, "categories.1.weight");
        refused(Shape { heads: 3, ..shape() }, "do not fit");
        for huge in [Shape { width: usize::MAX, ..shape() }, Shape { blocks: 1 << 40, ..shape() }] {
            refused(huge, "fewer numbers");
        }
    }
}
