//! A column of numbers: moments, quantiles, distinct values, and for whole numbers the frequent ones.
//!
//! Invariant: exact while there are at most `distinct_values_max` distinct values, however many rows. Values wait in a
//! buffer of fixed size, are sorted there once, and everything else is computed from sorted blocks, so that the result
//! does not depend on where batches begin and end.

use arrow_array::{
    Array, ArrayRef,
    cast::AsArray,
    types::{Float32Type, Float64Type, Int64Type},
};
use mlops_core::Result;

use super::{
    codec::{Reader, Writer, damaged},
    distinct::Distinct,
    frequent::Frequent,
    kll::Kll,
    moments::Moments,
    runs::Runs,
    settings::SketchSettings,
};
use crate::{extract, stats::count_of};

/// Values that are sorted at a time.
const BLOCK: usize = 4096;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Quantiles {
    Exact(Runs),
    Sketch { kll: Kll, distinct: Distinct },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Numbers {
    pub(super) nans: u64,
    pub(super) infinities: u64,
    pub(super) moments: Moments,
    pub(super) quantiles: Quantiles,
    /// Of whole numbers, once they are not exact.
    pub(super) frequent: Option<Frequent<i64>>,
    bounds: Bounds,
    /// Finite values in order-preserving form, see [`key`].
    buffer: Vec<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Bounds {
    whole: bool,
    kll_k: u16,
    distinct_values_max: usize,
    levels_max: usize,
}

/// An integer that sorts as the double does; both zeros are one.
fn key(value: f64) -> i64 {
    let bits = (value + 0.0).to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

fn value_of(key: i64) -> f64 {
    f64::from_bits((key ^ ((key >> 63).cast_unsigned() >> 1).cast_signed()).cast_unsigned())
}

#[allow(clippy::cast_possible_truncation, reason = "whole numbers beyond i64 saturate; doubles have lost them anyway")]
fn integer(value: f64) -> i64 {
    value as i64
}

impl Numbers {
    pub(super) fn new(whole: bool, settings: &SketchSettings) -> Self {
        let bounds = Bounds {
            whole,
            kll_k: settings.kll_k,
            distinct_values_max: settings.distinct_values_max as usize,
            levels_max: settings.levels_max as usize,
        };
        let quantiles = Quantiles::Exact(Runs::default());
        let moments = Moments::default();
        Self { nans: 0, infinities: 0, moments, quantiles, frequent: None, bounds, buffer: Vec::new() }
    }

    /// Takes in the values of an array; nulls are left out.
    pub(super) fn observe(&mut self, column: &ArrayRef) -> Result<()> {
        let Some(column) = extract::plain(column) else { return Ok(()) };
        if column.null_count() > 0 {
            let Some(values) = extract::numbers(&column) else { return Ok(()) };
            return self.add(&values.into_iter().flatten().collect::<Vec<f64>>());
        }
        if let Some(values) = column.as_primitive_opt::<Float64Type>() {
            return self.add(values.values());
        }
        if let Some(values) = column.as_primitive_opt::<Float32Type>() {
            return self.add(&values.values().iter().map(|value| f64::from(*value)).collect::<Vec<f64>>());
        }
        if let Some(values) = column.as_primitive_opt::<Int64Type>() {
            #[allow(clippy::cast_precision_loss, reason = "integers beyond 2^53 are rounded to the nearest double")]
            return self.add(&values.values().iter().map(|value| *value as f64).collect::<Vec<f64>>());
        }
        let Some(values) = extract::numbers(&column) else { return Ok(()) };
        self.add(&values.into_iter().flatten().collect::<Vec<f64>>())
    }

    fn add(&mut self, mut values: &[f64]) -> Result<()> {
        while !values.is_empty() {
            let room = BLOCK.saturating_sub(self.buffer.len()).min(values.len());
            let (now, later) = values.split_at(room);
            let before = self.buffer.len();
            self.buffer.extend(now.iter().filter(|value| value.is_finite()).map(|value| key(*value)));
            if self.buffer.len() - before < now.len() {
                let nans = now.iter().filter(|value| value.is_nan()).count();
                self.nans += count_of(nans);
                self.infinities += count_of(now.len() - (self.buffer.len() - before) - nans);
            }
            values = later;
            if self.buffer.len() >= BLOCK {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Empties the buffer into the summaries.
    fn flush(&mut self) -> Result<()> {
        self.buffer.sort_unstable();
        let sorted: Vec<f64> = self.buffer.iter().map(|key| value_of(*key)).collect();
        self.buffer.clear();
        self.moments.merge(&Moments::of_sorted(&sorted));
        match &mut self.quantiles {
            Quantiles::Exact(runs) => {
                runs.merge(&Runs::of_sorted(&sorted));
                if runs.len() > self.bounds.distinct_values_max { self.approximate() } else { Ok(()) }
            }
            Quantiles::Sketch { kll, distinct } => {
                kll.add_sorted(&sorted);
                if let Some(frequent) = &mut self.frequent {
                    count_whole(&Runs::of_sorted(&sorted), distinct, frequent);
                } else {
                    let mut last = f64::NAN;
                    for value in sorted {
                        if value != last {
                            distinct.add_number(value);
                        }
                        last = value;
                    }
                }
                Ok(())
            }
        }
    }

    /// Goes from exact values to sketches.
    fn approximate(&mut self) -> Result<()> {
        let Quantiles::Exact(runs) = &self.quantiles else { return Ok(()) };
        let (kll, distinct, frequent) = self.sketches_of(runs)?;
        self.quantiles = Quantiles::Sketch { kll, distinct };
        self.frequent = frequent;
        Ok(())
    }

    /// The sketches of exact values.
    fn sketches_of(&self, runs: &Runs) -> Result<(Kll, Distinct, Option<Frequent<i64>>)> {
        let mut kll = Kll::new(self.bounds.kll_k);
        kll.add_runs(runs);
        let mut distinct = Distinct::new()?;
        let mut frequent = self.bounds.whole.then(|| Frequent::new(self.bounds.levels_max));
        match &mut frequent {
            Some(frequent) => count_whole(runs, &mut distinct, frequent),
            None => runs.iter().for_each(|(value, _)| distinct.add_number(value)),
        }
        Ok((kll, distinct, frequent))
    }

    /// Quantiles, distinct and frequent values as sketches, also while all is exact.
    pub(super) fn sketches(&self) -> Result<(Kll, Distinct, Option<Frequent<i64>>)> {
        match &self.quantiles {
            Quantiles::Exact(runs) => {
                let (_, distinct, frequent) = self.sketches_of(runs)?;
                Ok((Kll::exact(runs, self.bounds.kll_k), distinct, frequent))
            }
            Quantiles::Sketch { kll, distinct } => Ok((kll.clone(), distinct.clone(), self.frequent.clone())),
        }
    }

    /// Brings the state into the one form that is stored and merged.
    pub(super) fn seal(&mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            self.flush()?;
        }
        if let Some(frequent) = &mut self.frequent {
            frequent.prune();
        }
        if let Quantiles::Sketch { distinct, .. } = &mut self.quantiles {
            *distinct = distinct.canonical()?;
        }
        self.buffer = Vec::new();
        Ok(())
    }

    /// Adds another; both are sealed.
    pub(super) fn merge(&mut self, other: &Self) -> Result<()> {
        self.nans += other.nans;
        self.infinities += other.infinities;
        self.moments.merge(&other.moments);
        if let (Quantiles::Exact(runs), Quantiles::Exact(more)) = (&mut self.quantiles, &other.quantiles) {
            runs.merge(more);
            return if runs.len() > self.bounds.distinct_values_max { self.settle() } else { Ok(()) };
        }
        self.approximate()?;
        let Quantiles::Sketch { kll, distinct } = &mut self.quantiles else { return Ok(()) };
        match &other.quantiles {
            Quantiles::Exact(runs) => {
                kll.add_runs(runs);
                let (_, more, frequent) = other.sketches_of(runs)?;
                distinct.merge(&more)?;
                merge_frequent(&mut self.frequent, frequent.as_ref());
            }
            Quantiles::Sketch { kll: more, distinct: others } => {
                kll.merge(more);
                distinct.merge(others)?;
                merge_frequent(&mut self.frequent, other.frequent.as_ref());
            }
        }
        *distinct = distinct.canonical()?;
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        self.approximate()?;
        self.seal()
    }

    pub(super) fn write(&self, to: &mut Writer) {
        to.u64(self.nans);
        to.u64(self.infinities);
        self.moments.write(to);
        match &self.quantiles {
            Quantiles::Exact(runs) => {
                to.u8(0);
                runs.write(to);
            }
            Quantiles::Sketch { kll, distinct } => {
                to.u8(1);
                to.counted(&kll.to_bytes());
                to.counted(&distinct.to_bytes());
                if let Some(frequent) = &self.frequent {
                    to.counted(&frequent.to_bytes());
                }
            }
        }
    }

    /// Reads a column with so many rows that are not null.
    pub(super) fn read(from: &mut Reader<'_>, whole: bool, settings: &SketchSettings, values: u64) -> Result<Self> {
        let mut read = Self::new(whole, settings);
        (read.nans, read.infinities) = (from.u64()?, from.u64()?);
        read.moments = Moments::read(from)?;
        let total = match from.u8()? {
            0 => {
                let runs = Runs::read(from, read.bounds.distinct_values_max)?;
                let total = runs.total();
                read.quantiles = Quantiles::Exact(runs);
                total
            }
            1 => {
                let kll = Kll::from_bytes(from.counted()?, read.bounds.kll_k)?;
                let distinct = Distinct::from_bytes(from.counted()?)?;
                let total = kll.n();
                if whole {
                    let frequent = Frequent::from_bytes(from.counted()?, read.bounds.levels_max)?;
                    if frequent.total() != total {
                        return Err(damaged("frequent values do not add up"));
                    }
                    read.frequent = Some(frequent);
                }
                read.quantiles = Quantiles::Sketch { kll, distinct };
                total
            }
            _ => return Err(damaged("a column is neither exact nor a sketch")),
        };
        let missing = read.nans.checked_add(read.infinities);
        let adds_up = missing.and_then(|missing| missing.checked_add(total)) == Some(values);
        if !adds_up || read.moments.count != total {
            return Err(damaged("values do not add up to the rows"));
        }
        Ok(read)
    }
}

fn count_whole(runs: &Runs, distinct: &mut Distinct, frequent: &mut Frequent<i64>) {
    for (value, count) in runs.iter() {
        let value = integer(value);
        // An item that is counted is in the set already.
        if frequent.add(&value, count) {
            distinct.add_integer(value);
            if frequent.is_over() {
                frequent.prune();
            }
        }
    }
}

fn merge_frequent(mine: &mut Option<Frequent<i64>>, other: Option<&Frequent<i64>>) {
    if let (Some(mine), Some(other)) = (mine, other) {
        let mut pruned = other.clone();
        pruned.prune();
        mine.prune();
        mine.merge(&pruned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_sort_as_values(a in any::<f64>(), b in any::<f64>()) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            prop_assert_eq!(key(a).cmp(&key(b)), a.partial_cmp(&b).unwrap());
            prop_assert_eq!(value_of(key(a)), a);
        }
    }
}
