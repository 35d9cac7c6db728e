//! A version of a table as data under DVC.

use std::path::Path;

use mlops_core::Result;

use super::{Added, DvcRepo, yaml::Node};
use crate::table::Table;

impl DvcRepo {
    /// Writes the data files of `version` (none: the newest) of `table` into the directory `path` and adds it. The
    /// `.dvc` file notes the table, the version and its digest under `meta`, so that whoever checks the data out knows
    /// which rows they are, and can compare.
    ///
    /// # Errors
    /// As [`Table::export`] and [`DvcRepo::add`].
    #[tracing::instrument(skip_all, fields(table = table.name()))]
    pub async fn add_table(&self, table: &Table, version: Option<u64>, path: impl AsRef<Path>) -> Result<Added> {
        let path = path.as_ref();
        let export = table.export(version, &self.root().join(path)).await?;
        let meta = vec![
            ("table", Node::text(table.name())),
            ("table_version", Node::plain(export.version)),
            ("table_digest", Node::text(export.digest.to_string())),
        ];
        self.add_with_meta(path, meta).await
    }
}
