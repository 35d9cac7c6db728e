//! What one comparison and one value of a stream cost: `cargo bench -p mlops-monitor`.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use divan::{Bencher, counter::ItemsCount};
use mlops_core::testing::SplitMix64;
use mlops_monitor::{
    ColumnSample, DriftDetector, KolmogorovSmirnov, NumericSample, Psi, TwoSample, TwoSampleTest,
    stream::{
        Adwin, AdwinSettings, Cusum, CusumSettings, Ddm, DdmSettings, Eddm, EddmSettings, Fhddm, FhddmSettings, HddmA,
        HddmASettings, HddmW, HddmWSettings, Kswin, KswinSettings, PageHinkley, PageHinkleySettings, StreamDetector,
    },
};

const ROWS: usize = 1_000_000;
const VALUES: usize = 1_000_000;

fn main() {
    divan::main();
}

fn column(seed: u64) -> ColumnSample {
    ColumnSample::numeric(NumericSample::new(SplitMix64::new(seed).bell(ROWS)))
}

/// Sorting the current side and testing it against a stored, sorted reference.
#[divan::bench(sample_count = 10)]
fn ks_1e6_with_a_stored_reference(bencher: Bencher<'_, '_>) {
    let reference = column(1);
    let values = SplitMix64::new(2).bell(ROWS);
    let test =
        |values| KolmogorovSmirnov::default().test(&reference, &ColumnSample::numeric(NumericSample::new(values)));
    bencher.with_inputs(|| values.clone()).bench_values(test);
}

/// Sorting both sides and testing.
#[divan::bench(sample_count = 10)]
fn ks_1e6_both_sides(bencher: Bencher<'_, '_>) {
    let sides = [SplitMix64::new(1).bell(ROWS), SplitMix64::new(2).bell(ROWS)];
    let test = |sides: [Vec<f64>; 2]| {
        let [left, right] = sides.map(|values| ColumnSample::numeric(NumericSample::new(values)));
        KolmogorovSmirnov::default().test(&left, &right)
    };
    bencher.with_inputs(|| sides.clone()).bench_values(test);
}

/// Tests of samples that are sorted already.
#[divan::bench(sample_count = 10, args = ["psi", "kuiper", "cramer_von_mises", "anderson_darling", "mann_whitney", "welch_t", "wasserstein", "energy"])]
fn sorted_1e6(bencher: Bencher<'_, '_>, name: &str) {
    let all = [
        TwoSampleTest::Kuiper,
        TwoSampleTest::CramerVonMises,
        TwoSampleTest::AndersonDarling,
        TwoSampleTest::MannWhitney,
        TwoSampleTest::WelchT,
        TwoSampleTest::Wasserstein,
        TwoSampleTest::Energy,
    ];
    let mut detectors: Vec<Box<dyn DriftDetector>> = vec![Box::new(Psi::default())];
    detectors.extend(all.map(|test| Box::new(TwoSample::new(test)) as Box<dyn DriftDetector>));
    let detector = detectors.into_iter().find(|detector| detector.name() == name).unwrap();
    let (reference, current) = (column(1), column(2));
    bencher.bench(|| detector.test(&reference, &current));
}

fn stream<D: StreamDetector>(bencher: Bencher<'_, '_>, detector: &mut D, values: &[D::Input]) {
    let counter = ItemsCount::new(values.len());
    bencher.counter(counter).bench_local(|| {
        detector.reset();
        for value in values {
            divan::black_box(detector.update(*value));
        }
    });
}

/// The same values in one call up to each alarm.
fn slices<D: StreamDetector>(bencher: Bencher<'_, '_>, detector: &mut D, values: &[D::Input]) {
    let counter = ItemsCount::new(values.len());
    bencher.counter(counter).bench_local(|| {
        detector.reset();
        let mut taken = 0;
        while let Some(at) = values.get(taken..).and_then(|rest| detector.update_until_drift(divan::black_box(rest))) {
            taken += at + 1;
        }
        divan::black_box(taken)
    });
}

fn numbers() -> Vec<f64> {
    let stream = SplitMix64::new(7);
    (0..VALUES as u64).map(|i| stream.uniform(i)).collect()
}

fn errors() -> Vec<bool> {
    numbers().into_iter().map(|value| value < 0.2).collect()
}

#[divan::bench(sample_count = 10)]
fn adwin(bencher: Bencher<'_, '_>) {
    stream(bencher, &mut Adwin::new(AdwinSettings::default()).unwrap(), &numbers());
}

#[divan::bench(sample_count = 10)]
fn page_hinkley(bencher: Bencher<'_, '_>) {
    stream(bencher, &mut PageHinkley::new(PageHinkleySettings::default()).unwrap(), &numbers());
}

#[divan::bench(sample_count = 10)]
fn cusum(bencher: Bencher<'_, '_>) {
    stream(bencher, &mut Cusum::new(CusumSettings::default()).unwrap(), &numbers());
}

#[divan::bench(sample_count = 3)]
fn kswin(bencher: Bencher<'_, '_>) {
    stream(bencher, &mut Kswin::new(KswinSettings::default()).unwrap(), &numbers());
}

#[divan::bench(sample_count = 10)]
fn ddm(bencher: Bencher<'_, '_>) {
    stream(bencher, &mut Ddm::new(DdmSettings::default()).unwrap(), &errors());
}

#[divan::bench(sample_count = 10)]
fn eddm(bencher: Bencher<'_, '_>) {
    stream(bencher, &mut Eddm::new(EddmSettings::default()).unwrap(), &errors());
}

#[divan::bench(sample_count = 10)]
fn hddm_a(bencher: Bencher<'_, '_>) {
    stream(bencher, &mut HddmA::new(HddmASettings::default()).unwrap(), &errors());
}

#[divan::bench(sample_count = 10)]
fn hddm_w(bencher: Bencher<'_, '_>) {
    stream(bencher, &mut HddmW::new(HddmWSettings::default()).unwrap(), &errors());
}

#[divan::bench(sample_count = 10)]
fn fhddm(bencher: Bencher<'_, '_>) {
    stream(bencher, &mut Fhddm::new(FhddmSettings::default()).unwrap(), &errors());
}

#[divan::bench(sample_count = 20)]
fn page_hinkley_slices(bencher: Bencher<'_, '_>) {
    slices(bencher, &mut PageHinkley::new(PageHinkleySettings::default()).unwrap(), &numbers());
}

#[divan::bench(sample_count = 20)]
fn ddm_slices(bencher: Bencher<'_, '_>) {
    slices(bencher, &mut Ddm::new(DdmSettings::default()).unwrap(), &errors());
}

#[divan::bench(sample_count = 20)]
fn cusum_slices(bencher: Bencher<'_, '_>) {
    slices(bencher, &mut Cusum::new(CusumSettings::default()).unwrap(), &numbers());
}

#[divan::bench(sample_count = 20)]
fn adwin_slices(bencher: Bencher<'_, '_>) {
    slices(bencher, &mut Adwin::new(AdwinSettings::default()).unwrap(), &numbers());
}
