//! Which inputs of a model become known together.

use mlops_core::{Error, Result, Signature};

/// Inputs in groups, such as the columns of one one-hot encoded category. An input in no group is
/// one of its own; an input of several numbers per row is never split.
///
/// ```
/// use mlops_train::explain::FeatureGroups;
///
/// let groups = FeatureGroups::new().with_group("plan", ["plan_free", "plan_paid"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeatureGroups {
    groups: Vec<(String, Vec<String>)>,
}

/// A group with the places of its inputs in the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) inputs: Vec<usize>,
}

impl FeatureGroups {
    /// Every input for itself.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These inputs under one name.
    #[must_use]
    pub fn with_group<N: Into<String>>(mut self, name: impl Into<String>, inputs: impl IntoIterator<Item = N>) -> Self {
        self.groups.push((name.into(), inputs.into_iter().map(Into::into).collect()));
        self
    }

    /// The groups of a model's inputs, in the order of each one's first input.
    ///
    /// # Errors
    /// `InvalidArgument` naming a group without inputs, an input that the model does not have, or
    /// one that is in two groups.
    pub(super) fn resolve(&self, signature: &Signature) -> Result<Vec<Group>> {
        let inputs = signature.inputs();
        let mut taken: Vec<Option<usize>> = vec![None; inputs.len()];
        for (group, (name, members)) in self.groups.iter().enumerate() {
            if members.is_empty() {
                return Err(Error::invalid_argument(format!("feature group {name:?} has no inputs")));
            }
            for member in members {
                let place = inputs.iter().position(|input| input.name == *member);
                match place.and_then(|place| taken.get_mut(place)) {
                    Some(owner @ None) => *owner = Some(group),
                    Some(Some(_)) => {
                        return Err(Error::invalid_argument(format!("input {member:?} is in two feature groups")));
                    }
                    None => {
                        let message = format!("feature group {name:?} names input {member:?}, which the model has not");
                        return Err(Error::invalid_argument(message));
                    }
                }
            }
        }
        let mut resolved: Vec<(Option<usize>, Group)> = Vec::new();
        for (place, (input, owner)) in inputs.iter().zip(&taken).enumerate() {
            match resolved.iter_mut().find(|(known, _)| owner.is_some() && known == owner) {
                Some((_, group)) => group.inputs.push(place),
                None => {
                    let name = owner.and_then(|owner| self.groups.get(owner)).map_or(&input.name, |(name, _)| name);
                    resolved.push((*owner, Group { name: name.clone(), inputs: vec![place] }));
                }
            }
        }
        Ok(resolved.into_iter().map(|(_, group)| group).collect())
    }
}

#[cfg(test)]
mod tests {
    use mlops_core::{DataType, TensorSpec};

    use super::*;

    #[test]
    fn groups_keep_the_order_of_inputs_and_faults_are_named() {
        let column = |name: &str| TensorSpec::column(name, DataType::Float64);
        let signature = Signature::new(["a", "b", "c", "d"].map(column), [column("y")]).unwrap();
        let groups = FeatureGroups::new().with_group("g", ["d", "b"]).resolve(&signature).unwrap();
        let found: Vec<(&str, &[usize])> = groups.iter().map(|group| (&*group.name, &*group.inputs)).collect();
        assert_eq!(found, [("a", &[0][..]), ("g", &[1, 3]), ("c", &[2])]);
        for (groups, word) in [
            (FeatureGroups::new().with_group("g", ["z"]), "\"z\""),
            (FeatureGroups::new().with_group("g", ["a"]).with_group("h", ["a"]), "two"),
            (FeatureGroups::new().with_group("g", Vec::<String>::new()), "no inputs"),
        ] {
            assert!(groups.resolve(&signature).unwrap_err().message().contains(word));
        }
    }
}
