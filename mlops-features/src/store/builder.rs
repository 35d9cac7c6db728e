//! Opening a feature store: everything is checked before anything is handed out.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use arrow_schema::SchemaRef;
use mlops_core::{BatchCheck, Clock, Error, ErrorKind, EventBus, Meter, NoMeter, Result, SystemClock};
use object_store::ObjectStore;
use serde::{Deserialize, Serialize};

use super::{FeatureStore, Parts};
use crate::{
    definition::{
        AppliedDefinitions, Change, ChangeClass, Definition, DefinitionStore, Definitions, FeatureService, FeatureView,
        LabelView, OnDemandView, Permission, Plan, Source, Subject, SubjectKind, Versioned, Versions, all_faults,
        check_name, first_duplicate, is_timestamp, permitted,
    },
    join::JoinSettings,
    offline::{LabelViews, ResolvedLabels},
    on_demand::{Code, OnDemandViews, ResolvedOnDemand, Transformation},
    online::{OnlineStore, RedbOnlineStore, RedbSettings, ResolvedView},
    source::{BatchTransformation, Reach, TableCode, sql::SqlReader},
    stream::StreamSource,
    table::{Step, Table, TableSettings},
};

/// How a feature store works.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct FeatureStoreSettings {
    /// Tables.
    pub table: TableSettings,
    /// Joins.
    pub join: JoinSettings,
    /// The online store that is opened when none is handed in.
    pub online: RedbSettings,
    /// Most events that windows keep online for one entity. Beyond it the oldest are forgotten, and a window that
    /// reaches into what is forgotten is null rather than wrong.
    pub events_per_key_max: usize,
    /// Rows that materialization writes in one transaction, more only to keep rows of one time together.
    pub materialize_rows_per_write: usize,
    /// Rows that materialization reads at once, as far as the statistics of the files tell; bounds its memory.
    pub materialize_rows_per_chunk: usize,
    /// About the most bytes that the index of one feature's vectors may take. Where there are more, writes go on and no
    /// search is answered until the index is built again.
    pub vector_bytes_max: usize,
}

impl Default for FeatureStoreSettings {
    fn default() -> Self {
        Self {
            table: TableSettings::default(),
            join: JoinSettings::default(),
            online: RedbSettings::default(),
            events_per_key_max: 10_000,
            materialize_rows_per_write: 100_000,
            materialize_rows_per_chunk: 1_000_000,
            vector_bytes_max: 4 << 30,
        }
    }
}

/// Collects the parts of a [`FeatureStore`].
#[derive(Debug)]
#[must_use]
pub struct FeatureStoreBuilder {
    root: String,
    clock: Arc<dyn Clock>,
    bus: Option<Arc<dyn EventBus>>,
    meter: Arc<dyn Meter>,
    online: Option<Arc<dyn OnlineStore>>,
    tables: Vec<(Arc<str>, SchemaRef)>,
    sources: Vec<Source>,
    reach: Reach,
    views: Vec<FeatureView>,
    on_demand: Vec<(OnDemandView, Code)>,
    labels: Vec<LabelView>,
    services: Vec<FeatureService>,
    checks: Vec<(Arc<str>, Arc<dyn BatchCheck>)>,
    settings: FeatureStoreSettings,
}

impl FeatureStoreBuilder {
    pub(super) fn new(root: String) -> Self {
        Self {
            root,
            clock: Arc::new(SystemClock::new()),
            bus: None,
            meter: Arc::new(NoMeter),
            online: None,
            tables: Vec::new(),
            sources: Vec::new(),
            reach: Reach::default(),
            views: Vec::new(),
            on_demand: Vec::new(),
            labels: Vec::new(),
            services: Vec::new(),
            checks: Vec::new(),
            settings: FeatureStoreSettings::default(),
        }
    }

    /// Takes the time from `clock` instead of the operating system.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Announces facts on `bus`.
    pub fn with_bus(mut self, bus: Arc<dyn EventBus>) -> Self {
        self.bus = Some(bus);
        self
    }

    /// Counts rows and measures freshness into `meter` (names in [`crate::metrics`]).
    pub fn with_meter(mut self, meter: Arc<dyn Meter>) -> Self {
        self.meter = meter;
        self
    }

