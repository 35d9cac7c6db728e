//! Every sink keeps the promises, and sends what its receiver's documentation asks for.

use std::{sync::Arc, time::Duration};

use mlops_core::{Retry, Timestamp};
use mlops_monitor::alert::{
    AlertSink, AlertmanagerSink, CloudEventsSink, HttpEndpoint, Notification, PagerDutySink, Secret, SlackSink,
    TracingSink, WebhookPayload, WebhookSink,
    conformance::{self, alert_sink},
};
use serde_json::{Value, json};

use crate::receiver::{Nobody, Receiver};

const PATH: &str = "/hooks/T0SECRETPATH";
const KEY: &str = "R0UTINGSECRET";

fn endpoint(receiver: &Receiver) -> HttpEndpoint {
    HttpEndpoint::new(format!("{}{PATH}", receiver.address)).unwrap().with_bearer(KEY).unwrap()
}

async fn keeps_the_promises<S: AlertSink>(make: impl Fn(HttpEndpoint) -> S) {
    alert_sink(async || {
        let receiver = Receiver::start(&["T0SECRETPATH", KEY]).await;
        (make(endpoint(&receiver)), receiver)
    })
    .await;
}

#[tokio::test]
async fn every_sink_keeps_the_promises() {
    keeps_the_promises(|to| WebhookSink::new("webhook", to)).await;
    keeps_the_promises(|to| AlertmanagerSink::new("alertmanager", to)).await;
    keeps_the_promises(|to| SlackSink::new("slack", to)).await;
    keeps_the_promises(|to| PagerDutySink::new("pagerduty", to, Secret::new(KEY))).await;
    keeps_the_promises(|to| CloudEventsSink::new("cloudevents", to, "/mlops")).await;
    alert_sink(async || (TracingSink, Nobody)).await;
    alert_sink(async || (Arc::new(TracingSink), Nobody)).await;
    alert_sink(async || (Box::new(TracingSink) as Box<dyn AlertSink>, Nobody)).await;
}

#[tokio::test]
async fn nobody_at_home_can_be_retried_and_is_not_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/{KEY}", listener.local_addr().unwrap());
    let now = Timestamp::from_millis(0);
    let check = async |expected: &str| {
        let endpoint = HttpEndpoint::new(&address).unwrap().with_timeout(Duration::from_millis(200));
        let sink = WebhookSink::new("hook", endpoint);
        let error = sink.send(&conformance::notification(&["a"], false), now).await.unwrap_err();
        assert_eq!(error.retry(), Retry::AfterBackoff, "{error:?}");
        assert!(error.message().contains(expected) && !format!("{error:?}").contains(KEY), "{error:?}");
    };
    // Connected, and never answered.
    check("did not answer in time").await;
    drop(listener);
    check("cannot be reached").await;
}

/// What a sink posts for an alert that fires and for one that is over.
async fn posted<S: AlertSink>(make: impl Fn(HttpEndpoint) -> S) -> [crate::receiver::Request; 2] {
    let receiver = Receiver::start(&[]).await;
    let sink = make(HttpEndpoint::new(&receiver.address).unwrap());
    let now = "2026-01-01T02:00:00Z".parse().unwrap();
    for over in [false, true] {
        sink.send(&conformance::notification(&["amount", "hour"], over), now).await.unwrap();
    }
    receiver.requests().try_into().unwrap()
}

/// The same alerts as a real Alertmanager 0.25 posted them.
const WEBHOOK_FIRING: &str = include_str!("golden/webhook-firing.json");
const WEBHOOK_RESOLVED: &str = include_str!("golden/webhook-resolved.json");

/// The order of names at every level, in the order of the text.
fn names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for part in text.split('"').collect::<Vec<_>>().windows(2) {
        if part[1].starts_with(':') {
            names.push(part[0].to_owned());
        }
    }
    names
}

