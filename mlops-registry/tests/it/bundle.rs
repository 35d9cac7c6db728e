//! Bundles as files: round trips of any registry, damage, and what does not belong in one.

use std::{path::Path, sync::Arc};

use mlops_core::{
    Alias, DataType, ErrorKind, ModelName, ModelPackage, ModelSource as _, Signature, TensorSpec, Version,
};
use mlops_registry::{
    Actor, AliasPolicy, Approvals as _, Bundles as _, CreateModel, CreateVersion, ImportModel, ModelRegistry as _,
    ModelRegistryExt as _, MoveAlias, MoveStage, SqlModelRegistry, Stage,
    bundle::{BundleReader, export, import},
    registry::download,
};
use proptest::prelude::*;

use crate::{in_memory, registry};

/// What somebody did to a model.
#[derive(Debug, Clone)]
enum Step {
    Register(u8, Option<String>),
    Link(u8),
    Tag(u8, String),
    Move(u8, u8),
    Unset(u8),
    Stage(u8, bool),
    Delete(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u8..6, proptest::option::of("[a-z]{1,4}")).prop_map(|(content, key)| Step::Register(content, key)),
        (0_u8..4).prop_map(Step::Link),
        (1_u8..5, "\\PC{0,20}").prop_map(|(version, value)| Step::Tag(version, value)),
        (0_u8..3, 1_u8..5).prop_map(|(alias, version)| Step::Move(alias, version)),
        (0_u8..3).prop_map(Step::Unset),
        (1_u8..5, any::<bool>()).prop_map(|(version, archive)| Step::Stage(version, archive)),
        (1_u8..5).prop_map(Step::Delete),
    ]
}

fn package(content: u8) -> ModelPackage {
    let signature = Signature::new([], [TensorSpec::column("score", DataType::Float64)]).unwrap();
    let large = vec![content; usize::from(content) * 1_000];
    ModelPackage::new("constant", signature).with_file("model.json", large).with_file("sub/same", "shared")
}

/// Steps that do not fit (a version that is not there) are refused, which is as good a history as any.
async fn apply(registry: &SqlModelRegistry, name: &ModelName, step: Step) {
    let (local, version) = (Actor::default(), |n: u8| Version(u64::from(n)));
    let alias = |n: u8| Alias::new(format!("alias{n}")).unwrap();
    let refused = match step {
        Step::Register(content, idempotency_key) => {
            let options = CreateVersion { idempotency_key, ..CreateVersion::default() };
            registry.create_version(name, &package(content), options).await.err()
        }
        Step::Link(n) => {
            registry.create_version_from_uri(name, &format!("s3://b/{n}"), CreateVersion::default()).await.err()
        }
        Step::Tag(n, value) => {
            registry.set_version_tags(name, version(n), &[("t".to_owned(), value)], &local).await.err()
        }
        Step::Move(a, n) => registry.set_alias(name, &alias(a), version(n), MoveAlias::default()).await.err(),
        Step::Unset(a) => registry.delete_alias(name, &alias(a), MoveAlias::default()).await.err(),
        Step::Stage(n, archive_existing) => {
            let options = MoveStage { archive_existing, ..MoveStage::default() };
            registry.transition_stage(name, version(n), Stage::Production, options).await.err()
        }
        Step::Delete(n) => registry.delete_version(name, version(n), &local).await.err(),
    };
    if let Some(error) = refused {
        let known = [ErrorKind::NotFound, ErrorKind::FailedPrecondition, ErrorKind::AlreadyExists];
        assert!(known.contains(&error.kind()), "{error}");
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_history_comes_back_as_it_was(steps in proptest::collection::vec(step(), 0..16)) {
        block_on(async {
            let (from, to) = (registry(in_memory().await).await, registry(in_memory().await).await);
            let names = ["one", "two"].map(|name| ModelName::new(name).unwrap());
            for name in &names {
                from.create_model(name, CreateModel::default()).await.unwrap();
            }
            for (place, step) in steps.into_iter().enumerate() {
                apply(&from, &names[place % 2], step).await;
            }
            let dir = tempfile::tempdir().unwrap();
            let (first, second) = (dir.path().join("a.tar"), dir.path().join("b.tar"));
            export(&from, &names, &first).await.unwrap();
            import(&to, &first, &ImportModel::default()).await.unwrap();
            export(&to, &names, &second).await.unwrap();
            assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap(), "the same bytes");
            let again = import(&to, &first, &ImportModel::default()).await.unwrap();
            assert_eq!((again.versions_added, again.blobs_copied), (0, 0));
            for version in to.export_model(&names[0]).await.unwrap().versions {
                if version.version.source.digest().is_some() {
                    let reference = format!("one/{}", version.version.version).parse().unwrap();
                    to.fetch(&to.resolve(&reference).await.unwrap()).await.unwrap();
                }
            }
        });
    }

    #[test]
    fn noise_and_cuts_are_refused(at in 0_usize..4_000, byte in any::<u8>(), cut in 0_usize..10_000) {
        block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let (path, to) = (dir.path().join("a.tar"), registry(in_memory().await).await);
            let intact = small(&path).await;
            let mut changed = intact.clone();
            let at = at % changed.len();
            changed[at] = byte;
            std::fs::write(&path, &changed).unwrap();
            let outcome = import(&to, &path, &ImportModel::default()).await;
            if outcome.is_ok() && changed != intact {
                // Names, texts and times are not covered by a digest; what the model is, is.
                let (fraud, found) = (ModelName::new("fraud").unwrap(), BundleReader::open(&path).await.unwrap());
                let record = &found.header().models[0];
                if record.model.name == fraud && record.versions.first().is_some_and(|v| v.version.source.digest().is_some()) {
                    let id = to.resolve(&"fraud".parse().unwrap()).await.unwrap();
                    assert_eq!(to.fetch(&id).await.unwrap(), package(1));
                }
            }
            std::fs::write(&path, &intact[..cut % intact.len()]).unwrap();
            assert!(BundleReader::open(&path).await.is_err(), "cut off");
        });
    }
}

