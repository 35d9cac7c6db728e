//! The point-in-time join against its rules read aloud: every row of the spine against every row of the source.

use std::{collections::BTreeSet, fs::File, path::Path, sync::Arc, time::Duration};

use mlops_core::{
    ErrorKind, Timestamp,
    arrow_array::{
        Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
        TimestampMillisecondArray, TimestampNanosecondArray, cast::AsArray, types::Int64Type,
        types::TimestampMicrosecondType,
    },
};
use mlops_features::{Bound, JoinSettings, JoinView, Knowledge, Moments, PointInTimeJoin};
use parquet::{arrow::ArrowWriter, file::properties::WriterProperties};
use proptest::prelude::*;

use crate::data::{ints, times};

/// Number, text, event time, creation time, value. A spine row has neither creation time nor value.
#[derive(Debug, Clone)]
struct Row {
    k: Option<i64>,
    j: Option<&'static str>,
    event: Option<i64>,
    created: Option<i64>,
    value: Option<i64>,
}

/// What a view asks for.
#[derive(Debug, Clone)]
struct View {
    rows: Vec<Row>,
    keys: &'static [&'static str],
    ttl: Option<i64>,
    bound: Bound,
    /// Rows of a batch in memory, or of a row group of a file.
    part_rows: usize,
    /// Rows of a file; none keeps the source in memory.
    file_rows: Option<usize>,
}

/// Value and event time of the winner for each row of the spine.
type Answer = Vec<(Option<i64>, Option<i64>)>;

fn naive(spine: &[Row], view: &View, knowledge: Knowledge) -> Answer {
    let key = |row: &Row, name: &str| match name {
        "k" => row.k.map(|k| k.to_string()),
        _ => row.j.map(str::to_owned),
    };
    let sees = |time: i64, moment: i64| if view.bound == Bound::Inclusive { moment <= time } else { moment < time };
    let one = |row: &Row| {
        let time = row.event?;
        let candidates = view.rows.iter().enumerate().filter(|(_, source)| {
            let equal = view.keys.iter().all(|name| key(row, name).is_some() && key(row, name) == key(source, name));
            let known = knowledge == Knowledge::Event || source.created.is_some_and(|created| sees(time, created));
            equal && known && source.event.is_some_and(|event| sees(time, event))
        });
        let (_, best) = candidates.max_by_key(|(place, source)| (source.event, source.created, *place))?;
        let event = best.event?;
        view.ttl.is_none_or(|ttl| event >= time - ttl).then_some((best.value, Some(event)))
    };
    spine.iter().map(|row| one(row).unwrap_or_default()).collect()
}

fn texts(rows: &[Row]) -> ArrayRef {
    Arc::new(rows.iter().map(|row| row.j).collect::<StringArray>())
}

fn source_batch(rows: &[Row]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([
        ("v", ints(rows.iter().map(|row| row.value)), true),
        ("event_timestamp", times(rows.iter().map(|row| row.event)), true),
        ("k", ints(rows.iter().map(|row| row.k)), true),
        ("created", times(rows.iter().map(|row| row.created)), true),
        ("j", texts(rows), true),
    ])
    .unwrap()
}

fn spine_batch(rows: &[Row]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([
        ("k", ints(rows.iter().map(|row| row.k)), true),
        ("j", texts(rows), true),
        ("event_timestamp", times(rows.iter().map(|row| row.event)), true),
    ])
    .unwrap()
}

fn slices(batch: &RecordBatch, rows: usize) -> Vec<RecordBatch> {
    let total = batch.num_rows();
    (0..total).step_by(rows).map(|at| batch.slice(at, rows.min(total - at))).collect()
}

