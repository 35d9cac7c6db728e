//! Model, graph, node, attribute and value messages.
//!
//! Unknown fields are skipped, as protocol buffers ask; what would change the answer when skipped (subgraphs, sparse
//! initializers) is recorded so that the graph can be refused.

use mlops_core::{Error, Result};

use super::{
    tensor::TensorProto,
    wire::{Field, Reader},
};
use crate::limits::Limits;

#[derive(Debug, Default)]
pub(crate) struct ModelProto {
    pub(crate) opsets: Vec<(String, i64)>,
    pub(crate) graph: Option<Graph>,
    pub(crate) has_functions: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) initializers: Vec<TensorProto>,
    pub(crate) inputs: Vec<ValueInfo>,
    pub(crate) outputs: Vec<ValueInfo>,
    pub(crate) has_sparse: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) op_type: String,
    pub(crate) domain: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    pub(crate) attributes: Vec<Attribute>,
}

#[derive(Debug)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    pub(crate) value: AttributeValue,
}

#[derive(Debug)]
pub(crate) enum AttributeValue {
    Float(f32),
    Int(i64),
    Text(String),
    Tensor(Box<TensorProto>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Texts(Vec<String>),
    /// Subgraphs, sparse tensors, types: not read.
    Other,
}

#[derive(Debug, Default)]
pub(crate) struct ValueInfo {
    pub(crate) name: String,
    pub(crate) kind: ValueKind,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) enum ValueKind {
    /// Element type and dimensions; no dimensions when the file names none.
    Tensor { elem_type: i64, shape: Option<Vec<Dim>> },
    /// A sequence or a map, as ZipMap declares its result.
    Collection,
    #[default]
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dim {
    Fixed(i64),
    Free,
}

/// Counts messages against the limit, so that many tiny ones cannot use up memory.
#[derive(Debug)]
struct Budget(usize);

impl Budget {
    fn take(&mut self) -> Result<()> {
        self.0 = self.0.checked_sub(1).ok_or_else(|| {
            Error::resource_exhausted("the model has more nodes, values and attributes than Limits::items_max allows")
        })?;
        Ok(())
    }
}

impl ModelProto {
    /// Reads a whole file.
    ///
    /// # Errors
    /// `DataLoss` for bytes that are not a model, `ResourceExhausted` beyond the limits.
    pub(crate) fn read(bytes: &[u8], limits: &Limits) -> Result<Self> {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if size > limits.model_bytes_max {
            return Err(Error::resource_exhausted(format!(
                "the model has {size} bytes; Limits::model_bytes_max allows {}",
                limits.model_bytes_max
            )));
        }
        let (mut model, mut budget) = (Self::default(), Budget(limits.items_max));
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next()? {
            match number {
                7 => model.graph = Some(Graph::read(field.bytes()?, &mut budget)?),
                8 => {
                    budget.take()?;
                    model.opsets.push(read_opset(field.bytes()?)?);
                }
                25 => model.has_functions = true,
                _ => {}
            }
        }
        Ok(model)
    }
}

fn read_opset(bytes: &[u8]) -> Result<(String, i64)> {
    let (mut domain, mut version) = (String::new(), 0);
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => domain = field.text()?,
            2 => version = field.int()?,
            _ => {}
        }
    }
    Ok((domain, version))
}

impl Graph {
    fn read(bytes: &[u8], budget: &mut Budget) -> Result<Self> {
        let mut graph = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next()? {
            if matches!(number, 1 | 5 | 11 | 12) {
                budget.take()?;
            }
            match number {
                1 => graph.nodes.push(Node::read(field.bytes()?, budget)?),
                5 => graph.initializers.push(TensorProto::read(field.bytes()?)?),
                11 => graph.inputs.push(ValueInfo::read(field.bytes()?, budget)?),
                12 => graph.outputs.push(ValueInfo::read(field.bytes()?, budget)?),
                15 => graph.has_sparse = true,
                _ => {}
            }
        }
        Ok(graph)
    }
}

impl Node {
    fn read(bytes: &[u8], budget: &mut Budget) -> Result<Self> {
        let mut node = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next()? {
            if matches!(number, 1 | 2 | 5) {
                budget.take()?;
            }
            match number {
                1 => node.inputs.push(field.text()?),
                2 => node.outputs.push(field.text()?),
                3 => node.name = field.text()?,
                4 => node.op_type = field.text()?,
                5 => node.attributes.push(Attribute::read(field.bytes()?)?),
                7 => node.domain = field.text()?,
                _ => {}
            }
        }
        Ok(node)
    }
}

