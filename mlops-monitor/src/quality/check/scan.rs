//! What several rules want to know of one column under one filter, gathered once for all of them.
//!
//! Invariant: a part that cannot be gathered (wrong type, too many distinct values) is an exception
//! of the rules that need it, and the other parts go on.

use arrow_buffer::{BooleanBuffer, i256};
use arrow_schema::DataType as ArrowType;

use super::{
    column::{Column, Lane, Meaning, with_text},
    distinct::Counter,
    exception::{Checked, ExceptionKind, RuleException},
    found::Found,
    frame::{FilterId, Frame},
    mask,
};
use crate::{
    quality::settings::ValidationSettings,
    stats::{self, count_of, float},
};

/// What is wanted of a scan.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Needs {
    /// Counts of distinct values.
    pub(super) counts: bool,
    /// The first rows of repeated values.
    pub(super) repeats: bool,
    /// Mean and variance.
    pub(super) moments: bool,
    pub(super) sum: bool,
    /// Least and greatest value.
    pub(super) extrema: bool,
    /// All values, for quantiles.
    pub(super) values: bool,
}

impl Needs {
    fn with(self, other: Self) -> Self {
        Self {
            counts: self.counts || other.counts,
            repeats: self.repeats || other.repeats,
            moments: self.moments || other.moments,
            sum: self.sum || other.sum,
            extrema: self.extrema || other.extrema,
            values: self.values || other.values,
        }
    }
}

/// A part that is wanted and what became of it.
type Part<T> = Option<Checked<T>>;

#[derive(Debug)]
pub(in crate::quality) struct Scan {
    column: String,
    filter: Option<FilterId>,
    needs: Needs,
    /// Why nothing could be read.
    fault: Option<RuleException>,
    rows: u64,
    present: u64,
    counter: Part<Counter>,
    repeats: Found,
    moments: Part<Moments>,
    sum: Part<Sum>,
    extrema: Part<Option<Extrema>>,
    values: Part<Vec<f64>>,
}

/// Mean and sum of squared deviations, merged batch by batch (Chan, Golub, LeVeque 1983).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments {
    pub(super) n: u64,
    pub(super) mean: f64,
    squares: f64,
}

impl Moments {
    pub(super) fn of(values: &[f64]) -> Self {
        stats::moments(values).map_or_else(Self::default, |moments| Self {
            n: moments.n,
            mean: moments.mean,
            squares: moments.variance * float(moments.n.saturating_sub(1)),
        })
    }

    fn merge(self, other: Self) -> Self {
        if self.n == 0 || other.n == 0 {
            return if self.n == 0 { other } else { self };
        }
        let (n, m) = (float(self.n), float(other.n));
        let delta = other.mean - self.mean;
        Self {
            n: self.n + other.n,
            mean: self.mean + delta * (m / (n + m)),
            squares: self.squares + other.squares + delta * delta * (n * m / (n + m)),
        }
    }

    /// `None` with no more values than `ddof`.
    pub(super) fn stdev(&self, ddof: u8) -> Option<f64> {
        let degrees = self.n.checked_sub(u64::from(ddof)).filter(|degrees| *degrees > 0)?;
        Some((self.squares / float(degrees)).sqrt())
    }
}

/// A sum: exact for integers and decimals, in 256 bits on the way so that no order of the values
/// passes a bound that the total keeps.
#[derive(Debug, Clone)]
pub(super) enum Sum {
    None,
    Exact(i256, Meaning, ArrowType),
    Float(f64),
}

/// Least and greatest value, each as a column of one row; NaN is both when it occurs.
#[derive(Debug)]
pub(super) struct Extrema {
    pub(super) least: Column,
    pub(super) greatest: Column,
}

impl Scan {
    pub(super) fn new(column: &str, filter: Option<FilterId>, settings: &ValidationSettings) -> Self {
        Self {
            column: column.to_owned(),
            filter,
            needs: Needs::default(),
            fault: None,
            rows: 0,
            present: 0,
            counter: None,
            repeats: Found::new(settings),
            moments: None,
            sum: None,
            extrema: None,
            values: None,
        }
    }

    pub(super) fn is_for(&self, column: &str, filter: Option<FilterId>) -> bool {
        self.column == column && self.filter == filter
    }

    pub(super) fn add_needs(&mut self, needs: Needs, settings: &ValidationSettings) {
        let needs = self.needs.with(needs);
        self.needs = needs;
        self.counter = needs.counts.then(|| Ok(Counter::new(settings)));
        self.moments = needs.moments.then(|| Ok(Moments::default()));
        self.sum = needs.sum.then_some(Ok(Sum::None));
        self.extrema = needs.extrema.then_some(Ok(None));
        self.values = needs.values.then(|| Ok(Vec::new()));
    }

