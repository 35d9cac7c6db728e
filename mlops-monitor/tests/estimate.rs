//! Performance without labels: NannyML's numbers, and that bands hold what they promise.
//!
//! `golden/cbpe.json` was made with `golden/cbpe.py` by NannyML 0.13.1 (pandas 2.0.3, numpy 1.26.4, scikit-learn 1.9.1) on synthetic rows: an
//! overconfident model of two classes and one of three, a reference and a window under covariate shift.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use mlops_monitor::estimate::{
    AlertRule, BandSettings, CalibrationRule, Cbpe, CbpeMetric, CbpeMulticlass, CbpeMulticlassReference, CbpeReference,
    CbpeSettings, EstimateVerdict, MetricEstimate, PerformanceEstimate, ValueMatrix,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

const GOLDEN: &str = include_str!("golden/cbpe.json");
const RATIOS: [CbpeMetric; 5] =
    [CbpeMetric::Accuracy, CbpeMetric::Precision, CbpeMetric::Recall, CbpeMetric::Specificity, CbpeMetric::F1];
const RANKING: [CbpeMetric; 2] = [CbpeMetric::RocAuc, CbpeMetric::AveragePrecision];
const CELLS: [CbpeMetric; 4] =
    [CbpeMetric::TruePositive, CbpeMetric::FalsePositive, CbpeMetric::FalseNegative, CbpeMetric::TrueNegative];

fn read<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn golden() -> Value {
    serde_json::from_str(GOLDEN).unwrap()
}

fn bits(value: &Value) -> Vec<bool> {
    read::<Vec<u8>>(value).into_iter().map(|bit| bit == 1).collect()
}

/// What NannyML says of a metric.
#[derive(Debug, Deserialize)]
struct Peer {
    value: f64,
    sampling_error: f64,
    lower_threshold: f64,
    upper_threshold: f64,
}

fn near(what: &str, left: f64, right: f64, tolerance: f64) {
    assert!((left - right).abs() <= tolerance, "{what}: {left} != {right}");
}

fn same_estimate(found: &MetricEstimate<CbpeMetric>, peer: &Peer, scale: f64, tolerance: f64) {
    let name = found.metric.as_str();
    near(name, found.value * scale, peer.value, tolerance * scale);
    near(name, found.alert_lower.unwrap() * scale, peer.lower_threshold, tolerance * scale);
    near(name, found.alert_upper.unwrap() * scale, peer.upper_threshold, tolerance * scale);
}

fn binary(golden: &Value, calibration: CalibrationRule) -> PerformanceEstimate<CbpeMetric> {
    let value = CbpeMetric::BusinessValue(read::<ValueMatrix>(&golden["value_matrix"]));
    let metrics = [RATIOS.as_slice(), &RANKING, &CELLS, &[value]].concat();
    let settings = CbpeSettings { metrics, calibration, ..CbpeSettings::default() };
    let rows = &golden["reference"];
    let (scores, predictions, labels) = (read::<Vec<f64>>(&rows["score"]), bits(&rows["pred"]), bits(&rows["label"]));
    let reference = CbpeReference { scores: &scores, predictions: &predictions, labels: &labels };
    let cbpe = Cbpe::fit(reference, settings).unwrap();
    assert_eq!(cbpe.calibration().is_some(), calibration != CalibrationRule::Never);
    // What is stored and read back answers the same.
    let stored: Cbpe = serde_json::from_str(&serde_json::to_string(&cbpe).unwrap()).unwrap();
    assert_eq!(stored, cbpe);
    if let Some(calibration) = cbpe.calibration() {
        let (at, expected): (Vec<f64>, Vec<f64>) =
            (read(&golden["isotonic"]["at"]), read(&golden["isotonic"]["value"]));
        for (at, expected) in at.into_iter().zip(expected) {
            near("isotonic", calibration.calibrate(at), expected, 1e-14);
        }
    }
    stored.estimate(&read::<Vec<f64>>(&golden["window"]["score"]), &bits(&golden["window"]["pred"])).unwrap()
}

