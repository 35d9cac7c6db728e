//! Questions and their answers, each in one version. All of them are of the time before "flexible" versions, which
//! brokers from 2.1 to 4.x are to speak. See "The Messages" of the Kafka protocol guide.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

use super::{
    server::Address,
    wire::{Fields, Malformed, Writer},
};

/// A kind of question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Api {
    pub(super) name: &'static str,
    pub(super) key: i16,
    pub(super) version: i16,
}

pub(super) const FETCH: Api = Api { name: "Fetch", key: 1, version: 10 };
pub(super) const LIST_OFFSETS: Api = Api { name: "ListOffsets", key: 2, version: 2 };
pub(super) const METADATA: Api = Api { name: "Metadata", key: 3, version: 4 };
pub(super) const SASL_HANDSHAKE: Api = Api { name: "SaslHandshake", key: 17, version: 1 };
pub(super) const API_VERSIONS: Api = Api { name: "ApiVersions", key: 18, version: 0 };
pub(super) const SASL_AUTHENTICATE: Api = Api { name: "SaslAuthenticate", key: 36, version: 0 };

/// What every source asks.
pub(super) const NEEDED: [Api; 3] = [FETCH, LIST_OFFSETS, METADATA];

/// We are no broker that copies a partition.
const NO_REPLICA: i32 = -1;

/// Only messages of committed transactions are wanted.
const READ_COMMITTED: i8 = 1;
const READ_UNCOMMITTED: i8 = 0;

/// Times that stand for the first message and for the one that comes next.
pub(super) const FIRST: i64 = -2;
pub(super) const NEXT: i64 = -1;

/// The oldest and the newest version of each kind of question that a broker answers.
pub(super) type Versions = BTreeMap<i16, (i16, i16)>;

/// Error code, and the versions that there are.
pub(super) fn api_versions(fields: &mut Fields) -> Result<(i16, Versions), Malformed> {
    let code = fields.i16()?;
    let versions = fields.list(|fields| Ok((fields.i16()?, (fields.i16()?, fields.i16()?))))?;
    Ok((code, versions.into_iter().collect()))
}

/// What brokers there are, and who leads the partitions of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Metadata {
    pub(super) brokers: BTreeMap<i32, Address>,
    /// Why the topic cannot be told of; 0 where it can.
    pub(super) code: i16,
    /// The leader of each partition, if it has one.
    pub(super) leaders: BTreeMap<i32, Option<i32>>,
}

pub(super) fn ask_metadata(topic: &str) -> Vec<u8> {
    let mut question = Writer::default();
    // A topic that is not there is not made.
    question.count(1).text(topic).i8(0);
    question.0
}

pub(super) fn metadata(fields: &mut Fields, topic: &str) -> Result<Metadata, Malformed> {
    let _throttled = fields.i32()?;
    let brokers = fields.list(|fields| {
        let (id, host, port) = (fields.i32()?, fields.text()?, fields.i32()?);
        let _rack = fields.text()?;
        let port = u16::try_from(port).map_err(|_| Malformed("a broker has a port that is none"))?;
        Ok((id, Address { host: host.unwrap_or_default(), port }))
    })?;
    let (_cluster, _controller) = (fields.text()?, fields.i32()?);
    let topics = fields.list(|fields| {
        let (code, name, _internal) = (fields.i16()?, fields.text()?, fields.i8()?);
        let leaders = fields.list(|fields| {
            let (_code, partition, leader) = (fields.i16()?, fields.i32()?, fields.i32()?);
            let (_replicas, _in_sync) = (fields.list(Fields::i32)?, fields.list(Fields::i32)?);
            Ok((partition, Some(leader).filter(|leader| *leader >= 0)))
        })?;
        Ok((name, code, leaders))
    })?;
    let ours = topics.into_iter().find(|(name, ..)| name.as_deref() == Some(topic));
    let (_, code, leaders) = ours.ok_or(Malformed("it does not tell of the topic"))?;
    Ok(Metadata { brokers: brokers.into_iter().collect(), code, leaders: leaders.into_iter().collect() })
}

/// Asks for an offset by `time`; the next one is that of all messages, also of those in open transactions.
pub(super) fn ask_offset(topic: &str, partition: i32, time: i64) -> Vec<u8> {
    let mut question = Writer::default();
    question.i32(NO_REPLICA).i8(READ_UNCOMMITTED).count(1).text(topic).count(1).i32(partition).i64(time);
    question.0
}

