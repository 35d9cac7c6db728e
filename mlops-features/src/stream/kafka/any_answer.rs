//! What must hold for whatever bytes a broker answers: they are read within bounds, or refused with a reason. Fuzz
//! targets look for bytes for which it does not hold.

use bytes::Bytes;
use mlops_core::{Error, Result};

use super::{
    messages::{Aborted, api_versions, messages, metadata, offset, sasl, sasl_step},
    records::{FORMAT, Fault, read},
    sasl::Credentials,
    wire::{Fields, Malformed, Writer},
};

/// Most bytes that messages may take when they are expanded.
const BYTES_MAX: usize = 1 << 20;

/// How many kinds of answers there are.
const KINDS: u8 = 9;

/// Reads `answer` as a broker's. Its first byte says to what kind of question, modulo 9: for versions, metadata, an
/// offset, messages; then the batches of messages alone, as they come and as one batch whose length, format and checksum
/// are right; then a greeting's mechanisms, a step of it, and a challenge of SCRAM.
///
/// # Errors
/// When it is read otherwise than messages may be: out of order, outside of what was asked for or beyond the bound.
pub fn takes_any_answer_of_kafka(answer: &[u8]) -> Result<()> {
    let Some((kind, rest)) = answer.split_first() else { return Ok(()) };
    let bytes = Bytes::copy_from_slice(rest);
    let fields = &mut Fields(bytes.clone());
    match kind % KINDS {
        0 => told(api_versions(fields)),
        1 => told(metadata(fields, "t")),
        2 => told(offset(fields)),
        3 => match messages(fields) {
            Ok(fetched) => fetched.found.iter().try_for_each(|found| batches(&found.records, &found.aborted)),
            Err(malformed) => told::<()>(Err(malformed)),
        },
        4 => batches(&bytes, &[]),
        5 => batches(&sealed(rest), &[Aborted { producer: 7, first: 0 }]),
        6 => told(sasl(fields)),
        7 => told(sasl_step(fields)),
        _ => challenge(rest),
    }
}

fn told<T>(read: std::result::Result<T, Malformed>) -> Result<()> {
    let told = read.err().is_none_or(|Malformed(why)| !why.is_empty());
    hold(told, "what is refused is refused with a reason")
}

fn batches(bytes: &Bytes, aborted: &[Aborted]) -> Result<()> {
    for from in [0, 5] {
        let found = match read(bytes.clone(), from, aborted, BYTES_MAX) {
            Ok(found) => found,
            Err(Fault::Codec(why)) => {
                hold(!why.is_empty(), "what cannot be expanded is told with a reason")?;
                continue;
            }
            Err(Fault::Malformed(malformed)) => {
                told::<()>(Err(malformed))?;
                continue;
            }
            Err(Fault::Format(format)) => {
                hold(format != FORMAT, "the format that is read is not refused")?;
                continue;
            }
            Err(Fault::TooLarge) => continue,
        };
        let offsets: Vec<u64> = found.messages.iter().map(|message| message.offset).collect();
        hold(offsets.is_sorted_by(|one, next| one < next), "offsets ascend")?;
        hold(offsets.iter().all(|offset| (from..found.next).contains(offset)), "messages are of those asked for")?;
        let parts = found.messages.iter().flat_map(|message| [&message.key, &message.value]).flatten();
        let bytes: usize = parts.map(Bytes::len).sum();
        hold(bytes <= found.bytes && found.bytes <= BYTES_MAX, "messages take no more than is allowed")?;
    }
    Ok(())
}

/// One batch with `rest` from its attributes on.
fn sealed(rest: &[u8]) -> Bytes {
    let mut batch = Writer::default();
    // Epoch, format and checksum count.
    batch.i64(3).count(rest.len() + 9).i32(0).i8(FORMAT).i32(crc32c::crc32c(rest).cast_signed());
    [batch.0.as_slice(), rest].concat().into()
}

fn challenge(said: &[u8]) -> Result<()> {
    let talk = Credentials::scram_sha_256("user".to_owned(), "pencil".to_owned()).begin("abc").1;
    match talk.answer(said) {
        Ok(Some((answer, talk))) => {
            hold(answer.starts_with(b"c=biws,r=abc"), "a challenge is answered by its nonce")?;
            hold(talk.answer(said).is_err(), "a challenge is no proof")
        }
        Ok(None) => hold(false, "nobody is let in before the broker has shown that it knows us"),
        Err(why) => hold(!why.is_empty(), "what is refused is refused with a reason"),
    }
}

fn hold(holds: bool, promise: &str) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(Error::internal(format!("reading what Kafka answers breaks its promise: {promise}")))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use proptest::{prelude::*, sample::Index};

    use super::*;

    /// Good answers of every kind, the bytes that are kept for fuzzing.
    fn seeds() -> Vec<Vec<u8>> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/kafka");
        let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| fs::read(path).unwrap()).collect()
    }

    #[test]
    fn bytes_that_are_kept_are_taken_and_good_ones_of_every_kind_are_among_them() {
        let seeds = seeds();
        seeds.iter().for_each(|seed| takes_any_answer_of_kafka(seed).unwrap());
        let good = |seed: &&Vec<u8>| {
            let (kind, rest) = seed.split_first().unwrap();
            let bytes = Bytes::copy_from_slice(rest);
            let fields = &mut Fields(bytes.clone());
            let any = |bytes: Bytes| read(bytes, 0, &[], BYTES_MAX).is_ok_and(|found| !found.messages.is_empty());
            match kind % KINDS {
                0 => api_versions(fields).is_ok(),
                1 => metadata(fields, "t").is_ok(),
                2 => offset(fields).is_ok(),
                3 => messages(fields).is_ok_and(|fetched| fetched.found.into_iter().any(|found| any(found.records))),
                4 => any(bytes),
                5 => any(sealed(rest)),
                6 => sasl(fields).is_ok(),
                7 => sasl_step(fields).is_ok(),
                _ => Credentials::scram_sha_256(String::new(), String::new()).begin("abc").1.answer(rest).is_ok(),
            }
        };
        let mut kinds: Vec<u8> = seeds.iter().filter(good).map(|seed| seed[0] % KINDS).collect();
        kinds.dedup();
        assert_eq!(kinds, (0..KINDS).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(kind in 0..KINDS, rest in proptest::collection::vec(any::<u8>(), 0..200)) {
            takes_any_answer_of_kafka(&[vec![kind], rest].concat())?;
        }

        /// What is near to a good answer comes farther than what is at random.
        #[test]
        fn good_answers_that_were_changed_are_taken(
            seed in any::<Index>(),
            changes in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..4),
            cut in proptest::option::of(any::<Index>()),
        ) {
            let seeds = seeds();
            let mut answer = seed.get(&seeds).clone();
            let last = answer.len() - 1;
            for (at, byte) in changes {
                answer[1 + at.index(last)] = byte;
            }
            answer.truncate(cut.map_or(usize::MAX, |cut| 1 + cut.index(last)));
            takes_any_answer_of_kafka(&answer)?;
        }
    }
}