#[test]
fn two_classes_agree_with_nannyml() {
    let golden = &golden()["binary"];
    for (calibration, key) in [(CalibrationRule::Auto, "calibrated"), (CalibrationRule::Never, "uncalibrated")] {
        let estimate = binary(golden, calibration);
        assert_eq!((estimate.n, estimate.skipped), (200, 0));
        for found in &estimate.metrics {
            let peer: Peer = read(&golden[key][found.metric.as_str()]);
            match found.metric {
                // NannyML rounds cumulative sums to five digits here.
                CbpeMetric::RocAuc | CbpeMetric::AveragePrecision => same_estimate(found, &peer, 1.0, 1e-6),
                // Ours is the value of a row, theirs that of the window; its thresholds are those of its chunks.
                CbpeMetric::BusinessValue(_) => {
                    near("business_value", found.value * 200.0, peer.value, 1e-9);
                    near("business_value", found.alert_lower.unwrap() * 50.0, peer.lower_threshold, 1e-9);
                    near("business_value", found.standard_error * 200.0, peer.sampling_error, 1e-9);
                }
                _ => same_estimate(found, &peer, 1.0, 1e-12),
            }
            let alert = golden[key][found.metric.as_str()]["alert"] == true;
            if !matches!(found.metric, CbpeMetric::BusinessValue(_)) {
                assert_eq!(found.verdict == EstimateVerdict::Alert, alert, "{found:?}");
            }
        }
    }
}

#[test]
fn sampling_errors_agree_with_nannyml_where_it_is_exact() {
    let golden = &golden()["binary"];
    let estimate = binary(golden, CalibrationRule::Auto);
    let peer = |metric: &CbpeMetric| read::<Peer>(&golden["calibrated"][metric.as_str()]).sampling_error;
    for metric in RATIOS[..4].iter().chain(&CELLS) {
        near(metric.as_str(), estimate.get(metric).unwrap().standard_error, peer(metric), 1e-12);
    }
    // F1 is not linear in the share q of hits among rows that are called or positive. NannyML's error is that of a
    // linear one, too wide by 1 + q, where F1 = 2 q / (1 + q).
    let found = estimate.get(&CbpeMetric::F1).unwrap();
    let share = found.reference / (2.0 - found.reference);
    near("f1", found.standard_error * (1.0 + share), peer(&CbpeMetric::F1), 1e-12);
    // NannyML's error of the area counts the positives' part of DeLong's variance only.
    assert!(estimate.get(&CbpeMetric::RocAuc).unwrap().standard_error > peer(&CbpeMetric::RocAuc));
    // Where ours are different they are those of 6000 resamples of the reference (numpy 2.4.6, seed 1, scikit-learn
    // 1.9.1's metrics), scaled from its 500 rows to the window's 200.
    let resampled =
        [(CbpeMetric::F1, 0.045_218), (CbpeMetric::RocAuc, 0.029_242), (CbpeMetric::AveragePrecision, 0.041_389)];
    for (metric, expected) in resampled {
        near(metric.as_str(), estimate.get(&metric).unwrap().standard_error, expected, 0.04 * expected);
    }
}

#[test]
fn more_classes_agree_with_nannyml() {
    let golden = &golden()["multiclass"];
    let metrics = [RATIOS.as_slice(), &RANKING].concat();
    let settings = CbpeSettings { metrics, ..CbpeSettings::default() };
    let columns = |rows: &Value| (read::<Vec<Vec<f64>>>(&rows["scores"]), read::<Vec<usize>>(&rows["pred"]));
    let (scores, predictions) = columns(&golden["reference"]);
    let labels: Vec<usize> = read(&golden["reference"]["label"]);
    let reference = CbpeMulticlassReference { scores: &scores, predictions: &predictions, labels: &labels };
    let cbpe = CbpeMulticlass::fit(reference, settings).unwrap();
    let (scores, predictions) = columns(&golden["window"]);
    let estimate = cbpe.estimate(&scores, &predictions).unwrap();
    for found in &estimate.metrics {
        let peer: Peer = read(&golden["estimates"][found.metric.as_str()]);
        same_estimate(found, &peer, 1.0, 1e-6);
        if found.metric == CbpeMetric::Accuracy {
            near("accuracy", found.standard_error, peer.sampling_error, 1e-12);
        }
    }
    assert!(cbpe.estimate(&scores[..2], &predictions).is_err());
    assert!(cbpe.estimate(&scores, &[3; 200]).is_err());
}

/// A small generator (splitmix64), so that runs repeat.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from((z ^ (z >> 31)) >> 32).unwrap()) / 4_294_967_296.0
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (2.0 * std::f64::consts::PI * self.unit()).cos()
    }
}

