//! Window aggregates for every row of a spine, from the offline table.

use std::ops::Range;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::Field;
use hashbrown::HashMap;
use mlops_core::Result;

use super::{
    function::Stretch,
    plan::{PlannedAggregation, WindowPlan},
    tile::{Part, Partial, Parts},
};
use crate::{
    cell::Cell,
    definition::FeatureView,
    join::{KeyIndex, Knowledge},
    time::{column, micros},
    value::{Value, array, cell},
};

/// An event's time and its row in the source.
type Occurrence = (i64, usize);

/// How many events a tile holds: more make the edges of a window dearer and what lies between cheaper.
const TILE_EVENTS: usize = 64;
/// A group that is asked about less often than this is not worth tiles.
const QUESTIONS_MIN: usize = 2;

/// The events of one side, grouped and ordered as the online state would hold them.
struct History {
    groups: Vec<Group>,
    created: Option<Vec<Option<i64>>>,
    /// For every row from when on it is taken back, if it is; empty when none is.
    retracted: Vec<Option<i64>>,
    cells: Vec<Vec<Value>>,
    /// What the tiles keep, and their bytes one after the other.
    parts: Parts,
    partials: Vec<u8>,
}

/// The events of one entity.
#[derive(Default)]
struct Group {
    events: Vec<Occurrence>,
    /// A tile for every [`TILE_EVENTS`] events but the rest; empty when there are no tiles.
    tiles: Vec<Tile>,
}

/// Partial aggregates of neighbouring events.
struct Tile {
    /// From this time on it is known which of the events count.
    settled: i64,
    partials: Range<usize>,
}

/// One column for each of `plan`'s aggregations whose name is in `wanted`. Null keys and null times give nulls.
pub(crate) fn history_columns(
    spine: &RecordBatch,
    spine_timestamp: &str,
    source: &RecordBatch,
    view: &FeatureView,
    plan: &WindowPlan,
    knowledge: Knowledge,
    wanted: &[&str],
) -> Result<Vec<(Field, ArrayRef)>> {
    let keys = view.entity().join_keys();
    crate::join::check_key_types(spine.schema_ref(), source.schema_ref(), keys, keys)?;
    let (index, groups) = KeyIndex::build(spine, keys)?;
    let is_wanted = |aggregation: &&PlannedAggregation| wanted.contains(&aggregation.name.as_ref());
    let aggregations: Vec<_> = plan.aggregations.iter().filter(is_wanted).collect();
    let mut history = History::read(&index, source, view, plan, knowledge)?;
    history.tile(&groups, &aggregations)?;
    let times = micros(spine, spine_timestamp)?;
    let mut columns = Vec::with_capacity(wanted.len());
    for aggregation in aggregations {
        let one = |(group, time): (&Option<u32>, &Option<i64>)| match (group, time) {
            (Some(group), Some(time)) => {
                aggregation.evaluate(&history.window(*group, *time, aggregation.window, aggregation.column))
            }
            _ => Ok(Value::Null),
        };
        let values = groups.iter().zip(&times).map(one).collect::<Result<Vec<_>>>()?;
        let values: Vec<&Value> = values.iter().collect();
        let field = Field::new(aggregation.name.as_ref(), aggregation.output.clone(), true);
        columns.push((field, array(&values, &aggregation.output)?));
    }
    Ok(columns)
}

