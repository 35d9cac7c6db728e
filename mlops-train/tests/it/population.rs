//! Population based training: toys whose best parameters change on the way, and networks that go on from each other.

use std::{collections::BTreeMap, num::NonZeroU64};

use mlops_core::{Error, ErrorKind, testing::SplitMix64};
#[cfg(feature = "study-sql")]
use mlops_train::search::Outcome;
use mlops_train::{
    BurnSettings, Checkpoints, Direction, FitContext, GbdtSettings, GbdtTrainer, MlpSettings, MlpTrainer,
    OptimizerKind, Params, SamplerSettings, SearchSpace, Study, TrainedModel, Trial, TrialState,
    search::{PbtSettings, Population, PrunerSettings, Stretch},
};

use crate::common::xor;

const STEPS: usize = 20;
/// Parameters of the toy; many, so that no chance of the noise makes a good one.
const SIZE: usize = 20;
/// Where gradient descent begins.
const START: [f64; SIZE] = [10.0; SIZE];

fn settings(population: usize, generations: usize) -> PbtSettings {
    PbtSettings { population, generations, ..PbtSettings::default() }
}

fn study(space: SearchSpace, direction: Direction, settings: PbtSettings, seed: u64) -> Study {
    Study::builder(space, direction).with_sampler(SamplerSettings::Pbt(settings)).with_seed(seed).build().unwrap()
}

fn rates() -> SearchSpace {
    SearchSpace::new().with_log_float("rate", 1e-4, 0.19)
}

fn curvature(at: usize) -> f64 {
    if at.is_multiple_of(2) { 1.0 } else { 10.0 }
}

/// `STEPS` noisy gradient steps down a quadratic of curvatures 1 and 10: large rates are best far from the minimum,
/// small ones near it. The noise is one of the seed and the step.
fn descend(mut theta: [f64; SIZE], rate: f64, seed: u64, generation: usize) -> [f64; SIZE] {
    let noise = SplitMix64::new(seed);
    for step in 0..STEPS {
        for (at, theta) in theta.iter_mut().enumerate() {
            let draw = 3.4 * (noise.uniform(((generation * STEPS + step) * SIZE + at) as u64) - 0.5);
            *theta -= rate * (curvature(at) * *theta + draw);
        }
    }
    theta
}

fn height(theta: [f64; SIZE]) -> f64 {
    theta.iter().enumerate().map(|(at, theta)| 0.5 * curvature(at) * theta * theta).sum()
}

/// What trials left behind, by number.
type Kept = BTreeMap<usize, [f64; SIZE]>;

fn train(study: &Study, trial: &Trial, kept: &mut Kept) -> f64 {
    let stretch = study.stretch(trial.number).unwrap();
    let theta = stretch.parent.map_or(START, |parent| kept[&parent]);
    let seed = 100 + stretch.member as u64;
    let theta = descend(theta, trial.params.number("rate").unwrap(), seed, stretch.generation);
    kept.insert(trial.number, theta);
    height(theta)
}

#[test]
fn beats_random_search_where_the_best_rate_changes_on_the_way() {
    let (population, generations) = (10, 10);
    let (mut by_population, mut by_chance) = (Vec::new(), Vec::new());
    for seed in 0..20 {
        let mut bred = study(rates(), Direction::Minimize, settings(population, generations), seed);
        let mut kept = Kept::new();
        for _ in 0..population * generations {
            let trial = bred.ask().unwrap();
            let value = train(&bred, &trial, &mut kept);
            bred.tell(trial.number, value).unwrap();
        }
        assert_eq!(bred.ask().unwrap_err().kind(), ErrorKind::ResourceExhausted);
        by_population.push(bred.best().unwrap().value().unwrap());
        // As many steps with rates that stay.
        let mut drawn = Study::builder(rates(), Direction::Minimize)
            .with_sampler(SamplerSettings::Random)
            .with_seed(seed)
            .build()
            .unwrap();
        for member in 0..population {
            let trial = drawn.ask().unwrap();
            let rate = trial.params.number("rate").unwrap();
            let (mut theta, mut best) = (START, f64::INFINITY);
            for generation in 0..generations {
                theta = descend(theta, rate, 100 + member as u64, generation);
                best = best.min(height(theta));
            }
            drawn.tell(trial.number, best).unwrap();
        }
        by_chance.push(drawn.best().unwrap().value().unwrap());
    }
    let wins = by_population.iter().zip(&by_chance).filter(|(bred, drawn)| bred < drawn).count();
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (bred, drawn) = (median(&mut by_population), median(&mut by_chance));
    println!("median best height of 20 seeds: population {bred:.5}, random {drawn:.5}; wins {wins}");
    assert!(bred < 0.6 * drawn && wins >= 16, "{bred} {drawn} {wins}");
}

