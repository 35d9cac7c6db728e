//! Which protocols a server speaks beside Open Inference, as plain data.

use mlops_core::{Error, ModelName, Result};
use serde::{Deserialize, Serialize};

/// Protocols by name. Open Inference is always spoken; the others answer on paths of their own, so a router that is
/// mounted into another application takes those it turns off out of the way.
///
/// ```
/// let settings: mlops_serve::ProtocolSettings = serde_json::from_str(r#"{"invocations": true}"#)?;
/// assert!(settings.invocations && settings.v1 && !settings.azureml);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProtocolSettings {
    /// KServe v1 and TensorFlow Serving: `/v1/models/...`.
    pub v1: bool,
    /// TorchServe: `/predictions/...`, `/ping`; and `/models`, when `repository_api` is on.
    pub torchserve: bool,
    /// SageMaker and MLflow scoring: `/invocations`, `/ping`, `/version`, `/health`.
    pub invocations: bool,
    /// Azure ML: `/`, `/score`, `/swagger.json`.
    pub azureml: bool,
    /// Vertex AI, on the paths that its contract gives.
    pub vertex: Option<VertexSettings>,
    /// The description of every route at `/openapi.json`.
    pub openapi: bool,
    /// The model of paths that name none; the only one served when not set.
    pub default_model: Option<ModelName>,
}

impl Default for ProtocolSettings {
    fn default() -> Self {
        Self {
            v1: true,
            torchserve: false,
            invocations: false,
            azureml: false,
            vertex: None,
            openapi: true,
            default_model: None,
        }
    }
}

/// The paths that Vertex AI tells a container in its environment; the application reads the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VertexSettings {
    /// `AIP_PREDICT_ROUTE`, such as `/predict`.
    pub predict_route: String,
    /// `AIP_HEALTH_ROUTE`, such as `/ready`.
    pub health_route: String,
}

impl ProtocolSettings {
    /// What is wrong with the settings, one line each.
    ///
    /// # Errors
    /// `InvalidArgument` naming the routes that are no paths of their own.
    pub(crate) fn validate(&self) -> Result<()> {
        let Some(vertex) = &self.vertex else { return Ok(()) };
        let routes = [&vertex.predict_route, &vertex.health_route];
        // The methods of gRPC are paths too.
        let call = |route: &str| route.starts_with("/inference.") || route.starts_with("/grpc.");
        let placeholder = |route: &str| {
            let old = route.split('/').any(|segment| segment.starts_with(':'));
            old || route.contains(['{', '}', '*', '?', '#']) || !route.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let fits = |route: &&String| route.starts_with('/') && !placeholder(route) && !call(route);
        if !routes.iter().all(fits) || vertex.predict_route == vertex.health_route {
            return Err(Error::invalid_argument(format!(
                "vertex routes {routes:?} must be two paths of printable ASCII that begin with / and have no placeholders"
            )));
        }
        Ok(())
    }
}
