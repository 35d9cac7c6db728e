//! Figures of one column: extremes, mean, median, deviation, sum, quantiles, entropy.
//!
//! Invariant: without values there is no figure, and the rule fails; NaN among the values makes
//! every figure but counts NaN, which lies within no limits.

use arrow_schema::DataType as ArrowType;
use serde_json::{Value as Json, json};

use super::{
    Check, Finding,
    column::{Column, Lane},
    exception::Checked,
    frame::Frame,
    identity, json as values, literal, nulls,
    scan::{Needs, Scan},
    sets,
};
use crate::{
    quality::expectation::{Expectation, Interpolation, Limits, QuantileLimits},
    stats::{self, count_of, float},
};

/// A rule that a shared scan answers.
#[derive(Debug)]
pub(super) struct ScanCheck {
    expectation: Expectation,
    scan: usize,
}

impl ScanCheck {
    pub(super) fn new(expectation: &Expectation, scan: usize) -> Self {
        Self { expectation: expectation.clone(), scan }
    }
}

/// What a rule wants of a scan, and of which column; `None` for rules that scans do not answer.
pub(super) fn needs(expectation: &Expectation) -> Option<(&str, Needs)> {
    let none = Needs::default();
    let needs = match expectation {
        Expectation::Completeness(_) => none,
        Expectation::Unique { .. } => Needs { counts: true, repeats: true, ..none },
        Expectation::Uniqueness(_)
        | Expectation::Distinctness(_)
        | Expectation::UniqueValueRatio(_)
        | Expectation::DistinctCount(_)
        | Expectation::DistinctEqualSet { .. }
        | Expectation::DistinctContainSet { .. }
        | Expectation::DistinctInSet { .. }
        | Expectation::MostCommonInSet { .. }
        | Expectation::Entropy(_) => Needs { counts: true, ..none },
        Expectation::Min(_) | Expectation::Max(_) => Needs { extrema: true, ..none },
        Expectation::Mean(_) | Expectation::Stdev { .. } => Needs { moments: true, ..none },
        Expectation::Sum(_) => Needs { sum: true, ..none },
        Expectation::Median(_) | Expectation::Quantiles { .. } => Needs { values: true, ..none },
        _ => return None,
    };
    expectation.column().map(|column| (column, needs))
}

impl Check for ScanCheck {
    fn observe(&mut self, _: &Frame<'_>) -> Checked<()> {
        Ok(())
    }

    fn finish(&mut self, scans: &[Scan], _: u64) -> Checked<Finding> {
        let Some(scan) = scans.get(self.scan) else { return Ok(Finding::default()) };
        scan.rows()?;
        match &self.expectation {
            Expectation::Completeness(limits) => nulls::completeness(scan, limits),
            Expectation::Min(limits) => value(scan.extrema()?.map(|extrema| &extrema.least), limits),
            Expectation::Max(limits) => value(scan.extrema()?.map(|extrema| &extrema.greatest), limits),
            Expectation::Sum(limits) => value(scan.sum()?.as_column()?.as_ref(), limits),
            Expectation::Mean(limits) => figure((scan.moments()?.n > 0).then_some(scan.moments()?.mean), limits),
            Expectation::Stdev { limits, ddof } => figure(scan.moments()?.stdev(*ddof), limits),
            Expectation::Median(limits) => figure(median(scan.values()?), limits),
            Expectation::Quantiles { quantiles, interpolation, .. } => {
                Ok(judge_quantiles(scan.values()?, quantiles, *interpolation))
            }
            Expectation::Entropy(limits) => {
                let counts: Vec<u64> = scan.counter()?.tallies().map(|tally| tally.count).collect();
                figure((!counts.is_empty()).then(|| entropy(&counts)), limits)
            }
            other => match sets::judge(scan, other)? {
                Some(finding) => Ok(finding),
                None => identity::judge(scan, other),
            },
        }
    }
}

/// A figure within limits.
pub(super) fn figure(figure: Option<f64>, limits: &Limits) -> Checked<Finding> {
    let Some(figure) = figure else { return Ok(nothing()) };
    let column = Column::single(Lane::Float(vec![figure].into()), ArrowType::Float64);
    Ok(Finding::of_figure(literal::within(&column, limits)?.value(0), values::float(figure)))
}

