//! Rollouts of a running server: traffic, records, restarts, a process that is killed.

use std::{path::Path, sync::Arc};

use axum::{body::Body, http::Request};
use mlops_core::{
    Action, AuditSink, DataType, Error, ErrorKind, ModelName, Principal, Signature, TensorSpec, Version,
    arrow_array::{ArrayRef, Float64Array, RecordBatch},
    testing::{FaultySink, RecordingSink, SplitMix64, acknowledge, run_and_kill},
};
use mlops_metrics::Direction;
use mlops_serve::{
    ClosureModel, InferOptions, ModelRepository, Server, ServerSettings,
    rollout::{
        Command, Decision, FileRolloutStore, Goal, Guardrail, MemoryRolloutStore, Requirement, Rollout,
        RolloutSettings, RolloutStore, Strategy, Variant,
        bandit::{BanditSettings, Policy},
        off_policy::snips,
    },
};

use crate::client;

const HOME: &str = "MLOPS_SERVE_ROLLOUT_HOME";

fn name() -> ModelName {
    "m".parse().unwrap()
}

fn column(value: f64) -> RecordBatch {
    RecordBatch::try_from_iter([("x", Arc::new(Float64Array::from(vec![value])) as ArrayRef)]).unwrap()
}

/// Versions 1 to 3, which say their number; version 3 fails on every negative input.
fn repository(versions: std::ops::RangeInclusive<u32>) -> Arc<ModelRepository> {
    let repository = ModelRepository::new();
    for version in versions {
        let spec = TensorSpec::column("x", DataType::Float64);
        let signature = Signature::new([spec.clone()], [spec]).unwrap();
        let model = ClosureModel::new(signature, move |batch: &RecordBatch| {
            let input = batch["x"].to_data().buffers()[0].typed_data::<f64>()[0];
            if version == 3 && input < 0.0 {
                return Err(Error::internal("negative"));
            }
            Ok(column(f64::from(version)))
        });
        repository.register(&name(), Version(version.into()), Arc::new(model)).unwrap();
    }
    Arc::new(repository)
}

fn server(store: Arc<dyn RolloutStore>) -> Server {
    Server::builder(repository(1..=3)).with_rollout_store(store).build().unwrap()
}

async fn send(server: &Server, count: u32, input: f64) {
    for _ in 0..count {
        // Some are meant to fail.
        let _ = server.infer(&name(), column(input), InferOptions::default()).await;
    }
}

/// As quick as a canary can be.
fn quick(steps: &[f64]) -> RolloutSettings {
    RolloutSettings {
        requirement: Requirement::NoFailure,
        min_requests: 5,
        slow_above_us: 60_000_000,
        ..RolloutSettings::canary(steps)
    }
}

/// Sends requests until something is decided.
async fn decided(server: &Server) -> Decision {
    loop {
        send(server, 20, 1.0).await;
        let decision = server.step_rollout(&name()).await.unwrap();
        if decision != Decision::Hold {
            return decision;
        }
    }
}

#[tokio::test]
async fn a_rollout_goes_on_after_a_restart_at_every_step() {
    let folder = tempfile::tempdir().unwrap();
    let open = async || {
        let server = server(Arc::new(FileRolloutStore::open(folder.path()).unwrap()));
        server.recover_rollouts().await.unwrap();
        server
    };
    let first = open().await;
    assert!(first.rollout(&name()).is_none());
    let mut standing = first.start_rollout(&name(), Version(2), quick(&[0.2, 0.6, 1.0])).await.unwrap();
    let mut weights = Vec::new();
    for _ in 0..3 {
        let server = open().await;
        let recovered = server.rollout(&name()).unwrap();
        assert_eq!((&recovered.phase, &recovered.allocation), (&standing.phase, &standing.allocation));
        send(&server, 30, 1.0).await;
        let _ = server.step_rollout(&name()).await.unwrap();
        let seen = server.rollout_stats(&name()).unwrap().champion.requests;
        let again = open().await;
        assert_eq!(again.rollout_stats(&name()).unwrap().champion.requests, seen, "counts go on");
        if again.rollout(&name()).unwrap().phase == standing.phase {
            decided(&again).await;
        }
        standing = again.rollout(&name()).unwrap();
        weights.push(standing.weight());
    }
    assert_eq!(weights, [0.6, 1.0, 1.0]);
    let last = open().await;
    assert_eq!(last.rollout(&name()).unwrap().state_name(), "promoted");
    let reply = last.infer(&name(), column(1.0), InferOptions::default()).await.unwrap();
    assert_eq!((reply.version, reply.variant), (Version(2), Variant::Canary));
    last.roll_back(&name(), "alarm").await.unwrap();
    let after = open().await;
    assert!(after.rollout(&name()).is_none(), "what is over is not begun again");
}

