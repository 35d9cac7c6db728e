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

/// Trials before those of the Gaussian process.
const GP_TRIALS: usize = 1_000;

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

/// Parameters of the trials before are drawn by chance, which does not matter to the time.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn ask_of_the_gaussian_process_after_a_thousand_trials(bencher: Bencher<'_, '_>) {
    let study = |sampler| Study::builder(space(), Direction::Minimize).with_sampler(sampler).build().unwrap();
    let mut drawn = study(SamplerSettings::Random);
    let mut study = study(SamplerSettings::by_name("gp").unwrap());
    for _ in 0..GP_TRIALS {
        let trial = study.enqueue(drawn.ask().unwrap().params).unwrap();
        study.tell(trial.number, sphere(&trial.params)).unwrap();
    }
    bencher.bench_local(|| {
        let trial = study.ask().unwrap();
        study.tell(trial.number, sphere(&trial.params)).unwrap();
    });
}
