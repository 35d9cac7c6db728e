//! An object store that is lost at any call: while files are listed, before one is read, in its middle. What was taken
//! in stays, nothing of the file in hand is there, and the next run goes on.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use futures::{StreamExt as _, stream, stream::BoxStream};
use mlops_core::ErrorKind;
use mlops_features::{FeatureStore, FileFormat, MemoryOnlineStore, Scan, Source};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};
use parquet::arrow::ArrowWriter;

use crate::{
    data::{batch, clock, row, schema},
    table::ids,
};

/// Answers so many questions, then none.
#[derive(Debug)]
struct Fragile {
    inner: InMemory,
    left: AtomicUsize,
}

impl Fragile {
    fn ask(&self) -> Result<()> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| lost())
    }
}

fn lost() -> Error {
    let source = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    Error::Generic { store: "Fragile", source: Box::new(source) }
}

impl fmt::Display for Fragile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fragile")
    }
}

#[async_trait]
impl ObjectStore for Fragile {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    /// Two questions: for the head, and for the bytes, which break off where the second one is one too many.
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.ask()?;
        let found = self.inner.get_opts(location, options).await?;
        let (meta, range, attributes) = (found.meta.clone(), found.range.clone(), found.attributes.clone());
        let bytes = found.bytes().await?;
        let half = bytes.slice(..bytes.len() / 2);
        let parts = match self.ask() {
            Ok(()) => vec![Ok(bytes)],
            Err(error) => vec![Ok(half), Err(error)],
        };
        let payload = GetResultPayload::Stream(stream::iter(parts).boxed());
        Ok(GetResult { payload, meta, range, attributes })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.ask() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.ask()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

const FILES: i64 = 4;

async fn lake() -> Arc<Fragile> {
    let lake = Fragile { inner: InMemory::new(), left: AtomicUsize::new(0) };
    for number in 0..FILES {
        let rows = batch(&[row(1, number, 2 * number), row(2, number, 2 * number + 1)]);
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
        lake.inner.put(&format!("in/{number}.parquet").into(), bytes.into()).await.unwrap();
    }
    Arc::new(lake)
}

#[tokio::test]
async fn what_was_read_stays_and_the_next_run_goes_on() {
    // One question for the list and two for each file.
    let all = 1 + 2 * FILES as usize;
    for lost_after in 0..all {
        let (home, lake) = (tempfile::tempdir().unwrap(), lake().await);
        let objects: Arc<dyn ObjectStore> = Arc::<Fragile>::clone(&lake);
        let source = Source::files("events", "lake://x/in/*.parquet", FileFormat::Parquet).build().unwrap();
        let store = FeatureStore::builder(home.path().to_str().unwrap())
            .with_clock(clock())
            .with_online(Arc::new(MemoryOnlineStore::default()))
            .with_table("events", schema())
            .with_source(source)
            .with_objects("lake://x", objects)
            .build()
            .await
            .unwrap();
        let found = async || ids(&store.table("events").unwrap().scan_all(Scan::latest()).await.unwrap());
        lake.left.store(lost_after, Ordering::Relaxed);
        let error = store.source("events").unwrap().run().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{lost_after}: {error}");
        assert!(error.to_string().contains("source \"events\""), "{error}");
        let files = lost_after.saturating_sub(1) / 2;
        assert!(lost_after == 0 || error.to_string().contains(&format!("in/{files}.parquet")), "{error}");
        assert_eq!(found().await, (0..2 * files as i64).collect::<Vec<_>>());
        lake.left.store(usize::MAX, Ordering::Relaxed);
        let receipt = store.source("events").unwrap().run().await.unwrap();
        assert_eq!((receipt.files_known as usize, receipt.files as usize), (files, FILES as usize - files));
        assert_eq!(found().await, (0..2 * FILES).collect::<Vec<_>>());
    }
}
