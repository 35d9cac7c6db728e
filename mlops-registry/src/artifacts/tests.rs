//! Files come back whole, by range and by directory, from every kind of store.

use futures::stream;
use mlops_core::ErrorKind;

use super::*;

fn stores() -> Vec<(ArtifactStore, Option<tempfile::TempDir>)> {
    let dir = tempfile::tempdir().unwrap();
    let local = ArtifactStore::local(&dir.path().join("files")).unwrap();
    vec![(ArtifactStore::in_memory(), None), (local, Some(dir))]
}

async fn whole(reader: ArtifactReader) -> Vec<u8> {
    reader.pieces.try_collect::<Vec<Bytes>>().await.unwrap().concat()
}

#[tokio::test]
async fn files_stay_below_the_root() {
    for (files, dir) in stores() {
        for bad in ["", "../x", "/etc/passwd", "%2e%2e/x", "a\0b"] {
            let error = files.put(bad, "x".into()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad:?}");
            assert_eq!(files.get(bad).await.unwrap_err().kind(), ErrorKind::InvalidArgument, "{bad:?}");
            assert_eq!(files.delete(bad).await.unwrap_err().kind(), ErrorKind::InvalidArgument, "{bad:?}");
        }
        if let Some(dir) = dir {
            assert_eq!(std::fs::read_dir(dir.path().join("files")).unwrap().count(), 0);
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_out_of_the_root_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("secret")).unwrap();
    std::fs::write(dir.path().join("secret/key"), "k").unwrap();
    let files = ArtifactStore::local(&dir.path().join("files")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("secret"), dir.path().join("files/link")).unwrap();
    for path in ["link", "link/key", "link/new/file"] {
        assert_eq!(files.files(path).await.unwrap_err().kind(), ErrorKind::InvalidArgument, "{path}");
        assert_eq!(files.get(path).await.unwrap_err().kind(), ErrorKind::InvalidArgument, "{path}");
        assert_eq!(files.put(path, "x".into()).await.unwrap_err().kind(), ErrorKind::InvalidArgument, "{path}");
    }
    assert_eq!(std::fs::read_dir(dir.path().join("secret")).unwrap().count(), 1);
}

#[tokio::test]
async fn names_come_back_as_they_were_given() {
    for (files, _dir) in stores() {
        for name in ["r/a b/ünï-漢.txt", "r/n 1%.txt", "r/50%25.txt", "r/x=1"] {
            files.put(name, "1".into()).await.unwrap();
            files.put(name, "22".into()).await.unwrap();
            assert_eq!(files.get(name).await.unwrap(), "22", "{name}");
        }
        let found: Vec<String> = files.files("r").await.unwrap().into_iter().map(|(path, _)| path).collect();
        assert_eq!(found, ["50%25.txt", "a b/ünï-漢.txt", "n 1%.txt", "x=1"]);
        assert_eq!(files.get("r/none").await.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn directories_are_listed_one_level_deep_and_deleted_whole() {
    for (files, _dir) in stores() {
        for name in ["r/a.txt", "r/sub/b", "r/sub/deep/c", "rest/d"] {
            files.put(name, "123".into()).await.unwrap();
        }
        let entry = |name: &str, size| ArtifactEntry { name: name.to_owned(), size };
        assert_eq!(files.entries("r").await.unwrap(), [entry("a.txt", Some(3)), entry("sub", None)]);
        assert_eq!(files.entries("").await.unwrap(), [entry("r", None), entry("rest", None)]);
        assert_eq!(files.entries("nowhere").await.unwrap(), []);
        assert_eq!(files.entries("r/a.txt").await.unwrap(), []);
        assert_eq!(files.delete("r/sub").await.unwrap(), 2);
        assert_eq!(files.entries("r").await.unwrap(), [entry("a.txt", Some(3))]);
        assert_eq!((files.delete("r/a.txt").await.unwrap(), files.delete("r/a.txt").await.unwrap()), (1, 0));
        assert_eq!(files.get("rest/d").await.unwrap(), "123");
    }
}

#[tokio::test]
async fn large_files_go_through_in_pieces_and_appear_whole() {
    for (files, _dir) in stores() {
        let bytes: Vec<u8> = (0..PIECE_BYTES * 2 + 12_345).map(|i| u8::try_from(i * i % 251).unwrap()).collect();
        let pieces = bytes.chunks(1_000_003).map(|piece| Ok(Bytes::copy_from_slice(piece)));
        assert_eq!(files.put_pieces("r/big", stream::iter(pieces)).await.unwrap(), bytes.len() as u64);
        let reader = files.open("r/big", None).await.unwrap();
        assert_eq!((reader.size, reader.range.clone()), (bytes.len() as u64, 0..bytes.len() as u64));
        assert!(whole(reader).await == bytes);
        for (range, want) in [
            (ArtifactRange::Bounded(5..9), &bytes[5..9]),
            (ArtifactRange::From(bytes.len() as u64 - 2), &bytes[bytes.len() - 2..]),
            (ArtifactRange::Last(3), &bytes[bytes.len() - 3..]),
        ] {
            assert_eq!(whole(files.open("r/big", Some(range)).await.unwrap()).await, want);
        }
        let beyond = files.open("r/big", Some(ArtifactRange::From(bytes.len() as u64))).await.unwrap_err();
        assert_eq!(beyond.kind(), ErrorKind::InvalidArgument);

        let cut = [Ok(Bytes::from(vec![0; PIECE_BYTES])), Err(Error::cancelled("the client went away"))];
        let error = files.put_pieces("r/big", stream::iter(cut)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert!(files.get("r/big").await.unwrap() == bytes, "the earlier file stays");
        assert_eq!(files.files("r").await.unwrap(), [("big".to_owned(), bytes.len() as u64)]);
    }
}

#[tokio::test]
async fn pieces_that_may_be_polled_no_more_after_their_end_are_not() {
    let files = ArtifactStore::in_memory();
    let pieces = stream::unfold(0, async |n| (n < 3).then(|| (Ok(Bytes::from(vec![n; PIECE_BYTES / 2 + 1])), n + 1)));
    let size = 3 * (PIECE_BYTES as u64 / 2 + 1);
    assert_eq!(files.put_pieces("r/big", pieces).await.unwrap(), size);
}

#[tokio::test]
async fn a_file_over_the_bound_is_not_held_in_memory() {
    let files = ArtifactStore::in_memory();
    files.put("a", "12345".into()).await.unwrap();
    let small = files.clone().with_bytes_max(4);
    assert_eq!(small.put("b", "12345".into()).await.unwrap_err().kind(), ErrorKind::ResourceExhausted);
    assert_eq!(small.get("a").await.unwrap_err().kind(), ErrorKind::ResourceExhausted);
    small.put("b", "1234".into()).await.unwrap();
}

#[test]
fn uris_of_the_scheme_mean_paths_here() {
    let files = ArtifactStore::in_memory().with_server("https://host:8080/prefix/").unwrap();
    for uri in [
        "mlflow-artifacts:/1/r/artifacts",
        "mlflow-artifacts://host:5000/1/r/artifacts/",
        "http://127.0.0.1:5000/api/2.0/mlflow-artifacts/artifacts/1/r/artifacts",
        "http://[::1]:5000/api/2.0/mlflow-artifacts/artifacts/1/r/artifacts/",
        "http://LOCALHOST/api/2.0/mlflow-artifacts/artifacts/1/%72/artifacts",
        "https://host/prefix/api/2.0/mlflow-artifacts/artifacts/1/r/artifacts",
    ] {
        assert_eq!(files.path_of(uri).unwrap(), "1/r/artifacts");
    }
    for elsewhere in [
        "s3://b/1",
        "http://localhost/1/r",
        "http://localhost/api/2.0/mlflow-artifacts/artifacts-of-others/1",
        "http://localhost/x/api/2.0/mlflow-artifacts/artifacts/1",
        "http://localhost/x?next=/api/2.0/mlflow-artifacts/artifacts/1/r",
        "http://host/api/2.0/mlflow-artifacts/artifacts/1/r",
        "http://other/api/2.0/mlflow-artifacts/artifacts/1/r",
        "http://localhost@other/api/2.0/mlflow-artifacts/artifacts/1/r",
        "http://other/a/../prefix/api/2.0/mlflow-artifacts/artifacts/1/r",
    ] {
        assert_eq!(files.path_of(elsewhere).unwrap_err().kind(), ErrorKind::FailedPrecondition, "{elsewhere}");
    }
    let at = "http://localhost/api/2.0/mlflow-artifacts/artifacts";
    assert_eq!(files.path_of(&format!("{at}/a%20b/100%25")).unwrap(), "a b/100%");
    for bad in [
        "mlflow-artifacts:/../x".to_owned(),
        format!("{at}/a/../../x"),
        format!("{at}/%252e%252e/x"),
        format!("{at}/a%2f..%2f..%2fx"),
        format!("{at}/a?b"),
        format!("{at}/a#b"),
        format!("{at}/%ff"),
    ] {
        assert_eq!(files.path_of(&bad).unwrap_err().kind(), ErrorKind::InvalidArgument, "{bad}");
    }
    assert!(ArtifactStore::in_memory().with_server("ftp://host").is_err());
}

#[test]
fn a_local_store_knows_its_directory_by_all_its_names() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("files and more");
    let files = ArtifactStore::local(&root).unwrap();
    let url = Url::from_directory_path(&root).unwrap();
    let plain = root.to_str().unwrap();
    for uri in
        [format!("{plain}/1/r"), format!("{url}1/r"), format!("file://{plain}/1/r/"), "mlflow-artifacts:/1/r".into()]
    {
        assert_eq!(files.path_of(&uri).unwrap(), "1/r", "{uri}");
    }
    assert_eq!(files.path_of(&format!("{url}1/a..b%20c")).unwrap(), "1/a..b c");
    for uri in [
        format!("{plain}x/1"),
        "file:///etc/passwd".into(),
        "/etc".into(),
        "1/r".into(),
        format!("file://host{plain}/1"),
    ] {
        assert_eq!(files.path_of(&uri).unwrap_err().kind(), ErrorKind::FailedPrecondition, "{uri}");
    }
    for uri in [
        format!("{plain}/../x"),
        format!("{url}%2e%2e/x"),
        format!("file://{plain}/1/../../x"),
        format!("{url}%252e%252e/x"),
    ] {
        let error = files.path_of(&uri).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::FailedPrecondition), "{uri}: {error}");
    }
    assert!(ArtifactStore::in_memory().path_of(&format!("{plain}/1/r")).is_err(), "no directory, no local files");
}

/// A store whose disk fills up: it takes no part.
#[derive(Debug)]
struct Full {
    aborted: Arc<std::sync::atomic::AtomicBool>,
}

#[async_trait::async_trait]
impl MultipartUpload for Full {
    fn put_part(&mut self, _: PutPayload) -> object_store::UploadPart {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        Box::pin(async { Err(object_store::Error::Generic { store: "test", source: Box::new(full) }) })
    }
    async fn complete(&mut self) -> object_store::Result<object_store::PutResult> {
        panic!("an upload on a full disk was completed");
    }
    async fn abort(&mut self) -> object_store::Result<()> {
        self.aborted.store(true, std::sync::atomic::Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test]
async fn a_full_disk_is_told_from_a_store_that_is_away() {
    let aborted = Arc::default();
    let mut full = Full { aborted: Arc::clone(&aborted) };
    let mut held = Held::default();
    held.push(Bytes::from_static(b"x"));
    let pieces = std::pin::pin!(stream::iter([]));
    let error = write_parts(&mut full, held, pieces, "r/big").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.message().contains("full"), "{error}");
    full.abort().await.unwrap();
    let away = object_store::Error::Generic { store: "test", source: "timed out".into() };
    assert_eq!(from_store(away, "r/big").kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_store_that_cannot_sign_says_so() {
    let files = ArtifactStore::in_memory();
    files.put("r/f", "1".into()).await.unwrap();
    assert_eq!(files.capabilities(), ArtifactCapabilities::default());
    let minute = std::time::Duration::from_secs(60);
    assert_eq!(files.sign_download("r/f", minute).await.unwrap_err().kind(), ErrorKind::Unimplemented);
    assert_eq!(files.begin_upload("r/f", 1, minute).await.unwrap_err().kind(), ErrorKind::Unimplemented);
    for bad in ["../x", "%2e%2e/x"] {
        assert_eq!(files.sign_download(bad, minute).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!(files.begin_upload("r/f", 0, minute).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
}
