//! The file `weights.safetensors`: `embeddings.N.weight` of shape `[codes, dimension]`,
//! `layers.N.weight` of shape `[outputs, inputs]` and `layers.N.bias` of shape `[outputs]`, in single
//! precision. Those are the layouts of PyTorch's `Embedding` and `Linear`, so Python reads the file
//! as it is.

use mlops_core::{Error, Result};

use super::network::Network;
use crate::{
    neural::table::{Dense, Embedding, EmbeddingSize},
    weights::{self, WeightsFile},
};

pub(crate) const WEIGHTS_FILE: &str = "weights.safetensors";

/// Writes the weights.
pub(crate) fn encode(network: &Network) -> Result<Vec<u8>> {
    let by_output: Vec<Vec<f32>> = network.layers().iter().map(Dense::weight_by_output).collect();
    let layers = network.layers().iter().zip(&by_output).enumerate().flat_map(|(index, (layer, weight))| {
        let weight = (format!("layers.{index}.weight"), vec![layer.outputs, layer.inputs], weight.as_slice());
        [weight, (format!("layers.{index}.bias"), vec![layer.outputs], layer.bias.as_slice())]
    });
    let embeddings = network.embeddings().iter().enumerate().map(|(index, embedding)| {
        let EmbeddingSize { codes, dimension } = embedding.size;
        (format!("embeddings.{index}.weight"), vec![codes, dimension], embedding.weight.as_slice())
    });
    weights::encode(embeddings.chain(layers))
}

/// Reads the weights of a network with these vectors and these numbers per layer.
///
/// # Errors
/// `DataLoss` when a tensor is missing, of another shape or type, or not finite.
pub(crate) fn decode(bytes: &[u8], sizes: &[EmbeddingSize], widths: &[usize]) -> Result<Network> {
    let damaged = |error: Error| Error::data_loss(format!("{WEIGHTS_FILE} is damaged: {}", error.message()));
    let file = WeightsFile::open(bytes).map_err(damaged)?;
    let read = |name: String, shape: &[usize]| file.read(&name, shape).map_err(damaged);
    let embedding = |(index, size): (usize, &EmbeddingSize)| {
        let weight = read(format!("embeddings.{index}.weight"), &[size.codes, size.dimension])?;
        Ok(Embedding { size: *size, weight })
    };
    let layer = |(index, (&inputs, &outputs)): (usize, (&usize, &usize))| {
        let weight = read(format!("layers.{index}.weight"), &[outputs, inputs])?;
        Ok(Dense::by_output(inputs, outputs, &weight, read(format!("layers.{index}.bias"), &[outputs])?))
    };
    let layers = widths.iter().zip(widths.iter().skip(1)).enumerate();
    Network::new(
        sizes.iter().enumerate().map(embedding).collect::<Result<_>>()?,
        layers.map(layer).collect::<Result<_>>()?,
    )
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    #[test]
    fn weights_round_trip_and_write_the_same_bytes() {
        let sizes = [EmbeddingSize::new(4, 2)];
        let network = Network::random(&sizes, &[3, 4, 1], 1).unwrap();
        let bytes = encode(&network).unwrap();
        assert_eq!(bytes, encode(&network).unwrap());
        assert_eq!(decode(&bytes, &sizes, &[3, 4, 1]).unwrap(), network);
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("layers.0.weight").unwrap().shape(), [4, 3]);
        assert_eq!(file.tensor("embeddings.0.weight").unwrap().shape(), [4, 2]);
    }

    #[test]
    fn damage_is_refused() {
        let bytes = encode(&Network::random(&[], &[3, 4, 1], 1).unwrap()).unwrap();
        let read = |widths: &[usize]| decode(&bytes, &[], widths).unwrap_err();
        assert!(read(&[3, 5, 1]).message().contains("layers.0.weight"));
        assert!(read(&[3, 4, 1, 1]).message().contains("layers.2.weight"));
        let missing = decode(&bytes, &[EmbeddingSize::new(2, 2)], &[3, 4, 1]).unwrap_err();
        assert!(missing.message().contains("embeddings.0.weight"), "{missing}");
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length], &[], &[3, 4, 1]).is_err());
        }
    }
}
