//! Which models endpoints have, as rows.

use std::collections::BTreeMap;

use mlops_core::{Error, Result};
use mlops_store::{MetaStore as _, Row, Transaction, TransactionExt as _, Value, params};

use super::{
    SqlGatewayStore, check_endpoint,
    endpoint::{one_endpoint, write_endpoint},
    model::{one_model, read_model},
};
use crate::{
    bound::listing,
    gateway::{Mapping, ModelLink},
    retry::on_conflict,
    rows::to_json,
};

/// Links with their models, of endpoints that are listed.
const LINKS: &str = "SELECT l.seq, l.content AS link, m.content, m.secret, s.name AS secret_name FROM gateway_link l
    JOIN gateway_model m ON m.id = l.model LEFT JOIN gateway_secret s ON s.id = m.secret
    WHERE l.endpoint IN ({list}) ORDER BY l.seq";

fn read_mapping(row: &Row) -> Result<Mapping> {
    let text: String = row.get("link")?;
    let mapping: Mapping =
        serde_json::from_str(&text).map_err(|error| Error::data_loss("a stored link is damaged").with_source(error))?;
    Ok(Mapping { definition: Some(read_model(row)?), ..mapping })
}

/// The mappings of some endpoints, by endpoint.
fn by_endpoint(rows: &[Row], into: &mut BTreeMap<String, Vec<Mapping>>) -> Result<()> {
    for row in rows {
        let mapping = read_mapping(row)?;
        into.entry(mapping.endpoint.clone()).or_default().push(mapping);
    }
    Ok(())
}

impl SqlGatewayStore {
    /// The mappings of these endpoints.
    pub(super) async fn mappings(&self, endpoints: &[Value]) -> Result<BTreeMap<String, Vec<Mapping>>> {
        let mut found = BTreeMap::new();
        for (sql, values) in listing(LINKS, &[], endpoints) {
            by_endpoint(&self.meta.query(&sql, &values).await?, &mut found)?;
        }
        Ok(found)
    }

    /// The link of a model that exists, made now.
    pub(super) async fn insert_link(
        &self,
        tx: &mut dyn Transaction,
        endpoint: &str,
        link: &ModelLink,
        by: Option<String>,
    ) -> Result<Mapping> {
        let mapping = Mapping {
            id: self.next_id("m-")?,
            endpoint: endpoint.to_owned(),
            link: link.clone(),
            definition: Some(one_model(tx, &link.model).await?),
            created: self.now(),
            created_by: by,
        };
        let sql = "INSERT INTO gateway_link (endpoint, model, linkage, content) VALUES ($1, $2, $3, $4)";
        let values = params![endpoint, &link.model, link.linkage.name(), to_json("link", &mapping)?];
        tx.execute(sql, values).await?;
        Ok(mapping)
    }

    pub(super) async fn attach(&self, endpoint: &str, link: &ModelLink, by: Option<String>) -> Result<Mapping> {
        link.check()?;
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let mut found = one_endpoint(tx.as_mut(), endpoint).await?;
            let sql = "SELECT seq FROM gateway_link WHERE endpoint = $1 AND model = $2 AND linkage = $3";
            if tx.query_opt(sql, params![endpoint, &link.model, link.linkage.name()]).await?.is_some() {
                return Err(Error::already_exists(format!(
                    "Model definition '{}' is already attached to endpoint '{endpoint}'",
                    link.model
                )));
            }
            let mapping = self.insert_link(tx.as_mut(), endpoint, link, by.clone()).await?;
            found.change.touch(self.now(), by.clone());
            write_endpoint(tx.as_mut(), &found).await?;
            tx.commit().await?;
            Ok(mapping)
        })
    }

    pub(super) async fn detach(&self, endpoint: &str, model: &str) -> Result<()> {
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            check_endpoint(tx.as_mut(), endpoint).await?;
            let sql = "DELETE FROM gateway_link WHERE endpoint = $1 AND model = $2";
            if tx.execute(sql, params![endpoint, model]).await? == 0 {
                let message = format!("Model definition '{model}' is not attached to endpoint '{endpoint}'");
                return Err(Error::not_found(message));
            }
            tx.commit().await
        })
    }
}
