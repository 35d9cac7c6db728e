//! The promises around packages on the move: taking over, promotion, garbage, bundles.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use mlops_core::{Digest, Error, ErrorKind, ModelName, ModelRef, Result, Timestamp, Version};
use mlops_store::ByteStream;

use super::{WRITERS, model, package, versions};
use crate::{
    Actor, BlobSource, Bundles, CollectGarbage, CreateModel, CreateVersion, Environment, GarbageCollector, ImportModel,
    ModelRegistry, MoveAlias, Packages, PageRequest, PromoteVersion, Promoter, Purge, Trash,
};

/// Everything that moves packages.
pub trait Transfer: Packages + Bundles + Trash + GarbageCollector {}
impl<T: Packages + Bundles + Trash + GarbageCollector> Transfer for T {}

/// Runs every promise of [`Packages`], [`Bundles`], [`GarbageCollector`] and [`Promoter`]; `fresh` gives an empty
/// registry each time.
///
/// # Panics
/// When a promise is broken.
pub async fn transfer<R: Transfer>(fresh: impl AsyncFn() -> R) {
    only_what_is_missing_is_copied(fresh().await, fresh().await).await;
    wrong_bytes_do_not_arrive(fresh().await).await;
    promotion_is_idempotent(fresh().await, fresh().await).await;
    what_can_be_restored_is_no_garbage(fresh().await).await;
    nothing_registered_is_collected(fresh().await).await;
    records_come_back_as_they_were(fresh().await, fresh().await).await;
    foreign_versions_are_not_overwritten(fresh().await, fresh().await).await;
}

const NOW: CollectGarbage = CollectGarbage {
    grace: Duration::ZERO,
    dry_run: false,
    actor: Actor(mlops_core::Principal { name: String::new(), roles: Vec::new() }),
};

fn digest(n: &str) -> Digest {
    package(n).digest().expect("a digest")
}

async fn only_what_is_missing_is_copied<R: Transfer>(from: R, to: R) {
    let name = model(&from).await;
    model(&to).await;
    versions(&from, &name, 2).await;
    let first = to.receive_version(&name, &digest("0"), from.as_blobs(), CreateVersion::default()).await;
    assert_eq!(first.expect("arrives").blobs_copied, 2, "a manifest and a file");
    let again = to.receive_version(&name, &digest("0"), from.as_blobs(), CreateVersion::default()).await;
    let again = again.expect("arrives");
    assert_eq!((again.version.version, again.blobs_copied, again.bytes_copied), (Version(2), 0, 0));
    let reference: ModelRef = format!("{name}/2").parse().expect("a reference");
    let found = to.resolve(&reference).await.expect("resolves");
    assert_eq!(to.fetch(&found).await.expect("fetches"), package("0"));
    let unknown = ModelName::new("unknown").expect("a name");
    let error = to.receive_version(&unknown, &digest("1"), from.as_blobs(), CreateVersion::default()).await;
    assert_eq!(error.expect_err("no such model").kind(), ErrorKind::NotFound);
}

/// A source whose manifest is right and whose files are not.
#[derive(Debug)]
struct Liar;

#[async_trait::async_trait]
impl BlobSource for Liar {
    async fn open(&self, digest: &Digest) -> Result<ByteStream> {
        let honest = package("0").manifest_json()?;
        let bytes = if Digest::of(&honest) == *digest { Bytes::from(honest) } else { Bytes::from_static(b"lie") };
        Ok(stream::once(std::future::ready(Ok::<_, Error>(bytes))).boxed())
    }
    async fn size(&self, _: &Digest) -> Result<u64> {
        Ok(3)
    }
}

async fn wrong_bytes_do_not_arrive<R: Transfer>(to: R) {
    let name = model(&to).await;
    let error = to.receive_version(&name, &digest("0"), &Liar, CreateVersion::default()).await;
    assert_eq!(error.expect_err("a lie").kind(), ErrorKind::DataLoss);
    let error = to.receive_version(&name, &digest("1"), &Liar, CreateVersion::default()).await;
    assert_eq!(error.expect_err("another manifest").kind(), ErrorKind::DataLoss);
    assert_eq!(to.model(&name).await.expect("reads").last_version, 0, "nothing is registered");
    let swept = to.collect_garbage(&NOW).await.expect("collects");
    assert_eq!(swept.reachable.blobs, 0, "and nothing stays pinned: {swept:?}");
}

