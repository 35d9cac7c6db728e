//! What a request is for, by its method and path.
//!
//! Invariant: nothing that changes what is served is taken for less than managing, and what is not known here is
//! reading; whether a prediction is allowed is asked where the model is known, whatever is said here.

use axum::http::Method;

/// Kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Asks whether the server lives, as probes do: no credentials needed.
    Health,
    /// Asks a model.
    Predict,
    /// Loads, unloads, chooses versions.
    Manage,
    /// Anything else.
    Read,
}

const HEALTH: [&str; 8] = [
    "/v2/health/live",
    "/v2/health/ready",
    "/ping",
    "/health",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
];

const PREDICT: [&str; 12] = [
    "/infer",
    "/generate",
    "/generate_stream",
    "/invocations",
    "/invoke",
    "/score",
    ":predict",
    ":classify",
    ":regress",
    ":explain",
    "/explain",
    "/feedback",
];

impl Purpose {
    /// `own_health` and `own_predict` are paths that the settings chose.
    pub(super) fn of(method: &Method, path: &str, own_health: Option<&str>, own_predict: Option<&str>) -> Self {
        if HEALTH.contains(&path) || own_health == Some(path) || (path == "/" && method != Method::POST) {
            return Self::Health;
        }
        let model_invoke = path.starts_with("/models/") && path.ends_with("/invoke");
        let models = path == "/models" || path.starts_with("/models/");
        let managed = path.starts_with("/v2/repository/models/")
            || path.starts_with("/inference.GRPCInferenceService/RepositoryModel")
            || (models && !model_invoke && !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS));
        if managed {
            return Self::Manage;
        }
        let grpc = matches!(
            path,
            "/inference.GRPCInferenceService/ModelInfer" | "/inference.GRPCInferenceService/ModelStreamInfer"
        );
        let predicts = *method == Method::POST
            && (PREDICT.iter().any(|end| path.ends_with(end))
                || path.starts_with("/predictions/")
                || path.starts_with("/explanations/")
                || own_predict == Some(path));
        if grpc || predicts { Self::Predict } else { Self::Read }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_by_path() {
        let of = |method: Method, path: &str| Purpose::of(&method, path, Some("/up"), Some("/ask"));
        for (method, path, purpose) in [
            (Method::GET, "/v2/health/ready", Purpose::Health),
            (Method::GET, "/up", Purpose::Health),
            (Method::POST, "/v2/models/a/infer", Purpose::Predict),
            (Method::POST, "/v1/models/a:predict", Purpose::Predict),
            (Method::POST, "/models/a/invoke", Purpose::Predict),
            (Method::POST, "/predictions/a/1", Purpose::Predict),
            (Method::POST, "/ask", Purpose::Predict),
            (Method::POST, "/v2/models/a/feedback", Purpose::Predict),
            (Method::POST, "/v2/models/a/explain", Purpose::Predict),
            (Method::POST, "/inference.GRPCInferenceService/ModelInfer", Purpose::Predict),
            (Method::POST, "/v2/repository/models/a/load", Purpose::Manage),
            (Method::POST, "/v2/repository/models/infer/unload", Purpose::Manage),
            (Method::POST, "/models", Purpose::Manage),
            (Method::DELETE, "/models/a/invoke/", Purpose::Manage),
            (Method::PUT, "/models/a/1/set-default", Purpose::Manage),
            (Method::POST, "/inference.GRPCInferenceService/RepositoryModelUnload", Purpose::Manage),
            (Method::GET, "/models", Purpose::Read),
            (Method::GET, "/metrics", Purpose::Read),
            (Method::POST, "/v2/repository/index", Purpose::Read),
            (Method::POST, "/what/is/this", Purpose::Read),
        ] {
            assert_eq!(of(method.clone(), path), purpose, "{method} {path}");
        }
    }
}
