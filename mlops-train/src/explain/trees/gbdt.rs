//! The crate's own boosted trees as arrays.

use arrow_array::RecordBatch;
use mlops_core::Result;

use super::ensemble::{TreeArrays, TreeEnsemble};
use crate::{
    gbdt::{GbdtModel, LEAF, Node},
    preprocess::Matrix,
};

impl GbdtModel {
    /// The trees, with covers counted over `rows`: the training rows, or a sample of them. Scores
    /// are log odds in a classification.
    ///
    /// # Errors
    /// `InvalidArgument` when rows do not fit the model or there are none.
    pub fn trees(&self, rows: &RecordBatch) -> Result<TreeEnsemble> {
        let forest = self.forest();
        let end = |index: usize| forest.roots.get(index + 1).map_or(forest.nodes.len(), |&root| root as usize);
        let nodes = |(index, &root): (usize, &u32)| forest.nodes.get(root as usize..end(index)).unwrap_or_default();
        let trees: Vec<TreeArrays> =
            forest.roots.iter().enumerate().map(nodes).zip(&forest.roots).map(arrays).collect();
        TreeEnsemble::sum(forest.features, forest.base, &trees)?
            .with_names(self.preprocessor().output_names())?
            .with_covers_of(&self.tree_rows(rows)?)
    }

    /// Rows as the trees read them.
    ///
    /// # Errors
    /// `InvalidArgument` when rows do not fit the model.
    pub fn tree_rows(&self, rows: &RecordBatch) -> Result<Matrix> {
        self.preprocessor().transform(rows)
    }
}

/// Children are counted from the first node of the tree.
fn arrays((nodes, &root): (&[Node], &u32)) -> TreeArrays {
    let child = |node: &Node, side: u32| match node.feature {
        LEAF => -1,
        _ => i64::from(node.left + side) - i64::from(root),
    };
    let of = |value: fn(&Node) -> f64| nodes.iter().map(value).collect::<Vec<f64>>();
    TreeArrays {
        left: nodes.iter().map(|node| child(node, 0)).collect(),
        right: nodes.iter().map(|node| child(node, 1)).collect(),
        feature: nodes.iter().map(|node| if node.feature == LEAF { -1 } else { i64::from(node.feature) }).collect(),
        threshold: of(|node| node.value),
        value: of(|node| node.value),
        cover: Vec::new(),
        missing_left: nodes.iter().map(|node| node.missing_left).collect(),
    }
}
