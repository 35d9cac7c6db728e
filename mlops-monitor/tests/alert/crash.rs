//! A process that is killed at any moment: every alert it acknowledged arrives, and its files are whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use mlops_core::{
    Clock as _, SystemClock,
    testing::{SplitMix64, acknowledge, run_and_kill},
};
use mlops_monitor::alert::{
    AlertCenter, AlertRule, CenterSettings, HttpEndpoint, Labels, Observation, RetrySettings, RouterSettings,
    WebhookSink,
};

use crate::receiver::Receiver;

const HOME: &str = "MLOPS_MONITOR_CRASH_HOME";
const URL: &str = "MLOPS_MONITOR_CRASH_URL";
const FIRST: &str = "MLOPS_MONITOR_CRASH_FIRST";
const ROUNDS: u64 = 12;

async fn start(home: &Path, url: &str) -> AlertCenter {
    let routing = RouterSettings {
        default_rule: AlertRule::immediate(),
        group_by: vec!["...".to_owned()],
        ..RouterSettings::default()
    };
    let settings = CenterSettings {
        tick_ms: 25,
        journal_bytes_max: 16 << 10,
        retry: RetrySettings { backoff_ms: 1, backoff_max_ms: 20, attempts_max: 1000, ..RetrySettings::default() },
        ..CenterSettings::default()
    };
    let sink = WebhookSink::new("hook", HttpEndpoint::new(url).unwrap());
    let center = AlertCenter::builder(home).with_routing(routing.without_delay()).with_settings(settings);
    center.with_sink(sink).start().await.unwrap()
}

/// The child: raises alert after alert, and says so, until it is killed. Does nothing when run as a test.
#[test]
fn child() {
    let (Ok(home), Ok(url), Ok(first)) = (std::env::var(HOME), std::env::var(URL), std::env::var(FIRST)) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (center, clock) = (start(Path::new(&home), &url).await, SystemClock::new());
        for number in first.parse::<u64>().unwrap().. {
            let labels = Labels::new([("alertname", "Crash"), ("number", &number.to_string())]).unwrap();
            let outcomes = center.observe(vec![Observation::new(labels, clock.now(), 2.0, 1.0)]).await.unwrap();
            assert!(outcomes[0].is_ok());
            acknowledge(number);
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_alerts_arrive_despite_kill_9() {
    let home = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(&[]).await;
    let random = SplitMix64::new(20_261_125);
    let mut acknowledged = BTreeSet::new();
    let mut first = 1;
    for round in 0..ROUNDS {
        // Some deliveries of each life fail, so that some are under way or waiting when it ends.
        for index in 0..random.bits(3 * round) % 8 {
            receiver.refuse(if index % 2 == 0 { 503 } else { 429 }, None);
        }
        let (acks, spins) = (1 + random.bits(3 * round + 1) % 20, random.bits(3 * round + 2) % 1_000);
        let envs = [
            (HOME, home.path().to_str().unwrap().to_owned()),
            (URL, receiver.address.clone()),
            (FIRST, first.to_string()),
        ];
        let last = tokio::task::spawn_blocking(move || {
            let envs = envs.each_ref().map(|(name, value)| (*name, value.as_str()));
            run_and_kill("crash::child", &envs, usize::try_from(acks).unwrap(), spins)
        });
        let last = last.await.unwrap().expect("the child acknowledged something");
        acknowledged.extend(first..=last);
        first = last + 1;
    }

    let center = start(home.path(), &receiver.address).await;
    center.tick().await.unwrap();
    center.drain(Duration::from_secs(60)).await.unwrap();
    assert_eq!(center.dead_letters().await.unwrap(), []);
    center.shutdown(Duration::from_secs(60)).await.unwrap();

    let requests = receiver.requests();
    let (mut arrived, mut by_key) = (BTreeSet::new(), BTreeMap::new());
    for request in &requests {
        for alert in request.body["alerts"].as_array().unwrap() {
            arrived.insert(alert["labels"]["number"].as_str().unwrap().parse::<u64>().unwrap());
        }
        let key = request.headers["idempotency-key"].to_str().unwrap().to_owned();
        let known = by_key.entry(key).or_insert(&request.body);
        assert_eq!(*known, &request.body, "what comes twice says the same");
    }
    let lost: Vec<_> = acknowledged.difference(&arrived).collect();
    assert!(lost.is_empty(), "{lost:?} of {} acknowledged alerts are lost", acknowledged.len());
    // One more may have arrived than was acknowledged in any of the rounds.
    assert!(arrived.len() as u64 <= acknowledged.len() as u64 + ROUNDS);
    assert_eq!(by_key.len(), arrived.len(), "each alert makes one notification, however often it is sent");
    println!("{} alerts acknowledged, {} requests, {ROUNDS} kills", acknowledged.len(), requests.len());
}
