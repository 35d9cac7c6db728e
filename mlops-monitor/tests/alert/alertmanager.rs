//! A real Alertmanager: it shows what we raise, keeps to silences in our form, ends what we
//! resolve, and posts the webhook that we post. `.ci/alertmanager.sh` starts one.

use std::{sync::Arc, time::Duration};

use mlops_core::{Clock as _, SystemClock, Timestamp};
use mlops_monitor::alert::{
    Alert, AlertCenter, AlertRule, AlertmanagerSink, Annotations, HttpEndpoint, Labels, Matcher, Notification,
    Observation, RouterSettings, Silence, WebhookPayload,
};
use serde_json::{Value, json};

/// Where Alertmanager listens.
const SERVER: &str = "MLOPS_TEST_ALERTMANAGER";
/// Where it posts its webhooks, `127.0.0.1:PORT`; grouped by `model` and `severity`, receiver `mlops`.
const HOOK: &str = "MLOPS_TEST_ALERTMANAGER_HOOK";

struct Api {
    http: reqwest::Client,
    url: String,
}

impl Api {
    /// The alert of a rule as Alertmanager shows it, or null.
    async fn alert(&self, name: &str) -> Value {
        let url = format!("{}/api/v2/alerts?filter=alertname%3D%22{name}%22", self.url);
        let alerts: Vec<Value> = self.http.get(url).send().await.unwrap().json().await.unwrap();
        assert!(alerts.len() <= 1, "{alerts:?}");
        alerts.into_iter().next().unwrap_or(Value::Null)
    }

    /// Waits until the alert is as wanted.
    async fn until(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..200 {
            let alert = self.alert(name).await;
            if wanted(&alert) {
                return alert;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("alert {name} stays {}", self.alert(name).await);
    }
}

fn labels(name: &str) -> Labels {
    let labels = [("alertname", name), ("model", "fraud"), ("feature", "naïve \"amount\""), ("severity", "warning")];
    Labels::new(labels).unwrap()
}

async fn report(center: &AlertCenter, name: &str, at: Timestamp, value: f64) {
    let observation = Observation::new(labels(name), at, value, 1.0).with_annotation("summary", "drift");
    center.observe(vec![observation]).await.unwrap().remove(0).unwrap();
    center.tick().await.unwrap();
    center.drain(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test]
async fn a_real_alertmanager_understands_us_and_we_it() {
    let (Ok(url), Ok(hook)) = (std::env::var(SERVER), std::env::var(HOOK)) else {
        println!("skipped: {SERVER} and {HOOK} name no server");
        return;
    };
    let received = crate::receiver::Receiver::start_at(&hook).await;
    let (home, clock) = (tempfile::tempdir().unwrap(), Arc::new(SystemClock::new()));
    let routing = RouterSettings { default_rule: AlertRule::immediate(), ..RouterSettings::default() };
    let routing = RouterSettings { group_by: vec!["...".into()], ..routing }.without_delay();
    let sink = AlertmanagerSink::new("alertmanager", HttpEndpoint::new(&url).unwrap());
    let center = AlertCenter::builder(home.path())
        .with_routing(routing)
        .with_sink(sink.with_resend(Duration::from_secs(1)))
        .start()
        .await
        .unwrap();
    let api = Api { http: reqwest::Client::builder().no_proxy().build().unwrap(), url };

    let seconds = clock.now().as_millis() / 1000 * 1000;
    let started = Timestamp::from_millis(seconds);
    report(&center, "Shown", started, 2.0).await;
    let shown = api.until("Shown", |alert| alert["status"]["state"] == "active").await;
    assert_eq!(shown["labels"], serde_json::to_value(labels("Shown")).unwrap());
    assert_eq!(shown["annotations"], json!({"summary": "drift"}));
    assert_eq!(shown["fingerprint"], labels("Shown").fingerprint().to_string());
    println!("verified: alerts appear with their labels, annotations and our fingerprint");

    let first_end = shown["endsAt"].clone();
    api.until("Shown", |alert| alert["endsAt"].as_str() > first_end.as_str()).await;
    println!("verified: reminders move the end of an alert that fires");

    // The group's webhook, with the one alert in it.
    let posted = loop {
        match received.requests().pop() {
            Some(request) => break request.body,
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let alert = Alert {
        labels: labels("Shown"),
        annotations: Annotations::default().with("summary", "drift"),
        starts_at: started,
        ends_at: None,
        generator_url: String::new(),
    };
    let ours = Notification {
        receiver: "mlops".into(),
        group_labels: labels("Shown").filtered(|name, _| ["model", "severity"].contains(&name)),
        alerts: vec![alert],
        truncated: 0,
        at: started,
        external_url: posted["externalURL"].as_str().unwrap().to_owned(),
    };
    assert_eq!(serde_json::to_value(WebhookPayload::from(&ours)).unwrap(), posted);
    println!("verified: its webhook is ours, field by field");

    let now = clock.now();
    let matchers = [Matcher::equal("alertname", "Shown").unwrap(), Matcher::regex("model", "fr.*").unwrap()];
    let silence = Silence::new(matchers, now..now + Duration::from_secs(600), "ana", "retraining").unwrap();
    let mut body = serde_json::to_value(&silence).unwrap();
    body.as_object_mut().unwrap().remove("id");
    let answer = api.http.post(format!("{}/api/v2/silences", api.url)).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    let suppressed = api.until("Shown", |alert| alert["status"]["state"] == "suppressed").await;
    assert_eq!(suppressed["status"]["silencedBy"].as_array().unwrap().len(), 1);
    println!("verified: a silence in our form suppresses the alert");

    report(&center, "Shown", clock.now(), 0.0).await;
    api.until("Shown", Value::is_null).await;
    println!("verified: a resolved alert is over");

    report(&center, "Forgotten", started, 2.0).await;
    api.until("Forgotten", |alert| !alert.is_null()).await;
    drop(center);
    api.until("Forgotten", Value::is_null).await;
    println!("verified: alerts of a process that died are over after four reminders");
}
