//! One folder of a run: a record file, or what the public API gave out.
//!
//! Invariant: a scan reads one record or line at a time, each of bounded size.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use mlops_core::Result;
use serde_json::Value;

use super::{
    entry::{About, Entry, Row},
    record,
    record_file::{Next, RecordFile},
    values,
};
use crate::import::{
    local::{self, Lines, unreadable},
    report::ImportReport,
};

/// Largest `config.json`, `summary.json`, `run.json` and line of a history, in bytes.
const JSON_BYTES_MAX: u64 = 16 << 20;

/// A folder with one kind of files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// `run-ID.wandb` of the folder.
    Records { folder: PathBuf, file: PathBuf },
    /// `run.json`, `config.json`, `summary.json` and `history.jsonl` of the folder.
    Export { folder: PathBuf },
}

impl Part {
    /// The run in a folder, if there is one.
    pub(super) fn of(folder: &Path) -> Result<Option<Self>> {
        let names = local::file_names(folder)?;
        if let Some(name) = names.iter().find(|name| name.ends_with(".wandb")) {
            return Ok(Some(Self::Records { folder: folder.to_owned(), file: folder.join(name) }));
        }
        Ok(names.iter().any(|name| name == "run.json").then(|| Self::Export { folder: folder.to_owned() }))
    }

    /// Files that belong to the run.
    pub(super) fn files(&self) -> PathBuf {
        let (Self::Records { folder, .. } | Self::Export { folder }) = self;
        folder.join("files")
    }

    pub(super) fn place(&self) -> String {
        match self {
            Self::Records { file, .. } => file.display().to_string(),
            Self::Export { folder } => folder.display().to_string(),
        }
    }

    /// Gives `take` the entries from `offset` on, each with the offset behind it, until it breaks.
    pub(super) fn scan(
        &self,
        offset: u64,
        report: &mut ImportReport,
        take: &mut dyn FnMut(Entry, u64) -> ControlFlow<()>,
    ) -> Result<()> {
        match self {
            Self::Records { file, .. } => records(file, offset, report, take),
            Self::Export { folder } => export(folder, offset, report, take),
        }
    }
}

fn records(
    path: &Path,
    offset: u64,
    report: &mut ImportReport,
    take: &mut dyn FnMut(Entry, u64) -> ControlFlow<()>,
) -> Result<()> {
    let failed = |error| unreadable(path, error);
    let Some(mut file) = RecordFile::open(path, offset).map_err(failed)? else {
        report.skip(path.display().to_string(), "it does not begin as a record file of W&B");
        return Ok(());
    };
    loop {
        match file.next().map_err(failed)? {
            Next::End => return Ok(()),
            Next::Broken(at, why) => report.skip(format!("{} at byte {at}", path.display()), why),
            Next::Record(bytes, end) => {
                let mut flow = ControlFlow::Continue(());
                record::entries(&bytes, &mut |entry| {
                    if flow.is_continue() {
                        flow = take(entry, end);
                    }
                });
                if flow.is_break() {
                    return Ok(());
                }
            }
        }
    }
}

fn export(
    folder: &Path,
    offset: u64,
    report: &mut ImportReport,
    take: &mut dyn FnMut(Entry, u64) -> ControlFlow<()>,
) -> Result<()> {
    if offset == 0 {
        let about = json(&folder.join("run.json"), report).and_then(|value| {
            let about = serde_json::from_value::<About>(value);
            about.map_err(|error| report.skip(folder.join("run.json").display().to_string(), error.to_string())).ok()
        });
        let config = json(&folder.join("config.json"), report).map(|value| Entry::Config(pairs(value)));
        let summary = json(&folder.join("summary.json"), report).map(|value| Entry::Summary(pairs(value)));
        let about = about.map(|about| Entry::About(Box::new(about)));
        for entry in [about, config, summary].into_iter().flatten() {
            if take(entry, 0).is_break() {
                return Ok(());
            }
        }
    }
    lines(&folder.join("history.jsonl"), offset, report, take)
}

fn json(path: &Path, report: &mut ImportReport) -> Option<Value> {
    let read =
        local::text(path, JSON_BYTES_MAX).and_then(|text| values::parse(&text).map_err(|error| error.to_string()));
    read.map_err(|reason| report.skip(path.display().to_string(), reason)).ok()
}

fn pairs(value: Value) -> Vec<(String, Option<Value>)> {
    match value {
        Value::Object(object) => object.into_iter().map(|(key, value)| (key, Some(value))).collect(),
        _ => Vec::new(),
    }
}

fn lines(
    path: &Path,
    offset: u64,
    report: &mut ImportReport,
    take: &mut dyn FnMut(Entry, u64) -> ControlFlow<()>,
) -> Result<()> {
    if !path.is_file() {
        report.skip(path.display().to_string(), "it is missing, so the run has no history");
        return Ok(());
    }
    let mut lines = Lines::open(path, offset, JSON_BYTES_MAX)?;
    while let Some(line) = lines.next()? {
        let text = String::from_utf8_lossy(line.bytes);
        match values::parse(&text) {
            Ok(Value::Object(object)) => {
                if take(Entry::Row(Row::new(object)), line.end).is_break() {
                    return Ok(());
                }
            }
            _ if text.trim().is_empty() => {}
            _ => report.skip(format!("{} at byte {}", path.display(), line.at), "the line is no JSON object"),
        }
    }
    Ok(())
}
