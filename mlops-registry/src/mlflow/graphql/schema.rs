//! What can be asked for: MLflow's names of types, fields and inputs.
//!
//! A field has the name of MLflow's REST API in camel case. Integers of 64 bits are text, as GraphQL has none.

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// An integer of 64 bits, written as text.
    Long,
    Float,
    Flag,
    Texts,
    One(&'static Type),
    Many(&'static Type),
    /// An object that is null unless it is there.
    Maybe(&'static Type),
}

/// An object.
#[derive(Debug)]
pub(super) struct Type {
    pub(super) name: &'static str,
    pub(super) fields: &'static [(&'static str, Kind)],
}

use Kind::{Flag, Float, Long, Many, Maybe, One, Text, Texts};

macro_rules! types {
    ($($name:ident: $shown:literal { $($field:literal: $kind:expr),* $(,)? })*) => {
        $(pub(super) static $name: Type = Type { name: $shown, fields: &[$(($field, $kind)),*] };)*
    };
}

types! {
    ECHO: "Test" { "output": Text }
    ERROR_DETAIL: "ErrorDetail" { "field": Text, "message": Text }
    API_ERROR: "ApiError" {
        "code": Text, "message": Text, "helpUrl": Text, "traceId": Text, "errorDetails": Many(&ERROR_DETAIL),
    }
    PAIR: "MlflowTag" { "key": Text, "value": Text }
    EXPERIMENT: "MlflowExperiment" {
        "experimentId": Text, "name": Text, "artifactLocation": Text, "lifecycleStage": Text, "lastUpdateTime": Long,
        "creationTime": Long, "tags": Many(&PAIR), "effectiveTraceArchivalRetention": Text, "workspace": Text,
    }
    METRIC: "MlflowMetric" {
        "key": Text, "value": Float, "timestamp": Long, "step": Long, "datasetName": Text, "datasetDigest": Text,
        "modelId": Text, "runId": Text,
    }
    RUN_INFO: "MlflowRunInfo" {
        "runId": Text, "runUuid": Text, "runName": Text, "experimentId": Text, "userId": Text, "status": Text,
        "startTime": Long, "endTime": Long, "artifactUri": Text, "lifecycleStage": Text,
    }
    RUN_DATA: "MlflowRunData" { "metrics": Many(&METRIC), "params": Many(&PAIR), "tags": Many(&PAIR) }
    DATASET: "MlflowDataset" {
        "name": Text, "digest": Text, "sourceType": Text, "source": Text, "schema": Text, "profile": Text,
    }
    DATASET_INPUT: "MlflowDatasetInput" { "tags": Many(&PAIR), "dataset": One(&DATASET) }
    MODEL_INPUT: "MlflowModelInput" { "modelId": Text }
    MODEL_OUTPUT: "MlflowModelOutput" { "modelId": Text, "step": Long }
    INPUTS: "MlflowRunInputs" { "datasetInputs": Many(&DATASET_INPUT), "modelInputs": Many(&MODEL_INPUT) }
    OUTPUTS: "MlflowRunOutputs" { "modelOutputs": Many(&MODEL_OUTPUT) }
    MODEL_PARAM: "MlflowModelParam" { "name": Text, "value": Text }
    VERSION: "MlflowModelVersion" {
        "name": Text, "version": Text, "creationTimestamp": Long, "lastUpdatedTimestamp": Long, "userId": Text,
        "currentStage": Text, "description": Text, "source": Text, "runId": Text, "status": Text,
        "statusMessage": Text, "tags": Many(&PAIR), "runLink": Text, "aliases": Texts, "modelId": Text,
        "modelParams": Many(&MODEL_PARAM), "modelMetrics": Many(&METRIC),
    }
    RUN: "MlflowRunExtension" {
        "info": One(&RUN_INFO), "data": One(&RUN_DATA), "inputs": One(&INPUTS), "outputs": One(&OUTPUTS),
        "experiment": One(&EXPERIMENT), "modelVersions": Many(&VERSION),
    }
    FILE: "MlflowFileInfo" { "path": Text, "isDir": Flag, "fileSize": Long }
    SUMMARY: "MlflowDatasetSummary" { "experimentId": Text, "name": Text, "digest": Text, "context": Text }
    GET_EXPERIMENT: "MlflowGetExperimentResponse" { "experiment": One(&EXPERIMENT), "apiError": Maybe(&API_ERROR) }
    GET_RUN: "MlflowGetRunResponse" { "run": One(&RUN), "apiError": Maybe(&API_ERROR) }
    LIST_ARTIFACTS: "MlflowListArtifactsResponse" {
        "rootUri": Text, "files": Many(&FILE), "nextPageToken": Text, "apiError": Maybe(&API_ERROR),
    }
    SAMPLED: "MlflowGetMetricHistoryBulkIntervalResponse" { "metrics": Many(&METRIC), "apiError": Maybe(&API_ERROR) }
    SEARCH_VERSIONS: "MlflowSearchModelVersionsResponse" {
        "modelVersions": Many(&VERSION), "nextPageToken": Text, "apiError": Maybe(&API_ERROR),
    }
    SEARCH_RUNS: "MlflowSearchRunsResponse" {
        "runs": Many(&RUN), "nextPageToken": Text, "apiError": Maybe(&API_ERROR),
    }
    SEARCH_DATASETS: "MlflowSearchDatasetsResponse" {
        "datasetSummaries": Many(&SUMMARY), "apiError": Maybe(&API_ERROR),
    }
}

