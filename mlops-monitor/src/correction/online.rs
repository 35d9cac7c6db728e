//! Which runs are alarms, so that the number of false ones per 30 days stays within a budget.
//!
//! Invariant: the level of a run depends on the runs before it alone, never on its own tail; the state is plain data
//! of bounded size, so that a budget that is serialised and read back goes on as if nothing had happened. It sees no
//! clock: 30 days are so many runs.
//!
//! Sources: Ramdas, Yang, Wainwright, Jordan, Online control of the false discovery rate with decaying memory, NIPS
//! 2017 (LORD++); Ramdas, Zrnic, Wainwright, Jordan, SAFFRON: an adaptive algorithm for online control of the false
//! discovery rate, ICML 2018.

use std::collections::VecDeque;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::spending;
use crate::{
    settings::{Validate, valid},
    stats::{Tail, count_of, float},
};

/// Alarms that a budget remembers. Older ones earn no more level, which makes later levels lower, never higher: all
/// guarantees hold, and after a thousand alarms in 30 days some power is lost.
pub const REJECTIONS_MAX: usize = 1024;

/// Tails up to this are candidates in SAFFRON, and levels stay below it.
const LAMBDA: f64 = 0.5;

/// How the budget is spent on runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AlarmMethod {
    /// The same level for every run: false alarms over runs. Holds for runs that depend on each other in any way.
    #[default]
    Fixed,
    /// Levels that fall until an alarm and rise with each (LORD++). Needs runs whose tails are valid given the past.
    LordPlusPlus,
    /// As LORD++, but runs with a tail above one half cost nothing: more power when drift is frequent (SAFFRON with
    /// lambda = 1/2). Needs the same.
    Saffron,
}

/// What a budget allows. See [`AlarmBudget`] for what each method makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlarmBudgetSettings {
    /// False alarms in 30 days that are acceptable on average, above 0; for [`AlarmMethod::Fixed`] fewer than runs.
    /// Default 1.
    pub false_alarms_per_30_days: f64,
    /// Runs in 30 days, at least 1. Default 720, one an hour.
    pub runs_per_30_days: u64,
    /// How it is spent.
    pub method: AlarmMethod,
}

impl Default for AlarmBudgetSettings {
    fn default() -> Self {
        Self { false_alarms_per_30_days: 1.0, runs_per_30_days: 720, method: AlarmMethod::default() }
    }
}

impl AlarmBudgetSettings {
    /// Checks every value.
    ///
    /// # Errors
    /// `InvalidArgument` naming all that are out of range.
    pub fn validate(&self) -> Result<()> {
        let (budget, runs) = (self.false_alarms_per_30_days, self.runs_per_30_days);
        let mut faults = Vec::new();
        if !(budget.is_finite() && budget > 0.0) {
            faults.push(format!("false_alarms_per_30_days must be finite and above 0, found {budget}"));
        }
        if runs == 0 {
            faults.push("runs_per_30_days must be at least 1, found 0".to_owned());
        } else if self.method == AlarmMethod::Fixed && budget >= float(runs) {
            faults.push(format!("false_alarms_per_30_days must be below runs_per_30_days ({runs}), found {budget}"));
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("alarm budget settings: {}", faults.join("; "))))
    }

    /// The level that the budget B comes to: of each run B / runs for [`AlarmMethod::Fixed`], of the false discovery
    /// rate B / (1 + B) for the others.
    #[must_use]
    pub fn level(&self) -> f64 {
        let budget = self.false_alarms_per_30_days;
        match self.method {
            AlarmMethod::Fixed => budget / float(self.runs_per_30_days),
            AlarmMethod::LordPlusPlus | AlarmMethod::Saffron => budget / (1.0 + budget),
        }
    }
}

impl Validate for AlarmBudgetSettings {
    fn validate(&self) -> Result<()> {
        Self::validate(self)
    }
}

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AlarmDecision {
    /// Whether the tail was at most the level.
    pub alarm: bool,
    /// The level that the run was held against.
    pub level: f64,
}

