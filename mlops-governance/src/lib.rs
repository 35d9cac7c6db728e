//! Who may do what, and the record of who did.
//!
//! | look for | in |
//! |---|---|
//! | an append-only log in which nobody can change a row unnoticed | [`AuditLog`] |
//! | roles and what they are allowed, denied by default | [`AccessPolicy`] |
//!
//! ```
//! use std::{collections::BTreeMap, sync::Arc};
//!
//! use mlops_core::{Action, AuditEntry, AuditSink, Authorizer, Principal, Resource, Timestamp};
//! use mlops_governance::{AccessPolicy, AuditLog};
//! use mlops_store::SqliteMetaStore;
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let policy = AccessPolicy::builder().allow("release", [Action::Promote], "model", "fraud-*").build()?;
//! let ann = Principal::new("ann").with_role("release");
//! policy.authorize(&ann, Action::Promote, &Resource::new("model", "fraud-eu")).await?;
//! assert!(policy.authorize(&ann, Action::Delete, &Resource::new("model", "fraud-eu")).await.is_err());
//!
//! let log = AuditLog::open(Arc::new(SqliteMetaStore::in_memory().await?)).await?;
//! let entry = AuditEntry {
//!     at: Timestamp::from_millis(0),
//!     principal: ann,
//!     action: Action::Promote,
//!     resource: Resource::new("model", "fraud-eu"),
//!     details: BTreeMap::from([("version".to_owned(), "3".to_owned())]),
//! };
//! log.append(entry).await?;
//! assert_eq!(log.verify().await?.entries, 1);
//! # Ok::<(), mlops_core::Error>(())
//! # }).unwrap();
//! ```

mod access;
mod audit;
mod chain;

pub use access::{AccessPolicy, AccessPolicyBuilder, Grant};
pub use audit::AuditLog;
pub use chain::{ChainedEntry, Verification, verify_export};
