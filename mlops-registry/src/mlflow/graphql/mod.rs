//! `/graphql`: what MLflow's pages ask for in GraphQL, answered by the handlers of the REST API.
//!
//! Invariant: nothing is changed, and nothing is read but by those handlers and the stores they ask, so that whoever may
//! not read something by the one may not by the other. Errors are answered with status 200 and their texts in `errors`,
//! as MLflow does.

mod bound;
mod parse;
mod project;
mod schema;

use std::collections::BTreeMap;

use mlops_core::{Error, Result};
use serde_json::{Map, Value, json};

use self::{
    parse::{Document, Field, Operation},
    project::{Budget, Place, Selected},
    schema::{Call, Root},
};
use super::{Api, answer, experiments, files, history, lineage, request::Params, run_answer, runs, versions};
use crate::{PageRequest, Search};

/// Most runs of one page.
const RUNS_MAX: usize = 1_000;
/// Runs whose model versions are looked for at once, model versions of a page, and most of one field.
const RUNS_AT_ONCE: usize = 100;
const VERSIONS_PAGE: usize = 1_000;
const VERSIONS_MAX: usize = 20_000;
/// Most values in the data of one query.
const VALUES_MAX: usize = 2_000_000;
/// Most bytes by which variables may grow a query.
const INPUT_BYTES_MAX: usize = 16 << 20;

/// Runs a query: `query`, and perhaps `variables` and `operationName`.
pub(super) async fn execute(api: Api, params: Params) -> Result<Value> {
    let query = params.required("query")?;
    let variables = variables(&params)?;
    let name = params.text("operation_name")?.or(params.text("operationName")?).filter(|name| !name.is_empty());
    Ok(match run(&api, query, variables, name).await {
        Ok((data, errors)) if errors.is_empty() => json!({ "data": data, "errors": null }),
        Ok((data, errors)) => json!({ "data": data, "errors": errors }),
        Err(error) => json!({ "data": null, "errors": [error.message()] }),
    })
}

/// The data, and the errors of fields that are null in it.
async fn run(
    api: &Api,
    query: &str,
    given: Map<String, Value>,
    name: Option<&str>,
) -> Result<(Map<String, Value>, Vec<String>)> {
    let document = parse::parse(query)?;
    bound::check(&document)?;
    let operation = chosen(&document, name)?;
    let mut variables = operation.variables.clone();
    for (name, value) in given {
        if let Some(known) = variables.get_mut(&name) {
            *known = value;
        }
    }
    // A variable is copied wherever it stands.
    let copied = variables.values().map(bytes).sum::<usize>().saturating_mul(document.variable_uses.saturating_sub(1));
    if copied > INPUT_BYTES_MAX {
        return Err(Error::invalid_argument("Variables are used too often for their size"));
    }
    let selected = Selected { document: &document, variables: &variables };
    let (roots, kind): (&[Root], _) =
        if operation.mutation { (&schema::MUTATION, "Mutation") } else { (&schema::QUERY, "Query") };
    let mut asked = Vec::new();
    for (shown, fields) in selected.keyed(std::iter::once(operation.selections.as_slice()))? {
        asked.push((shown, Asked::read(&selected, (roots, kind), shown, &fields)?));
    }
    let (mut data, mut errors) = (Map::new(), Vec::new());
    let (mut experiments, mut budget) = (BTreeMap::new(), Budget::new(VALUES_MAX));
    for (shown, asked) in asked {
        let value = match asked {
            Asked::Name => kind.into(),
            Asked::Call { root, places, input } => {
                let answer = call(api, root, &places, input, &mut experiments).await;
                answer.and_then(|answer| project::project(&places, &answer, &mut budget)).unwrap_or_else(|error| {
                    errors.push(error.message().to_owned());
                    Value::Null
                })
            }
        };
        data.insert(shown.to_owned(), value);
    }
    Ok((data, errors))
}