/// Rows of a model that is calibrated whatever the inputs: P(y | x) = score, x shifted.
fn calibrated(random: &mut Random, rows: usize, shift: f64) -> (Vec<f64>, Vec<bool>, Vec<bool>) {
    let scores: Vec<f64> = (0..rows).map(|_| 1.0 / (1.0 + (-1.5 * (random.normal() + shift)).exp())).collect();
    let called = scores.iter().map(|score| *score >= 0.5).collect();
    let labels = scores.iter().map(|score| random.unit() < *score).collect();
    (scores, called, labels)
}

/// The realised metrics of labelled rows: those of a reference.
fn realised(rows: &(Vec<f64>, Vec<bool>, Vec<bool>), settings: &CbpeSettings) -> Vec<f64> {
    let reference = CbpeReference { scores: &rows.0, predictions: &rows.1, labels: &rows.2 };
    let cbpe = Cbpe::fit(reference, settings.clone()).unwrap();
    cbpe.estimate(&rows.0, &rows.1).unwrap().metrics.iter().map(|found| found.reference).collect()
}

/// Under covariate shift the realised metric lies within two standard errors of the estimate in about 95 % of windows.
#[test]
fn bands_cover_the_realised_metric_under_covariate_shift() {
    let band = BandSettings { standard_errors: 2.0, ..BandSettings::default() };
    let metrics = [RATIOS.as_slice(), &RANKING].concat();
    let settings = CbpeSettings { metrics, band, calibration: CalibrationRule::Never };
    let mut random = Random(20);
    let reference = calibrated(&mut random, 20_000, 0.0);
    let cbpe = Cbpe::fit(
        CbpeReference { scores: &reference.0, predictions: &reference.1, labels: &reference.2 },
        settings.clone(),
    )
    .unwrap();
    let windows = 300;
    let mut covered = [0; 7];
    for _ in 0..windows {
        let window = calibrated(&mut random, 500, 0.25);
        let estimate = cbpe.estimate(&window.0, &window.1).unwrap();
        for ((found, realised), covered) in estimate.metrics.iter().zip(realised(&window, &settings)).zip(&mut covered)
        {
            *covered += u32::from((found.lower..=found.upper).contains(&realised));
        }
    }
    // 95.4 % of 300 is 286, give or take 3.6; rows that are easier or harder than the reference's move it a little. The
    // band treats the chances of a window as random too, so it is rather wide than narrow.
    for (metric, covered) in settings.metrics.iter().zip(covered) {
        assert!(covered >= 272, "{metric}: {covered} of {windows}");
    }
}

/// The blind spot that the documentation warns of.
#[test]
fn concept_shift_goes_unseen() {
    let mut random = Random(3);
    let (scores, called, labels) = calibrated(&mut random, 5_000, 0.0);
    let reference = CbpeReference { scores: &scores, predictions: &called, labels: &labels };
    let cbpe = Cbpe::fit(reference, CbpeSettings::default()).unwrap();
    let (scores, called, labels) = calibrated(&mut random, 500, 0.0);
    // The world turns round: every label is the other one. Scores cannot tell.
    let right = called.iter().zip(&labels).filter(|(called, label)| *called != *label).count();
    let estimate = cbpe.estimate(&scores, &called).unwrap();
    let accuracy = estimate.get(&CbpeMetric::Accuracy).unwrap();
    assert!(accuracy.value > 0.7 && accuracy.verdict == EstimateVerdict::Ok, "{accuracy:?}");
    assert!(right < 150, "{right}");
}

#[test]
fn what_cannot_be_used_is_said() {
    let mut random = Random(1);
    let (scores, called, labels) = calibrated(&mut random, 400, 0.0);
    let reference = CbpeReference { scores: &scores, predictions: &called, labels: &labels };
    let band = BandSettings { alert: AlertRule::Constant { lower: Some(0.9), upper: None }, ..BandSettings::default() };
    let cbpe = Cbpe::fit(reference, CbpeSettings { band, ..CbpeSettings::default() }).unwrap();
    let window = [vec![0.1; 150], vec![f64::NAN, f64::INFINITY, -0.1, 1.1]].concat();
    let estimate = cbpe.estimate(&window, &[false; 154]).unwrap();
    assert_eq!((estimate.n, estimate.skipped), (150, 4));
    assert_eq!(estimate.get(&CbpeMetric::Precision).unwrap().verdict, EstimateVerdict::Degenerate);
    assert!(serde_json::to_value(&estimate).unwrap()["metrics"][1]["value"].is_null());
    let empty = cbpe.estimate(&[], &[]).unwrap();
    assert!(empty.metrics.iter().all(|found| found.verdict == EstimateVerdict::Insufficient { n: 0, min_n: 100 }));
    assert!(cbpe.estimate(&[0.5], &[]).is_err());
    let short = CbpeReference { scores: &scores[..50], predictions: &called[..50], labels: &labels[..50] };
    assert!(Cbpe::fit(short, CbpeSettings::default()).unwrap_err().message().contains("50 usable rows"));
    // One class only: nothing to calibrate with, and no ranking.
    let none = vec![false; 400];
    let single = CbpeReference { scores: &scores, predictions: &called, labels: &none };
    let cbpe = Cbpe::fit(single, CbpeSettings::default()).unwrap();
    assert!(cbpe.estimate(&scores, &called).unwrap().get(&CbpeMetric::RocAuc).unwrap().reference.is_nan());
}