/// Decides which runs are alarms.
///
/// Take a tail p of each run that is valid without drift, P(p <= x) <= x, such as [`crate::DriftReport::tail`], and a
/// budget of B false alarms per 30 days of R runs. Let V be the number of false alarms in 30 days and T that of true
/// ones.
///
/// | method | level | guarantee | needs |
/// |---|---|---|---|
/// | [`AlarmMethod::Fixed`] | B / R for every run | E V <= B | nothing more |
/// | [`AlarmMethod::LordPlusPlus`], [`AlarmMethod::Saffron`] | varies; their alpha is B / (1 + B) | E V <= B (1 + E T), and E V <= alpha E max(V + T, 1) | P(p <= x given earlier runs) <= x |
///
/// The first follows by adding up R levels. The others keep the sum of levels (SAFFRON: twice that of runs that are no
/// candidates, which estimates it) below alpha max(V + T, 1), so that E V <= alpha (E V + E T + 1), which is solved for
/// E V. When the runs are independent, the false discovery rate E (V / max(V + T, 1)) of the 30 days is at most alpha
/// as well. Without drift all three thus keep to B: `Fixed` uses all of it, LORD++ and SAFFRON much less. With frequent
/// drift these two have higher levels and find more, and may raise B more false alarms on average for every true one;
/// take them for the share of false alarms among all, not for their number.
///
/// What is not promised: that any one 30 days have no more than B, for B bounds the average; anything when p is not
/// valid, as that of a window that the reference was drawn from; and for LORD++ and SAFFRON anything when runs share
/// rows (sliding windows). A reference much smaller than the windows makes runs alike, which only `Fixed` stands. 30
/// days are counted in runs: after `runs_per_30_days` of them LORD++ and SAFFRON begin anew, so that levels do not dry
/// up in quiet years. Skip a run that has no tail.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::{Timestamp, arrow_array::{ArrayRef, Float64Array, RecordBatch}};
/// use mlops_monitor::{AlarmBudget, AlarmBudgetSettings, Monitor, ProfileSettings, ReferenceProfile};
///
/// let window = |shift: f64| {
///     let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..500).map(|i| f64::from(i) + shift)));
///     RecordBatch::try_from_iter([("amount", values)])
/// };
/// let profile = ReferenceProfile::from_batch(&window(0.0)?, &ProfileSettings::default())?;
/// let monitor = Monitor::builder(profile).build()?;
/// let settings = AlarmBudgetSettings { false_alarms_per_30_days: 0.5, ..AlarmBudgetSettings::default() };
/// let mut budget = AlarmBudget::new(settings)?;
///
/// for (shift, expected) in [(0.0, false), (250.0, true)] {
///     let report = monitor.observe(&window(shift)?, Timestamp::from_millis(0));
///     let tail = report.tail().expect("a test could have found something");
///     let decision = budget.judge(tail);
///     assert_eq!(decision.alarm, expected);
///     assert_eq!(decision.level, 0.5 / 720.0);
/// }
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlarmBudget {
    #[serde(deserialize_with = "valid")]
    settings: AlarmBudgetSettings,
    /// Runs judged in these 30 days.
    runs: u64,
    /// How far the spending sequence has moved on: by every run, with SAFFRON by every run that is no candidate.
    clock: u64,
    /// The clock after each of the latest alarms, oldest first.
    rejections: VecDeque<u64>,
    /// Whether the first alarm is among those forgotten.
    first_forgotten: bool,
}

impl AlarmBudget {
    /// A budget of which nothing is spent.
    ///
    /// # Errors
    /// As [`AlarmBudgetSettings::validate`].
    pub fn new(settings: AlarmBudgetSettings) -> Result<Self> {
        settings.validate()?;
        Ok(Self { settings, runs: 0, clock: 0, rejections: VecDeque::new(), first_forgotten: false })
    }

    /// What it was made from.
    #[must_use]
    pub fn settings(&self) -> &AlarmBudgetSettings {
        &self.settings
    }

    /// The level that the next run is held against.
    #[must_use]
    pub fn level(&self) -> f64 {
        match self.settings.method {
            AlarmMethod::Fixed => self.settings.level(),
            AlarmMethod::LordPlusPlus => self.earned(spending::lord),
            AlarmMethod::Saffron => ((1.0 - LAMBDA) * self.earned(spending::saffron)).min(LAMBDA),
        }
    }

    /// Whether a run with this tail is an alarm; the run is then spent.
    pub fn judge(&mut self, p: Tail) -> AlarmDecision {
        let level = self.level();
        let alarm = p.ln() <= level.ln();
        let candidate = self.settings.method == AlarmMethod::Saffron && p.ln() <= LAMBDA.ln();
        self.clock = self.clock.saturating_add(u64::from(!candidate));
        if alarm && self.settings.method != AlarmMethod::Fixed {
            self.remember();
        }
        self.runs = self.runs.saturating_add(1);
        if self.runs >= self.settings.runs_per_30_days {
            (self.runs, self.clock, self.first_forgotten) = (0, 0, false);
            self.rejections.clear();
        }
        AlarmDecision { alarm, level }
    }

