//! From an answer of the REST API to what a query selects of it.
//!
//! Invariant: every field that is selected is in the data, with protobuf's default where the answer leaves it out.

use std::collections::{BTreeMap, BTreeSet};

use mlops_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::{
    parse::{Directive, Document, Field, Selection},
    schema::{Kind, Type},
};
use crate::mlflow::request::snake_case;

/// Bytes of text that count as one value.
const TEXT_BYTES: usize = 64;

/// A query with the values of its variables.
#[derive(Debug)]
pub(super) struct Selected<'a> {
    pub(super) document: &'a Document,
    pub(super) variables: &'a Map<String, Value>,
}

pub(super) fn unknown_field(name: &str, kind: &str) -> Error {
    Error::invalid_argument(format!("Cannot query field '{name}' on type '{kind}'."))
}

/// What is to be shown under one key of an object, for whatever object is at that place.
#[derive(Debug)]
pub(super) struct Place<'a> {
    shown: &'a str,
    /// The name in answers of the REST API, or that of the type.
    name: String,
    /// None shows the name of the type.
    kind: Option<Kind>,
    inner: Vec<Place<'a>>,
}

/// Whether objects called `name` are to show their `inner`.
pub(super) fn asks(places: &[Place<'_>], name: &str, inner: &str) -> bool {
    let shows = |places: &[Place<'_>], name| places.iter().any(|place| place.kind.is_some() && place.name == name);
    places.iter().any(|place| place.name == name && shows(&place.inner, inner))
}

pub(super) fn conflict(shown: &str) -> Error {
    Error::invalid_argument(format!(
        "Fields '{shown}' conflict because they are different fields. Use different aliases on the fields to fetch both \
         if this was intentional."
    ))
}

impl<'a> Selected<'a> {
    /// The fields at one place, which several fields of one key select together, by their keys in the data; without
    /// those that directives leave out. All of one key have the same name.
    pub(super) fn keyed(
        &self,
        sets: impl DoubleEndedIterator<Item = &'a [Selection]>,
    ) -> Result<Vec<(&'a str, Vec<&'a Field>)>> {
        let mut keyed: Vec<(&str, Vec<&Field>)> = Vec::new();
        let (mut known, mut spread) = (BTreeMap::new(), BTreeSet::new());
        let mut waiting: Vec<&Selection> = sets.rev().flat_map(|selections| selections.iter().rev()).collect();
        while let Some(selection) = waiting.pop() {
            if !self.wanted(selection.directives())? {
                continue;
            }
            match selection {
                Selection::Field(field) => {
                    let shown = field.alias.as_ref().unwrap_or(&field.name).as_str();
                    let at = *known.entry(shown).or_insert(keyed.len());
                    match keyed.get_mut(at) {
                        None => keyed.push((shown, vec![field])),
                        Some((_, same)) if same.iter().all(|other| other.name == field.name) => same.push(field),
                        Some(_) => return Err(conflict(shown)),
                    }
                }
                Selection::Inline(inner, _) => waiting.extend(inner.iter().rev()),
                Selection::Spread(name, _) if spread.insert(name) => {
                    let inner = self.document.fragments.get(name);
                    let inner = inner.ok_or_else(|| Error::invalid_argument(format!("Unknown fragment '{name}'.")))?;
                    waiting.extend(inner.iter().rev());
                }
                Selection::Spread(..) => {}
            }
        }
        Ok(keyed)
    }

    fn wanted(&self, directives: &[Directive]) -> Result<bool> {
        for directive in directives {
            let leaves_out = match directive.name.as_str() {
                "skip" => true,
                "include" => false,
                _ => continue,
            };
            let condition = directive.arguments.get("if").map(|input| input.flag(self.variables)).transpose()?;
            if condition.flatten() == Some(leaves_out) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What is selected of objects of a type by all fields of one key.
    ///
    /// # Errors
    /// `InvalidArgument` for what the type does not have.
    pub(super) fn plan(&self, kind: &'static Type, fields: &[&'a Field]) -> Result<Vec<Place<'a>>> {
        if let Some(field) = fields.iter().find(|field| field.selections.is_empty()) {
            return Err(Error::invalid_argument(format!(
                "Field '{}' of type '{}' must have a selection of subfields.",
                field.name, kind.name
            )));
        }
        let keyed = self.keyed(fields.iter().map(|field| field.selections.as_slice()))?;
        keyed.into_iter().map(|(shown, fields)| self.place(kind, shown, &fields)).collect()
    }

    fn place(&self, kind: &'static Type, shown: &'a str, fields: &[&'a Field]) -> Result<Place<'a>> {
        let name = fields.first().map_or(shown, |field| field.name.as_str());
        if let Some(argument) = fields.iter().find_map(|field| field.arguments.keys().next()) {
            return Err(Error::invalid_argument(format!("Unknown argument '{argument}' on field '{name}'.")));
        }
        if name == "__typename" {
            return Ok(Place { shown, name: kind.name.to_owned(), kind: None, inner: Vec::new() });
        }
        let known = kind.fields.iter().find(|(field, _)| *field == name);
        let of = known.ok_or_else(|| unknown_field(name, kind.name))?.1;
        let inner = match of {
            Kind::One(of) | Kind::Many(of) | Kind::Maybe(of) => self.plan(of, fields)?,
            _ if fields.iter().all(|field| field.selections.is_empty()) => Vec::new(),
            _ => {
                let message = format!("Field '{name}' must not have a selection since it has no subfields.");
                return Err(Error::invalid_argument(message));
            }
        };
        Ok(Place { shown, name: snake_case(name), kind: Some(of), inner })
    }
}

/// How many values the data of one query may still have.
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
    max: usize,
}

impl Budget {
    pub(super) fn new(max: usize) -> Self {
        Self { left: max, max }
    }

    fn spend(&mut self, values: usize) -> Result<()> {
        self.left = self.left.checked_sub(values).ok_or_else(|| {
            let message = format!("the query selects more than {} values; ask for fewer objects or fields", self.max);
            Error::resource_exhausted(message)
        })?;
        Ok(())
    }
}

/// How many values one counts for: long texts for several.
fn weight(value: Option<&Value>) -> usize {
    match value {
        Some(Value::String(text)) => 1 + text.len() / TEXT_BYTES,
        Some(Value::Array(values)) => 1 + values.iter().map(|value| weight(Some(value))).sum::<usize>(),
        _ => 1,
    }
}

/// What is selected of an object.
///
/// # Errors
/// `ResourceExhausted` beyond the budget.
pub(super) fn project(places: &[Place<'_>], value: &Value, budget: &mut Budget) -> Result<Value> {
    let mut out = Map::new();
    for place in places {
        let shown = match place.kind {
            None => {
                budget.spend(1)?;
                Value::from(place.name.as_str())
            }
            Some(kind) => project_field(kind, value.get(&place.name), &place.inner, budget)?,
        };
        out.insert(place.shown.to_owned(), shown);
    }
    Ok(Value::Object(out))
}

fn project_field(kind: Kind, value: Option<&Value>, inner: &[Place<'_>], budget: &mut Budget) -> Result<Value> {
    let nested = matches!(kind, Kind::One(_) | Kind::Maybe(_) | Kind::Many(_));
    budget.spend(if nested { 1 } else { weight(value) })?;
    Ok(match kind {
        Kind::Text => value.cloned().unwrap_or_else(|| "".into()),
        Kind::Long => match value {
            Some(Value::String(text)) => text.as_str().into(),
            Some(number) => number.to_string().into(),
            None => "0".into(),
        },
        Kind::Float => match value {
            Some(Value::String(text)) => finite(text),
            Some(number) => number.clone(),
            None => json!(0.0),
        },
        Kind::Flag => value.cloned().unwrap_or(Value::Bool(false)),
        Kind::Texts => value.cloned().unwrap_or_else(|| Value::Array(Vec::new())),
        Kind::Maybe(_) if value.is_none() => Value::Null,
        Kind::One(_) | Kind::Maybe(_) => project(inner, value.unwrap_or(&Value::Null), budget)?,
        Kind::Many(_) => {
            let items = value.and_then(Value::as_array).into_iter().flatten();
            items.map(|item| project(inner, item, budget)).collect::<Result<Vec<_>>>()?.into()
        }
    })
}

/// A number that JSON lacks: none for NaN, and the largest for infinities, as MLflow stores them.
fn finite(text: &str) -> Value {
    match text {
        "Infinity" => f64::MAX.into(),
        "-Infinity" => f64::MIN.into(),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{parse::parse, schema},
        *,
    };

    fn projected(query: &str, value: &Value, values_max: usize) -> Result<Value> {
        let document = parse(query)?;
        let selected = Selected { document: &document, variables: &Map::new() };
        let Selection::Field(root) = &document.operations[0].selections[0] else { panic!("a field") };
        project(&selected.plan(&schema::GET_RUN, &[root])?, value, &mut Budget::new(values_max))
    }

    #[test]
    fn what_is_selected_has_its_default() {
        let query = "{ root { run { info { id: runId } info { endTime __typename } \
             data { metrics { value step } params { key } } \
             experiment @skip(if: true) { name } ...g } apiError { code } } } \
             fragment g on R { outputs { modelOutputs { step } } }";
        let value = json!({ "run": { "info": { "run_id": "r" }, "data": {
            "metrics": [{ "value": "NaN", "step": 3 }, { "value": "-Infinity" }] } } });
        let metrics = json!([{ "value": null, "step": "3" }, { "value": f64::MIN, "step": "0" }]);
        let expected = json!({ "apiError": null, "run": {
            "info": { "id": "r", "endTime": "0", "__typename": "MlflowRunInfo" },
            "data": { "metrics": metrics, "params": [] }, "outputs": { "modelOutputs": [] } } });
        assert_eq!(projected(query, &value, 100).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_selected_is_refused() {
        for (query, message) in [
            ("{ root { run { info { a: runId a: status } } } }", "Fields 'a' conflict because"),
            ("{ root { run { info(a: 1) { runId } } } }", "Unknown argument 'a' on field 'info'."),
            ("{ root { run } }", "Field 'run' of type 'MlflowRunExtension' must have a selection"),
            ("{ root { run { info { runId { x } } } } }", "Field 'runId' must not have a selection"),
            ("{ root { run { info { runId @skip(if: $x) } } } }", "Variable '$x' is not defined."),
            ("{ root { ...f } }", "Unknown fragment 'f'."),
        ] {
            let refused = projected(query, &Value::Null, 100).unwrap_err();
            assert!(refused.message().starts_with(message), "{query}: {refused}");
        }
    }

    #[test]
    fn items_and_their_fields_are_counted_together() {
        let query = "{ root { run { data { metrics { step timestamp } } } } }";
        let value = |items: usize| json!({ "run": { "data": { "metrics": vec![json!({}); items] } } });
        assert!(projected(query, &value(10), 23).is_ok());
        let refused = projected(query, &value(11), 23).unwrap_err();
        assert!(refused.message().contains("more than 23 values"), "{refused}");
        let long = json!({ "run": { "info": { "run_id": "x".repeat(64 * 100) } } });
        assert!(projected("{ root { run { info { runId } } } }", &long, 100).is_err());
    }
}
