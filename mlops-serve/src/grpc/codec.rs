//! Bytes of a gRPC message to its struct and back.
//!
//! Invariant: a message is weighed before it is built, so that a few bytes on the wire cannot become many in memory: its
//! tensors may take as many bytes there as a body may have, after decoding as before. The length of the whole message is
//! bounded by tonic before a byte of it is read.

use std::{fmt, marker::PhantomData};

use bytes::{Buf as _, Bytes};
use prost::Message;
use tonic::{
    Status,
    codec::{DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use super::layout::{Laid, weigh};

/// Most fields of one message and those inside it: tensors, outputs and parameters together.
const FIELDS_MAX: usize = 16 << 10;

/// Reads `Q`, writes `A`.
pub(super) struct Codec<Q, A> {
    bytes_max: usize,
    messages: PhantomData<fn() -> (Q, A)>,
}

impl<Q, A> Codec<Q, A> {
    /// For messages whose tensors take at most so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, messages: PhantomData }
    }
}

impl<Q, A> fmt::Debug for Codec<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Codec")
    }
}

impl<Q: Message + Laid + Default + 'static, A: Message + 'static> tonic::codec::Codec for Codec<Q, A> {
    type Encode = A;
    type Decode = Q;
    type Encoder = Write<A>;
    type Decoder = Read<Q>;

    fn encoder(&mut self) -> Write<A> {
        Write(PhantomData)
    }
    fn decoder(&mut self) -> Read<Q> {
        Read { bytes_max: self.bytes_max, message: PhantomData }
    }
}

#[derive(Debug)]
pub(super) struct Write<A>(PhantomData<fn() -> A>);

impl<A: Message> Encoder for Write<A> {
    type Item = A;
    type Error = Status;

    fn encode(&mut self, message: A, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(buffer).map_err(|error| Status::internal(format!("the answer cannot be written: {error}")))
    }
}

#[derive(Debug)]
pub(super) struct Read<Q> {
    bytes_max: usize,
    message: PhantomData<fn() -> Q>,
}

impl<Q: Message + Laid + Default> Decoder for Read<Q> {
    type Item = Q;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Q>, Status> {
        decode(buffer.copy_to_bytes(buffer.remaining()), self.bytes_max).map(Some)
    }
}

/// Reads a message whose tensors take at most so many bytes.
///
/// # Errors
/// `InvalidArgument` for bytes that are no message or have too many fields, `OutOfRange` for tensors that are too large.
pub(crate) fn decode<Q: Message + Laid + Default>(message: Bytes, bytes_max: usize) -> Result<Q, Status> {
    let bad = |error: prost::DecodeError| Status::invalid_argument(format!("the message cannot be read: {error}"));
    let weight = weigh(&message, Q::LAYOUT).map_err(bad)?;
    if weight.fields > FIELDS_MAX {
        return Err(Status::invalid_argument(format!(
            "the message has {} fields; at most {FIELDS_MAX} are read",
            weight.fields
        )));
    }
    if weight.bytes > bytes_max {
        return Err(Status::out_of_range(format!(
            "the tensors of the message take {} bytes; at most {bytes_max} are read. Byte strings take less in \
             raw_input_contents",
            weight.bytes
        )));
    }
    Q::decode(message).map_err(bad)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tonic::Code;

    use super::*;
    use crate::grpc::messages::{InferParameter, InferTensor, InferTensorContents, ModelInferRequest};

    const BYTES_MAX: usize = 1 << 16;

    fn read(message: Bytes) -> Result<ModelInferRequest, Status> {
        decode(message, BYTES_MAX)
    }

    #[test]
    fn a_flood_of_empty_tensors_is_refused_before_it_is_built() {
        let flood = |tensors: usize| Bytes::from([0x2a, 0x00].repeat(tensors));
        assert_eq!(read(flood(100)).unwrap().inputs.len(), 100);
        let refused = read(flood(FIELDS_MAX + 1)).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("at most 16384"), "{refused}");
    }

    /// A message with one tensor of these contents and parameters.
    fn nested(contents: InferTensorContents, parameters: usize, shape: Vec<i64>) -> Bytes {
        let parameter = |index: usize| (index.to_string(), InferParameter::default());
        let parameters = (0..parameters).map(parameter).collect();
        let tensor = InferTensor { contents: Some(contents), parameters, shape, ..InferTensor::default() };
        ModelInferRequest { inputs: vec![tensor], ..ModelInferRequest::default() }.encode_to_vec().into()
    }

    #[test]
    fn what_grows_inside_of_a_tensor_is_bounded_before_it_is_built() {
        let none = InferTensorContents::default;
        let texts = |count: usize| InferTensorContents { bytes_contents: vec![Bytes::new(); count], ..none() };
        let numbers = |count: usize| InferTensorContents { int64_contents: vec![1; count], ..none() };
        let fits = BYTES_MAX / 32;
        assert_eq!(read(nested(texts(fits), 0, vec![])).unwrap().inputs[0].contents, Some(texts(fits)));
        assert_eq!(read(nested(numbers(BYTES_MAX / 8), 0, vec![])).unwrap().inputs.len(), 1);
        let flags = InferTensorContents { bool_contents: vec![true; BYTES_MAX + 1], ..none() };
        for flood in [
            nested(texts(fits + 1), 0, vec![]),
            nested(numbers(BYTES_MAX / 8 + 1), 0, vec![]),
            nested(flags, 0, vec![]),
            nested(none(), 0, vec![1; BYTES_MAX / 8 + 1]),
        ] {
            assert_eq!(read(flood).unwrap_err().code(), Code::OutOfRange);
        }
        assert_eq!(read(nested(none(), FIELDS_MAX, vec![])).unwrap_err().code(), Code::InvalidArgument);
    }

    #[test]
    fn a_length_beyond_the_end_is_the_callers_fault() {
        assert_eq!(read(Bytes::from_static(&[0x2a, 0x05, 0x00])).unwrap_err().code(), Code::InvalidArgument);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_the_callers_fault(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Err(refused) = read(bytes.into()) {
                prop_assert_eq!(refused.code(), Code::InvalidArgument);
            }
        }
    }
}
