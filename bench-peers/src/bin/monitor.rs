//! The monitor's tasks on the same data and of the same kind as the peers' programs: statistics of a million values, whole
//! reports on `ref_ROWS.parquet` and `cur_ROWS.parquet`, profiles, stream detectors. One JSON line for each.
//!
//! ```text
//! cargo run --release -p mlops-bench-peers --bin monitor -- DATA_DIR [--rows 100000] [--only report]
//! ```

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::ExitCode,
};

use arrow_array::RecordBatch;
use clap::Parser;
use mlops_bench_peers::measure;
use mlops_core::{Error, Result, Timestamp, testing::SplitMix64};
use mlops_monitor::{
    ColumnSample, DriftDetector, KolmogorovSmirnov, Monitor, NumericSample, Profile, ProfileSettings, ReferenceProfile,
    SketchSettings, TwoSample, TwoSampleTest,
    stream::{
        Adwin, AdwinSettings, Ddm, DdmSettings, Eddm, EddmSettings, Fhddm, FhddmSettings, HddmA, HddmASettings, HddmW,
        HddmWSettings, Kswin, KswinSettings, PageHinkley, PageHinkleySettings, StreamDetector,
    },
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Measures the monitor.
#[derive(Debug, Parser)]
#[command(name = "monitor")]
struct Options {
    /// Where `ref_ROWS.parquet` and `cur_ROWS.parquet` lie.
    data: PathBuf,
    /// Which of them.
    #[arg(long, default_value_t = 100_000)]
    rows: usize,
    /// Only this part.
    #[arg(long, value_parser = ["statistics", "report", "profile", "stream"])]
    only: Option<String>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.chain());
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let wanted = |part: &str| options.only.as_deref().is_none_or(|only| only == part);
    // The report comes first: peak memory only ever rises.
    if wanted("report") {
        report(&options.data, options.rows)?;
    }
    if wanted("profile") {
        profile(&options.data, options.rows)?;
    }
    if wanted("statistics") {
        statistics()?;
    }
    if wanted("stream") {
        streams()?;
    }
    Ok(())
}

const ROWS: usize = 1_000_000;

fn statistics() -> Result<()> {
    let sides = || [1, 2].map(|seed| SplitMix64::new(seed).bell(ROWS));
    let column = |values| ColumnSample::numeric(NumericSample::new(values));
    let test =
        |detector: &dyn DriftDetector, [left, right]: [Vec<f64>; 2]| detector.test(&column(left), &column(right));
    let ks = KolmogorovSmirnov::default();
    measure("ks_2samp 1e6 vs 1e6", 9, sides, |sides| test(&ks, sides))?;
    let stored = column(SplitMix64::new(1).bell(ROWS));
    let current = || SplitMix64::new(2).bell(ROWS);
    measure("ks_2samp 1e6 vs 1e6, stored reference", 9, current, |values| ks.test(&stored, &column(values)))?;
    for (name, kind) in [
        ("wasserstein_distance 1e6 vs 1e6", TwoSampleTest::Wasserstein),
        ("mannwhitneyu 1e6 vs 1e6", TwoSampleTest::MannWhitney),
        ("cramervonmises_2samp 1e6 vs 1e6", TwoSampleTest::CramerVonMises),
        ("anderson_ksamp 1e6 vs 1e6", TwoSampleTest::AndersonDarling),
    ] {
        measure(name, 3, sides, |sides| test(&TwoSample::new(kind), sides))?;
    }
    Ok(())
}

fn report(data: &Path, rows: usize) -> Result<()> {
    let (reference, current) = (read(data, "ref", rows)?, read(data, "cur", rows)?);
    let bytes: usize = [&reference, &current].into_iter().flatten().map(RecordBatch::get_array_memory_size).sum();
    println!("{}", serde_json::json!({"name": "input", "mib": bytes as f64 / f64::from(1 << 20)}));
    let columns = current.first().map_or(0, RecordBatch::num_columns);
    let whole = |()| -> Result<_> {
        let profile = ReferenceProfile::from_batches(&reference, &ProfileSettings::default())?;
        let monitor = Monitor::builder(profile).with_detector(TwoSample::new(TwoSampleTest::Wasserstein)).build()?;
        Ok(monitor.observe_batches(&current, Timestamp::default()))
    };
    measure(&format!("drift report {rows}x{columns}"), 3, || (), whole)?;
    let found = whole(())?;
    println!(
        "{}",
        serde_json::json!({"name": "verdict", "headline": found.headline(), "html_bytes": found.to_html().len()})
    );
    Ok(())
}

fn profile(data: &Path, rows: usize) -> Result<()> {
    let batches = read(data, "cur", rows)?;
    let columns = batches.first().map_or(0, RecordBatch::num_columns);
    let whole = |()| -> Result<Profile> {
        let mut profile = Profile::new(SketchSettings::default())?;
        batches.iter().try_for_each(|batch| profile.observe(batch))?;
        Ok(profile)
    };
    measure(&format!("profile {rows}x{columns}"), 3, || (), whole)?;
    println!("{}", serde_json::json!({"name": "profile bytes", "bytes": whole(())?.to_bytes()?.len()}));
    Ok(())
}

fn read(data: &Path, side: &str, rows: usize) -> Result<Vec<RecordBatch>> {
    let path = data.join(format!("{side}_{rows}.parquet"));
    let failed = |error: String| Error::invalid_argument(format!("{} cannot be read: {error}", path.display()));
    let file = File::open(&path).map_err(|error| failed(error.to_string()))?;
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.with_batch_size(65_536).build());
    let batches = reader.map_err(|error| failed(error.to_string()))?.collect::<std::result::Result<Vec<_>, _>>();
    batches.map_err(|error| failed(error.to_string()))
}

const VALUES: usize = 4_000_000;

fn streams() -> Result<()> {
    let uniform = SplitMix64::new(11);
    let half = VALUES as u64 / 2;
    let numbers: Vec<f64> =
        (0..VALUES as u64).map(|i| uniform.uniform(i) * 0.4 + if i < half { 0.0 } else { 0.3 }).collect();
    let errors: Vec<bool> = numbers.iter().map(|value| *value > 0.35).collect();
    stream("ADWIN", Adwin::new(AdwinSettings::default())?, &numbers)?;
    stream("PageHinkley", PageHinkley::new(PageHinkleySettings::default())?, &numbers)?;
    stream("KSWIN", Kswin::new(KswinSettings::default())?, &numbers)?;
    stream("DDM", Ddm::new(DdmSettings::default())?, &errors)?;
    stream("EDDM", Eddm::new(EddmSettings::default())?, &errors)?;
    stream("FHDDM", Fhddm::new(FhddmSettings::default())?, &errors)?;
    stream("HDDM_A", HddmA::new(HddmASettings::default())?, &errors)?;
    stream("HDDM_W", HddmW::new(HddmWSettings::default())?, &errors)
}

fn stream<D: StreamDetector>(name: &str, mut detector: D, values: &[D::Input]) -> Result<()> {
    let name = format!("{name} {VALUES} updates");
    measure(
        &name,
        3,
        || (),
        |()| {
            detector.reset();
            let (mut alarms, mut taken) = (0, 0);
            while let Some(at) = values.get(taken..).and_then(|values| detector.update_until_drift(values)) {
                alarms += 1;
                taken += at + 1;
            }
            alarms
        },
    )
}
