//! An online store in memory: for tests and for programs that rebuild it at start.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use bytes::Bytes;
use mlops_core::{Result, Timestamp};

use super::{EntityKey, OnlineStore, ReadKeys, ScanPage, WriteBatch};

/// Keeps everything in memory; nothing survives the process.
#[derive(Debug, Default)]
pub struct MemoryOnlineStore {
    views: RwLock<BTreeMap<Arc<str>, View>>,
}

#[derive(Debug, Default)]
struct View {
    records: HashMap<EntityKey, Bytes>,
    watermark: Option<Timestamp>,
}

#[async_trait]
impl OnlineStore for MemoryOnlineStore {
    async fn write(&self, batch: WriteBatch) -> Result<()> {
        let mut views = self.views.write().unwrap_or_else(PoisonError::into_inner);
        let view = views.entry(batch.table).or_default();
        let apply = |(key, update): &(EntityKey, super::Update)| {
            let after = update.apply(view.records.get(key).map(AsRef::as_ref))?;
            Ok((key.clone(), Bytes::from(after)))
        };
        let changed = batch.updates.iter().map(apply).collect::<Result<Vec<_>>>()?;
        view.records.extend(changed);
        view.watermark = view.watermark.max(batch.watermark);
        Ok(())
    }

    async fn read(&self, reads: Vec<ReadKeys>) -> Result<Vec<Vec<Option<Bytes>>>> {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        let one = |read: &ReadKeys| {
            let view = views.get(&read.table);
            read.keys.iter().map(|key| view?.records.get(key).cloned()).collect()
        };
        Ok(reads.iter().map(one).collect())
    }

    /// All on one page.
    async fn scan(&self, table: &str, _: Option<Bytes>, _: usize) -> Result<ScanPage> {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        let records = views.get(table).into_iter().flat_map(|view| &view.records);
        let records = records.map(|(key, record)| (key.clone(), record.clone())).collect();
        Ok(ScanPage { records, next: None })
    }

    async fn watermark(&self, table: &str) -> Result<Option<Timestamp>> {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        Ok(views.get(table).and_then(|view| view.watermark))
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_the_promises_of_an_online_store() {
        super::super::conformance::all(|| async { Ok(MemoryOnlineStore::default()) }).await.unwrap();
    }
}