/// The states that the child goes through, over and over.
const STATES: [(&str, f64); 4] = [("canary", 0.5), ("canary", 1.0), ("promoted", 1.0), ("rolled_back", 0.0)];

/// The child: rolls out and back, and says after each step which state is durable, until it is killed. Does nothing
/// when run as a test.
#[test]
fn child() {
    let Ok(home) = std::env::var(HOME) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let server = server(Arc::new(FileRolloutStore::open(Path::new(&home)).unwrap()));
        server.recover_rollouts().await.unwrap();
        loop {
            let next = match server.rollout(&name()).filter(Rollout::is_active) {
                None => server.start_rollout(&name(), Version(2), quick(&[0.5, 1.0])).await.unwrap(),
                Some(rollout) if rollout.is_open() => {
                    decided(&server).await;
                    server.rollout(&name()).unwrap()
                }
                Some(_) => server.roll_back(&name(), "again").await.unwrap(),
            };
            acknowledge(place(&next) as u64);
        }
    });
}

fn place(rollout: &Rollout) -> usize {
    STATES.iter().position(|state| *state == (rollout.state_name(), rollout.weight())).unwrap()
}

#[tokio::test]
async fn a_killed_process_leaves_the_old_state_or_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let random = SplitMix64::new(20_261_126);
    for round in 0..8 {
        let (acks, spins) =
            (1 + usize::try_from(random.bits(2 * round) % 6).unwrap(), random.bits(2 * round + 1) % 20_000);
        let home = folder.path().to_str().unwrap();
        let said =
            run_and_kill("rollouts::child", &[(HOME, home)], acks, spins).expect("the child acknowledged something");
        let said = usize::try_from(said).unwrap();
        let store = FileRolloutStore::open(folder.path()).unwrap();
        let kept = store.list().await.unwrap().remove(0);
        let found = place(&kept);
        assert!(found == said || found == (said + 1) % STATES.len(), "round {round}: {found} after {said}");

        let server = server(Arc::new(store));
        server.recover_rollouts().await.unwrap();
        let mut canary = 0.0;
        for _ in 0..200 {
            let reply = server.infer(&name(), column(1.0), InferOptions::default()).await.unwrap();
            canary += f64::from(u8::from(reply.variant == Variant::Canary)) / 200.0;
        }
        assert!((canary - kept.weight()).abs() < 0.2, "round {round}: {canary} is not {}", kept.weight());
    }
}

