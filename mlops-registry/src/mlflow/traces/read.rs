//! Traces and assessments as MLflow's clients write them.

use std::collections::BTreeMap;

use mlops_core::{Error, Result, Timestamp};

use crate::{
    Assessment, AssessmentSource, AssessmentUpdate, AssessmentValue, CreateAssessment, ExperimentId, TraceInfo,
    mlflow::request::Params, traces::duration_ms,
};

/// The experiments of a search.
pub(super) fn locations(params: &Params) -> Result<Vec<ExperimentId>> {
    params.given_list("locations")?;
    params.objects("locations")?.iter().map(location).collect()
}

fn location(location: &Params) -> Result<ExperimentId> {
    location.object("mlflow_experiment")?.experiment_id()
}

pub(super) fn info(params: &Params) -> Result<TraceInfo> {
    let started = time(params, "request_time")?.ok_or_else(|| params.missing("request_time"))?;
    let id = params.required("trace_id")?;
    let said = params.objects("assessments")?;
    Ok(TraceInfo {
        duration_ms: params.text("execution_duration")?.map(duration_ms).transpose()?,
        state: params.text("state")?.unwrap_or("STATE_UNSPECIFIED").parse()?,
        client_request_id: params.owned("client_request_id")?,
        request_preview: params.owned("request_preview")?,
        response_preview: params.owned("response_preview")?,
        metadata: params.map("trace_metadata")?,
        tags: params.map("tags")?,
        assessments: said.iter().map(|said| Ok(stored(assessment(said)?, id))).collect::<Result<_>>()?,
        ..TraceInfo::new(id, location(&params.object("trace_location")?)?, started)
    })
}

/// An assessment that comes with its trace; the store gives it its id.
fn stored(create: CreateAssessment, trace: &str) -> Assessment {
    let created = create.created.unwrap_or_default();
    Assessment::of(create, trace, String::new(), created)
}

/// An instant as RFC 3339.
fn time(params: &Params, name: &str) -> Result<Option<Timestamp>> {
    let parsed = params.text(name)?.map(str::parse::<Timestamp>).transpose()?;
    Ok(parsed.map(|time| Timestamp::from_millis(time.as_millis())))
}

pub(super) fn assessment(params: &Params) -> Result<CreateAssessment> {
    let value = value(params)?.ok_or_else(|| {
        Error::invalid_argument("Exactly one of `expectation`, `feedback`, or `issue` should be specified.")
    })?;
    let source = params.object("source")?;
    let source = AssessmentSource {
        kind: source.text("source_type")?.unwrap_or("SOURCE_TYPE_UNSPECIFIED").to_owned(),
        id: source.owned("source_id")?.unwrap_or_default(),
    };
    Ok(CreateAssessment {
        span_id: params.owned("span_id")?.filter(|id| !id.is_empty()),
        rationale: params.owned("rationale")?,
        metadata: params.map("metadata")?,
        overrides: params.owned("overrides")?.filter(|id| !id.is_empty()),
        created: time(params, "create_time")?,
        ..CreateAssessment::new(params.required("assessment_name")?, value, source)
    })
}

/// The value of whichever kind is given.
fn value(params: &Params) -> Result<Option<AssessmentValue>> {
    if params.value("feedback").is_some() {
        let feedback = params.object("feedback")?;
        let error = feedback.value("error").or(params.value("error")).cloned();
        let value = feedback.value("value").cloned().unwrap_or_default();
        return Ok(Some(AssessmentValue::Feedback { value, error }));
    }
    if params.value("expectation").is_some() {
        return expectation(&params.object("expectation")?).map(Some);
    }
    if params.value("issue").is_some() {
        let name = params.object("issue")?.owned("issue_name")?.unwrap_or_default();
        return Ok(Some(AssessmentValue::Issue { name }));
    }
    Ok(None)
}

/// Lists and maps come as JSON in a text.
fn expectation(params: &Params) -> Result<AssessmentValue> {
    let value = match params.value("serialized_value") {
        None => params.value("value").cloned().unwrap_or_default(),
        Some(_) => {
            let serialized = params.object("serialized_value")?;
            serde_json::from_str(serialized.required("value")?).map_err(|error| {
                Error::invalid_argument(format!("expectation.serialized_value.value is no JSON: {error}"))
            })?
        }
    };
    Ok(AssessmentValue::Expectation { value })
}

/// What an update changes: the fields of the assessment that its mask names.
pub(super) fn update(params: &Params) -> Result<AssessmentUpdate> {
    let (said, mask) = (params.object("assessment")?, params.text("update_mask")?.unwrap_or_default());
    let mut update = AssessmentUpdate::default();
    for path in mask.split(',').map(str::trim).filter(|path| !path.is_empty()) {
        match path {
            "assessmentName" | "assessment_name" => update.name = Some(said.required("assessment_name")?.to_owned()),
            "feedback" | "expectation" => update.value = value(&said)?,
            "rationale" => update.rationale = Some(said.owned("rationale")?.unwrap_or_default()),
            "metadata" => update.metadata = said.map::<BTreeMap<String, String>>("metadata")?,
            other => {
                return Err(Error::invalid_argument(format!(
                    "update_mask names {other:?}; assessment_name, feedback, expectation, rationale and metadata can be updated"
                )));
            }
        }
    }
    Ok(update)
}
