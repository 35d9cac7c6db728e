//! The file: `bundle.json`, then the blobs in order of their digests.
//!
//! Invariant: it is written aside and renamed, so it is never seen half; it is read by offsets that were checked against
//! its length, and by digests, never by names of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::SeekFrom,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use bytes::BytesMut;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use mlops_core::{Digest, Error, ModelName, Result};
use mlops_store::{ByteStream, blob::verified};
use serde::{Deserialize, Serialize};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _},
};

use super::{
    Bundles, ImportModel, Imported, ModelRecord,
    tar::{BLOCK, END, Header, padding},
};
use crate::registry::{BlobCount, BlobSource, package::read_manifest};

const FORMAT: &str = "mlops.bundle";
/// The layout that this version writes; readers refuse a higher one.
const FORMAT_VERSION: u32 = 1;
const HEADER_FILE: &str = "bundle.json";
const BLOBS: &str = "blobs/";

/// Largest `bundle.json` that is read, in bytes.
const HEADER_BYTES_MAX: u64 = 256 << 20;
/// Most blobs in a bundle that is read.
const BLOBS_MAX: usize = 1_000_000;
/// Bytes that are read at a time.
const PIECE_BYTES: u64 = 256 << 10;

/// What `bundle.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleHeader {
    format: String,
    format_version: u32,
    /// The models.
    pub models: Vec<ModelRecord>,
}