impl History {
    fn read(
        index: &KeyIndex,
        source: &RecordBatch,
        view: &FeatureView,
        plan: &WindowPlan,
        knowledge: Knowledge,
    ) -> Result<Self> {
        let mut groups: Vec<Group> = std::iter::repeat_with(Group::default).take(index.len()).collect();
        let mut cells = vec![vec![Value::Null; source.num_rows()]; plan.columns.len()];
        let columns: Vec<&ArrayRef> = plan.columns.iter().map(|name| column(source, name)).collect::<Result<_>>()?;
        let numbers = index.lookup(source, view.entity().join_keys())?;
        let retractions = plan.retractions(source)?;
        let is_retraction = |row: usize| retractions.get(row).copied().unwrap_or(false);
        for (row, (number, time)) in numbers.iter().copied().zip(micros(source, view.timestamp())?).enumerate() {
            let Some((number, time)) = number.zip(time) else { continue };
            if is_retraction(row) {
                continue;
            }
            if let Some(group) = groups.get_mut(number as usize) {
                group.events.push((time, row));
            }
            for (column, cells) in columns.iter().zip(&mut cells) {
                if let Some(slot) = cells.get_mut(row) {
                    *slot = cell(column.as_ref(), row)?;
                }
            }
        }
        groups.iter_mut().for_each(|group| group.events.sort_unstable());
        let created = match (knowledge, view.created()) {
            (Knowledge::Event, _) => None,
            (Knowledge::Known, Some(name)) => Some(micros(source, name)?),
            (Knowledge::Known, None) => Some(vec![None; source.num_rows()]),
        };
        let retracted = if retractions.contains(&true) {
            let times = micros(source, view.timestamp())?;
            let keys: Vec<_> = numbers.into_iter().zip(times).zip(plan.identities(source)?).collect();
            retracted(&keys, &retractions, created.as_deref())
        } else {
            Vec::new()
        };
        Ok(Self { groups, created, retracted, cells, parts: Parts::default(), partials: Vec::new() })
    }

    /// Makes tiles for the groups of which enough is asked by rows of a spine, whose groups are `asked`.
    fn tile(&mut self, asked: &[Option<u32>], wanted: &[&PlannedAggregation]) -> Result<()> {
        if !wanted.iter().any(|aggregation| aggregation.reads_tiles()) {
            return Ok(());
        }
        let functions = wanted.iter().map(|aggregation| (aggregation.column, aggregation.function));
        self.parts = Parts::of(self.cells.len(), functions);
        let mut questions = vec![0_usize; self.groups.len()];
        for group in asked.iter().flatten() {
            if let Some(count) = questions.get_mut(*group as usize) {
                *count += 1;
            }
        }
        let mut groups = std::mem::take(&mut self.groups);
        for (group, _) in groups.iter_mut().zip(questions).filter(|(_, count)| *count >= QUESTIONS_MIN) {
            let (tiles, _) = group.events.as_chunks::<TILE_EVENTS>();
            group.tiles = tiles.iter().map(|events| self.tile_of(events)).collect::<Result<_>>()?;
        }
        self.groups = groups;
        Ok(())
    }

    fn tile_of(&mut self, events: &[Occurrence]) -> Result<Tile> {
        let moments = events.iter().flat_map(|(_, row)| [self.created_at(*row), self.retracted_at(*row)]);
        let settled = moments.flatten().max().unwrap_or(i64::MIN);
        let mut partials = std::mem::take(&mut self.partials);
        let begin = partials.len();
        let counts = |row: usize| {
            let known = self.created.is_none() || self.created_at(row).is_some();
            known && self.retracted_at(row).is_none()
        };
        for (number, column) in self.cells.iter().enumerate() {
            let kept = Part::of_column(self.parts.as_bytes(), number);
            let rows = events.iter().map(|(_, row)| *row).filter(|row| counts(*row));
            Partial::encode(kept, rows.filter_map(|row| column.get(row).map(Cell::from)), &mut partials)?;
        }
        self.partials = partials;
        Ok(Tile { settled, partials: begin..self.partials.len() })
    }

    fn created_at(&self, row: usize) -> Option<i64> {
        self.created.as_ref()?.get(row).copied().flatten()
    }

    fn retracted_at(&self, row: usize) -> Option<i64> {
        self.retracted.get(row).copied().flatten()
    }

