//! Detectors run over streams.

use mlops_core::{Error, Result};
use mlops_monitor::stream::{
    Adwin, AdwinSettings, Ddm, DdmSettings, Eddm, EddmSettings, Fhddm, FhddmSettings, HddmA, HddmASettings, HddmW,
    HddmWSettings, Kswin, KswinSettings, OneMeans, PageHinkley, PageHinkleySettings, Signal, StreamDetector,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::inputs::{bernoulli, segments};

pub(crate) fn case(case: &Value) -> Result<Value> {
    let values = match case.get("segments") {
        Some(Value::Array(list)) => segments(list)?,
        _ => bernoulli(case.get("bernoulli").and_then(Value::as_array).map_or(&[], Vec::as_slice))?,
    };
    let wanted = case.get("expected").and_then(Value::as_array).cloned().unwrap_or_default();
    let found = wanted.iter().map(|wanted| run(wanted, &values)).collect::<Result<Vec<_>>>()?;
    Ok(json!({ "name": case.get("name"), "expected": found }))
}

/// Runs the detector that an entry names, with its parameters.
fn run(wanted: &Value, values: &[f64]) -> Result<Value> {
    let name = wanted.get("detector").and_then(Value::as_str).unwrap_or_default();
    let params = wanted.get("params").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut found = match name {
        "ADWIN" => {
            let names = [("grace_period", "values_min")];
            let mut detector = Adwin::new(settings::<AdwinSettings>(&params, &names)?)?;
            let mut found = drifts(&mut detector, values);
            found.insert("final_width".to_owned(), json!(detector.width()));
            found.insert("final_estimation".to_owned(), json!(detector.estimation()));
            found
        }
        "PageHinkley" => {
            let names = [("mode", "direction"), ("min_instances", "values_min"), ("alpha", "forgetting")];
            drifts(&mut PageHinkley::new(settings::<PageHinkleySettings>(&params, &names)?)?, values)
        }
        "KSWIN" => {
            let names = [("window_size", "window"), ("stat_size", "recent")];
            drifts(&mut Kswin::new(settings::<KswinSettings>(&params, &names)?)?, values)
        }
        "DDM" => {
            let names = [("warm_start", "values_min"), ("drift_threshold", "drift"), ("warning_threshold", "warning")];
            alarms(&mut Ddm::new(settings::<DdmSettings>(&params, &names)?)?, bits(values))
        }
        "EDDM" => {
            let names = [("warm_start", "errors_min"), ("alpha", "warning"), ("beta", "drift")];
            let mut detector = Eddm::new(settings::<EddmSettings>(&params, &names)?)?;
            let signals: Vec<Signal> = bits(values).map(|value| detector.update(value)).collect();
            let mut found = alarm_places(&signals);
            // The vectors count a warning that stands when the alarm comes; here the alarm takes its place.
            let standing = signals.windows(2).filter(|pair| *pair == [Signal::Warning, Signal::Drift]).count();
            let warnings = signals.iter().filter(|signal| **signal == Signal::Warning).count();
            found.insert("warnings".to_owned(), json!(warnings + standing));
            found
        }
        "HDDM_A" => alarms(&mut HddmA::new(settings::<HddmASettings>(&params, &HDDM)?)?, bits(values)),
        "HDDM_W" => alarms(&mut HddmW::new(settings::<HddmWSettings>(&params, &HDDM)?)?, bits(values)),
        "FHDDM" => {
            let names = [
                ("sliding_window_size", "window"),
                ("short_window_size", "short_window"),
                ("confidence_level", "confidence"),
            ];
            let settings = settings::<FhddmSettings>(&params, &names)?;
            // The vectors feed it what they feed the others, though a one means "right" to it.
            alarms(&mut Fhddm::new(FhddmSettings { one_means: OneMeans::Right, ..settings })?, bits(values))
        }
        other => return Err(Error::invalid_argument(format!("detector {other:?} is not known"))),
    };
    found.insert("detector".to_owned(), json!(name));
    found.insert("params".to_owned(), json!(params));
    Ok(Value::Object(found))
}

/// What the peers call the settings of Hoeffding's and McDiarmid's tests.
const HDDM: [(&str, &str); 4] = [
    ("drift_confidence", "drift"),
    ("warning_confidence", "warning"),
    ("two_sided_test", "two_sided"),
    ("lambda_val", "weight"),
];

/// Settings from parameters under the names that peers give them.
fn settings<T: DeserializeOwned>(params: &Map<String, Value>, names: &[(&str, &str)]) -> Result<T> {
    let ours = |name: String| match names.iter().find(|(theirs, _)| *theirs == name) {
        Some((_, ours)) => (*ours).to_owned(),
        None => name,
    };
    let renamed: Map<String, Value> = params.iter().map(|(name, value)| (ours(name.clone()), value.clone())).collect();
    serde_json::from_value(Value::Object(renamed))
        .map_err(|error| Error::invalid_argument(format!("parameters of a detector: {error}")))
}

fn bits(values: &[f64]) -> impl Iterator<Item = bool> + '_ {
    values.iter().map(|value| *value != 0.0)
}

fn alarms<D: StreamDetector>(detector: &mut D, values: impl Iterator<Item = D::Input>) -> Map<String, Value> {
    alarm_places(&values.map(|value| detector.update(value)).collect::<Vec<_>>())
}

/// The alarms of a detector that never warns.
fn drifts<D: StreamDetector>(detector: &mut D, values: &[D::Input]) -> Map<String, Value> {
    let mut signals = vec![Signal::Stable; values.len()];
    let mut rest = signals.iter_mut();
    let mut taken = 0;
    while let Some(at) = values.get(taken..).and_then(|values| detector.update_until_drift(values)) {
        taken += at + 1;
        rest.nth(at).into_iter().for_each(|signal| *signal = Signal::Drift);
    }
    alarm_places(&signals)
}

fn alarm_places(signals: &[Signal]) -> Map<String, Value> {
    let places = |wanted: Signal| -> Vec<usize> {
        signals.iter().enumerate().filter(|(_, signal)| **signal == wanted).map(|(at, _)| at).collect()
    };
    let warnings = places(Signal::Warning);
    Map::from_iter([
        ("drift".to_owned(), json!(places(Signal::Drift))),
        ("warnings".to_owned(), json!(warnings.len())),
        ("first_warning".to_owned(), json!(warnings.first())),
    ])
}
