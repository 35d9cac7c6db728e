//! The file `trees.bin`: a forest as bytes, little endian.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `MLGB` |
//! | 4 | format version, 1 |
//! | 4 | numbers per row |
//! | 8 | base score, f64 |
//! | 4 | trees |
//! | 4 | nodes |
//! | 4 each | index of each tree's root |
//! | 16 each | nodes: value f64, left child u32, feature u16 (65535 in a leaf), missing goes left u8, zero u8 |
//!
//! Invariant: decoding never allocates more than the file itself is large and never panics; what
//! it accepts is a well-formed forest.

use mlops_core::{Error, Result};

use super::forest::{Forest, Node};

const MAGIC: [u8; 4] = *b"MLGB";
const FORMAT_VERSION: u32 = 1;
const NODE_BYTES: usize = 16;

/// Writes a forest.
pub(crate) fn encode(forest: &Forest) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(28 + 4 * forest.roots.len() + NODE_BYTES * forest.nodes.len());
    bytes.extend(MAGIC);
    bytes.extend(FORMAT_VERSION.to_le_bytes());
    bytes.extend((forest.features as u32).to_le_bytes());
    bytes.extend(forest.base.to_le_bytes());
    bytes.extend((forest.roots.len() as u32).to_le_bytes());
    bytes.extend((forest.nodes.len() as u32).to_le_bytes());
    forest.roots.iter().for_each(|root| bytes.extend(root.to_le_bytes()));
    for node in &forest.nodes {
        bytes.extend(node.value.to_le_bytes());
        bytes.extend(node.left.to_le_bytes());
        bytes.extend(node.feature.to_le_bytes());
        bytes.extend([u8::from(node.missing_left), 0]);
    }
    bytes
}

/// Reads a forest.
///
/// # Errors
/// `DataLoss` when the bytes are damaged, `FailedPrecondition` when they are of a newer version.
pub(crate) fn decode(bytes: &[u8]) -> Result<Forest> {
    let mut reader = Reader(bytes);
    if reader.take::<4>()? != MAGIC {
        return Err(Error::data_loss("trees.bin does not start with MLGB"));
    }
    let version = reader.u32()?;
    if version != FORMAT_VERSION {
        return Err(Error::failed_precondition(format!(
            "trees.bin has format {version}, this version reads {FORMAT_VERSION}; upgrade mlops"
        )));
    }
    let features = reader.u32()? as usize;
    let base = f64::from_le_bytes(reader.take()?);
    let (trees, nodes) = (reader.u32()? as usize, reader.u32()? as usize);
    let expected = trees.saturating_mul(4).saturating_add(nodes.saturating_mul(NODE_BYTES));
    if reader.0.len() != expected {
        return Err(Error::data_loss(format!(
            "trees.bin announces {expected} bytes of trees, found {}",
            reader.0.len()
        )));
    }
    let roots = (0..trees).map(|_| reader.u32()).collect::<Result<Vec<u32>>>()?;
    let nodes = (0..nodes).map(|_| reader.node()).collect::<Result<Vec<Node>>>()?;
    Forest::new(features, base, roots, nodes)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some((head, rest)) = self.0.split_first_chunk::<N>() else {
            return Err(Error::data_loss("trees.bin ends too early"));
        };
        self.0 = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn node(&mut self) -> Result<Node> {
        let value = f64::from_le_bytes(self.take()?);
        let left = self.u32()?;
        let feature = u16::from_le_bytes(self.take()?);
        let [missing_left, _] = self.take()?;
        Ok(Node { value, left, feature, missing_left: missing_left != 0 })
    }
}

#[cfg(test)]
mod tests {
    use mlops_core::ErrorKind;
    use proptest::prelude::*;

    use super::*;
    use crate::gbdt::forest::LEAF;

    fn forest() -> Forest {
        let leaf = |value| Node { value, left: 0, feature: LEAF, missing_left: false };
        let mut forest = Forest::empty(2, 0.25);
        let inner = Node { value: 1.5, left: 1, feature: 1, missing_left: true };
        forest.push_tree(&[inner, leaf(-1.0), leaf(2.0)]);
        forest.push_tree(&[leaf(0.5)]);
        forest
    }

    #[test]
    fn bytes_are_as_documented_and_read_back() {
        let bytes = encode(&forest());
        assert_eq!(bytes.len(), 28 + 2 * 4 + 4 * 16);
        assert_eq!(bytes[..8], *b"MLGB\x01\0\0\0");
        assert_eq!(bytes[36..52], [0, 0, 0, 0, 0, 0, 0xF8, 0x3F, 1, 0, 0, 0, 1, 0, 1, 0]);
        assert_eq!(decode(&bytes).unwrap(), forest());
    }

    #[test]
    fn damage_is_refused() {
        let bytes = encode(&forest());
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length}");
        }
        let mut newer = bytes.clone();
        newer[4] = 2;
        assert_eq!(decode(&newer).unwrap_err().kind(), ErrorKind::FailedPrecondition);
        for (at, value) in [(44, 0), (44, 3), (48, 2)] {
            let mut bad = bytes.clone();
            bad[at] = value;
            assert_eq!(decode(&bad).unwrap_err().kind(), ErrorKind::DataLoss, "{at}");
        }
        let mut huge = bytes;
        huge[20..28].fill(0xFF);
        assert_eq!(decode(&huge).unwrap_err().kind(), ErrorKind::DataLoss);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(noise in prop::collection::vec(any::<(usize, u8)>(), 1..20)) {
            let mut bytes = encode(&forest());
            for (at, value) in noise {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            if let Ok(forest) = decode(&bytes) {
                // Whatever is accepted can be walked to an end.
                if forest.features < 100 {
                    forest.scores(&crate::preprocess::Matrix::zeros(3, forest.features));
                }
            }
        }
    }
}