    /// Serves from `online` instead of the redb file `online.redb` in the root directory.
    pub fn with_online(mut self, online: Arc<dyn OnlineStore>) -> Self {
        self.online = Some(online);
        self
    }

    /// Adds table `name`, created with `schema` when there is none. A table that is there gets the columns that it
    /// lacks, as far as [`TableSettings::compatibility`] allows.
    pub fn with_table(mut self, name: impl AsRef<str>, schema: SchemaRef) -> Self {
        self.tables.push((name.as_ref().into(), schema));
        self
    }

    /// Adds a view; its table must be there or be added. It stands in for an applied view of the same name, in this
    /// store alone; [`FeatureStoreBuilder::apply`] puts it in force for all.
    pub fn with_view(mut self, view: FeatureView) -> Self {
        self.views.push(view);
        self
    }

    /// Adds a view that `code` computes when it is asked for; the views that it reads must be there. A program that adds
    /// no code of an applied on-demand view can do everything but ask for its features.
    pub fn with_on_demand_view(mut self, view: OnDemandView, code: impl Transformation) -> Self {
        self.on_demand.push((view, Code(Arc::new(code))));
        self
    }

    /// Adds a label view; its table must be there or be added. Training sets have its labels, nothing serves them.
    pub fn with_label_view(mut self, view: LabelView) -> Self {
        self.labels.push(view);
        self
    }

    /// Adds a source, which fills the table of its name; the table must be there or be added.
    pub fn with_source(mut self, source: Source) -> Self {
        self.sources.push(source);
        self
    }

    /// The source of table `name`, derived by code, makes its rows by `code`. A program without it can do everything
    /// but take that source in.
    pub fn with_table_code(mut self, name: impl AsRef<str>, code: impl BatchTransformation) -> Self {
        self.reach.code.insert(name.as_ref().into(), TableCode(Arc::new(code)));
        self
    }

    /// Sources read from the database that they call `name` by `connection`.
    pub fn with_connection(mut self, name: impl AsRef<str>, connection: Arc<dyn SqlReader>) -> Self {
        self.reach.connections.insert(name.as_ref().into(), connection);
        self
    }

    /// Sources read files at `root`, a scheme and an authority such as `s3://lake`, from `objects`. Local files need no
    /// call.
    pub fn with_objects(mut self, root: impl AsRef<str>, objects: Arc<dyn ObjectStore>) -> Self {
        let root = root.as_ref();
        // The slashes of `memory://` are not an end of its authority, which is empty.
        let root = match root.split_once("://") {
            Some((scheme, authority)) => format!("{scheme}://{}", authority.trim_end_matches('/')),
            None => root.to_owned(),
        };
        self.reach.objects.insert(root.into(), objects);
        self
    }

    /// Sources read the stream that they call `name` from `stream`.
    pub fn with_stream(mut self, name: impl AsRef<str>, stream: Arc<dyn StreamSource>) -> Self {
        self.reach.streams.insert(name.as_ref().into(), stream);
        self
    }

    /// Adds a service; its views must be added.
    pub fn with_service(mut self, service: FeatureService) -> Self {
        self.services.push(service);
        self
    }

    /// Batches for table `name` must pass `check`.
    pub fn with_check(mut self, name: impl AsRef<str>, check: Arc<dyn BatchCheck>) -> Self {
        self.checks.push((name.as_ref().into(), check));
        self
    }

    /// How the store works.
    pub fn with_settings(mut self, settings: FeatureStoreSettings) -> Self {
        self.settings = settings;
        self
    }

    /// What [`FeatureStoreBuilder::apply`] would change: in the definitions that are kept in the root, of which those
    /// added here are everything that shall be, and in the columns of the tables added here. Writes nothing.
    ///
    /// # Errors
    /// `InvalidArgument` that lists the faults of names, `FailedPrecondition` for a table whose columns cannot follow,
    /// and the errors of [`DefinitionStore::plan`].
    pub async fn plan(&self) -> Result<Plan> {
        all_faults("feature store", &self.faults())?;
        let mut changes = Vec::new();
        for (name, schema) in &self.tables {
            let (clock, settings) = (Arc::clone(&self.clock), self.settings.table.clone());
            changes.extend(table_changes(name, &self.location(name), schema, clock, settings).await?);
        }
        Ok(self.definitions()?.plan(&self.wanted()).await?.with_table_changes(changes))
    }

