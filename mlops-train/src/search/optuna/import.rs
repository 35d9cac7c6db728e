//! Reads a study that Optuna wrote.
//!
//! Optuna's spaces are defined by running: a parameter that only some trials have is made to depend on one that all
//! have and whose values tell the two apart; where there is none, the study cannot be read.

use std::collections::{BTreeMap, BTreeSet};

use mlops_core::{Error, Result};
use mlops_metrics::Direction;
use mlops_store::{MetaStore, MetaStoreExt, params};
use serde_json::Value;

use super::{
    CONSTRAINT,
    distribution::{Distribution, union, value},
};
use crate::{
    params::{ParamValue, Params},
    search::{
        sampler::SamplerSettings,
        space::{ParamSpace, SearchSpace},
        study::Study,
        trial::{Trial, TrialState},
    },
};

/// Parameters and values of a trial before the space is known.
#[derive(Debug, Default)]
struct Raw {
    state: String,
    numbers: BTreeMap<String, (ParamSpace, f64)>,
    values: BTreeMap<u64, f64>,
    finite: bool,
    reports: BTreeMap<u64, f64>,
    constraints: BTreeMap<String, f64>,
    user_attributes: BTreeMap<String, Value>,
}

/// Reads the study of a name from Optuna's tables; it goes on with the sampler and the seed that are given. Trials that
/// Optuna had not begun are left out, and running ones are failed.
///
/// # Errors
/// `NotFound` when there is no such study; `FailedPrecondition` when its space cannot be told from its trials or has
/// choices that are no text, number, switch or null; `DataLoss` for damaged rows; those of the store.
pub async fn import_optuna(store: &dyn MetaStore, name: &str, sampler: SamplerSettings, seed: u64) -> Result<Study> {
    let sql = "SELECT study_id FROM studies WHERE study_name = $1";
    let row = store.query_opt(sql, params![name]).await?;
    let id: i64 = row.ok_or_else(|| Error::not_found(format!("there is no study {name:?}")))?.get("study_id")?;
    let sql = "SELECT direction FROM study_directions WHERE study_id = $1 ORDER BY objective";
    let directions = store.query(sql, params![id]).await?;
    let directions = directions.iter().map(|row| {
        Ok(match row.get::<String>("direction")?.as_str() {
            "MAXIMIZE" => Direction::Maximize,
            _ => Direction::Minimize,
        })
    });
    let directions = directions.collect::<Result<Vec<Direction>>>()?;
    let raws = read(store, id).await?;
    let space = space(&raws)?;
    let mut study =
        Study::multi_objective(space, directions).with_name(name).with_sampler(sampler).with_seed(seed).build()?;
    for (number, raw) in raws.into_values().filter(|raw| raw.state != "WAITING").enumerate() {
        let trial = raw.into_trial(number, &study)?;
        study.adopt_sound(trial)?;
    }
    Ok(study)
}

async fn read(store: &dyn MetaStore, id: i64) -> Result<BTreeMap<i64, Raw>> {
    let mut raws: BTreeMap<i64, Raw> = BTreeMap::new();
    for row in store.query("SELECT number, state FROM trials WHERE study_id = $1", params![id]).await? {
        raws.insert(row.get("number")?, Raw { state: row.get("state")?, finite: true, ..Raw::default() });
    }
    let of = |columns: &str, table: &str| {
        format!(
            "SELECT t.number AS number, {columns} FROM {table} v JOIN trials t ON v.trial_id = t.trial_id WHERE \
             t.study_id = $1"
        )
    };
    let sql = of("v.param_name AS name, v.param_value AS value, v.distribution_json AS json", "trial_params");
    for row in store.query(&sql, params![id]).await? {
        let (name, json) = (row.get::<String>("name")?, row.get::<String>("json")?);
        let distribution: Distribution = serde_json::from_str(&json).map_err(|error| {
            Error::data_loss(format!("distribution of parameter {name:?} cannot be read")).with_source(error)
        })?;
        let space = distribution.into_space(&name)?;
        let number = row.get("value")?;
        raws.entry(row.get("number")?).or_default().numbers.insert(name, (space, number));
    }
    let sql = of("v.objective AS objective, v.value AS value", "trial_values");
    for row in store.query(&sql, params![id]).await? {
        let raw = raws.entry(row.get("number")?).or_default();
        match row.get::<Option<f64>>("value")? {
            Some(value) if value.is_finite() => drop(raw.values.insert(row.get("objective")?, value)),
            // Versions before 3.0 kept infinities as numbers, later ones beside a null.
            _ => raw.finite = false,
        }
    }
    let sql = of("v.step AS step, v.intermediate_value AS value", "trial_intermediate_values");
    for row in store.query(&sql, params![id]).await? {
        if let Some(value) = row.get::<Option<f64>>("value")?.filter(|value| value.is_finite()) {
            raws.entry(row.get("number")?).or_default().reports.insert(row.get("step")?, value);
        }
    }
    let sql = of("v.\"key\" AS name, v.value_json AS json", "trial_user_attributes");
    for row in store.query(&sql, params![id]).await? {
        let (name, json) = (row.get::<String>("name")?, row.get::<String>("json")?);
        // Optuna writes `NaN` there, too, which is no JSON: that one is kept as the text it is.
        let value = serde_json::from_str(&json).unwrap_or(Value::String(json));
        raws.entry(row.get("number")?).or_default().user_attributes.insert(name, value);
    }
    let sql = of("v.\"key\" AS name, v.value_json AS json", "trial_system_attributes");
    for row in store.query(&sql, params![id]).await? {
        let (name, json) = (row.get::<String>("name")?, row.get::<String>("json")?);
        if let (Some(name), Ok(value)) = (name.strip_prefix(CONSTRAINT), serde_json::from_str(&json)) {
            raws.entry(row.get("number")?).or_default().constraints.insert(name.to_owned(), value);
        }
    }
    Ok(raws)
}

