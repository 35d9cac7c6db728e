//! The active files of a Delta table, by its log (<https://github.com/delta-io/delta/blob/master/PROTOCOL.md>).
//!
//! Reads checkpoints and commits of tables whose files hold their rows as they are. What would change the meaning of the
//! files (deletion vectors, renamed columns) is refused, never overlooked. Partition columns are not in the files, so a
//! model cannot ask for them here.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
};

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, cast::AsArray as _, types::Int32Type};
use arrow_cast::cast;
use arrow_schema::DataType;
use mlops_core::{Error, ErrorKind, Result};
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};
use serde::Deserialize;

use super::{
    fault::{about, of_disk, of_reading, of_rows},
    input::plain,
};

/// The folder of the log.
pub(super) const LOG: &str = "_delta_log";
/// Features of readers that do not change what the files hold; deletion vectors are looked for file by file.
const FEATURES: [&str; 4] = ["timestampNtz", "deletionVectors", "v2Checkpoint", "vacuumProtocolCheck"];

/// A line of a commit; other actions say nothing about files.
#[derive(Debug, Deserialize)]
struct Action {
    add: Option<FileAction>,
    remove: Option<FileAction>,
    protocol: Option<Protocol>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileAction {
    path: String,
    #[serde(default)]
    deletion_vector: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Protocol {
    min_reader_version: i32,
    #[serde(default)]
    reader_features: Vec<String>,
}

/// What the log said so far.
#[derive(Debug, Default)]
struct Snapshot {
    active: BTreeSet<String>,
    protocol: bool,
}

/// The files that hold the newest version's rows, by their paths below the table.
///
/// # Errors
/// `FailedPrecondition` for a table that needs more than this reader knows; `DataLoss` when the log is damaged or
/// incomplete; what the disk refuses.
pub(super) fn active_files(table: &Path) -> Result<BTreeSet<String>> {
    let log = Log::list(&table.join(LOG))?;
    let mut snapshot = Snapshot::default();
    for file in log.checkpoint.iter().flat_map(|(_, files)| files) {
        snapshot.read_checkpoint(file)?;
    }
    let first = log.checkpoint.as_ref().map_or(0, |(version, _)| version + 1);
    for (next, (version, commit)) in (first..).zip(log.commits.range((first, PathBuf::new())..)) {
        if *version != next {
            let text = format!("is a Delta table whose log lacks version {next}");
            return Err(about(ErrorKind::DataLoss, table, text));
        }
        snapshot.read_commit(commit)?;
    }
    if !snapshot.protocol {
        return Err(about(ErrorKind::DataLoss, table, "is a Delta table whose log tells no protocol"));
    }
    snapshot.active.iter().map(|path| plain(Path::new(&decoded(path)?))).collect()
}

/// The files of a log that count.
#[derive(Debug)]
struct Log {
    /// The newest whole checkpoint.
    checkpoint: Option<(u64, Vec<PathBuf>)>,
    commits: BTreeSet<(u64, PathBuf)>,
}

impl Log {
    fn list(folder: &Path) -> Result<Self> {
        let (mut commits, mut checkpoints) =
            (BTreeSet::new(), std::collections::BTreeMap::<(u64, u64), Vec<PathBuf>>::new());
        for entry in fs::read_dir(folder).map_err(|error| of_disk(folder, error))? {
            let path = entry.map_err(|error| of_disk(folder, error))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            let mut words = name.split('.');
            let Some(version) = words.next().filter(|word| word.len() == 20).and_then(|word| word.parse().ok()) else {
                continue;
            };
            match words.collect::<Vec<_>>().as_slice() {
                ["json"] => {
                    commits.insert((version, path));
                }
                ["checkpoint", "parquet"] => checkpoints.entry((version, 1)).or_default().push(path),
                ["checkpoint", _, of, "parquet"] => {
                    let Ok(of) = of.parse() else { continue };
                    checkpoints.entry((version, of)).or_default().push(path);
                }
                // Checkpoints of other forms are shortcuts that this reader does without.
                _ => {}
            }
        }
        let whole = |(key, files): &(&(u64, u64), &Vec<PathBuf>)| files.len() as u64 == key.1;
        let checkpoint = checkpoints.iter().rev().find(whole).map(|((version, _), files)| (*version, files.clone()));
        Ok(Self { checkpoint, commits })
    }
}

impl Snapshot {
    fn read_commit(&mut self, path: &Path) -> Result<()> {
        let file = File::open(path).map_err(|error| of_disk(path, error))?;
        let (mut added, mut removed) = (Vec::new(), BTreeSet::new());
        for line in BufReader::new(file).lines() {
            let line = line.map_err(|error| of_disk(path, error))?;
            if line.trim().is_empty() {
                continue;
            }
            let action: Action = serde_json::from_str(&line)
                .map_err(|error| about(ErrorKind::DataLoss, path, format!("is damaged: {error}")).with_source(error))?;
            if let Some(protocol) = action.protocol {
                self.check(path, protocol.min_reader_version, &protocol.reader_features)?;
            }
            if let Some(add) = action.add {
                if add.deletion_vector.is_some() {
                    return Err(deleted_rows(path, &add.path));
                }
                added.push(add.path);
            }
            removed.extend(action.remove.map(|remove| remove.path));
        }
        // Within a commit the order of actions means nothing.
        self.active.retain(|path| !removed.contains(path));
        self.active.extend(added);
        Ok(())
    }

