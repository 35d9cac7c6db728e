//! The post transforms of `ai.onnx.ml`, in single precision as the reference runtime computes them.
//!
//! LOGISTIC: 1 / (1 + exp(-x)). SOFTMAX: exp(x - max) over their sum. SOFTMAX_ZERO: the same, but scores within 1e-7 of
//! zero stay out of the sum. PROBIT: the normal quantile, by Winitzki's approximation of the inverse error function.

/// What is done to scores at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PostTransform {
    None,
    Logistic,
    Softmax,
    SoftmaxZero,
    Probit,
}

/// How two class scores come of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecondScore {
    /// They do not.
    None,
    /// One minus the score goes first.
    Complement,
    /// The negative score goes first.
    Opposite,
}

impl PostTransform {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "NONE" => Some(Self::None),
            "LOGISTIC" => Some(Self::Logistic),
            "SOFTMAX" => Some(Self::Softmax),
            "SOFTMAX_ZERO" => Some(Self::SoftmaxZero),
            "PROBIT" => Some(Self::Probit),
            _ => None,
        }
    }
}

/// Transforms one row of scores in place; a single score may become two.
pub(crate) fn write_scores(scores: &mut Vec<f32>, post: PostTransform, second: SecondScore) {
    if let &mut [score] = scores.as_mut_slice() {
        let (first, other) = match (post, second) {
            (PostTransform::Probit, _) => (probit(score), None),
            (_, SecondScore::None) => (score, None),
            (PostTransform::Logistic, _) => (logistic(-score), Some(logistic(score))),
            (_, SecondScore::Complement) => (1.0 - score, Some(score)),
            (_, SecondScore::Opposite) => (-score, Some(score)),
        };
        scores.clear();
        scores.push(first);
        scores.extend(other);
        return;
    }
    transform(scores, post);
}

/// Transforms one row of two scores or more in place.
pub(crate) fn transform(scores: &mut [f32], post: PostTransform) {
    match post {
        PostTransform::None => {}
        PostTransform::Logistic => scores.iter_mut().for_each(|score| *score = logistic(*score)),
        PostTransform::Probit => scores.iter_mut().for_each(|score| *score = probit(*score)),
        PostTransform::Softmax => softmax(scores),
        PostTransform::SoftmaxZero => softmax_zero(scores),
    }
}

pub(crate) fn logistic(x: f32) -> f32 {
    let v = 1.0 / (1.0 + (-x.abs()).exp());
    if x < 0.0 { 1.0 - v } else { v }
}

/// Normal quantile: sqrt(2) erfinv(2p - 1), with a = 0.147 in Winitzki's formula.
fn probit(p: f32) -> f32 {
    let x = 2.0 * p - 1.0;
    let sign = if x < 0.0 { -1.0 } else { 1.0 };
    let log = ((1.0 - x) * (1.0 + x)).ln();
    let v = 2.0 / (std::f32::consts::PI * 0.147) + 0.5 * log;
    let root = (v * v - 1.0 / 0.147 * log).sqrt();
    std::f32::consts::SQRT_2 * sign * (root - v).sqrt()
}

fn softmax(scores: &mut [f32]) {
    let max = scores.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - max).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

fn softmax_zero(scores: &mut [f32]) {
    let max = scores.iter().copied().fold(f32::MIN, f32::max);
    let zero = (-max).exp();
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        if score.abs() > 1e-7 {
            *score = (*score - max).exp();
            sum += *score;
        } else {
            *score *= zero;
        }
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}
