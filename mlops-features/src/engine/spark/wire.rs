//! The messages of Spark Connect that are spoken here, field for field as `spark/connect/*.proto` of Spark 4.2 numbers
//! them. Written by hand, so that no build needs `protoc`; fields that are never sent or read are left out.

use bytes::Bytes;
use prost::{Message, Oneof};

/// The service's methods.
pub(super) mod method {
    pub(crate) const EXECUTE_PLAN: &str = "/spark.connect.SparkConnectService/ExecutePlan";
    pub(crate) const CONFIG: &str = "/spark.connect.SparkConnectService/Config";
    pub(crate) const RELEASE_SESSION: &str = "/spark.connect.SparkConnectService/ReleaseSession";
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct UserContext {
    #[prost(string, tag = "1")]
    pub(super) user_id: String,
    #[prost(string, tag = "2")]
    pub(super) user_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ExecutePlanRequest {
    #[prost(string, tag = "1")]
    pub(super) session_id: String,
    #[prost(message, optional, tag = "2")]
    pub(super) user_context: Option<UserContext>,
    #[prost(message, optional, tag = "3")]
    pub(super) plan: Option<Plan>,
    #[prost(string, optional, tag = "4")]
    pub(super) client_type: Option<String>,
}

/// A plan whose rows are asked for.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Plan {
    #[prost(message, optional, tag = "1")]
    pub(super) root: Option<Relation>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Relation {
    #[prost(message, optional, tag = "1")]
    pub(super) common: Option<RelationCommon>,
    #[prost(oneof = "RelationType", tags = "2, 10, 11, 16, 41")]
    pub(super) kind: Option<RelationType>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RelationCommon {
    #[prost(int64, optional, tag = "2")]
    pub(super) plan_id: Option<i64>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum RelationType {
    #[prost(message, tag = "2")]
    Read(Read),
    #[prost(message, tag = "10")]
    Sql(Sql),
    #[prost(message, tag = "11")]
    Local(LocalRelation),
    #[prost(message, tag = "16")]
    Alias(Box<SubqueryAlias>),
    #[prost(message, tag = "41")]
    With(Box<WithRelations>),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Read {
    #[prost(message, optional, tag = "2")]
    pub(super) data_source: Option<DataSource>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DataSource {
    #[prost(string, optional, tag = "1")]
    pub(super) format: Option<String>,
    #[prost(string, repeated, tag = "4")]
    pub(super) paths: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Sql {
    #[prost(string, tag = "1")]
    pub(super) query: String,
}

/// Rows as an Arrow IPC stream.
#[derive(Clone, PartialEq, Message)]
pub(super) struct LocalRelation {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub(super) data: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SubqueryAlias {
    #[prost(message, optional, tag = "1")]
    pub(super) input: Option<Relation>,
    #[prost(string, tag = "2")]
    pub(super) alias: String,
}

/// A query and the relations that it names.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WithRelations {
    #[prost(message, optional, tag = "1")]
    pub(super) root: Option<Relation>,
    #[prost(message, repeated, tag = "2")]
    pub(super) references: Vec<Relation>,
}

/// Of all responses only those that carry rows are of interest.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ExecutePlanResponse {
    #[prost(message, optional, tag = "2")]
    pub(super) arrow_batch: Option<ArrowBatch>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ArrowBatch {
    #[prost(int64, tag = "1")]
    pub(super) row_count: i64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) data: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ConfigRequest {
    #[prost(string, tag = "1")]
    pub(super) session_id: String,
    #[prost(message, optional, tag = "2")]
    pub(super) user_context: Option<UserContext>,
    #[prost(message, optional, tag = "3")]
    pub(super) operation: Option<ConfigOperation>,
    #[prost(string, optional, tag = "4")]
    pub(super) client_type: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ConfigOperation {
    #[prost(message, optional, tag = "1")]
    pub(super) set: Option<ConfigSet>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ConfigSet {
    #[prost(message, repeated, tag = "1")]
    pub(super) pairs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, optional, tag = "2")]
    pub(super) value: Option<String>,
}

/// What was set is not asked for.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ConfigResponse {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ReleaseSessionRequest {
    #[prost(string, tag = "1")]
    pub(super) session_id: String,
    #[prost(message, optional, tag = "2")]
    pub(super) user_context: Option<UserContext>,
    #[prost(string, optional, tag = "3")]
    pub(super) client_type: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ReleaseSessionResponse {}
