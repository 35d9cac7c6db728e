//! How gradients become steps, over all parameters as one vector.

use serde::{Deserialize, Serialize};

use super::settings::BurnSettings;

/// A rule that turns gradients into steps. Constants are those of PyTorch 2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Adam (Kingma and Ba 2015), betas 0.9 and 0.999, epsilon 1e-8; weight decay is added to the
    /// gradient.
    #[default]
    Adam,
    /// Adam whose weight decay shrinks the weights themselves (Loshchilov and Hutter 2019).
    AdamW,
    /// Gradient descent with momentum 0.9; weight decay is added to the gradient.
    Sgd,
}

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPSILON: f32 = 1e-8;
const MOMENTUM: f32 = 0.9;

/// The moments of every parameter, and how many steps they are made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Optimizer {
    pub(super) steps: u64,
    pub(super) first: Vec<f32>,
    /// Empty for gradient descent.
    pub(super) second: Vec<f32>,
}

impl Optimizer {
    pub(super) fn new(kind: OptimizerKind, parameters: usize) -> Self {
        let second = if kind == OptimizerKind::Sgd { 0 } else { parameters };
        Self { steps: 0, first: vec![0.0; parameters], second: vec![0.0; second] }
    }

    /// Moves `parameters` against `gradients`.
    pub(super) fn step(&mut self, settings: &BurnSettings, rate: f64, parameters: &mut [f32], gradients: &[f32]) {
        self.steps += 1;
        let decay = settings.weight_decay as f32;
        match settings.optimizer {
            OptimizerKind::Adam => self.adam(rate, parameters, gradients, decay),
            OptimizerKind::AdamW => {
                let keep = (1.0 - rate * settings.weight_decay) as f32;
                parameters.iter_mut().for_each(|parameter| *parameter *= keep);
                self.adam(rate, parameters, gradients, 0.0);
            }
            OptimizerKind::Sgd => self.descend(rate as f32, parameters, gradients, decay),
        }
    }

    fn adam(&mut self, rate: f64, parameters: &mut [f32], gradients: &[f32], decay: f32) {
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let size = (rate / (1.0 - f64::from(BETA1).powi(steps))) as f32;
        let unbias = (1.0 / (1.0 - f64::from(BETA2).powi(steps)).sqrt()) as f32;
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((parameter, &gradient), (first, second)) in parameters.iter_mut().zip(gradients).zip(moments) {
            let gradient = gradient + decay * *parameter;
            *first = BETA1 * *first + (1.0 - BETA1) * gradient;
            *second = BETA2 * *second + (1.0 - BETA2) * gradient * gradient;
            *parameter -= size * *first / (second.sqrt() * unbias + EPSILON);
        }
    }

    fn descend(&mut self, rate: f32, parameters: &mut [f32], gradients: &[f32], decay: f32) {
        for ((parameter, &gradient), first) in parameters.iter_mut().zip(gradients).zip(&mut self.first) {
            *first = MOMENTUM * *first + gradient + decay * *parameter;
            *parameter -= rate * *first;
        }
    }
}

/// Scales a gradient down to `norm` if it is longer; zero leaves it alone.
pub(super) fn clip(gradients: &mut [f32], norm: f64) {
    if norm <= 0.0 {
        return;
    }
    let length = gradients.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
    if length > norm {
        let factor = (norm / length) as f32;
        gradients.iter_mut().for_each(|value| *value *= factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected values: the update formulas in double precision, by NumPy 2.4.6.
    fn check(optimizer: OptimizerKind, expected: [f32; 2]) {
        let settings = BurnSettings { optimizer, weight_decay: 0.1, ..BurnSettings::default() };
        let mut parameters = [1.0_f32, -2.0];
        let mut state = Optimizer::new(optimizer, 2);
        for gradient in [[0.5_f32, -0.1], [0.2, 0.4], [-0.3, 0.25]] {
            state.step(&settings, 0.01, &mut parameters, &gradient);
        }
        for (found, expected) in parameters.iter().zip(expected) {
            assert!((found - expected).abs() < 2e-6, "{optimizer:?} {found} {expected}");
        }
    }

    #[test]
    fn steps_are_those_of_the_formulas() {
        check(OptimizerKind::Adam, ADAM);
        check(OptimizerKind::AdamW, ADAM_W);
        check(OptimizerKind::Sgd, SGD);
    }

    const ADAM: [f32; 2] = [0.9756317, -1.9883855];
    const ADAM_W: [f32; 2] = [0.9750907, -1.9966265];
    const SGD: [f32; 2] = [0.9800658, -1.9961794];

    #[test]
    fn long_gradients_are_scaled_to_the_norm() {
        let mut gradient = [3.0_f32, -4.0];
        clip(&mut gradient, 10.0);
        assert_eq!(gradient, [3.0, -4.0]);
        clip(&mut gradient, 0.0);
        assert_eq!(gradient, [3.0, -4.0]);
        clip(&mut gradient, 1.0);
        assert!((gradient[0] - 0.6).abs() < 1e-7 && (gradient[1] + 0.8).abs() < 1e-7, "{gradient:?}");
    }
}
