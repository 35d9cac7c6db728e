//! The state machine and its judgements, as pure functions.

use mlops_core::{ModelName, Timestamp, Version, testing::SplitMix64};
use mlops_metrics::Direction;

use super::*;

const START: Timestamp = Timestamp::from_micros(0);

fn at(seconds: u64) -> Timestamp {
    START + std::time::Duration::from_secs(seconds)
}

fn name() -> ModelName {
    ModelName::new("m").unwrap()
}

fn rollout(settings: RolloutSettings) -> Rollout {
    Rollout::new(name(), Version(1), Version(2), settings).unwrap().started(START)
}

fn experiment(settings: RolloutSettings) -> Rollout {
    Rollout::with_candidates(name(), Version(1), [Version(2), Version(3)], settings).unwrap().started(START)
}

fn unfailed(strategy: Strategy) -> RolloutSettings {
    RolloutSettings { requirement: Requirement::NoFailure, ..RolloutSettings::new(strategy) }
}

fn arm(requests: u64, errors: u64) -> ArmStats {
    ArmStats { requests, errors, latency_us_sum: requests * 400, ..ArmStats::default() }
}

/// Walks on with the same counts in each stage, as often as something is decided.
fn walk(mut state: Rollout, stats: &RolloutStats, steps: usize) -> Vec<(&'static str, f64)> {
    let mut seen = vec![(state.state_name(), state.weight())];
    for _ in 0..steps {
        state = state.after(&state.look(stats, at(60)), stats, at(60));
        seen.push((state.state_name(), state.weight()));
    }
    seen
}

#[track_caller]
fn check(champion: ArmStats, canary: ArmStats, expected: &str) {
    let strategy = Strategy::Canary { steps: vec![0.1, 0.5], mirror: 0.0 };
    let look = rollout(RolloutSettings::new(strategy)).look(&RolloutStats::of(champion, canary), at(60));
    assert!(format!("{:?}", look.decision).contains(expected), "{look:?}");
}

#[test]
fn a_candidate_goes_on_when_it_is_shown_to_be_no_worse_and_back_when_it_is_worse() {
    check(arm(4_491, 9), arm(499, 0), "Hold");
    check(arm(4_500, 27), arm(500, 3), "Hold");
    check(arm(18_000, 18), arm(2_000, 2), "Advance(0.5)");
    check(arm(9_000, 9), arm(1_000, 20), "RollBack(\"errors: 20 of 1000");
    check(arm(900, 1), arm(100, 20), "RollBack(\"errors: 20 of 100");
    let slow = ArmStats { slow: 300, ..arm(1_000, 1) };
    check(arm(9_000, 9), slow, "RollBack(\"slow answers: 300 of 1000");
}

#[test]
fn without_data_nothing_passes_and_it_is_said() {
    let look = rollout(RolloutSettings::default()).look(&RolloutStats::default(), at(60));
    assert_eq!(look.decision, Decision::Hold);
    assert_eq!(look.findings.len(), 2);
    for finding in look.findings {
        assert_eq!((finding.verdict, finding.value, finding.low), (Verdict::Undecided, None, None));
        assert!(finding.reason.contains("no verdict on 0"), "{finding:?}");
    }
}

#[test]
fn findings_carry_their_evidence_and_survive_json() {
    let stats = RolloutStats::of(arm(18_000, 18), arm(2_000, 2));
    let state = rollout(RolloutSettings::default());
    let next = state.after(&state.look(&stats, at(60)), &stats, at(60));
    let errors = &next.findings[0];
    assert_eq!((errors.value, errors.limit, errors.samples, errors.champion_samples), (Some(0.0), 0.01, 2_000, 18_000));
    assert!(errors.low.unwrap() < 0.0 && errors.high.unwrap() < 0.01 && errors.p_value == Some(1.0));
    let json = serde_json::to_string(&next).unwrap();
    assert_eq!(serde_json::from_str::<Rollout>(&json).unwrap(), next);
}