/// The example of the paper (figure 2): `1.2 - a^2 - b^2` climbed by the gradient of `1.2 - h0 a^2 - h1 b^2`. Two
/// members of which each sees one coordinate alone stay at 0.39; by taking turns they arrive.
#[test]
fn two_blind_members_find_the_summit_together() {
    let space = || SearchSpace::new().with_float("h0", 0.0, 1.0).with_float("h1", 0.0, 1.0);
    let mut study = study(space(), Direction::Maximize, settings(2, 50), 3);
    let blind = [(1.0, 0.0), (0.0, 1.0)].map(|(h0, h1)| Params::new().with("h0", h0).with("h1", h1));
    let begun = blind.map(|params| study.enqueue(params).unwrap());
    let mut kept = BTreeMap::new();
    let mut climb = |study: &mut Study, trial: &Trial| {
        let parent = study.stretch(trial.number).unwrap().parent;
        let h = [trial.params.number("h0").unwrap(), trial.params.number("h1").unwrap()];
        let start = parent.map_or([0.9, 0.9], |parent| kept[&parent]);
        let theta = (0..4).fold(start, |[a, b], _| [a - 0.04 * h[0] * a, b - 0.04 * h[1] * b]);
        kept.insert(trial.number, theta);
        study.tell(trial.number, 1.2 - theta[0] * theta[0] - theta[1] * theta[1]).unwrap();
    };
    begun.iter().for_each(|trial| climb(&mut study, trial));
    assert_eq!(study.stretch(1).unwrap().member, 1);
    for _ in 2..100 {
        let trial = study.ask().unwrap();
        climb(&mut study, &trial);
    }
    let best = study.best().unwrap().value().unwrap();
    assert!(best > 1.19, "{best}");
}

/// Member and generation.
type Place = (usize, usize);

/// By place: parameters, value, and the place of the parent.
fn results(study: &Study) -> BTreeMap<Place, (Params, Vec<f64>, Option<Place>)> {
    let place = |number: usize| study.stretch(number).map(|stretch| (stretch.member, stretch.generation)).unwrap();
    let complete = study.trials().iter().filter(|trial| trial.state == TrialState::Complete);
    complete
        .map(|trial| {
            let parent = study.stretch(trial.number).unwrap().parent.map(place);
            (place(trial.number), (trial.params.clone(), trial.values.clone(), parent))
        })
        .collect()
}

/// A population of 5 for 6 generations on one worker, stored and read back on the way.
fn alone() -> Study {
    let mut study = study(rates(), Direction::Minimize, settings(5, 6), 7);
    let mut kept = Kept::new();
    for round in 0..30 {
        if round == 13 {
            study = serde_json::from_str(&serde_json::to_string(&study).unwrap()).unwrap();
        }
        let trial = study.ask().unwrap();
        let value = train(&study, &trial, &mut kept);
        study.tell(trial.number, value).unwrap();
    }
    study
}

#[test]
fn results_do_not_depend_on_the_order_of_workers() {
    let expected = results(&alone());
    assert_eq!(expected.len(), 30);
    assert!(expected.iter().any(|((member, _), (.., parent))| parent.is_some_and(|(from, _)| from != *member)));
    for order in 0..5 {
        let draws = SplitMix64::new(order);
        let mut study = study(rates(), Direction::Minimize, settings(5, 6), 7);
        let (mut kept, mut running) = (Kept::new(), Vec::new());
        for round in 0.. {
            match study.ask() {
                Ok(trial) => running.push(trial),
                Err(error) if error.kind() == ErrorKind::ResourceExhausted => break,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
            }
            if running.len() == 3 || draws.uniform(round) < 0.5 || study.trials().len() == 30 {
                let at = (draws.uniform(1_000 + round) * running.len() as f64) as usize;
                if at < running.len() {
                    let trial: Trial = running.swap_remove(at);
                    let value = train(&study, &trial, &mut kept);
                    study.tell(trial.number, value).unwrap();
                }
            }
        }
        assert_eq!(results(&study), expected, "order {order}");
    }
}

fn ask(study: &mut Study) -> Stretch {
    let number = study.ask().unwrap().number;
    study.stretch(number).unwrap()
}

