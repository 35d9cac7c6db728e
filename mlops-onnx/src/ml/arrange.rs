//! Columns put together or picked: `FeatureVectorizer`, `ArrayFeatureExtractor`; and `ZipMap`.
//!
//! ZipMap makes a map from class to score of each row. Here the scores stay a tensor, one column a class in the order of
//! the labels: a row of a batch has no maps, and that is what the maps are made of.

use mlops_core::{Error, Result};

use crate::{
    Tensor,
    graph::{Kernel, NodeDef},
};

pub(crate) fn kernel(node: &NodeDef) -> Result<Kernel> {
    match node.op_type.as_str() {
        "FeatureVectorizer" => Ok(Kernel::one(|args| {
            let parts = args
                .all()
                .map(|part| {
                    let (rows, columns) = part.matrix()?;
                    Tensor::new([rows, columns], part.converted::<f32>()?.into_owned())
                })
                .collect::<Result<Vec<_>>>()?;
            crate::ops::concat_within(&parts.iter().collect::<Vec<_>>(), 1, args.limits)
        })),
        "ArrayFeatureExtractor" => Ok(Kernel::one(|args| {
            let (x, indices) = (args.get(0)?, args.get(1)?.to_ints()?);
            let Some(axis) = x.shape().len().checked_sub(1) else {
                return Err(Error::invalid_argument("there is nothing to extract from a scalar"));
            };
            let length = x.shape().last().copied().unwrap_or(0);
            let places =
                indices.into_iter().map(|index| crate::ops::index_of(index, length)).collect::<Result<Vec<_>>>()?;
            let picked = crate::ops::along(x, axis, &places)?;
            // A vector counts as one row.
            if axis == 0 { picked.reshaped(vec![1, places.len()]) } else { Ok(picked) }
        })),
        _ => Ok(Kernel::one(|args| Ok(args.get(0)?.clone()))),
    }
}
