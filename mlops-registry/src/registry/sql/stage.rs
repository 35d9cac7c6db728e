//! Moving versions between stages, several at once.

use mlops_core::{Action, Error, ModelName, Result, Version};
use mlops_store::{Row, Transaction, params};

use super::{SqlModelRegistry, version::set_version_tag};
use crate::{
    registry::{
        record::ModelVersion,
        stage::{MoveStage, STAGE_TAG, Stage},
    },
    retry::on_conflict,
};

impl SqlModelRegistry {
    pub(super) async fn move_stage(
        &self,
        model: &ModelName,
        version: Version,
        stage: Stage,
        options: &MoveStage,
    ) -> Result<ModelVersion> {
        if options.archive_existing && !matches!(stage, Stage::Staging | Stage::Production) {
            return Err(Error::invalid_argument(format!(
                "archive_existing_versions is for stages Staging and Production, not for {stage}"
            )));
        }
        self.authorize(&options.actor, Action::Promote, model).await?;
        on_conflict!(self.try_move_stage(model, version, stage, options))?;
        self.read_version(model, version).await
    }

    async fn try_move_stage(
        &self,
        model: &ModelName,
        version: Version,
        stage: Stage,
        options: &MoveStage,
    ) -> Result<()> {
        let mut tx = self.meta.begin().await?;
        self.require_version(tx.as_mut(), model, version).await?;
        let archived = match options.archive_existing {
            true => others_in(tx.as_mut(), model, version, stage).await?,
            false => Vec::new(),
        };
        self.write_stage(tx.as_mut(), model, version, stage).await?;
        for other in &archived {
            self.write_stage(tx.as_mut(), model, *other, Stage::Archived).await?;
        }
        self.touch_model(tx.as_mut(), model).await?;
        let archived: Vec<String> = archived.iter().map(ToString::to_string).collect();
        let details =
            [("version", version.to_string()), ("stage", stage.to_string()), ("archived", archived.join(","))];
        self.record(tx.as_mut(), (&options.actor, Action::Promote, model), details).await?;
        tx.commit().await
    }

    async fn write_stage(
        &self,
        tx: &mut dyn Transaction,
        model: &ModelName,
        version: Version,
        stage: Stage,
    ) -> Result<()> {
        let (sql, values) = set_version_tag(model, version, STAGE_TAG, stage.name());
        tx.execute(&sql, &values).await?;
        let (sql, values) = self.touch_version(model, version);
        tx.execute(&sql, &values).await.map(drop)
    }
}

/// The other versions, not deleted, that are in a stage.
async fn others_in(
    tx: &mut dyn Transaction,
    model: &ModelName,
    version: Version,
    stage: Stage,
) -> Result<Vec<Version>> {
    let sql = "SELECT v.version FROM registry_version v JOIN registry_version_tag t
            ON t.model = v.model AND t.version = v.version
        WHERE v.model = $1 AND v.deleted = 0 AND v.version <> $2 AND t.key = $3 AND t.value = $4 ORDER BY v.version";
    let rows = tx.query(sql, params![model.as_str(), version.0, STAGE_TAG, stage.name()]).await?;
    rows.iter().map(|row: &Row| row.get("version").map(Version)).collect()
}
