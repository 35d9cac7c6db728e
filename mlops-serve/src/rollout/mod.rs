//! Moving traffic from the champion to candidates, judged on the way.
//!
//! | look for | in |
//! |---|---|
//! | the state machine, a value | [`Rollout`], [`Phase`], [`Command`] |
//! | canary, blue-green, shadow, A/B/n, bandit | [`Strategy`] |
//! | limits, when a stage is passed, horizons | [`RolloutSettings`], [`Guardrail`], [`Requirement`] |
//! | what was found and why | [`Look`], [`Finding`], [`Decision`] |
//! | where rollouts survive restarts | [`RolloutStore`] |
//! | rewards, exploration | [`bandit`] |
//! | would another policy have done better? | [`off_policy`] |
//! | the tests, as pure functions | [`statistics`] |
//!
//! Who answers is decided by 10,000 buckets of a hash of the routing key, so replicas agree without talking, a key stays
//! with its arm, and raising a share moves only as many keys as it must. Guardrails may be judged after every request
//! without crying wolf: over a whole rollout a candidate that is as good as the champion is rolled back with probability
//! at most [`RolloutSettings::alpha`]. What remains undecided pauses for a person.
//!
//! # A canary with guardrails
//! ```
//! use std::sync::Arc;
//! # use mlops_core::{DataType, ModelName, Signature, TensorSpec, Version};
//! # use mlops_serve::{ClosureModel, ModelRepository, Server};
//! use mlops_serve::rollout::{Decision, FileRolloutStore, Guardrail, RolloutSettings, Strategy};
//!
//! # #[tokio::main] async fn main() -> mlops_core::Result<()> {
//! # let column = TensorSpec::column("x", DataType::Float64);
//! # let echo = || ClosureModel::new(Signature::new([column.clone()], [column.clone()]).unwrap(), |batch| Ok(batch.clone()));
//! # let model: ModelName = "fraud".parse()?;
//! # let repository = Arc::new(ModelRepository::new());
//! # repository.register(&model, Version(1), Arc::new(echo()))?;
//! # repository.register(&model, Version(2), Arc::new(echo()))?;
//! # let folder = tempfile::tempdir().unwrap();
//! # let folder = folder.path();
//! let store = Arc::new(FileRolloutStore::open(folder)?);
//! let server = Server::builder(repository).with_rollout_store(store).build()?;
//! server.recover_rollouts().await?;
//!
//! let plan = RolloutSettings {
//!     strategy: Strategy::Canary { steps: vec![0.01, 0.1, 0.5, 1.0], mirror: 1.0 },
//!     guardrails: vec![
//!         Guardrail::Errors { margin: 0.005 },
//!         Guardrail::Slow { margin: 0.01 },
//!         Guardrail::SlowAtMost { share: 0.05 },
//!     ],
//!     slow_above_us: 20_000,
//!     ..RolloutSettings::default()
//! };
//! server.start_rollout(&model, Version(2), plan).await?;
//! // Every now and then, or in the background by `server.watch_rollouts(period)`:
//! assert_eq!(server.step_rollout(&model).await?, Decision::Hold, "nothing was seen yet");
//! # Ok(()) }
//! ```
//!
//! # An A/B/n experiment
//! ```
//! use mlops_core::{ModelName, Timestamp, Version};
//! use mlops_metrics::Direction;
//! use mlops_serve::rollout::{Decision, Goal, Rollout, RolloutSettings, RolloutStats, Strategy, Variant};
//!
//! let goal = Goal { kpi: "revenue".into(), direction: Direction::Maximize, effect: 0.1 };
//! let plan = RolloutSettings {
//!     strategy: Strategy::Experiment { weights: vec![0.25, 0.25], goal: Some(goal) },
//!     guardrails: vec![],
//!     sticky_by: Some("user".into()),
//!     ..RolloutSettings::default()
//! };
//! let now = Timestamp::default();
//! let shop = ModelName::new("shop")?;
//! let experiment = Rollout::with_candidates(shop, Version(1), [Version(2), Version(3)], plan)?.started(now);
//! assert_eq!(experiment.route("user-2"), experiment.route("user-2"), "a user stays where they are");
//!
//! // `server.record_outcome(model, request_id, "revenue", 3.5)` fills these.
//! let mut stats = RolloutStats { candidates: vec![Default::default(); 2], ..RolloutStats::default() };
//! stats.champion.requests = 8_000;
//! stats.champion.kpis.insert("revenue".into(), (0..8_000).map(|i| f64::from(i % 5)).collect());
//! for (place, more) in [(0, 0.0), (1, 0.5)] {
//!     stats.candidates[place].requests = 4_000;
//!     stats.candidates[place].kpis.insert("revenue".into(), (0..4_000).map(|i| more + f64::from(i % 5)).collect());
//! }
//! assert_eq!(experiment.look(&stats, now).decision, Decision::Promote(Version(3)));
//! # Ok::<(), mlops_core::Error>(())
//! ```
//!
//! # A bandit
//! ```
//! use mlops_serve::rollout::bandit::{Bandit, BanditSettings, Policy};
//!
//! let policy = Policy::Thompson { successes: 1.0, failures: 1.0 };
//! let mut bandit = Bandit::new(BanditSettings::new("click", policy), 2);
//! for i in 0..400 {
//!     bandit.reward(0, &[], f64::from(u8::from(i % 10 == 0)))?;
//!     bandit.reward(1, &[], f64::from(u8::from(i % 4 == 0)))?;
//! }
//! let choice = bandit.choose(&[], 0.7);
//! assert_eq!(choice.arm, 1);
//! assert!(choice.propensity > 0.9 && choice.propensity < 1.0, "every arm keeps its minimum share");
//! # Ok::<(), mlops_core::Error>(())
//! ```

mod allocation;
mod arms;
pub mod bandit;
mod bucket;
mod guardrail;
mod judge;
mod machine;
pub mod off_policy;
mod settings;
pub mod statistics;
mod sticky;
mod store;
mod strategy;
#[cfg(test)]
mod tests;
mod variant;

pub use allocation::Allocation;
pub use arms::{ArmStats, RolloutStats};
pub(crate) use bucket::unit_of;
pub use bucket::{BUCKETS, bucket_of};
pub use guardrail::{Finding, Guardrail, Verdict};
pub use judge::{Decision, Look};
pub(crate) use machine::mirrors;
pub use machine::{Command, Phase, Rollout};
pub use settings::{GUARDRAILS_MAX, Requirement, RolloutSettings};
pub use sticky::StickyCookie;
pub use store::{FileRolloutStore, MemoryRolloutStore, RolloutStore, conformance};
pub use strategy::{Goal, Strategy};
pub use variant::{CANDIDATES_MAX, Variant};
