//! Which columns of a table play which role besides that of the label.
//!
//! Builders that let their users name columns hold a [`Roles`] in a field `roles` and get the methods to set it from
//! [`role_methods`], so that a role is named alike everywhere.

/// Names of columns by role.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roles {
    /// What is learnt from, in this order; every column without another role if none is named.
    pub(crate) features: Option<Vec<String>>,
    pub(crate) weight: Option<String>,
    pub(crate) time: Option<String>,
}

impl Roles {
    /// Names of the features among `columns`, of which `label` is none.
    pub(crate) fn feature_names<'a>(
        &self,
        label: Option<&String>,
        columns: impl Iterator<Item = &'a String>,
    ) -> Vec<String> {
        if let Some(features) = &self.features {
            return features.clone();
        }
        let taken = [label, self.weight.as_ref(), self.time.as_ref()];
        columns.filter(|name| !taken.contains(&Some(*name))).cloned().collect()
    }
}

/// The methods of a builder with a field `roles` that name its columns.
macro_rules! role_methods {
    () => {
        /// Learns from these columns, in this order; otherwise from every column without another role.
        #[must_use]
        pub fn with_features<N: Into<String>>(mut self, columns: impl IntoIterator<Item = N>) -> Self {
            self.roles.features = Some(columns.into_iter().map(Into::into).collect());
            self
        }

        /// Weighs rows by a column of numbers that are not negative.
        #[must_use]
        pub fn with_weight(mut self, column: impl Into<String>) -> Self {
            self.roles.weight = Some(column.into());
            self
        }

        /// Names the event time, a timestamp in microseconds, which is no feature: splits that respect time order by
        /// it, and trainers that hold rows out hold out the latest.
        #[must_use]
        pub fn with_time(mut self, column: impl Into<String>) -> Self {
            self.roles.time = Some(column.into());
            self
        }
    };
}

pub(crate) use role_methods;
