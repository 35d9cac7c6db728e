//! What features describe: a card, a card at a merchant, or the whole world.

use std::sync::Arc;

use mlops_core::Result;
use serde::{Deserialize, Serialize};

use super::{all_faults, check_name, first_duplicate};

/// Most columns that an entity's key may have.
pub const JOIN_KEYS_MAX: usize = 16;

/// A named kind of thing and the columns that identify one of them. No columns: there is only one, and every row
/// belongs to it (a global view).
///
/// ```
/// use mlops_features::Entity;
///
/// let entity = Entity::new("card_at_merchant", ["card", "merchant"])?;
/// assert_eq!(entity.join_keys().len(), 2);
/// assert!(Entity::new("card", ["card", "card"]).is_err());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    name: Arc<str>,
    join_keys: Vec<Arc<str>>,
}

impl Entity {
    /// An entity identified by `join_keys`, in this order.
    ///
    /// # Errors
    /// `InvalidArgument` for an invalid or repeated name and for more than [`JOIN_KEYS_MAX`] keys.
    pub fn new(name: impl AsRef<str>, join_keys: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        let name: Arc<str> = name.as_ref().into();
        let join_keys: Vec<Arc<str>> = join_keys.into_iter().map(|key| key.as_ref().into()).collect();
        let mut faults = Vec::new();
        faults.extend(check_name("entity name", &name).err().map(|error| error.to_string()));
        for key in &join_keys {
            faults.extend(check_name("join key", key).err().map(|error| error.to_string()));
        }
        if let Some(twice) = first_duplicate(join_keys.iter().map(AsRef::as_ref)) {
            faults.push(format!("join key \"{twice}\" is listed twice"));
        }
        if join_keys.len() > JOIN_KEYS_MAX {
            faults.push(format!("{} join keys; at most {JOIN_KEYS_MAX} are allowed", join_keys.len()));
        }
        all_faults(&format!("entity \"{name}\""), &faults)?;
        Ok(Self { name, join_keys })
    }

    /// The entity that needs no key.
    #[must_use]
    pub fn global() -> Self {
        Self { name: "global".into(), join_keys: Vec::new() }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key columns, in order.
    #[must_use]
    pub fn join_keys(&self) -> &[Arc<str>] {
        &self.join_keys
    }
}