#[test]
fn who_fails_goes_on_from_one_of_the_best() {
    let mut bred = study(rates(), Direction::Minimize, settings(4, 3), 1);
    for member in 0..4 {
        let trial = bred.ask().unwrap();
        if member < 3 {
            bred.fail(trial.number).unwrap();
        } else {
            bred.tell(trial.number, 1.0).unwrap();
        }
    }
    for member in 0..4 {
        let stretch = ask(&mut bred);
        let trial = bred.trials().last().unwrap();
        assert_eq!((stretch.member, stretch.generation, stretch.parent), (member, 1, Some(3)));
        assert_eq!(trial.params == bred.trials()[3].params, member == 3, "copies are perturbed");
    }
    assert_eq!(bred.ask().unwrap_err().kind(), ErrorKind::Unavailable);
    (4..8).for_each(|number| bred.fail(number).unwrap());
    let parents: Vec<Option<usize>> = (0..4).map(|_| ask(&mut bred).parent).collect();
    assert_eq!(parents, [None, None, None, Some(3)], "where all have failed each goes on from its own last result");
}

#[test]
fn without_waiting_members_are_compared_by_their_last_results() {
    let settings = PbtSettings { synchronous: false, ..settings(4, 4) };
    let mut bred = study(rates(), Direction::Minimize, settings, 1);
    let first: Vec<Trial> = (0..4).map(|_| bred.ask().unwrap()).collect();
    bred.tell(first[2].number, 0.5).unwrap();
    bred.tell(first[1].number, 9.0).unwrap();
    // Two of four have ended; member 1 is the worse of them, but those without a result rank behind it.
    let stretches = [ask(&mut bred), ask(&mut bred)];
    assert_eq!([stretches[0].member, stretches[1].member], [1, 2]);
    assert_eq!(stretches[1].parent, Some(2));
    assert_eq!(bred.ask().unwrap_err().kind(), ErrorKind::Unavailable);
    // Member 2 is a generation ahead when member 0 gives up: what that one goes on from has two stretches behind it.
    bred.tell(5, 0.1).unwrap();
    bred.tell(first[3].number, 1.0).unwrap();
    bred.tell(first[0].number, 20.0).unwrap();
    let copy = ask(&mut bred);
    assert_eq!((copy.member, copy.generation, copy.parent, copy.trained), (0, 1, Some(5), 2));
    assert_eq!((stretches[1].trained, bred.stretch(0).unwrap().trained), (1, 0));
}

#[test]
fn settings_out_of_range_are_named() {
    for bad in [
        settings(1, 5),
        settings(5, 0),
        PbtSettings { quantile: 0.6, ..settings(4, 4) },
        PbtSettings { perturbation: 1.0, ..settings(4, 4) },
    ] {
        let built = Study::builder(rates(), Direction::Minimize).with_sampler(SamplerSettings::Pbt(bad)).build();
        assert!(built.unwrap_err().message().contains("pbt needs"));
    }
    for pruner in ["asha", "successive_halving"] {
        let pbt = SamplerSettings::by_name("pbt").unwrap();
        let pruner = PrunerSettings::by_name(pruner).unwrap().unwrap();
        let pauses = matches!(&pruner, PrunerSettings::SuccessiveHalving(halving) if halving.promote);
        let built = Study::builder(rates(), Direction::Minimize).with_sampler(pbt).with_pruner(pruner).build();
        assert_eq!(built.err().map(|error| error.kind()), pauses.then_some(ErrorKind::InvalidArgument));
    }
    let two = Study::multi_objective(rates(), [Direction::Minimize, Direction::Minimize]);
    let error = two.with_sampler(SamplerSettings::by_name("pbt").unwrap()).build().unwrap_err();
    assert!(error.message().contains("one objective"), "{error}");
}

fn mlp(epochs: usize, learning_rate: f64) -> MlpSettings {
    let training = BurnSettings { epochs, learning_rate, batch_rows: 32, ..BurnSettings::default() };
    MlpSettings { hidden_units: 16, training, ..MlpSettings::default() }
}