    /// Puts the definitions added here in force, as `plan` says, and opens the store. Tables are made and get their
    /// columns first; definitions that do not fit them are refused before they are in force.
    ///
    /// # Errors
    /// `FailedPrecondition` naming every destructive change that `permission` does not cover, `InvalidArgument` when
    /// `plan` was made for other definitions, `Conflict` when someone has applied since, and the errors of
    /// [`FeatureStoreBuilder::build`].
    pub async fn apply(self, plan: &Plan, permission: Permission) -> Result<FeatureStore> {
        all_faults("feature store", &self.faults())?;
        permitted(plan, permission)?;
        if plan.wanted() != &self.wanted() {
            return Err(Error::invalid_argument("the plan was made for other definitions; plan again"));
        }
        let definitions = self.definitions()?;
        let after = definitions.current().await?.after(plan, self.clock.now())?;
        let tables = self.open_tables(&after).await?;
        let views = self.resolve(&tables, &after)?;
        let labels = self.resolve_labels(&tables, &after)?;
        self.check_services(&views, &self.resolve_on_demand(&views, &after)?, &labels, &[])?;
        self.resolve_sources(&tables, &after)?;
        let applied = definitions.apply(plan, permission).await?;
        self.open(tables, applied).await
    }

    /// Opens tables and online store and checks every definition against them. Views and services that were applied
    /// to this root and are not added here are there as well, and every version of a view by `view@v2`.
    ///
    /// # Errors
    /// `InvalidArgument` that lists the faults of names and definitions, `NotFound` for a view's table that does not
    /// exist, and the errors of opening definitions, tables and the online store.
    pub async fn build(self) -> Result<FeatureStore> {
        all_faults("feature store", &self.faults())?;
        let applied = self.definitions()?.current().await?;
        let tables = self.open_tables(&applied).await?;
        self.open(tables, applied).await
    }

    async fn open(self, tables: BTreeMap<Arc<str>, Table>, applied: AppliedDefinitions) -> Result<FeatureStore> {
        let views = self.resolve(&tables, &applied)?;
        let known = applied.services().values().filter_map(|versions| Some(&versions.current()?.definition));
        let known = known.filter(|known| !self.services.iter().any(|service| service.name() == known.name()));
        let known: Vec<FeatureService> = known.cloned().collect();
        let on_demand = self.resolve_on_demand(&views, &applied)?;
        let labels = self.resolve_labels(&tables, &applied)?;
        if let Some(name) = labels.keys().find(|name| views.contains_key(*name) || on_demand.contains_key(*name)) {
            return Err(Error::invalid_argument(format!(
                "\"{name}\" is a label view and another view; call one of them otherwise"
            )));
        }
        self.check_services(&views, &on_demand, &labels, &known)?;
        let sources = self.resolve_sources(&tables, &applied)?;
        let online = match self.online {
            Some(online) => online,
            None => open_online(&self.root, self.settings.online.clone()).await?,
        };
        let services = self.services.into_iter().chain(known);
        let services = services.map(|service| (service.name().into(), service)).collect();
        let (checks, clock, bus, meter, settings) = (self.checks, self.clock, self.bus, self.meter, self.settings);
        FeatureStore::new(Parts {
            tables,
            views,
            on_demand,
            labels,
            services,
            sources,
            reach: self.reach,
            applied,
            checks,
            online,
            clock,
            bus,
            meter,
            settings,
        })
    }

    fn definitions(&self) -> Result<DefinitionStore> {
        DefinitionStore::open(&self.root, Arc::clone(&self.clock))
    }

    fn wanted(&self) -> Definitions {
        let sources = self.sources.iter().cloned().fold(Definitions::new(), Definitions::with_source);
        let views = self.views.iter().cloned().fold(sources, Definitions::with_view);
        let on_demand = self.on_demand.iter().map(|(view, _)| view.clone());
        let views = on_demand.fold(views, Definitions::with_on_demand_view);
        let views = self.labels.iter().cloned().fold(views, Definitions::with_label_view);
        self.services.iter().cloned().fold(views, Definitions::with_service)
    }

