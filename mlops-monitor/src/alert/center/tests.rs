//! The center as a whole: observations in, notifications out, across failing sinks and restarts.

use std::{pin::pin, sync::atomic::AtomicU32};

use async_trait::async_trait;
use mlops_core::{
    EventFilter, Fact, InProcessBus, PrometheusMeter, Timestamp,
    testing::{ManualClock, RecordingHandler},
};
use tokio::time::Instant;

use super::*;
use crate::alert::{AlertRule, Labels, Notification, RETRY_AFTER_MS, SinkCapabilities, Status};

/// Keeps what it is told, after refusing as often as asked.
#[derive(Debug, Default)]
struct Memory {
    told: Mutex<Vec<Notification>>,
    asked: Mutex<Vec<Instant>>,
    refusals: AtomicU32,
    lasting: bool,
    hangs: bool,
    resend: Option<Duration>,
}

impl Memory {
    fn told(&self) -> Vec<Notification> {
        self.told.lock().unwrap().clone()
    }
}

#[async_trait]
impl AlertSink for Memory {
    fn name(&self) -> &str {
        "memory"
    }
    fn capabilities(&self) -> SinkCapabilities {
        SinkCapabilities { resend: self.resend }
    }
    async fn send(&self, notification: &Notification, _: Timestamp) -> Result<()> {
        self.asked.lock().unwrap().push(Instant::now());
        if self.hangs {
            std::future::pending::<()>().await;
        }
        if self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            let error = if self.lasting { Error::invalid_argument("no") } else { Error::unavailable("later") };
            return Err(error.with(RETRY_AFTER_MS, 30_000));
        }
        self.told.lock().unwrap().push(notification.clone());
        Ok(())
    }
}

/// Another sink by another name.
#[derive(Debug)]
struct Named(&'static str, Arc<Memory>);

#[async_trait]
impl AlertSink for Named {
    fn name(&self) -> &str {
        self.0
    }
    async fn send(&self, notification: &Notification, now: Timestamp) -> Result<()> {
        self.1.send(notification, now).await
    }
}

fn builder(home: &tempfile::TempDir) -> AlertCenterBuilder {
    let routing = RouterSettings { default_rule: AlertRule::immediate(), ..RouterSettings::default() };
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(0)));
    AlertCenter::builder(home.path()).with_routing(routing.without_delay()).with_clock(clock)
}

fn drift(feature: &str) -> Vec<Observation> {
    let labels = Labels::new([("alertname", "Drift"), ("model", "fraud"), ("feature", feature)]).unwrap();
    vec![Observation::new(labels, Timestamp::from_millis(0), 2.0, 1.0).with_annotation("summary", "drift")]
}

const LONG: Duration = Duration::from_secs(36_000);