#[tokio::test]
async fn no_entry_no_traffic_but_traffic_goes_back_in_any_case() {
    let audit = Arc::new(FaultySink::new(RecordingSink::default(), 1));
    let store = Arc::new(MemoryRolloutStore::default());
    let server = Server::builder(repository(1..=3))
        .with_rollout_store(Arc::clone(&store) as _)
        .with_audit(Arc::clone(&audit) as Arc<dyn AuditSink>)
        .build()
        .unwrap();
    server.start_rollout(&name(), Version(2), quick(&[0.2, 1.0])).await.unwrap();
    send(&server, 200, 1.0).await;
    let error = server.step_rollout(&name()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(server.rollout(&name()).unwrap().weight(), 0.2, "traffic did not move");
    assert_eq!(store.list().await.unwrap()[0].weight(), 0.2);
    let error = server.roll_back(&name(), "alarm").await.unwrap_err();
    assert!(error.chain().contains("could not be recorded"), "{}", error.chain());
    assert_eq!(server.rollout(&name()).unwrap().weight(), 0.0);
    assert_eq!(store.list().await.unwrap()[0].state_name(), "rolled_back");
}

#[tokio::test]
async fn every_step_is_in_the_audit_log_with_its_reason_and_who_did_it() {
    let audit = Arc::new(RecordingSink::default());
    let server =
        Server::builder(repository(1..=3)).with_audit(Arc::clone(&audit) as Arc<dyn AuditSink>).build().unwrap();
    server.start_rollout(&name(), Version(3), quick(&[0.5, 1.0])).await.unwrap();
    let ana = Principal::new("ana");
    let pause = Command::Pause { reason: "night".into() };
    server.command_rollout(&name(), &pause, &ana).await.unwrap();
    assert_eq!(server.command_rollout(&name(), &pause, &ana).await.unwrap_err().kind(), ErrorKind::FailedPrecondition);
    send(&server, 60, 1.0).await;
    assert_eq!(server.step_rollout(&name()).await.unwrap(), Decision::Hold, "a person decides");
    server.command_rollout(&name(), &Command::Continue, &ana).await.unwrap();
    send(&server, 200, -1.0).await;
    assert!(matches!(server.step_rollout(&name()).await.unwrap(), Decision::RollBack(_)));
    let entries = audit.audit_entries();
    let told: Vec<_> = entries
        .iter()
        .map(|entry| (entry.principal.name.as_str(), entry.action, entry.details["state"].as_str()))
        .collect();
    let expected = [
        ("mlops-serve", Action::Promote, "canary"),
        ("ana", Action::Write, "paused"),
        ("ana", Action::Write, "canary"),
        ("mlops-serve", Action::Write, "rolled_back"),
    ];
    assert_eq!(told, expected);
    assert!(entries[3].details["reason"].starts_with("errors: "), "{:?}", entries[3]);
    assert!(entries[3].details["findings"].contains("Fail errors"), "{:?}", entries[3]);
}

#[tokio::test]
async fn what_cannot_go_on_after_a_restart_is_rolled_back_and_what_settled_is_forgotten() {
    let store = Arc::new(MemoryRolloutStore::default());
    let first = server(Arc::clone(&store) as _);
    first.start_rollout(&name(), Version(3), quick(&[0.5, 1.0])).await.unwrap();
    let reopened =
        |versions| Server::builder(repository(versions)).with_rollout_store(Arc::clone(&store) as _).build().unwrap();
    let without = reopened(1..=2);
    let standing = without.recover_rollouts().await.unwrap();
    assert_eq!((standing[0].state_name(), standing[0].weight()), ("rolled_back", 0.0));
    assert!(standing[0].reason().unwrap().contains("no loaded version 3"), "{:?}", standing[0]);
    assert_eq!(store.list().await.unwrap()[0].state_name(), "rolled_back");

    let empty =
        Server::builder(Arc::new(ModelRepository::new())).with_rollout_store(Arc::clone(&store) as _).build().unwrap();
    assert_eq!(empty.recover_rollouts().await.unwrap(), [], "a model that is not served is left alone");
    let other = reopened(1..=3);
    other.start_rollout(&name(), Version(3), quick(&[0.5, 1.0])).await.unwrap();
    let changed = reopened(1..=3);
    changed.repository().set_default(&name(), Version(2)).unwrap();
    let standing = changed.recover_rollouts().await.unwrap();
    assert!(standing[0].reason().unwrap().contains("it began against version 1; in service now is 2"));

    let settled = reopened(1..=3);
    settled.start_rollout(&name(), Version(2), quick(&[1.0])).await.unwrap();
    let promote = Command::Promote { version: None };
    settled.command_rollout(&name(), &promote, &Principal::new("ana")).await.unwrap();
    settled.repository().set_default(&name(), Version(2)).unwrap();
    assert_eq!(settled.step_rollout(&name()).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_damaged_rollout_is_told_and_does_not_keep_others_from_going_on() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Arc::new(FileRolloutStore::open(folder.path()).unwrap());
    server(open() as _).start_rollout(&name(), Version(2), quick(&[0.5])).await.unwrap();
    std::fs::write(folder.path().join("another.json"), "{\"form").unwrap();
    let restarted = server(open() as _);
    assert_eq!(restarted.recover_rollouts().await.unwrap_err().kind(), ErrorKind::DataLoss);
    assert_eq!(restarted.rollout(&name()).unwrap().weight(), 0.5);
}

#[tokio::test]
async fn outcomes_come_over_http_by_the_id_that_the_answer_told() {
    let goal = Goal { kpi: "sale".into(), direction: Direction::Maximize, effect: 0.1 };
    let strategy = Strategy::Experiment { weights: vec![0.5], goal: Some(goal) };
    let of = |outcomes_api| {
        let settings = ServerSettings { outcomes_api, ..ServerSettings::default() };
        Server::builder(repository(1..=3)).with_settings(settings).build().unwrap()
    };
    let server = of(true);
    let router = server.clone().into_router();
    let post = async |router: &axum::Router, path: &str, body: String| {
        let request = Request::builder().method("POST").uri(format!("/v2/models/m/{path}"));
        client::send(router, request.body(Body::from(body)).unwrap()).await
    };
    let ask = async |id: &str| {
        let body = format!(r#"{{{id}"inputs":[{{"name":"x","shape":[1],"datatype":"FP64","data":[1.0]}}]}}"#);
        let (status, headers, answer) = post(&router, "infer", body).await;
        assert_eq!(status, 200, "{answer}");
        headers.get("mlops-request-id").map(|id| id.to_str().unwrap().to_owned())
    };
    let tell = |id: &str, value: f64| format!(r#"{{"outcomes":[{{"id":"{id}","kpi":"sale","value":{value}}}]}}"#);
    assert_eq!(post(&router, "outcomes", tell("a", 1.0)).await.0, 404, "no rollout");
    server.start_experiment(&name(), [Version(2)], RolloutSettings { strategy, ..quick(&[]) }).await.unwrap();
    let made = ask("").await.unwrap();
    assert_eq!(ask(r#""id":"mine","#).await, None);
    for (id, value, expected) in [
        (made.as_str(), 2.0, "1 0 0"),
        (made.as_str(), 2.0, "0 1 0"),
        ("mine", 4.0, "1 0 0"),
        ("never asked", 1.0, "0 0 1"),
    ] {
        let (status, _, answer) = post(&router, "outcomes", tell(id, value)).await;
        assert_eq!(status, 200, "{answer}");
        let counts = ["taken", "duplicates", "refused"].map(|name| answer[name].to_string());
        assert_eq!(counts.join(" "), expected, "{id}");
    }
    let seen = server.rollout_stats(&name()).unwrap();
    let (champion, candidate) = (seen.champion.kpi("sale"), seen.candidate(0).kpi("sale"));
    assert_eq!(champion.n + candidate.n, 2);
    for body in [r#"{"outcomes":[]}"#, r#"{"outcomes":[{"id":"a","kpi":"sale"}]}"#, "[]"] {
        assert_eq!(post(&router, "outcomes", body.to_owned()).await.0, 400, "{body}");
    }
    assert_eq!(post(&of(false).into_router(), "outcomes", tell("a", 1.0)).await.0, 404, "off unless asked for");
}

#[tokio::test]
async fn another_version_in_service_ends_a_running_rollout() {
    let server = server(Arc::new(MemoryRolloutStore::default()));
    server.start_rollout(&name(), Version(2), quick(&[0.5])).await.unwrap();
    server.repository().set_default(&name(), Version(3)).unwrap();
    assert!(matches!(server.step_rollout(&name()).await.unwrap(), Decision::RollBack(_)));
}

#[tokio::test]
async fn keys_stick_headers_override_and_testers_do_not_count() {
    let server = server(Arc::new(MemoryRolloutStore::default()));
    let settings = RolloutSettings {
        sticky_by: Some("x-user".into()),
        override_by: Some("x-variant".into()),
        ..quick(&[0.3, 0.9])
    };
    let small = server.start_rollout(&name(), Version(2), settings).await.unwrap();
    let router = server.clone().into_router();
    let ask = async |headers: &[(&str, &str)]| {
        let body = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1.0]}]}"#;
        let request = Request::builder().method("POST").uri("/v2/models/m/infer");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let (status, headers, answer) = client::send(&router, request.body(Body::from(body)).unwrap()).await;
        assert_eq!(status, 200, "{answer}");
        headers["mlops-variant"].to_str().unwrap().to_owned()
    };
    let users: Vec<String> = (0..60).map(|user| format!("user-{user}")).collect();
    for user in &users {
        assert_eq!(ask(&[("x-user", user)]).await, small.route(user).as_str());
    }
    let counted = server.rollout_stats(&name()).unwrap();
    assert_eq!(counted.champion.requests + counted.candidate(0).requests, 60);
    for variant in ["canary", "champion"] {
        for user in users.iter().take(5) {
            assert_eq!(ask(&[("x-user", user), ("x-variant", variant)]).await, variant);
        }
    }
    assert_eq!(server.rollout_stats(&name()).unwrap(), counted);
    server.step_rollout(&name()).await.unwrap();
    let large = server.rollout(&name()).unwrap();
    assert_eq!(large.weight(), 0.9);
    for user in users.iter().filter(|user| small.route(user) == Variant::Canary) {
        assert_eq!(ask(&[("x-user", user)]).await, "canary", "a key stays where it is");
    }
}

#[tokio::test]
async fn an_experiment_promotes_the_version_whose_outcomes_are_better() {
    let server = server(Arc::new(MemoryRolloutStore::default()));
    let goal = Goal { kpi: "sale".into(), direction: Direction::Maximize, effect: 0.1 };
    let settings = RolloutSettings {
        strategy: Strategy::Experiment { weights: vec![0.3, 0.3], goal: Some(goal) },
        min_requests: 30,
        ..quick(&[])
    };
    server.start_experiment(&name(), [Version(2), Version(3)], settings).await.unwrap();
    let mut variants = std::collections::BTreeMap::new();
    for i in 0..1_500 {
        let reply = server.infer(&name(), column(1.0), InferOptions::default()).await.unwrap();
        *variants.entry((reply.variant.as_str(), reply.version)).or_insert(0) += 1;
        let value = f64::from(i % 3) + if reply.version == Version(3) { 2.0 } else { 0.0 };
        assert!(server.record_outcome(&name(), &reply.request_id, "sale", value).unwrap());
        assert!(!server.record_outcome(&name(), &reply.request_id, "sale", value).unwrap());
    }
    let names: Vec<_> = variants.keys().copied().collect();
    assert_eq!(names, [("champion", Version(1)), ("treatment-1", Version(2)), ("treatment-2", Version(3))]);
    assert_eq!(server.record_outcome(&name(), "none", "sale", 1.0).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(server.step_rollout(&name()).await.unwrap(), Decision::Promote(Version(3)));
    let reply = server.infer(&name(), column(1.0), InferOptions::default()).await.unwrap();
    assert_eq!(reply.version, Version(3));
}

#[tokio::test]
async fn a_bandit_follows_the_rewards_tells_its_propensities_and_remembers_across_a_restart() {
    let store = Arc::new(MemoryRolloutStore::default());
    let first = server(Arc::clone(&store) as _);
    let policy = Policy::Thompson { successes: 1.0, failures: 1.0 };
    let settings = BanditSettings { learn_every: 10, ..BanditSettings::new("click", policy) };
    let plan = RolloutSettings { guardrails: vec![Guardrail::ErrorsAtMost { share: 0.2 }], ..quick(&[]) };
    let plan = RolloutSettings { strategy: Strategy::Bandit(settings), ..plan };
    first.start_experiment(&name(), [Version(2), Version(3)], plan).await.unwrap();
    let mut last = 0;
    for i in 0..600 {
        let reply = first.infer(&name(), column(1.0), InferOptions::default()).await.unwrap();
        let propensity = reply.propensity.unwrap();
        assert!((0.01 - 1e-9..=1.0).contains(&propensity));
        let clicks = if reply.version == Version(2) { i % 2 == 0 } else { i % 10 == 0 };
        first.record_outcome(&name(), &reply.request_id, "click", f64::from(u8::from(clicks))).unwrap();
        last += u32::from(i >= 500 && reply.version == Version(2));
    }
    assert!(last > 80, "{last} of the last 100");
    let rewarded = first.take_rewarded_choices(&name()).unwrap();
    assert_eq!(rewarded.len(), 600);
    // What always taking version 2 would have earned: a click for every other request.
    let always: Vec<_> = rewarded.iter().map(|one| one.logged(f64::from(u8::from(one.choice.arm == 1)))).collect();
    let value = snips(&always).unwrap();
    assert!((value.value - 0.5).abs() < 4.0 * value.standard_error, "{value:?}");
    assert_eq!(first.step_rollout(&name()).await.unwrap(), Decision::Hold);
    let second = server(store);
    second.recover_rollouts().await.unwrap();
    let learnt = |server: &Server| server.rollout(&name()).unwrap().bandit.unwrap();
    assert_eq!(learnt(&second), learnt(&first));
}

#[tokio::test]
async fn a_watcher_steps_by_itself() {
    let server = server(Arc::new(MemoryRolloutStore::default()));
    server.start_rollout(&name(), Version(2), quick(&[0.5, 1.0])).await.unwrap();
    let watcher = server.watch_rollouts(std::time::Duration::from_millis(1));
    while server.rollout(&name()).unwrap().is_open() {
        send(&server, 20, 1.0).await;
        tokio::task::yield_now().await;
    }
    watcher.stop().await.unwrap();
    assert_eq!(server.rollout(&name()).unwrap().state_name(), "promoted");
}