/// The variables that are given, as an object or as its text.
fn variables(params: &Params) -> Result<Map<String, Value>> {
    let wrong = |why: String| Error::invalid_argument(format!("Invalid value for parameter 'variables': {why}"));
    match params.value("variables") {
        None => Ok(Map::new()),
        Some(Value::Object(variables)) => Ok(variables.clone()),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(Map::new()),
        Some(Value::String(text)) => serde_json::from_str::<Option<_>>(text)
            .map(Option::unwrap_or_default)
            .map_err(|error| wrong(format!("expected a JSON object; {error}"))),
        Some(_) => Err(wrong("expected a JSON object".to_owned())),
    }
}

/// About how many bytes a value takes.
fn bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => size_of::<Value>() + text.len(),
        Value::Array(values) => size_of::<Value>() + values.iter().map(bytes).sum::<usize>(),
        Value::Object(fields) => {
            size_of::<Value>() + fields.iter().map(|(name, value)| name.len() + bytes(value)).sum::<usize>()
        }
        _ => size_of::<Value>(),
    }
}

/// What is asked for under one key at the top.
enum Asked<'a> {
    /// The name of the type.
    Name,
    Call {
        root: &'static Root,
        places: Vec<Place<'a>>,
        input: Value,
    },
}

impl<'a> Asked<'a> {
    /// All fields of a key are one call, so they must ask with the same input.
    fn read(
        selected: &Selected<'a>,
        (roots, kind): (&'static [Root], &str),
        shown: &str,
        fields: &[&'a Field],
    ) -> Result<Self> {
        let Some((first, others)) = fields.split_first() else { return Err(Error::internal("a key has no fields")) };
        if first.name == "__typename" {
            return Ok(Self::Name);
        }
        let root = roots.iter().find(|root| root.name == first.name);
        let root = root.ok_or_else(|| project::unknown_field(&first.name, kind))?;
        let places = selected.plan(root.answer, fields)?;
        let asked = input(root, first, selected.variables)?;
        for other in others {
            if input(root, other, selected.variables)? != asked {
                return Err(project::conflict(shown));
            }
        }
        Ok(Self::Call { root, places, input: asked })
    }
}

fn chosen<'a>(document: &'a Document, name: Option<&str>) -> Result<&'a Operation> {
    match (name, &document.operations[..]) {
        (None, [only]) => Ok(only),
        (None, _) => Err(Error::invalid_argument("Must provide operation name if query contains multiple operations.")),
        (Some(name), operations) => operations
            .iter()
            .find(|operation| operation.name.as_deref() == Some(name))
            .ok_or_else(|| Error::invalid_argument(format!("Unknown operation named '{name}'."))),
    }
}

/// The input of a call, every field of which must be known.
fn input(root: &Root, field: &Field, variables: &Map<String, Value>) -> Result<Value> {
    if root.call == Call::Echo {
        let text =
            field.arguments.get("inputString").map(|input| input.value(variables)).transpose()?.unwrap_or_default();
        return Ok(json!({ "output": text }));
    }
    if let Some(other) = field.arguments.keys().find(|name| *name != "input") {
        return Err(Error::invalid_argument(format!("Unknown argument '{other}' on field '{}'.", root.name)));
    }
    let given = field.arguments.get("input").map(|input| input.value(variables)).transpose()?.unwrap_or_default();
    let unknown = given.as_object().and_then(|fields| fields.keys().find(|name| !root.input.contains(&name.as_str())));
    match unknown {
        Some(name) => {
            Err(Error::invalid_argument(format!("Field '{name}' is not defined by the input of '{}'.", root.name)))
        }
        None => Ok(given),
    }
}