/// Error code and offset.
pub(super) fn offset(fields: &mut Fields) -> Result<(i16, i64), Malformed> {
    let _throttled = fields.i32()?;
    let topics = fields.list(|fields| {
        let _name = fields.text()?;
        fields.list(|fields| {
            let (_partition, code, _time) = (fields.i32()?, fields.i16()?, fields.i64()?);
            Ok((code, fields.i64()?))
        })
    })?;
    topics.into_iter().flatten().next().ok_or(Malformed("it has no offset"))
}

/// From where on one partition is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) partition: i32,
    pub(super) from: u64,
}

/// Messages `wants` of `topic`, at most `bytes_max` bytes of each partition (but always one batch) as soon as there is
/// one, or none after `wait`.
pub(super) fn ask_messages(topic: &str, wants: &[Want], bytes_max: usize, wait: Duration) -> Vec<u8> {
    let bytes = i32::try_from(bytes_max).unwrap_or(i32::MAX);
    let all = i32::try_from(bytes_max.saturating_mul(wants.len())).unwrap_or(i32::MAX);
    let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    let (no_session, first_of_none, any_epoch, unknown_start) = (0, -1, -1, -1);
    let mut question = Writer::default();
    question.i32(NO_REPLICA).i32(wait).i32(1).i32(all).i8(READ_COMMITTED).i32(no_session).i32(first_of_none);
    question.count(1).text(topic).count(wants.len());
    for want in wants {
        let from = i64::try_from(want.from).unwrap_or(i64::MAX);
        question.i32(want.partition).i32(any_epoch).i64(from).i64(unknown_start).i32(bytes);
    }
    question.count(0);
    question.0
}

/// What there is of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) partition: i32,
    pub(super) code: i16,
    /// Where the messages end that are in no open transaction.
    pub(super) end: i64,
    pub(super) aborted: Vec<Aborted>,
    /// Batches of messages.
    pub(super) records: Bytes,
}

/// A transaction that was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Aborted {
    pub(super) producer: i64,
    /// The first of its messages.
    pub(super) first: i64,
}

/// An answer to a question for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fetched {
    /// How long the broker wants not to be asked. Where it is more than nothing, it may have told of no partition.
    pub(super) throttled: Duration,
    pub(super) code: i16,
    pub(super) found: Vec<Found>,
}

pub(super) fn messages(fields: &mut Fields) -> Result<Fetched, Malformed> {
    let (throttled, code, _session) = (fields.i32()?, fields.i16()?, fields.i32()?);
    let throttled = Duration::from_millis(u64::try_from(throttled).unwrap_or(0));
    let topics = fields.list(|fields| {
        let _name = fields.text()?;
        fields.list(|fields| {
            let (partition, code, watermark, stable, _start) =
                (fields.i32()?, fields.i16()?, fields.i64()?, fields.i64()?, fields.i64()?);
            let aborted = fields.list(|fields| Ok(Aborted { producer: fields.i64()?, first: fields.i64()? }))?;
            let records = fields.bytes()?.unwrap_or_default();
            let end = if stable < 0 { watermark } else { stable };
            Ok(Found { partition, code, end, aborted, records })
        })
    })?;
    Ok(Fetched { throttled, code, found: topics.into_iter().flatten().collect() })
}

pub(super) fn ask_sasl(mechanism: &str) -> Vec<u8> {
    let mut question = Writer::default();
    question.text(mechanism);
    question.0
}

/// Error code, and the mechanisms that there are.
pub(super) fn sasl(fields: &mut Fields) -> Result<(i16, Vec<String>), Malformed> {
    let code = fields.i16()?;
    Ok((code, fields.list(Fields::text)?.into_iter().flatten().collect()))
}

pub(super) fn ask_sasl_step(token: &[u8]) -> Vec<u8> {
    let mut question = Writer::default();
    question.bytes(token);
    question.0
}

/// Error code, why, and what the broker says next.
pub(super) fn sasl_step(fields: &mut Fields) -> Result<(i16, String, Bytes), Malformed> {
    Ok((fields.i16()?, fields.text()?.unwrap_or_default(), fields.bytes()?.unwrap_or_default()))
}
