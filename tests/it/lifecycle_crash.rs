//! A process that is killed at any moment, again and again, ends with what one that never died ends with.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
    process::Stdio,
    thread,
    time::Duration,
};

use mlops::store::{MetaStore as _, MetaStoreExt as _, SqliteMetaStore, SqliteSettings};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::lifecycle::{differences, lifecycle, reproducible, results};

const ARGUMENTS: &[&str] = &["--events", "6000", "--json"];
const KILLS: usize = 20;
const SEED: u64 = 20;

fn versions(results: &Value) -> Vec<u64> {
    results["versions"].as_array().unwrap().iter().map(|version| version["version"].as_u64().unwrap()).collect()
}

/// What an upload that was killed leaves until it has expired, which keeps the collector of garbage from its files.
const OF_UPLOADS: [&str; 2] = ["registry_pin", "registry_upload"];

/// How much there is of everything that must not be doubled: rows of each table of the metadata.
fn rows_by_table(home: &Path) -> BTreeMap<String, i64> {
    let count = async {
        let meta = SqliteMetaStore::open(&home.join("meta.db"), SqliteSettings::default()).await?;
        let mut rows = BTreeMap::new();
        for table in meta.query("SELECT name FROM sqlite_master WHERE type = 'table'", &[]).await? {
            let name: String = table.get("name")?;
            if OF_UPLOADS.contains(&name.as_str()) {
                continue;
            }
            let sql = format!("SELECT COUNT(*) AS n FROM {name}");
            rows.insert(name, meta.query_one(&sql, &[]).await?.get("n")?);
        }
        Ok::<_, mlops::Error>(rows)
    };
    tokio::runtime::Runtime::new().unwrap().block_on(count).unwrap()
}

/// Kills the program at random times until it ends by itself; its results and the number of kills.
fn run_with_kills(home: &Path, rng: &mut ChaCha8Rng) -> (Value, usize) {
    let answer = home.with_extension("json");
    for kills in 0..200 {
        let mut program = lifecycle(home, ARGUMENTS);
        let mut process = program.stdout(File::create(&answer).unwrap()).stderr(Stdio::piped()).spawn().unwrap();
        // Longer and longer, so that a slow machine, too, finishes a task between two kills.
        thread::sleep(Duration::from_millis(rng.random_range(20..1_000 + 250 * kills as u64)));
        process.kill().unwrap();
        let output = process.wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            None => {}
            Some(0) => return (serde_json::from_slice(&fs::read(&answer).unwrap()).unwrap(), kills),
            Some(code) => panic!("seed {SEED}: after {kills} kills it ended with {code}: {complaint}"),
        }
    }
    panic!("seed {SEED}: 200 kills and no end: delays are too short for this machine");
}

#[test]
fn kills_lose_nothing_and_double_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("calm");
    let calm = lifecycle(&home, ARGUMENTS).output().unwrap();
    let rows = rows_by_table(&home);
    let expected = reproducible(results(&calm));
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let (mut kills, mut round) = (0, 0);
    while kills < KILLS {
        let home = directory.path().join(format!("round-{round}"));
        let (survived, killed) = run_with_kills(&home, &mut rng);
        let differences = differences(&reproducible(survived), &expected);
        assert!(differences.is_empty(), "seed {SEED}, round {round}: {differences:#?}");
        assert_eq!(rows_by_table(&home), rows, "seed {SEED}, round {round}");
        (kills, round) = (kills + killed, round + 1);
    }
    println!("{kills} kills in {round} rounds");
}

#[test]
fn a_second_run_continues_with_the_next_versions() {
    let home = tempfile::tempdir().unwrap();
    let first = results(&lifecycle(home.path(), ARGUMENTS).output().unwrap());
    let second = results(&lifecycle(home.path(), ARGUMENTS).output().unwrap());
    assert_eq!(second["campaign"].as_u64(), first["campaign"].as_u64().map(|campaign| campaign + 1));
    let numbers: Vec<u64> = versions(&first).into_iter().chain(versions(&second)).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_cleanly_and_the_same_command_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("home");
    let process = lifecycle(&home, ARGUMENTS).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !home.join("meta.db").exists() {
        thread::yield_now();
    }
    // Past the start-up, in which there is nothing to stop yet.
    thread::sleep(Duration::from_millis(500));
    let sent = std::process::Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = process.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{complaint}");
    assert!(complaint.contains("run the same command to continue"), "{complaint}");
    let resumed = results(&lifecycle(&home, ARGUMENTS).output().unwrap());
    assert_eq!(resumed["campaign"], 1, "the stopped run went on");
}
