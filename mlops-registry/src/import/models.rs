//! Registered models, their versions and aliases.
//!
//! Invariant: a version keeps its number when the target had no model of that name: a number that the source has
//! deleted is taken and deleted here too. Aliases are set once, and never moved away from where they point here. A
//! version names files here only when they are here.

use std::collections::BTreeMap;

use mlops_core::{ErrorKind, Result, Version};

use super::{
    importer::{IMPORTED_FROM_TAG, IMPORTED_TAG, Importer, admitted_here, origin, tolerate},
    report::ImportReport,
    source::ImportSource,
};
use crate::{
    registry::{
        CreateModel, CreateVersion, ModelRegistry, ModelRegistryExt as _, ModelVersion, MoveAlias, MoveStage,
        RegisteredModel, STAGE_TAG, Stage,
    },
    search::{Search, View},
    tracking::{ExperimentId, RunRecord},
};

/// Most numbers in a row that a source may have deleted.
const GAP_MAX: u64 = 10_000;
/// The source of a version that only takes a number.
const DELETED_SOURCE: &str = "imported:deleted";

/// Where models go, and the experiments among whose runs theirs are looked for.
struct Target<'a> {
    registry: &'a dyn ModelRegistry,
    experiments: Vec<ExperimentId>,
}

impl Importer {
    pub(super) async fn models(
        &self,
        source: &dyn ImportSource,
        registry: &dyn ModelRegistry,
        report: &mut ImportReport,
    ) -> Result<()> {
        let experiments = if self.options.dry_run { Vec::new() } else { self.experiment_ids().await? };
        let target = Target { registry, experiments };
        for model in source.models(report).await? {
            self.model(source, &target, &model, report).await?;
            self.tell(report);
        }
        Ok(())
    }

