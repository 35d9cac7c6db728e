//! Searching models and versions.
//!
//! Invariant: as of [`crate::search::sql`]. The registry's times are whole milliseconds, and tags of texts.

use std::marker::PhantomData;

use async_trait::async_trait;
use mlops_core::{Alias, ModelName, Result, Version};
use mlops_store::{Dialect, MetaStore, Row};

use super::{PROMPT_TAG, SqlModelRegistry, version::read_row};
use crate::{
    bound::Bound,
    registry::record::{ModelVersion, RegisteredModel},
    retry::Statement,
    search::{
        Clause, Fields, Filter, OrderKey, Page, PageRequest, Search,
        sql::{
            self, SortValue, Term, check_order, gathered, integer_test, is_inexact, order_by, position, text_test,
            time_test, ungathered,
        },
        walk::{Candidates, walk},
    },
};

/// What an attribute is to the database.
enum Column {
    Text(&'static str),
    NullableText(&'static str),
    Integer(&'static str),
    Time(&'static str),
}

/// Records that lie in a table `r`, their tags in another one.
trait Listed: Fields + Sized + Send {
    const TABLE: &'static str;
    /// The key of the table, by which a page finds its records again.
    const KEY: &'static [&'static str];
    /// What all records meet that can be found.
    const PRESENT: &'static str;
    /// The table of the tags `t`, and which of them are those of `r`.
    const TAGS: (&'static str, &'static str);
    /// The aliases of `r`, as items and where they are from.
    const ALIASES: (&'static str, &'static str);
    /// The column of an attribute, by the names that `Fields` lists.
    fn column(key: &str) -> Column;
    /// What decides between records that the order does not tell apart; the key at the end.
    fn ties(ordered: bool) -> Vec<Term>;
    /// The record of a row with `tags` and `aliases`.
    fn read(row: &Row) -> Result<Self>;
}

impl Listed for RegisteredModel {
    const TABLE: &'static str = "registry_model";
    const KEY: &'static [&'static str] = &["name"];
    const PRESENT: &'static str = "1 = 1";
    const TAGS: (&'static str, &'static str) = ("registry_model_tag", "t.model = r.name");
    const ALIASES: (&'static str, &'static str) = ("a.alias, a.version", "registry_alias a WHERE a.model = r.name");

    fn column(key: &str) -> Column {
        match key {
            "name" => Column::Text("r.name"),
            "creation_timestamp" => Column::Time("r.created"),
            _ => Column::Time("r.updated"),
        }
    }

    fn ties(_: bool) -> Vec<Term> {
        vec![Term::text("r.name", false)]
    }

    fn read(row: &Row) -> Result<Self> {
        let alias =
            |(alias, version): (String, u64)| -> Result<(Alias, Version)> { Ok((alias.parse()?, Version(version))) };
        let aliases = ungathered::<Vec<(String, u64)>>(row, "aliases")?;
        Ok(Self {
            name: row.get::<String>("name")?.parse()?,
            description: row.get("description")?,
            created: row.get("created")?,
            updated: row.get("updated")?,
            last_version: row.get("last_version")?,
            tags: ungathered::<Vec<(String, String)>>(row, "tags")?.into_iter().collect(),
            aliases: aliases.into_iter().map(alias).collect::<Result<_>>()?,
        })
    }
}

impl Listed for ModelVersion {
    const TABLE: &'static str = "registry_version";
    const KEY: &'static [&'static str] = &["model", "version"];
    const PRESENT: &'static str = "r.deleted = 0";
    const TAGS: (&'static str, &'static str) = ("registry_version_tag", "t.model = r.model AND t.version = r.version");
    const ALIASES: (&'static str, &'static str) =
        ("a.alias", "registry_alias a WHERE a.model = r.model AND a.version = r.version");

    fn column(key: &str) -> Column {
        match key {
            "name" => Column::Text("r.model"),
            "run_id" => Column::NullableText("r.run_id"),
            "source_path" => Column::Text("r.source"),
            "version_number" => Column::Integer("r.version"),
            "creation_timestamp" => Column::Time("r.created"),
            _ => Column::Time("r.updated"),
        }
    }

    fn ties(ordered: bool) -> Vec<Term> {
        let newest = (!ordered).then(|| Term::integer("r.updated", true));
        newest.into_iter().chain([Term::text("r.model", false), Term::integer("r.version", true)]).collect()
    }

    fn read(row: &Row) -> Result<Self> {
        let tags = ungathered::<Vec<(String, String)>>(row, "tags")?.into_iter().collect();
        let mut aliases = ungathered::<Vec<String>>(row, "aliases")?;
        aliases.sort_unstable();
        read_row(row, tags, aliases.iter().map(|alias| alias.parse()).collect::<Result<_>>()?)
    }
}

impl SqlModelRegistry {
    pub(super) async fn find_models(&self, search: &Search) -> Result<Page<RegisteredModel>> {
        self.find("models", search).await
    }

    pub(super) async fn find_versions(&self, search: &Search) -> Result<Page<ModelVersion>> {
        self.find("versions", search).await
    }

