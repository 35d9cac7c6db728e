//! Registered models, their versions and aliases.
//!
//! Invariant: a version keeps its number when the target had no model of that name: a number that the source has
//! deleted is taken and deleted here too. Aliases are set once, and never moved away from where they point here.

use std::collections::BTreeMap;

use mlops_core::{ErrorKind, Result, Version};

use super::{
    importer::{IMPORTED_FROM_TAG, IMPORTED_TAG, Importer, origin, tolerate},
    report::ImportReport,
    source::ImportSource,
};
use crate::{
    registry::{
        CreateModel, CreateVersion, ModelRegistry, ModelRegistryExt as _, ModelVersion, MoveAlias, MoveStage,
        RegisteredModel, STAGE_TAG, Stage,
    },
    search::{Search, View},
    tracking::RunRecord,
};

/// Most numbers in a row that a source may have deleted.
const GAP_MAX: u64 = 10_000;

impl Importer {
    pub(super) async fn models(
        &self,
        source: &dyn ImportSource,
        registry: &dyn ModelRegistry,
        report: &mut ImportReport,
    ) -> Result<()> {
        for model in source.models(report).await? {
            self.model(source, registry, &model, report).await?;
            self.tell(report);
        }
        Ok(())
    }

    async fn model(
        &self,
        source: &dyn ImportSource,
        registry: &dyn ModelRegistry,
        found: &RegisteredModel,
        report: &mut ImportReport,
    ) -> Result<()> {
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
        let mut tags = found.tags.clone();
        tags.insert(IMPORTED_FROM_TAG.to_owned(), origin(source, found.name.as_str()));
        let options = CreateModel { description: found.description.clone(), tags, actor: self.options.actor.clone() };
        let model = registry.ensure_model(&found.name, options).await;
        let Some(model) = tolerate(model, &place, report)? else { return Ok(()) };
        let mut numbers = BTreeMap::new();
        for version in &versions {
            numbers.extend(self.version(source, registry, &model, version, report).await?);
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
        registry: &dyn ModelRegistry,
        model: &RegisteredModel,
        found: &ModelVersion,
        report: &mut ImportReport,
    ) -> Result<Option<(Version, Version)>> {
        let place = format!("model \"{}\" version {}", found.model, found.version);
        let key = origin(source, &format!("{}/{}", found.model, found.version));
        let filter = format!("name = '{}' AND tags.`{IMPORTED_FROM_TAG}` = '{key}'", found.model);
        if !found.model.as_str().contains('\'') {
            let present = registry.search_versions(&Search::new().with_filter(filter)).await?;
            if let Some(version) = present.items.first() {
                report.counts.versions_present += 1;
                return Ok(Some((found.version, version.version)));
            }
        }
        // A model that an import made has the numbers of the source.
        if model.tags.get(IMPORTED_FROM_TAG) == Some(&origin(source, found.model.as_str())) {
            self.take_gap(registry, found).await?;
        }
        let run = self.run_of(source, found).await?;
        let mut tags = found.tags.clone();
        tags.remove(STAGE_TAG);
        tags.insert(IMPORTED_FROM_TAG.to_owned(), key.clone());
        let options = CreateVersion {
            run_id: run.as_ref().map(|run| run.id.clone()),
            run_link: found.run_link.clone(),
            description: found.description.clone(),
            tags,
            idempotency_key: Some(mlops_core::Digest::of(key.as_bytes()).to_string()),
            actor: self.options.actor.clone(),
        };
        let uri = found.source.to_uri();
        let uri = run.filter(|_| self.artifacts.is_some()).and_then(|run| moved(&uri, found, &run)).unwrap_or(uri);
        let created = registry.create_version_from_uri(&found.model, &uri, options).await;
        let Some(created) = tolerate(created, &place, report)? else { return Ok(None) };
        report.counts.versions += 1;
        if created.version != found.version {
            report.skip(&place, format!("its number is taken; it is version {} here", created.version));
        }
        let stage = Stage::of(found);
        if stage != Stage::None {
            let options = MoveStage { archive_existing: false, actor: self.options.actor.clone() };
            let staged = registry.transition_stage(&found.model, created.version, stage, options).await;
            tolerate(staged, &format!("stage of {place}"), report)?;
        }
        Ok(Some((found.version, created.version)))
    }

    /// Takes and deletes the numbers before this one that the source has deleted.
    async fn take_gap(&self, registry: &dyn ModelRegistry, found: &ModelVersion) -> Result<()> {
        let last = registry.model(&found.model).await?.last_version;
        let gap = found.version.0.saturating_sub(last + 1);
        if GAP_MAX < gap {
            return Ok(());
        }
        for _ in 0..gap {
            let options = CreateVersion { actor: self.options.actor.clone(), ..CreateVersion::default() };
            let taken = registry.create_version_from_uri(&found.model, "imported:deleted", options).await?;
            registry.delete_version(&found.model, taken.version, &self.options.actor).await?;
        }
        Ok(())
    }

    /// The run here that stands for the one the version names.
    async fn run_of(&self, source: &dyn ImportSource, found: &ModelVersion) -> Result<Option<RunRecord>> {
        let Some(run) = &found.run_id else { return Ok(None) };
        let (mut search, mut ids) = (Search::new().with_view(View::All), Vec::new());
        loop {
            let page = self.tracking.search_experiments(&search).await?;
            ids.extend(page.items.iter().map(|experiment| experiment.id));
            search.page.token = page.next_page_token.filter(|token| !token.is_empty());
            if search.page.token.is_none() {
                break;
            }
        }
        let filter = format!("tags.`{IMPORTED_FROM_TAG}` = '{}'", origin(source, run.as_str()));
        let search = Search::new().with_view(View::All).with_filter(filter).with_max_results(1);
        for ids in ids.chunks(crate::limits::SEARCH_EXPERIMENTS_MAX) {
            if let Some(run) = self.tracking.search_runs(ids, &search).await?.items.into_iter().next() {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }
}

/// Where a file of the run is after the import: what follows `<old run id>/artifacts` or `runs:/<old run id>`.
fn moved(uri: &str, found: &ModelVersion, run: &RunRecord) -> Option<String> {
    let old = found.run_id.as_ref()?;
    if let Some(path) = uri.strip_prefix(&format!("runs:/{old}/")) {
        return Some(format!("runs:/{}/{path}", run.id));
    }
    let (_, path) = uri.split_once(&format!("/{old}/artifacts"))?;
    Some(format!("{}{path}", run.artifact_uri))
}
