//! DVC repositories through the public interface. The real `dvc` judges the same in `.ci/dvc.py`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use mlops_core::ErrorKind;
use mlops_features::{
    Table, TableSettings,
    dvc::{Added, CheckoutOptions, DvcRepo, DvcSettings, OutputStatus, Workspace},
};
use object_store::{ObjectStore, ObjectStoreExt as _, memory::InMemory, path::Path as StorePath};

use crate::data::{batch, clock, row, schema};

/// A home with the repository `r` and room for remotes beside it.
struct Place {
    home: tempfile::TempDir,
    repo: DvcRepo,
}

async fn place() -> Place {
    let home = tempfile::tempdir().unwrap();
    let repo = DvcRepo::init(home.path().join("r")).await.unwrap().add_remote("store", "../remote").await.unwrap();
    let repo = repo.with_settings(DvcSettings { threads: 4, transfers: 8 });
    Place { home, repo }
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("r").join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn object(&self, base: &str, md5: &str) -> PathBuf {
        self.home.path().join(base).join("files/md5").join(&md5[..2]).join(&md5[2..])
    }

    async fn clean(&self) -> bool {
        self.repo.status([""; 0]).await.unwrap().iter().all(OutputStatus::is_clean)
    }
}

const CACHE: &str = "r/.dvc/cache";

fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut stack = vec![root.to_owned()];
    while let Some(directory) = stack.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                stack.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

#[tokio::test]
async fn data_goes_to_a_remote_and_comes_back_the_same() {
    let place = place().await;
    place.write("data/sub/é 1.txt", "hello\r\n");
    place.write("data/empty", "");
    place.write("data/sub/deep/er/x.bin", [0_u8, 1, 2]);
    for index in 0..300 {
        place.write(&format!("data/many/{index}"), format!("{}", index % 250));
    }
    place.write("one.csv", "a,b\n");
    let before = tree(&place.path("data"));
    let added = place.repo.add("data").await.unwrap();
    assert_eq!(
        (added.output.files, added.output.size),
        (Some(303), Some(before.values().map(|b| b.len() as u64).sum()))
    );
    place.repo.add(place.path("one.csv")).await.unwrap();
    assert_eq!(
        place.read("one.csv.dvc"),
        format!("outs:\n- md5: {}\n  size: 4\n  hash: md5\n  path: one.csv\n", md5("a,b\n"))
    );
    assert!(place.clean().await);

    let sent = place.repo.push([""; 0]).await.unwrap();
    let again = place.repo.push([""; 0]).await.unwrap();
    assert_eq!((again.objects, again.present), (0, sent.objects));
    fs::remove_dir_all(place.path("data")).unwrap();
    fs::remove_dir_all(place.home.path().join(CACHE)).unwrap();
    let (fetched, report) = place.repo.pull(["data.dvc"]).await.unwrap();
    assert_eq!((fetched.objects + 1, report.restored), (sent.objects, 303));
    assert_eq!(tree(&place.path("data")), before);
    let status = place.repo.status(["one.csv"]).await.unwrap();
    assert_eq!((status[0].workspace, status[0].cached), (Workspace::Same, false));
    assert_eq!(place.repo.pull([""; 0]).await.unwrap().1.unchanged, 304);
    assert!(place.clean().await);
}

