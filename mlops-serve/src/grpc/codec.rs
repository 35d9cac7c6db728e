//! Bytes of a gRPC message to its struct and back.
//!
//! Invariant: before a message is built, its repeated parts are counted, so that a few bytes on the wire cannot become
//! many in memory (an empty nested message takes two bytes there and hundreds here). The length of the whole message
//! is bounded by tonic before a byte of it is read.

use std::{fmt, marker::PhantomData};

use bytes::{Buf as _, Bytes};
use prost::{
    Message,
    encoding::{DecodeContext, decode_key, skip_field},
};
use tonic::{
    Status,
    codec::{DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// Most fields at the top of one message: tensors, outputs and parameters together.
const FIELDS_MAX: usize = 16 << 10;

/// Reads `Q`, writes `A`.
pub(super) struct Codec<Q, A>(PhantomData<fn() -> (Q, A)>);

impl<Q, A> Codec<Q, A> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<Q, A> fmt::Debug for Codec<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Codec")
    }
}

impl<Q: Message + Default + 'static, A: Message + 'static> tonic::codec::Codec for Codec<Q, A> {
    type Encode = A;
    type Decode = Q;
    type Encoder = Write<A>;
    type Decoder = Read<Q>;

    fn encoder(&mut self) -> Write<A> {
        Write(PhantomData)
    }
    fn decoder(&mut self) -> Read<Q> {
        Read(PhantomData)
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
pub(super) struct Read<Q>(PhantomData<fn() -> Q>);

impl<Q: Message + Default> Decoder for Read<Q> {
    type Item = Q;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Q>, Status> {
        decode(buffer.copy_to_bytes(buffer.remaining())).map(Some)
    }
}

fn decode<Q: Message + Default>(message: Bytes) -> Result<Q, Status> {
    let bad = |error: prost::DecodeError| Status::invalid_argument(format!("the message cannot be read: {error}"));
    let fields = count_fields(message.clone()).map_err(bad)?;
    if fields > FIELDS_MAX {
        return Err(Status::invalid_argument(format!(
            "the message has {fields} fields; at most {FIELDS_MAX} are read"
        )));
    }
    Q::decode(message).map_err(bad)
}

/// Fields at the top of a message, each packed or nested one counted once.
fn count_fields(mut message: Bytes) -> Result<usize, prost::DecodeError> {
    let mut count = 0;
    while message.has_remaining() {
        let (tag, wire_type) = decode_key(&mut message)?;
        skip_field(wire_type, tag, &mut message, DecodeContext::default())?;
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tonic::Code;

    use super::*;
    use crate::grpc::messages::ModelInferRequest;

    #[test]
    fn a_flood_of_empty_tensors_is_refused_before_it_is_built() {
        let flood = |tensors: usize| Bytes::from([0x2a, 0x00].repeat(tensors));
        assert_eq!(decode::<ModelInferRequest>(flood(100)).unwrap().inputs.len(), 100);
        let refused = decode::<ModelInferRequest>(flood(FIELDS_MAX + 1)).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("at most 16384"), "{refused}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_the_callers_fault(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Err(refused) = decode::<ModelInferRequest>(bytes.into()) {
                prop_assert_eq!(refused.code(), Code::InvalidArgument);
            }
        }
    }
}
