//! Endpoints and what is bound to them, as rows.

use async_trait::async_trait;
use mlops_core::{Error, Result};
use mlops_store::{MetaStore as _, MetaStoreExt as _, Row, Transaction, TransactionExt as _, Value, params};

use super::{SqlGatewayStore, check_endpoint, check_room, is_taken, unknown};
use crate::{
    gateway::{
        Binding, BindingFilter, Change, CreateBinding, CreateEndpoint, CreateModelDefinition, Endpoint, EndpointStore,
        EndpointUpdate, Mapping, ModelDefinition, ModelDefinitionUpdate, ModelFilter, ModelLink,
    },
    retry::on_conflict,
    rows::{from_json, to_json},
};

const TABLE: &str = "gateway_endpoint";

fn no_endpoint(key: &str, value: &str) -> Error {
    unknown("GatewayEndpoint", key, value)
}

fn taken(name: &str) -> Error {
    Error::already_exists(format!("Endpoint with name '{name}' already exists"))
}

/// The endpoint of this id, without its models.
pub(super) async fn one_endpoint(tx: &mut dyn Transaction, id: &str) -> Result<Endpoint> {
    let row = tx.query_opt("SELECT content FROM gateway_endpoint WHERE id = $1", params![id]).await?;
    from_json("endpoint", &row.ok_or_else(|| no_endpoint("endpoint_id", id))?)
}

pub(super) async fn write_endpoint(tx: &mut dyn Transaction, endpoint: &Endpoint) -> Result<()> {
    let values = params![&endpoint.name, to_json("endpoint", endpoint)?, &endpoint.id];
    tx.execute("UPDATE gateway_endpoint SET name = $1, content = $2 WHERE id = $3", values).await.map(drop)
}

impl SqlGatewayStore {
    async fn one(&self, key: &str, column: &str, value: &str) -> Result<Endpoint> {
        let sql = format!("SELECT content FROM gateway_endpoint WHERE {column} = $1");
        let row = self.meta.query_opt(&sql, params![value]).await?.ok_or_else(|| no_endpoint(key, value))?;
        Ok(self.with_mappings(&[row]).await?.remove(0))
    }

    async fn with_mappings(&self, rows: &[Row]) -> Result<Vec<Endpoint>> {
        let mut endpoints: Vec<Endpoint> = rows.iter().map(|row| from_json("endpoint", row)).collect::<Result<_>>()?;
        let ids: Vec<Value> = endpoints.iter().map(|endpoint| Value::from(&endpoint.id)).collect();
        let mut mappings = self.mappings(&ids).await?;
        for endpoint in &mut endpoints {
            endpoint.mappings = mappings.remove(&endpoint.id).unwrap_or_default();
        }
        Ok(endpoints)
    }