/// Lets the paused time run while files are written; a runtime without other work jumps ahead.
async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(LONG, pin!(work)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_observation_becomes_a_notification_an_event_and_a_count() {
    let home = tempfile::tempdir().unwrap();
    let (memory, handler) = (Arc::new(Memory::default()), Arc::new(RecordingHandler::default()));
    let (bus, meter) = (Arc::new(InProcessBus::default()), Arc::new(PrometheusMeter::default()));
    bus.subscribe(EventFilter::all(), Arc::<RecordingHandler>::clone(&handler));
    let center =
        builder(&home).with_sink(Arc::clone(&memory)).with_bus(bus).with_meter(Arc::<PrometheusMeter>::clone(&meter));
    let center = center.start().await.unwrap();
    let mut observations = drift("amount");
    observations.push(Observation::new(Labels::default(), Timestamp::from_millis(0), 1.0, 1.0));
    let outcomes = center.observe(observations).await.unwrap();
    assert!(outcomes[0].as_ref().unwrap().step.fired);
    assert!(outcomes[1].is_err(), "one bad observation does not keep the others back");
    assert_eq!(center.firing().await.unwrap().len(), 1);
    let expected = Fact::AlertRaised { alert: "Drift".into(), message: "drift".into() };
    assert_eq!(handler.events().iter().map(|event| &event.fact).collect::<Vec<_>>(), [&expected]);
    center.tick().await.unwrap();
    within(center.drain(LONG)).await.unwrap();
    assert_eq!(memory.told().len(), 1);
    let health = center.health().await.unwrap();
    assert!(health.running && health.writable && health.pending == 0 && health.journal_bytes > 0);
    center.shutdown(LONG).await.unwrap();
    let text = meter.render();
    assert!(text.contains("mlops_alert_notifications_total{sink=\"memory\",outcome=\"delivered\"} 1"), "{text}");
    assert!(text.contains("mlops_alert_pending 0"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn passing_trouble_is_waited_out_and_the_receiver_is_heeded() {
    let home = tempfile::tempdir().unwrap();
    let memory = Arc::new(Memory { refusals: 3.into(), ..Memory::default() });
    let center = builder(&home).with_sink(Arc::clone(&memory)).start().await.unwrap();
    center.observe(drift("amount")).await.unwrap();
    center.tick().await.unwrap();
    within(center.drain(LONG)).await.unwrap();
    let asked = memory.asked.lock().unwrap().clone();
    assert_eq!((memory.told().len(), asked.len()), (1, 4));
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(30)), "{asked:?}");
    assert_eq!(center.dead_letters().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn lasting_trouble_and_a_spent_budget_make_dead_letters() {
    for (lasting, attempts) in [(true, 1), (false, 15)] {
        let home = tempfile::tempdir().unwrap();
        let memory = Arc::new(Memory { refusals: attempts.into(), lasting, ..Memory::default() });
        let center = builder(&home).with_sink(Arc::clone(&memory)).start().await.unwrap();
        center.observe(drift("amount")).await.unwrap();
        center.tick().await.unwrap();
        within(center.drain(LONG)).await.unwrap();
        assert_eq!(memory.asked.lock().unwrap().len(), usize::try_from(attempts).unwrap());
        let letters = center.dead_letters().await.unwrap();
        assert_eq!((letters.len(), letters[0].sink.as_str()), (1, "memory"));
        assert_eq!(center.resend_dead_letters().await.unwrap(), 1);
        within(center.drain(LONG)).await.unwrap();
        assert_eq!(memory.told(), [letters[0].notification.clone()]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_hangs_keeps_no_other_waiting_and_its_share_for_the_next_start() {
    let home = tempfile::tempdir().unwrap();
    let (memory, stuck) = (Arc::new(Memory::default()), Arc::new(Memory { hangs: true, ..Memory::default() }));
    let center = builder(&home).with_sink(Arc::clone(&memory)).with_sink(Named("stuck", stuck)).start().await.unwrap();
    center.observe(drift("amount")).await.unwrap();
    let error = center.shutdown(Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(error.kind(), mlops_core::ErrorKind::DeadlineExceeded);
    assert_eq!(memory.told().len(), 1);

    let mended = Arc::new(Memory::default());
    let center = builder(&home).with_sink(Arc::clone(&memory)).with_sink(Named("stuck", Arc::clone(&mended)));
    let center = center.start().await.unwrap();
    within(center.drain(LONG)).await.unwrap();
    assert_eq!((memory.told().len(), mended.told().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_wants_reminders_gets_them_until_the_alert_is_over() {
    let home = tempfile::tempdir().unwrap();
    let memory = Arc::new(Memory { resend: Some(Duration::from_secs(60)), ..Memory::default() });
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(0)));
    let center = builder(&home).with_clock(Arc::<ManualClock>::clone(&clock)).with_sink(Arc::clone(&memory));
    let center = center.start().await.unwrap();
    center.observe(drift("amount")).await.unwrap();
    center.tick().await.unwrap();
    while memory.told().len() < 4 {
        within(tokio::time::sleep(Duration::from_secs(10))).await;
    }
    assert!(memory.told().iter().all(|told| told.status() == Status::Firing && told.alerts.len() == 1));
    assert!(memory.asked.lock().unwrap().windows(2).skip(1).all(|pair| pair[1] - pair[0] >= Duration::from_secs(60)));
    let retired = center.retire(vec![Matcher::equal("model", "fraud").unwrap()]).await.unwrap();
    assert_eq!(retired, 1);
    clock.advance(Duration::from_secs(1));
    center.shutdown(LONG).await.unwrap();
    assert_eq!(memory.told().last().unwrap().status(), Status::Resolved);
}

#[tokio::test]
async fn wrong_settings_and_sinks_are_refused() {
    let home = tempfile::tempdir().unwrap();
    assert!(builder(&home).start().await.unwrap_err().message().contains("at least one sink"));
    let twice = builder(&home).with_sink(Memory::default()).with_sink(Memory::default());
    assert!(twice.start().await.is_err());
    let settings = CenterSettings { tick_ms: 0, ..CenterSettings::default() };
    assert!(builder(&home).with_sink(Memory::default()).with_settings(settings).start().await.is_err());
}