    async fn model(
        &self,
        source: &dyn ImportSource,
        target: &Target<'_>,
        found: &RegisteredModel,
        report: &mut ImportReport,
    ) -> Result<()> {
        let registry = target.registry;
        let place = format!("model \"{}\"", found.name);
        let versions = source.versions(found, report).await?;
        let existing = match registry.model(&found.name).await {
            Ok(model) => Some(model),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        report.counts.models += u64::from(existing.is_none());
        if self.options.dry_run {
            report.counts.versions += versions.len() as u64;
            return Ok(());
        }
        let tags = admitted_here(&found.tags, origin(source, found.name.as_str()), &place, report);
        let options = CreateModel { description: found.description.clone(), tags, actor: self.options.actor.clone() };
        let model = registry.ensure_model(&found.name, options).await;
        let Some(model) = tolerate(model, &place, report)? else { return Ok(()) };
        let mut numbers = BTreeMap::new();
        for version in &versions {
            numbers.extend(self.version(source, target, &model, version, report).await?);
        }
        if model.tags.contains_key(IMPORTED_TAG) {
            return Ok(());
        }
        for (alias, at) in &found.aliases {
            let Some(&to) = numbers.get(at) else { continue };
            if model.aliases.contains_key(alias) {
                continue;
            }
            let options = MoveAlias {
                expected: Some(None),
                reason: format!("imported from {}", source.name()),
                actor: self.options.actor.clone(),
            };
            let moved = registry.set_alias(&found.name, alias, to, options).await;
            tolerate(moved, &format!("alias \"{alias}\" of {place}"), report)?;
        }
        let done = [(IMPORTED_TAG.to_owned(), "true".to_owned())];
        registry.set_model_tags(&found.name, &done, &self.options.actor).await
    }

    /// The number in the source and the number here.
    async fn version(
        &self,
        source: &dyn ImportSource,
        target: &Target<'_>,
        model: &RegisteredModel,
        found: &ModelVersion,
        report: &mut ImportReport,
    ) -> Result<Option<(Version, Version)>> {
        let registry = target.registry;
        let place = format!("model \"{}\" version {}", found.model, found.version);
        let key = origin(source, &format!("{}/{}", found.model, found.version));
        let filter = format!("name = '{}' AND tags.`{IMPORTED_FROM_TAG}` = '{key}'", found.model);
        if !found.model.as_str().contains('\'') {
            let present = registry.search_versions(&Search::new().with_filter(filter)).await?;
            if let Some(version) = present.items.first() {
                report.counts.versions_present += 1;
                if !model.tags.contains_key(IMPORTED_TAG) && Stage::of(version) == Stage::None {
                    self.stage(registry, found, version.version, report).await?;
                }
                return Ok(Some((found.version, version.version)));
            }
        }
        // A model that an import made has the numbers of the source.
        if model.tags.get(IMPORTED_FROM_TAG) == Some(&origin(source, found.model.as_str())) {
            self.take_gap(registry, found).await?;
        }
        let run = self.run_of(source, &target.experiments, found).await?;
        let mut tags = admitted_here(&found.tags, key.clone(), &place, report);
        tags.remove(STAGE_TAG);
        let options = CreateVersion {
            run_id: run.as_ref().map(|run| run.id.clone()),
            run_link: found.run_link.clone(),
            description: found.description.clone(),
            tags,
            idempotency_key: Some(mlops_core::Digest::of(key.as_bytes()).to_string()),
            actor: self.options.actor.clone(),
        };
        if let (None, Some(run)) = (&run, &found.run_id) {
            report.skip(&place, format!("its run {run} is not imported; the version is registered without a run"));
        }
        let uri = self.source_here(found, run.as_ref(), &place, report).await?;
        let created = registry.create_version_from_uri(&found.model, &uri, options).await;
        let Some(created) = tolerate(created, &place, report)? else { return Ok(None) };
        report.counts.versions += 1;
        if created.version != found.version {
            report.skip(&place, format!("its number is taken; it is version {} here", created.version));
        }
        self.stage(registry, found, created.version, report).await?;
        Ok(Some((found.version, created.version)))
    }

    async fn stage(
        &self,
        registry: &dyn ModelRegistry,
        found: &ModelVersion,
        to: Version,
        report: &mut ImportReport,
    ) -> Result<()> {
        let stage = Stage::of(found);
        if stage == Stage::None {
            return Ok(());
        }
        let options = MoveStage { archive_existing: false, actor: self.options.actor.clone() };
        let staged = registry.transition_stage(&found.model, to, stage, options).await;
        tolerate(staged, &format!("stage of model \"{}\" version {}", found.model, found.version), report).map(drop)
    }

    /// The URI of the version's files: here when they were copied, else where the source says.
    async fn source_here(
        &self,
        found: &ModelVersion,
        run: Option<&RunRecord>,
        place: &str,
        report: &mut ImportReport,
    ) -> Result<String> {
        let uri = found.source.to_uri();
        let Some((moved, path)) = run.and_then(|run| moved(&uri, found, run)) else { return Ok(uri) };
        let here = match self.artifacts.as_ref().map(|artifacts| (artifacts, artifacts.path_of(&path))) {
            Some((artifacts, Ok(path))) => {
                !artifacts.entries(&path).await?.is_empty() || artifacts.open(&path, None).await.is_ok()
            }
            _ => false,
        };
        if here {
            return Ok(moved);
        }
        report.skip(place, format!("its files were not copied; its source stays {uri}"));
        Ok(uri)
    }

    /// Takes and deletes the numbers before this one that the source has deleted.
    async fn take_gap(&self, registry: &dyn ModelRegistry, found: &ModelVersion) -> Result<()> {
        let last = registry.model(&found.model).await?.last_version;
        // An import may have ended between the two steps below.
        if let Ok(taken) = registry.version(&found.model, Version(last)).await
            && taken.source.to_uri() == DELETED_SOURCE
        {
            registry.delete_version(&found.model, taken.version, &self.options.actor).await?;
        }
        let gap = found.version.0.saturating_sub(last + 1);
        if GAP_MAX < gap {
            return Ok(());
        }
        for _ in 0..gap {
            let options = CreateVersion { actor: self.options.actor.clone(), ..CreateVersion::default() };
            let taken = registry.create_version_from_uri(&found.model, DELETED_SOURCE, options).await?;
            registry.delete_version(&found.model, taken.version, &self.options.actor).await?;
        }
        Ok(())
    }

    async fn experiment_ids(&self) -> Result<Vec<ExperimentId>> {
        let (mut search, mut ids) = (Search::new().with_view(View::All), Vec::new());
        loop {
            let page = self.tracking.search_experiments(&search).await?;
            ids.extend(page.items.iter().map(|experiment| experiment.id));
            search.page.token = page.next_page_token;
            if search.page.token.is_none() {
                return Ok(ids);
            }
        }
    }

    /// The run here that stands for the one the version names.
    async fn run_of(
        &self,
        source: &dyn ImportSource,
        experiments: &[ExperimentId],
        found: &ModelVersion,
    ) -> Result<Option<RunRecord>> {
        let Some(run) = &found.run_id else { return Ok(None) };
        self.imported_run(source, run.as_str(), experiments).await
    }
}

/// The URI here of a file of the run, and the file itself below the run's files: what follows
/// `<old run id>/artifacts` or `runs:/<old run id>`.
fn moved(uri: &str, found: &ModelVersion, run: &RunRecord) -> Option<(String, String)> {
    let old = found.run_id.as_ref()?;
    if let Some(path) = uri.strip_prefix(&format!("runs:/{old}/")) {
        return Some((format!("runs:/{}/{path}", run.id), format!("{}/{path}", run.artifact_uri)));
    }
    let (_, path) = uri.split_once(&format!("/{old}/artifacts"))?;
    let moved = format!("{}{path}", run.artifact_uri);
    Some((moved.clone(), moved))
}
