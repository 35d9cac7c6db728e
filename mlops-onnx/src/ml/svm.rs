//! `SVMClassifier` and `SVMRegressor`: kernels against support vectors, or linear when there are none.
//!
//! Classes are decided by votes of all pairs (as libsvm does); probabilities come from Platt scaling of each pair and
//! the coupling of Wu, Lin and Weng (2004, second method).

use mlops_core::{Error, Result};

use super::{Labels, linear::winner, post, turned};
use crate::{
    Tensor,
    graph::{Args, Kernel, NodeDef},
    ops::multiply_into,
    trees::{PostTransform, SecondScore, logistic, one_score_probit, write_scores},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Linear,
    Poly,
    Rbf,
    Sigmoid,
}

/// A kernel function with its parameters.
#[derive(Debug, Clone, Copy)]
struct KernelFunction {
    shape: Shape,
    gamma: f32,
    coef0: f32,
    degree: f32,
}

impl KernelFunction {
    fn read(node: &NodeDef) -> Result<Self> {
        let shape = match node.text("kernel_type", "LINEAR")? {
            "LINEAR" => Shape::Linear,
            "POLY" => Shape::Poly,
            "RBF" => Shape::Rbf,
            "SIGMOID" => Shape::Sigmoid,
            other => return Err(Error::invalid_argument(format!("kernel_type {other:?} is unknown"))),
        };
        let (gamma, coef0, degree) = match node.floats("kernel_params")? {
            [gamma, coef0, degree, ..] => (*gamma, *coef0, *degree),
            [] => (0.0, 0.0, 0.0),
            other => {
                return Err(Error::invalid_argument(format!("kernel_params must be 3 numbers, found {}", other.len())));
            }
        };
        Ok(Self { shape, gamma, coef0, degree })
    }

    /// The function of a product of two vectors; what it is of a distance, [`Vectors::kernels`] knows.
    fn of_product(&self, dot: f32) -> f32 {
        match self.shape {
            Shape::Linear | Shape::Rbf => dot,
            Shape::Poly => (self.gamma * dot + self.coef0).powf(self.degree),
            Shape::Sigmoid => (self.gamma * dot + self.coef0).tanh(),
        }
    }
}

/// Support vectors, or rows of coefficients, that rows are set against.
#[derive(Debug)]
struct Vectors {
    function: KernelFunction,
    /// Vectors x features for distances; turned for products.
    values: Vec<f32>,
    features: usize,
    count: usize,
}

impl Vectors {
    fn new(function: KernelFunction, plain: Vec<f32>, features: usize) -> Self {
        let count = plain.len().checked_div(features).unwrap_or(0);
        let values = if function.shape == Shape::Rbf { plain } else { turned(&plain, features) };
        Self { function, values, features, count }
    }

    /// The kernel function of a row and each vector.
    fn kernels(&self, row: &[f32]) -> Vec<f32> {
        let function = &self.function;
        if function.shape == Shape::Rbf {
            let vectors = self.values.chunks_exact(self.features);
            let distances = vectors.map(|vector| row.iter().zip(vector).map(|(a, b)| (a - b) * (a - b)).sum::<f32>());
            return distances.map(|distance| (-function.gamma * distance).exp()).collect();
        }
        let mut products = vec![0.0; self.count];
        multiply_into(row, &self.values, &mut products, self.features, self.count);
        products.iter_mut().for_each(|product| *product = function.of_product(*product));
        products
    }
}

pub(crate) fn kernel(node: &NodeDef) -> Result<Kernel> {
    if node.op_type == "SVMRegressor" { regressor(node) } else { classifier(node) }
}

fn check_width(found: usize, wanted: usize) -> Result<()> {
    if found == wanted && wanted > 0 {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("rows must have {wanted} features, found {found}")))
}

fn regressor(node: &NodeDef) -> Result<Kernel> {
    let mut function = KernelFunction::read(node)?;
    let coefficients = node.floats("coefficients")?.to_vec();
    let rho = node.floats("rho")?.first().copied().unwrap_or(0.0);
    let vectors = usize::try_from(node.int("n_supports", 0)?).unwrap_or(0);
    let one_class = node.int("one_class", 0)? != 0;
    let mut supports = node.floats("support_vectors")?.to_vec();
    let mut weights = coefficients.clone();
    if vectors == 0 {
        function.shape = Shape::Linear;
        supports = coefficients;
        weights = vec![1.0];
    }
    let features = supports.len() / vectors.max(1);
    if weights.len() != vectors.max(1) || features * vectors.max(1) != supports.len() || features == 0 {
        return Err(Error::invalid_argument(format!(
            "{} coefficients and {} support values do not fit {vectors} support vectors",
            weights.len(),
            supports.len()
        )));
    }
    let supports = Vectors::new(function, supports, features);
    Ok(Kernel::one(move |args| {
        let x = args.get(0)?;
        let (rows, width) = x.matrix()?;
        check_width(width, features)?;
        args.operations.spend(&[rows, supports.count, features])?;
        let value = |row: &[f32]| {
            let mut sum = [0.0];
            multiply_into(&supports.kernels(row), &weights, &mut sum, weights.len(), 1);
            let sum = sum[0] + rho;
            match one_class {
                true if sum > 0.0 => 1.0,
                true => -1.0,
                false => sum,
            }
        };
        Tensor::new([rows, 1], x.converted::<f32>()?.chunks_exact(width).map(value).collect::<Vec<_>>())
    }))
}