/// A bundle of one model with one version; its bytes.
async fn small(path: &Path) -> Vec<u8> {
    let from = registry(in_memory().await).await;
    let fraud = ModelName::new("fraud").unwrap();
    from.create_model(&fraud, CreateModel::default()).await.unwrap();
    from.create_version(&fraud, &package(1), CreateVersion::default()).await.unwrap();
    export(&from, &[fraud], path).await.unwrap();
    std::fs::read(path).unwrap()
}

#[tokio::test]
async fn a_bundle_is_a_tar_file_and_nothing_else_gets_in() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    let intact = small(&path).await;
    assert_eq!(intact.len() % 512, 0);
    assert_eq!(&intact[257..263], b"ustar\0");
    assert!(export(&registry(in_memory().await).await, &[], &path).await.is_err(), "nothing is overwritten");
    let refused = async |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        BundleReader::open(&path).await.unwrap_err()
    };
    assert_eq!(refused(b"").await.kind(), ErrorKind::DataLoss);
    assert_eq!(refused(&[0; 1024]).await.kind(), ErrorKind::DataLoss);
    assert!(refused(&[&intact[..], &[0; 512]].concat()).await.message().contains("after its end"));
    // The first blob twice.
    let json = usize::from_str_radix(std::str::from_utf8(&intact[124..135]).unwrap(), 8).unwrap();
    let blobs = 512 + json.div_ceil(512) * 512;
    let size = usize::from_str_radix(std::str::from_utf8(&intact[blobs + 124..blobs + 135]).unwrap(), 8).unwrap();
    let first = &intact[blobs..blobs + 512 + size.div_ceil(512) * 512];
    let twice = [&intact[..blobs], first, &intact[blobs..]].concat();
    assert!(refused(&twice).await.message().contains("not in order"));
    // A name that leads elsewhere, with the checksum that belongs to it.
    let mut elsewhere = intact.clone();
    let name = b"../../etc/passwd\0";
    elsewhere[blobs..blobs + 100].fill(0);
    elsewhere[blobs..blobs + name.len()].copy_from_slice(name);
    elsewhere[blobs + 148..blobs + 156].fill(b' ');
    let sum: u64 = elsewhere[blobs..blobs + 512].iter().map(|byte| u64::from(*byte)).sum();
    elsewhere[blobs + 148..blobs + 155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    assert!(refused(&elsewhere).await.message().contains("etc/passwd"));
    let newer =
        String::from_utf8_lossy(&intact[512..512 + json]).replace("\"format_version\":1", "\"format_version\":2");
    let newer = [&intact[..512], newer.as_bytes(), &intact[512 + json..]].concat();
    assert_eq!(refused(&newer).await.kind(), ErrorKind::FailedPrecondition);
}