async fn promotion_is_idempotent<R: Transfer>(from: R, to: R) {
    let name = model(&from).await;
    versions(&from, &name, 1).await;
    let (from, to) = (Arc::new(from), Arc::new(to));
    let environment =
        |name: &str, registry: &Arc<R>| Environment::new(name, Arc::clone(registry) as _).expect("a name");
    let promoter = Promoter::between(environment("staging", &from), environment("production", &to)).expect("two");
    let promote = |promoter: Promoter, name: ModelName| async move {
        promoter.promote(&name, Version(1), PromoteVersion::default()).await
    };
    let tasks: Vec<_> = (0..WRITERS).map(|_| tokio::spawn(promote(promoter.clone(), name.clone()))).collect();
    for task in tasks {
        let promoted = task.await.expect("no promoter panics").expect("promotes");
        assert_eq!(promoted.version.version, Version(1), "all give the one version");
        assert_eq!(promoted.version.source.digest(), Some(digest("0")));
        assert_eq!(promoted.version.tags.get("mlops.promotion.from").map(String::as_str), Some("staging"));
    }
    assert_eq!(to.model(&name).await.expect("reads").last_version, 1);
    let here = from.version(&name, Version(1)).await.expect("reads");
    assert_eq!(here.tags.get("mlops.promotion.to.production").map(String::as_str), Some("1"));
}

async fn what_can_be_restored_is_no_garbage<R: Transfer>(registry: R) {
    let (name, local) = (model(&registry).await, Actor::default());
    versions(&registry, &name, 3).await;
    let other = ModelName::new("other").expect("a name");
    registry.create_model(&other, CreateModel::default()).await.expect("creates");
    registry.create_version(&other, &package("other"), CreateVersion::default()).await.expect("registers");
    registry.delete_version(&name, Version(2), &local).await.expect("deletes");
    registry.delete_model(&other, &local).await.expect("deletes");
    let look = registry.collect_garbage(&NOW).await.expect("collects");
    assert_eq!((look.stored.blobs, look.garbage.blobs), (8, 0));
    let all = Purge { deleted_before: Timestamp::MAX, model: None, actor: local };
    registry.purge(all).await.expect("purges");
    let dry = CollectGarbage { dry_run: true, ..NOW };
    let dry = registry.collect_garbage(&dry).await.expect("looks");
    let young = CollectGarbage { grace: Duration::from_secs(3_600), ..NOW };
    let young = registry.collect_garbage(&young).await.expect("collects");
    assert_eq!((young.young.blobs, young.garbage.blobs), (8, 0), "within the grace nothing is touched");
    let swept = registry.collect_garbage(&NOW).await.expect("collects");
    assert_eq!(swept, dry, "a dry run says what a run does");
    assert_eq!((swept.garbage.blobs, swept.reachable.blobs), (4, 4));
    let after = registry.collect_garbage(&NOW).await.expect("collects");
    assert_eq!((after.stored, after.garbage.blobs), (swept.reachable, 0));
    for version in [1, 3] {
        let reference: ModelRef = format!("{name}/{version}").parse().expect("a reference");
        let found = registry.resolve(&reference).await.expect("resolves");
        registry.fetch(&found).await.expect("what is registered is there");
    }
}

