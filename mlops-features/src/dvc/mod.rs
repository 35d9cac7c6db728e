//! DVC repositories, read and written as DVC 3 does, so that the real `dvc` and this crate work on the same data.
//!
//! [`DvcRepo`] adds files and directories, checks them out, pushes and pulls them and says what changed; a stage of a
//! pipeline is committed to `dvc.lock`, a version of a [`crate::Table`] is added as files. What is written (`.dvc`,
//! `dvc.lock`, `.dir` objects, `.gitignore`) is byte for byte what dvc 3.67.1 writes; what DVC 2 wrote is read.
//!
//! Guarantees: objects are hashed on their way in and out, so that a damaged one is found, named and not spread; files
//! appear whole; a directory's listing is pushed after its files; nothing in the workspace is overwritten whose content
//! is not in the cache; a foreign file cannot name a path outside of the repository. Every operation can be repeated
//! after a crash and goes on where it was.
//!
//! ```
//! use mlops_features::dvc::DvcRepo;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let home = tempfile::tempdir()?;
//! let repo = DvcRepo::init(home.path()).await?.add_remote("store", "../remote").await?;
//! std::fs::write(home.path().join("data.csv"), "a,b\n1,2\n")?;
//! let added = repo.add("data.csv").await?;
//! assert_eq!(added.file, "data.csv.dvc");
//! repo.push(["data.csv"]).await?;
//! std::fs::remove_file(home.path().join("data.csv"))?;
//! repo.pull(["data.csv"]).await?;
//! assert_eq!(std::fs::read_to_string(home.path().join("data.csv"))?, "a,b\n1,2\n");
//! assert!(repo.status(["data.csv"]).await?.iter().all(|output| output.is_clean()));
//! # Ok(())
//! # }
//! ```
//!
//! Not here: running stages, templates of `dvc.yaml`, imports, version-aware remotes, outputs outside of the repository.
//! Such entries are refused by name.

mod atomic;
mod config;
mod dvc_file;
mod fault;
mod hashing;
mod ignore;
mod lock_file;
mod objects;
mod oid;
mod output;
mod params;
mod paths;
mod remote;
mod repo;
mod repo_lock;
mod stage;
mod stat_cache;
mod table;
mod tree;
mod walk;
mod yaml;

pub use oid::{Layout, ObjectId};
pub use output::Output;
pub use repo::{
    Added, CheckoutOptions, CheckoutReport, Committed, DvcRepo, DvcSettings, OutputStatus, TransferReport, Workspace,
};