fn write(path: &Path, batch: &RecordBatch, group_rows: usize) {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

fn join_view(number: usize, view: &View, directory: &Path) -> JoinView {
    let (name, batch) = (format!("view{number}"), source_batch(&view.rows));
    let mut join_view = match view.file_rows {
        None => JoinView::new(&name, batch.schema(), slices(&batch, view.part_rows)),
        Some(rows) => {
            let mut files = slices(&batch, rows);
            if files.is_empty() {
                files.push(batch);
            }
            let paths = (0..files.len()).map(|file| directory.join(format!("{name}-{file}.parquet")));
            let paths: Vec<_> = paths.collect();
            files.iter().zip(&paths).for_each(|(file, path)| write(path, file, view.part_rows));
            JoinView::parquet(&name, paths).unwrap()
        }
    };
    for key in view.keys {
        join_view = join_view.with_key(key, key);
    }
    join_view
        .with_created("created")
        .with_feature("v", &name)
        .with_event_timestamp_as(format!("{name}_at"))
        .with_bound(view.bound)
        .with_ttl(Duration::from_micros(view.ttl.unwrap_or(0) as u64))
}

/// What column `column` and the next have.
fn answers(joined: &RecordBatch, column: usize) -> Answer {
    let values = joined.column(column).as_primitive::<Int64Type>().iter();
    values.zip(joined.column(column + 1).as_primitive::<TimestampMicrosecondType>().iter()).collect()
}

fn rows(most: usize) -> impl Strategy<Value = Vec<Row>> {
    let time = || proptest::option::weighted(0.9, -4_i64..12);
    let text = proptest::option::weighted(0.9, prop_oneof![Just("a"), Just("ab"), Just("")]);
    let row = (proptest::option::weighted(0.9, -1_i64..3), text, time(), time(), proptest::option::of(0_i64..1000));
    let row = row.prop_map(|(k, j, event, created, value)| Row { k, j, event, created, value });
    proptest::collection::vec(row, 0..most)
}

const KEYS: [&[&str]; 4] = [&["k"], &["k", "j"], &["j"], &[]];

fn views() -> impl Strategy<Value = Vec<View>> {
    let keys = proptest::sample::select(&KEYS[..]);
    let bound = proptest::sample::select(&[Bound::Inclusive, Bound::Exclusive][..]);
    let view = (rows(60), keys, proptest::option::of(1_i64..6), bound, 1_usize..70, proptest::option::of(1_usize..70));
    let view = view.prop_map(|(rows, keys, ttl, bound, part_rows, file_rows)| View {
        rows,
        keys,
        ttl,
        bound,
        part_rows,
        file_rows,
    });
    proptest::collection::vec(view, 1..4)
}

proptest! {
    #[test]
    fn agrees_with_the_rules_whatever_the_layout_and_the_threads(
        spine in rows(30), views in views(), known: bool, threads in 1_usize..4, batch_rows in 1_usize..70,
        spine_rows in 1_usize..40,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let knowledge = if known { Knowledge::Known } else { Knowledge::Event };
        let batch = spine_batch(&spine);
        let settings = JoinSettings { threads, batch_rows, ..JoinSettings::default() };
        let mut join = PointInTimeJoin::new(batch.clone()).with_knowledge(knowledge).with_settings(settings);
        for (number, view) in views.iter().enumerate() {
            join = join.with_view(join_view(number, view, directory.path()));
        }
        let joined = join.run().unwrap();
        prop_assert_eq!(joined.project(&[0, 1, 2]).unwrap(), batch.clone());
        for (number, view) in views.iter().enumerate() {
            prop_assert_eq!(answers(&joined, 3 + 2 * number), naive(&spine, view, knowledge));
        }
        let mut pieces = Vec::new();
        let arriving = slices(&batch, spine_rows).into_iter().map(Ok);
        join.run_each(arriving, |piece| { pieces.push(piece); Ok(()) }).unwrap();
        prop_assert_eq!(pieces, vec![joined]);
    }

    #[test]
    fn all_entities_of_a_range_without_a_spine(
        mut views in views(), known: bool, after in -5_i64..8, length in 0_i64..10, at: bool, threads in 1_usize..3,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let knowledge = if known { Knowledge::Known } else { Knowledge::Event };
        views.iter_mut().for_each(|view| view.keys = &["k"]);
        let seen_from = |view: &View, row: &Row| {
            let visible = if known { row.event?.max(row.created?) } else { row.event? };
            Some((row.k?, visible + i64::from(view.bound == Bound::Exclusive)))
        };
        let until = after + length;
        let moment = |(key, seen): (i64, i64)| match at {
            true => (seen <= until).then_some((key, until)),
            false => (after < seen && seen <= until).then_some((key, seen)),
        };
        let seen = views.iter().flat_map(|view| view.rows.iter().filter_map(move |row| seen_from(view, row)));
        let expected: BTreeSet<(i64, i64)> = seen.filter_map(moment).collect();
        let (from, to) = (Timestamp::from_micros(after), Timestamp::from_micros(until));
        let moments = if at { Moments::At(to) } else { Moments::Changes { after: from, until: to } };
        let join_views = views.iter().enumerate().map(|(number, view)| join_view(number, view, directory.path()));
        let settings = JoinSettings { threads, batch_rows: 7, ..JoinSettings::default() };
        let joined = PointInTimeJoin::of_entities(join_views, moments, knowledge, settings).unwrap().run().unwrap();
        let row = |&(k, time): &(i64, i64)| Row { k: Some(k), j: None, event: Some(time), created: None, value: None };
        let spine: Vec<Row> = expected.iter().map(row).collect();
        prop_assert_eq!(joined.project(&[0, 1]).unwrap(), spine_batch(&spine).project(&[0, 2]).unwrap());
        for (number, view) in views.iter().enumerate() {
            prop_assert_eq!(answers(&joined, 2 + 2 * number), naive(&spine, view, knowledge));
        }
    }
}

/// A spine and a source of many rows over few moments.
fn many() -> (RecordBatch, RecordBatch) {
    let rows = |count: i64, step: i64| {
        let row = |i: i64| Row {
            k: Some(i * step % 97),
            j: Some(if i % 2 == 0 { "a" } else { "b" }),
            event: Some(i * 31 % 1009),
            created: Some(i * 17 % 1009),
            value: Some(i),
        };
        (0..count).map(row).collect::<Vec<_>>()
    };
    (spine_batch(&rows(20_000, 5)), source_batch(&rows(50_000, 7)))
}

#[test]
fn little_memory_means_more_pieces_and_the_same_answer() {
    let (spine, source) = many();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("source.parquet");
    write(&path, &source, 10_000);
    let join = |memory_bytes_max: usize| {
        let view = JoinView::parquet("a", [path.clone()]).unwrap().with_key("k", "k").with_key("j", "j");
        let view = view.with_created("created").with_feature("v", "v").with_event_timestamp_as("at");
        let settings = JoinSettings { threads: 3, memory_bytes_max, batch_rows: 512 };
        PointInTimeJoin::new(spine.clone()).with_knowledge(Knowledge::Known).with_settings(settings).with_view(view)
    };
    let whole = join(1 << 30).run().unwrap();
    assert!(whole.column(3).null_count() < 10_000);
    let error = join(1 << 10).run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    let (_, least) = error.message().rsplit_once(' ').unwrap();
    for memory in [least.parse::<usize>().unwrap() + (64 << 10), 24 << 20] {
        let (mut pieces, mut at) = (0, 0);
        join(memory)
            .run_each(slices(&spine, 777).into_iter().map(Ok), |piece| {
                assert_eq!(piece, whole.slice(at, piece.num_rows()));
                (pieces, at) = (pieces + 1, at + piece.num_rows());
                Ok(())
            })
            .unwrap();
        assert_eq!(at, 20_000);
        assert!(memory > 20 << 20 || pieces > 1, "{pieces} pieces in {memory} bytes");
    }
}

#[test]
fn one_source_serves_two_roles() {
    let source = source_batch(&[(1, 10), (2, 20)].map(|(k, value)| Row {
        k: Some(k),
        j: None,
        event: Some(1),
        created: None,
        value: Some(value),
    }));
    let spine = RecordBatch::try_from_iter([
        ("origin", ints([Some(1), Some(2)])),
        ("dest", ints([Some(2), Some(3)])),
        ("event_timestamp", times([Some(3), Some(3)])),
    ])
    .unwrap();
    let airport = JoinView::new("airport", source.schema(), vec![source]);
    let role = |name: &str| airport.clone().with_key(name, "k").with_feature("v", format!("{name}_v"));
    let joined = PointInTimeJoin::new(spine).with_view(role("origin")).with_view(role("dest")).run().unwrap();
    assert_eq!(joined.column_by_name("origin_v").unwrap(), &ints([Some(10), Some(20)]));
    assert_eq!(joined.column_by_name("dest_v").unwrap(), &ints([Some(20), None]));
}

fn two(key: ArrayRef, time: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter([("k", key), ("event_timestamp", time)]).unwrap()
}

fn key() -> ArrayRef {
    ints([Some(1)])
}

fn error_of(spine: RecordBatch, source: RecordBatch) -> mlops_core::Error {
    let view = JoinView::new("a", source.schema(), vec![source]).with_key("k", "k").with_event_timestamp_as("at");
    PointInTimeJoin::new(spine).with_view(view).run().unwrap_err()
}

#[test]
fn units_and_zones_meet_exactly_or_are_refused() {
    let moment = 1_735_689_600_000_i64;
    let nanos = |after: i64| Arc::new(TimestampNanosecondArray::from(vec![moment * 1_000_000 + after])) as ArrayRef;
    let millis = Arc::new(TimestampMillisecondArray::from(vec![moment]).with_timezone("+02:00")) as ArrayRef;
    for (after, seen) in [(0, true), (1, false), (-1, true)] {
        let source = two(key(), nanos(after));
        let view = JoinView::new("a", source.schema(), vec![source]).with_key("k", "k").with_event_timestamp_as("at");
        let spine = two(key(), Arc::clone(&millis));
        let joined = PointInTimeJoin::new(spine).with_view(view).run().unwrap();
        assert_eq!(joined.column(2).is_valid(0), seen, "a source {after} ns after the spine");
        assert_eq!(joined.column(1).data_type(), millis.data_type());
    }
    let far = Arc::new(TimestampMicrosecondArray::from(vec![i64::MAX / 10])) as ArrayRef;
    let error = error_of(two(key(), far), two(key(), nanos(0)));
    assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains("event_timestamp"), "{error}");
    let error = error_of(two(key(), times([Some(1)])), two(key(), key()));
    assert!(error.chain().contains("must be a timestamp") && error.chain().contains("\"a\""), "{}", error.chain());
    let error = error_of(two(Arc::new(Int32Array::from(vec![1])), times([Some(1)])), two(key(), times([Some(1)])));
    assert!(error.message().contains("Int32") && error.message().contains("Int64"), "{error}");
}

