//! Records of a `.wandb` file as entries (`wandb_internal.proto` of wandb 0.12 to 0.31; the numbers of fields are its).
//!
//! Invariant: records that tell nothing of what is imported give no entry.

use serde_json::Value;

use super::{
    entry::{About, Entry, Row, seconds},
    values,
    wire::{Field, fields},
};

/// Gives `take` the entries of a record.
pub(super) fn entries(record: &[u8], take: &mut dyn FnMut(Entry)) {
    for (number, field) in fields(record) {
        let message = field.bytes();
        match number {
            2 => take(Entry::Row(Row::new(history(message)))),
            3 => take(Entry::Summary(changes(message))),
            5 => take(Entry::Config(changes(message))),
            7 => take(Entry::Row(stats(message))),
            17 => run(message, take),
            18 => take(exit(message)),
            26 => take(Entry::About(Box::new(environment(message)))),
            _ => {}
        }
    }
}

fn owned(field: Field<'_>) -> Option<String> {
    Some(field.text().to_owned())
}

fn run(message: &[u8], take: &mut dyn FnMut(Entry)) {
    let mut about = About::default();
    for (number, field) in fields(message) {
        match number {
            1 => about.id = field.text().to_owned(),
            2 => about.entity = owned(field),
            3 => about.project = owned(field),
            6 => about.group = owned(field),
            7 => about.job_type = owned(field),
            8 => about.name = owned(field),
            9 => about.notes = owned(field),
            10 => about.tags.push(field.text().to_owned()),
            12 => about.sweep = owned(field),
            13 => about.host = owned(field),
            17 => about.created_at = Some(time(field.bytes()).to_string()),
            21 => about.commit = commit(field.bytes()),
            _ => {}
        }
    }
    take(Entry::About(Box::new(about)));
    for (number, field) in fields(message) {
        match number {
            4 => take(Entry::Config(changes(field.bytes()))),
            5 => take(Entry::Summary(changes(field.bytes()))),
            _ => {}
        }
    }
}

fn environment(message: &[u8]) -> About {
    let mut about = About::default();
    for (number, field) in fields(message) {
        match number {
            6 => about.program = owned(field),
            9 => about.commit = commit(field.bytes()),
            12 => about.host = owned(field),
            13 => about.user = owned(field),
            _ => {}
        }
    }
    about
}

fn commit(message: &[u8]) -> Option<String> {
    fields(message).find(|(number, _)| *number == 2).and_then(|(_, field)| owned(field))
}

fn exit(message: &[u8]) -> Entry {
    let (mut code, mut runtime_s) = (0, 0);
    for (number, field) in fields(message) {
        match number {
            1 => code = field.number(),
            2 => runtime_s = field.number(),
            _ => {}
        }
    }
    Entry::Exit { code, runtime_s }
}

fn time(message: &[u8]) -> mlops_core::Timestamp {
    let (mut whole, mut nanos) = (0, 0);
    for (number, field) in fields(message) {
        match number {
            1 => whole = field.number(),
            2 => nanos = field.number(),
            _ => {}
        }
    }
    mlops_core::Timestamp::from_micros(whole.saturating_mul(1_000_000).saturating_add(nanos / 1_000))
}

/// Key and value of an item: the key is whole (1) or in parts (2), the value JSON (16) or, in a history, typed.
fn item(message: &[u8]) -> (String, Option<Value>) {
    let (mut key, mut value) = (String::new(), None);
    for (number, field) in fields(message) {
        match (number, field) {
            (1, field) => field.text().clone_into(&mut key),
            (2, field) => {
                if !key.is_empty() {
                    key.push('.');
                }
                key.push_str(field.text());
            }
            (4, field) => value = Some(Value::Bool(field.number() != 0)),
            (5, Field::Varint(zigzag)) => {
                let whole = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
                value = Some(Value::from(whole));
            }
            (6, Field::Fixed64(bits)) => {
                let number = f64::from_bits(bits);
                let words = |text: &str| Value::from(text);
                value = Some(match number {
                    _ if number.is_nan() => words("NaN"),
                    f64::INFINITY => words("Infinity"),
                    f64::NEG_INFINITY => words("-Infinity"),
                    _ => Value::from(number),
                });
            }
            (7, field) => value = Some(Value::from(field.text())),
            (8 | 16, field) => value = values::parse(field.text()).ok(),
            _ => {}
        }
    }
    (key, value)
}

/// Updates (1) and removals (2).
fn changes(message: &[u8]) -> Vec<(String, Option<Value>)> {
    let change = |(number, field): (u64, Field<'_>)| match number {
        1 => Some(item(field.bytes())),
        2 => Some((item(field.bytes()).0, None)),
        _ => None,
    };
    fields(message).filter_map(change).collect()
}

fn history(message: &[u8]) -> impl Iterator<Item = (String, Value)> {
    // Whole media are several items here: `hist._type`, `hist.bins`; all of them are no metric.
    let items: Vec<_> =
        fields(message).filter(|(number, _)| *number == 1).map(|(_, field)| item(field.bytes())).collect();
    let media: Vec<String> =
        items.iter().filter_map(|(key, _)| key.strip_suffix("._type").map(|medium| format!("{medium}."))).collect();
    let step = fields(message).find(|(number, _)| *number == 2).map(|(_, step)| {
        let number = fields(step.bytes()).find(|(number, _)| *number == 1).map_or(0, |(_, field)| field.number());
        ("_step".to_owned(), Value::from(number))
    });
    let items = items.into_iter().filter_map(move |(key, value)| {
        match media.iter().find(|medium| key.starts_with(medium.as_str())) {
            Some(medium) if key.ends_with("._type") => {
                Some((medium.trim_end_matches('.').to_owned(), Value::from("medium")))
            }
            Some(_) => None,
            None => Some((key, value?)),
        }
    });
    step.into_iter().chain(items)
}

fn stats(message: &[u8]) -> Row {
    let mut row = Row::default();
    for (number, field) in fields(message) {
        match number {
            2 => row.time = Some(time(field.bytes())),
            3 => {
                if let (key, Some(value)) = item(field.bytes()) {
                    row.add(format!("system/{key}"), &value);
                }
            }
            _ => {}
        }
    }
    if row.time.is_none() {
        row.time = Some(seconds(0.0));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u8, bytes: &[u8]) -> Vec<u8> {
        let head: &[u8] = if number < 16 { &[number << 3 | 2] } else { &[(number << 3 | 2) | 0x80, number >> 4] };
        [head, &[bytes.len() as u8], bytes].concat()
    }

    #[test]
    fn parts_of_a_medium_are_one_key_without_a_number() {
        let item = |parts: &[&str], json: &str| {
            let key: Vec<u8> = parts.iter().flat_map(|part| message(2, part.as_bytes())).collect();
            message(1, &[key, message(16, json.as_bytes())].concat())
        };
        let items = [
            item(&["hist", "bins"], "[1]"),
            item(&["hist", "_type"], "\"histogram\""),
            item(&["a", "b"], "NaN"),
            item(&["_timestamp"], "1.5"),
        ];
        let mut found = Vec::new();
        entries(&message(2, &items.concat()), &mut |entry| found.push(entry));
        let [Entry::Row(row)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(row.other, ["hist"]);
        assert_eq!(row.time.map(mlops_core::Timestamp::as_millis), Some(1_500));
        assert!(matches!(row.values.as_slice(), [(key, value)] if key == "a.b" && value.is_nan()));
    }
}