#[cfg(feature = "dle")]
mod dle {
    use mlops_monitor::estimate::{Dle, DleReference, DleSettings, LossForest, LossForestSettings, LossMetric};

    use super::{Random, near};

    /// A model whose error grows with |x|, three features of which one matters.
    fn rows(random: &mut Random, n: usize, spread: f64) -> (Vec<Vec<f64>>, Vec<f64>, Vec<f64>) {
        let x: Vec<f64> = (0..n).map(|_| spread * random.normal()).collect();
        let noise = (0..2).map(|_| (0..n).map(|_| random.normal()).collect::<Vec<f64>>());
        let noise: Vec<Vec<f64>> = noise.collect();
        let predictions: Vec<f64> = x.iter().map(|x| 10.0 + 2.0 * x).collect();
        let labels = x.iter().zip(&predictions).map(|(x, p)| p + (0.5 + x.abs()) * random.normal()).collect();
        ([vec![x], noise].concat(), predictions, labels)
    }

    #[test]
    fn a_forest_foretells_the_error_under_covariate_shift() {
        let mut random = Random(5);
        let (features, predictions, labels) = rows(&mut random, 6_000, 1.0);
        let reference = DleReference { features: &features, predictions: &predictions, labels: &labels };
        let metrics = vec![LossMetric::Mae, LossMetric::Mse, LossMetric::Rmse, LossMetric::Mape];
        let settings = DleSettings { metrics, ..DleSettings::default() };
        let learn =
            |columns: &[Vec<f64>], losses: &[f64]| LossForest::fit(columns, losses, &LossForestSettings::default());
        let dle = Dle::fit(reference, settings, learn).unwrap();
        let stored: Dle<LossForest> = serde_json::from_str(&serde_json::to_string(&dle).unwrap()).unwrap();
        for spread in [0.3, 1.0, 1.5] {
            let (mut features, predictions, labels) = rows(&mut random, 2_000, spread);
            let realised = predictions.iter().zip(&labels).map(|(p, y)| (p - y).abs()).sum::<f64>() / 2_000.0;
            let estimate = stored.estimate(&features, &predictions).unwrap();
            let mae = estimate.get(&LossMetric::Mae).unwrap();
            near("mae", mae.value, realised, 0.12 * realised);
            let (mse, rmse) = (estimate.get(&LossMetric::Mse).unwrap(), estimate.get(&LossMetric::Rmse).unwrap());
            near("rmse", rmse.value * rmse.value, mse.value, 1e-12);
            assert_eq!(estimate.is_alert(), spread != 1.0, "{spread}: {estimate:?}");
            // Gaps and infinities in features are no obstacle.
            features[1].fill(f64::NAN);
            features[2].fill(f64::INFINITY);
            let gaps = stored.estimate(&features, &predictions).unwrap().get(&LossMetric::Mae).unwrap().value;
            near("mae", gaps, realised, 0.3 * realised);
        }
        assert!(stored.estimate(&features[..2], &predictions).is_err());
        assert_eq!(stored.estimate(&[vec![], vec![], vec![]], &[]).unwrap().n, 0);
    }

    #[test]
    fn a_loss_that_does_not_exist_is_an_error() {
        let labels = vec![-2.0; 200];
        let reference = DleReference { features: &[], predictions: &labels, labels: &labels };
        let settings = DleSettings { metrics: vec![LossMetric::Msle], ..DleSettings::default() };
        let learn =
            |columns: &[Vec<f64>], losses: &[f64]| LossForest::fit(columns, losses, &LossForestSettings::default());
        assert!(Dle::fit(reference, settings, learn).unwrap_err().message().contains("SquaredLog"));
    }
}
