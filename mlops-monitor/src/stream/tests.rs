//! What every stream detector promises: no panic, state that survives a restart, bounded windows.

use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

use super::*;

/// Runs a detector over values, once in one go and once through its serialised state at every step.
fn goes_on_after_a_restart<D>(mut detector: D, values: &[D::Input])
where
    D: StreamDetector + Clone + Serialize + DeserializeOwned,
{
    let mut restarted = detector.clone();
    for value in values {
        let text = serde_json::to_string(&restarted).unwrap();
        restarted = serde_json::from_str(&text).unwrap();
        assert_eq!(detector.update(*value), restarted.update(*value));
    }
    detector.reset();
    assert_ne!(detector.update(values[0]), Signal::Drift, "one value after a reset is no drift");
}

/// Alarms and the state after them, value by value and in slices that end anywhere.
fn slices_alarm_as_single_values<D>(detector: &D, values: &[D::Input], cut: usize)
where
    D: StreamDetector + Clone + Serialize,
{
    let (mut single, mut sliced) = (detector.clone(), detector.clone());
    let expected: Vec<usize> = (0..values.len()).filter(|at| single.update(values[*at]) == Signal::Drift).collect();
    let mut found = Vec::new();
    for (index, chunk) in values.chunks(cut).enumerate() {
        let mut taken = 0;
        while let Some(at) = sliced.update_until_drift(&chunk[taken..]) {
            found.push(index * cut + taken + at);
            taken += at + 1;
        }
    }
    assert_eq!(found, expected);
    assert_eq!(serde_json::to_string(&sliced).unwrap(), serde_json::to_string(&single).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn slices_alarm_at_the_same_values_and_leave_the_same_state(
        values in proptest::collection::vec(
            prop_oneof![20 => -1.0..1.0_f64, 20 => 1.0..9.0_f64, 1 => any::<f64>(), 1 => Just(f64::NAN)], 1..400),
        cut in 1_usize..200,
    ) {
        for direction in [Direction::Up, Direction::Down, Direction::Both] {
            for scale in [Scale::Raw, Scale::Standardised] {
                let settings =
                    PageHinkleySettings { values_min: 3, threshold: 4.0, direction, scale, ..PageHinkleySettings::default() };
                slices_alarm_as_single_values(&PageHinkley::new(settings).unwrap(), &values, cut);
            }
        }
        let level = CusumLevel::First(10);
        let settings = CusumSettings { level, ..CusumSettings::default() };
        slices_alarm_as_single_values(&Cusum::new(settings).unwrap(), &values, cut);
        slices_alarm_as_single_values(&Adwin::new(AdwinSettings { delta: 0.2, ..AdwinSettings::default() }).unwrap(), &values, cut);
        let errors: Vec<bool> = values.iter().map(|value| *value > 4.0).collect();
        let settings = DdmSettings { values_min: 5, warning: 0.5, drift: 1.0 };
        slices_alarm_as_single_values(&Ddm::new(settings).unwrap(), &errors, cut);
        slices_alarm_as_single_values(&Eddm::new(EddmSettings { errors_min: 5, ..EddmSettings::default() }).unwrap(), &errors, cut);
    }

    #[test]
    fn numbers_of_any_size_neither_panic_nor_break_a_restart(
        values in proptest::collection::vec(
            prop_oneof![8 => -10.0..10.0_f64, 1 => any::<f64>(), 1 => Just(1e300), 1 => Just(f64::NAN)], 40..160)
    ) {
        goes_on_after_a_restart(Adwin::new(AdwinSettings { clock: 1, ..AdwinSettings::default() }).unwrap(), &values);
        let standardised = PageHinkleySettings { scale: Scale::Standardised, threshold: 5.0, ..PageHinkleySettings::default() };
        for settings in [PageHinkleySettings::default(), standardised] {
            goes_on_after_a_restart(PageHinkley::new(settings).unwrap(), &values);
        }
        let level = CusumLevel::First(10);
        goes_on_after_a_restart(Cusum::new(CusumSettings { level, ..CusumSettings::default() }).unwrap(), &values);
        let settings = KswinSettings { window: 20, recent: 10, alpha: 0.05, ..KswinSettings::default() };
        goes_on_after_a_restart(Kswin::new(settings).unwrap(), &values);
    }

    #[test]
    fn errors_neither_panic_nor_break_a_restart(values in proptest::collection::vec(any::<bool>(), 40..300)) {
        goes_on_after_a_restart(Ddm::new(DdmSettings::default()).unwrap(), &values);
        goes_on_after_a_restart(Eddm::new(EddmSettings::default()).unwrap(), &values);
        let two_sided = HddmASettings { two_sided: true, ..HddmASettings::default() };
        goes_on_after_a_restart(HddmA::new(two_sided).unwrap(), &values);
        let two_sided = HddmWSettings { two_sided: true, ..HddmWSettings::default() };
        goes_on_after_a_restart(HddmW::new(two_sided).unwrap(), &values);
        let stacked = FhddmSettings { window: 20, short_window: Some(5), confidence: 0.01, ..FhddmSettings::default() };
        goes_on_after_a_restart(Fhddm::new(stacked).unwrap(), &values);
    }
}

#[test]
fn windows_hold_no_more_than_they_say() {
    let mut detector = Adwin::new(AdwinSettings::default()).unwrap();
    for i in 0..200_000_u32 {
        detector.update(f64::from(i % 7));
    }
    assert!(serde_json::to_string(&detector).unwrap().len() < 8_000, "buckets grow with the logarithm");
}

#[test]
fn errors_and_successes_are_told_apart() {
    let alarms = |one_means| {
        let mut detector = Fhddm::new(FhddmSettings { one_means, ..FhddmSettings::default() }).unwrap();
        // Errors, written as ones, become frequent at 500.
        (0..1_000).map(|i| i % 10 == 0 || i >= 500).position(|one| detector.update(one) == Signal::Drift)
    };
    assert!(alarms(OneMeans::Wrong).is_some_and(|at| (500..540).contains(&at)));
    assert_eq!(alarms(OneMeans::Right), None);
}
