//! Who made a record and changed it last, and when.

use std::time::Duration;

use mlops_core::Timestamp;
use serde::{Deserialize, Serialize};

/// When a record was made and changed last, in whole milliseconds, and by whom, where that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When it was made.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
    /// Who made it.
    pub created_by: Option<String>,
    /// Who changed it last.
    pub updated_by: Option<String>,
}

impl Change {
    /// Of something that is made now.
    pub(super) fn made(now: Timestamp, by: Option<String>) -> Self {
        Self { created: now, updated: now, created_by: by.clone(), updated_by: by }
    }

    /// Notes a change; whoever made it stays where nobody is named.
    pub(super) fn touch(&mut self, now: Timestamp, by: Option<String>) {
        // Whoever compares the times must see that it changed, also within a millisecond or where the clock went back.
        self.updated = now.max(self.updated + Duration::from_millis(1));
        self.updated_by = by.or_else(|| self.updated_by.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_always_later_and_keeps_its_author() {
        let at = Timestamp::from_millis;
        let mut change = Change::made(at(5), Some("ann".to_owned()));
        change.touch(at(3), None);
        assert_eq!((change.created, change.updated, change.updated_by.as_deref()), (at(5), at(6), Some("ann")));
        change.touch(at(9), Some("bob".to_owned()));
        assert_eq!((change.updated, change.updated_by.as_deref()), (at(9), Some("bob")));
        assert_eq!(change.created_by.as_deref(), Some("ann"));
    }
}
