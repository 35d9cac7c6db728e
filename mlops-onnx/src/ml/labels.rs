//! Class labels: integers or texts, one for each class.

use mlops_core::{Error, Result};

use crate::{Tensor, graph::NodeDef, tensor::Text};

#[derive(Debug, Clone)]
pub(crate) enum Labels {
    Numbers(Vec<i64>),
    Texts(Vec<Text>),
}

impl Labels {
    /// Reads `classlabels_strings`, else the integers of the given name.
    pub(crate) fn read(node: &NodeDef, integers: &str) -> Result<Self> {
        let texts = node.texts("classlabels_strings")?;
        Ok(if texts.is_empty() {
            Self::Numbers(node.ints(integers)?.to_vec())
        } else {
            Self::Texts(texts.iter().map(|text| text.as_str().into()).collect())
        })
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Numbers(labels) => labels.len(),
            Self::Texts(labels) => labels.len(),
        }
    }

    /// The labels of these classes, one a row.
    pub(crate) fn pick(&self, classes: &[usize]) -> Result<Tensor> {
        let missing = || Error::invalid_argument(format!("a class has no label; there are {}", self.len()));
        Ok(match self {
            Self::Numbers(labels) => {
                let found = classes.iter().map(|&class| labels.get(class).copied()).collect::<Option<Vec<_>>>();
                Tensor::vector(found.ok_or_else(missing)?)
            }
            Self::Texts(labels) => {
                let found = classes.iter().map(|&class| labels.get(class).cloned()).collect::<Option<Vec<_>>>();
                Tensor::vector(found.ok_or_else(missing)?)
            }
        })
    }

    /// Two labels, or the numbers 0 and 1 when there are not two.
    pub(crate) fn or_binary(self) -> Self {
        match self {
            Self::Numbers(labels) if labels.len() != 2 => Self::Numbers(vec![0, 1]),
            Self::Texts(labels) if labels.len() != 2 => Self::Texts(vec!["0".into(), "1".into()]),
            two => two,
        }
    }
}