    pub(super) async fn versions_of(&self, model: &ModelName, page: &PageRequest) -> Result<Page<ModelVersion>> {
        self.read_model(model).await?;
        let clause = Clause::equal("attributes", "name", model.as_str());
        let order = OrderKey::descending("attributes", "version_number");
        self.scan(&Filter::of(vec![clause]), &[order], page, &format!("versions of {model}")).await
    }

    async fn find<T: Listed>(&self, what: &str, search: &Search) -> Result<Page<T>> {
        let filter = Filter::parse::<T>(&search.filter)?;
        let order = OrderKey::parse_all::<T>(&search.order_by)?;
        check_order(order.len())?;
        self.scan(&filter, &order, &search.page, &format!("{what} {} {:?}", search.filter, search.order_by)).await
    }

    /// A page of those that a filter admits.
    async fn scan<T: Listed>(
        &self,
        filter: &Filter,
        order: &[OrderKey],
        request: &PageRequest,
        of: &str,
    ) -> Result<Page<T>> {
        walk(&Found::<T> { meta: self.meta.as_ref(), filter, order, kind: PhantomData }, request, of).await
    }
}

/// What a filter finds, in an order.
struct Found<'a, T> {
    meta: &'a dyn MetaStore,
    filter: &'a Filter,
    order: &'a [OrderKey],
    kind: PhantomData<fn() -> T>,
}

#[async_trait]
impl<T: Listed> Candidates for Found<'_, T> {
    type Record = T;

    fn residual(&self) -> bool {
        self.filter.clauses().iter().any(|clause| is_inexact(&clause.test))
    }

    async fn behind(&self, after: Option<&[SortValue]>, limit: usize) -> Result<Vec<(T, Vec<SortValue>)>> {
        let (statement, terms) = statement::<T>(self.meta.dialect(), self.filter, self.order, after, limit)?;
        let rows = self.meta.query(&statement.0, &statement.1).await?;
        rows.iter().map(|row| Ok((T::read(row)?, position(&terms, row)?))).collect()
    }

    fn admits(&self, record: &T) -> bool {
        self.filter.admits(record)
    }
}

/// The statement for up to `limit` records with tags, aliases and sort keys. The inner one finds them, so that only of
/// those that are wanted more is read.
fn statement<T: Listed>(
    dialect: Dialect,
    filter: &Filter,
    order: &[OrderKey],
    after: Option<&[SortValue]>,
    limit: usize,
) -> Result<(Statement, Vec<Term>)> {
    let mut bound = Bound::default();
    let mut conditions = vec![T::PRESENT.to_owned()];
    conditions.extend(filter.clauses().iter().map(|clause| condition::<T>(dialect, clause, &mut bound)));
    let mut terms: Vec<Term> = Vec::new();
    for key in order {
        terms.extend(sort_keys::<T>(key, &mut bound));
    }
    terms.extend(T::ties(!order.is_empty()));
    let columns = T::KEY.iter().map(|key| format!("r.{key}")).collect::<Vec<_>>().join(", ");
    let from = format!("{} r", T::TABLE);
    let (inner, values) = sql::page(dialect, (&columns, &from), conditions, (&terms, after), limit, bound)?;

    let keys = (0..terms.len()).map(|i| format!("p.s{i} AS s{i}")).collect::<Vec<_>>().join(", ");
    let same = T::KEY.iter().map(|key| format!("r.{key} = p.{key}")).collect::<Vec<_>>().join(" AND ");
    let tags = gathered(dialect, "t.key, t.value", &format!("{} t WHERE {}", T::TAGS.0, T::TAGS.1));
    let aliases = gathered(dialect, T::ALIASES.0, T::ALIASES.1);
    let statement = format!(
        "SELECT r.*, {keys}, {tags} AS tags, {aliases} AS aliases FROM ({inner}) p JOIN {from} ON {same} ORDER BY {}",
        order_by(&terms)
    );
    Ok(((statement, values), terms))
}

fn condition<T: Listed>(dialect: Dialect, clause: &Clause, bound: &mut Bound) -> String {
    let test = &clause.test;
    if clause.group == "tags" {
        return text_test(dialect, &tag::<T>(&clause.key, bound), test, bound);
    }
    match T::column(&clause.key) {
        Column::Text(column) | Column::NullableText(column) => text_test(dialect, column, test, bound),
        Column::Integer(column) => integer_test(column, test, bound),
        Column::Time(column) => time_test(column, test, bound),
    }
}

fn sort_keys<T: Listed>(key: &OrderKey, bound: &mut Bound) -> Vec<Term> {
    let descending = key.descending;
    if key.group == "tags" {
        return Term::nullable_text(&tag::<T>(&key.key, bound), descending).into();
    }
    match T::column(&key.key) {
        Column::Text(column) => vec![Term::text(column, descending)],
        Column::NullableText(column) => Term::nullable_text(column, descending).into(),
        Column::Integer(column) => vec![Term::integer(column, descending)],
        Column::Time(column) => Term::time(column, descending).into(),
    }
}

/// The value of a tag; NULL where there is none, but that a prompt must say that it is one.
fn tag<T: Listed>(key: &str, bound: &mut Bound) -> String {
    let (table, own) = T::TAGS;
    let value = format!("(SELECT t.value FROM {table} t WHERE {own} AND t.key = {})", bound.add(key));
    if key == PROMPT_TAG { format!("COALESCE({value}, 'false')") } else { value }
}
