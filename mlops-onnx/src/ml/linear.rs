//! `LinearClassifier` and `LinearRegressor`: scores = x coefficients^T + intercepts, in single precision.

use mlops_core::{Error, Result};

use super::{Labels, post, turned};
use crate::{
    Tensor,
    graph::{Args, Kernel, NodeDef},
    ops::multiply_into,
    trees::{PostTransform, SecondScore, one_score_probit, write_scores},
};

/// Coefficients turned to features x targets, so that products run along targets.
#[derive(Debug)]
struct Linear {
    turned: Vec<f32>,
    intercepts: Vec<f32>,
    features: usize,
    targets: usize,
}

impl Linear {
    fn new(node: &NodeDef, targets: usize) -> Result<Self> {
        let coefficients = node.floats("coefficients")?;
        if targets == 0 || coefficients.is_empty() || coefficients.len() % targets != 0 {
            return Err(Error::invalid_argument(format!(
                "{} coefficients do not make rows for {targets} targets",
                coefficients.len()
            )));
        }
        let features = coefficients.len() / targets;
        let turned = turned(coefficients, features);
        let intercepts = node.floats("intercepts")?;
        let intercepts = if intercepts.len() == targets { intercepts.to_vec() } else { vec![0.0; targets] };
        Ok(Self { turned, intercepts, features, targets })
    }

    /// Scores of all rows.
    fn scores(&self, args: &Args<'_>) -> Result<(usize, Vec<f32>)> {
        let x = args.get(0)?;
        let (rows, width) = x.matrix()?;
        if width != self.features {
            return Err(Error::invalid_argument(format!("rows must have {} features, found {width}", self.features)));
        }
        let count = args.limits.elements(&[rows, self.targets])?;
        args.operations.spend(&[count, self.features])?;
        let mut scores = vec![0.0; count];
        multiply_into(&x.converted::<f32>()?, &self.turned, &mut scores, self.features, self.targets);
        for row in scores.chunks_exact_mut(self.targets) {
            row.iter_mut().zip(&self.intercepts).for_each(|(score, intercept)| *score += intercept);
        }
        Ok((rows, scores))
    }
}

pub(crate) fn kernel(node: &NodeDef) -> Result<Kernel> {
    if node.op_type == "LinearClassifier" { classifier(node) } else { regressor(node) }
}

fn regressor(node: &NodeDef) -> Result<Kernel> {
    let targets = usize::try_from(node.int("targets", 1)?).unwrap_or(0);
    let (linear, post) = (Linear::new(node, targets)?, post(node)?);
    Ok(Kernel::one(move |args| {
        let (rows, mut scores) = linear.scores(args)?;
        if post != PostTransform::None {
            scores = transformed(&scores, targets, post, SecondScore::None);
        }
        Tensor::new([rows, targets], scores)
    }))
}

fn transformed(scores: &[f32], targets: usize, post: PostTransform, second: SecondScore) -> Vec<f32> {
    let mut all = Vec::with_capacity(scores.len());
    let mut row = Vec::with_capacity(targets + 1);
    for scores in scores.chunks_exact(targets) {
        row.clear();
        row.extend_from_slice(scores);
        write_scores(&mut row, post, second);
        all.extend_from_slice(&row);
    }
    all
}

fn classifier(node: &NodeDef) -> Result<Kernel> {
    let labels = Labels::read(node, "classlabels_ints")?;
    let targets = match node.floats("intercepts")?.len() {
        0 => labels.len(),
        count => count,
    };
    let (linear, post) = (Linear::new(node, targets)?, post(node)?);
    let two = targets == 1 && labels.len() == 2;
    if two && post == PostTransform::Probit {
        return Err(one_score_probit());
    }
    let labels = if targets == 1 { labels.or_binary() } else { labels };
    Ok(Kernel::many(move |args: &Args<'_>| {
        let (rows, scores) = linear.scores(args)?;
        let class = |row: &[f32]| match row {
            [score] => usize::from(*score > 0.0),
            many => winner(many),
        };
        let classes: Vec<usize> = scores.chunks_exact(targets).map(class).collect();
        let second = if two { SecondScore::Complement } else { SecondScore::None };
        let scores =
            if post != PostTransform::None || two { transformed(&scores, targets, post, second) } else { scores };
        let width = if two { 2 } else { targets };
        Ok(vec![labels.pick(&classes)?, Tensor::new([rows, width], scores)?])
    }))
}

/// The first of the largest.
pub(super) fn winner(scores: &[f32]) -> usize {
    let pairs = scores.iter().copied().enumerate();
    pairs.reduce(|best, next| if next.1 > best.1 { next } else { best }).map_or(0, |(class, _)| class)
}
