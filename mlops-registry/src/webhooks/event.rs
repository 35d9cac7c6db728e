//! What webhooks are told about, and the text that they are told.

use mlops_core::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::registry::{ChangeKind, PROMPT_TAG, RegistryChange};

/// Every entity with its actions and the data of an example; what each is called on the wire of MLflow.
const KNOWN: [(&str, &str, &str); 14] = [
    (
        "registered_model",
        "created",
        r#"{"name":"example_model","tags":{"example_key":"example_value"},"description":"An example registered model"}"#,
    ),
    (
        "model_version",
        "created",
        r#"{"name":"example_model","version":"1","source":"models:/123","run_id":"abcd1234abcd5678","tags":{"example_key":"example_value"},"description":"An example model version"}"#,
    ),
    (
        "model_version_tag",
        "set",
        r#"{"name":"example_model","version":"1","key":"example_key","value":"example_value"}"#,
    ),
    ("model_version_tag", "deleted", r#"{"name":"example_model","version":"1","key":"example_key"}"#),
    ("model_version_alias", "created", r#"{"name":"example_model","alias":"example_alias","version":"1"}"#),
    ("model_version_alias", "deleted", r#"{"name":"example_model","alias":"example_alias"}"#),
    (
        "prompt",
        "created",
        r#"{"name":"example_prompt","tags":{"example_key":"example_value"},"description":"An example prompt"}"#,
    ),
    (
        "prompt_version",
        "created",
        r#"{"name":"example_prompt","version":"1","template":"Hello {{name}}!","tags":{"example_key":"example_value"},"description":"An example prompt version"}"#,
    ),
    ("prompt_tag", "set", r#"{"name":"example_prompt","key":"example_key","value":"example_value"}"#),
    ("prompt_tag", "deleted", r#"{"name":"example_prompt","key":"example_key"}"#),
    (
        "prompt_version_tag",
        "set",
        r#"{"name":"example_prompt","version":"1","key":"example_key","value":"example_value"}"#,
    ),
    ("prompt_version_tag", "deleted", r#"{"name":"example_prompt","version":"1","key":"example_key"}"#),
    ("prompt_alias", "created", r#"{"name":"example_prompt","alias":"example_alias","version":"1"}"#),
    ("prompt_alias", "deleted", r#"{"name":"example_prompt","alias":"example_alias"}"#),
];

/// The tag of a prompt version that holds its template.
const PROMPT_TEXT_TAG: &str = "mlflow.prompt.text";
/// The tags that make a model a prompt; they are no tags that people gave.
const INNER_TAGS: [&str; 3] = [PROMPT_TAG, PROMPT_TEXT_TAG, "_mlflow_prompt_type"];

/// An entity and what happens to it.
///
/// ```
/// use mlops_registry::webhooks::WebhookEvent;
///
/// let event = WebhookEvent::new("REGISTERED_MODEL", "CREATED")?;
/// assert_eq!(event.to_string(), "registered_model.created");
/// assert!(WebhookEvent::new("REGISTERED_MODEL", "DELETED").is_err());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WebhookEvent {
    entity: String,
    action: String,
}

impl std::fmt::Display for WebhookEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.entity, self.action)
    }
}

impl WebhookEvent {
    /// The event of that name, in any case.
    ///
    /// # Errors
    /// `InvalidArgument` when there is no such event.
    pub fn new(entity: &str, action: &str) -> Result<Self> {
        let event = Self { entity: entity.to_ascii_lowercase(), action: action.to_ascii_lowercase() };
        match KNOWN.iter().any(|(entity, action, _)| *entity == event.entity && *action == event.action) {
            true => Ok(event),
            false => {
                let known: Vec<String> = KNOWN.iter().map(|(entity, action, _)| format!("{entity}.{action}")).collect();
                Err(Error::invalid_argument(format!("there is no event {event}; known are {}", known.join(", "))))
            }
        }
    }

    fn of(entity: &str, action: &str) -> Self {
        Self { entity: entity.to_owned(), action: action.to_owned() }
    }

    /// The entity, such as `model_version`.
    #[must_use]
    pub fn entity(&self) -> &str {
        &self.entity
    }

    /// What happens to it, such as `created`.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.action
    }

    /// Data as such an event might have it, to try a receiver.
    pub(super) fn example(&self) -> Value {
        let found = KNOWN.iter().find(|(entity, action, _)| *entity == self.entity && *action == self.action);
        found.and_then(|(_, _, data)| serde_json::from_str(data).ok()).unwrap_or_default()
    }

    /// The text of a message.
    pub(super) fn body(&self, at: Timestamp, data: &Value) -> String {
        let body = json!({ "entity": self.entity, "action": self.action, "timestamp": at.to_string(), "data": data });
        body.to_string()
    }
}

/// The event of a change and its data; none when MLflow has no such event.
pub(super) fn of(change: &RegistryChange) -> Option<(WebhookEvent, Value)> {
    let (name, prompt) = (change.model.as_str(), change.prompt);
    let entity = |model: &'static str, prompted: &'static str| if prompt { prompted } else { model };
    let set = |value: &Option<String>| if value.is_some() { "set" } else { "deleted" };
    let described = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let (event, data) = match &change.kind {
        ChangeKind::ModelCreated { tags, description } => {
            let event = WebhookEvent::of(entity("registered_model", "prompt"), "created");
            let tags: std::collections::BTreeMap<_, _> =
                tags.iter().filter(|(key, _)| !(prompt && INNER_TAGS.contains(&key.as_str()))).collect();
            (event, json!({ "name": name, "tags": tags, "description": description }))
        }
        ChangeKind::ModelTag { .. } if !prompt => return None,
        ChangeKind::ModelTag { key, value } => {
            (WebhookEvent::of("prompt_tag", set(value)), tag(json!({ "name": name, "key": key }), value.as_ref()))
        }
        ChangeKind::VersionCreated { version, tags, description, .. } if prompt => {
            let shown: std::collections::BTreeMap<_, _> =
                tags.iter().filter(|(key, _)| !INNER_TAGS.contains(&key.as_str())).collect();
            let template = tags.get(PROMPT_TEXT_TAG).cloned().unwrap_or_default();
            let data = json!({ "name": name, "version": version.0.to_string(), "template": template, "tags": shown,
                "description": described(description) });
            (WebhookEvent::of("prompt_version", "created"), data)
        }
        ChangeKind::VersionCreated { version, source, run_id, tags, description } => {
            let data = json!({ "name": name, "version": version.0.to_string(), "source": source,
                "run_id": run_id.as_ref().map(ToString::to_string), "tags": tags, "description": described(description) });
            (WebhookEvent::of("model_version", "created"), data)
        }
        ChangeKind::VersionTag { version, key, value } => {
            let event = WebhookEvent::of(entity("model_version_tag", "prompt_version_tag"), set(value));
            let data = json!({ "name": name, "version": version.0.to_string(), "key": key });
            (event, tag(data, value.as_ref()))
        }
        ChangeKind::Alias { alias, to: Some(version) } => {
            let data = json!({ "name": name, "alias": alias.as_str(), "version": version.0.to_string() });
            (WebhookEvent::of(entity("model_version_alias", "prompt_alias"), "created"), data)
        }
        ChangeKind::Alias { alias, to: None } => {
            let event = WebhookEvent::of(entity("model_version_alias", "prompt_alias"), "deleted");
            (event, json!({ "name": name, "alias": alias.as_str() }))
        }
    };
    Some((event, data))
}

fn tag(mut data: Value, value: Option<&String>) -> Value {
    if let (Value::Object(fields), Some(value)) = (&mut data, value) {
        fields.insert("value".to_owned(), value.as_str().into());
    }
    data
}

#[cfg(test)]
mod tests {
    use mlops_core::{Alias, ModelName, Version};

    use super::*;

    #[test]
    fn every_known_event_has_an_example_and_a_name() {
        for (entity, action, _) in KNOWN {
            let event = WebhookEvent::new(&entity.to_uppercase(), action).unwrap();
            assert!(event.example().is_object(), "{event}");
        }
    }

    #[test]
    fn changes_of_prompts_are_events_of_prompts() {
        let change = |prompt, kind| RegistryChange { model: ModelName::new("m").unwrap(), prompt, kind };
        let alias = ChangeKind::Alias { alias: Alias::new("a").unwrap(), to: Some(Version(3)) };
        let (event, data) = of(&change(false, alias.clone())).unwrap();
        assert_eq!(event.to_string(), "model_version_alias.created");
        assert_eq!(data, json!({ "name": "m", "alias": "a", "version": "3" }));
        assert_eq!(of(&change(true, alias)).unwrap().0.to_string(), "prompt_alias.created");
        let tag = ChangeKind::ModelTag { key: "k".into(), value: None };
        assert!(of(&change(false, tag.clone())).is_none());
        let (event, data) = of(&change(true, tag)).unwrap();
        assert_eq!((event.to_string(), data), ("prompt_tag.deleted".into(), json!({ "name": "m", "key": "k" })));
    }
}
