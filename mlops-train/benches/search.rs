//! What asking and telling costs after many trials: `cargo bench -p mlops-train --bench search`.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use divan::Bencher;
use mlops_train::{Direction, Params, SamplerSettings, SearchSpace, Study};

/// Trials before those that are measured.
const TRIALS: usize = 10_000;

fn main() {
    divan::main();
}

fn space() -> SearchSpace {
    let floats = (0..5).fold(SearchSpace::new(), |space, at| space.with_float(format!("x{at}"), -32.0, 32.0));
    let ints = (0..3).fold(floats, |space, at| space.with_int(format!("k{at}"), -32, 32));
    (0..2).fold(ints, |space, at| space.with_categorical(format!("c{at}"), ["a", "b", "c", "d", "e", "f", "g"]))
}

/// Sum of squares of the numbers; choices do not matter.
fn sphere(params: &Params) -> f64 {
    params.iter().filter_map(|(_, value)| value.as_f64()).map(|value| value * value).sum()
}

#[divan::bench(args = ["random", "qmc", "tpe", "cmaes"], sample_count = 20, sample_size = 20)]
fn ask_and_tell_after_ten_thousand_trials(bencher: Bencher<'_, '_>, sampler: &str) {
    let sampler = SamplerSettings::by_name(sampler).unwrap();
    let mut study = Study::builder(space(), Direction::Minimize).with_sampler(sampler).build().unwrap();
    study.optimize(TRIALS, |trial| Ok(sphere(&trial.params)), |_, _| ()).unwrap();
    bencher.bench_local(|| {
        let trial = study.ask().unwrap();
        study.tell(trial.number, sphere(&trial.params)).unwrap();
    });
}
