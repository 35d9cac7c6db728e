//! How groups fare, before and after thresholds by sex.

use mlops::{
    core::Result,
    train::{
        Metric, TableDataset,
        fairness::{FrameMetric, FrameSettings, MetricFrame, ThresholdOptimizer, ThresholdSettings},
        metrics::Rate,
    },
};

use crate::people::{RACE, SEX, groups};

/// Rows count as called positive from this score on.
pub const THRESHOLD: f64 = 0.5;

/// Frames of one set of calls.
pub struct Frames {
    pub by_sex: MetricFrame,
    pub by_race: MetricFrame,
}

impl Frames {
    /// The places of rates in a frame: selection comes first.
    fn of(data: &TableDataset, scores: &[f64]) -> Result<Self> {
        let metrics: [FrameMetric; 3] = [Rate::Selection.into(), Rate::TruePositive.into(), Metric::Accuracy.into()];
        let frame = |name: &str| {
            let settings = FrameSettings::default();
            MetricFrame::of(data.labels(), scores, THRESHOLD, &groups(data, name)?, &metrics, &settings)
        };
        Ok(Self { by_sex: frame(SEX)?, by_race: frame(RACE)? })
    }

    /// Difference and ratio of selection rates between the sexes.
    pub fn gap(&self) -> Result<(f64, f64)> {
        Ok((self.by_sex.difference(0)?, self.by_sex.ratio(0)?))
    }

    pub fn to_markdown(&self) -> String {
        format!("{}\n{}", self.by_sex.to_markdown(), self.by_race.to_markdown())
    }
}

/// Both frames of the judged rows, and the rules that lie between them. Rules are fitted on rows that neither the model
/// learnt from nor the frames are of.
pub fn mitigate(
    tune: (&TableDataset, &[f64]),
    judge: (&TableDataset, &[f64]),
    seed: u64,
) -> Result<(Frames, Frames, ThresholdOptimizer)> {
    let settings = ThresholdSettings { seed, ..ThresholdSettings::default() };
    let rules = ThresholdOptimizer::fit(&groups(tune.0, SEX)?, tune.0.labels(), tune.1, &settings)?;
    let sexes = groups(judge.0, SEX)?;
    let called = |(row, (sex, score)): (usize, (&String, &f64))| {
        // A person always gets the same answer, for the key decides where the rule draws.
        rules.decide(sex, *score, &format!("person {row}")).map(|called| f64::from(u8::from(called)))
    };
    let calls: Vec<f64> = sexes.iter().zip(judge.1).enumerate().map(called).collect::<Result<_>>()?;
    Ok((Frames::of(judge.0, judge.1)?, Frames::of(judge.0, &calls)?, rules))
}
