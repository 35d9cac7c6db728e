//! What a webhook is: plain data. The secret goes in and is never told back.

use std::{fmt, time::Duration};

use mlops_core::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::WebhookEvent;
use crate::limits::{DESCRIPTION_MAX, LOCATION_MAX, check_length};

/// Longest name.
const NAME_MAX: usize = 63;
/// Longest secret, in bytes.
const SECRET_BYTES_MAX: usize = 1_024;

/// A receiver of events, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Where messages are posted to.
    pub url: String,
    /// What it is told.
    pub events: Vec<WebhookEvent>,
    /// Whether it is told at present.
    pub active: bool,
    /// When it was made, in whole milliseconds.
    pub created: Timestamp,
    /// When it last changed, in whole milliseconds.
    pub updated: Timestamp,
}

/// How to create a webhook.
///
/// ```
/// use mlops_registry::webhooks::{CreateWebhook, WebhookEvent};
///
/// let event = WebhookEvent::new("model_version", "created")?;
/// let create = CreateWebhook::new("ci", "https://ci.example.com/hook", [event]).with_secret("hush");
/// create.check()?;
/// assert!(!format!("{create:?}").contains("hush"));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct CreateWebhook {
    /// Its name: 1 to 63 letters, digits, `.`, `_` or `-`, with a letter or digit at both ends.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Where messages are posted to.
    pub url: String,
    /// What it is told; at least one event.
    pub events: Vec<WebhookEvent>,
    /// Messages are signed with it; absent: they are not signed.
    pub secret: Option<String>,
    /// Whether it is told from the start.
    pub active: bool,
}

impl fmt::Debug for CreateWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateWebhook").field("name", &self.name).field("events", &self.events).finish_non_exhaustive()
    }
}

impl CreateWebhook {
    /// An active webhook without secret.
    pub fn new(
        name: impl Into<String>,
        url: impl Into<String>,
        events: impl IntoIterator<Item = WebhookEvent>,
    ) -> Self {
        let events = events.into_iter().collect();
        Self { name: name.into(), description: None, url: url.into(), events, secret: None, active: true }
    }

    /// Signs messages.
    #[must_use]
    pub fn with_secret(mut self, secret: impl Into<String>) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// Checks everything but where the address leads.
    ///
    /// # Errors
    /// `InvalidArgument` naming the field.
    pub fn check(&self) -> Result<()> {
        check_name(&self.name)?;
        check_length("webhook description", self.description.as_deref().unwrap_or_default(), DESCRIPTION_MAX)?;
        check_length("webhook url", &self.url, LOCATION_MAX)?;
        check_secret(self.secret.as_deref())?;
        check_events(&self.events)
    }
}

fn check_name(name: &str) -> Result<()> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let ends = [name.chars().next(), name.chars().next_back()];
    let sound = ends.into_iter().all(|end| end.is_some_and(|c| c.is_ascii_alphanumeric()));
    if name.len() > NAME_MAX || !sound || !name.chars().all(inner) {
        return Err(Error::invalid_argument(format!(
            "Webhook name {name:?} is invalid. It must start and end with a letter or digit, have at most {NAME_MAX} \
             characters, and contain only letters, digits, dots (.), underscores (_), and hyphens (-)."
        )));
    }
    Ok(())
}

fn check_secret(secret: Option<&str>) -> Result<()> {
    if secret.is_some_and(|secret| secret.len() > SECRET_BYTES_MAX) {
        return Err(Error::invalid_argument(format!("webhook secret has more than {SECRET_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn check_events(events: &[WebhookEvent]) -> Result<()> {
    if events.is_empty() {
        return Err(Error::invalid_argument("Webhook events must be a non-empty list"));
    }
    Ok(())
}

/// What to change of a webhook; what is absent stays.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct WebhookUpdate {
    /// Another name.
    pub name: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// Another address.
    pub url: Option<String>,
    /// Other events.
    pub events: Option<Vec<WebhookEvent>>,
    /// Another secret; empty: none any more.
    pub secret: Option<String>,
    /// Whether it is told from now on.
    pub active: Option<bool>,
}

impl fmt::Debug for WebhookUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookUpdate").field("name", &self.name).field("events", &self.events).finish_non_exhaustive()
    }
}

impl Webhook {
    /// The webhook after an update.
    pub(super) fn updated(mut self, update: &WebhookUpdate, now: Timestamp) -> Result<Self> {
        self.name = update.name.clone().unwrap_or(self.name);
        self.description = update.description.clone().or(self.description);
        self.url = update.url.clone().unwrap_or(self.url);
        self.events = update.events.clone().unwrap_or(self.events);
        self.active = update.active.unwrap_or(self.active);
        // Whoever compares the times must see that it changed, also within a millisecond.
        self.updated = now.max(self.updated + Duration::from_millis(1));
        check_name(&self.name)?;
        check_length("webhook url", &self.url, LOCATION_MAX)?;
        check_secret(update.secret.as_deref())?;
        check_events(&self.events)?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_always_later() {
        let webhook = Webhook {
            id: "1".to_owned(),
            name: "ci".to_owned(),
            description: None,
            url: "https://ci.example.com".to_owned(),
            events: vec![WebhookEvent::new("model_version", "created").unwrap()],
            active: true,
            created: Timestamp::from_millis(5),
            updated: Timestamp::from_millis(5),
        };
        let at = |now| webhook.clone().updated(&WebhookUpdate::default(), Timestamp::from_millis(now)).unwrap().updated;
        assert_eq!([at(3), at(5), at(9)].map(Timestamp::as_millis), [6, 6, 9]);
    }

    #[test]
    fn names_are_those_that_mlflow_takes() {
        for good in ["a", "a.b_c-D9", &"x".repeat(63)] {
            check_name(good).unwrap();
        }
        for bad in ["", "-a", "a.", "a b", "é", &"x".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
