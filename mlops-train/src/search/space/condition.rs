//! Parameters that exist only where another one has certain values.

use serde::{Deserialize, Serialize};

use crate::params::{ParamValue, Params};

/// When a parameter exists: its parent exists and has one of these values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Name of the parameter that decides.
    pub param: String,
    /// Its values for which this one exists.
    pub is: Vec<ParamValue>,
}

impl Condition {
    /// Whether `params` has a value of the parent that is asked for.
    pub(crate) fn holds(&self, params: &Params) -> bool {
        params.get(&self.param).is_some_and(|value| self.is.contains(value))
    }
}