#[test]
fn files_that_do_not_fit_together_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    write(&at("micros"), &two(key(), times([Some(1)])), 10);
    write(&at("millis"), &two(key(), Arc::new(TimestampMillisecondArray::from(vec![1]))), 10);
    write(&at("no-key"), &RecordBatch::try_from_iter([("event_timestamp", times([Some(1)]))]).unwrap(), 10);
    std::fs::write(at("torn"), &std::fs::read(at("micros")).unwrap()[..100]).unwrap();
    let open = |names: &[&str]| JoinView::parquet("a", names.iter().map(|name| at(name))).unwrap_err();
    for (names, kind, words) in [
        (vec!["micros", "millis"], ErrorKind::InvalidArgument, ["event_timestamp", "millis"]),
        (vec!["micros", "no-key"], ErrorKind::InvalidArgument, ["\"k\"", "no-key"]),
        (vec!["torn"], ErrorKind::DataLoss, ["torn", "Parquet"]),
        (vec!["absent"], ErrorKind::NotFound, ["absent", "opened"]),
        (vec![], ErrorKind::InvalidArgument, ["at least one", "file"]),
    ] {
        let error = open(&names);
        assert_eq!(error.kind(), kind, "{names:?}");
        assert!(words.iter().all(|word| error.chain().contains(word)), "{names:?}: {}", error.chain());
    }
}