#[test]
fn a_fit_that_goes_on_from_another_with_equal_settings_has_its_bits() {
    let data = xor(600, 4);
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| Checkpoints::new(home.path().join(name));
    let fit = |settings: &MlpSettings, checkpoints: Option<Checkpoints>| {
        let context = FitContext::new(3);
        let context = checkpoints.map_or(context.clone(), |checkpoints| context.with_checkpoints(checkpoints));
        MlpTrainer.fit_settings(&data, settings, &context)
    };
    let whole = fit(&mlp(6, 0.01), None).unwrap();
    fit(&mlp(2, 0.01), Some(at("first"))).unwrap();
    let second = at("second").with_origin(home.path().join("first"));
    let gone_on = fit(&mlp(6, 0.01), Some(second.clone())).unwrap();
    assert_eq!(gone_on.history(), whole.history());
    assert_eq!(gone_on.to_package().unwrap().digest().unwrap(), whole.to_package().unwrap().digest().unwrap());
    let other = fit(&mlp(6, 0.001), Some(at("third").with_origin(home.path().join("first")))).unwrap();
    assert_eq!(other.history()[..2], whole.history()[..2]);
    assert_ne!(other.history()[2], whole.history()[2]);

    // An end in the middle of an epoch is no place to begin.
    let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let half = at("half").with_every(NonZeroU64::MIN);
    let context = FitContext::new(3).with_checkpoints(half.clone()).with_cancel(flag);
    MlpTrainer.fit_settings(&data, &mlp(1, 0.01), &context).unwrap_err();
    assert!(fit(&mlp(2, 0.01), Some(at("fourth").with_origin(home.path().join("half")))).is_ok(), "no step was made");
    let wide = MlpSettings { hidden_units: 24, ..mlp(6, 0.01) };
    let error = fit(&wide, Some(at("fifth").with_origin(home.path().join("first")))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    assert!(error.message().contains("parameters must be the same"), "{error}");

    // A fit with nothing left to do can be gone on from, too.
    let from = |name: &str, origin: &str| Some(at(name).with_origin(home.path().join(origin)));
    fit(&mlp(2, 0.01), from("idle", "first")).unwrap();
    assert_eq!(fit(&mlp(6, 0.01), from("sixth", "idle")).unwrap().history(), whole.history());
}

#[test]
fn moments_of_another_rule_begin_anew() {
    let data = xor(600, 4);
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| Checkpoints::new(home.path().join(name));
    let fit = |optimizer, epochs, learning_rate, checkpoints: Checkpoints| {
        let training = BurnSettings { optimizer, early_stopping_epochs: 0, ..mlp(epochs, learning_rate).training };
        let settings = MlpSettings { training, ..mlp(epochs, learning_rate) };
        MlpTrainer.fit_settings(&data, &settings, &FitContext::new(3).with_checkpoints(checkpoints)).unwrap()
    };
    let moments = |name: &str| {
        let latest = at(name).list().unwrap().pop().unwrap().path;
        let state: serde_json::Value =
            serde_json::from_slice(&std::fs::read(latest.join("state.json")).unwrap()).unwrap();
        (std::fs::read(latest.join("optimizer.safetensors")).unwrap(), state["step"].clone(), state["updates"].clone())
    };
    use OptimizerKind::{Adam, AdamW, Sgd};
    for (from, to, goes_on) in [(Adam, Sgd, false), (Sgd, AdamW, false), (Adam, AdamW, true), (Sgd, Sgd, true)] {
        let name = |what: &str| format!("{from:?} {to:?} {what}");
        let (first, second) = (name("first"), name("second"));
        fit(from, 2, 0.01, at(&first));
        let (old, steps, _) = moments(&first);
        let origin = home.path().join(&first);
        let gone_on = fit(to, 5, 0.01, at(&second).with_origin(&origin));
        assert_eq!(gone_on.history().len(), 5);
        let (_, all, updates) = moments(&second);
        let made_of = if goes_on { all.as_u64() } else { all.as_u64().zip(steps.as_u64()).map(|(all, old)| all - old) };
        assert_eq!(updates.as_u64(), made_of, "{from:?} {to:?}");
        // With nothing left to do the checkpoint tells what the fit would have begun with.
        let idle = name("idle");
        fit(to, 2, 0.01, at(&idle).with_origin(&origin));
        let begun = moments(&idle).0;
        assert_eq!(begun == old, goes_on, "{from:?} {to:?}");
        assert_eq!(numbers(&begun).all(|value| value == 0.0), !goes_on, "{from:?} {to:?}");
        // A fit that is cut off after it began goes on with what it had.
        let half = name("half");
        fit(to, 3, 0.01, at(&half).with_origin(&origin));
        let whole = gone_on.to_package().unwrap().digest().unwrap();
        let again = fit(to, 5, 0.01, at(&name("again")).with_origin(home.path().join(&half)));
        assert_eq!(again.to_package().unwrap().digest().unwrap(), whole, "{from:?} {to:?}");
    }
}

/// The numbers of a safetensors file in single precision: behind a header whose length comes first.
fn numbers(file: &[u8]) -> impl Iterator<Item = f32> {
    let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    file[8 + header..].as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes))
}

