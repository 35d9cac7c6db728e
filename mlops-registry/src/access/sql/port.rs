//! The port over the statements of its neighbors.

use async_trait::async_trait;
use mlops_core::{Digest, Error, Result};
use mlops_store::{MetaStore as _, MetaStoreExt as _, Value, params};

use super::{
    SqlAccessStore, no_role,
    role::read_grant,
    user::{USER, read_token, read_user},
};
use crate::{
    access::{
        AccessStore, EVERY,
        record::{
            Grant, NewToken, NewUser, ResourceKind, Role, RoleGrant, RoleUpdate, Standing, Token, User, UserUpdate,
        },
        store::known_user,
    },
    retry::on_conflict,
    rows::places,
};

/// How many resources one query asks for.
const RESOURCES_AT_ONCE: usize = 500;

#[async_trait]
impl AccessStore for SqlAccessStore {
    async fn create_user(&self, user: NewUser) -> Result<User> {
        on_conflict!(self.try_create_user(&user))
    }

    async fn user(&self, name: &str) -> Result<Option<User>> {
        let row = self.meta.query_opt(&format!("{USER} WHERE u.name = $1"), params![name]).await?;
        row.as_ref().map(read_user).transpose()
    }

    async fn standing(&self, user: &str) -> Result<Option<Standing>> {
        let sql = "SELECT u.id, u.name, u.password_hash, u.admin, o.id AS own_role, r.name AS role
            FROM access_user u JOIN access_role o ON o.own_of = u.id
            LEFT JOIN access_member m ON m.user_id = u.id
            LEFT JOIN access_role r ON r.id = m.role AND r.own_of IS NULL
            WHERE u.name = $1 ORDER BY r.id";
        let rows = self.meta.query(sql, params![user]).await?;
        let Some(user) = rows.first().map(read_user).transpose()? else { return Ok(None) };
        let roles =
            rows.iter().filter_map(|row| row.get::<Option<String>>("role").transpose()).collect::<Result<_>>()?;
        Ok(Some(Standing { user, roles }))
    }

    async fn users(&self) -> Result<Vec<User>> {
        self.meta.query(&format!("{USER} ORDER BY u.name"), &[]).await?.iter().map(read_user).collect()
    }

    async fn update_user(&self, name: &str, update: UserUpdate) -> Result<()> {
        on_conflict!(self.try_update_user(name, &update))
    }

    async fn delete_user(&self, name: &str) -> Result<()> {
        on_conflict!(self.try_delete_user(name))
    }

    async fn add_token(&self, user: &str, token: NewToken) -> Result<Token> {
        on_conflict!(self.try_add_token(user, &token))
    }

    async fn tokens(&self, user: &str) -> Result<Vec<Token>> {
        let user = known_user(self, user).await?;
        let sql = "SELECT id, label, created, expires FROM access_token WHERE user_id = $1 ORDER BY id";
        self.meta.query(sql, params![user.id]).await?.iter().map(read_token).collect()
    }

    async fn token(&self, digest: &Digest) -> Result<Option<(Token, User)>> {
        let sql = "SELECT t.id AS token, t.label, t.created, t.expires,
                u.id, u.name, u.password_hash, u.admin, r.id AS own_role
            FROM access_token t JOIN access_user u ON u.id = t.user_id JOIN access_role r ON r.own_of = u.id
            WHERE t.digest = $1";
        let row = self.meta.query_opt(sql, params![digest.to_string()]).await?;
        row.map(|row| Ok((Token { id: row.get("token")?, ..read_token(&row)? }, read_user(&row)?))).transpose()
    }

    async fn delete_token(&self, user: &str, id: u64) -> Result<()> {
        on_conflict!(self.try_delete_token(user, id))
    }

    async fn create_role(&self, name: &str, description: Option<&str>) -> Result<Role> {
        on_conflict!(self.try_create_role(name, description))
    }

    async fn role(&self, id: u64) -> Result<Role> {
        let found = self.read_roles("WHERE r.id = $1", params![id]).await?;
        found.into_iter().next().ok_or_else(|| no_role(id))
    }

    async fn roles(&self) -> Result<Vec<Role>> {
        let mut roles = self.read_roles("WHERE r.own_of IS NULL", &[]).await?;
        roles.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        Ok(roles)
    }

    async fn update_role(&self, id: u64, update: RoleUpdate) -> Result<()> {
        on_conflict!(self.try_update_role(id, &update))
    }

    async fn delete_role(&self, id: u64) -> Result<()> {
        on_conflict!(self.try_delete_role(id))
    }

    async fn assign_role(&self, user: &str, role: u64) -> Result<u64> {
        on_conflict!(self.try_assign(user, role))
    }

    async fn unassign_role(&self, user: &str, role: u64) -> Result<()> {
        on_conflict!(self.try_unassign(user, role))
    }

    async fn roles_of(&self, user: &str) -> Result<Vec<Role>> {
        let user = known_user(self, user).await?;
        let filter = "JOIN access_member m ON m.role = r.id WHERE m.user_id = $1";
        let mut roles = self.read_roles(filter, params![user.id]).await?;
        roles.sort_unstable_by_key(|role| (role.id != user.own_role, role.id));
        Ok(roles)
    }

    async fn members_of(&self, role: u64) -> Result<Vec<(u64, u64)>> {
        self.role(role).await?;
        let sql = "SELECT id, user_id FROM access_member WHERE role = $1 ORDER BY id";
        let rows = self.meta.query(sql, params![role]).await?;
        rows.iter().map(|row| Ok((row.get("id")?, row.get("user_id")?))).collect()
    }

    async fn grant(&self, role: u64, grant: Grant) -> Result<RoleGrant> {
        on_conflict!(self.try_grant(role, &grant))
    }

    async fn role_grant(&self, id: u64) -> Result<RoleGrant> {
        let row = self.meta.query_opt("SELECT * FROM access_grant WHERE id = $1", params![id]).await?;
        read_grant(&row.ok_or_else(|| Error::not_found(format!("Permission with id={id} not found")))?)
    }

    async fn revoke(&self, id: u64) -> Result<()> {
        on_conflict!(self.try_revoke(id))
    }

    async fn grants_for(&self, user: &str, kind: ResourceKind, resources: &[&str]) -> Result<Vec<Grant>> {
        let mut found = Vec::new();
        // Those on every one are found with the first of the resources.
        for (chunk, first) in
            resources.chunks(RESOURCES_AT_ONCE).zip(std::iter::once(true).chain(std::iter::repeat(false)))
        {
            let names = first.then_some(EVERY).into_iter().chain(chunk.iter().copied());
            let values: Vec<Value> = [user, kind.name()].into_iter().chain(names).map(Value::from).collect();
            let sql = format!(
                "SELECT g.* FROM access_user u JOIN access_member m ON m.user_id = u.id
                    JOIN access_grant g ON g.role = m.role
                    WHERE u.name = $1 AND g.kind = $2 AND g.resource IN ({})",
                places(3, values.len() - 2)
            );
            for row in self.meta.query(&sql, &values).await? {
                found.push(read_grant(&row)?.grant);
            }
        }
        Ok(found)
    }

    async fn move_grants(&self, kind: ResourceKind, resource: &str, to: Option<&str>) -> Result<()> {
        on_conflict!(self.try_move(kind, resource, to))
    }
}
