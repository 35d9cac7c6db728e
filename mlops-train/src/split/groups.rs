//! Rows that belong together: the visits of a patient, the orders of a customer.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, cast::AsArray, types::Int64Type};
use arrow_schema::DataType;
use mlops_core::{Error, Result};

use crate::data::{texts, value_type};

/// The group of each row, numbered from zero by the order of their names.
///
/// ```
/// use mlops_train::Groups;
///
/// let groups = Groups::of(&["mia", "ann", "mia"]);
/// assert_eq!((groups.count(), groups.rows()), (2, 3));
/// assert_eq!(groups.members()[1], [0, 2]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    of_row: Arc<[usize]>,
    count: usize,
}

impl Groups {
    /// Groups rows by their names.
    #[must_use]
    pub fn of<T: Ord>(names: &[T]) -> Self {
        let mut distinct: Vec<&T> = names.iter().collect();
        distinct.sort_unstable();
        distinct.dedup();
        let of_row = names.iter().map(|name| distinct.partition_point(|other| *other < name)).collect();
        Self { of_row, count: distinct.len() }
    }

    /// Groups rows by a column of text or 64-bit integers.
    ///
    /// # Errors
    /// `InvalidArgument` when the column has another type or a null, as a row without a group
    /// belongs nowhere.
    pub fn of_column(name: &str, column: &ArrayRef) -> Result<Self> {
        let nulls = column.logical_null_count();
        if nulls > 0 {
            return Err(Error::invalid_argument(format!(
                "group column {name:?} has {nulls} nulls; give every row a group"
            ))
            .with("column", name));
        }
        if value_type(column.data_type()).is_ok_and(|found| found == mlops_core::DataType::String) {
            return Ok(Self::of(&texts(name, column)?.into_iter().flatten().collect::<Vec<_>>()));
        }
        match column.data_type() {
            DataType::Int64 => Ok(Self::of(column.as_primitive::<Int64Type>().values())),
            other => Err(Error::invalid_argument(format!(
                "group column {name:?} must be text or 64-bit integers, found {other}"
            ))
            .with("column", name)),
        }
    }

    /// Number of groups.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.of_row.len()
    }

    /// The group of each row.
    #[must_use]
    pub fn of_row(&self) -> &[usize] {
        &self.of_row
    }

    /// The rows of each group, ascending.
    #[must_use]
    pub fn members(&self) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.count];
        for (row, group) in self.of_row.iter().enumerate() {
            if let Some(rows) = members.get_mut(*group) {
                rows.push(row);
            }
        }
        members
    }

    /// The part of each row, from the part of each group.
    pub(super) fn parts(&self, part_of_group: &[usize]) -> Vec<usize> {
        self.of_row.iter().map(|group| part_of_group.get(*group).copied().unwrap_or(usize::MAX)).collect()
    }

    pub(super) fn check_folds(&self, folds: usize) -> Result<()> {
        if (2..=self.count).contains(&folds) {
            return Ok(());
        }
        Err(Error::invalid_argument(format!(
            "folds must be from 2 to the number of groups ({}), found {folds}",
            self.count
        )))
    }

    pub(super) fn check_rows(&self, rows: usize) -> Result<()> {
        if rows == self.rows() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!(
            "groups were given for {} rows, the dataset has {rows}; give one group per row",
            self.rows()
        )))
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Float64Array, Int64Array, StringArray};

    use super::*;

    #[test]
    fn columns_are_grouped_by_value() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["b", "a", "b"]));
        let number: ArrayRef = Arc::new(Int64Array::from(vec![7, -1, 7]));
        assert_eq!(Groups::of_column("g", &text).unwrap(), Groups::of_column("g", &number).unwrap());
        let null: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), None]));
        let error = Groups::of_column("patient", &null).unwrap_err();
        assert!(error.message().contains("patient"), "{error}");
        let float: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
        assert!(Groups::of_column("g", &float).is_err());
    }
}
