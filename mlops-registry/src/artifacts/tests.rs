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
    for uri in ["mlflow-artifacts:/1/r/artifacts", "mlflow-artifacts://host:5000/1/r/artifacts/"] {
        assert_eq!(ArtifactStore::path_of(uri).unwrap(), "1/r/artifacts");
    }
    assert_eq!(ArtifactStore::path_of("s3://b/1").unwrap_err().kind(), ErrorKind::FailedPrecondition);
    assert_eq!(ArtifactStore::path_of("mlflow-artifacts:/../x").unwrap_err().kind(), ErrorKind::InvalidArgument);
}
