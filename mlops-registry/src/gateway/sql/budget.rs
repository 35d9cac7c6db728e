//! Budgets as rows.

use async_trait::async_trait;
use mlops_core::{Error, Result};
use mlops_store::{MetaStore as _, MetaStoreExt as _, Transaction, TransactionExt as _, params};

use super::{SqlGatewayStore, check_endpoint, check_room, unknown};
use crate::{
    gateway::{Budget, BudgetScope, BudgetSettings, BudgetStore, BudgetUpdate, Change},
    retry::on_conflict,
    rows::{from_json, to_json},
    search::{Page, PageRequest, cut},
};

const ONE: &str = "SELECT content FROM gateway_budget WHERE id = $1";

fn no_budget(id: &str) -> Error {
    unknown("BudgetPolicy", "budget_policy_id", id)
}

/// Refuses a budget of an endpoint that does not exist: it would never count anything.
async fn check_target(tx: &mut dyn Transaction, settings: &BudgetSettings) -> Result<()> {
    match (settings.scope, &settings.target) {
        (BudgetScope::Endpoint, Some(endpoint)) => check_endpoint(tx, endpoint).await,
        _ => Ok(()),
    }
}

#[async_trait]
impl BudgetStore for SqlGatewayStore {
    async fn create_budget(&self, settings: BudgetSettings, by: Option<String>) -> Result<Budget> {
        settings.check()?;
        let budget = Budget { id: self.next_id("bp-")?, settings, change: Change::made(self.now(), by) };
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            check_room(tx.as_mut(), "gateway_budget").await?;
            check_target(tx.as_mut(), &budget.settings).await?;
            let values = params![&budget.id, to_json("budget", &budget)?];
            tx.execute("INSERT INTO gateway_budget (id, content) VALUES ($1, $2)", values).await?;
            tx.commit().await
        })?;
        Ok(budget)
    }

    async fn budget(&self, id: &str) -> Result<Budget> {
        from_json("budget", &self.meta.query_opt(ONE, params![id]).await?.ok_or_else(|| no_budget(id))?)
    }

    async fn update_budget(&self, id: &str, update: BudgetUpdate) -> Result<Budget> {
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let mut budget: Budget =
                from_json("budget", &tx.query_opt(ONE, params![id]).await?.ok_or_else(|| no_budget(id))?)?;
            budget.settings = budget.settings.updated(&update)?;
            budget.change.touch(self.now(), update.updated_by.clone());
            if update.target.is_some() {
                check_target(tx.as_mut(), &budget.settings).await?;
            }
            let values = params![to_json("budget", &budget)?, id];
            tx.execute("UPDATE gateway_budget SET content = $1 WHERE id = $2", values).await?;
            tx.commit().await?;
            Ok(budget)
        })
    }

    async fn delete_budget(&self, id: &str) -> Result<()> {
        let gone = on_conflict!(self.meta.execute("DELETE FROM gateway_budget WHERE id = $1", params![id]))?;
        if gone == 0 { Err(no_budget(id)) } else { Ok(()) }
    }

    async fn budgets(&self, page: &PageRequest) -> Result<Page<Budget>> {
        let rows = self.meta.query("SELECT content FROM gateway_budget ORDER BY seq", &[]).await?;
        cut(rows.iter().map(|row| from_json("budget", row)).collect::<Result<_>>()?, page, "budgets")
    }
}
