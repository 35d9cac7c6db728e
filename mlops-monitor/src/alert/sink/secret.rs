//! Text that must not be shown: a routing key, a token, an address that is a key itself.

use std::fmt;

use serde::Deserialize;

/// Text that `Debug` does not show and that cannot be serialized.
///
/// ```
/// use mlops_monitor::alert::Secret;
///
/// assert_eq!(format!("{:?}", Secret::new("R0uting")), "Secret(***)");
/// ```
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    /// `text` with every occurrence of the secret blotted out.
    pub(super) fn redact(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(&self.0, "***") }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}
