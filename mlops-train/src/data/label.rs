//! The label column: what is to be predicted, as numbers.
//!
//! Invariant: labels are finite; of a classification they are 0 or 1 and the classes they stand
//! for are kept by name.

use std::collections::BTreeSet;

use arrow_array::{Array, ArrayRef};
use mlops_core::{DataType, Error, Result};
use serde::{Deserialize, Serialize};

use super::column::{numbers, texts};

/// What kind of label is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// One of two classes; models give the probability of the positive one.
    BinaryClassification,
    /// A real number.
    Regression,
}

/// Checked labels.
#[derive(Debug, Clone)]
pub(crate) struct Labels {
    pub(crate) values: Vec<f64>,
    /// Names of the negative and the positive class.
    pub(crate) classes: Option<[String; 2]>,
}

/// Reads labels of a regression.
///
/// # Errors
/// `InvalidArgument` naming the column when it is no number, has nulls or is not finite.
pub(crate) fn regression(name: &str, array: &ArrayRef) -> Result<Labels> {
    Ok(Labels { values: finite(name, array)?, classes: None })
}

/// Reads labels of two classes: booleans, two numbers (the larger is positive) or two texts (the
/// later in order is positive unless `positive` names one).
///
/// # Errors
/// `InvalidArgument` naming the column when it has nulls, one class or more than two.
pub(crate) fn classification(name: &str, array: &ArrayRef, positive: Option<&str>) -> Result<Labels> {
    let names: Vec<String> = match DataType::from_arrow(array.data_type()) {
        Ok(DataType::String) => {
            no_nulls(name, array)?;
            texts(name, array)?.into_iter().flatten().map(str::to_owned).collect()
        }
        Ok(DataType::Bool) => finite(name, array)?.iter().map(|&v| (v > 0.5).to_string()).collect(),
        _ => return two_numbers(name, &finite(name, array)?, positive),
    };
    two_classes(name, &names, positive)
}

fn no_nulls(name: &str, array: &ArrayRef) -> Result<()> {
    match array.null_count() {
        0 => Ok(()),
        nulls => Err(Error::invalid_argument(format!(
            "label column {name:?} has {nulls} nulls; drop the rows whose label is not known yet"
        ))),
    }
}

fn finite(name: &str, array: &ArrayRef) -> Result<Vec<f64>> {
    no_nulls(name, array)?;
    let values = numbers(name, array)?;
    match values.iter().filter(|value| value.is_nan()).count() {
        0 => Ok(values),
        count => Err(Error::invalid_argument(format!("label column {name:?} has {count} values that are not finite"))),
    }
}

fn two_numbers(name: &str, values: &[f64], positive: Option<&str>) -> Result<Labels> {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if let Some(other) = values.iter().position(|&value| value != low && value != high) {
        return Err(Error::invalid_argument(format!(
            "label column {name:?} has more than two values (row {other} has a third); use TableDataset::regression or derive two classes"
        )));
    }
    let names = [low, high].map(|value| value.to_string());
    let [low_name, high_name] = names.clone();
    two_classes(name, &names, Some(positive.unwrap_or(&high_name)))?;
    let (positive_value, classes) = match positive {
        Some(class) if class == low_name => (low, [high_name, low_name]),
        _ => (high, names),
    };
    let labels = values.iter().map(|&value| f64::from(u8::from(value == positive_value))).collect();
    Ok(Labels { values: labels, classes: Some(classes) })
}

fn two_classes(name: &str, names: &[String], positive: Option<&str>) -> Result<Labels> {
    let distinct: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let mut ordered = distinct.iter();
    let (Some(&first), Some(&second), None) = (ordered.next(), ordered.next(), ordered.next()) else {
        return Err(Error::invalid_argument(format!(
            "label column {name:?} must have two classes, found {}",
            distinct.len()
        )));
    };
    let (negative, positive) = match positive {
        None => (first, second),
        Some(class) if class == second => (first, second),
        Some(class) if class == first => (second, first),
        Some(class) => {
            return Err(Error::invalid_argument(format!("label column {name:?} has no class {class:?}")));
        }
    };
    let values = names.iter().map(|class| f64::from(u8::from(class == positive))).collect();
    Ok(Labels { values, classes: Some([negative.to_owned(), positive.to_owned()]) })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{BooleanArray, Float64Array, Int64Array, StringArray};

    use super::*;

    fn array(array: impl Array + 'static) -> ArrayRef {
        Arc::new(array)
    }

    fn check(array: &ArrayRef, positive: Option<&str>, values: &[f64], classes: [&str; 2]) {
        let labels = classification("y", array, positive).unwrap();
        assert_eq!(labels.values, values);
        assert_eq!(labels.classes.unwrap(), classes);
    }

    #[test]
    fn two_classes_of_any_type() {
        check(&array(BooleanArray::from(vec![true, false])), None, &[1.0, 0.0], ["false", "true"]);
        check(&array(Int64Array::from(vec![0, 1, 1])), None, &[0.0, 1.0, 1.0], ["0", "1"]);
        check(&array(Int64Array::from(vec![10, 9])), None, &[1.0, 0.0], ["9", "10"]);
        check(&array(Float64Array::from(vec![-1.0, 1.0])), Some("-1"), &[1.0, 0.0], ["1", "-1"]);
        check(&array(StringArray::from(vec!["no", "yes"])), None, &[0.0, 1.0], ["no", "yes"]);
        check(&array(StringArray::from(vec!["good", "bad"])), Some("bad"), &[0.0, 1.0], ["good", "bad"]);
    }

    fn refused(array: &ArrayRef, positive: Option<&str>, expected: &str) {
        let error = classification("y", array, positive).unwrap_err();
        assert!(error.message().contains("\"y\"") && error.message().contains(expected), "{error}");
    }

    #[test]
    fn bad_labels_are_named() {
        refused(&array(Int64Array::from(vec![1, 1])), None, "found 1");
        refused(&array(StringArray::from(vec!["a", "b", "c"])), None, "found 3");
        refused(&array(Int64Array::from(vec![0, 1, 2])), None, "more than two");
        refused(&array(Int64Array::from(vec![Some(1), None])), None, "1 nulls");
        refused(&array(Float64Array::from(vec![0.0, f64::NAN])), None, "not finite");
        refused(&array(StringArray::from(vec!["a", "b"])), Some("z"), "no class \"z\"");
    }
}
