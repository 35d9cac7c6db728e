//! Slack, by an incoming webhook with blocks.
//!
//! Invariant: a message stays within Slack's limits (50 blocks, 150 characters in a header, 3000 in
//! a section), and text from outside cannot mention people or hide links: `&`, `<` and `>` are
//! escaped. See <https://api.slack.com/messaging/webhooks> and
//! <https://api.slack.com/reference/block-kit/blocks>.

use async_trait::async_trait;
use mlops_core::{Error, Result, Timestamp};
use serde_json::{Value, json};

use super::{
    AlertSink,
    http::{HttpEndpoint, Message},
};
use crate::alert::notification::{Alert, Notification, Status};

/// Alerts that get a section of their own; the rest is counted.
const ALERTS_SHOWN: usize = 20;
const HEADER_CHARS_MAX: usize = 150;
const SECTION_CHARS_MAX: usize = 3000;

/// Posts each notification to a Slack channel. The address is a secret.
///
/// ```no_run
/// use mlops_monitor::alert::{HttpEndpoint, SlackSink};
///
/// let sink = SlackSink::new("slack", HttpEndpoint::new("https://hooks.slack.com/services/T0/B0/x")?);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SlackSink {
    name: String,
    endpoint: HttpEndpoint,
}

impl SlackSink {
    /// Posts to the incoming webhook at `endpoint`.
    #[must_use]
    pub fn new(name: impl Into<String>, endpoint: HttpEndpoint) -> Self {
        Self { name: name.into(), endpoint }
    }
}

fn chars(text: &str, count: usize) -> String {
    text.chars().take(count).collect()
}

/// Escapes what Slack's markup gives a meaning, and cuts between characters, not within an escape.
fn escaped(text: &str, count: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let piece = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            _ => "",
        };
        used += piece.len().max(1);
        if used > count {
            break;
        }
        if piece.is_empty() { out.push(c) } else { out.push_str(piece) }
    }
    out
}

fn section(alert: &Alert) -> Value {
    let mark = match alert.status() {
        Status::Firing => ":red_circle:",
        Status::Resolved => ":large_green_circle:",
    };
    let annotations = alert.annotations.iter().filter(|(name, _)| *name != "summary");
    let known: Vec<String> = annotations.map(|(name, text)| format!("{name}: {text}")).collect();
    let (summary, labels) = (escaped(alert.annotations.summary(), 600), escaped(&alert.labels.to_string(), 900));
    let known = escaped(&known.join("\n"), SECTION_CHARS_MAX - 1600);
    json!({"type": "section", "text": {"type": "mrkdwn", "text": format!("{mark} *{summary}*\n`{labels}`\n{known}")}})
}

fn message(notification: &Notification) -> Value {
    let title = notification.title();
    let mut blocks = vec![json!({
        "type": "header",
        "text": {"type": "plain_text", "text": chars(&title, HEADER_CHARS_MAX)},
    })];
    blocks.extend(notification.alerts.iter().take(ALERTS_SHOWN).map(section));
    let hidden = u64::try_from(notification.alerts.len().saturating_sub(ALERTS_SHOWN)).unwrap_or(u64::MAX);
    let hidden = hidden.saturating_add(notification.truncated);
    let mut foot = format!("{} at {}", notification.status().as_str(), notification.at);
    if hidden > 0 {
        foot.push_str(&format!("; {hidden} more alerts"));
    }
    if !notification.external_url.is_empty() {
        foot.push_str(&format!("; {}", notification.external_url));
    }
    let foot = escaped(&foot, SECTION_CHARS_MAX);
    blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": foot}]}));
    json!({"text": escaped(&title, SECTION_CHARS_MAX), "blocks": blocks})
}

#[async_trait]
impl AlertSink for SlackSink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, notification: &Notification, now: Timestamp) -> Result<()> {
        let message = Message::json(&message(notification), notification.dedup_key())?;
        let answer = self.endpoint.post(&self.name, message, now).await?;
        match answer.trim() {
            "ok" | "" => Ok(()),
            _ => Err(Error::unavailable(format!("sink {:?}: slack did not answer ok", self.name))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Annotations, Labels};

    #[test]
    fn stays_within_slacks_limits_and_escapes_its_markup() {
        let long = "<!channel> & ".repeat(200);
        let alert = |index: usize| Alert {
            labels: Labels::new([("alertname", "Drift"), ("feature", &format!("f{index}"))]).unwrap(),
            annotations: (0..30)
                .fold(Annotations::default(), |all, n| all.with(format!("a{n}"), &long))
                .with("summary", &long),
            starts_at: Timestamp::from_millis(0),
            ends_at: None,
            generator_url: String::new(),
        };
        let notification = Notification {
            receiver: "r".into(),
            group_labels: Labels::default(),
            alerts: (0..100).map(alert).collect(),
            truncated: 5,
            at: Timestamp::from_millis(0),
            external_url: "http://x/?a&b".into(),
        };
        let message = message(&notification);
        let blocks = message["blocks"].as_array().unwrap();
        assert!(blocks.len() <= 50);
        assert!(blocks[0]["text"]["text"].as_str().unwrap().chars().count() <= HEADER_CHARS_MAX);
        for block in &blocks[1..blocks.len() - 1] {
            let text = block["text"]["text"].as_str().unwrap();
            assert!(text.chars().count() <= SECTION_CHARS_MAX && !text.contains("<!"), "{text}");
        }
        let foot = blocks.last().unwrap()["elements"][0]["text"].as_str().unwrap();
        assert!(foot.contains("85 more alerts") && foot.contains("?a&amp;b"), "{foot}");
        assert!(!message["text"].as_str().unwrap().contains('<'));
    }
}
