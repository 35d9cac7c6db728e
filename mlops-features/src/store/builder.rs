//! Opening a feature store: everything is checked before anything is handed out.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use arrow_schema::SchemaRef;
use mlops_core::{BatchCheck, Clock, Error, EventBus, Result, SystemClock};
use serde::{Deserialize, Serialize};

use super::{FeatureStore, Parts};
use crate::{
    definition::{FeatureService, FeatureView, all_faults, check_name, first_duplicate},
    join::JoinSettings,
    online::{OnlineStore, RedbOnlineStore, RedbSettings, ResolvedView},
    table::{Table, TableSettings},
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
}

impl Default for FeatureStoreSettings {
    fn default() -> Self {
        Self {
            table: TableSettings::default(),
            join: JoinSettings::default(),
            online: RedbSettings::default(),
            events_per_key_max: 10_000,
            materialize_rows_per_write: 100_000,
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
    online: Option<Arc<dyn OnlineStore>>,
    tables: Vec<(Arc<str>, SchemaRef)>,
    views: Vec<FeatureView>,
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
            online: None,
            tables: Vec::new(),
            views: Vec::new(),
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

    /// Serves from `online` instead of the redb file `online.redb` in the root directory.
    pub fn with_online(mut self, online: Arc<dyn OnlineStore>) -> Self {
        self.online = Some(online);
        self
    }

    /// Adds table `name`, created with `schema` when there is none.
    pub fn with_table(mut self, name: impl AsRef<str>, schema: SchemaRef) -> Self {
        self.tables.push((name.as_ref().into(), schema));
        self
    }

    /// Adds a view; its table must be there or be added.
    pub fn with_view(mut self, view: FeatureView) -> Self {
        self.views.push(view);
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

    /// Opens tables and online store and checks every definition against them.
    ///
    /// # Errors
    /// `InvalidArgument` that lists the faults of names and definitions, `NotFound` for a view's table that does not
    /// exist, and the errors of opening tables and the online store.
    pub async fn build(self) -> Result<FeatureStore> {
        all_faults("feature store", &self.faults())?;
        let mut tables = BTreeMap::new();
        for (name, schema) in &self.tables {
            let (clock, settings) = (Arc::clone(&self.clock), self.settings.table.clone());
            let location = self.location(name);
            let table = Table::create_or_open(name, &location, Arc::clone(schema), clock, settings).await?;
            tables.insert(Arc::clone(name), table);
        }
        for view in self.views.iter().filter(|view| !self.tables.iter().any(|(name, _)| **name == *view.table())) {
            let (clock, settings) = (Arc::clone(&self.clock), self.settings.table.clone());
            let table = Table::open(view.table(), &self.location(view.table()), clock, settings).await?;
            tables.insert(view.table().into(), table);
        }
        let views = self.resolve(&tables)?;
        for feature in self.services.iter().flat_map(FeatureService::features) {
            let unknown = || Error::not_found(format!("feature \"{feature}\" is of a view that is not defined"));
            views.get(feature.view()).ok_or_else(unknown)?.place(feature.feature())?;
        }
        let online = match self.online {
            Some(online) => online,
            None => open_online(&self.root, self.settings.online.clone()).await?,
        };
        let services = self.services.into_iter().map(|service| (service.name().into(), service)).collect();
        let (checks, clock, bus, settings) = (self.checks, self.clock, self.bus, self.settings);
        Ok(FeatureStore::new(Parts { tables, views, services, checks, online, clock, bus, settings }))
    }

    fn location(&self, table: &str) -> String {
        format!("{}/tables/{table}", self.root.trim_end_matches('/'))
    }

    fn resolve(&self, tables: &BTreeMap<Arc<str>, Table>) -> Result<BTreeMap<Arc<str>, Arc<ResolvedView>>> {
        let resolve = |view: &FeatureView| {
            let missing = || Error::not_found(format!("table \"{}\" does not exist", view.table()));
            let table = tables.get(view.table()).ok_or_else(missing)?;
            let resolved = ResolvedView::new(view.clone(), table.schema(), self.settings.events_per_key_max)?;
            Ok((Arc::from(view.name()), Arc::new(resolved)))
        };
        self.views.iter().map(resolve).collect()
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
        twice("feature view", self.views.iter().map(FeatureView::name).collect());
        twice("feature service", self.services.iter().map(FeatureService::name).collect());
        let views = self.views.iter().map(FeatureView::table);
        let known: Vec<&str> = self.tables.iter().map(|(name, _)| name.as_ref()).chain(views).collect();
        for (name, _) in self.checks.iter().filter(|(name, _)| !known.contains(&name.as_ref())) {
            faults.push(format!("a check is for table \"{name}\", which is not added"));
        }
        faults
    }
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