fn md5(text: &str) -> String {
    use md5::Digest as _;
    md5::Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn adding_again_changes_nothing_and_a_change_is_seen() {
    let place = place().await;
    place.write("d/a", "1");
    place.repo.add("d").await.unwrap();
    let (file, cache) = (place.read("d.dvc"), tree(&place.home.path().join(CACHE)));
    place.repo.add("d").await.unwrap();
    assert_eq!((place.read("d.dvc"), tree(&place.home.path().join(CACHE))), (file.clone(), cache));
    place.write("d/a", "2");
    assert_eq!(place.repo.status(["d"]).await.unwrap()[0].workspace, Workspace::Modified);
    let refused = place.repo.checkout(["d"]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::FailedPrecondition);
    assert!(refused.message().contains("d/a"), "{refused}");
    assert_eq!(place.read("d/a"), "2", "nothing is lost");
    place.repo.add("d").await.unwrap();
    place.write("d.dvc", &file);
    place.write("d/b/new", "3");
    assert!(place.repo.checkout(["d"]).await.is_err(), "d/b/new is nowhere else");
    let report = place.repo.checkout_opts(["d"], CheckoutOptions { force: true }).await.unwrap();
    assert_eq!((report.restored, report.removed), (1, 1));
    assert_eq!(tree(&place.path("d")), BTreeMap::from([("a".to_owned(), b"1".to_vec())]));
    assert!(!place.path("d/b").exists());
}

#[tokio::test]
async fn a_damaged_object_is_named_and_not_spread() {
    let place = place().await;
    place.write("x", "good");
    place.repo.add("x").await.unwrap();
    place.repo.push(["x"]).await.unwrap();
    let id = md5("good");
    let spoil = |path: PathBuf| {
        fs::remove_file(&path).unwrap();
        fs::write(path, "evil").unwrap();
    };
    spoil(place.object(CACHE, &id));
    fs::remove_file(place.path("x")).unwrap();
    let error = place.repo.checkout(["x"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    assert!(error.message().contains(&id) && !place.path("x").exists(), "{error}");
    fs::remove_dir_all(place.home.path().join("remote")).unwrap();
    assert_eq!(place.repo.push(["x"]).await.unwrap_err().kind(), ErrorKind::DataLoss);
    assert!(!place.object("remote", &id).exists());

    // Adding the data again mends the cache, and then the remote; a damaged remote does not reach the cache.
    place.write("x", "good");
    place.repo.add("x").await.unwrap();
    place.repo.push(["x"]).await.unwrap();
    spoil(place.object("remote", &id));
    fs::remove_dir_all(place.home.path().join(CACHE)).unwrap();
    fs::remove_file(place.path("x")).unwrap();
    assert_eq!(place.repo.pull(["x"]).await.unwrap_err().kind(), ErrorKind::DataLoss);
    assert!(!place.object(CACHE, &id).exists() && !place.path("x").exists());
}

#[tokio::test]
async fn any_object_store_is_a_remote_and_listings_go_last() {
    let place = place().await;
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let repo = place.repo.clone().with_remote("store", Arc::clone(&store), "team/data");
    place.write("d/small", "s");
    place.write("d/large", vec![7_u8; 20 << 20]);
    for index in 0..300 {
        place.write(&format!("d/{index}"), format!("{index}"));
    }
    let added = repo.add("d").await.unwrap();
    assert_eq!(repo.push(["d"]).await.unwrap().objects, 303);
    assert_eq!(repo.push(["d"]).await.unwrap().present, 303);
    assert!(store.head(&key_of(&added)).await.is_ok());
    let before = tree(&place.path("d"));
    fs::remove_dir_all(place.path("d")).unwrap();
    fs::remove_dir_all(place.home.path().join(CACHE)).unwrap();
    repo.pull(["d"]).await.unwrap();
    assert_eq!(tree(&place.path("d")), before);

    // A file that cannot be sent keeps the listing back.
    place.write("d/small", "other");
    let added = repo.add("d").await.unwrap();
    fs::remove_file(place.object(CACHE, &md5("other"))).unwrap();
    assert_eq!(repo.push(["d"]).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(store.head(&key_of(&added)).await.is_err());
}

/// Where the object is below `team/data`.
fn key_of(added: &Added) -> StorePath {
    let id = added.output.id.to_string();
    StorePath::from(format!("team/data/files/md5/{}/{}", &id[..2], &id[2..]))
}

/// Callers may spawn whatever a repository does.
#[tokio::test]
async fn operations_may_move_between_threads() {
    fn sent<T: Send>(work: T) -> T {
        work
    }
    let place = place().await;
    place.write("x", "1");
    sent(place.repo.add("x")).await.unwrap();
    sent(place.repo.push(["x"])).await.unwrap();
    sent(place.repo.pull(["x"])).await.unwrap();
    sent(place.repo.status(["x"])).await.unwrap();
}

#[tokio::test]
async fn what_dvc_2_wrote_is_read() {
    let place = place().await;
    let (text, listed) = ("a\r\nb\r\n", md5("a\nb\n"));
    let listing = format!("[{{\"md5\": \"{listed}\", \"relpath\": \"t.txt\"}}]");
    let id = md5(&listing);
    let old =
        |id: &str, suffix: &str| place.home.path().join("remote").join(&id[..2]).join(format!("{}{suffix}", &id[2..]));
    for (path, bytes) in [(old(&listed, ""), text), (old(&id, ".dir"), listing.as_str())] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    place.write("d.dvc", format!("outs:\n- md5: {id}.dir\n  size: 6\n  nfiles: 1\n  path: d\n"));
    place.repo.pull(["d"]).await.unwrap();
    assert_eq!(place.read("d/t.txt"), text);
    assert!(place.clean().await);
    assert_eq!(place.repo.push(["d"]).await.unwrap_err().kind(), ErrorKind::Unimplemented);
    place.repo.add("d").await.unwrap();
    assert!(place.read("d.dvc").contains("  hash: md5\n"));
    place.repo.push(["d"]).await.unwrap();
}

#[tokio::test]
async fn foreign_records_cannot_touch_what_is_outside() {
    let place = place().await;
    let outside = place.home.path().join("outside");
    fs::create_dir_all(&outside).unwrap();
    place.write("x", "1");
    place.repo.add("x").await.unwrap();
    for path in ["../outside/x", "/tmp/x", ".git/hooks/x", "a/../../outside/x"] {
        place.write("evil.dvc", format!("outs:\n- md5: {}\n  hash: md5\n  path: {path}\n", md5("1")));
        let error = place.repo.checkout(["evil.dvc"]).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::Unimplemented), "{path}: {error}");
    }
    let listing = format!("[{{\"md5\": \"{}\", \"relpath\": \"../../outside/x\"}}]", md5("1"));
    let object = place.object(CACHE, &(md5(&listing) + ".dir"));
    fs::create_dir_all(object.parent().unwrap()).unwrap();
    fs::write(object, &listing).unwrap();
    place.write("evil.dvc", format!("outs:\n- md5: {}.dir\n  hash: md5\n  path: evil\n", md5(&listing)));
    assert_eq!(place.repo.checkout(["evil.dvc"]).await.unwrap_err().kind(), ErrorKind::InvalidArgument);

    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&outside, place.path("link")).unwrap();
        place.write("evil.dvc", format!("outs:\n- md5: {}\n  hash: md5\n  path: link/x\n", md5("1")));
        assert_eq!(place.repo.checkout(["evil.dvc"]).await.unwrap_err().kind(), ErrorKind::FailedPrecondition);
        assert_eq!(place.repo.add("link").await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    assert!(tree(&outside).is_empty());
}

#[tokio::test]
async fn what_is_no_data_is_left_out_or_refused() {
    let place = place().await;
    place.write("d/.dvcignore", "*.tmp\n");
    place.write("d/a.tmp", "t");
    place.write("d/a", "1");
    let added = place.repo.add("d").await.unwrap();
    assert_eq!(added.output.files, Some(2), "a and .dvcignore");
    assert_eq!(place.repo.add("d/a").await.unwrap_err().kind(), ErrorKind::FailedPrecondition);
    assert_eq!(place.repo.add("no").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(place.repo.add("..").await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(place.repo.add(".dvc/config").await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    place.write("e/f.dvc", "outs: []\n");
    assert_eq!(place.repo.add("e").await.unwrap_err().kind(), ErrorKind::FailedPrecondition);
    let error = place.repo.checkout(["unknown"]).await.unwrap_err();
    assert!(error.message().contains("unknown.dvc"), "{error}");
    assert_eq!(DvcRepo::open(place.home.path()).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(DvcRepo::init(place.path("")).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
}

#[tokio::test]
async fn hard_links_share_the_bytes_read_only() {
    let place = place().await;
    let config = place.read(".dvc/config") + "[cache]\n    type = hardlink,copy\n";
    place.write(".dvc/config", config);
    let repo = DvcRepo::open(place.path("")).await.unwrap();
    place.write("d/a", "linked");
    place.write("d/empty", "");
    repo.add("d").await.unwrap();
    let (here, there) = (place.path("d/a"), place.object(CACHE, &md5("linked")));
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        assert_eq!(inode(&here), inode(&there));
        assert_eq!(fs::metadata(&here).unwrap().mode() & 0o777, 0o444);
        fs::remove_dir_all(place.path("d")).unwrap();
        repo.checkout(["d"]).await.unwrap();
        assert_eq!(inode(&here), inode(&there));
    }
    assert!(repo.status(["d"]).await.unwrap()[0].is_clean());
}

#[tokio::test]
async fn a_stage_is_recorded_as_run() {
    let place = place().await;
    place.write("in/x", "1");
    place.write("params.yaml", "lr: 1e-3\nnest:\n  k: 3\n");
    place.write("out.txt", "3\n");
    place.write("m.json", "{}");
    let stage = "stages:\n  count:\n    cmd: wc -l\n    deps:\n    - in\n    params:\n    - nest.k\n    - lr\n    outs:\n    - out.txt\n    metrics:\n    - m.json:\n        cache: false\n";
    place.write("dvc.yaml", stage);
    let committed = place.repo.commit("count").await.unwrap();
    assert_eq!((committed.file.as_str(), committed.outputs.len()), ("dvc.lock", 2));
    let listing = format!("[{{\"md5\": \"{}\", \"relpath\": \"x\"}}]", md5("1"));
    let expected = format!(
        "schema: '2.0'\nstages:\n  count:\n    cmd: wc -l\n    deps:\n    - path: in\n      hash: md5\n      md5: {}.dir\n      size: 1\n      nfiles: 1\n    params:\n      params.yaml:\n        lr: 0.001\n        nest.k: 3\n    outs:\n    - path: m.json\n      hash: md5\n      md5: {}\n      size: 2\n    - path: out.txt\n      hash: md5\n      md5: {}\n      size: 2\n",
        md5(&listing),
        md5("{}"),
        md5("3\n")
    );
    assert_eq!(place.read("dvc.lock"), expected);
    place.repo.commit("count").await.unwrap();
    assert_eq!(place.read("dvc.lock"), expected);
    assert!(place.clean().await);
    assert!(!place.object(CACHE, &md5("{}")).exists(), "git keeps the metric");
    fs::remove_file(place.path("out.txt")).unwrap();
    place.repo.checkout(["out.txt"]).await.unwrap();
    assert_eq!(place.read("out.txt"), "3\n");
    fs::remove_file(place.path("in/x")).unwrap();
    fs::remove_dir(place.path("in")).unwrap();
    assert_eq!(place.repo.commit("count").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_version_of_a_table_is_added_and_found_again() {
    let place = place().await;
    let location = place.home.path().join("table");
    let table =
        Table::create_or_open("events", location.to_str().unwrap(), schema(), clock(), TableSettings::default());
    let table = table.await.unwrap();
    table.append("b1", &batch(&[row(1, 1, 1)])).await.unwrap();
    table.append("b2", &batch(&[row(1, 2, 2)])).await.unwrap();
    let first = place.repo.add_table(&table, Some(1), "events").await.unwrap();
    assert_eq!(first.output.files, Some(1));
    let old = place.read("events.dvc");
    let digest = table.digest(Some(1)).await.unwrap();
    assert!(old.ends_with(&format!("meta:\n  table: events\n  table_version: 1\n  table_digest: {digest}\n")), "{old}");
    let second = place.repo.add_table(&table, None, "events").await.unwrap();
    assert_eq!(second.output.files, Some(2));
    place.write("events.dvc", &old);
    let report = place.repo.checkout(["events"]).await.unwrap();
    assert_eq!((report.removed, report.unchanged), (1, 1));
    let back = place.repo.add_table(&table, Some(1), "events").await.unwrap();
    assert_eq!((back.output.id, place.read("events.dvc")), (first.output.id, old));
    place.write("events/mine.txt", "");
    assert_eq!(place.repo.add_table(&table, None, "events").await.unwrap_err().kind(), ErrorKind::FailedPrecondition);
}

#[tokio::test]
async fn another_writer_is_waited_for_by_its_caller() {
    let place = place().await;
    place.write("x", "1");
    fs::create_dir_all(place.path(".dvc/tmp")).unwrap();
    let lock = fs::File::create(place.path(".dvc/tmp/lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(place.repo.add("x").await.unwrap_err().kind(), ErrorKind::Unavailable);
    drop(lock);
    place.repo.add("x").await.unwrap();
}

#[tokio::test]
async fn git_is_told_what_dvc_keeps() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".git")).unwrap();
    let repo = DvcRepo::init(home.path()).await.unwrap();
    assert_eq!(fs::read_to_string(home.path().join(".dvc/config")).unwrap(), "");
    fs::create_dir(home.path().join("s")).unwrap();
    fs::write(home.path().join("s/.gitignore"), "/other").unwrap();
    fs::write(home.path().join("s/a [1].csv"), "x").unwrap();
    repo.add("s/a [1].csv").await.unwrap();
    repo.add("s/a [1].csv").await.unwrap();
    assert_eq!(fs::read_to_string(home.path().join("s/.gitignore")).unwrap(), "/other\n/a \\[1\\].csv\n");
}