#[test]
fn the_whole_way_of_a_canary_and_the_last_step_compares_with_the_champion_before() {
    let stats = RolloutStats::of(arm(45_000, 45), arm(5_000, 5));
    let settings = RolloutSettings {
        strategy: Strategy::Canary { steps: vec![0.1, 1.0], mirror: 1.0 },
        sample_ratio_alpha: 0.0,
        ..RolloutSettings::default()
    };
    let seen = walk(rollout(settings), &stats, 4);
    let expected = [("shadow", 0.0), ("canary", 0.1), ("canary", 1.0), ("promoted", 1.0), ("promoted", 1.0)];
    assert_eq!(seen, expected);
    let settings = RolloutSettings { sample_ratio_alpha: 0.0, ..RolloutSettings::canary([0.1, 1.0]) };
    let first = rollout(settings);
    let last = first.apply(&Decision::Advance(1.0), &stats, at(60));
    let alone = |errors| RolloutStats::of(ArmStats::default(), arm(6_000, errors));
    assert!(matches!(last.look(&alone(120), at(61)).decision, Decision::RollBack(_)));
    assert_eq!(last.look(&alone(6), at(61)).decision, Decision::Promote(Version(2)));
}

#[test]
fn blue_green_switches_all_traffic_at_once_and_back_at_any_time() {
    let stats = RolloutStats::of(arm(20_000, 20), arm(20_000, 20));
    let seen = walk(rollout(RolloutSettings::new(Strategy::BlueGreen { mirror: 0.0 })), &stats, 2);
    assert_eq!(seen, [("preview", 0.0), ("switched", 1.0), ("promoted", 1.0)]);
    let state =
        rollout(RolloutSettings { stage_min_s: 300, ..RolloutSettings::new(Strategy::BlueGreen { mirror: 0.0 }) });
    let switched = state.apply(&Decision::Advance(1.0), &stats, at(60));
    assert_eq!(switched.look(&stats, at(359)).decision, Decision::Hold, "the window of verification");
    assert_eq!(switched.look(&stats, at(360)).decision, Decision::Promote(Version(2)));
    let back = switched.command(&Command::RollBack { reason: "alarm".into() }).unwrap();
    assert_eq!(switched.apply(&back, &stats, at(100)).weight(), 0.0);
}

#[test]
fn a_shadow_waits_for_a_person() {
    let stats = RolloutStats::of(arm(20_000, 20), arm(10_000, 10));
    let state = rollout(RolloutSettings::new(Strategy::Shadow { mirror: 0.5 }));
    assert_eq!((state.weight(), state.mirror_share()), (0.0, 0.5));
    let paused = state.after(&state.look(&stats, at(60)), &stats, at(60));
    assert_eq!((paused.state_name(), paused.look(&stats, at(600)).decision), ("paused", Decision::Hold));
    let promote = paused.command(&Command::Promote { version: None }).unwrap();
    assert_eq!(paused.apply(&promote, &stats, at(61)).weight(), 1.0);
}

#[test]
fn at_the_horizon_an_undecided_stage_pauses_with_its_traffic_and_a_person_goes_on() {
    let settings = RolloutSettings { stage_max_s: 600, ..RolloutSettings::default() };
    let stats = RolloutStats::of(arm(4_500, 27), arm(500, 3));
    let state = rollout(settings);
    assert_eq!(state.look(&stats, at(599)).decision, Decision::Hold);
    let look = state.look(&stats, at(600));
    assert!(
        matches!(&look.decision, Decision::Pause(reason) if reason.contains("undecided after 600 s: errors")),
        "{look:?}"
    );
    let paused = state.after(&look, &stats, at(600));
    assert_eq!((paused.state_name(), paused.weight()), ("paused", 0.1));
    assert_eq!(paused.look(&stats, at(9_999)).decision, Decision::Hold);
    assert!(paused.command(&Command::Pause { reason: String::new() }).is_err());
    let running = paused.apply(&paused.command(&Command::Continue).unwrap(), &stats, at(700));
    assert_eq!(
        (running.state_name(), running.stage_began, running.seen.candidate(0).requests),
        ("canary", at(700), 500)
    );
    let bad = RolloutStats::of(arm(9_000, 9), arm(1_000, 30));
    assert!(matches!(paused.look(&bad, at(601)).decision, Decision::RollBack(_)), "guardrails hold while paused");
}

