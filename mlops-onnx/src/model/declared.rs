//! What the file says of its inputs and outputs.

use mlops_core::{DataType, Error, Result};

use crate::proto::{Dim, Graph, ValueKind, element_type};

#[derive(Debug)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) data_type: DataType,
    /// Dimensions, none where the file leaves them open; none at all when it does not even say how many there are.
    pub(super) shape: Option<Vec<Option<usize>>>,
}

#[derive(Debug)]
pub(super) struct Output {
    pub(super) name: String,
    /// Type and row shape, when the file states both in full.
    pub(super) stated: Option<(DataType, Vec<usize>)>,
}

#[derive(Debug)]
pub(super) struct Declared {
    pub(super) inputs: Vec<Input>,
    pub(super) outputs: Vec<Output>,
}

impl Declared {
    pub(super) fn read(graph: &Graph) -> Result<Self> {
        // Old files list stored tensors among the inputs.
        let stored = |name: &str| graph.initializers.iter().any(|tensor| tensor.name == name);
        let inputs = graph.inputs.iter().filter(|input| !stored(&input.name));
        let inputs = inputs.map(|input| read_input(&input.name, &input.kind)).collect::<Result<Vec<_>>>()?;
        let outputs: Vec<Output> = graph
            .outputs
            .iter()
            .map(|output| Output { name: output.name.clone(), stated: stated(&output.kind) })
            .collect();
        if outputs.is_empty() {
            return Err(Error::invalid_argument("the model has no output"));
        }
        Ok(Self { inputs, outputs })
    }
}

fn read_input(name: &str, kind: &ValueKind) -> Result<Input> {
    let ValueKind::Tensor { elem_type, shape } = kind else {
        return Err(Error::unimplemented(format!(
            "input {name:?} is not a tensor; maps and sequences are not supported"
        )));
    };
    let data_type = element_type(*elem_type)?;
    let shape = shape.as_ref().map(|dims| dims.iter().map(fixed).collect());
    Ok(Input { name: name.to_owned(), data_type, shape })
}

fn fixed(dim: &Dim) -> Option<usize> {
    match dim {
        Dim::Fixed(size) => usize::try_from(*size).ok(),
        Dim::Free => None,
    }
}

fn stated(kind: &ValueKind) -> Option<(DataType, Vec<usize>)> {
    let ValueKind::Tensor { elem_type, shape: Some(shape) } = kind else { return None };
    let row = shape.get(1..)?.iter().map(fixed).collect::<Option<Vec<_>>>()?;
    Some((element_type(*elem_type).ok()?, row))
}