#[test]
fn boosting_goes_on_from_another_fit_with_the_same_rows_held_out() {
    let data = xor(600, 4);
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| Checkpoints::new(home.path().join(name));
    let fit = |rounds, early_stopping_rounds, seed, name: Option<(&str, Option<&str>)>| {
        let settings = GbdtSettings { rounds, early_stopping_rounds, subsample: 0.7, ..GbdtSettings::default() };
        let checkpoints =
            name.map(|(name, origin)| origin.map_or(at(name), |origin| at(name).with_origin(home.path().join(origin))));
        let context = checkpoints.map_or(FitContext::new(seed), |c| FitContext::new(seed).with_checkpoints(c));
        GbdtTrainer.fit_settings(&data, &settings, &context).map(|model| model.to_package().unwrap().digest().unwrap())
    };
    for (patience, name) in [(0, "all"), (15, "held")] {
        let of = |what: &str| format!("{name} {what}");
        let (few, idle, more) = (of("few"), of("idle"), of("more"));
        let whole = fit(20, patience, 3, None).unwrap();
        fit(8, patience, 3, Some((&few, None))).unwrap();
        fit(8, patience, 3, Some((&idle, Some(&few)))).unwrap();
        assert_eq!(fit(20, patience, 3, Some((&more, Some(&few)))).unwrap(), whole);
        assert_eq!(fit(20, patience, 3, Some((&of("last"), Some(&idle)))).unwrap(), whole, "nothing was left to do");
        // Trees that have seen the rows held out now, or fewer rows than there are.
        let error = fit(20, 15 - patience, 3, Some((&of("other"), Some(&few)))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
        let seeded = fit(20, patience, 4, Some((&of("seed"), Some(&few))));
        assert_eq!(seeded.is_ok(), patience == 0, "the seed says which rows are held out");
    }
}

#[test]
fn a_population_of_networks_shares_what_its_members_learnt() {
    let data = xor(1_500, 4);
    let run = |stops_at: usize| {
        let home = tempfile::tempdir().unwrap();
        let space = SearchSpace::new().with_log_float("learning_rate", 1e-5, 1.0).with_int("batch_rows", 16, 128);
        let mut study = study(space, Direction::Minimize, settings(5, 4), 2);
        let population = Population::new(home.path());
        let train = |study: &Study, number: usize, cancel: bool| {
            let stretch = study.stretch(number).unwrap();
            let drawn: MlpSettings = study.trials()[number].params.to_settings()?;
            let epochs = 3 * (stretch.generation + 1);
            let training = BurnSettings { epochs, early_stopping_epochs: 50, ..drawn.training };
            let settings = MlpSettings { hidden_units: 16, training, ..drawn };
            let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
            let raised = std::sync::Arc::clone(&flag);
            let context = FitContext::new(1)
                .with_checkpoints(population.checkpoints(study, number)?)
                .with_cancel(flag)
                .with_progress(move |_| raised.store(cancel, std::sync::atomic::Ordering::Relaxed));
            let model = MlpTrainer.fit_settings(&data, &settings, &context)?;
            assert_eq!(model.history().len(), epochs);
            model.history().last().and_then(|epoch| epoch.valid_loss).ok_or_else(|| Error::internal("not judged"))
        };
        for round in 0..20 {
            let trial = study.ask().unwrap();
            if round == stops_at {
                // The process dies after an epoch, and trains the stretch once more.
                assert_eq!(train(&study, trial.number, true).unwrap_err().kind(), ErrorKind::Cancelled);
            }
            match train(&study, trial.number, false) {
                Ok(loss) => study.tell(trial.number, loss).unwrap(),
                // Diverged.
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
                    study.fail(trial.number).unwrap();
                }
            }
            population.sweep(&study).unwrap();
        }
        let folders = std::fs::read_dir(home.path()).unwrap().count();
        assert!((2..=7).contains(&folders), "{folders} folders are left of 20 trials");
        study
    };
    let study = run(11);
    let loss = |generation: usize| {
        let of = |trial: &&Trial| study.stretch(trial.number).unwrap().generation == generation;
        study.trials().iter().filter(of).filter_map(|trial| trial.value()).fold(f64::INFINITY, f64::min)
    };
    println!("best loss by generation: {:?}", (0..4).map(loss).collect::<Vec<_>>());
    assert!(loss(3) < 0.9 * loss(0), "{} {}", loss(3), loss(0));
    let copied = study.trials().iter().filter(|trial| {
        let stretch = study.stretch(trial.number).unwrap();
        stretch.parent.is_some_and(|parent| study.stretch(parent).unwrap().member != stretch.member)
    });
    assert!(copied.count() >= 3);
    assert_eq!(run(usize::MAX), study, "an interruption leaves no trace");
}

