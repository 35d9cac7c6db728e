//! What webhooks are told about, and the text that they are told.

use std::collections::BTreeMap;

use mlops_core::{Error, Result, Timestamp, Version};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

    /// Data as such an event might have it, as JSON, to try a receiver.
    pub(super) fn example(&self) -> &'static str {
        let found = KNOWN.iter().find(|(entity, action, _)| *entity == self.entity && *action == self.action);
        found.map_or("{}", |(_, _, data)| data)
    }

    /// The text of a message; `data` is JSON. Its fields are in MLflow's order, and the time is written as Python writes
    /// it, since older Pythons read no `Z`.
    pub(super) fn body(&self, at: Timestamp, data: &str) -> String {
        let at = at.to_string();
        let at = at.strip_suffix('Z').map_or_else(|| at.clone(), |local| format!("{local}+00:00"));
        let head = [("entity", &self.entity), ("action", &self.action), ("timestamp", &at)];
        let head: String = head.map(|(name, text)| format!("\"{name}\":{},", Value::from(text.as_str()))).concat();
        format!("{{{head}\"data\":{data}}}")
    }
}

/// The event of a change and its data as JSON; none when MLflow has no such event.
pub(super) fn of(change: &RegistryChange) -> Option<(WebhookEvent, String)> {
    let prompt = change.prompt;
    let entity = |model: &'static str, prompted: &'static str| if prompt { prompted } else { model };
    let set = |value: &Option<String>| if value.is_some() { "set" } else { "deleted" };
    let told = |tags: &BTreeMap<String, String>| -> Value {
        let tags = tags.iter().filter(|(key, _)| !(prompt && INNER_TAGS.contains(&key.as_str())));
        tags.map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect()
    };
    let described = |text: &String| Value::from(Some(text.as_str()).filter(|text| !text.is_empty()));
    let number = |version: &Version| Value::from(version.0.to_string());
    let mut data = vec![("name", Value::from(change.model.as_str()))];
    let event = match &change.kind {
        ChangeKind::ModelCreated { tags, description } => {
            data.extend([("tags", told(tags)), ("description", description.clone().into())]);
            WebhookEvent::of(entity("registered_model", "prompt"), "created")
        }
        ChangeKind::ModelTag { .. } if !prompt => return None,
        ChangeKind::ModelTag { key, value } => {
            data.push(("key", key.as_str().into()));
            data.extend(value.as_ref().map(|value| ("value", value.as_str().into())));
            WebhookEvent::of("prompt_tag", set(value))
        }
        ChangeKind::VersionCreated { version, source, run_id, tags, description } => {
            data.push(("version", number(version)));
            if prompt {
                let template = tags.get(PROMPT_TEXT_TAG).map_or("", String::as_str);
                data.push(("template", template.into()));
            } else {
                data.push(("source", source.clone().into()));
                data.push(("run_id", run_id.as_ref().map(ToString::to_string).into()));
            }
            data.extend([("tags", told(tags)), ("description", described(description))]);
            WebhookEvent::of(entity("model_version", "prompt_version"), "created")
        }
        ChangeKind::VersionTag { version, key, value } => {
            data.extend([("version", number(version)), ("key", key.as_str().into())]);
            data.extend(value.as_ref().map(|value| ("value", value.as_str().into())));
            WebhookEvent::of(entity("model_version_tag", "prompt_version_tag"), set(value))
        }
        ChangeKind::Alias { alias, to } => {
            data.push(("alias", alias.as_str().into()));
            data.extend(to.as_ref().map(|version| ("version", number(version))));
            let action = if to.is_some() { "created" } else { "deleted" };
            WebhookEvent::of(entity("model_version_alias", "prompt_alias"), action)
        }
    };
    Some((event, in_order(&data)))
}

/// An object with its fields in this order, which a [`Value`] would not keep.
fn in_order(fields: &[(&str, Value)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

#[cfg(test)]
mod tests {
    use mlops_core::{Alias, ModelName};

    use super::*;

    #[test]
    fn every_known_event_has_an_example_and_a_name() {
        for (entity, action, _) in KNOWN {
            let event = WebhookEvent::new(&entity.to_uppercase(), action).unwrap();
            assert!(serde_json::from_str::<Value>(event.example()).unwrap().is_object(), "{event}");
        }
    }

    #[test]
    fn changes_of_prompts_are_events_of_prompts() {
        let change = |prompt, kind| RegistryChange { model: ModelName::new("m").unwrap(), prompt, kind };
        let alias = ChangeKind::Alias { alias: Alias::new("a").unwrap(), to: Some(Version(3)) };
        let (event, data) = of(&change(false, alias.clone())).unwrap();
        assert_eq!(event.to_string(), "model_version_alias.created");
        assert_eq!(data, r#"{"name":"m","alias":"a","version":"3"}"#);
        assert_eq!(of(&change(true, alias)).unwrap().0.to_string(), "prompt_alias.created");
        let tag = ChangeKind::ModelTag { key: "k".into(), value: None };
        assert!(of(&change(false, tag.clone())).is_none());
        let (event, data) = of(&change(true, tag)).unwrap();
        assert_eq!((event.to_string(), data.as_str()), ("prompt_tag.deleted".into(), r#"{"name":"m","key":"k"}"#));
    }

    #[test]
    fn fields_are_in_the_order_of_mlflow() {
        let kind = ChangeKind::VersionCreated {
            version: Version(2),
            source: "s3://b/\"x\"".into(),
            run_id: None,
            tags: [("k".to_owned(), "v".to_owned())].into(),
            description: String::new(),
        };
        let (event, data) = of(&RegistryChange { model: ModelName::new("m").unwrap(), prompt: false, kind }).unwrap();
        let text = concat!(
            r#"{"entity":"model_version","action":"created","timestamp":"2023-11-14T22:13:20.500+00:00","data":"#,
            r#"{"name":"m","version":"2","source":"s3://b/\"x\"","run_id":null,"tags":{"k":"v"},"description":null}}"#
        );
        assert_eq!(event.body(Timestamp::from_millis(1_700_000_000_500), &data), text);
    }
}