    fn read_checkpoint(&mut self, path: &Path) -> Result<()> {
        let file = File::open(path).map_err(|error| of_disk(path, error))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| of_reading(path, error))?;
        let needed = ["add.path", "add.deletionVector", "protocol"];
        let needed = ProjectionMask::columns(builder.parquet_schema(), needed);
        let batches = builder.with_projection(needed).build().map_err(|error| of_reading(path, error))?;
        for batch in batches {
            let batch = batch.map_err(|error| of_rows(path, error))?;
            self.read_rows(path, &batch)?;
        }
        Ok(())
    }

    fn read_rows(&mut self, path: &Path, batch: &RecordBatch) -> Result<()> {
        // A group that a row lacks may still have values inside, where those are required.
        let group = |name: &str| batch.column_by_name(name)?.as_struct_opt();
        if let Some(adds) = group("add") {
            let vectors = adds.column_by_name("deletionVector");
            let paths = adds.column_by_name("path").map(text).transpose()?;
            for (row, file) in paths.iter().flatten().enumerate().filter(|(row, _)| adds.is_valid(*row)) {
                let Some(file) = file else { continue };
                if vectors.is_some_and(|vectors| vectors.is_valid(row)) {
                    return Err(deleted_rows(path, file));
                }
                self.active.insert(file.to_owned());
            }
        }
        let Some(protocols) = group("protocol") else { return Ok(()) };
        let versions =
            protocols.column_by_name("minReaderVersion").and_then(|column| column.as_primitive_opt::<Int32Type>());
        let features = protocols.column_by_name("readerFeatures").and_then(|column| column.as_list_opt::<i32>());
        for (row, version) in versions.into_iter().flatten().enumerate().filter(|(row, _)| protocols.is_valid(*row)) {
            let named =
                features.filter(|lists| lists.is_valid(row)).map(|lists| text(&lists.value(row))).transpose()?;
            let named: Vec<String> = named.iter().flatten().flatten().map(str::to_owned).collect();
            self.check(path, version.unwrap_or(0), &named)?;
        }
        Ok(())
    }

    fn check(&mut self, path: &Path, reader_version: i32, features: &[String]) -> Result<()> {
        self.protocol = true;
        let unknown: Vec<&String> = features.iter().filter(|name| !FEATURES.contains(&name.as_str())).collect();
        if matches!(reader_version, 1 | 3) && unknown.is_empty() {
            return Ok(());
        }
        let text = format!(
            "asks for Delta reader version {reader_version} with {unknown:?}, which is not read here; name its files \
             instead"
        );
        Err(about(ErrorKind::FailedPrecondition, path, text))
    }
}

fn text(column: &ArrayRef) -> Result<StringArray> {
    Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone())
}

fn deleted_rows(log: &Path, file: &str) -> Error {
    let text = format!("gives {file:?} a deletion vector, which is not read here; compact the table first");
    about(ErrorKind::FailedPrecondition, log, text)
}

