//! Roles and what they are allowed. Whatever is not granted is refused.

use async_trait::async_trait;
use mlops_core::{Action, Authorizer, Error, Principal, Resource, Result};
use serde::{Deserialize, Serialize};

/// One permission of one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The role.
    pub role: String,
    /// What it may do.
    pub actions: Vec<Action>,
    /// To which kind of resource; `*` for any.
    pub kind: String,
    /// To resources whose name matches; `*` stands for any run of characters.
    pub name: String,
}

/// Grants to roles; deny by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessPolicy {
    grants: Vec<Grant>,
}

/// Collects the grants of an [`AccessPolicy`].
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct AccessPolicyBuilder {
    policy: AccessPolicy,
}

impl AccessPolicyBuilder {
    /// Allows `role` the actions on resources of `kind` whose name matches `name`.
    pub fn allow(
        mut self,
        role: impl Into<String>,
        actions: impl Into<Vec<Action>>,
        kind: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        let grant = Grant { role: role.into(), actions: actions.into(), kind: kind.into(), name: name.into() };
        self.policy.grants.push(grant);
        self
    }

    /// Checks the grants.
    ///
    /// # Errors
    /// `InvalidArgument` naming every grant without role, action, kind or name.
    pub fn build(self) -> Result<AccessPolicy> {
        let empty = |grant: &&Grant| {
            grant.role.is_empty() || grant.actions.is_empty() || grant.kind.is_empty() || grant.name.is_empty()
        };
        let faults: Vec<String> = self.policy.grants.iter().filter(empty).map(|grant| format!("{grant:?}")).collect();
        if faults.is_empty() {
            return Ok(self.policy);
        }
        Err(Error::invalid_argument(format!("access policy has incomplete grants: {}", faults.join("; "))))
    }
}

impl AccessPolicy {
    /// Begins without grants.
    pub fn builder() -> AccessPolicyBuilder {
        AccessPolicyBuilder::default()
    }

    /// Refuses an approval by the one who asked for it.
    ///
    /// # Errors
    /// `PermissionDenied` naming the principal.
    pub fn check_separation(requester: &Principal, approver: &Principal) -> Result<()> {
        if requester.name == approver.name {
            return Err(Error::permission_denied(format!(
                "{:?} asked for this and cannot approve it as well",
                approver.name
            )));
        }
        Ok(())
    }

    fn allows(&self, principal: &Principal, action: Action, resource: &Resource) -> bool {
        self.grants.iter().any(|grant| {
            principal.roles.contains(&grant.role)
                && grant.actions.contains(&action)
                && (grant.kind == "*" || grant.kind == resource.kind)
                && matches(&grant.name, &resource.name)
        })
    }
}

/// Whether `name` matches a pattern in which `*` is any run of characters.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    let mut rest = rest;
    for part in parts {
        let Some(found) = rest.find(part) else { return false };
        rest = rest.get(found + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

#[async_trait]
impl Authorizer for AccessPolicy {
    async fn authorize(&self, principal: &Principal, action: Action, resource: &Resource) -> Result<()> {
        if self.allows(principal, action, resource) {
            return Ok(());
        }
        Err(Error::permission_denied(format!(
            "{:?} with roles {:?} may not {action:?} {resource}; grant it to one of the roles",
            principal.name, principal.roles
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_any_run() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "ac", true),
            ("a*b*c", "a-b-b-c", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("a*a", "a", false),
            ("*b*", "ac", false),
            ("ab*", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[tokio::test]
    async fn refusals_name_who_what_and_where() {
        let policy = AccessPolicy::builder().allow("ops", [Action::Read], "model", "*").build().unwrap();
        let ann = Principal::new("ann").with_role("ops");
        let model = Resource::new("model", "m");
        policy.authorize(&ann, Action::Read, &model).await.unwrap();
        let error = policy.authorize(&ann, Action::Delete, &model).await.unwrap_err();
        for part in ["\"ann\"", "Delete", "model \"m\""] {
            assert!(error.message().contains(part), "{error}");
        }
        assert!(policy.authorize(&Principal::new("eve"), Action::Read, &model).await.is_err());
        assert!(policy.authorize(&ann, Action::Read, &Resource::new("table", "m")).await.is_err());
        assert!(AccessPolicy::builder().allow("", [], "", "").build().is_err());
        assert!(AccessPolicy::check_separation(&ann, &ann).is_err());
    }
}