/// A count within limits.
pub(super) fn count(count: u64, limits: &Limits) -> Checked<Finding> {
    let column = Column::single(
        Lane::Wide(vec![i128::from(count)], super::column::Meaning::Number { scale: 0 }),
        ArrowType::UInt64,
    );
    Ok(Finding::of_figure(literal::within(&column, limits)?.value(0), count.into()))
}

/// A value out of the data, or a sum of them, within limits.
fn value(column: Option<&Column>, limits: &Limits) -> Checked<Finding> {
    let Some(column) = column else { return Ok(nothing()) };
    Ok(Finding::of_values(literal::within(column, limits)?.value(0), column.json(0)))
}

fn nothing() -> Finding {
    Finding::of_figure(false, Json::Null).with_detail("there is no value to judge")
}

fn median(values: &[f64]) -> Option<f64> {
    let mut ascending = ascending(values)?;
    stats::quantile(&std::mem::take(&mut ascending), 0.5)
}

/// The values in order; only NaN when one is.
fn ascending(values: &[f64]) -> Option<Vec<f64>> {
    if values.iter().any(|value| value.is_nan()) {
        return Some(vec![f64::NAN]);
    }
    let mut ascending = values.to_vec();
    ascending.sort_unstable_by(f64::total_cmp);
    (!ascending.is_empty()).then_some(ascending)
}

fn judge_quantiles(values: &[f64], wanted: &[QuantileLimits], interpolation: Interpolation) -> Finding {
    let Some(ascending) = ascending(values) else { return nothing() };
    let found: Vec<Option<f64>> =
        wanted.iter().map(|wanted| quantile(&ascending, wanted.quantile, interpolation)).collect();
    let inside = |(limits, found): (&QuantileLimits, &Option<f64>)| {
        found
            .is_some_and(|found| limits.min.is_none_or(|min| min <= found) && limits.max.is_none_or(|max| found <= max))
    };
    let success = wanted.iter().zip(&found).all(inside);
    let quantiles: Vec<f64> = wanted.iter().map(|wanted| wanted.quantile).collect();
    let shown: Vec<Json> = found.iter().map(|found| found.map_or(Json::Null, values::float)).collect();
    Finding::of_values(success, json!({ "quantiles": quantiles, "values": shown }))
}

/// One quantile at position (n - 1) q, between order statistics as named.
fn quantile(ascending: &[f64], q: f64, interpolation: Interpolation) -> Option<f64> {
    let position = float(count_of(ascending.len()).checked_sub(1)?) * q;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= position <= n - 1")]
    let at = |position: f64| ascending.get(position as usize).copied();
    match interpolation {
        Interpolation::Linear => stats::quantile(ascending, q),
        Interpolation::Lower => at(position.floor()),
        Interpolation::Higher => at(position.ceil()),
        Interpolation::Nearest => at(position.round_ties_even()),
        Interpolation::Midpoint => Some(at(position.floor())?.midpoint(at(position.ceil())?)),
    }
}

/// Shannon's entropy -sum p ln p, in nats.
pub(super) fn entropy(counts: &[u64]) -> f64 {
    let total = float(stats::total_of(counts));
    let term = |count: &u64| {
        let share = float(*count) / total;
        -share * share.ln()
    };
    // Without values -0 would be shown.
    counts.iter().map(term).sum::<f64>().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// numpy 2.4.6 `quantile([1, 2, 4, 8], q, method=...)`.
    #[test]
    fn quantiles_are_numpy_s() {
        let values = [1.0, 2.0, 4.0, 8.0];
        let check = |interpolation, expected: [f64; 3]| {
            let found = [0.1, 0.5, 0.9].map(|q| quantile(&values, q, interpolation).unwrap());
            for (found, expected) in found.into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-12, "{interpolation:?} {found} {expected}");
            }
        };
        check(Interpolation::Linear, [1.3, 3.0, 6.8]);
        check(Interpolation::Lower, [1.0, 2.0, 4.0]);
        check(Interpolation::Higher, [2.0, 4.0, 8.0]);
        check(Interpolation::Nearest, [1.0, 4.0, 8.0]);
        check(Interpolation::Midpoint, [1.5, 3.0, 6.0]);
        assert_eq!(quantile(&[], 0.5, Interpolation::Linear), None);
    }

    #[test]
    fn entropy_of_even_counts_is_the_logarithm() {
        assert!((entropy(&[5, 5, 5, 5]) - 4.0_f64.ln()).abs() < 1e-15);
        assert_eq!(entropy(&[7]), 0.0);
    }
}