/// A path of the log, which is written like one of a URL (RFC 3986, section 2.1).
fn decoded(path: &str) -> Result<String> {
    let wrong = || Error::data_loss(format!("path {path:?} of a Delta log is not encoded as in a URL"));
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next()).ok_or_else(wrong)?, digit(rest.next()).ok_or_else(wrong)?);
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| wrong())?);
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    if text.contains("://") {
        let text = format!("file {text:?} of a Delta table lies outside of its folder, which is not read here");
        return Err(Error::failed_precondition(text));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int32Array, StructArray};
    use arrow_schema::Field;
    use parquet::arrow::ArrowWriter;

    use super::*;

    const PROTOCOL: &str = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#;

    fn table(commits: &[&str]) -> tempfile::TempDir {
        let table = tempfile::tempdir().unwrap();
        fs::create_dir(table.path().join(LOG)).unwrap();
        for (version, commit) in commits.iter().enumerate() {
            fs::write(table.path().join(LOG).join(format!("{version:020}.json")), commit).unwrap();
        }
        table
    }

    fn check(commits: &[&str], expected: &[&str]) {
        let table = table(commits);
        assert_eq!(active_files(table.path()).unwrap().into_iter().collect::<Vec<_>>(), expected);
    }

    fn refused(commits: &[&str], kind: ErrorKind, text: &str) {
        let error = active_files(table(commits).path()).unwrap_err();
        assert!(error.kind() == kind && error.message().contains(text), "{error:?}");
    }

    fn add(path: &str) -> String {
        format!(r#"{{"add":{{"path":"{path}","partitionValues":{{}},"size":1,"dataChange":true,"stats":"{{}}"}}}}"#)
    }

    fn remove(path: &str) -> String {
        format!(r#"{{"remove":{{"path":"{path}","dataChange":true}}}}"#)
    }

    #[test]
    fn removed_files_are_no_rows() {
        let first = [PROTOCOL, &add("a.parquet"), &add("k=1/b%20c.parquet"), r#"{"commitInfo":{}}"#].join("\n");
        check(&[&first], &["a.parquet", "k=1/b c.parquet"]);
        let second = [add("d.parquet"), remove("a.parquet"), String::new()].join("\n");
        check(&[&first, &second], &["d.parquet", "k=1/b c.parquet"]);
        check(&[&first, &second, &add("a.parquet")], &["a.parquet", "d.parquet", "k=1/b c.parquet"]);
    }

    #[test]
    fn what_this_reader_does_not_know_is_refused() {
        let vector = r#"{"add":{"path":"a","deletionVector":{"storageType":"u"}}}"#;
        refused(&[&[PROTOCOL, vector].join("\n")], ErrorKind::FailedPrecondition, "deletion vector");
        refused(&[r#"{"protocol":{"minReaderVersion":2}}"#], ErrorKind::FailedPrecondition, "reader version 2");
        let mapped = r#"{"protocol":{"minReaderVersion":3,"readerFeatures":["timestampNtz","columnMapping"]}}"#;
        refused(&[mapped], ErrorKind::FailedPrecondition, "columnMapping");
        refused(&[&[PROTOCOL, &add("s3://x/a.parquet")].join("\n")], ErrorKind::FailedPrecondition, "outside");
        refused(&[&[PROTOCOL, &add("../a.parquet")].join("\n")], ErrorKind::InvalidArgument, "relative");
        refused(&[&[PROTOCOL, "{"].join("\n")], ErrorKind::DataLoss, "damaged");
        refused(&[&add("a.parquet")], ErrorKind::DataLoss, "no protocol");
        let gap = table(&[PROTOCOL, "", ""]);
        fs::remove_file(gap.path().join(LOG).join(format!("{:020}.json", 1))).unwrap();
        assert!(active_files(gap.path()).unwrap_err().message().contains("lacks version 1"));
    }

    #[test]
    fn a_checkpoint_stands_for_the_commits_before_it() {
        let table = table(&[PROTOCOL, &add("gone.parquet"), "", &add("new.parquet")]);
        let log = table.path().join(LOG);
        let field = |name: &str, data_type| Arc::new(Field::new(name, data_type, false));
        // Of the row that lacks the group, readers give some value where one is required.
        let paths: ArrayRef = Arc::new(StringArray::from(vec!["ghost.parquet", "old.parquet"]));
        let versions: ArrayRef = Arc::new(Int32Array::from(vec![1, 7]));
        let group = |name, values: ArrayRef, valid: Vec<bool>| -> ArrayRef {
            let fields = vec![field(name, values.data_type().clone())].into();
            Arc::new(StructArray::new(fields, vec![values], Some(valid.into())))
        };
        let columns = [
            ("protocol", group("minReaderVersion", versions, vec![true, false])),
            ("add", group("path", paths, vec![false, true])),
        ];
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, c)| (name, c, true))).unwrap();
        let file = File::create(log.join(format!("{:020}.checkpoint.parquet", 2))).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        // A checkpoint of several files of which one is missing does not count.
        fs::write(log.join(format!("{:020}.checkpoint.{:010}.{:010}.parquet", 3, 1, 2)), "").unwrap();
        for version in 0..2 {
            fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
        }
        let files = active_files(table.path()).unwrap();
        assert_eq!(files.into_iter().collect::<Vec<_>>(), ["new.parquet", "old.parquet"]);
    }
}