#[tokio::test]
async fn the_webhook_is_that_of_alertmanager() {
    for (golden, request) in [WEBHOOK_FIRING, WEBHOOK_RESOLVED].iter().zip(posted(|to| WebhookSink::new("w", to)).await)
    {
        let golden: Value = serde_json::from_str(golden).unwrap();
        assert_eq!(request.body, golden, "field by field");
        let ours: WebhookPayload = serde_json::from_value(golden).unwrap();
        assert_eq!(names(&serde_json::to_string(&ours).unwrap()), names(WEBHOOK_FIRING), "in the same order");
        assert_eq!(request.headers["content-type"], "application/json");
        assert_eq!(request.headers["idempotency-key"].len(), 16);
    }
}

#[tokio::test]
async fn alertmanager_is_posted_ends_that_reminders_move() {
    let [firing, over] = posted(|to| AlertmanagerSink::new("a", to)).await;
    assert_eq!(firing.path, "/api/v2/alerts");
    let alert = json!({
        "labels": {"alertname": "Drift", "feature": "amount", "model": "fraud", "severity": "warning"},
        "annotations": {"effect": "0.25", "summary": "drift in amount"},
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "2026-01-01T02:04:00Z",
        "generatorURL": "http://mlops.example/report",
    });
    assert_eq!((firing.body.as_array().unwrap().len(), &firing.body[0]), (2, &alert));
    assert_eq!(over.body[0]["endsAt"], "2026-01-01T01:00:00Z");
}

#[tokio::test]
async fn pagerduty_opens_and_closes_one_incident() {
    let [trigger, resolve] = posted(|to| PagerDutySink::new("p", to, Secret::new(KEY))).await;
    let (trigger, resolve) = (trigger.body, resolve.body);
    assert_eq!((&trigger["event_action"], &resolve["event_action"]), (&json!("trigger"), &json!("resolve")));
    assert_eq!((&trigger["dedup_key"], trigger["routing_key"].as_str()), (&resolve["dedup_key"], Some(KEY)));
    let payload = &trigger["payload"];
    assert_eq!((&payload["severity"], &payload["source"]), (&json!("warning"), &json!("fraud")));
    assert!(payload["summary"].as_str().unwrap().starts_with("[FIRING:2]"));
    assert_eq!(payload["custom_details"]["alerts"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn cloud_events_have_every_required_attribute() {
    let [firing, over] = posted(|to| CloudEventsSink::new("c", to, "/mlops")).await;
    assert_eq!(firing.headers["content-type"], "application/cloudevents+json; charset=utf-8");
    assert_eq!((&firing.body["specversion"], &firing.body["source"]), (&json!("1.0"), &json!("/mlops")));
    assert_eq!(
        (&firing.body["type"], &over.body["type"]),
        (&json!("org.mlops.alert.firing"), &json!("org.mlops.alert.resolved"))
    );
    assert_ne!(firing.body["id"], over.body["id"]);
    assert_eq!(firing.body["id"].as_str(), firing.headers["idempotency-key"].to_str().ok());
    serde_json::from_value::<WebhookPayload>(firing.body["data"].clone()).unwrap();
}

#[tokio::test]
async fn slack_gets_text_and_blocks() {
    let [firing, _] = posted(|to| SlackSink::new("s", to)).await;
    assert!(firing.body["text"].as_str().unwrap().starts_with("[FIRING:2]"));
    let kinds: Vec<&str> =
        firing.body["blocks"].as_array().unwrap().iter().map(|block| block["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["header", "section", "section", "context"]);
}

#[test]
fn keys_tell_notifications_apart_and_groups_together() {
    let key = |features: &[&str], over| conformance::notification(features, over).dedup_key();
    assert_eq!(key(&["a"], false), key(&["a"], false));
    let all = [key(&["a"], false), key(&["a"], true), key(&["b"], false), key(&["a", "b"], false), key(&[], false)];
    assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
    let later = Notification { at: Timestamp::from_millis(1), ..conformance::notification(&["a"], false) };
    assert_ne!(later.dedup_key(), key(&["a"], false));
    assert_eq!(later.incident_key(), conformance::notification(&["b"], true).incident_key());
}
