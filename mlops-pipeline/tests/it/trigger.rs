//! Triggers: evidence, news, budget, replays.

use std::sync::Arc;

use mlops_core::{Event, Fact, FactKind, ModelName, Timestamp, Version};
use mlops_pipeline::{Budget, Decision, SqlJournal, Trigger, TriggerSettings};
use mlops_store::SqliteMetaStore;

const DAY: i64 = 86_400_000_000;

async fn trigger(change: impl FnOnce(&mut TriggerSettings)) -> Trigger {
    let journal = SqlJournal::open(Arc::new(SqliteMetaStore::in_memory().await.unwrap())).await.unwrap();
    let model = ModelName::new("fraud").unwrap();
    let mut settings = TriggerSettings::new("drift", model, [FactKind::DriftDetected, FactKind::AlertRaised]);
    change(&mut settings);
    Trigger::builder(settings, Arc::new(journal)).build().unwrap()
}

fn drift(day: i64, columns: &[&str]) -> Event {
    let at = Timestamp::from_micros(day * DAY);
    let columns = columns.iter().map(|&name| name.to_owned()).collect();
    let model = ModelName::new("fraud").unwrap();
    Event::new(at, Fact::DriftDetected { model, version: Version(1), columns, window_end: at })
}

async fn fires(trigger: &Trigger, event: &Event) -> bool {
    trigger.consider(event).await.unwrap().unwrap().is_fired()
}

#[tokio::test]
async fn drift_that_persists_waits_and_drift_that_is_new_does_not() {
    let trigger = trigger(|settings| settings.cooldown_ms = 10 * 86_400_000).await;
    assert!(fires(&trigger, &drift(1, &["price"])).await);
    assert!(!fires(&trigger, &drift(2, &["price"])).await, "nothing new");
    assert!(fires(&trigger, &drift(3, &["price", "volume"])).await, "volume is new");
    assert!(!fires(&trigger, &drift(12, &["volume", "price"])).await, "price was part of the firing of day 3");
    assert!(fires(&trigger, &drift(13, &["price"])).await, "ten days after day 3");
    let held = trigger.consider(&drift(14, &["price", "volume"])).await.unwrap().unwrap();
    assert!(held.is_fired(), "volume has cooled down: {held:?}");
}

#[tokio::test]
async fn an_alert_cools_down_by_its_name() {
    let trigger = trigger(|_| {}).await;
    let alert = |day: i64, name: &str| {
        let fact = Fact::AlertRaised { alert: name.to_owned(), message: format!("day {day}") };
        Event::new(Timestamp::from_micros(day * DAY / 4), fact)
    };
    assert!(fires(&trigger, &alert(1, "loss")).await);
    assert!(!fires(&trigger, &alert(2, "loss")).await);
    assert!(fires(&trigger, &alert(3, "latency")).await);
}

#[tokio::test]
async fn the_budget_holds_even_what_is_new() {
    let budget = Budget { firings_max: 2, period_ms: 7 * 86_400_000 };
    let trigger = trigger(|settings| settings.budget = budget).await;
    assert!(fires(&trigger, &drift(1, &["a"])).await && fires(&trigger, &drift(2, &["b"])).await);
    let held = trigger.consider(&drift(3, &["c"])).await.unwrap().unwrap();
    assert!(held.reason().contains("budget of 2 firings"), "{held:?}");
    assert!(fires(&trigger, &drift(8, &["c"])).await, "the first firing left the period");
}

#[tokio::test]
async fn a_replay_changes_nothing() {
    let trigger = trigger(|_| {}).await;
    let events = [drift(1, &["a"]), drift(2, &["a"]), drift(2, &["b"]), drift(9, &["a"])];
    let mut first: Vec<Decision> = Vec::new();
    for event in &events {
        first.push(trigger.consider(event).await.unwrap().unwrap());
    }
    for (event, decision) in events.iter().zip(&first).rev() {
        assert_eq!(trigger.consider(event).await.unwrap().as_ref(), Some(decision));
    }
    assert_eq!(trigger.decisions(10).await.unwrap().len(), events.len());
}

#[tokio::test]
async fn what_is_none_of_its_concern_is_not_looked_at() {
    let trigger = trigger(|_| {}).await;
    let at = Timestamp::from_micros(DAY);
    let (model, columns) = (ModelName::new("churn").unwrap(), vec!["a".to_owned()]);
    let other = Fact::DriftDetected { model, version: Version(1), columns, window_end: at };
    assert_eq!(trigger.consider(&Event::new(at, other)).await.unwrap(), None);
    assert!(trigger.decisions(10).await.unwrap().is_empty());
}