    pub(in crate::quality) fn observe(&mut self, frame: &Frame<'_>) {
        if self.fault.is_none()
            && let Err(fault) = self.gather(frame)
        {
            self.fault = Some(fault);
        }
    }

    fn gather(&mut self, frame: &Frame<'_>) -> Checked<()> {
        let column = frame.column(&self.column)?;
        let filter = frame.filter(self.filter)?;
        let counted = column.counted(filter.as_deref());
        let counted = counted.as_ref();
        let rows = filter.as_ref().map_or(column.rows, |mask| mask.count_set_bits());
        let present = counted.map_or(column.rows, BooleanBuffer::count_set_bits);
        self.rows += count_of(rows);
        self.present += count_of(present);
        if present == 0 {
            return Ok(());
        }
        let keep_repeats = self.needs.repeats;
        let found = &mut self.repeats;
        update(&mut self.counter, |counter| {
            let mut on_repeat = |row: u64, at: usize| {
                if keep_repeats && !found.is_beyond(row) {
                    found.add(row, || column.json(at));
                }
            };
            counter.observe(&column, mask::rows(counted, column.rows), frame.offset, &mut on_repeat)
        });
        update(&mut self.moments, |moments| {
            *moments = moments.merge(Moments::of(&doubles(&column, counted)?));
            Ok(())
        });
        update(&mut self.sum, |sum| sum.add(&column, counted));
        update(&mut self.extrema, |extrema| {
            let here = extrema_of(&column, counted)?;
            *extrema = Some(match extrema.take() {
                None => here,
                Some(before) => before.merge(here)?,
            });
            Ok(())
        });
        let values_max = frame.settings.values_max;
        update(&mut self.values, |values| {
            if values.len().saturating_add(present) > values_max {
                let message = format!("more than {values_max} values; raise values_max");
                return Err(RuleException::new(ExceptionKind::TooManyValues, message));
            }
            values.extend_from_slice(&doubles(&column, counted)?);
            Ok(())
        });
        Ok(())
    }

    /// Rows that the filter kept.
    pub(super) fn rows(&self) -> Checked<u64> {
        self.fault.clone().map_or(Ok(self.rows), Err)
    }

    /// Rows of them with a value.
    pub(super) fn present(&self) -> u64 {
        self.present
    }

    pub(super) fn counter(&self) -> Checked<&Counter> {
        self.part(&self.counter)
    }

    pub(super) fn repeats(&self) -> &Found {
        &self.repeats
    }

    pub(super) fn moments(&self) -> Checked<&Moments> {
        self.part(&self.moments)
    }

    pub(super) fn sum(&self) -> Checked<&Sum> {
        self.part(&self.sum)
    }

    pub(super) fn extrema(&self) -> Checked<Option<&Extrema>> {
        self.part(&self.extrema).map(Option::as_ref)
    }

    pub(super) fn values(&self) -> Checked<&[f64]> {
        self.part(&self.values).map(Vec::as_slice)
    }

    fn part<'a, T>(&self, part: &'a Part<T>) -> Checked<&'a T> {
        match (&self.fault, part) {
            (Some(fault), _) => Err(fault.clone()),
            (None, Some(Ok(part))) => Ok(part),
            (None, Some(Err(fault))) => Err(fault.clone()),
            (None, None) => Err(RuleException::new(ExceptionKind::NoData, "nothing was gathered")),
        }
    }
}

fn update<T>(part: &mut Part<T>, step: impl FnOnce(&mut T) -> Checked<()>) {
    if let Some(Ok(state)) = part
        && let Err(fault) = step(state)
    {
        *part = Some(Err(fault));
    }
}

/// The counted values as doubles, in order.
pub(super) fn doubles<'a>(column: &'a Column, counted: Option<&BooleanBuffer>) -> Checked<std::borrow::Cow<'a, [f64]>> {
    let values = column.doubles()?;
    Ok(match counted {
        None => values.into(),
        Some(_) => mask::selected(values, counted).copied().collect::<Vec<_>>().into(),
    })
}

impl Sum {
    fn add(&mut self, column: &Column, counted: Option<&BooleanBuffer>) -> Checked<()> {
        let exact = |meaning: Meaning, sum: i256| match meaning {
            Meaning::Number { .. } => Ok(Self::Exact(sum, meaning, column.data_type.clone())),
            _ => Err(column.unfit("a number")),
        };
        let more = match &column.lane {
            Lane::Int(values, meaning) => {
                let sum = mask::selected(values, counted).fold(0_i128, |sum, value| sum + i128::from(*value));
                exact(*meaning, i256::from_i128(sum))?
            }
            Lane::Wide(values, meaning) => {
                let sum = mask::selected(values, counted)
                    .fold(i256::ZERO, |sum, value| sum.wrapping_add(i256::from_i128(*value)));
                exact(*meaning, sum)?
            }
            Lane::Float(values) => Self::Float(stats::sum(mask::selected(values, counted).copied())),
            _ => return Err(column.unfit("a number")),
        };
        *self = match (std::mem::replace(self, Self::None), more) {
            (Self::None, more) => more,
            (Self::Float(before), Self::Float(more)) => Self::Float(before + more),
            (Self::Exact(before, meaning, data_type), Self::Exact(more, now, _)) if now == meaning => {
                Self::Exact(before.wrapping_add(more), meaning, data_type)
            }
            _ => return Err(type_changed(column)),
        };
        Ok(())
    }