#[test]
fn objectives_need_no_champion_and_one_alone_decides() {
    let settings =
        RolloutSettings { guardrails: vec![Guardrail::ErrorsAtMost { share: 0.02 }], ..RolloutSettings::canary([1.0]) };
    let look =
        |errors| rollout(settings.clone()).look(&RolloutStats::of(arm(0, 0), arm(1_000, errors)), at(1)).decision;
    assert_eq!(look(3), Decision::Promote(Version(2)));
    assert_eq!(look(20), Decision::Hold);
    assert!(matches!(look(60), Decision::RollBack(_)));
}

fn with_kpi(mut stats: ArmStats, name: &str, values: impl Iterator<Item = f64>) -> ArmStats {
    stats.kpis.insert(name.into(), values.collect());
    stats
}

#[test]
fn a_figure_that_falls_fails_where_more_is_better() {
    let settings = RolloutSettings {
        guardrails: vec![Guardrail::Kpi { name: "sales".into(), direction: Direction::Maximize, margin: 0.5 }],
        sample_ratio_alpha: 0.0,
        ..RolloutSettings::canary([0.5])
    };
    let state = rollout(settings);
    let look = |n: u64, more: f64| {
        let values = |more: f64| (0..n).map(move |i| more + f64::from(u32::try_from(i % 7).unwrap()));
        let stats = RolloutStats::of(
            with_kpi(arm(1_000, 0), "sales", values(0.0)),
            with_kpi(arm(1_000, 0), "sales", values(more)),
        );
        state.look(&stats, at(60)).decision
    };
    assert!(matches!(look(4_000, -1.0), Decision::RollBack(reason) if reason.contains("kpi sales")));
    assert_eq!(look(4_000, 1.0), Decision::Promote(Version(2)));
    assert_eq!(look(4_000, 0.0), Decision::Promote(Version(2)), "no worse by the margin");
    assert_eq!(look(499, -1.0), Decision::Hold, "too few to say");
}

#[test]
fn an_uneven_split_pauses_for_nothing_can_be_concluded() {
    let state = rollout(RolloutSettings::default());
    let look = state.look(&RolloutStats::of(arm(17_000, 17), arm(3_000, 3)), at(60));
    assert!(matches!(&look.decision, Decision::Pause(reason) if reason.contains("not split as planned")), "{look:?}");
    let sticky = rollout(RolloutSettings { sticky_by: Some("user".into()), ..RolloutSettings::default() });
    let look = sticky.look(&RolloutStats::of(arm(17_000, 17), arm(3_000, 3)), at(60));
    assert_eq!(look.decision, Decision::Advance(0.5), "requests of one user are not independent");
}

fn goal(effect: f64) -> RolloutSettings {
    let goal = Goal { kpi: "sales".into(), direction: Direction::Maximize, effect };
    let weights = vec![0.25, 0.25];
    RolloutSettings { stage_max_s: 3_600, ..unfailed(Strategy::Experiment { weights, goal: Some(goal) }) }
}

fn sales(more: [f64; 2]) -> RolloutStats {
    let values = |n: u32, more: f64| (0..n).map(move |i| more + f64::from(i % 7));
    RolloutStats {
        champion: with_kpi(arm(8_000, 8), "sales", values(8_000, 0.0)),
        candidates: more.map(|more| with_kpi(arm(4_000, 4), "sales", values(4_000, more))).to_vec(),
    }
}

#[test]
fn an_experiment_promotes_its_winner_stops_what_breaks_and_ends_where_going_on_is_futile() {
    let state = experiment(goal(1.0));
    assert_eq!((state.state_name(), state.weight()), ("experiment", 0.5));
    assert_eq!(state.look(&sales([0.4, 0.9]), at(60)).decision, Decision::Promote(Version(3)));
    let futile = state.look(&sales([0.0, 0.0]), at(60)).decision;
    assert!(matches!(&futile, Decision::Pause(reason) if reason.contains("futile")), "{futile:?}");
    let open = experiment(goal(0.01));
    assert_eq!(open.look(&sales([0.0, 0.0]), at(60)).decision, Decision::Hold);
    assert!(matches!(open.look(&sales([0.0, 0.0]), at(3_600)).decision, Decision::Pause(_)));

    let mut broken = sales([0.0, 0.0]);
    broken.candidates[0].errors = 400;
    let look = open.look(&broken, at(60));
    assert!(
        matches!(&look.decision, Decision::Stop(Version(2), reason) if reason.contains("errors: 400 of 4000")),
        "{look:?}"
    );
    let next = open.after(&look, &broken, at(60));
    assert_eq!((next.weight(), next.allocation.share(1), next.allocation.share(2)), (0.25, 0.0, 0.25));
    broken.candidates[1].errors = 400;
    assert!(matches!(next.look(&broken, at(61)).decision, Decision::RollBack(_)), "the last one left");
    assert!(next.command(&Command::Promote { version: Some(Version(2)) }).is_err());
    assert_eq!(next.command(&Command::Promote { version: None }).unwrap(), Decision::Promote(Version(3)));
}