/// The space of all trials together.
fn space(raws: &BTreeMap<i64, Raw>) -> Result<SearchSpace> {
    let mut spaces: BTreeMap<&str, ParamSpace> = BTreeMap::new();
    for (name, (space, _)) in raws.values().flat_map(|raw| &raw.numbers) {
        let both = spaces.get(name.as_str()).map_or(Some(space.clone()), |known| union(known, space));
        let fault = || Error::failed_precondition(format!("parameter {name:?} has distributions that differ in kind"));
        spaces.insert(name, both.ok_or_else(fault)?);
    }
    let with_params: Vec<&Raw> = raws.values().filter(|raw| !raw.numbers.is_empty()).collect();
    let everywhere = |name: &str| with_params.iter().all(|raw| raw.numbers.contains_key(name));
    let mut built = SearchSpace::new();
    for (name, space) in &spaces {
        built = built.with(*name, space.clone());
    }
    for name in spaces.keys().filter(|name| !everywhere(name)) {
        let mut parents: Vec<(&&str, &ParamSpace)> =
            spaces.iter().filter(|(parent, space)| everywhere(parent) && space.count().is_some()).collect();
        // A number may tell trials apart by chance, a choice rather by design.
        parents.sort_by_key(|(_, space)| space.range().is_some());
        let found =
            parents.into_iter().find_map(|(parent, space)| Some((*parent, tells(&with_params, name, parent, space)?)));
        let (parent, values) = found.ok_or_else(|| {
            Error::failed_precondition(format!(
                "parameter {name:?} is absent from some trials for no reason that shows"
            ))
        })?;
        built = built.with_condition(name, parent, values);
    }
    Ok(built)
}

/// The values of the parent with which a parameter exists, when no value occurs both with and without it.
fn tells(raws: &[&Raw], name: &str, parent: &str, space: &ParamSpace) -> Option<Vec<ParamValue>> {
    let bits = |has: bool| -> BTreeSet<u64> {
        let of = raws.iter().filter(|raw| raw.numbers.contains_key(name) == has);
        of.filter_map(|raw| Some(raw.numbers.get(parent)?.1.to_bits())).collect()
    };
    let with = bits(true);
    (with.is_disjoint(&bits(false)) && !with.is_empty())
        .then(|| with.into_iter().filter_map(|bits| value(space, f64::from_bits(bits))).collect())
}

impl Raw {
    fn into_trial(self, number: usize, study: &Study) -> Result<Trial> {
        let read = |(name, (_, number)): (&String, &(ParamSpace, f64))| {
            let value = study.space().get(name).and_then(|space| value(space, *number));
            Some((name.clone(), value?))
        };
        let params: Option<Params> =
            self.numbers.iter().map(read).collect::<Option<Vec<_>>>().map(|pairs| pairs.into_iter().collect());
        let params =
            params.ok_or_else(|| Error::data_loss(format!("trial {number} has a value outside its choices")))?;
        let mut trial = Trial::begin(number, params, BTreeMap::new());
        let told = self.finite && self.values.len() == study.directions().len();
        trial.state = match self.state.as_str() {
            "COMPLETE" if told => TrialState::Complete,
            "PRUNED" => TrialState::Pruned,
            _ => TrialState::Failed,
        };
        if trial.state == TrialState::Complete {
            trial.values = self.values.into_values().collect();
        }
        if trial.state != TrialState::Failed {
            trial.constraints = self.constraints.into_values().collect();
        }
        trial.reports = self.reports;
        trial.user_attributes = self.user_attributes;
        trial.ended = Some(number);
        Ok(trial)
    }
}
