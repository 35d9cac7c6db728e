//! Weights of rows that make groups and labels independent (Kamiran and Calders, KAIS 33, 2012).

use std::collections::BTreeMap;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The weight of each group and label: `P(group) P(label) / P(group, label)`. Training with them
/// sees, in every group, the same share of positives.
///
/// ```
/// use mlops_train::fairness::Reweighing;
///
/// let (groups, labels) = (["a", "a", "a", "b"], [1.0, 1.0, 0.0, 0.0]);
/// let reweighing = Reweighing::fit(&groups, &labels)?;
/// assert_eq!(reweighing.weights(&groups, &labels)?, [0.75, 0.75, 1.5, 0.5]);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reweighing {
    /// Weights of label 0 and label 1 by group; `None` for a label that a group has not.
    groups: BTreeMap<String, [Option<f64>; 2]>,
}

fn class_of(label: f64) -> Result<usize> {
    match label {
        0.0 => Ok(0),
        1.0 => Ok(1),
        _ => Err(Error::invalid_argument(format!("reweighing needs labels 0 and 1, found {label}"))),
    }
}

impl Reweighing {
    /// Counts groups and labels.
    ///
    /// # Errors
    /// `InvalidArgument` when lengths differ or are zero or a label is not 0 or 1.
    pub fn fit<G: AsRef<str>>(groups: &[G], labels: &[f64]) -> Result<Self> {
        if groups.is_empty() || groups.len() != labels.len() {
            return Err(Error::invalid_argument("reweighing needs as many groups as labels, and at least one"));
        }
        let mut counts: BTreeMap<&str, [f64; 2]> = BTreeMap::new();
        let mut of_label = [0.0; 2];
        for (group, label) in groups.iter().zip(labels) {
            let class = class_of(*label)?;
            let cells = counts.entry(group.as_ref()).or_default();
            if let (Some(cell), Some(sum)) = (cells.get_mut(class), of_label.get_mut(class)) {
                *cell += 1.0;
                *sum += 1.0;
            }
        }
        let n = labels.len() as f64;
        let weights = |cells: [f64; 2]| {
            let of_group = cells[0] + cells[1];
            let weight = |both: f64, of_label: f64| (both > 0.0).then(|| of_group * of_label / (n * both));
            [weight(cells[0], of_label[0]), weight(cells[1], of_label[1])]
        };
        Ok(Self { groups: counts.into_iter().map(|(group, cells)| (group.to_owned(), weights(cells))).collect() })
    }

    /// The weight of one group and label.
    ///
    /// # Errors
    /// `NotFound` for a group, or a label in it, that was not seen; `InvalidArgument` for a label
    /// that is not 0 or 1.
    pub fn weight(&self, group: &str, label: f64) -> Result<f64> {
        let class = class_of(label)?;
        let weight = self.groups.get(group).and_then(|weights| weights.get(class).copied().flatten());
        weight.ok_or_else(|| {
            Error::not_found(format!("group {group:?} had no row of label {label} when weights were made"))
                .with("group", group)
        })
    }

    /// The weight of each row.
    ///
    /// # Errors
    /// As [`Reweighing::weight`]; `InvalidArgument` when lengths differ.
    pub fn weights<G: AsRef<str>>(&self, groups: &[G], labels: &[f64]) -> Result<Vec<f64>> {
        if groups.len() != labels.len() {
            return Err(Error::invalid_argument("reweighing needs as many groups as labels"));
        }
        groups.iter().zip(labels).map(|(group, label)| self.weight(group.as_ref(), *label)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weighted_groups_have_one_share_of_positives() {
        let groups: Vec<&str> = (0..90).map(|row| ["a", "b", "c"][row * row % 5 % 3]).collect();
        let labels: Vec<f64> = (0..90).map(|row| f64::from(u8::from(row % 7 < 3 || row % 5 == 1))).collect();
        let weights = Reweighing::fit(&groups, &labels).unwrap().weights(&groups, &labels).unwrap();
        assert!((weights.iter().sum::<f64>() - 90.0).abs() < 1e-9);
        let share = |wanted: &str| {
            let rows = || groups.iter().zip(&labels).zip(&weights).filter(|((group, _), _)| **group == wanted);
            rows().map(|((_, label), weight)| label * weight).sum::<f64>() / rows().map(|(_, w)| w).sum::<f64>()
        };
        assert!((share("a") - share("b")).abs() < 1e-12);
    }

    #[test]
    fn unknown_groups_are_refused() {
        let reweighing = Reweighing::fit(&["a"], &[1.0]).unwrap();
        assert!(reweighing.weight("b", 1.0).is_err() && reweighing.weight("a", 0.0).is_err());
        assert!(Reweighing::fit(&["a"], &[0.5]).is_err() && Reweighing::fit(&["a", "b"], &[1.0]).is_err());
    }
}
