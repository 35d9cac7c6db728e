//! Stickiness of browsers: a cookie holds the routing key of a client that sends none.
//!
//! The key is drawn once, travels with every request, and is prolonged with every answer, so that a client stays on its
//! side as long as it comes back within the cookie's time. It names nobody.

use serde::{Deserialize, Serialize};

/// Longest key that is taken from a cookie, bytes.
const KEY_BYTES_MAX: usize = 128;

/// The cookie of a rollout.
///
/// ```
/// use mlops_serve::rollout::{RolloutSettings, StickyCookie};
///
/// let sticky_cookie = Some(StickyCookie::new("side").with_max_age_s(3_600));
/// let plan = RolloutSettings { sticky_cookie, ..RolloutSettings::canary([0.1, 1.0]) };
/// plan.validate(1)?;
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StickyCookie {
    /// Its name.
    pub name: String,
    /// How long a client keeps it after its last answer, seconds. Default 30 days.
    #[serde(default = "max_age_s")]
    pub max_age_s: u64,
    /// The paths for which clients send it.
    #[serde(default = "path")]
    pub path: String,
    /// Whether clients send it over TLS alone.
    #[serde(default)]
    pub secure: bool,
}

fn max_age_s() -> u64 {
    30 * 24 * 60 * 60
}

fn path() -> String {
    "/".into()
}

impl StickyCookie {
    /// A cookie of this name, for every path, kept for 30 days.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), max_age_s: max_age_s(), path: path(), secure: false }
    }

    /// Keeps it so many seconds after the last answer.
    #[must_use]
    pub fn with_max_age_s(mut self, seconds: u64) -> Self {
        self.max_age_s = seconds;
        self
    }

    /// What is wrong with it (RFC 6265, section 4.1.1; names with a prefix: RFC 6265bis, section 4.1.3).
    pub(super) fn fault(&self) -> Option<String> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if self.name.is_empty() || !self.name.bytes().all(token) {
            return Some(format!("sticky_cookie has the name {:?}, which no cookie may have", self.name));
        }
        let begins = |prefix: &str| self.name.get(..prefix.len()).is_some_and(|name| name.eq_ignore_ascii_case(prefix));
        let host = begins("__Host-");
        if (host || begins("__Secure-")) && !self.secure {
            return Some(format!("sticky_cookie {:?} is dropped by browsers unless secure is true", self.name));
        }
        if host && self.path != "/" {
            return Some(format!("sticky_cookie {:?} is dropped by browsers unless its path is /", self.name));
        }
        if self.max_age_s == 0 {
            return Some("sticky_cookie.max_age_s is 0".into());
        }
        let fits =
            self.path.starts_with('/') && self.path.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b';');
        (!fits).then(|| format!("sticky_cookie has the path {:?}; it must begin with / and have no ;", self.path))
    }

    /// The key in the `Cookie` headers of a request. What we cannot have sent counts as none.
    pub(crate) fn key<'a>(&self, headers: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        let pairs =
            headers.into_iter().flat_map(|header| header.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut values = pairs.filter(|(name, _)| *name == self.name).map(|(_, value)| value);
        let plain = |value: &&str| {
            let known = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            known && !value.is_empty() && value.len() <= KEY_BYTES_MAX
        };
        values.find(plain)
    }

    /// The `Set-Cookie` that keeps `key` from now on.
    pub(crate) fn keeping(&self, key: &str) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        let Self { name, max_age_s, path, .. } = self;
        format!("{name}={key}; Max-Age={max_age_s}; Path={path}; HttpOnly; SameSite=Lax{secure}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_key_is_found_among_other_cookies_and_garbage_is_none() {
        let cookie = StickyCookie::new("side");
        assert_eq!(cookie.key(["a=b; side=k-1.x_2; c=d"]), Some("k-1.x_2"));
        assert_eq!(cookie.key(["a=b", "side=k"]), Some("k"));
        assert_eq!(cookie.key(["side=bad value; side=good"]), Some("good"));
        let long = format!("side={}", "x".repeat(KEY_BYTES_MAX + 1));
        for none in ["", "side", "side=", "xside=k", "side=\"k\"", &long] {
            assert_eq!(cookie.key([none]), None, "{none}");
        }
    }

    #[test]
    fn what_is_set_cannot_smuggle_attributes() {
        let secure = StickyCookie { secure: true, ..StickyCookie::new("side").with_max_age_s(9) };
        assert_eq!(secure.keeping("k"), "side=k; Max-Age=9; Path=/; HttpOnly; SameSite=Lax; Secure");
        assert_eq!(secure.fault(), None);
        assert_eq!(StickyCookie { secure: true, ..StickyCookie::new("__Host-a") }.fault(), None);
        for wrong in [
            StickyCookie::new(""),
            StickyCookie::new("a=b"),
            StickyCookie::new("a").with_max_age_s(0),
            StickyCookie { path: "/; Domain=x".into(), ..StickyCookie::new("a") },
            StickyCookie { path: "x".into(), ..StickyCookie::new("a") },
            StickyCookie::new("__Secure-a"),
            StickyCookie::new("__host-a"),
            StickyCookie { secure: true, path: "/v2".into(), ..StickyCookie::new("__Host-a") },
        ] {
            assert!(wrong.fault().is_some(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn a_key_that_is_found_is_one_that_can_be_set(header in "(side=[ -~]{0,20}; ?){0,3}") {
            let cookie = StickyCookie::new("side");
            if let Some(key) = cookie.key([header.as_str()]) {
                let set = cookie.keeping(key);
                prop_assert_eq!(cookie.key([set.as_str()]), Some(key));
            }
        }
    }
}