/// Writers register and forget the same few packages while a collector runs without grace.
async fn nothing_registered_is_collected<R: Transfer>(registry: R) {
    let name = model(&registry).await;
    let registry = Arc::new(registry);
    let churn = |registry: Arc<R>, name: ModelName, n: u64| async move {
        for round in 0..6 {
            let package = package(&((n + round) % 3).to_string());
            let made = registry.create_version(&name, &package, CreateVersion::default()).await.expect("registers");
            let id = registry.resolve(&format!("{name}/{}", made.version).parse().expect("a reference")).await;
            assert_eq!(registry.fetch(&id.expect("resolves")).await.expect("is there"), package);
            registry.delete_version(&name, made.version, &Actor::default()).await.expect("deletes");
        }
    };
    let sweep = |registry: Arc<R>| async move {
        let all = Purge { deleted_before: Timestamp::MAX, model: None, actor: Actor::default() };
        let mut deleted = 0;
        for _ in 0..30 {
            registry.purge(all.clone()).await.expect("purges");
            deleted += registry.collect_garbage(&NOW).await.expect("collects").garbage.blobs;
        }
        deleted
    };
    let sweeper = tokio::spawn(sweep(Arc::clone(&registry)));
    let writers: Vec<_> = (0..WRITERS).map(|n| tokio::spawn(churn(Arc::clone(&registry), name.clone(), n))).collect();
    for writer in writers {
        writer.await.expect("no writer loses a blob");
    }
    sweeper.await.expect("no collector panics");
    let all = Purge { deleted_before: Timestamp::MAX, model: None, actor: Actor::default() };
    registry.purge(all).await.expect("purges");
    registry.collect_garbage(&NOW).await.expect("collects");
    let end = registry.collect_garbage(&NOW).await.expect("collects");
    assert_eq!(end.stored.blobs, 0, "all garbage is found, no pin is left: {end:?}");
}

async fn full<R: Transfer>(registry: &R) -> ModelName {
    let (name, local) = (model(registry).await, Actor::default());
    registry.set_model_tags(&name, &[super::pair("team", "risk")], &local).await.expect("tags");
    versions(registry, &name, 3).await;
    registry.create_version_from_uri(&name, "s3://b/m", CreateVersion::default()).await.expect("registers");
    registry.set_version_tags(&name, Version(3), &[super::pair("t", "1")], &local).await.expect("tags");
    registry.delete_version(&name, Version(2), &local).await.expect("deletes");
    let champion = mlops_core::Alias::new("champion").expect("an alias");
    for to in [1, 3] {
        registry.set_alias(&name, &champion, Version(to), MoveAlias::default()).await.expect("moves");
    }
    name
}

async fn records_come_back_as_they_were<R: Transfer>(from: R, to: R) {
    let name = full(&from).await;
    let record = from.export_model(&name).await.expect("exports");
    assert_eq!(record.versions.len(), 3, "the deleted one stays");
    let first = to.import_model(&record, from.as_blob_source(), &ImportModel::default()).await.expect("imports");
    assert_eq!((first.versions_added, first.versions_present, first.blobs_copied), (3, 0, 4));
    assert_eq!(to.export_model(&name).await.expect("exports"), record);
    let again = to.import_model(&record, from.as_blob_source(), &ImportModel::default()).await.expect("imports");
    assert_eq!((again.versions_added, again.versions_present, again.blobs_copied), (0, 3, 0));
    assert_eq!(to.export_model(&name).await.expect("exports"), record, "a repeated import changes nothing");
    let next = to.create_version(&name, &package("next"), CreateVersion::default()).await.expect("registers");
    assert_eq!(next.version, Version(5), "numbers go on");
    let champion = mlops_core::Alias::new("champion").expect("an alias");
    assert_eq!(to.alias(&name, &champion).await.expect("points"), Version(3));
    let page = to.list_versions(&name, &PageRequest::default()).await.expect("lists");
    assert_eq!(page.items.len(), 4);
}

async fn foreign_versions_are_not_overwritten<R: Transfer>(from: R, to: R) {
    let name = full(&from).await;
    let record = from.export_model(&name).await.expect("exports");
    model(&to).await;
    to.create_version(&name, &package("own"), CreateVersion::default()).await.expect("registers");
    let before = to.export_model(&name).await.expect("exports");
    let error = to.import_model(&record, from.as_blob_source(), &ImportModel::default()).await;
    assert_eq!(error.expect_err("version 1 is another one").kind(), ErrorKind::AlreadyExists);
    assert_eq!(to.export_model(&name).await.expect("exports"), before, "nothing of it was taken");
    let error = to.import_model(&record, &Liar, &ImportModel::default()).await;
    assert_eq!(error.expect_err("wrong bytes").kind(), ErrorKind::DataLoss);
    assert_eq!(to.collect_garbage(&NOW).await.expect("collects").reachable.blobs, 2, "no pin is left");
}
