//! The three operators, from a node's attributes to a kernel.

use std::sync::{Arc, OnceLock};

use mlops_core::{DataType, Error, Result};

use super::{
    compiled::Compiled,
    forest::Forest,
    import::{self, floats},
    import_v5,
    post::PostTransform,
    score::{Aggregate, Classes, Finish, Scores},
};
use crate::{
    Tensor,
    graph::{Args, Kernel, NodeDef},
    ml::Labels,
};

/// A forest with its compiled forms, each made when the first input of its precision comes: the trial run at loading
/// makes the one that will be used.
#[derive(Debug)]
struct Ensemble {
    forest: Forest,
    single: OnceLock<Result<Compiled<f32>, Arc<Error>>>,
    double: OnceLock<Result<Compiled<f64>, Arc<Error>>>,
    nodes_max: usize,
}

/// What a row's scores are given to.
trait Sink {
    fn single(&mut self, scores: &mut Scores<f32>, lane: usize);
    fn double(&mut self, scores: &mut Scores<f64>, lane: usize);
}

impl Ensemble {
    fn new(forest: Forest, nodes_max: usize) -> Self {
        Self { forest, single: OnceLock::new(), double: OnceLock::new(), nodes_max }
    }

    /// Evaluates every row of `x`.
    fn evaluate(&self, args: &Args<'_>, aggregate: Aggregate, sink: &mut dyn Sink) -> Result<()> {
        let x = args.get(0)?;
        let (rows, width) = x.matrix()?;
        if width < self.forest.features {
            return Err(Error::invalid_argument(format!(
                "the trees compare feature {}, but rows have {width}",
                self.forest.features.saturating_sub(1)
            )));
        }
        let again = |error: &Arc<Error>| Error::new(error.kind(), error.message());
        if self.forest.double || x.data_type() == DataType::Float64 {
            let made = self.double.get_or_init(|| Compiled::new(&self.forest, self.nodes_max).map_err(Arc::new));
            let compiled = made.as_ref().map_err(again)?;
            args.operations.spend(&[rows, compiled.row_operations()])?;
            let values = x.converted::<f64>()?;
            compiled.evaluate(&values, width, aggregate, &mut |scores, lane| sink.double(scores, lane));
        } else {
            let made = self.single.get_or_init(|| Compiled::new(&self.forest, self.nodes_max).map_err(Arc::new));
            let compiled = made.as_ref().map_err(again)?;
            args.operations.spend(&[rows, compiled.row_operations()])?;
            let values = x.converted::<f32>()?;
            compiled.evaluate(&values, width, aggregate, &mut |scores, lane| sink.single(scores, lane));
        }
        Ok(())
    }
}

struct Regression<'a> {
    finish: &'a Finish,
    values: Vec<f32>,
}

impl Sink for Regression<'_> {
    fn single(&mut self, scores: &mut Scores<f32>, lane: usize) {
        self.finish.regress(scores, lane, &mut self.values);
    }
    fn double(&mut self, scores: &mut Scores<f64>, lane: usize) {
        self.finish.regress(scores, lane, &mut self.values);
    }
}

struct Classification<'a> {
    classes: &'a Classes,
    values: Vec<f32>,
    winners: Vec<usize>,
    space: Vec<f32>,
    singles: Vec<(f32, bool)>,
    doubles: Vec<(f64, bool)>,
}

impl Sink for Classification<'_> {
    fn single(&mut self, scores: &mut Scores<f32>, lane: usize) {
        let row = &mut self.singles;
        self.winners.push(self.classes.classify((scores, lane), row, &mut self.space, &mut self.values));
    }
    fn double(&mut self, scores: &mut Scores<f64>, lane: usize) {
        let row = &mut self.doubles;
        self.winners.push(self.classes.classify((scores, lane), row, &mut self.space, &mut self.values));
    }
}

fn post(node: &NodeDef) -> Result<PostTransform> {
    let name = node.text("post_transform", "NONE")?;
    PostTransform::parse(name).ok_or_else(|| Error::invalid_argument(format!("post_transform {name:?} is unknown")))
}

fn regression_kernel(forest: Forest, finish: Finish, nodes_max: usize) -> Kernel {
    let targets = forest.targets;
    let ensemble = Ensemble::new(forest, nodes_max);
    Kernel::one(move |args: &Args<'_>| {
        let x = args.get(0)?;
        let (rows, _) = x.matrix()?;
        let mut sink =
            Regression { finish: &finish, values: Vec::with_capacity(args.limits.elements(&[rows, targets])?) };
        ensemble.evaluate(args, finish.aggregate, &mut sink)?;
        Tensor::new([rows, targets], sink.values)
    })
}

