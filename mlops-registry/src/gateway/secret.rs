//! Secrets of providers: what is known of them, and what is in them.

use std::{collections::BTreeMap, fmt};

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{Change, NAME_MAX, PROVIDER_MAX, check_name, check_optional};
use crate::{
    limits::{KEY_MAX, LOCATION_MAX, RUN_TAG_VALUE_MAX, check_length},
    webhooks::WebhookTargets,
};

/// Most values of a secret, and most entries of what goes with it.
const ENTRIES_MAX: usize = 32;
/// Most bytes of all values of a secret together.
const VALUES_BYTES_MAX: usize = 64 << 10;
/// The entry that says where requests go.
const ADDRESS: &str = "api_base";
/// Other options by which a client of providers could be sent elsewhere, past the check of the address.
const DETOURS: [&str; 4] = ["base_url", "custom_llm_provider", "fallbacks", "model_list"];
/// Of a shorter value nothing is shown: what is shown of a longer one must leave enough to guess.
const SHOWN_LENGTH_MIN: usize = 12;

/// What is known of a secret, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Its id, which never changes.
    pub id: String,
    /// Its name, one of a kind, which never changes.
    pub name: String,
    /// Its values, masked.
    pub masked: BTreeMap<String, String>,
    /// The provider that it is for.
    pub provider: Option<String>,
    /// What goes with it and is no secret: kind of authentication, region, address.
    pub auth: BTreeMap<String, String>,
    /// Who made and changed it.
    pub change: Change,
}

/// What is in a secret, by name, such as `api_key`. Printing it shows the names alone.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretValues(BTreeMap<String, String>);

impl SecretValues {
    /// The value of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The values as they may be shown: the first three and last four characters of a long one, nothing of a short one.
    #[must_use]
    pub fn masked(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(name, value)| (name.clone(), masked(value))).collect()
    }

    fn check(&self) -> Result<()> {
        check_entries("secret_value", &self.0)?;
        let bytes: usize = self.0.values().map(String::len).sum();
        if bytes > VALUES_BYTES_MAX {
            let message = format!("secret_value has {bytes} bytes; at most {VALUES_BYTES_MAX} are kept");
            return Err(Error::invalid_argument(message));
        }
        refuse(&self.0, "secret_value", std::iter::once(ADDRESS).chain(DETOURS))
    }
}

impl FromIterator<(String, String)> for SecretValues {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl fmt::Debug for SecretValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretValues").field(&self.0.keys().collect::<Vec<_>>()).finish()
    }
}

fn masked(value: &str) -> String {
    let length = value.chars().count();
    if length < SHOWN_LENGTH_MIN {
        return "***".to_owned();
    }
    let first: String = value.chars().take(3).collect();
    let last: String = value.chars().skip(length - 4).collect();
    format!("{first}...{last}")
}

fn check_entries(field: &str, entries: &BTreeMap<String, String>) -> Result<()> {
    if entries.len() > ENTRIES_MAX {
        return Err(Error::invalid_argument(format!("{field} has at most {ENTRIES_MAX} entries")));
    }
    entries.keys().try_for_each(|name| check_name(&format!("key of {field}"), name, KEY_MAX))
}

/// Refuses entries that would send requests elsewhere.
fn refuse<'a>(entries: &BTreeMap<String, String>, field: &str, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let found: Vec<&str> = names.filter(|name| entries.contains_key(*name)).collect();
    if found.is_empty() {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "{field} must not contain '{}', which says where requests go; give the address as '{ADDRESS}' in auth_config",
        found.join("', '")
    )))
}

/// What goes with a secret, checked: a blank address is none.
pub(super) fn checked_auth(
    mut auth: BTreeMap<String, String>,
    targets: WebhookTargets,
) -> Result<BTreeMap<String, String>> {
    check_entries("auth_config", &auth)?;
    refuse(&auth, "auth_config", DETOURS.into_iter())?;
    for (name, value) in &auth {
        check_length(&format!("value of auth_config {name:?}"), value, RUN_TAG_VALUE_MAX)?;
    }
    let Some(address) = auth.get(ADDRESS).map(|address| address.trim().to_owned()) else { return Ok(auth) };
    if address.is_empty() {
        auth.remove(ADDRESS);
        return Ok(auth);
    }
    check_length("Gateway secret api_base", &address, LOCATION_MAX)?;
    let url = targets.check_as("Gateway secret api_base", &address)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::invalid_argument("Gateway secret api_base must not include embedded credentials"));
    }
    auth.insert(ADDRESS.to_owned(), address);
    Ok(auth)
}

