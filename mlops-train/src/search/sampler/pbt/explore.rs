//! Parameters near others.

use super::PbtSettings;
use crate::{
    params::{ParamValue, Params},
    rng::SeededRng,
    search::space::{ParamSpace, SearchSpace},
};

/// Each parameter perturbed or drawn anew; those that only exist now are drawn.
pub(super) fn near(settings: &PbtSettings, space: &SearchSpace, of: &Params, rng: &mut SeededRng) -> Params {
    space.fill(|name, param| match of.get(name) {
        Some(value) if rng.uniform() >= settings.resample => {
            let sign = if rng.below(2) == 0 { -1.0 } else { 1.0 };
            moved(param, value, sign * settings.perturbation)
        }
        _ => param.draw(rng),
    })
}

/// The value multiplied by `1 + by`, or moved by the share `by` of its range where that may lie at or below zero; at
/// least to the next step where there are steps, and never beyond the bounds.
fn moved(param: &ParamSpace, value: &ParamValue, by: f64) -> ParamValue {
    let (Some(range), Some(number)) = (param.range(), value.as_f64()) else { return value.clone() };
    let put = |number: f64| param.at(range.axis(number.clamp(range.low, range.high)));
    let far = if range.low > 0.0 { number * (1.0 + by) } else { number + by * (range.high - range.low) };
    match (put(far), range.step) {
        (same, Some(step)) if same == *value => put(number + step.copysign(by)),
        (other, _) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_belong_to_the_space_and_differ() {
        let space = SearchSpace::new()
            .with_log_float("rate", 1e-5, 1.0)
            .with_float("shift", -1.0, 3.0)
            .with_int("units", 1, 6)
            .with_categorical("kind", ["a", "b"])
            .with_int("depth", 1, 9)
            .with_condition("depth", "kind", ["b"]);
        let settings = PbtSettings { resample: 0.0, ..PbtSettings::default() };
        let mut rng = SeededRng::new(1, 0);
        let of = Params::new().with("rate", 0.1).with("shift", 0.0).with("units", 2).with("kind", "a");
        for _ in 0..50 {
            let near = near(&settings, &space, &of, &mut rng);
            assert!(space.contains(&near), "{near:?}");
            let number = |name| near.number(name).unwrap();
            assert!([0.08, 0.12].iter().any(|rate| (number("rate") - rate).abs() < 1e-12), "{near:?}");
            assert!((number("shift").abs() - 0.8).abs() < 1e-12, "{near:?}");
            assert!([1.0, 3.0].contains(&number("units")), "a step at least: {near:?}");
            assert_eq!(near.get("kind"), of.get("kind"));
        }
        let edge =
            Params::new().with("rate", 1.0).with("shift", 3.0).with("units", 6).with("kind", "b").with("depth", 9);
        let drawn = PbtSettings { resample: 1.0, ..settings };
        for settings in [&settings_of(0.2), &drawn] {
            (0..50).for_each(|_| assert!(space.contains(&near(settings, &space, &edge, &mut rng))));
        }
    }

    fn settings_of(perturbation: f64) -> PbtSettings {
        PbtSettings { perturbation, resample: 0.0, ..PbtSettings::default() }
    }
}