/// A classifier of support vectors or, without them, of one row of coefficients a class.
#[derive(Debug)]
struct Classifier {
    /// Support vectors or, without them, one row of coefficients a class.
    vectors: Vectors,
    labels: Labels,
    /// First support vector and number of them, per class; empty in the linear form.
    ranges: Vec<(usize, usize)>,
    coefficients: Vec<f32>,
    rho: Vec<f32>,
    platt: Vec<(f32, f32)>,
    post: PostTransform,
    all_positive: bool,
}

fn classifier(node: &NodeDef) -> Result<Kernel> {
    let labels = Labels::read(node, "classlabels_ints")?;
    let (classes, coefficients) = (labels.len(), node.floats("coefficients")?.to_vec());
    if classes < 2 {
        return Err(Error::invalid_argument(format!("a classifier needs two classes or more, found {classes}")));
    }
    let mut ranges = Vec::new();
    let mut vectors = 0_usize;
    for &count in node.ints("vectors_per_class")? {
        let count =
            usize::try_from(count).map_err(|_| Error::invalid_argument("vectors_per_class has a negative number"))?;
        ranges.push((vectors, count));
        vectors = vectors.saturating_add(count);
    }
    let pairs = classes * (classes - 1) / 2;
    let (a, b) = (node.floats("prob_a")?, node.floats("prob_b")?);
    let supports = node.floats("support_vectors")?.to_vec();
    let rho = node.floats("rho")?.to_vec();
    let mut function = KernelFunction::read(node)?;
    let (features, fits) = if vectors > 0 {
        let fits = ranges.len() == classes
            && vectors.checked_mul(classes - 1).is_some_and(|count| coefficients.len() >= count)
            && rho.len() >= pairs
            && (a.is_empty() || a.len() >= pairs)
            && supports.len() % vectors == 0;
        (supports.len() / vectors, fits)
    } else {
        (function.shape, ranges) = (Shape::Linear, Vec::new());
        (coefficients.len() / classes, coefficients.len() % classes == 0 && !rho.is_empty())
    };
    if !fits || a.len() != b.len() || features == 0 {
        return Err(Error::invalid_argument("coefficients, support vectors, rho and classes do not fit together"));
    }
    let all_positive = coefficients.iter().all(|&value| value >= 0.0);
    let platt = a.iter().copied().zip(b.iter().copied()).collect();
    let post = post(node)?;
    if post == PostTransform::Probit && classes == 2 && vectors > 0 && a.is_empty() {
        return Err(one_score_probit());
    }
    let rows = if vectors > 0 { supports } else { coefficients.clone() };
    let vectors = Vectors::new(function, rows, features);
    let svm = Classifier { vectors, labels, ranges, coefficients, rho, platt, post, all_positive };
    Ok(Kernel::many(move |args: &Args<'_>| svm.run(args)))
}

impl Classifier {
    fn run(&self, args: &Args<'_>) -> Result<Vec<Tensor>> {
        let x = args.get(0)?;
        let (rows, width) = x.matrix()?;
        check_width(width, self.vectors.features)?;
        // Each pair of classes weighs the vectors of both.
        let weighings = self.vectors.features.saturating_add(self.labels.len());
        args.operations.spend(&[rows, self.vectors.count, weighings])?;
        let (mut classes, mut scores) = (Vec::with_capacity(rows), Vec::new());
        for row in x.converted::<f32>()?.chunks_exact(width) {
            let (class, row_scores) = if self.ranges.is_empty() { self.linear(row) } else { self.supported(row) };
            classes.push(class);
            scores.extend(row_scores);
        }
        let width = scores.len().checked_div(rows).unwrap_or(self.labels.len());
        Ok(vec![self.labels.pick(&classes)?, Tensor::new([rows, width], scores)?])
    }

    fn linear(&self, row: &[f32]) -> (usize, Vec<f32>) {
        let rho = self.rho.first().copied().unwrap_or(0.0);
        let mut scores = self.vectors.kernels(row);
        scores.iter_mut().for_each(|score| *score += rho);
        let best = winner(&scores);
        let highest = scores.get(best).copied().unwrap_or(0.0);
        let class = if self.labels.len() == 2 { self.binary_class(highest, best) } else { best };
        write_scores(&mut scores, self.post, SecondScore::None);
        (class, scores)
    }

    /// Which of two classes a highest score stands for.
    fn binary_class(&self, highest: f32, best: usize) -> usize {
        let second = if self.all_positive { highest >= 0.5 } else { highest > 0.0 };
        if second { 1 } else { best }
    }

    fn supported(&self, row: &[f32]) -> (usize, Vec<f32>) {
        let kernels = self.vectors.kernels(row);
        let classes = self.labels.len();
        let mut votes = vec![0_u32; classes];
        let mut scores = Vec::with_capacity(self.rho.len());
        for (i, &range_i) in self.ranges.iter().enumerate() {
            for (j, &range_j) in self.ranges.iter().enumerate().skip(i + 1) {
                let sum = self.pair(&kernels, range_i, j - 1) + self.pair(&kernels, range_j, i);
                let sum = sum + f64::from(self.rho.get(scores.len()).copied().unwrap_or(0.0));
                if let Some(vote) = votes.get_mut(if sum > 0.0 { i } else { j }) {
                    *vote += 1;
                }
                scores.push(sum as f32);
            }
        }
        // The first of the most voted.
        let most = votes.iter().copied().max().unwrap_or(0);
        let class = votes.iter().position(|&vote| vote == most).unwrap_or(0);
        if !self.platt.is_empty() {
            let mut probabilities = self.couple(&scores);
            write_scores(&mut probabilities, self.post, SecondScore::None);
            return (class, probabilities);
        }
        let second = match (classes, self.post) {
            (2, PostTransform::None) => SecondScore::Opposite,
            (2, _) => SecondScore::Complement,
            _ => SecondScore::None,
        };
        write_scores(&mut scores, self.post, second);
        (class, scores)
    }

    /// The part that one class's support vectors give to a pair, by a row of coefficients.
    fn pair(&self, kernels: &[f32], (first, count): (usize, usize), row: usize) -> f64 {
        let weights = self.coefficients.iter().skip(row * self.vectors.count + first).take(count);
        weights.zip(kernels.iter().skip(first)).map(|(weight, kernel)| f64::from(weight * kernel)).sum()
    }

    /// Probabilities of the classes from those of the pairs.
    fn couple(&self, scores: &[f32]) -> Vec<f32> {
        let n = self.labels.len();
        let mut r = vec![0.0_f32; n * n];
        let pairs = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
        for (((i, j), score), (a, b)) in pairs.zip(scores).zip(&self.platt) {
            let p = (1.0 - logistic(score * a + b)).clamp(1e-7, 1.0 - 1e-7);
            set(&mut r, i * n + j, p);
            set(&mut r, j * n + i, 1.0 - p);
        }
        coupled(n, &r)
    }
}

fn set(values: &mut [f32], at: usize, value: f32) {
    if let Some(slot) = values.get_mut(at) {
        *slot = value;
    }
}

/// Minimizes sum over i, j of (r_ji p_i - r_ij p_j)^2 with p summing to one: Gauss-Seidel steps on Q p, where
/// Q_ii = sum over j of r_ji^2 and Q_ij = -r_ji r_ij, until no component differs from p'Qp by more than 0.005 / n.
fn coupled(n: usize, r: &[f32]) -> Vec<f32> {
    let at = |values: &[f32], i: usize| values.get(i).copied().unwrap_or(0.0);
    let mut q = vec![0.0_f32; n * n];
    for i in 0..n {
        let diagonal: f32 = (0..n).filter(|&j| j != i).map(|j| at(r, j * n + i) * at(r, j * n + i)).sum();
        for j in 0..n {
            let value = if i == j { diagonal } else { -at(r, j * n + i) * at(r, i * n + j) };
            set(&mut q, i * n + j, value);
        }
    }
    let mut p = vec![1.0 / n as f32; n];
    for _ in 0..100 {
        let mut qp: Vec<f32> = q.chunks_exact(n).map(|row| row.iter().zip(&p).map(|(q, p)| q * p).sum()).collect();
        let mut pqp: f32 = p.iter().zip(&qp).map(|(p, qp)| p * qp).sum();
        let worst = qp.iter().map(|qp| (qp - pqp).abs()).fold(0.0, f32::max);
        if worst < 0.005 / n as f32 {
            break;
        }
        for i in 0..n {
            let (qii, qpi) = (at(&q, i * n + i), at(&qp, i));
            let step = (pqp - qpi) / qii;
            let moved = at(&p, i) + step;
            set(&mut p, i, moved);
            pqp = (pqp + step * (step * qii + 2.0 * qpi)) / (1.0 + step) / (1.0 + step);
            for (j, qp) in qp.iter_mut().enumerate() {
                *qp = (*qp + step * at(&q, i * n + j)) / (1.0 + step);
            }
            p.iter_mut().for_each(|p| *p /= 1.0 + step);
        }
    }
    p
}
