//! Where the `mlops` SDK keeps its state.
//!
//! | look for | in |
//! |---|---|
//! | the metadata database: one SQLite file, or PostgreSQL (feature `postgres`) | [`meta`] |
//! | transactions that several crates join, forward-only migrations | [`meta`] |
//! | content-addressed blobs on any `object_store` URL | [`blob`] |
//! | a home directory that one process at a time may use | [`home`] |
//! | an audit row written in the transaction of the action it records | [`audit`] |
//! | the promises every back end keeps, as tests | `conformance` (feature `conformance`) |
//!
//! ```
//! use mlops_store::{MetaStore, MetaStoreExt, SqliteMetaStore, params};
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let store = SqliteMetaStore::in_memory().await?;
//! let mut tx = store.begin().await?;
//! tx.execute("CREATE TABLE note (id BIGINT PRIMARY KEY, text TEXT NOT NULL)", &[]).await?;
//! tx.execute("INSERT INTO note VALUES ($1, $2)", params![1, "kept"]).await?;
//! tx.commit().await?;
//!
//! let row = store.query_one("SELECT text FROM note WHERE id = $1", params![1]).await?;
//! assert_eq!(row.get::<String>("text")?, "kept");
//! # Ok::<(), mlops_core::Error>(())
//! # }).unwrap();
//! ```

pub mod audit;
pub mod blob;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod home;
pub mod meta;

pub use audit::TransactionalAudit;
pub use blob::{BlobEntry, BlobSettings, BlobStore, ByteStream};
pub use home::Home;
#[cfg(feature = "postgres")]
pub use meta::PostgresMetaStore;
pub use meta::{
    Dialect, Job, MetaStore, MetaStoreExt, Migration, Migrations, Row, SqliteMetaStore, SqliteSettings, Transaction,
    TransactionExt, Value, Work,
};
