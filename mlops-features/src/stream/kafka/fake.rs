//! Brokers for tests, which answer by a function.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{
    messages::{API_VERSIONS, FETCH, LIST_OFFSETS, METADATA, NEEDED, Want},
    wire::{Fields, Writer},
};

/// What a broker is asked.
pub(super) enum Asked {
    Metadata,
    /// The first offset of the partition, or the next one.
    Offset {
        first: bool,
    },
    /// Messages, which may be waited for.
    Fetch {
        wants: Vec<Want>,
        wait: Duration,
    },
}

/// What it says, and after how long.
pub(super) type Said = (Duration, Vec<u8>);

/// A broker that only listens.
pub(super) struct Fake {
    listener: TcpListener,
    pub(super) port: u16,
}

impl Fake {
    pub(super) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener, port }
    }

    /// From now on it answers.
    pub(super) fn answer(self, answer: impl Fn(Asked) -> Said + Send + Sync + 'static) {
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = self.listener.accept().await {
                let answer = Arc::clone(&answer);
                tokio::spawn(async move {
                    while let Ok(length) = stream.read_i32().await {
                        let mut question = vec![0; length as usize];
                        if stream.read_exact(&mut question).await.is_err() {
                            return;
                        }
                        let number = question[4..8].to_vec();
                        let (pause, said) = match read(question.into()) {
                            None => (Duration::ZERO, versions()),
                            Some(asked) => answer(asked),
                        };
                        tokio::time::sleep(pause).await;
                        let frame = [((number.len() + said.len()) as i32).to_be_bytes().to_vec(), number, said];
                        if stream.write_all(&frame.concat()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
    }
}

/// A question; none where it is for the versions.
fn read(question: Bytes) -> Option<Asked> {
    let mut fields = Fields(question);
    let (api, _version, _number, _client) =
        (fields.i16().unwrap(), fields.i16().unwrap(), fields.i32().unwrap(), fields.text().unwrap());
    match api {
        api if api == API_VERSIONS.key => None,
        api if api == METADATA.key => Some(Asked::Metadata),
        api if api == LIST_OFFSETS.key => Some(Asked::Offset { first: fields.0.ends_with(&(-2_i64).to_be_bytes()) }),
        api => {
            assert_eq!(api, FETCH.key);
            let (_replica, wait, _least, _most) =
                (fields.i32().unwrap(), fields.i32().unwrap(), fields.i32().unwrap(), fields.i32().unwrap());
            let (_isolation, _session, _epoch) = (fields.i8().unwrap(), fields.i32().unwrap(), fields.i32().unwrap());
            let wants = fields.list(|fields| {
                let _topic = fields.text()?;
                fields.list(|fields| {
                    let (partition, _epoch, from) = (fields.i32()?, fields.i32()?, fields.i64()?);
                    let (_start, _bytes) = (fields.i64()?, fields.i32()?);
                    Ok(Want { partition, from: from as u64 })
                })
            });
            let wants = wants.unwrap().into_iter().flatten().collect();
            Some(Asked::Fetch { wants, wait: Duration::from_millis(wait as u64) })
        }
    }
}

fn versions() -> Vec<u8> {
    let mut answer = Writer::default();
    answer.i16(0).count(NEEDED.len());
    for api in NEEDED {
        answer.i16(api.key).i16(0).i16(20);
    }
    answer.0
}

/// Brokers 0, 1, ... at `ports`; the leaders of partitions 0, 1, ... of topic `t`.
pub(super) fn metadata(ports: &[u16], code: i16, leaders: &[i32]) -> Said {
    let mut answer = Writer::default();
    answer.i32(0).count(ports.len());
    for (broker, port) in (0..).zip(ports) {
        answer.i32(broker).text("127.0.0.1").i32(i32::from(*port)).i16(-1);
    }
    answer.i16(-1).i32(0).count(1).i16(code).text("t").i8(0).count(leaders.len());
    for (partition, leader) in (0..).zip(leaders) {
        answer.i16(0).i32(partition).i32(*leader).count(0).count(0);
    }
    (Duration::ZERO, answer.0)
}

pub(super) fn offset(offset: i64) -> Said {
    let mut answer = Writer::default();
    answer.i32(0).count(1).text("t").count(1).i32(0).i16(0).i64(-1).i64(offset);
    (Duration::ZERO, answer.0)
}

/// Of some partitions the error code, the end and batches.
pub(super) fn fetched(throttled: i32, parts: &[(i32, i16, i64, &[u8])]) -> Vec<u8> {
    let mut answer = Writer::default();
    answer.i32(throttled).i16(0).i32(0);
    if parts.is_empty() {
        answer.count(0);
        return answer.0;
    }
    answer.count(1).text("t").count(parts.len());
    for (partition, code, end, records) in parts {
        answer.i32(*partition).i16(*code).i64(*end).i64(*end).i64(0).count(0).bytes(records);
    }
    answer.0
}