/// The parts of an attribute before its type says which one counts.
#[derive(Default)]
struct Parts {
    kind: i64,
    float: Option<f32>,
    int: Option<i64>,
    text: Option<String>,
    tensor: Option<Box<TensorProto>>,
    floats: Vec<f32>,
    ints: Vec<i64>,
    texts: Vec<String>,
}

impl Attribute {
    fn read(bytes: &[u8]) -> Result<Self> {
        let (mut name, mut parts) = (String::new(), Parts::default());
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next()? {
            match number {
                1 => name = field.text()?,
                2 => parts.float = Some(field.float()?),
                3 => parts.int = Some(field.int()?),
                4 => parts.text = Some(lossy(field)?),
                5 => parts.tensor = Some(Box::new(TensorProto::read(field.bytes()?)?)),
                7 => field.push_floats(&mut parts.floats)?,
                8 => field.push_ints(&mut parts.ints)?,
                9 => parts.texts.push(lossy(field)?),
                20 => parts.kind = field.int()?,
                _ => {}
            }
        }
        Ok(Self { name, value: parts.value() })
    }
}

/// Byte strings of attributes are meant as text.
fn lossy(field: Field<'_>) -> Result<String> {
    Ok(String::from_utf8_lossy(field.bytes()?).into_owned())
}

impl Parts {
    /// The value by the declared type, or, in files older than that field, by what is there.
    fn value(self) -> AttributeValue {
        let kind = if self.kind == 0 { self.guess() } else { self.kind };
        match kind {
            1 => AttributeValue::Float(self.float.unwrap_or_default()),
            2 => AttributeValue::Int(self.int.unwrap_or_default()),
            3 => AttributeValue::Text(self.text.unwrap_or_default()),
            4 => self.tensor.map_or(AttributeValue::Other, AttributeValue::Tensor),
            6 => AttributeValue::Floats(self.floats),
            7 => AttributeValue::Ints(self.ints),
            8 => AttributeValue::Texts(self.texts),
            _ => AttributeValue::Other,
        }
    }

    fn guess(&self) -> i64 {
        let present = [
            (1, self.float.is_some()),
            (2, self.int.is_some()),
            (3, self.text.is_some()),
            (4, self.tensor.is_some()),
            (6, !self.floats.is_empty()),
            (7, !self.ints.is_empty()),
            (8, !self.texts.is_empty()),
        ];
        present.iter().find(|(_, there)| *there).map_or(0, |(kind, _)| *kind)
    }
}

impl ValueInfo {
    fn read(bytes: &[u8], budget: &mut Budget) -> Result<Self> {
        let mut info = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next()? {
            match number {
                1 => info.name = field.text()?,
                2 => info.kind = read_type(field.bytes()?, budget)?,
                _ => {}
            }
        }
        Ok(info)
    }
}

fn read_type(bytes: &[u8], budget: &mut Budget) -> Result<ValueKind> {
    let mut kind = ValueKind::Unknown;
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => kind = read_tensor_type(field.bytes()?, budget)?,
            4 | 5 => kind = ValueKind::Collection,
            _ => {}
        }
    }
    Ok(kind)
}

fn read_tensor_type(bytes: &[u8], budget: &mut Budget) -> Result<ValueKind> {
    let (mut elem_type, mut shape) = (0, None);
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => elem_type = field.int()?,
            2 => shape = Some(read_shape(field.bytes()?, budget)?),
            _ => {}
        }
    }
    Ok(ValueKind::Tensor { elem_type, shape })
}

fn read_shape(bytes: &[u8], budget: &mut Budget) -> Result<Vec<Dim>> {
    let mut dims = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        if number != 1 {
            continue;
        }
        budget.take()?;
        let mut dim = Dim::Free;
        let mut inner = Reader::new(field.bytes()?);
        while let Some((number, field)) = inner.next()? {
            if number == 1 {
                dim = Dim::Fixed(field.int()?);
            }
        }
        // Exporters write 0 or -1 for a dimension they do not know.
        dims.push(if matches!(dim, Dim::Fixed(size) if size < 1) { Dim::Free } else { dim });
    }
    Ok(dims)
}
