//! Works on a DVC repository as `dvc` would: `dvc_repo add|checkout|push|pull|commit REPO PATH...`. Exit 2 with one
//! sentence on bad input. `commit` takes the names of stages.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};
use mlops_core::Result;
use mlops_features::dvc::DvcRepo;

/// One operation on a DVC repository.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to do.
    operation: Operation,
    /// Root of the repository, the directory with .dvc.
    repo: PathBuf,
    /// Data, .dvc files or (for commit) stages; none means all of them.
    paths: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Operation {
    /// Takes files and directories into the cache and writes their .dvc files.
    Add,
    /// Puts them in place as recorded, from the cache.
    Checkout,
    /// Sends their content to the remote.
    Push,
    /// Brings their content from the remote, then checks out.
    Pull,
    /// Records that stages ran in dvc.lock.
    Commit,
    /// Says what differs, one line each.
    Status,
}

fn main() -> ExitCode {
    mlops_conformance::end_of_async("dvc_repo", run(&Arguments::parse()))
}

async fn run(arguments: &Arguments) -> Result<()> {
    let repo = DvcRepo::open(&arguments.repo).await?;
    let paths = &arguments.paths;
    match arguments.operation {
        Operation::Add => {
            for path in paths {
                println!("{}", repo.add(path).await?.file);
            }
        }
        Operation::Checkout => {
            let report = repo.checkout(paths).await?;
            println!("{} restored, {} removed, {} unchanged", report.restored, report.removed, report.unchanged);
        }
        Operation::Push => {
            let report = repo.push(paths).await?;
            println!("{} objects of {} bytes sent, {} there already", report.objects, report.bytes, report.present);
        }
        Operation::Pull => {
            let (fetched, report) = repo.pull(paths).await?;
            println!(
                "{} objects of {} bytes received, {} files restored",
                fetched.objects, fetched.bytes, report.restored
            );
        }
        Operation::Commit => {
            for stage in paths {
                println!("{}", repo.commit(stage).await?.file);
            }
        }
        Operation::Status => {
            for status in repo.status(paths).await?.iter().filter(|status| !status.is_clean()) {
                println!("{}: {:?}, cached {}", status.output.path, status.workspace, status.cached);
            }
        }
    }
    Ok(())
}
