//! Guardrails and their places, as rows.

use async_trait::async_trait;
use mlops_core::{Error, Result};
use mlops_store::{MetaStore as _, MetaStoreExt as _, Row, TransactionExt as _, params};

use super::{SqlGatewayStore, check_endpoint, check_room, unknown};
use crate::{
    gateway::{ActionEndpoint, Change, CreateGuardrail, Guardrail, GuardrailStore, PlaceGuardrail, PlacedGuardrail},
    retry::on_conflict,
    rows::{from_json, to_json},
    search::{Page, PageRequest, cut},
};

/// A guardrail with the name of its endpoint.
const GUARDRAIL: &str = "SELECT g.content, g.action_endpoint, e.name AS endpoint_name FROM gateway_guardrail g
    LEFT JOIN gateway_endpoint e ON e.id = g.action_endpoint";
/// A guardrail with its place.
const PLACED: &str = "SELECT p.endpoint, p.place, p.created, p.created_by,
    g.content, g.action_endpoint, e.name AS endpoint_name
    FROM gateway_place p JOIN gateway_guardrail g ON g.id = p.guardrail
    LEFT JOIN gateway_endpoint e ON e.id = g.action_endpoint WHERE p.endpoint = $1";

fn no_guardrail(id: &str) -> Error {
    unknown("Guardrail", "guardrail_id", id)
}

fn no_place(endpoint: &str, guardrail: &str) -> Error {
    Error::not_found(format!("GuardrailConfig not found (endpoint_id='{endpoint}', guardrail_id='{guardrail}')"))
}

fn read_guardrail(row: &Row) -> Result<Guardrail> {
    let (id, name): (Option<String>, Option<String>) = (row.get("action_endpoint")?, row.get("endpoint_name")?);
    let action_endpoint = id.zip(name).map(|(id, name)| ActionEndpoint { id, name });
    Ok(Guardrail { action_endpoint, ..from_json("guardrail", row)? })
}

fn read_placed(row: &Row) -> Result<PlacedGuardrail> {
    Ok(PlacedGuardrail {
        endpoint: row.get("endpoint")?,
        guardrail: read_guardrail(row)?,
        order: row.get("place")?,
        created: row.get("created")?,
        created_by: row.get("created_by")?,
    })
}

impl SqlGatewayStore {
    async fn placed(&self, endpoint: &str, guardrail: &str) -> Result<PlacedGuardrail> {
        let sql = format!("{PLACED} AND p.guardrail = $2");
        let row = self.meta.query_opt(&sql, params![endpoint, guardrail]).await?;
        read_placed(&row.ok_or_else(|| no_place(endpoint, guardrail))?)
    }
}

#[async_trait]
impl GuardrailStore for SqlGatewayStore {
    async fn create_guardrail(&self, create: CreateGuardrail) -> Result<Guardrail> {
        create.check()?;
        let guardrail = Guardrail {
            id: self.next_id("gr-")?,
            name: create.name,
            scorer: create.scorer,
            stage: create.stage,
            action: create.action,
            action_endpoint: None,
            change: Change::made(self.now(), create.created_by),
        };
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            check_room(tx.as_mut(), "gateway_guardrail").await?;
            if let Some(endpoint) = &create.action_endpoint {
                check_endpoint(tx.as_mut(), endpoint).await?;
            }
            let sql = "INSERT INTO gateway_guardrail (id, action_endpoint, content) VALUES ($1, $2, $3)";
            let values = params![&guardrail.id, create.action_endpoint.clone(), to_json("guardrail", &guardrail)?];
            tx.execute(sql, values).await?;
            tx.commit().await
        })?;
        self.guardrail(&guardrail.id).await
    }

    async fn guardrail(&self, id: &str) -> Result<Guardrail> {
        let row = self.meta.query_opt(&format!("{GUARDRAIL} WHERE g.id = $1"), params![id]).await?;
        read_guardrail(&row.ok_or_else(|| no_guardrail(id))?)
    }

    async fn delete_guardrail(&self, id: &str) -> Result<()> {
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            if tx.execute("DELETE FROM gateway_guardrail WHERE id = $1", params![id]).await? == 0 {
                return Err(no_guardrail(id));
            }
            tx.execute("DELETE FROM gateway_place WHERE guardrail = $1", params![id]).await?;
            tx.commit().await
        })
    }

    async fn guardrails(&self, page: &PageRequest) -> Result<Page<Guardrail>> {
        let rows = self.meta.query(&format!("{GUARDRAIL} ORDER BY g.seq"), &[]).await?;
        cut(rows.iter().map(read_guardrail).collect::<Result<_>>()?, page, "guardrails")
    }

    async fn place_guardrail(&self, place: PlaceGuardrail) -> Result<PlacedGuardrail> {
        let PlaceGuardrail { endpoint, guardrail, order, created_by } = &place;
        let now = self.now();
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            check_room(tx.as_mut(), "gateway_place").await?;
            check_endpoint(tx.as_mut(), endpoint).await?;
            let found = tx.query_opt("SELECT id FROM gateway_guardrail WHERE id = $1", params![guardrail]).await?;
            found.ok_or_else(|| no_guardrail(guardrail))?;
            let sql = "SELECT place FROM gateway_place WHERE endpoint = $1 AND guardrail = $2";
            if tx.query_opt(sql, params![endpoint, guardrail]).await?.is_some() {
                let message = format!("Guardrail '{guardrail}' is already added to endpoint '{endpoint}'");
                return Err(Error::already_exists(message));
            }
            let sql = "INSERT INTO gateway_place (endpoint, guardrail, place, created, created_by)
                VALUES ($1, $2, $3, $4, $5)";
            tx.execute(sql, params![endpoint, guardrail, *order, now, created_by.clone()]).await?;
            tx.commit().await
        })?;
        self.placed(endpoint, guardrail).await
    }

    async fn move_guardrail(&self, endpoint: &str, guardrail: &str, order: Option<i64>) -> Result<PlacedGuardrail> {
        let sql = "UPDATE gateway_place SET place = $1 WHERE endpoint = $2 AND guardrail = $3";
        on_conflict!(self.meta.execute(sql, params![order, endpoint, guardrail]))?;
        self.placed(endpoint, guardrail).await
    }

    async fn remove_guardrail(&self, endpoint: &str, guardrail: &str) -> Result<()> {
        let sql = "DELETE FROM gateway_place WHERE endpoint = $1 AND guardrail = $2";
        let gone = on_conflict!(self.meta.execute(sql, params![endpoint, guardrail]))?;
        if gone == 0 { Err(no_place(endpoint, guardrail)) } else { Ok(()) }
    }

    async fn guardrails_of(&self, endpoint: &str) -> Result<Vec<PlacedGuardrail>> {
        let sql = "SELECT id FROM gateway_endpoint WHERE id = $1";
        let found = self.meta.query_opt(sql, params![endpoint]).await?;
        found.ok_or_else(|| unknown("GatewayEndpoint", "endpoint_id", endpoint))?;
        let sql = format!("{PLACED} ORDER BY CASE WHEN p.place IS NULL THEN 1 ELSE 0 END, p.place, p.guardrail");
        self.meta.query(&sql, params![endpoint]).await?.iter().map(read_placed).collect()
    }
}
