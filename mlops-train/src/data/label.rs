//! The label column: what is to be predicted, as numbers.
//!
//! Invariant: labels are finite; of a classification they are 0 or 1 and the classes they stand
//! for are kept by name.

use std::collections::BTreeSet;

use arrow_array::{Array, ArrayRef};
use mlops_core::{DataType, Error, Result};
use serde::{Deserialize, Serialize};

use super::column::{numbers, texts, value_type};

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
/// `InvalidArgument` naming the column when it has nulls, whole numbers of 2^53 and beyond, one class or more than two.
pub(crate) fn classification(name: &str, array: &ArrayRef, positive: Option<&str>) -> Result<Labels> {
    match texts_of(name, array)? {
        Some(names) => two_classes(name, &names, positive),
        None => two_numbers(name, &told_apart(name, array)?, positive),
    }
}

/// The distinct values of a label column by name, and which one each row has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Classes {
    /// Numbers in ascending order, texts and switches by name.
    pub(crate) names: Vec<String>,
    pub(crate) of_row: Vec<usize>,
}

impl Classes {
    /// Reads a column of texts, switches or numbers.
    ///
    /// # Errors
    /// `InvalidArgument` naming the column when it has nulls, numbers that are not finite, or whole numbers of 2^53 and
    /// beyond.
    pub(crate) fn of(name: &str, array: &ArrayRef) -> Result<Self> {
        if let Some(names) = texts_of(name, array)? {
            return Ok(Self::among(&names, |a, b| a.cmp(b), Clone::clone));
        }
        // Adding zero makes one of the two zeros.
        let numbers: Vec<f64> = told_apart(name, array)?.into_iter().map(|value| value + 0.0).collect();
        Ok(Self::among(&numbers, f64::total_cmp, f64::to_string))
    }

    fn among<T>(values: &[T], order: impl Fn(&T, &T) -> std::cmp::Ordering, name: impl Fn(&T) -> String) -> Self {
        let mut distinct: Vec<&T> = values.iter().collect();
        distinct.sort_unstable_by(|a, b| order(a, b));
        distinct.dedup_by(|a, b| order(a, b).is_eq());
        let place = |value| distinct.partition_point(|other| order(other, value).is_lt());
        Self { of_row: values.iter().map(place).collect(), names: distinct.iter().map(|value| name(value)).collect() }
    }

    /// Whether each row has this one.
    pub(crate) fn is(&self, class: usize) -> Vec<bool> {
        self.of_row.iter().map(|own| *own == class).collect()
    }
}

/// The distinct values of a label column of texts, switches or numbers by name: numbers in ascending order, else by
/// name.
///
/// # Errors
/// `InvalidArgument` naming the column when it has nulls, numbers that are not finite, or whole numbers of 2^53 and
/// beyond.
pub fn label_classes(name: &str, column: &ArrayRef) -> Result<Vec<String>> {
    Classes::of(name, column).map(|classes| classes.names)
}

/// The names of classes that are texts or switches; none of numbers.
fn texts_of(name: &str, array: &ArrayRef) -> Result<Option<Vec<String>>> {
    Ok(match value_type(array.data_type()) {
        Ok(DataType::String) => {
            no_nulls(name, array)?;
            Some(texts(name, array)?.into_iter().flatten().map(str::to_owned).collect())
        }
        Ok(DataType::Bool) => Some(finite(name, array)?.iter().map(|&v| (v > 0.5).to_string()).collect()),
        _ => None,
    })
}

fn no_nulls(name: &str, array: &ArrayRef) -> Result<()> {
    match array.logical_null_count() {
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

/// Numbers that stand for classes: whole ones that are one double would be one class.
fn told_apart(name: &str, array: &ArrayRef) -> Result<Vec<f64>> {
    let values = finite(name, array)?;
    let is_long = matches!(value_type(array.data_type()), Ok(DataType::Int64 | DataType::UInt64));
    if is_long && values.iter().any(|value| value.abs() >= 2.0_f64.powi(53)) {
        return Err(Error::invalid_argument(format!(
            "label column {name:?} has classes of 2^53 or beyond, which doubles do not tell apart; make them text"
        ))
        .with("column", name));
    }
    Ok(values)
}

fn two_numbers(name: &str, values: &[f64], positive: Option<&str>) -> Result<Labels> {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if let Some(other) = values.iter().position(|&value| value != low && value != high) {
        return Err(Error::invalid_argument(format!(
            "label column {name:?} has more than two values (row {other} has a third); use \
             TableDataset::regression for numbers and OneVsRestTrainer for classes"
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
        let found = match (distinct.len(), distinct.first()) {
            (1, Some(class)) => format!("1, {class:?}, in all rows"),
            (several, _) => format!("{several}; OneVsRestTrainer learns more"),
        };
        return Err(Error::invalid_argument(format!("label column {name:?} must have two classes, found {found}")));
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
    fn several_classes_are_numbered_in_order() {
        let check = |array: &ArrayRef, names: &[&str], of_row: &[usize]| {
            let classes = Classes::of("y", array).unwrap();
            assert_eq!(
                (classes.names, classes.of_row),
                (names.iter().map(|n| (*n).to_owned()).collect(), of_row.into())
            );
        };
        check(&array(Int64Array::from(vec![10, 9, -1, 9])), &["-1", "9", "10"], &[2, 1, 0, 1]);
        check(&array(Float64Array::from(vec![0.5, 2.0])), &["0.5", "2"], &[0, 1]);
        check(&array(StringArray::from(vec!["b", "a", "b"])), &["a", "b"], &[1, 0, 1]);
        check(&array(BooleanArray::from(vec![true, false])), &["false", "true"], &[1, 0]);
        assert!(Classes::of("y", &array(Int64Array::from(vec![Some(1), None]))).is_err());
        assert!(Classes::of("y", &array(StringArray::from(vec![Some("a"), None]))).is_err());
    }

    #[test]
    fn bad_labels_are_named() {
        refused(&array(Int64Array::from(vec![1, 1])), None, "found 1");
        refused(&array(StringArray::from(vec!["a", "b", "c"])), None, "found 3");
        refused(&array(Int64Array::from(vec![0, 1, 2])), None, "more than two");
        refused(&array(Int64Array::from(vec![Some(1), None])), None, "1 nulls");
        refused(&array(Float64Array::from(vec![0.0, f64::NAN])), None, "not finite");
        refused(&array(StringArray::from(vec!["a", "b"])), Some("z"), "no class \"z\"");
        let long = array(Int64Array::from(vec![0, 1 << 53, (1 << 53) + 1]));
        refused(&long, None, "2^53");
        assert!(Classes::of("y", &long).unwrap_err().message().contains("2^53"));
        assert_eq!(Classes::of("y", &array(Int64Array::from(vec![0, (1 << 53) - 1]))).unwrap().names.len(), 2);
    }
}
