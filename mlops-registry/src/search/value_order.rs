//! Doubles as integers of the same order, by which a database finds and sorts values that it keeps as bits.

use crate::bound::Bound;

/// The order of NaN: after every number.
pub(crate) const NAN_ORDER: i64 = i64::MAX - 1;
/// The order of what is missing: after NaN.
pub(crate) const MISSING_ORDER: i64 = i64::MAX;

/// An integer that orders values as numbers: both zeros are equal, NaN comes last.
pub(crate) fn order_of(value: f64) -> i64 {
    if value.is_nan() {
        return NAN_ORDER;
    }
    let bits = if value == 0.0 { 0 } else { value.to_bits().cast_signed() };
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// A comparison of the column `value_order` of a row with a number.
pub(crate) fn value_test(row: &str, operator: &str, value: f64, bound: &mut Bound) -> String {
    let order = bound.add(order_of(value));
    match operator {
        "!=" => format!("{row}.value_order <> {order}"),
        // NaN differs from every number and compares with none.
        ">" | ">=" => format!("({row}.value_order {operator} {order} AND {row}.value_order < {NAN_ORDER})"),
        _ => format!("{row}.value_order {operator} {order}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_ordered_as_numbers() {
        let ascending =
            [f64::NEG_INFINITY, f64::MIN, -1.0, -1e-300, 0.0, 1e-300, 1.0, f64::MAX, f64::INFINITY, f64::NAN];
        let orders: Vec<i64> = ascending.into_iter().map(order_of).collect();
        assert!(orders.is_sorted_by(|a, b| a < b), "{orders:?}");
        assert_eq!(order_of(-0.0), order_of(0.0));
        assert_eq!((order_of(-f64::NAN), order_of(f64::NAN)), (NAN_ORDER, NAN_ORDER));
        const { assert!(MISSING_ORDER > NAN_ORDER) };
    }
}
