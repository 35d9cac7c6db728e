//! Users and their tokens.

use mlops_core::{Error, Result};
use mlops_store::{Row, Transaction, TransactionExt as _, params};

use super::{SqlAccessStore, check_name, taken};
use crate::access::{
    LISTED_MAX,
    record::{NewToken, NewUser, Token, User, UserUpdate},
    store::no_user,
};

pub(super) const USER: &str = "SELECT u.id, u.name, u.password_hash, u.admin, r.id AS own_role
    FROM access_user u JOIN access_role r ON r.own_of = u.id";

pub(super) fn read_user(row: &Row) -> Result<User> {
    Ok(User {
        id: row.get("id")?,
        name: row.get("name")?,
        password_hash: row.get("password_hash")?,
        admin: row.get::<i64>("admin")? != 0,
        own_role: row.get("own_role")?,
    })
}

pub(super) fn read_token(row: &Row) -> Result<Token> {
    Ok(Token {
        id: row.get("id")?,
        label: row.get("label")?,
        created: row.get("created")?,
        expires: row.get("expires")?,
    })
}

pub(super) async fn require_user(tx: &mut dyn Transaction, name: &str) -> Result<User> {
    let row = tx.query_opt(&format!("{USER} WHERE u.name = $1"), params![name]).await?;
    read_user(&row.ok_or_else(|| no_user(name))?)
}

/// Refuses to lose the last administrator.
async fn keep_an_admin(tx: &mut dyn Transaction, but: u64) -> Result<()> {
    let others = tx.query("SELECT id FROM access_user WHERE admin = 1 AND id <> $1 LIMIT 1", params![but]).await?;
    if others.is_empty() {
        return Err(Error::failed_precondition(
            "the last administrator cannot go; make another user administrator first",
        ));
    }
    Ok(())
}

impl SqlAccessStore {
    pub(super) async fn try_create_user(&self, user: &NewUser) -> Result<User> {
        check_name("user", &user.name)?;
        let mut tx = self.meta.begin().await?;
        let count: i64 = tx.query_one("SELECT COUNT(*) AS n FROM access_user", &[]).await?.get("n")?;
        if usize::try_from(count).is_ok_and(|count| count >= LISTED_MAX) {
            return Err(Error::resource_exhausted(format!("there are {LISTED_MAX} users already; delete some first")));
        }
        let sql = "INSERT INTO access_user (name, password_hash, admin) VALUES ($1, $2, $3) RETURNING id";
        let row = tx.query_one(sql, params![&user.name, &user.password_hash, user.admin]).await;
        let id: u64 = row.map_err(|error| taken(error, "User", &user.name))?.get("id")?;
        let sql = "INSERT INTO access_role (name, own_of) VALUES ($1, $2) RETURNING id";
        let own_role: u64 = tx.query_one(sql, params![format!("__user_{id}__"), id]).await?.get("id")?;
        tx.execute("INSERT INTO access_member (role, user_id) VALUES ($1, $2)", params![own_role, id]).await?;
        tx.commit().await?;
        let NewUser { name, password_hash, admin } = user.clone();
        Ok(User { id, name, password_hash, admin, own_role })
    }

    pub(super) async fn try_update_user(&self, name: &str, update: &UserUpdate) -> Result<()> {
        let mut tx = self.meta.begin().await?;
        let user = require_user(tx.as_mut(), name).await?;
        if user.admin && update.admin == Some(false) {
            keep_an_admin(tx.as_mut(), user.id).await?;
        }
        let hash = update.password_hash.as_ref().unwrap_or(&user.password_hash);
        let sql = "UPDATE access_user SET password_hash = $1, admin = $2 WHERE id = $3";
        tx.execute(sql, params![hash, update.admin.unwrap_or(user.admin), user.id]).await?;
        tx.commit().await
    }

    pub(super) async fn try_delete_user(&self, name: &str) -> Result<()> {
        let mut tx = self.meta.begin().await?;
        let user = require_user(tx.as_mut(), name).await?;
        if user.admin {
            keep_an_admin(tx.as_mut(), user.id).await?;
        }
        tx.execute("DELETE FROM access_grant WHERE role = $1", params![user.own_role]).await?;
        tx.execute("DELETE FROM access_role WHERE id = $1", params![user.own_role]).await?;
        for table in ["access_member", "access_token"] {
            tx.execute(&format!("DELETE FROM {table} WHERE user_id = $1"), params![user.id]).await?;
        }
        tx.execute("DELETE FROM access_user WHERE id = $1", params![user.id]).await?;
        tx.commit().await
    }

    pub(super) async fn try_add_token(&self, user: &str, token: &NewToken) -> Result<Token> {
        let mut tx = self.meta.begin().await?;
        let user = require_user(tx.as_mut(), user).await?;
        let sql = "INSERT INTO access_token (user_id, digest, label, created, expires) VALUES ($1, $2, $3, $4, $5)
            RETURNING id, label, created, expires";
        let values = params![user.id, token.digest.to_string(), &token.label, token.created, token.expires];
        let made = read_token(&tx.query_one(sql, values).await?)?;
        tx.commit().await?;
        Ok(made)
    }

    pub(super) async fn try_delete_token(&self, user: &str, id: u64) -> Result<()> {
        let mut tx = self.meta.begin().await?;
        let user = require_user(tx.as_mut(), user).await?;
        let sql = "DELETE FROM access_token WHERE id = $1 AND user_id = $2";
        if tx.execute(sql, params![id, user.id]).await? == 0 {
            return Err(Error::not_found(format!("user {:?} has no token {id}", user.name)));
        }
        tx.commit().await
    }
}