    /// What `column` has in `(time - window, time]`, oldest first.
    fn window(&self, group: u32, time: i64, window: i64, column: usize) -> Vec<Piece<'_>> {
        let Some(group) = self.groups.get(group as usize) else { return Vec::new() };
        let from = group.events.partition_point(|(event, _)| *event <= time.saturating_sub(window));
        let upto = group.events.partition_point(|(event, _)| *event <= time);
        let piece = |events: Range<usize>, partials: Option<Range<usize>>| {
            let events = group.events.get(events).unwrap_or_default();
            let partials = partials.and_then(|partials| self.partials.get(partials));
            Piece { history: self, events, partials, time, column }
        };
        let (first, last) = (from.div_ceil(TILE_EVENTS), upto / TILE_EVENTS);
        let tiles = group.tiles.get(first..last).unwrap_or_default();
        if tiles.is_empty() {
            return vec![piece(from..upto, None)];
        }
        let mut pieces = vec![piece(from..first * TILE_EVENTS, None)];
        pieces.extend(tiles.iter().zip(first..).map(|(tile, number)| {
            let settled = tile.settled <= time;
            piece(number * TILE_EVENTS..(number + 1) * TILE_EVENTS, settled.then(|| tile.partials.clone()))
        }));
        pieces.push(piece(last * TILE_EVENTS..upto, None));
        pieces
    }
}

/// Neighbouring events of a window.
struct Piece<'h> {
    history: &'h History,
    events: &'h [Occurrence],
    /// Partial aggregates of the events, where there are any.
    partials: Option<&'h [u8]>,
    /// When it is asked about.
    time: i64,
    column: usize,
}

impl Stretch for Piece<'_> {
    fn partial(&self) -> Result<Option<Partial<'_>>> {
        self.partials.map(|bytes| Partial::of_column(bytes, self.history.parts.as_bytes(), self.column)).transpose()
    }

    fn cells(&self) -> Result<Vec<Cell<'_>>> {
        let history = self.history;
        let Some(cells) = history.cells.get(self.column) else { return Ok(Vec::new()) };
        let known = |row: usize| {
            history.created.is_none() || history.created_at(row).is_some_and(|created| created <= self.time)
        };
        let taken_back = |row: usize| history.retracted_at(row).is_some_and(|from| from <= self.time);
        let rows = self.events.iter().map(|(_, row)| *row).filter(|row| known(*row) && !taken_back(*row));
        Ok(rows.filter_map(|row| cells.get(row).map(Cell::from)).collect())
    }
}

/// A row's entity and time, and what tells it from others of the same.
type EventKey = ((Option<u32>, Option<i64>), u64);