fn cannot(path: &Path, what: &'static str) -> impl Fn(std::io::Error) -> Error + Clone + Send + 'static + use<> {
    let path = path.to_owned();
    move |error| Error::unavailable(format!("bundle {} cannot be {what}: {error}", path.display())).with_source(error)
}

fn damaged(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::data_loss(format!("{} is not a bundle, or damaged: {what}", path.display()))
}

/// Writes models into a new file; gives what blobs are in it. The same models in the same state give the same bytes.
///
/// # Errors
/// `AlreadyExists` when there is something at `path`; `NotFound` for a model that does not exist; `ResourceExhausted`
/// for a blob of 8 GiB or more; `DataLoss` for a damaged one; `Unavailable`.
pub async fn export(from: &dyn Bundles, models: &[ModelName], path: &Path) -> Result<BlobCount> {
    let failed = cannot(path, "written");
    if tokio::fs::try_exists(path).await.map_err(&failed)? {
        return Err(Error::already_exists(format!("{} is there already; name a new file", path.display())));
    }
    let mut header = BundleHeader {
        format: FORMAT.to_owned(),
        format_version: FORMAT_VERSION,
        models: Vec::with_capacity(models.len()),
    };
    for model in models {
        header.models.push(from.export_model(model).await?);
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(".part");
    let aside = PathBuf::from(aside);
    let written = async {
        let count = write(from, &header, &aside).await?;
        tokio::fs::rename(&aside, path).await.map_err(&failed)?;
        Ok(count)
    };
    let written = written.await;
    if written.is_err() {
        // What was begun is of no use; the first error is the one to report.
        let _ = tokio::fs::remove_file(&aside).await;
    }
    written
}

async fn write(from: &dyn Bundles, header: &BundleHeader, path: &Path) -> Result<BlobCount> {
    let failed = cannot(path, "written");
    let json =
        serde_json::to_vec(header).map_err(|error| Error::internal("a bundle is not JSON").with_source(error))?;
    let mut file = File::create(path).await.map_err(&failed)?;
    let start = Header { name: HEADER_FILE.to_owned(), size: json.len() as u64 };
    file.write_all(&start.write()?).await.map_err(&failed)?;
    file.write_all(&json).await.map_err(&failed)?;
    pad(&mut file, start.size).await.map_err(&failed)?;
    let mut count = BlobCount::default();
    for digest in blobs_of(from, header).await? {
        let start = Header { name: format!("{BLOBS}{digest}"), size: from.size(&digest).await? };
        file.write_all(&start.write()?).await.map_err(&failed)?;
        let mut pieces = verified(from.open(&digest).await?, digest);
        while let Some(piece) = pieces.try_next().await? {
            file.write_all(&piece).await.map_err(&failed)?;
        }
        pad(&mut file, start.size).await.map_err(&failed)?;
        count.add(start.size);
    }
    file.write_all(&END).await.map_err(&failed)?;
    file.sync_all().await.map_err(&failed)?;
    Ok(count)
}

async fn pad(file: &mut File, size: u64) -> std::io::Result<()> {
    let zeros = usize::try_from(padding(size)).unwrap_or_default();
    file.write_all(END.get(..zeros).unwrap_or_default()).await
}

async fn blobs_of(from: &dyn Bundles, header: &BundleHeader) -> Result<BTreeSet<Digest>> {
    let mut blobs: BTreeSet<Digest> = header.models.iter().flat_map(ModelRecord::packages).collect();
    for package in blobs.clone() {
        blobs.extend(read_manifest(from.as_blob_source(), &package).await?.0.files.values());
    }
    Ok(blobs)
}

/// Takes every model of a bundle over, one after another; a repeated import goes on where one ended.
///
/// # Errors
/// As [`BundleReader::open`] and [`Bundles::import_model`].
pub async fn import(into: &dyn Bundles, path: &Path, options: &ImportModel) -> Result<Imported> {
    let bundle = BundleReader::open(path).await?;
    let mut imported = Imported::default();
    for model in &bundle.header().models {
        imported.add(into.import_model(model, &bundle, options).await?);
    }
    Ok(imported)
}

/// A bundle that was opened: what is in it is known, blobs are read when asked for.
#[derive(Debug)]
pub struct BundleReader {
    path: PathBuf,
    header: BundleHeader,
    /// Where each blob begins, and its size.
    blobs: BTreeMap<Digest, (u64, u64)>,
}

impl BundleReader {
    /// Reads what is in a bundle, and checks that nothing else is.
    ///
    /// # Errors
    /// `DataLoss` when it is not a bundle, cut off, or damaged; `FailedPrecondition` when it is of a newer format;
    /// `ResourceExhausted` when it is over a limit; `InvalidArgument` when a record contradicts itself; `Unavailable`.
    pub async fn open(path: &Path) -> Result<Self> {
        let failed = cannot(path, "read");
        let mut file = File::open(path).await.map_err(&failed)?;
        let length = file.metadata().await.map_err(&failed)?.len();
        let mut entries = Entries { path, file: &mut file, at: 0, length };
        let Some((first, _)) = entries.next().await? else { return Err(damaged(path, "it is empty")) };
        if first.name != HEADER_FILE || first.size > HEADER_BYTES_MAX {
            return Err(damaged(path, format!("it begins with {:?} of {} bytes", first.name, first.size)));
        }
        let json = entries.content(&first).await?;
        let header = read_header(path, &json)?;
        let mut blobs = BTreeMap::new();
        while let Some((entry, offset)) = entries.next().await? {
            let digest = entry.name.strip_prefix(BLOBS).and_then(|name| name.parse::<Digest>().ok());
            let Some(digest) = digest else { return Err(damaged(path, format!("it has a file {:?}", entry.name))) };
            if blobs.last_key_value().is_some_and(|(last, _)| *last >= digest) {
                return Err(damaged(path, format!("blob {} is not in order", digest.short())));
            }
            if blobs.len() >= BLOBS_MAX {
                return Err(Error::resource_exhausted(format!("{} has over {BLOBS_MAX} blobs", path.display())));
            }
            blobs.insert(digest, (offset, entry.size));
            entries.skip(&entry);
        }
        Ok(Self { path: path.to_owned(), header, blobs })
    }

    /// What it holds besides blobs.
    #[must_use]
    pub fn header(&self) -> &BundleHeader {
        &self.header
    }

    fn place(&self, digest: &Digest) -> Result<(u64, u64)> {
        self.blobs.get(digest).copied().ok_or_else(|| {
            Error::not_found(format!("{} has no blob {}", self.path.display(), digest.short())).with("digest", digest)
        })
    }
}

fn read_header(path: &Path, json: &[u8]) -> Result<BundleHeader> {
    /// Read first: a newer format may have other fields.
    #[derive(Deserialize)]
    struct Format {
        format: String,
        format_version: u32,
    }
    let format: Format = serde_json::from_slice(json).map_err(|error| damaged(path, error))?;
    if format.format != FORMAT {
        return Err(damaged(path, format!("its format is {:?}", format.format)));
    }
    if format.format_version > FORMAT_VERSION {
        return Err(Error::failed_precondition(format!(
            "{} has bundle format {}, this version reads up to {FORMAT_VERSION}; upgrade mlops",
            path.display(),
            format.format_version
        )));
    }
    let header: BundleHeader = serde_json::from_slice(json).map_err(|error| damaged(path, error))?;
    header.models.iter().try_for_each(ModelRecord::check)?;
    Ok(header)
}

#[async_trait]
impl BlobSource for BundleReader {
    async fn open(&self, digest: &Digest) -> Result<ByteStream> {
        let (offset, size) = self.place(digest)?;
        let failed = cannot(&self.path, "read");
        let mut file = File::open(&self.path).await.map_err(&failed)?;
        file.seek(SeekFrom::Start(offset)).await.map_err(&failed)?;
        let pieces = stream::try_unfold((file, size), move |(mut file, left)| {
            let failed = failed.clone();
            async move {
                if left == 0 {
                    return Ok(None);
                }
                let wanted = left.min(PIECE_BYTES);
                let mut piece = BytesMut::zeroed(usize::try_from(wanted).unwrap_or_default());
                file.read_exact(&mut piece).await.map_err(&failed)?;
                Ok(Some((piece.freeze(), (file, left - wanted))))
            }
        });
        Ok(verified(pieces.boxed(), *digest))
    }

    async fn size(&self, digest: &Digest) -> Result<u64> {
        self.place(digest).map(|(_, size)| size)
    }
}

/// The entries of the archive, one after another.
struct Entries<'a> {
    path: &'a Path,
    file: &'a mut File,
    at: u64,
    length: u64,
}

impl Entries<'_> {
    /// The next entry and where its content begins; none at the end.
    async fn next(&mut self) -> Result<Option<(Header, u64)>> {
        let Some(header) = Header::read(&self.block().await?)? else {
            let second = self.block().await?;
            let rest = self.length.saturating_sub(self.at);
            return match Header::read(&second)? {
                None if rest == 0 => Ok(None),
                _ => Err(damaged(self.path, "there is something after its end")),
            };
        };
        let end = self.at.checked_add(header.size + padding(header.size));
        match end {
            Some(end) if end <= self.length => Ok(Some((header, self.at))),
            _ => Err(damaged(self.path, format!("it is cut off within {:?}", header.name))),
        }
    }

    fn skip(&mut self, header: &Header) {
        self.at += header.size + padding(header.size);
    }

    async fn content(&mut self, header: &Header) -> Result<Vec<u8>> {
        let failed = cannot(self.path, "read");
        self.file.seek(SeekFrom::Start(self.at)).await.map_err(&failed)?;
        let mut content = vec![0; usize::try_from(header.size).unwrap_or_default()];
        self.file.read_exact(&mut content).await.map_err(&failed)?;
        self.skip(header);
        Ok(content)
    }

    async fn block(&mut self) -> Result<[u8; BLOCK as usize]> {
        if self.length.saturating_sub(self.at) < BLOCK {
            return Err(damaged(self.path, "it is cut off"));
        }
        let failed = cannot(self.path, "read");
        let mut block = [0; BLOCK as usize];
        self.file.seek(SeekFrom::Start(self.at)).await.map_err(&failed)?;
        self.file.read_exact(&mut block).await.map_err(&failed)?;
        self.at += BLOCK;
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION_1: &str = concat!(
        r#"{"format":"mlops.bundle","format_version":1,"models":[{"model":{"name":"fraud","description":"d","created":1000,"#,
        r#""updated":2000,"last_version":3,"tags":{"team":"risk"},"aliases":{"champion":1}},"versions":[{"version":{"#,
        r#""model":"fraud","version":1,"source":{"package":"#,
        r#""ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},"run_id":"r1","run_link":"","#,
        r#""description":"","created_by":"ann","created":1000,"updated":1000,"tags":{"t":"1"},"aliases":["champion"]},"#,
        r#""idempotency_key":"job-1"},{"version":{"model":"fraud","version":2,"source":{"uri":"s3://b/m"},"run_id":null,"#,
        r#""run_link":"","description":"","created_by":"ann","created":2000,"updated":2000,"tags":{},"aliases":[]},"#,
        r#""deletion":{"at":2500,"by":"bob"}}],"moves":[{"model":"fraud","alias":"champion","from":null,"to":1,"#,
        r#""at":1500,"actor":"ann","reason":"better"}]}]}"#
    );

    fn read(json: &str) -> Result<BundleHeader> {
        read_header(Path::new("a.tar"), json.as_bytes())
    }

    #[test]
    fn version_1_is_read_and_written_as_it_was() {
        let header = read(VERSION_1).unwrap();
        assert_eq!(header.models[0].packages(), BTreeSet::from([Digest::of(b"abc")]));
        assert_eq!(serde_json::to_string(&header).unwrap(), VERSION_1);
    }

    #[test]
    fn records_that_contradict_themselves_are_refused() {
        let contradictions = [
            (r#""version":2,"source""#, r#""version":1,"source""#, "does not come between"),
            (r#""version":2,"source""#, r#""version":4,"source""#, "does not come between"),
            (r#""champion":1"#, r#""champion":2"#, "points at version 2"),
            (r#""champion":1"#, r#""latest":1"#, "reserved"),
            (r#""last_version":3"#, r#""last_version":9007199254740993"#, "is over"),
            (r#""model":"fraud","version":2"#, r#""model":"other","version":2"#, "is of model"),
            (r#"{"model":"fraud","alias""#, r#"{"model":"other","alias""#, "a move is of model"),
        ];
        for (from, to, why) in contradictions {
            assert!(VERSION_1.contains(from), "{from}");
            let error = read(&VERSION_1.replace(from, to)).unwrap_err();
            assert!(error.message().contains(why), "{to}: {error}");
        }
        assert!(read(&VERSION_1.replace("mlops.bundle", "else")).unwrap_err().message().contains("\"else\""));
    }
}