    fn location(&self, table: &str) -> String {
        format!("{}/tables/{table}", self.root.trim_end_matches('/'))
    }

    async fn open_tables(&self, applied: &AppliedDefinitions) -> Result<BTreeMap<Arc<str>, Table>> {
        let mut tables = BTreeMap::new();
        for (name, schema) in &self.tables {
            let (clock, settings) = (Arc::clone(&self.clock), self.settings.table.clone());
            let location = self.location(name);
            let table = Table::create_or_open(name, &location, Arc::clone(schema), clock, settings).await?;
            tables.insert(Arc::clone(name), table);
        }
        let current = applied.views().values().filter_map(|versions| versions.current());
        let current = current.map(|versioned| versioned.definition.table());
        let labels = applied.label_views().values().filter_map(|versions| versions.current());
        let labels = labels.map(|versioned| versioned.definition.table());
        let filled = applied.sources().values().filter_map(|versions| versions.current());
        let filled = filled.flat_map(|versioned| names_of(&versioned.definition));
        let added = self.views.iter().map(FeatureView::table).chain(self.sources.iter().flat_map(names_of));
        let added = added.chain(self.labels.iter().map(LabelView::table));
        for name in added.chain(current).chain(labels).chain(filled) {
            if !tables.contains_key(name) {
                let (clock, settings) = (Arc::clone(&self.clock), self.settings.table.clone());
                let table = Table::open(name, &self.location(name), clock, settings).await?;
                tables.insert(name.into(), table);
            }
        }
        Ok(tables)
    }

    /// Every view by its name, and by its name and version where it has one.
    fn resolve(
        &self,
        tables: &BTreeMap<Arc<str>, Table>,
        applied: &AppliedDefinitions,
    ) -> Result<BTreeMap<Arc<str>, Arc<ResolvedView>>> {
        all_versions(&self.views, applied.views(), |view| {
            let schema = schema_of(tables, view.table())?;
            ResolvedView::new(view.clone(), schema, self.settings.events_per_key_max)
        })
    }

    /// Every label view by its name, and by its name and version where it has one.
    fn resolve_labels(&self, tables: &BTreeMap<Arc<str>, Table>, applied: &AppliedDefinitions) -> Result<LabelViews> {
        all_versions(&self.labels, applied.label_views(), |view| {
            ResolvedLabels::new(view.clone(), schema_of(tables, view.table())?)
        })
    }

    /// Every on-demand view by its name, and by its name and version where it has one; with code those that were added,
    /// whatever version they are.
    fn resolve_on_demand(
        &self,
        views: &BTreeMap<Arc<str>, Arc<ResolvedView>>,
        applied: &AppliedDefinitions,
    ) -> Result<OnDemandViews> {
        let mut resolved = OnDemandViews::new();
        for (view, code) in &self.on_demand {
            let one = ResolvedOnDemand::new(view.clone(), views, Some(code.clone()))?;
            resolved.insert(view.name().into(), Arc::new(one));
        }
        for (name, versions) in applied.on_demand_views() {
            let current = versions.current().map(|current| current.version);
            for Versioned { version, digest, definition, .. } in versions.versions() {
                let is_current = current == Some(*version) && !resolved.contains_key(name);
                let added = resolved.get(name).filter(|added| added.view.digest().is_ok_and(|found| found == *digest));
                let one = match added {
                    Some(added) => Ok(Arc::clone(added)),
                    None => ResolvedOnDemand::new(definition.clone(), views, None).map(Arc::new),
                };
                match one {
                    Ok(one) => {
                        if is_current {
                            resolved.insert(Arc::clone(name), Arc::clone(&one));
                        }
                        resolved.insert(format!("{name}@v{version}").into(), one);
                    }
                    Err(error) if is_current => return Err(error),
                    // An old version that reads what is gone: whoever asks for it is told that it is not there.
                    Err(error) => tracing::debug!(view = %name, version, %error, "not readable"),
                }
            }
        }
        if let Some(name) = resolved.keys().find(|name| views.contains_key(*name)) {
            return Err(Error::invalid_argument(format!(
                "\"{name}\" is a feature view and an on-demand view; call one of them otherwise"
            )));
        }
        Ok(resolved)
    }