#[test]
fn a_file_torn_inside_is_an_error_of_the_join() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("source.parquet");
    let (spine, source) = many();
    write(&path, &source, 10_000);
    let view = JoinView::parquet("a", [path.clone()]).unwrap().with_key("k", "k").with_feature("v", "v");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[4..middle].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let error = PointInTimeJoin::new(spine).with_view(view).run().unwrap_err();
    assert!(error.chain().contains("source.parquet"), "{}", error.chain());
}

#[test]
fn a_spine_that_changes_its_columns_is_refused() {
    let spine = two(key(), times([Some(1)]));
    let other = RecordBatch::try_from_iter([("k", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
    let error = PointInTimeJoin::new(spine.clone()).run_each([Ok(spine), Ok(other)], |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn all_entities_need_the_same_keys_and_enough_memory() {
    let (_, source) = many();
    let view = || JoinView::new("a", source.schema(), vec![source.clone()]);
    let moments = Moments::Changes { after: Timestamp::from_micros(0), until: Timestamp::from_micros(2_000) };
    let of = |views: Vec<JoinView>, memory_bytes_max: usize| {
        let settings = JoinSettings { memory_bytes_max, ..JoinSettings::default() };
        PointInTimeJoin::of_entities(views, moments, Knowledge::Event, settings).unwrap_err()
    };
    let keyed = || view().with_key("k", "k");
    assert!(of(vec![], 1 << 30).message().contains("needs a view"));
    assert!(of(vec![view()], 1 << 30).message().contains("no keys"));
    assert!(of(vec![keyed(), view().with_key("j", "j")], 1 << 30).message().contains("the same"));
    assert_eq!(of(vec![keyed()], 100_000).kind(), ErrorKind::ResourceExhausted);
}