    async fn insert_links(
        &self,
        tx: &mut dyn Transaction,
        endpoint: &str,
        links: &[ModelLink],
        by: Option<&String>,
    ) -> Result<()> {
        for link in links {
            self.insert_link(tx, endpoint, link, by.cloned()).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl EndpointStore for SqlGatewayStore {
    async fn create_model(&self, create: CreateModelDefinition) -> Result<ModelDefinition> {
        self.add_model(create).await
    }

    async fn model(&self, id: &str) -> Result<ModelDefinition> {
        self.find_model(id).await
    }

    async fn update_model(&self, id: &str, update: ModelDefinitionUpdate) -> Result<ModelDefinition> {
        self.change_model(id, &update).await
    }

    async fn delete_model(&self, id: &str) -> Result<()> {
        self.remove_model(id).await
    }

    async fn models(&self, filter: &ModelFilter) -> Result<Vec<ModelDefinition>> {
        self.find_models(filter).await
    }

    async fn create_endpoint(&self, create: CreateEndpoint) -> Result<Endpoint> {
        create.check()?;
        let endpoint = Endpoint {
            id: self.next_id("e-")?,
            fallback: create.fallback(),
            name: create.name,
            mappings: Vec::new(),
            tags: std::collections::BTreeMap::new(),
            routing: create.routing,
            experiment: create.experiment,
            usage_tracking: create.usage_tracking,
            change: Change::made(self.now(), create.created_by),
        };
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            check_room(tx.as_mut(), TABLE).await?;
            if is_taken(tx.as_mut(), TABLE, &endpoint.name, &endpoint.id).await? {
                return Err(taken(&endpoint.name));
            }
            let sql = "INSERT INTO gateway_endpoint (id, name, content) VALUES ($1, $2, $3)";
            tx.execute(sql, params![&endpoint.id, &endpoint.name, to_json("endpoint", &endpoint)?]).await?;
            let by = endpoint.change.created_by.as_ref();
            self.insert_links(tx.as_mut(), &endpoint.id, &create.models, by).await?;
            tx.commit().await
        })?;
        self.endpoint(&endpoint.id).await
    }

    async fn endpoint(&self, id: &str) -> Result<Endpoint> {
        self.one("endpoint_id", "id", id).await
    }

    async fn endpoint_named(&self, name: &str) -> Result<Endpoint> {
        self.one("name", "name", name).await
    }

    async fn update_endpoint(&self, id: &str, update: EndpointUpdate) -> Result<Endpoint> {
        update.check()?;
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let endpoint = one_endpoint(tx.as_mut(), id).await?.updated(&update, self.now());
            if is_taken(tx.as_mut(), TABLE, &endpoint.name, id).await? {
                return Err(taken(&endpoint.name));
            }
            if let Some(links) = &update.models {
                tx.execute("DELETE FROM gateway_link WHERE endpoint = $1", params![id]).await?;
                self.insert_links(tx.as_mut(), id, links, update.updated_by.as_ref()).await?;
            }
            write_endpoint(tx.as_mut(), &endpoint).await?;
            tx.commit().await
        })?;
        self.endpoint(id).await
    }

    async fn delete_endpoint(&self, id: &str) -> Result<()> {
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            if tx.execute("DELETE FROM gateway_endpoint WHERE id = $1", params![id]).await? == 0 {
                return Err(no_endpoint("endpoint_id", id));
            }
            for table in ["gateway_link", "gateway_binding", "gateway_place"] {
                tx.execute(&format!("DELETE FROM {table} WHERE endpoint = $1"), params![id]).await?;
            }
            let sql = "UPDATE gateway_guardrail SET action_endpoint = NULL WHERE action_endpoint = $1";
            tx.execute(sql, params![id]).await?;
            tx.commit().await
        })
    }

    async fn endpoints(&self, provider: Option<&str>) -> Result<Vec<Endpoint>> {
        let rows = self.meta.query("SELECT content FROM gateway_endpoint ORDER BY seq", &[]).await?;
        let mut endpoints = self.with_mappings(&rows).await?;
        endpoints.retain(|endpoint| {
            provider.is_none_or(|provider| {
                let mut models = endpoint.mappings.iter().filter_map(|mapping| mapping.definition.as_ref());
                models.any(|model| model.provider == provider)
            })
        });
        Ok(endpoints)
    }

    async fn attach_model(&self, endpoint: &str, link: ModelLink, by: Option<String>) -> Result<Mapping> {
        self.attach(endpoint, &link, by).await
    }

    async fn detach_model(&self, endpoint: &str, model: &str) -> Result<()> {
        self.detach(endpoint, model).await
    }

    async fn tag_endpoint(&self, endpoint: &str, key: &str, value: Option<&str>) -> Result<()> {
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let tagged = one_endpoint(tx.as_mut(), endpoint).await?.tagged(key, value)?;
            write_endpoint(tx.as_mut(), &tagged).await?;
            tx.commit().await
        })
    }

    async fn create_binding(&self, create: CreateBinding) -> Result<Binding> {
        create.check()?;
        let CreateBinding { endpoint, kind, resource, created_by } = create;
        let binding = Binding { endpoint, kind, resource, change: Change::made(self.now(), created_by) };
        let Binding { endpoint, resource, .. } = &binding;
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            check_room(tx.as_mut(), "gateway_binding").await?;
            check_endpoint(tx.as_mut(), endpoint).await?;
            let sql = "SELECT seq FROM gateway_binding WHERE endpoint = $1 AND kind = $2 AND resource = $3";
            if tx.query_opt(sql, params![endpoint, kind.name(), resource]).await?.is_some() {
                let message = format!("{} '{resource}' is bound to endpoint '{endpoint}' already", kind.name());
                return Err(Error::already_exists(message));
            }
            let sql = "INSERT INTO gateway_binding (endpoint, kind, resource, content) VALUES ($1, $2, $3, $4)";
            tx.execute(sql, params![endpoint, kind.name(), resource, to_json("binding", &binding)?]).await?;
            tx.commit().await
        })?;
        Ok(binding)
    }

    async fn delete_binding(&self, binding: &CreateBinding) -> Result<()> {
        let CreateBinding { endpoint, kind, resource, .. } = binding;
        let sql = "DELETE FROM gateway_binding WHERE endpoint = $1 AND kind = $2 AND resource = $3";
        let gone = on_conflict!(self.meta.execute(sql, params![endpoint, kind.name(), resource]))?;
        if gone > 0 {
            return Ok(());
        }
        Err(Error::not_found(format!(
            "GatewayEndpointBinding not found (endpoint_id='{endpoint}', resource_type='{}', resource_id='{resource}')",
            kind.name()
        )))
    }

    async fn bindings(&self, filter: &BindingFilter) -> Result<Vec<Binding>> {
        let rows = self.meta.query("SELECT content FROM gateway_binding ORDER BY seq", &[]).await?;
        let mut bindings: Vec<Binding> = rows.iter().map(|row| from_json("binding", row)).collect::<Result<_>>()?;
        bindings.retain(|binding| {
            filter.endpoint.as_ref().is_none_or(|endpoint| *endpoint == binding.endpoint)
                && filter.kind.is_none_or(|kind| kind == binding.kind)
                && filter.resource.as_ref().is_none_or(|resource| *resource == binding.resource)
        });
        Ok(bindings)
    }
}
