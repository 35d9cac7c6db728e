//! Users, roles and grants in the metadata database.
//!
//! Invariant: a change and the check that allows it (a name that is free, an administrator who remains) are one
//! transaction.

mod port;
mod role;
mod schema;
mod user;

use std::sync::Arc;

use mlops_core::{Error, ErrorKind, Result};
use mlops_store::{MetaStore, MetaStoreExt as _};

use super::NAME_BYTES_MAX;

/// An access store over a [`MetaStore`].
#[derive(Debug, Clone)]
pub struct SqlAccessStore {
    meta: Arc<dyn MetaStore>,
}

impl SqlAccessStore {
    /// Brings the tables up to date.
    ///
    /// # Errors
    /// `FailedPrecondition` when the tables are of a newer version, `Unavailable` when the database cannot be reached.
    pub async fn open(meta: Arc<dyn MetaStore>) -> Result<Self> {
        meta.migrate(&schema::MIGRATIONS).await?;
        Ok(Self { meta })
    }
}

fn check_name(what: &str, name: &str) -> Result<()> {
    // A colon would end the name in basic authentication.
    let bad = name.chars().find(|c| c.is_control() || *c == ':');
    if name.trim().is_empty() || name.len() > NAME_BYTES_MAX || bad.is_some() {
        return Err(Error::invalid_argument(format!(
            "name {name:?} of a {what} must have 1 to {NAME_BYTES_MAX} bytes, without ':' and control characters"
        )));
    }
    Ok(())
}

/// Says which name is taken.
fn taken(error: Error, what: &str, name: &str) -> Error {
    match error.kind() {
        ErrorKind::AlreadyExists => Error::already_exists(format!("{what} (name={name}) already exists.")),
        _ => error,
    }
}

fn no_role(id: u64) -> Error {
    Error::not_found(format!("Role with id={id} not found"))
}
