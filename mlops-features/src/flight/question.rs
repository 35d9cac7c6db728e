//! A ticket resolved against the store: allowed, bounded, typed, and its answer's schema known, before anything is
//! read. Who may not read what a ticket names does not learn whether it is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use mlops_core::{Action, Error, ErrorKind, FeatureRef, Principal, Resource, Result, Timestamp};
use serde_json::Value as Json;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    FlightTicket, Inner, OnlineTicket, Spine, TrainingSetTicket,
    pieces::{in_pieces, in_turn, joined},
    spine::SpineRows,
};
use crate::{
    FeatureService, OfflineStore, ReadPlan,
    definition::{EVENT_TIMESTAMP, first_duplicate},
    feast::column,
    offline::HistoricalOptions,
    table::Scan,
};

/// A question ready to be answered.
pub(super) struct Question {
    /// The columns of the answer.
    pub(super) schema: SchemaRef,
    /// The ticket with what it left open written down.
    pub(super) ticket: FlightTicket,
    /// How many rows the answer has, where that is known.
    pub(super) rows: Option<usize>,
    body: Body,
}

enum Body {
    Online { plan: ReadPlan, entities: RecordBatch, as_of: Option<Timestamp> },
    TrainingSet { service: FeatureService, options: HistoricalOptions, spine: SpineRows },
}

impl Inner {
    /// Refuses a request that does not say who sends it, where that matters.
    pub(super) fn check_sender(&self, principal: Option<&Principal>) -> Result<()> {
        match (&self.authorizer, principal) {
            (Some(_), None) => Err(Error::new(ErrorKind::Unauthenticated, "the request does not say who sends it")),
            _ => Ok(()),
        }
    }

    /// Resolves `ticket` for `principal`.
    pub(super) async fn question(&self, ticket: FlightTicket, principal: Option<&Principal>) -> Result<Question> {
        match ticket {
            FlightTicket::Online(asked) => self.online(asked, principal).await,
            FlightTicket::TrainingSet(asked) => self.training_set(asked, principal).await,
        }
    }