#[test]
fn raising_a_share_moves_only_new_keys_in() {
    let stats = RolloutStats::default();
    let small = rollout(RolloutSettings::canary([0.1, 0.5]));
    let large = small.apply(&Decision::Advance(0.5), &stats, at(1));
    let keys = (0..10_000).map(|i| format!("user-{i}")).collect::<Vec<_>>();
    let canary = |state: &Rollout| keys.iter().filter(|key| state.route(key) == Variant::Canary).count();
    assert!(keys.iter().all(|key| small.route(key) == Variant::Champion || large.route(key) == Variant::Canary));
    assert!((900..1_100).contains(&canary(&small)) && (4_800..5_200).contains(&canary(&large)));
}

#[test]
fn a_bandit_is_judged_by_tests_that_hold_whatever_its_shares() {
    let policy = bandit::Policy::EpsilonGreedy { epsilon: 0.1 };
    let strategy = Strategy::Bandit(bandit::BanditSettings::new("click", policy));
    let state = experiment(unfailed(strategy));
    assert_eq!((state.state_name(), state.variant(2)), ("bandit", Variant::Treatment(2)));
    let stats = |errors| RolloutStats { champion: arm(9_000, 9), candidates: vec![arm(9_000, 9), arm(2_000, errors)] };
    assert_eq!(state.look(&stats(2), at(1)).decision, Decision::Hold);
    let look = state.look(&stats(100), at(1));
    assert!(matches!(look.decision, Decision::Stop(Version(3), _)), "{look:?}");
    let next = state.after(&look, &stats(100), at(1));
    assert_eq!(next.bandit.unwrap().propensities(&[])[2], 0.0);
}

#[test]
fn what_comes_from_outside_is_checked() {
    let mut state = rollout(RolloutSettings::default());
    state.phase = Phase::Running { stage: 7 };
    assert!(state.validate().unwrap_err().message().contains("no stage 7"));
    let twice = Rollout::with_candidates(name(), Version(1), [Version(2), Version(2)], goal(1.0));
    assert!(twice.unwrap_err().message().contains("twice"));
    assert!(Rollout::new(name(), Version(1), Version(1), RolloutSettings::default()).is_err());
}

/// 400 runs of equal arms, judged after each of 40 batches with Bernoulli requests: the share of false alarms keeps to
/// alpha; and a fivefold error rate is found nearly always.
#[test]
fn false_alarms_are_bounded_under_continuous_looking_and_a_bad_candidate_is_caught() {
    let (data, mut drawn) = (SplitMix64::new(11), 0);
    let mut random = || {
        drawn += 1;
        data.uniform(drawn)
    };
    let mut alarms = |rate_canary: f64| {
        let settings = RolloutSettings { stage_min_s: u64::MAX, stage_max_s: 0, ..RolloutSettings::canary([0.1]) };
        let state = rollout(settings);
        let mut count = 0;
        for _ in 0..400 {
            let mut stats = RolloutStats::of(arm(0, 0), arm(0, 0));
            for _ in 0..40 {
                for _ in 0..500 {
                    let on_canary = random() < 0.1;
                    let (arm, rate) =
                        if on_canary { (&mut stats.candidates[0], rate_canary) } else { (&mut stats.champion, 0.01) };
                    arm.requests += 1;
                    arm.errors += u64::from(random() < rate);
                }
                if matches!(state.look(&stats, at(1)).decision, Decision::RollBack(_)) {
                    count += 1;
                    break;
                }
            }
        }
        count
    };
    assert!(alarms(0.01) <= 20, "5 % of 400");
    assert!(alarms(0.05) >= 396);
}