#[tokio::test]
async fn policies_hold_for_what_is_imported() {
    let (from, to) = (registry(in_memory().await).await, Arc::new(registry(in_memory().await).await));
    let (fraud, champion) = (ModelName::new("fraud").unwrap(), Alias::new("champion").unwrap());
    from.create_model(&fraud, CreateModel::default()).await.unwrap();
    from.create_version(&fraud, &package(1), CreateVersion::default()).await.unwrap();
    from.set_alias(&fraud, &champion, Version(1), MoveAlias::default()).await.unwrap();
    let policy = AliasPolicy::default().with_approval();
    to.set_alias_policy(None, &champion, Some(&policy), &Actor::default()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    export(&from, std::slice::from_ref(&fraud), &path).await.unwrap();
    let error = import(&*to, &path, &ImportModel::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    assert_eq!(to.model(&fraud).await.unwrap_err().kind(), ErrorKind::NotFound, "all or nothing");
    let without = ImportModel { aliases: false, ..ImportModel::default() };
    assert_eq!(import(&*to, &path, &without).await.unwrap().versions_added, 1);
    assert!(to.model(&fraud).await.unwrap().aliases.is_empty());
}

#[tokio::test]
async fn tags_that_an_earlier_version_took_come_along() {
    let meta = in_memory().await;
    let (from, to) = (registry(Arc::clone(&meta)).await, Arc::new(registry(in_memory().await).await));
    let fraud = ModelName::new("fraud").unwrap();
    from.create_model(&fraud, CreateModel::default()).await.unwrap();
    let mut tx = meta.begin().await.unwrap();
    tx.execute("INSERT INTO registry_model_tag VALUES ('fraud', 'a,b', 'x')", &[]).await.unwrap();
    tx.commit().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    export(&from, std::slice::from_ref(&fraud), &path).await.unwrap();
    import(&*to, &path, &ImportModel::default()).await.unwrap();
    assert_eq!(to.model(&fraud).await.unwrap().tags["a,b"], "x");
}

#[tokio::test]
async fn a_package_is_downloaded_whole_or_not_at_all() {
    let (dir, from) = (tempfile::tempdir().unwrap(), registry(in_memory().await).await);
    let fraud = ModelName::new("fraud").unwrap();
    from.ensure_model(&fraud, CreateModel::default()).await.unwrap();
    let made = from.create_version(&fraud, &package(3), CreateVersion::default()).await.unwrap();
    let (digest, target) = (made.source.digest().unwrap(), dir.path().join("model"));
    let manifest = download(&from, &digest, &target).await.unwrap();
    assert_eq!(manifest, package(3).manifest);
    assert_eq!(std::fs::read(target.join("sub/same")).unwrap(), b"shared");
    assert_eq!(std::fs::read(target.join("manifest.json")).unwrap(), package(3).manifest_json().unwrap());
    assert_eq!(download(&from, &digest, &target).await.unwrap_err().kind(), ErrorKind::AlreadyExists);

    let bundle = dir.path().join("a.tar");
    let bytes = small(&bundle).await;
    let place = bytes.windows(6).position(|six| six == b"shared").unwrap();
    let mut damaged = bytes;
    damaged[place] = b'S';
    std::fs::write(&bundle, damaged).unwrap();
    let reader = BundleReader::open(&bundle).await.unwrap();
    let other = dir.path().join("other");
    let error = download(&reader, &package(1).digest().unwrap(), &other).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left of it");

    for path in ["../out", "/etc/x", "a\\b", "manifest.json"] {
        let escaping = package(1).with_file(path, "x");
        let error = from.create_version(&fraud, &escaping, CreateVersion::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{path}");
    }
}