    /// The sum as a column of one row; `None` without values.
    pub(super) fn as_column(&self) -> Checked<Option<Column>> {
        Ok(match self {
            Self::None => None,
            Self::Exact(sum, meaning, data_type) => {
                let beyond = || RuleException::new(ExceptionKind::UnsupportedType, "the sum is beyond 128 bits");
                let sum = sum.to_i128().ok_or_else(beyond)?;
                Some(Column::single(Lane::Wide(vec![sum], *meaning), data_type.clone()))
            }
            Self::Float(sum) => Some(Column::single(Lane::Float(vec![*sum].into()), ArrowType::Float64)),
        })
    }
}

fn type_changed(column: &Column) -> RuleException {
    let found = &column.data_type;
    RuleException::new(
        ExceptionKind::TypeChanged,
        format!("the column is {found}, and was of another type in an earlier batch"),
    )
}

/// Least and greatest of at least one value.
fn extrema_of(column: &Column, counted: Option<&BooleanBuffer>) -> Checked<Extrema> {
    let of = |lanes: Option<(Lane, Lane)>| {
        let (least, greatest) = lanes.ok_or_else(|| column.unfit("a value"))?;
        let single = |lane| Column::single(lane, column.data_type.clone());
        Ok(Extrema { least: single(least), greatest: single(greatest) })
    };
    match &column.lane {
        Lane::Int(values, meaning) => {
            let (least, greatest) = mask::selected(values, counted)
                .fold((i64::MAX, i64::MIN), |(least, greatest), value| (least.min(*value), greatest.max(*value)));
            let lane = |value: i64| Lane::Int(vec![value].into(), *meaning);
            of(Some((lane(least), lane(greatest))))
        }
        Lane::Wide(values, meaning) => {
            let (least, greatest) = mask::selected(values, counted)
                .fold((i128::MAX, i128::MIN), |(least, greatest), value| (least.min(*value), greatest.max(*value)));
            let lane = |value: i128| Lane::Wide(vec![value], *meaning);
            of(Some((lane(least), lane(greatest))))
        }
        Lane::Float(values) => {
            let (least, greatest) = mask::selected(values, counted)
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, greatest), value| {
                    (worse(least, *value, f64::min), worse(greatest, *value, f64::max))
                });
            let lane = |value: f64| Lane::Float(vec![value].into());
            of(Some((lane(least), lane(greatest))))
        }
        Lane::Text(text) => with_text!(text, array => {
            let values = || mask::rows(counted, column.rows).map(|row| array.value(row));
            of(values().min().zip(values().max()).map(|(least, greatest)| (text_lane(least), text_lane(greatest))))
        }),
        Lane::Bool(_) | Lane::Opaque(_) => Err(column.unfit("values that have an order")),
    }
}

/// The lesser or greater, or NaN when either is.
fn worse(a: f64, b: f64, pick: fn(f64, f64) -> f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { pick(a, b) }
}

fn text_lane(text: &str) -> Lane {
    Lane::Text(super::column::Text::Small(vec![text].into()))
}

impl Extrema {
    fn merge(self, other: Self) -> Checked<Self> {
        let keep = |greatest: bool, a: Column, b: Column| -> Checked<Column> {
            let second = match (&a.lane, &b.lane) {
                (Lane::Int(x, m), Lane::Int(y, n)) if m == n => x.first() < y.first(),
                (Lane::Wide(x, m), Lane::Wide(y, n)) if m == n => x.first() < y.first(),
                (Lane::Float(x), Lane::Float(y)) => {
                    let (x, y) = (x.first().copied().unwrap_or(0.0), y.first().copied().unwrap_or(0.0));
                    if x.is_nan() || y.is_nan() {
                        return Ok(if x.is_nan() { a } else { b });
                    }
                    x < y
                }
                (Lane::Text(x), Lane::Text(y)) => {
                    with_text!(x, x => with_text!(y, y => x.value(0) < y.value(0)))
                }
                _ => return Err(type_changed(&b)),
            };
            Ok(if second == greatest { b } else { a })
        };
        Ok(Self { least: keep(false, self.least, other.least)?, greatest: keep(true, self.greatest, other.greatest)? })
    }
}
