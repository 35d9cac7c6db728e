//! The remote model as a model.

use std::{fmt, sync::Arc};

use arrow_array::{RecordBatch, RecordBatchOptions};
use mlops_core::{Error, Model, Result, ResultExt, Signature, TensorSpec};
use mlops_http::reqwest::header::HeaderMap;

use super::{
    RemoteSettings,
    client::Client,
    lane::Lane,
    transport::{Described, Metadata, Question},
};
use crate::{
    ambient::{Ambient, gone},
    tensor::{TensorInfo, empty_outputs, from_batch, to_column},
};

/// A model that another server of Open Inference predicts with.
///
/// In a server, calls wait without holding a worker; as a [`Model`] (in an [`Ensemble`](crate::Ensemble), a batch job, a
/// shadow) a call holds the thread that asks. Both end with the deadline of the request, and when its caller goes.
///
/// ```no_run
/// use std::sync::Arc;
/// use mlops_core::Version;
/// use mlops_serve::{ModelRepository, RemoteModel, RemoteSettings};
///
/// let model = RemoteModel::connect(RemoteSettings::new("http://models:8000", "fraud"))?;
/// ModelRepository::new().register_remote(&"fraud".parse()?, Version(1), Arc::new(model))?;
/// # Ok::<(), mlops_core::Error>(())
/// ```
pub struct RemoteModel {
    signature: Signature,
    /// As the protocol tells them, in the order of the signature.
    outputs: Arc<[TensorInfo]>,
    client: Arc<Client>,
    lane: Lane,
}

impl fmt::Debug for RemoteModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = self.client.settings();
        f.debug_struct("RemoteModel").field("server", &self.client.server()).field("model", &settings.model).finish()
    }
}

impl RemoteModel {
    /// Asks the server what the model is, and waits for the answer.
    ///
    /// # Errors
    /// `InvalidArgument` naming all settings at fault; `Unavailable` when server or model cannot be reached;
    /// `FailedPrecondition` for a model whose tensors vary in more than the rows.
    pub fn connect(settings: RemoteSettings) -> Result<Self> {
        Self::connect_with(Lane::start()?, settings, HeaderMap::new(), None)
    }

    /// The same with calls on `lane`, `headers` in each of them, and the signature that the model must have.
    pub(crate) fn connect_with(
        lane: Lane,
        settings: RemoteSettings,
        headers: HeaderMap,
        wanted: Option<&Signature>,
    ) -> Result<Self> {
        let client = Arc::new(Client::new(settings, headers)?);
        let name = client.settings().model.clone();
        let asked = Arc::clone(&client);
        let Metadata { inputs, outputs } =
            lane.wait(async move { asked.metadata().await }).context(format!("remote model {name:?}"))?;
        let infos = |all: Vec<Described>| all.into_iter().map(Described::info).collect::<Result<Vec<_>>>();
        let (inputs, outputs) = (infos(inputs)?, infos(outputs)?);
        let signature = match wanted {
            Some(wanted) => {
                check("input", wanted.inputs(), &inputs)?;
                check("output", wanted.outputs(), &outputs)?;
                wanted.clone()
            }
            None => Signature::new(specs(&inputs)?, specs(&outputs)?)?,
        };
        let outputs = signature.outputs().iter().map(TensorInfo::from_spec).collect();
        Ok(Self { signature, outputs, client, lane })
    }

    /// Predicts, within the time that the request has.
    ///
    /// # Errors
    /// `DeadlineExceeded`; `Unavailable` and `ResourceExhausted` when the other server has no answer for now; `Internal` when
    /// it failed or its answer is not what its metadata said; `InvalidArgument` when it refuses the inputs;
    /// `FailedPrecondition` when it does not let this server in, or its model is not fit to answer.
    pub(crate) async fn predict_within(&self, inputs: &RecordBatch, ambient: Arc<Ambient>) -> Result<RecordBatch> {
        if inputs.num_rows() == 0 {
            return Ok(empty_outputs(&self.signature));
        }
        self.lane.run(self.call(inputs, ambient)?).await
    }

    /// Whether the other server says that the model is ready.
    ///
    /// # Errors
    /// `Unavailable` when it says otherwise, or nothing.
    pub(crate) async fn ready(&self) -> Result<()> {
        let client = Arc::clone(&self.client);
        self.lane.run(async move { client.ready().await }).await
    }

    fn call(
        &self,
        inputs: &RecordBatch,
        ambient: Arc<Ambient>,
    ) -> Result<impl Future<Output = Result<RecordBatch>> + use<>> {
        let rows = inputs.num_rows();
        // As the outputs of a signature, because that is what is written: an input has no nulls here.
        let sent = Signature::new([], self.signature.inputs().to_vec())?;
        let tensors = from_batch(&sent, inputs, rows)?;
        let (client, signature, outputs) =
            (Arc::clone(&self.client), self.signature.clone(), Arc::clone(&self.outputs));
        Ok(async move {
            let question = Question::new(tensors, client.settings().binary, outputs, rows);
            let tensors = client.infer(&question, &ambient).await?;
            let columns = signature.outputs().iter().zip(&tensors).map(|(spec, tensor)| to_column(spec, tensor));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            Ok(RecordBatch::try_new_with_options(signature.output_schema(), columns, &options)?)
        })
    }
}

/// Tensors of the protocol as columns.
fn specs(infos: &[TensorInfo]) -> Result<Vec<TensorSpec>> {
    infos.iter().map(TensorInfo::to_spec).collect()
}

/// Whether the other server has exactly what is wanted.
fn check(side: &str, wanted: &[TensorSpec], found: &[TensorInfo]) -> Result<()> {
    let wrong = |text: String| Err(Error::failed_precondition(format!("the remote model {text}")));
    for spec in wanted {
        let info = TensorInfo::from_spec(spec);
        if side == "input" && spec.nullable {
            return wrong(format!("cannot be sent the nulls that input {:?} may have", spec.name));
        }
        match found.iter().find(|found| found.name == spec.name) {
            None => return wrong(format!("has no {side} {:?}", spec.name)),
            Some(found) if (found.data_type, &found.shape) != (info.data_type, &info.shape) => {
                return wrong(format!(
                    "has {side} {:?} as {} {:?}; the package says {} {:?}",
                    spec.name, found.data_type, found.shape, info.data_type, info.shape
                ));
            }
            Some(_) => {}
        }
    }
    match found.iter().find(|found| side == "input" && !wanted.iter().any(|spec| spec.name == found.name)) {
        Some(extra) => wrong(format!("needs the input {:?}, which the package does not have", extra.name)),
        None => Ok(()),
    }
}

impl Model for RemoteModel {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn predict(&self, inputs: &RecordBatch) -> Result<RecordBatch> {
        if inputs.num_rows() == 0 {
            return Ok(empty_outputs(&self.signature));
        }
        let ambient = Ambient::current().unwrap_or_default();
        ambient.check()?;
        ambient.asks_elsewhere();
        let call = self.call(&self.signature.project_inputs(inputs)?, Arc::clone(&ambient))?;
        self.lane.wait(async move {
            tokio::select! {
                answered = call => answered,
                () = ambient.given_up() => Err(gone()),
            }
        })
    }
}
