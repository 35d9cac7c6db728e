//! How two columns depend on each other: correlation, mutual information, Cramer's V.
//!
//! Invariant: over the rows where both have a value; memory is bounded by `distinct_max` pairs.

use arrow_schema::DataType as ArrowType;

use super::{
    Check, Finding,
    aggregates::entropy,
    column::{Column, Lane},
    distinct::Counter,
    exception::Checked,
    frame::{FilterId, Frame},
    json, mask,
    pairs::Rows,
    scan::Scan,
};
use crate::{
    quality::{
        expectation::{Expectation, IgnoreRowIf, PairLimits},
        settings::ValidationSettings,
    },
    stats::float,
};

#[derive(Debug)]
pub(super) struct Association {
    limits: PairLimits,
    filter: Option<FilterId>,
    measure: Measure,
}

#[derive(Debug)]
enum Measure {
    Correlation(CoMoments),
    Information(Box<Table>),
    Phi(Box<Table>),
}

/// Counts of levels of both columns and of their pairs.
#[derive(Debug)]
struct Table {
    a: Counter,
    b: Counter,
    pairs: Counter,
}

/// Means and co-moments, merged batch by batch (Pebay, SAND2008-6212).
#[derive(Debug, Default, Clone, Copy)]
struct CoMoments {
    n: u64,
    mean_a: f64,
    mean_b: f64,
    aa: f64,
    bb: f64,
    ab: f64,
}

impl Association {
    /// The check of a rule about two columns as a whole; `None` for other rules.
    pub(super) fn of(
        expectation: &Expectation,
        filter: Option<FilterId>,
        settings: &ValidationSettings,
    ) -> Option<Self> {
        let table = || {
            let counter = || Counter::new(settings);
            Box::new(Table { a: counter(), b: counter(), pairs: counter() })
        };
        let measure = match expectation {
            Expectation::Correlation(_) => Measure::Correlation(CoMoments::default()),
            Expectation::MutualInformation(_) => Measure::Information(table()),
            Expectation::CramersPhi(_) => Measure::Phi(table()),
            _ => return None,
        };
        Some(Self { limits: expectation.pair_limits()?.clone(), filter, measure })
    }
}

impl Check for Association {
    fn observe(&mut self, frame: &Frame<'_>) -> Checked<()> {
        let names = [self.limits.a.clone(), self.limits.b.clone()];
        let rows = Rows::of(frame, &names, IgnoreRowIf::AnyMissing, self.filter)?;
        let [a, b] = rows.columns.as_slice() else { return Ok(()) };
        match &mut self.measure {
            Measure::Correlation(moments) => {
                if rows.counted.as_ref().is_some_and(|counted| !counted.has_true()) {
                    return Ok(());
                }
                let (a, b) = (a.doubles()?, b.doubles()?);
                let a: Vec<f64> = mask::selected(a, rows.counted.as_ref()).copied().collect();
                let b: Vec<f64> = mask::selected(b, rows.counted.as_ref()).copied().collect();
                *moments = moments.merge(CoMoments::of(&a, &b));
                Ok(())
            }
            Measure::Information(table) | Measure::Phi(table) => {
                a.keyable().and(b.keyable())?;
                table.observe(a, b, mask::rows(rows.counted.as_ref(), frame.rows()))
            }
        }
    }

    fn finish(&mut self, _: &[Scan], _: u64) -> Checked<Finding> {
        let figure = match &self.measure {
            Measure::Correlation(moments) => moments.correlation(),
            Measure::Information(table) => table.information(),
            Measure::Phi(table) => table.phi(),
        };
        let Some(figure) = figure else {
            return Ok(
                Finding::of_figure(false, serde_json::Value::Null).with_detail("too few different values to judge")
            );
        };
        let column = Column::single(Lane::Float(vec![figure].into()), ArrowType::Float64);
        let value = column.doubles()?.first().copied().unwrap_or(f64::NAN);
        let success = self.limits.min.is_none_or(|min| min <= value) && self.limits.max.is_none_or(|max| value <= max);
        Ok(Finding::of_figure(success && !value.is_nan(), json::float(value)))
    }
}