async fn call(
    api: &Api,
    root: &Root,
    places: &[Place<'_>],
    input: Value,
    experiments: &mut BTreeMap<String, Value>,
) -> Result<Value> {
    let api = Api::clone(api);
    if root.call == Call::Echo {
        return Ok(input);
    }
    let params = Params::from_value(input, String::new())?;
    match root.call {
        Call::Echo => Ok(Value::Null),
        Call::Experiment => experiments::get(api, params).await,
        Call::Run => {
            let mut answer = runs::get(Api::clone(&api), params).await?;
            if let Some(run) = answer.get_mut("run") {
                extend_runs(&api, places, "run", std::slice::from_mut(run), experiments).await?;
            }
            Ok(answer)
        }
        Call::Files => files::list_of_run(api, params).await,
        Call::Sampled => to_value(history::sampled(api, params).await?),
        Call::Versions => versions::search(api, params).await,
        Call::Runs => {
            let mut answer = search_runs(&api, &params).await?;
            if let Some(runs) = answer.get_mut("runs").and_then(Value::as_array_mut) {
                extend_runs(&api, places, "runs", runs, experiments).await?;
            }
            Ok(answer)
        }
        Call::Datasets => lineage::search_datasets(api, params).await,
    }
}

fn to_value(value: impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| Error::internal("an answer cannot be written").with_source(error))
}

async fn search_runs(api: &Api, params: &Params) -> Result<Value> {
    let page = params.page(RUNS_MAX, 50_000)?;
    let page = PageRequest { max_results: page.max_results.map(|size| size.min(RUNS_MAX)), ..page };
    let found = api.tracking.search_runs(&params.experiment_ids()?, &params.search("run_view_type", page)?).await?;
    let models = api.models_of(&found.items).await?;
    let runs = found.items.iter().enumerate().map(|(at, run)| to_value(run_answer::run(run, models.get(at))));
    let runs = Value::Array(runs.collect::<Result<_>>()?);
    Ok(answer::object([("runs", runs), ("next_page_token", found.next_page_token.into())]))
}

/// Adds to runs what GraphQL's have beyond those of the REST API, where it is asked for. Experiments are read once.
async fn extend_runs(
    api: &Api,
    places: &[Place<'_>],
    name: &str,
    runs: &mut [Value],
    experiments: &mut BTreeMap<String, Value>,
) -> Result<()> {
    if project::asks(places, name, "experiment") {
        for run in runs.iter_mut() {
            let id = info(run, "experiment_id");
            if !experiments.contains_key(&id) {
                let found = api.tracking.experiment(id.parse()?).await?;
                experiments.insert(id.clone(), answer::experiment(&found));
            }
            add(run, "experiment", experiments.get(&id).cloned().unwrap_or_default());
        }
    }
    if project::asks(places, name, "model_versions") {
        let mut versions = versions_of(api, runs).await?;
        for run in runs {
            let found = versions.remove(&info(run, "run_id")).unwrap_or_default();
            add(run, "model_versions", Value::Array(found));
        }
    }
    Ok(())
}

fn info(run: &Value, name: &str) -> String {
    let value = run.get("info").and_then(|info| info.get(name)?.as_str());
    value.unwrap_or_default().to_owned()
}

fn add(run: &mut Value, name: &str, value: Value) {
    if let Some(fields) = run.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

/// The model versions of runs, many runs at a time.
async fn versions_of(api: &Api, runs: &[Value]) -> Result<BTreeMap<String, Vec<Value>>> {
    let (mut versions, mut count) = (BTreeMap::<String, Vec<Value>>::new(), 0);
    for runs in runs.chunks(RUNS_AT_ONCE) {
        let ids: Vec<String> = runs.iter().map(|run| format!("'{}'", info(run, "run_id"))).collect();
        let page = PageRequest { max_results: Some(VERSIONS_PAGE), token: None };
        let mut search = Search { filter: format!("run_id IN ({})", ids.join(", ")), page, ..Search::default() };
        loop {
            let found = api.registry.search_versions(&search).await?;
            count += found.items.len();
            if count > VERSIONS_MAX {
                return Err(Error::resource_exhausted(format!(
                    "the runs have more than {VERSIONS_MAX} model versions; ask for fewer runs"
                )));
            }
            for version in found.items.iter().map(answer::version) {
                let run = version.get("run_id").and_then(Value::as_str).unwrap_or_default().to_owned();
                versions.entry(run).or_default().push(version);
            }
            search.page.token = found.next_page_token;
            if search.page.token.is_none() {
                break;
            }
        }
    }
    Ok(versions)
}
