//! Sources that leave lineage: from where rows come to the table that they fill.

use mlops_core::Result;

use super::{ColumnInput, ColumnLineage, DatasetFacts, Traced, TracedStore, Transformation, end, input, table_facts};
use crate::{
    definition::{Derivation, Source, SourceKind},
    source::{SourceIngestor, SourceReceipt},
};

impl TracedStore {
    /// What takes source `name` into its table.
    ///
    /// # Errors
    /// `NotFound` when the store has no such source.
    pub fn source(&self, name: &str) -> Result<Traced<SourceIngestor>> {
        Ok(self.wrap(self.store.source(name)?))
    }
}

impl Traced<SourceIngestor> {
    /// As [`SourceIngestor::run`].
    ///
    /// # Errors
    /// As there.
    pub async fn run(&self) -> Result<SourceReceipt> {
        let source = self.inner.source();
        let from = self.place(source);
        let target = match self.store.table(source.name()) {
            Ok(table) => table_facts(&table).with_columns(self.columns(source, &from)),
            Err(_) => DatasetFacts::new(self.lineage.namespace(), source.name()),
        };
        let job = format!("source.{}", source.name());
        let run = self.lineage.begin(job, "INGEST", vec![from.clone()], vec![target.clone()]).await;
        let outcome = self.inner.run().await;
        let target = match &outcome {
            Ok(receipt) => target.with_rows(receipt.rows),
            Err(_) => target,
        };
        end(run, &outcome, (vec![from], vec![target])).await;
        outcome
    }

    /// Where rows come from. Of databases and streams the definition knows but names, which are the namespaces then.
    fn place(&self, source: &Source) -> DatasetFacts {
        match source.kind() {
            SourceKind::Files { url, .. } => DatasetFacts::at(url),
            SourceKind::Sql { connection, relation, .. } => DatasetFacts::new(connection.as_ref(), relation.as_ref()),
            SourceKind::Stream { stream } => DatasetFacts::new(stream.as_ref(), stream.as_ref()),
            SourceKind::Table { table, .. } => match self.store.table(table) {
                Ok(table) => table_facts(&table),
                Err(_) => DatasetFacts::new(self.lineage.namespace(), table.as_ref()),
            },
        }
    }

    /// What the columns of the table are made of. What code or a query reads is not known, so each is made of all.
    fn columns(&self, source: &Source, from: &DatasetFacts) -> ColumnLineage {
        let mut columns = ColumnLineage::default();
        let Ok(table) = self.store.table(source.name()) else { return columns };
        for field in table.schema().fields() {
            for of in self.inputs(source, from, field.name()) {
                columns.add(field.name(), of);
            }
        }
        columns
    }

    fn inputs(&self, source: &Source, from: &DatasetFacts, column: &str) -> Vec<ColumnInput> {
        let how = match source.kind() {
            SourceKind::Table { derivation: Derivation::Code { version }, .. } => format!("code {version}"),
            SourceKind::Table { derivation: Derivation::Sql { query }, .. } => query.to_string(),
            _ => return vec![input(from, source.column_in_source(column), Transformation::Identity, "")],
        };
        let Some(Ok(read)) = source.input().map(|table| self.store.table(table)) else { return Vec::new() };
        let of = |name: &String| input(from, name, Transformation::Transform, &how);
        read.schema().fields().iter().map(|field| of(field.name())).collect()
    }
}
