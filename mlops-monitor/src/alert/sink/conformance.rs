//! The promises of [`AlertSink`], one function each, for every sink.
//!
//! A sink comes with a [`Receiver`]: what stands at its other end, and can be told to refuse.

#![allow(clippy::expect_used, reason = "a broken promise is reported by a panic that names it")]

use std::fmt;

use async_trait::async_trait;
use mlops_core::{ErrorKind, Retry, Timestamp};

use super::{AlertSink, retry_after_ms};
use crate::alert::{
    labels::{ANNOTATIONS_MAX, Annotations, Labels},
    notification::{Alert, Notification},
};

/// The other end of a sink under test.
#[async_trait]
pub trait Receiver: fmt::Debug + Send + Sync {
    /// How many requests were accepted since the start, or `None` when that cannot be known.
    async fn accepted(&self) -> Option<usize>;

    /// Answers the next request with an HTTP status, with `Retry-After` in seconds when given.
    /// False when this sink has no receiver that could refuse.
    async fn refuse_next(&self, status: u16, retry_after: Option<u32>) -> bool;

    /// Text that nothing may show.
    fn secrets(&self) -> Vec<String>;
}

/// Runs every promise; `fresh` gives a new sink and its receiver each time.
///
/// # Panics
/// When a promise is broken.
pub async fn alert_sink<S: AlertSink, R: Receiver>(fresh: impl AsyncFn() -> (S, R)) {
    has_a_stable_name(fresh().await);
    is_told_of_beginning_and_end(fresh().await).await;
    takes_the_same_twice(fresh().await).await;
    takes_whatever_labels_and_annotations_can_hold(fresh().await).await;
    passing_trouble_can_be_retried(fresh().await).await;
    lasting_trouble_cannot_be_retried(fresh().await).await;
    the_receiver_says_how_long_to_wait(fresh().await).await;
    secrets_are_not_shown(fresh().await).await;
}

/// A notification with one alert for each of `features`.
///
/// # Panics
/// When a feature cannot be a label's value.
#[must_use]
pub fn notification(features: &[&str], over: bool) -> Notification {
    let at = Timestamp::from_millis(1_767_225_600_000);
    let alert = |feature: &&str| Alert {
        labels: Labels::new([
            ("alertname", "Drift"),
            ("model", "fraud"),
            ("feature", feature),
            ("severity", "warning"),
        ])
        .expect("labels"),
        annotations: Annotations::default().with("summary", format!("drift in {feature}")).with("effect", 0.25),
        starts_at: at,
        ends_at: over.then_some(Timestamp::from_millis(1_767_229_200_000)),
        generator_url: "http://mlops.example/report".to_owned(),
    };
    Notification {
        receiver: "mlops".to_owned(),
        group_labels: Labels::new([("model", "fraud"), ("severity", "warning")]).expect("labels"),
        alerts: features.iter().map(alert).collect(),
        truncated: 0,
        at,
        external_url: "http://mlops.example".to_owned(),
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_767_232_800_000)
}

fn has_a_stable_name<S: AlertSink, R: Receiver>((sink, _): (S, R)) {
    assert!(!sink.name().is_empty(), "a sink has a name");
    assert_eq!(sink.name(), sink.name(), "always the same");
    assert!(sink.capabilities().resend.is_none_or(|every| !every.is_zero()), "reminders come at intervals");
}

async fn is_told_of_beginning_and_end<S: AlertSink, R: Receiver>((sink, receiver): (S, R)) {
    for (over, expected) in [(false, 1), (true, 2)] {
        sink.send(&notification(&["amount", "hour"], over), now()).await.expect("is taken");
        let accepted = receiver.accepted().await;
        assert!(accepted.is_none_or(|found| found == expected), "acknowledged means received, found {accepted:?}");
    }
}

async fn takes_the_same_twice<S: AlertSink, R: Receiver>((sink, _): (S, R)) {
    let same = notification(&["amount"], false);
    sink.send(&same, now()).await.expect("is taken");
    sink.send(&same, now()).await.expect("is taken again");
}

async fn takes_whatever_labels_and_annotations_can_hold<S: AlertSink, R: Receiver>((sink, _): (S, R)) {
    sink.send(&notification(&[], false), now()).await.expect("an empty one is taken");
    let strange = "\u{1F980} \"quoted\" <b> & \\ \n\t\u{7f}";
    let mut many = notification(&[strange; 120], false);
    for alert in &mut many.alerts {
        let long = strange.repeat(200);
        alert.annotations =
            (0..ANNOTATIONS_MAX).fold(Annotations::default(), |all, n| all.with(format!("a{n}"), &long));
    }
    many.truncated = u64::MAX;
    sink.send(&many, now()).await.expect("a large and strange one is taken");
}

async fn passing_trouble_can_be_retried<S: AlertSink, R: Receiver>((sink, receiver): (S, R)) {
    let same = notification(&["amount"], false);
    for status in [408, 429, 500, 502, 503, 504] {
        if !receiver.refuse_next(status, None).await {
            return;
        }
        let error = sink.send(&same, now()).await.expect_err("a refusal is an error");
        assert_eq!(error.retry(), Retry::AfterBackoff, "status {status}: {error:?}");
        sink.send(&same, now()).await.expect("is taken at the next attempt");
    }
}

async fn lasting_trouble_cannot_be_retried<S: AlertSink, R: Receiver>((sink, receiver): (S, R)) {
    for status in [301, 400, 401, 403, 404, 410, 422] {
        if !receiver.refuse_next(status, None).await {
            return;
        }
        let error = sink.send(&notification(&["amount"], false), now()).await.expect_err("a refusal is an error");
        assert_eq!(error.retry(), Retry::Never, "status {status}: {error:?}");
        assert_ne!(error.kind(), ErrorKind::Internal, "status {status}: {error:?}");
    }
}

async fn the_receiver_says_how_long_to_wait<S: AlertSink, R: Receiver>((sink, receiver): (S, R)) {
    if receiver.refuse_next(429, Some(7)).await {
        let error = sink.send(&notification(&["amount"], false), now()).await.expect_err("a refusal is an error");
        assert_eq!(retry_after_ms(&error), Some(7_000), "{error:?}");
    }
}

async fn secrets_are_not_shown<S: AlertSink, R: Receiver>((sink, receiver): (S, R)) {
    let mut shown = vec![format!("{sink:?}")];
    for status in [400, 503] {
        if receiver.refuse_next(status, None).await {
            let error = sink.send(&notification(&["amount"], false), now()).await.expect_err("a refusal is an error");
            shown.extend([format!("{error:?}"), error.to_string(), error.chain()]);
        }
    }
    for secret in receiver.secrets() {
        assert!(!shown.iter().any(|text| text.contains(&secret)), "a secret is shown in {shown:?}");
    }
}