    /// Every source by the name of its table, which has the columns that the source speaks of.
    fn resolve_sources(
        &self,
        tables: &BTreeMap<Arc<str>, Table>,
        applied: &AppliedDefinitions,
    ) -> Result<BTreeMap<Arc<str>, Source>> {
        let current = applied.sources().values().filter_map(|versions| Some(&versions.current()?.definition));
        let current = current.filter(|known| !self.sources.iter().any(|added| added.name() == known.name()));
        let mut sources = BTreeMap::new();
        for source in self.sources.iter().chain(current) {
            let missing = || Error::not_found(format!("table \"{}\" of a source does not exist", source.name()));
            let schema = tables.get(source.name()).ok_or_else(missing)?.schema();
            let mut faults = Vec::new();
            let times = [Some(source.timestamp()), source.created()].into_iter().flatten();
            let others = source.renamed().map(|(column, _)| column).chain(source.optional());
            for (name, is_time) in times.map(|name| (name, true)).chain(others.map(|name| (name, false))) {
                match schema.field_with_name(name) {
                    Err(_) => faults.push(format!("its table has no column \"{name}\"")),
                    Ok(field) if is_time && !is_timestamp(field.data_type()) => {
                        faults.push(format!("column \"{name}\" is {}, which cannot be a time", field.data_type()));
                    }
                    Ok(_) => {}
                }
            }
            all_faults(&format!("source \"{}\"", source.name()), &faults)?;
            sources.insert(source.name().into(), source.clone());
        }
        all_faults("feature store", &circles(&sources))?;
        Ok(sources)
    }

    /// Every feature of every service is there.
    fn check_services(
        &self,
        views: &BTreeMap<Arc<str>, Arc<ResolvedView>>,
        on_demand: &OnDemandViews,
        labels: &LabelViews,
        applied: &[FeatureService],
    ) -> Result<()> {
        for feature in self.services.iter().chain(applied).flat_map(FeatureService::features) {
            if labels.contains_key(feature.view_key()) {
                return Err(Error::invalid_argument(format!(
                    "\"{feature}\" is a label, which nothing can serve; name it in the labels of the service"
                )));
            }
            let unknown = || Error::not_found(format!("feature \"{feature}\" is of a view that is not defined"));
            match on_demand.get(feature.view_key()) {
                Some(view) => drop(view.place(feature.feature())?),
                None => drop(views.get(feature.view_key()).ok_or_else(unknown)?.place(feature.feature())?),
            }
        }
        for label in self.services.iter().chain(applied).flat_map(FeatureService::labels) {
            let unknown = || Error::not_found(format!("label \"{label}\" is of a label view that is not defined"));
            labels.get(label.view_key()).ok_or_else(unknown)?.check(label.feature())?;
        }
        Ok(())
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, _) in &self.tables {
            faults.extend(check_name("table name", name).err().map(|error| error.to_string()));
        }
        let mut twice = |what: &str, names: Vec<&str>| {
            faults.extend(first_duplicate(names).map(|name| format!("{what} \"{name}\" is added twice")));
        };
        twice("table", self.tables.iter().map(|(name, _)| name.as_ref()).collect());
        twice("source", self.sources.iter().map(Source::name).collect());
        let on_demand = self.on_demand.iter().map(|(view, _)| view.name());
        let labels = self.labels.iter().map(LabelView::name);
        twice("view", self.views.iter().map(FeatureView::name).chain(on_demand).chain(labels).collect());
        twice("feature service", self.services.iter().map(FeatureService::name).collect());
        let views = self.views.iter().map(FeatureView::table).chain(self.sources.iter().map(Source::name));
        let views = views.chain(self.labels.iter().map(LabelView::table));
        let known: Vec<&str> = self.tables.iter().map(|(name, _)| name.as_ref()).chain(views).collect();
        for (name, _) in self.checks.iter().filter(|(name, _)| !known.contains(&name.as_ref())) {
            faults.push(format!("a check is for table \"{name}\", which is not added"));
        }
        faults
    }
}