    fn remember(&mut self) {
        self.rejections.push_back(self.clock);
        while count_of(self.rejections.len()) > count_of(REJECTIONS_MAX) {
            self.rejections.pop_front();
            self.first_forgotten = true;
        }
    }

    /// w0 g(t) + (alpha - w0) g(t - t1) + alpha (g(t - t2) + ...) with w0 = alpha / 2, where t1, t2, ... are the runs
    /// with an alarm and time moves as the clock does.
    fn earned(&self, sequence: fn(u64) -> f64) -> f64 {
        let alpha = self.settings.level();
        let initial = alpha / 2.0;
        let since = |clock: u64| sequence(self.clock.saturating_sub(clock).saturating_add(1));
        let rejections = self.rejections.iter().enumerate();
        let earned = rejections.map(|(i, clock)| {
            let first = i == 0 && !self.first_forgotten;
            since(*clock) * if first { alpha - initial } else { alpha }
        });
        initial * since(0) + earned.sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use mlops_core::testing::SplitMix64;

    use super::*;

    const METHODS: [AlarmMethod; 3] = [AlarmMethod::Fixed, AlarmMethod::LordPlusPlus, AlarmMethod::Saffron];

    fn budget(method: AlarmMethod, false_alarms_per_30_days: f64, runs_per_30_days: u64) -> AlarmBudget {
        AlarmBudget::new(AlarmBudgetSettings { false_alarms_per_30_days, runs_per_30_days, method }).unwrap()
    }

    fn tail(p: f64) -> Tail {
        Tail::from_ln(p.ln())
    }

    /// Levels and alarms of numpy programs of the published formulas that keep whole histories, alpha = 0.5, w0 = 0.25
    /// on p_t = 2e-4 when 9 divides t, else ((37 t mod 101) + 0.5) / 101.
    fn check(method: AlarmMethod, alarms: &[u32], levels: &[(usize, f64)]) {
        let mut budget = budget(method, 1.0, 1_000);
        let p = |t: u32| if t.is_multiple_of(9) { 2e-4 } else { (f64::from(37 * t % 101) + 0.5) / 101.0 };
        let found: Vec<(u32, AlarmDecision)> = (1..=60).map(|t| (t, budget.judge(tail(p(t))))).collect();
        let alarmed: Vec<u32> = found.iter().filter(|(_, decision)| decision.alarm).map(|(t, _)| *t).collect();
        assert_eq!(alarmed, alarms, "{method:?}");
        for (t, level) in levels {
            let (_, decision) = &found[t - 1];
            assert!((decision.level / level - 1.0).abs() < 1e-12, "{method:?} {t}: {} is not {level}", decision.level);
        }
    }

    #[test]
    fn levels_are_those_of_the_papers() {
        let alarms = [9, 18, 27, 36, 45, 54];
        let levels = [
            (1, 0.013_379_192_728_150_215),
            (2, 0.002_909_551_445_735_435_3),
            (9, 0.001_070_237_153_515_942_7),
            (10, 0.014_353_755_704_466_188),
            (19, 0.028_270_761_732_800_395),
            (28, 0.029_615_495_988_898_254),
            (37, 0.030_434_989_232_628_554),
            (46, 0.031_032_205_026_126_868),
            (60, 0.006_733_529_716_101_486_5),
        ];
        check(AlarmMethod::LordPlusPlus, &alarms, &levels);
        let levels = [
            (1, 0.054_686_270_721_75),
            (2, 0.054_686_270_721_75),
            (9, 0.004_164_149_386_125_688_5),
            (10, 0.058_850_420_107_875_69),
            (19, 0.117_286_500_329_266_63),
            (28, 0.120_690_000_384_411_76),
            (37, 0.122_626_279_905_643_68),
            (46, 0.123_858_826_991_170_26),
            (60, 0.020_724_210_929_190_436),
        ];
        check(AlarmMethod::Saffron, &alarms, &levels);
    }

    /// Mean false and true alarms of a 30 days in which every `drift_every`-th run has drift.
    fn simulate(method: AlarmMethod, periods: u64, drift_every: u64) -> (f64, f64) {
        const RUNS: u64 = 240;
        let (mut budget, draws) = (budget(method, 1.0, RUNS), SplitMix64::new(17));
        let (mut wrong, mut right) = (0_u64, 0_u64);
        for run in 1..=periods * RUNS {
            let drift = run.is_multiple_of(drift_every);
            let p = draws.uniform(run) * if drift { 1e-3 } else { 1.0 };
            let alarm = u64::from(budget.judge(tail(p)).alarm);
            if drift { right += alarm } else { wrong += alarm }
        }
        (float(wrong) / float(periods), float(right) / float(periods))
    }

    /// The number of false alarms of 30 days has a variance near its mean of at most 1; the mean of 2,000 periods is
    /// within 0.09 of its expectation but for one seed in 10,000.
    #[test]
    fn without_drift_every_method_keeps_to_the_budget() {
        for method in METHODS {
            let (wrong, _) = simulate(method, 2_000, u64::MAX);
            assert!(wrong <= 1.09, "{method:?} {wrong}");
            // None is without alarms at all.
            let used = match method {
                AlarmMethod::Fixed => 0.91,
                AlarmMethod::LordPlusPlus => 0.04,
                AlarmMethod::Saffron => 0.2,
            };
            assert!(wrong >= used, "{method:?} {wrong}");
        }
    }

    #[test]
    fn with_drift_false_alarms_follow_the_stated_bounds() {
        for method in METHODS {
            let (wrong, right) = simulate(method, 500, 8);
            let bound = if method == AlarmMethod::Fixed { 1.0 } else { 1.0 + right };
            assert!(wrong <= bound + 0.2, "{method:?}: {wrong} false, {right} true");
            assert!(right > 20.0, "{method:?}: {right} of 30 found");
        }
    }

    #[test]
    fn a_fixed_level_stands_runs_that_are_all_alike() {
        let (mut budget, draws, mut alarms) = (budget(AlarmMethod::Fixed, 1.0, 20), SplitMix64::new(3), 0_u32);
        for period in 0..20_000 {
            let p = tail(draws.uniform(period));
            alarms += (0..20).map(|_| u32::from(budget.judge(p).alarm)).sum::<u32>();
        }
        // 20 alarms in one period of 20: mean 1, standard deviation of the mean sqrt(19 / 20,000) = 0.03.
        assert!((f64::from(alarms) / 20_000.0 - 1.0).abs() < 0.12, "{alarms}");
    }

    #[test]
    fn a_restart_changes_nothing_and_thirty_days_later_it_begins_anew() {
        for method in METHODS {
            let mut budget = budget(method, 2.0, 50);
            let (fresh, draws) = (budget.clone(), SplitMix64::new(8));
            for run in 1..=100 {
                let mut restarted: AlarmBudget =
                    serde_json::from_str(&serde_json::to_string(&budget).unwrap()).unwrap();
                let p = tail(draws.uniform(run).powi(3));
                assert_eq!(restarted.judge(p), budget.judge(p));
                assert_eq!(restarted, budget);
                assert_eq!(budget == fresh, run % 50 == 0, "{method:?} {run}");
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_forgetting_only_lowers_levels() {
        for method in [AlarmMethod::LordPlusPlus, AlarmMethod::Saffron] {
            let mut bounded = budget(method, 1.0, 1_000_000);
            let zero = Tail::from_ln(f64::NEG_INFINITY);
            for run in 0..3 * REJECTIONS_MAX {
                assert!(bounded.judge(zero).alarm);
                assert_eq!(bounded.first_forgotten, run >= REJECTIONS_MAX);
            }
            assert_eq!(bounded.rejections.len(), REJECTIONS_MAX);
            let all = AlarmBudget {
                rejections: match method {
                    AlarmMethod::Saffron => vec![0; 3 * REJECTIONS_MAX].into(),
                    _ => (1..=bounded.clock).collect(),
                },
                first_forgotten: false,
                ..bounded.clone()
            };
            assert!(bounded.level() > 0.0 && bounded.level() <= all.level());
        }
    }

    #[test]
    fn settings_out_of_range_are_refused_at_once_and_when_read_back() {
        for (value, runs, method, words) in [
            (f64::NAN, 0, AlarmMethod::Saffron, vec!["false_alarms_per_30_days", "runs_per_30_days"]),
            (30.0, 30, AlarmMethod::Fixed, vec!["below runs_per_30_days"]),
            (-1.0, 30, AlarmMethod::LordPlusPlus, vec!["above 0"]),
        ] {
            let settings = AlarmBudgetSettings { false_alarms_per_30_days: value, runs_per_30_days: runs, method };
            let error = AlarmBudget::new(settings).unwrap_err();
            assert!(words.iter().all(|word| error.message().contains(word)), "{error}");
        }
        let stored = serde_json::to_string(&budget(AlarmMethod::Fixed, 1.0, 720)).unwrap();
        let spoiled = stored.replace("720", "0");
        assert!(serde_json::from_str::<AlarmBudget>(&spoiled).unwrap_err().to_string().contains("runs_per_30_days"));
    }
}