/// `TreeEnsembleRegressor`.
pub(crate) fn regressor(node: &NodeDef) -> Result<Kernel> {
    let targets = usize::try_from(node.int("n_targets", 1)?).unwrap_or(0);
    node.limits().elements(&[targets])?;
    let forest = import::read(node, "target", targets)?;
    let (base, double) = floats(node, "base_values")?;
    let name = node.text("aggregate_function", "SUM")?;
    let aggregate = Aggregate::parse(name)
        .ok_or_else(|| Error::invalid_argument(format!("aggregate_function {name:?} is unknown")))?;
    let finish = Finish { aggregate, post: post(node)?, base, trees: forest.roots.len() };
    let forest = Forest { double: forest.double || double, ..forest };
    Ok(regression_kernel(forest, finish, node.limits().tree_nodes_max))
}

/// `TreeEnsemble` (version 5). Post transforms are numbered as the standard says; onnxruntime 1.32 exchanges SOFTMAX
/// and LOGISTIC.
pub(crate) fn ensemble(node: &NodeDef) -> Result<Kernel> {
    let posts = [
        PostTransform::None,
        PostTransform::Softmax,
        PostTransform::Logistic,
        PostTransform::SoftmaxZero,
        PostTransform::Probit,
    ];
    let aggregates = [Aggregate::Average, Aggregate::Sum, Aggregate::Min, Aggregate::Max];
    let pick =
        |name: &str, default: i64| Ok::<_, Error>(usize::try_from(node.int(name, default)?).unwrap_or(usize::MAX));
    let unknown = |name: &str| Error::invalid_argument(format!("attribute {name:?} has an unknown value"));
    let post = *posts.get(pick("post_transform", 0)?).ok_or_else(|| unknown("post_transform"))?;
    let aggregate = *aggregates.get(pick("aggregate_function", 1)?).ok_or_else(|| unknown("aggregate_function"))?;
    let nodes_max = node.limits().tree_nodes_max;
    let forest = import_v5::read(node, nodes_max)?;
    node.limits().elements(&[forest.targets])?;
    let double = forest.double;
    let finish = Finish { aggregate, post, base: Vec::new(), trees: forest.roots.len() };
    let kernel = regression_kernel(forest, finish, nodes_max);
    // This version answers in the type of its input.
    Ok(if double { kernel.then_cast(DataType::Float64) } else { kernel })
}

/// Two classes that share one score have no second probability under PROBIT.
pub(crate) fn one_score_probit() -> Error {
    Error::unimplemented("post_transform PROBIT is not defined for two classes with one score; use LOGISTIC")
}

/// `TreeEnsembleClassifier`.
pub(crate) fn classifier(node: &NodeDef) -> Result<Kernel> {
    let labels = Labels::read(node, "classlabels_int64s")?;
    let classes = labels.len();
    if classes < 2 {
        return Err(Error::invalid_argument(format!("a classifier needs two classes or more, found {classes}")));
    }
    let forest = import::read(node, "class", classes)?;
    let (base, double) = floats(node, "base_values")?;
    let mut weighted: Vec<u32> = forest.weights.iter().map(|weight| weight.target).collect();
    weighted.sort_unstable();
    weighted.dedup();
    let finish = Finish { aggregate: Aggregate::Sum, post: post(node)?, base, trees: forest.roots.len() };
    let rules = Classes {
        finish,
        one_sided: classes == 2 && weighted.len() == 1,
        all_positive: forest.weights.iter().all(|weight| weight.value >= 0.0),
    };
    if rules.one_sided && rules.finish.post == PostTransform::Probit {
        return Err(one_score_probit());
    }
    let forest = Forest { double: forest.double || double, ..forest };
    let ensemble = Ensemble::new(forest, node.limits().tree_nodes_max);
    Ok(Kernel::many(move |args: &Args<'_>| {
        let x = args.get(0)?;
        let (rows, _) = x.matrix()?;
        let mut sink = Classification {
            classes: &rules,
            values: Vec::with_capacity(args.limits.elements(&[rows, classes])?),
            winners: Vec::with_capacity(rows),
            space: Vec::new(),
            singles: Vec::new(),
            doubles: Vec::new(),
        };
        ensemble.evaluate(args, Aggregate::Sum, &mut sink)?;
        Ok(vec![labels.pick(&sink.winners)?, Tensor::new([rows, classes], sink.values)?])
    }))
}