/// The tables that `source` fills and reads.
fn names_of(source: &Source) -> impl Iterator<Item = &str> {
    [source.name()].into_iter().chain(source.input())
}

/// Tables that are derived from themselves by way of others.
fn circles(sources: &BTreeMap<Arc<str>, Source>) -> Vec<String> {
    let input = |name: &str| sources.get(name).and_then(Source::input);
    let returns = |name: &&Arc<str>| {
        // A way that is longer than there are sources goes in a circle, though perhaps not through `name`.
        let mut way = std::iter::successors(input(name), |table| input(table)).take(sources.len());
        way.any(|table| table == name.as_ref())
    };
    let circle = |name: &Arc<str>| format!("table \"{name}\" is derived from itself by way of others");
    sources.keys().filter(returns).map(circle).collect()
}

/// The columns of table `name`.
fn schema_of<'a>(tables: &'a BTreeMap<Arc<str>, Table>, name: &str) -> Result<&'a SchemaRef> {
    let missing = || Error::not_found(format!("table \"{name}\" does not exist"));
    Ok(tables.get(name).ok_or_else(missing)?.schema())
}

/// Every definition by its name, of those in force that are not `added` too, and by its name and version where it has
/// one.
fn all_versions<D: Definition, R>(
    added: &[D],
    applied: &BTreeMap<Arc<str>, Versions<D>>,
    resolve: impl Fn(&D) -> Result<R>,
) -> Result<BTreeMap<Arc<str>, Arc<R>>> {
    let mut resolved: BTreeMap<Arc<str>, Arc<R>> = BTreeMap::new();
    for definition in added {
        resolved.insert(definition.name().into(), Arc::new(resolve(definition)?));
    }
    for (name, versions) in applied {
        let current = versions.current().map(|current| current.version);
        for Versioned { version, definition, .. } in versions.versions() {
            let is_current = current == Some(*version) && !resolved.contains_key(name);
            match resolve(definition).map(Arc::new) {
                Ok(one) => {
                    if is_current {
                        resolved.insert(Arc::clone(name), Arc::clone(&one));
                    }
                    resolved.insert(format!("{name}@v{version}").into(), one);
                }
                Err(error) if is_current => return Err(error),
                // An old version whose table is gone: whoever asks for it is told that it is not there.
                Err(error) => tracing::debug!(view = %name, version, %error, "not readable"),
            }
        }
    }
    Ok(resolved)
}

/// What [`Table::create_or_open`] would do.
async fn table_changes(
    name: &str,
    location: &str,
    schema: &SchemaRef,
    clock: Arc<dyn Clock>,
    settings: TableSettings,
) -> Result<Vec<Change>> {
    let subject = Subject::new(SubjectKind::Table, name);
    let compatibility = settings.compatibility;
    let steps = match Table::open(name, location, clock, settings).await {
        Ok(table) => table.steps_to(schema, compatibility).await?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let columns = schema.fields().len();
            return Ok(vec![Change::new(ChangeClass::Additive, &subject, format!("is created: {columns} columns"))]);
        }
        Err(error) => return Err(error),
    };
    let change = |step: Step| {
        let class = if matches!(step, Step::Relax(_)) { ChangeClass::Destructive } else { ChangeClass::Additive };
        Change::new(class, &subject, step.to_string())
    };
    Ok(steps.into_iter().map(change).collect())
}

async fn open_online(root: &str, settings: RedbSettings) -> Result<Arc<dyn OnlineStore>> {
    if root.contains("://") {
        return Err(Error::invalid_argument(format!(
            "{root} is not a local directory, so there is no place for online.redb; hand in an online store"
        )));
    }
    let path = Path::new(root).join("online.redb");
    let work = move || {
        if let Some(parent) = path.parent() {
            let fail = |error| Error::unavailable(format!("cannot create {}", parent.display())).with_source(error);
            std::fs::create_dir_all(parent).map_err(|error: std::io::Error| fail(error))?;
        }
        RedbOnlineStore::open(&path, settings)
    };
    let store = tokio::task::spawn_blocking(work).await;
    Ok(Arc::new(store.map_err(|_| Error::internal("opening the online store panicked"))??))
}