/// How to keep a secret.
///
/// ```
/// use mlops_registry::gateway::CreateSecret;
///
/// let create = CreateSecret::new("openai", [("api_key", "sk-0123456789abcdef")]);
/// create.check()?;
/// assert!(!format!("{create:?}").contains("0123456789"));
/// assert_eq!(create.values.masked()["api_key"], "sk-...cdef");
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateSecret {
    /// Its name, at most 255 characters.
    pub name: String,
    /// What is in it: at most 32 values of 64 KiB together; none where a provider is asked by what the machine is.
    pub values: SecretValues,
    /// The provider that it is for.
    pub provider: Option<String>,
    /// What goes with it and is no secret. An address, `api_base`, must be one that the store allows.
    pub auth: BTreeMap<String, String>,
    /// Who keeps it.
    pub created_by: Option<String>,
}

impl CreateSecret {
    /// A secret for any provider.
    pub fn new<N: Into<String>, V: Into<String>>(
        name: impl Into<String>,
        values: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let values = values.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { name: name.into(), values, provider: None, auth: BTreeMap::new(), created_by: None }
    }

    /// Checks lengths and counts, and that no value says where requests go.
    ///
    /// # Errors
    /// `InvalidArgument` naming the field; no value is in it.
    pub fn check(&self) -> Result<()> {
        check_name("secret_name", &self.name, NAME_MAX)?;
        check_optional("provider", self.provider.as_ref(), PROVIDER_MAX)?;
        check_optional("created_by", self.created_by.as_ref(), NAME_MAX)?;
        self.values.check()
    }
}

/// What to change of a secret; what is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecretUpdate {
    /// Other values, in place of all that it has.
    pub values: Option<SecretValues>,
    /// What goes with it from now on.
    pub auth: Option<BTreeMap<String, String>>,
    /// Who changes it.
    pub updated_by: Option<String>,
}

impl SecretUpdate {
    pub(super) fn check(&self) -> Result<()> {
        check_optional("updated_by", self.updated_by.as_ref(), NAME_MAX)?;
        self.values.as_ref().map_or(Ok(()), SecretValues::check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, String> {
        entries.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn of_a_short_value_nothing_is_shown() {
        for (value, shown) in
            [("", "***"), ("sk-12345678", "***"), ("AKIATEST1234", "AKI...1234"), ("ключ-длинный", "клю...нный")]
        {
            assert_eq!(masked(value), shown);
        }
    }

    #[test]
    fn nothing_in_a_secret_sends_requests_elsewhere() {
        let targets = WebhookTargets::default();
        for name in std::iter::once(ADDRESS).chain(DETOURS) {
            let create = CreateSecret::new("s", [(name, "https://evil.example.com")]);
            assert!(create.check().unwrap_err().message().contains(name));
        }
        for name in DETOURS {
            assert!(checked_auth(map([(name, "x")]), targets).unwrap_err().message().contains(name));
        }
        for bad in
            ["http://api.example.com", "https://127.0.0.1/", "https://localhost/", "https://a:b@api.example.com/"]
        {
            let error = checked_auth(map([(ADDRESS, bad)]), targets).unwrap_err();
            assert!(
                error.message().starts_with("Invalid Gateway secret api_base")
                    || error.message().contains("credentials"),
                "{error}"
            );
        }
        let good = checked_auth(map([(ADDRESS, " https://api.example.com/v1 ")]), targets).unwrap();
        assert_eq!(good, map([(ADDRESS, "https://api.example.com/v1")]));
        assert_eq!(
            checked_auth(map([(ADDRESS, " "), ("auth_mode", "k")]), targets).unwrap(),
            map([("auth_mode", "k")])
        );
    }

    #[test]
    fn a_secret_is_bounded() {
        let of = |count: usize, length: usize| {
            CreateSecret::new("s", (0..count).map(|n| (n.to_string(), "x".repeat(length)))).check()
        };
        of(32, 2_048).unwrap();
        assert!(of(33, 1).is_err());
        assert!(of(1, VALUES_BYTES_MAX + 1).is_err());
        assert!(CreateSecret::new("", [("a", "b")]).check().unwrap_err().message().contains("secret_name"));
        assert!(CreateSecret::new("s", [("", "b")]).check().is_err());
    }
}