impl CoMoments {
    fn of(a: &[f64], b: &[f64]) -> Self {
        let n = a.len().min(b.len()) as u64;
        if n == 0 {
            return Self::default();
        }
        let mean = |values: &[f64]| crate::stats::sum(values.iter().copied()) / float(n);
        let (mean_a, mean_b) = (mean(a), mean(b));
        let product = |x: &[f64], mean_x: f64, y: &[f64], mean_y: f64| {
            crate::stats::sum(x.iter().zip(y).map(|(x, y)| (x - mean_x) * (y - mean_y)))
        };
        let (aa, bb) = (product(a, mean_a, a, mean_a), product(b, mean_b, b, mean_b));
        Self { n, mean_a, mean_b, aa, bb, ab: product(a, mean_a, b, mean_b) }
    }

    fn merge(self, other: Self) -> Self {
        if self.n == 0 || other.n == 0 {
            return if self.n == 0 { other } else { self };
        }
        let (n, m) = (float(self.n), float(other.n));
        let (delta_a, delta_b) = (other.mean_a - self.mean_a, other.mean_b - self.mean_b);
        let weight = n * m / (n + m);
        Self {
            n: self.n + other.n,
            mean_a: self.mean_a + delta_a * (m / (n + m)),
            mean_b: self.mean_b + delta_b * (m / (n + m)),
            aa: self.aa + other.aa + delta_a * delta_a * weight,
            bb: self.bb + other.bb + delta_b * delta_b * weight,
            ab: self.ab + other.ab + delta_a * delta_b * weight,
        }
    }

    /// `None` when a column is constant.
    fn correlation(&self) -> Option<f64> {
        // Roots first, so that the product stays in range.
        let scale = self.aa.sqrt() * self.bb.sqrt();
        (scale != 0.0).then(|| if scale.is_nan() { f64::NAN } else { (self.ab / scale).clamp(-1.0, 1.0) })
    }
}

impl Table {
    fn observe(&mut self, a: &Column, b: &Column, rows: impl Iterator<Item = usize>) -> Checked<()> {
        let (mut key_a, mut key_b) = (Vec::new(), Vec::new());
        for row in rows {
            key_a.clear();
            key_b.clear();
            a.write_key(row, &mut key_a);
            b.write_key(row, &mut key_b);
            self.a.observe_key(&key_a, row, 0, &mut |_, _| {})?;
            self.b.observe_key(&key_b, row, 0, &mut |_, _| {})?;
            // The length of the first makes the pair unambiguous; both are looked up again by it.
            let length = (key_a.len() as u64).to_le_bytes();
            key_a.extend_from_slice(&key_b);
            key_a.extend_from_slice(&length);
            self.pairs.observe_key(&key_a, row, 0, &mut |_, _| {})?;
        }
        Ok(())
    }

    /// H(A) + H(B) - H(A, B), in nats; `None` without rows.
    fn information(&self) -> Option<f64> {
        let entropy = |counter: &Counter| entropy(&counter.tallies().map(|tally| tally.count).collect::<Vec<_>>());
        let pairs = entropy(&self.pairs);
        (self.pairs.total() > 0).then(|| (entropy(&self.a) + entropy(&self.b) - pairs).max(0.0))
    }

    /// sqrt(X^2 / (n min(r - 1, c - 1))) with Pearson's X^2 = n (sum O^2 / (R C) - 1), which needs
    /// the cells that occur alone; `None` when a column is constant.
    fn phi(&self) -> Option<f64> {
        let smaller = self.a.distinct().min(self.b.distinct()).checked_sub(1).filter(|smaller| *smaller > 0)?;
        let term = |(key, count): (&[u8], u64)| {
            let (pair, length) = key.split_last_chunk::<8>()?;
            let (a, b) = pair.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
            let (row, column) = (float(self.a.count_of(a)), float(self.b.count_of(b)));
            Some(float(count) / row * (float(count) / column))
        };
        let squares: f64 = self.pairs.tuples().map(term).sum::<Option<f64>>()?;
        Some(((squares - 1.0).max(0.0) / float(smaller)).sqrt().min(1.0))
    }
}