#[cfg(feature = "study-sql")]
#[tokio::test]
async fn workers_share_a_population_and_replace_the_dead() {
    use std::{sync::Arc, time::Duration};

    use mlops_core::{Clock, Timestamp, testing::ManualClock};
    use mlops_store::{MetaStore, SqliteMetaStore};
    use mlops_train::search::{SharedSettings, SharedStudy};

    let expected = results(&alone());
    let store = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
    let clock = Arc::new(ManualClock::at(Timestamp::from_micros(0)));
    let mut workers = Vec::new();
    for name in ["a", "b", "c"] {
        let study = study(rates(), Direction::Minimize, settings(5, 6), 7);
        let settings = SharedSettings { lease_ms: 1_000, retries_max: 1_000 };
        let (store, clock) = (Arc::clone(&store) as Arc<dyn MetaStore>, Arc::clone(&clock) as Arc<dyn Clock>);
        workers.push(SharedStudy::open(store, clock, study, name, settings).await.unwrap());
    }
    let draws = SplitMix64::new(5);
    let (mut kept, mut running, mut deaths) = (Kept::new(), vec![None::<Trial>; 3], 0);
    for round in 0.. {
        assert!(round < 2_000, "the population does not get on");
        let at = (draws.uniform(round) * 3.0) as usize;
        let worker = &mut workers[at];
        match running[at].take() {
            // Every fifth is forgotten, and found dead later.
            Some(_) if draws.uniform(5_000 + round) < 0.2 => {
                deaths += 1;
                clock.advance(Duration::from_millis(1_100));
            }
            Some(trial) => {
                let values = vec![train(worker.study(), &trial, &mut kept)];
                // The forgotten one's lease ran out, but so did those of the others: they may come too late.
                match worker.tell(trial.number, Outcome::Complete { values, constraints: vec![] }).await {
                    Ok(()) => {}
                    Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
                }
            }
            None => match worker.ask().await {
                Ok(trial) => running[at] = Some(trial),
                Err(error) if error.kind() == ErrorKind::ResourceExhausted => break,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                    clock.advance(Duration::from_millis(10));
                }
            },
        }
    }
    assert!(deaths > 0);
    workers[0].refresh().await.unwrap();
    assert_eq!(results(workers[0].study()), expected);
}

#[cfg(feature = "study-sql")]
#[tokio::test]
async fn who_waits_leaves_the_dead_failed() {
    use std::{sync::Arc, time::Duration};

    use mlops_core::{Clock, Timestamp, testing::ManualClock};
    use mlops_store::{MetaStore, SqliteMetaStore};
    use mlops_train::search::{SharedSettings, SharedStudy};

    let store = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
    let clock = Arc::new(ManualClock::at(Timestamp::from_micros(0)));
    let open = |name: &'static str| {
        let study = study(rates(), Direction::Minimize, settings(2, 2), 7);
        let settings = SharedSettings { lease_ms: 1_000, retries_max: 0 };
        let (store, clock) = (Arc::clone(&store) as Arc<dyn MetaStore>, Arc::clone(&clock) as Arc<dyn Clock>);
        async move { SharedStudy::open(store, clock, study, name, settings).await.unwrap() }
    };
    let (mut dead, mut alive) = (open("dead").await, open("alive").await);
    let (lost, kept) = (dead.ask().await.unwrap(), alive.ask().await.unwrap());
    clock.advance(Duration::from_millis(900));
    alive.heartbeat().await.unwrap();
    clock.advance(Duration::from_millis(900));
    for _ in 0..2 {
        assert_eq!(alive.ask().await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(open("late").await.study(), alive.study());
        assert_eq!(alive.study().trials()[lost.number].state, TrialState::Failed);
    }
    alive.tell(kept.number, Outcome::Complete { values: vec![1.0], constraints: vec![] }).await.unwrap();
    assert_eq!(alive.ask().await.unwrap().number, 2);
}