    /// The rows of the answer.
    pub(super) async fn answer(self: Arc<Self>, question: Question) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let Question { schema, body, .. } = question;
        match body {
            Body::Online { plan, entities, as_of } => {
                let as_of = as_of.unwrap_or_else(|| self.clock.now());
                let found = self.store.reader().read(&plan, &entities, as_of).await?;
                let keys = entities.columns().iter().take(schema.fields().len() - found.columns().len());
                let columns = keys.chain(found.columns()).cloned().collect();
                Ok(stream::once(async move { batch(&schema, columns, entities.num_rows()) }).boxed())
            }
            Body::TrainingSet { service, options, spine } => {
                let open = self.open_stream()?;
                let pieces = match spine {
                    SpineRows::Rows(rows) => stream::once(async move { Ok(vec![rows]) }).boxed(),
                    SpineRows::Table(table, scan) => {
                        in_pieces(table.scan(scan).await?, self.settings.piece_rows).boxed()
                    }
                };
                let asked = Arc::new((self.store.offline(), service, options));
                let join = move |piece| {
                    let asked = Arc::clone(&asked);
                    async move {
                        let (offline, service, options) = asked.as_ref();
                        let piece = joined(piece).await?;
                        Ok(offline.get_historical_opts(&piece, service, options).await?.batch)
                    }
                };
                Ok(in_turn(pieces, Arc::clone(&self.training_sets), open, join).boxed())
            }
        }
    }

    fn open_stream(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            Error::resource_exhausted(format!(
                "{} training sets are being sent, as many as are allowed; ask again later",
                self.settings.streams_max
            ))
        })
    }

    /// Whether `principal` may read this; everybody may where there is no authorizer.
    async fn allow(&self, principal: Option<&Principal>, kind: &str, name: &str) -> Result<()> {
        self.check_sender(principal)?;
        let (Some(authorizer), Some(principal)) = (&self.authorizer, principal) else { return Ok(()) };
        authorizer.authorize(principal, Action::Read, &Resource::new(kind, name)).await
    }

    /// Service `name`, all of whose feature views `principal` may read. Where there is an authorizer, a service that is
    /// not there and one that may not be read are refused in the same words.
    async fn service(&self, name: &str, principal: Option<&Principal>) -> Result<(&FeatureService, &ReadPlan)> {
        let (service, plan) = match (self.store.service(name), self.store.service_plan(name)) {
            (Ok(service), Ok(plan)) => (service, plan),
            (Err(error), _) | (_, Err(error)) if self.authorizer.is_none() => return Err(error),
            _ => return Err(hidden(name, principal)),
        };
        for view in plan.view_names() {
            self.allow(principal, "feature_view", view).await.map_err(|error| hide(error, name, principal))?;
        }
        Ok((service, plan))
    }

    /// The plan of `features`, all of whose views `principal` may read.
    async fn plan(&self, features: &[String], principal: Option<&Principal>) -> Result<ReadPlan> {
        at_most("features", features.len(), self.settings.features_max)?;
        let features = features.iter().map(|text| text.parse()).collect::<Result<Vec<FeatureRef>>>()?;
        let named: BTreeSet<&str> = features.iter().map(FeatureRef::view).collect();
        for view in &named {
            self.allow(principal, "feature_view", view).await?;
        }
        let plan = self.store.reader().plan(&features)?;
        // On-demand views read others.
        for view in plan.view_names().filter(|view| !named.contains(view)) {
            self.allow(principal, "feature_view", view).await?;
        }
        Ok(plan)
    }

    async fn online(&self, asked: OnlineTicket, principal: Option<&Principal>) -> Result<Question> {
        let plan = match (&asked.service, asked.features.as_slice()) {
            (Some(name), []) => self.service(name, principal).await?.1.clone(),
            (None, features) if !features.is_empty() => self.plan(features, principal).await?,
            _ => return Err(Error::invalid_argument("a ticket names either a service or features, and one of them")),
        };
        let keys = plan.join_keys();
        let mut wanted = keys.clone();
        add_fields(&mut wanted, plan.request());
        let entities = self.rows("entities", &asked.entities, &wanted)?;
        let names = keys.iter().map(|key| key.name().as_str()).chain(plan.features().iter().map(FeatureRef::feature));
        if let Some(twice) = first_duplicate(names) {
            return Err(Error::invalid_argument(format!("column \"{twice}\" would occur twice in the answer")));
        }
        let fields: Vec<_> = keys.into_iter().map(Arc::new).chain(plan.fields().iter().cloned()).collect();
        let (schema, rows, as_of) = (Arc::new(Schema::new(fields)), Some(entities.num_rows()), asked.as_of);
        let ticket = FlightTicket::Online(asked);
        Ok(Question { schema, ticket, rows, body: Body::Online { plan, entities, as_of } })
    }

    async fn training_set(&self, mut asked: TrainingSetTicket, principal: Option<&Principal>) -> Result<Question> {
        let (service, plan) = self.service(&asked.service, principal).await?;
        for label in service.labels() {
            let allowed = self.allow(principal, "label_view", self.store.label_view(label.view_key())?.name()).await;
            allowed.map_err(|error| hide(error, &asked.service, principal))?;
        }
        let service = service.clone();
        let mut timestamp = EVENT_TIMESTAMP.to_owned();
        let spine = match &mut asked.spine {
            Spine::Rows(columns) => {
                let mut wanted = plan.join_keys();
                for label in service.labels() {
                    add_fields(&mut wanted, self.store.label_keys(label.view_key())?);
                }
                let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
                add_fields(&mut wanted, [Field::new(EVENT_TIMESTAMP, time, true)]);
                add_fields(&mut wanted, plan.request());
                SpineRows::Rows(self.rows("spine rows", columns, &wanted)?)
            }
            Spine::Table(named) => {
                self.allow(principal, "table", &named.name).await?;
                let table = self.store.table(&named.name)?;
                let version = match named.version {
                    Some(version) => version,
                    None => table.version().await?,
                };
                named.version = Some(version);
                timestamp = named.timestamp.clone().unwrap_or(timestamp);
                let mut scan = Scan::latest().at_version(version).with_time(&timestamp, named.after, named.until);
                if !named.columns.is_empty() {
                    scan = scan.with_columns(&named.columns);
                }
                SpineRows::Table(table, scan)
            }
        };
        let (knowledge, as_of, labels_known_by) = (asked.knowledge, asked.as_of, asked.labels_known_by);
        let versions = asked.versions.clone();
        let mut options = HistoricalOptions { timestamp, knowledge, versions, as_of, labels_known_by };
        // A training set of no rows reads nothing, and tells the columns and the versions.
        let nothing = RecordBatch::new_empty(spine.schema()?);
        let set = self.store.offline().get_historical_opts(&nothing, &service, &options).await?;
        let versions: BTreeMap<String, u64> =
            set.data_versions.into_iter().map(|(table, data)| (table, data.version)).collect();
        if let Some(unread) = options.versions.keys().find(|table| !versions.contains_key(*table)) {
            let read: Vec<&str> = versions.keys().map(String::as_str).collect();
            return Err(Error::invalid_argument(format!(
                "the ticket has a version of table \"{unread}\", which is not read for the features or labels; those are {}",
                read.join(", ")
            )));
        }
        options.versions = versions;
        asked.versions.clone_from(&options.versions);
        let (schema, rows) = (set.batch.schema(), spine.rows());
        let ticket = FlightTicket::TrainingSet(asked);
        Ok(Question { schema, ticket, rows, body: Body::TrainingSet { service, options, spine } })
    }

    /// The columns `wanted`, typed; all must be there, and no others.
    fn rows(&self, what: &str, columns: &BTreeMap<String, Vec<Json>>, wanted: &[Field]) -> Result<RecordBatch> {
        let rows = columns.values().next().map_or(1, Vec::len);
        at_most(what, rows, self.settings.rows_max)?;
        if columns.values().any(|values| values.len() != rows) {
            return Err(Error::invalid_argument(format!("the columns of the {what} must have equally many values")));
        }
        let known = |name: &str| wanted.iter().any(|field| field.name() == name);
        if let Some(unknown) = columns.keys().find(|name| !known(name)) {
            let names: Vec<&str> = wanted.iter().map(|field| field.name().as_str()).collect();
            return Err(Error::invalid_argument(format!(
                "the {what} have the column \"{unknown}\"; they may have {}",
                names.join(", ")
            )));
        }
        let one = |field: &Field| {
            let missing = || Error::invalid_argument(format!("the {what} lack the column \"{}\"", field.name()));
            column(field.name(), columns.get(field.name()).ok_or_else(missing)?, field.data_type())
        };
        let arrays = wanted.iter().map(one).collect::<Result<_>>()?;
        batch(&Arc::new(Schema::new(wanted.to_vec())), arrays, rows)
    }
}

/// What is said of a service that `principal` may not read, or that is not there.
fn hidden(service: &str, principal: Option<&Principal>) -> Error {
    let who = principal.map_or("nobody", |principal| principal.name.as_str());
    Error::new(ErrorKind::PermissionDenied, format!("{who} may not read feature service \"{service}\""))
}

/// `error` without the names of the views that it may tell.
fn hide(error: Error, service: &str, principal: Option<&Principal>) -> Error {
    if error.kind() == ErrorKind::PermissionDenied { hidden(service, principal).with_source(error) } else { error }
}

fn batch(schema: &SchemaRef, columns: Vec<arrow_array::ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// Adds those of `more` that are not there by name.
fn add_fields(fields: &mut Vec<Field>, more: impl IntoIterator<Item = Field>) {
    for field in more {
        if fields.iter().all(|known| known.name() != field.name()) {
            fields.push(field);
        }
    }
}

/// Refuses more than `most` of something.
fn at_most(what: &str, found: usize, most: usize) -> Result<()> {
    if found <= most {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("{found} {what} in one ticket; at most {most} are allowed")))
}