/// What is asked for at the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Echo,
    Experiment,
    Run,
    Files,
    Sampled,
    Versions,
    Runs,
    Datasets,
}

/// A field at the top.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) name: &'static str,
    pub(super) call: Call,
    pub(super) answer: &'static Type,
    /// Fields of the argument `input`; of an echo, the argument itself.
    pub(super) input: &'static [&'static str],
}

const SEARCH_RUNS_INPUT: &[&str] = &["experimentIds", "filter", "runViewType", "maxResults", "orderBy", "pageToken"];

/// Fields of queries.
pub(super) static QUERY: [Root; 7] = [
    Root { name: "test", call: Call::Echo, answer: &ECHO, input: &["inputString"] },
    Root { name: "mlflowGetExperiment", call: Call::Experiment, answer: &GET_EXPERIMENT, input: &["experimentId"] },
    Root { name: "mlflowGetRun", call: Call::Run, answer: &GET_RUN, input: &["runId", "runUuid"] },
    Root {
        name: "mlflowListArtifacts",
        call: Call::Files,
        answer: &LIST_ARTIFACTS,
        input: &["runId", "runUuid", "path", "pageToken"],
    },
    Root {
        name: "mlflowGetMetricHistoryBulkInterval",
        call: Call::Sampled,
        answer: &SAMPLED,
        input: &["runIds", "metricKey", "startStep", "endStep", "maxResults"],
    },
    Root {
        name: "mlflowSearchModelVersions",
        call: Call::Versions,
        answer: &SEARCH_VERSIONS,
        input: &["filter", "maxResults", "orderBy", "pageToken"],
    },
    Root { name: "mlflowSearchRuns", call: Call::Runs, answer: &SEARCH_RUNS, input: SEARCH_RUNS_INPUT },
];

/// Fields of mutations. None changes anything: MLflow calls searches by that name.
pub(super) static MUTATION: [Root; 3] = [
    Root { name: "testMutation", call: Call::Echo, answer: &ECHO, input: &["inputString"] },
    Root { name: "mlflowSearchRuns", call: Call::Runs, answer: &SEARCH_RUNS, input: SEARCH_RUNS_INPUT },
    Root { name: "mlflowSearchDatasets", call: Call::Datasets, answer: &SEARCH_DATASETS, input: &["experimentIds"] },
];