/// For every row from when on it is taken back: always, or since its first retraction became known.
fn retracted(keys: &[EventKey], retractions: &[bool], created: Option<&[Option<i64>]>) -> Vec<Option<i64>> {
    let mut first: HashMap<EventKey, i64> = HashMap::new();
    for (row, key) in keys.iter().enumerate().filter(|(row, _)| retractions.get(*row) == Some(&true)) {
        let from = match created {
            None => Some(i64::MIN),
            Some(created) => created.get(row).copied().flatten(),
        };
        if let Some(from) = from {
            first.entry(*key).and_modify(|known| *known = from.min(*known)).or_insert(from);
        }
    }
    keys.iter().map(|key| first.get(key).copied()).collect()
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use arrow_array::{BooleanArray, Float64Array, Int64Array, TimestampMicrosecondArray};
    use proptest::prelude::*;

    use super::*;
    use crate::{Aggregation, Entity, FeatureView, Function, Quantile, value::encode};

    const WINDOWS: [u64; 3] = [1, 40, 400];

    /// Entity, time, creation, identity, whether it takes another back, two values.
    type Row = (i64, i64, Option<i64>, i64, bool, Option<f64>, Option<i64>);

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let float = prop_oneof![
            6 => (-1e6..1e6_f64).prop_map(Some),
            1 => any::<f64>().prop_map(Some),
            1 => Just(None),
        ];
        let int = prop_oneof![6 => (-1_000_i64..1_000).prop_map(Some), 1 => Just(None)];
        let created = prop_oneof![6 => (0_i64..500).prop_map(Some), 1 => Just(None)];
        let back = prop::bool::weighted(0.1);
        proptest::collection::vec((0_i64..2, 0_i64..300, created, 0_i64..4, back, float, int), 200..500)
    }

    fn times(times: impl Iterator<Item = Option<i64>>) -> ArrayRef {
        Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    }

    fn source(rows: &[Row]) -> RecordBatch {
        let ints = |of: fn(&Row) -> Option<i64>| Arc::new(rows.iter().map(of).collect::<Int64Array>()) as ArrayRef;
        let columns: [(&str, ArrayRef); 7] = [
            ("k", ints(|row| Some(row.0))),
            ("event_timestamp", times(rows.iter().map(|row| Some(row.1)))),
            ("created", times(rows.iter().map(|row| row.2))),
            ("id", ints(|row| Some(row.3))),
            ("back", Arc::new(rows.iter().map(|row| Some(row.4)).collect::<BooleanArray>())),
            ("x", Arc::new(rows.iter().map(|row| row.5).collect::<Float64Array>())),
            ("n", ints(|row| row.6)),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
    }

    fn view() -> FeatureView {
        use Function as F;
        let moments = [F::Count, F::Sum, F::Mean, F::Min, F::Max, F::Std, F::Var, F::ApproxDistinct];
        let quantiles = [0.0, 0.3, 0.5, 1.0].map(|share| F::ApproxQuantile(Quantile::new(share).unwrap()));
        let functions = [moments.as_slice(), &quantiles, &[F::Last, F::First, F::LastN(3)]].concat();
        let mut view = FeatureView::builder("v", Entity::new("e", ["k"]).unwrap(), "t")
            .with_created("created")
            .with_event_id("id")
            .with_retraction("back");
        for (window, column) in WINDOWS.into_iter().flat_map(|window| [(window, "x"), (window, "n")]) {
            for (number, function) in functions.iter().enumerate() {
                let name = format!("{column}_{window}_{number}");
                view = view.with_aggregation(Aggregation::new(name, *function, column, Duration::from_micros(window)));
            }
        }
        view.build().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn tiles_give_what_events_give_bit_for_bit(rows in rows(), known in any::<bool>()) {
            let (source, view) = (source(&rows), view());
            let plan = WindowPlan::resolve(&view, source.schema_ref()).unwrap();
            let asked: Vec<(i64, i64)> = (0..2).flat_map(|key| (0..520).step_by(26).map(move |time| (key, time))).collect();
            let keys: ArrayRef = Arc::new(asked.iter().map(|(key, _)| Some(*key)).collect::<Int64Array>());
            let times = times(asked.iter().map(|(_, time)| Some(*time)));
            let spine = RecordBatch::try_from_iter([("k", keys), ("event_timestamp", times)]).unwrap();
            let (index, groups) = KeyIndex::build(&spine, view.entity().join_keys()).unwrap();
            let knowledge = if known { Knowledge::Known } else { Knowledge::Event };
            let mut history = History::read(&index, &source, &view, &plan, knowledge).unwrap();
            let wanted: Vec<&PlannedAggregation> = plan.aggregations.iter().collect();
            let answers = |history: &History| {
                let mut bytes = Vec::new();
                for (group, (_, time)) in groups.iter().zip(&asked) {
                    for planned in &wanted {
                        let window = history.window(group.unwrap(), *time, planned.window, planned.column);
                        let mut answer = Vec::new();
                        encode(&planned.evaluate(&window).unwrap(), &mut answer);
                        bytes.push((Arc::clone(&planned.name), *time, answer));
                    }
                }
                bytes
            };
            let of_events = answers(&history);
            history.tile(&groups, &wanted).unwrap();
            prop_assert!(history.groups.iter().any(|group| !group.tiles.is_empty()));
            prop_assert_eq!(answers(&history), of_events);
        }
    }
}
