//! What every [`Collective`] promises, and that threads keep it; processes are asked in `mpi`.

use std::{num::NonZeroU64, path::Path, sync::Arc};

use mlops_core::{ErrorKind, Result};
use mlops_train::{
    BurnSettings, Checkpoints, Collective, EpochRecord, FitContext, MlpSettings, MlpTrainer, ThreadGroup, TrainedModel,
};

use crate::common::xor;

/// All promises, to be run by all members of one group at the same time. The last one ends the group.
pub(crate) fn check(member: Arc<dyn Collective>) {
    what_all_bring_comes_in_their_order(&*member);
    lengths_may_differ(&*member);
    many_rounds_stay_in_step(&*member);
    a_fit_learns_what_one_member_learns(&member);
    a_member_that_leaves_is_noticed(member);
}

fn what_all_bring_comes_in_their_order(member: &dyn Collective) {
    assert!(member.rank() < member.size());
    let gathered = member.all_gather(vec![member.rank() as u8; 3]).unwrap();
    let expected: Vec<Vec<u8>> = (0..member.size()).map(|rank| vec![rank as u8; 3]).collect();
    assert_eq!(gathered, expected);
}

fn lengths_may_differ(member: &dyn Collective) {
    // None, few and many bytes, then nobody any.
    let bring = |rank: usize| -> Vec<u8> { (0..rank * rank * 50_000).map(|at| (at % 251) as u8).collect() };
    let gathered = member.all_gather(bring(member.rank())).unwrap();
    assert!(gathered.iter().enumerate().all(|(rank, bytes)| *bytes == bring(rank)));
    assert_eq!(gathered.len(), member.size());
    assert_eq!(member.all_gather(Vec::new()).unwrap(), vec![Vec::<u8>::new(); member.size()]);
}

fn many_rounds_stay_in_step(member: &dyn Collective) {
    for round in 0..200_u8 {
        let gathered = member.all_gather(vec![member.rank() as u8, round]).unwrap();
        assert!(gathered.iter().enumerate().all(|(rank, bytes)| *bytes == [rank as u8, round]));
    }
}

fn a_fit_learns_what_one_member_learns(member: &Arc<dyn Collective>) {
    let alone = fit(&FitContext::new(3)).unwrap();
    assert_eq!(alone.0.len(), 4);
    // Of four batches three members take two, two and none: powers of two, so the bits are the same.
    assert_eq!(fit(&FitContext::new(3).with_collective(Arc::clone(member))).unwrap(), alone);
}

fn a_member_that_leaves_is_noticed(member: Arc<dyn Collective>) {
    if member.rank() + 1 == member.size() {
        drop(member);
        return;
    }
    let error = fit(&FitContext::new(3).with_collective(Arc::clone(&member))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let error = member.all_gather(vec![1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "it stays so: {error}");
}

/// What each epoch of a fit came to, and the digest of its model. Four batches make a step; with checkpoints in the
/// context, there is one after every step.
pub(crate) fn fit(context: &FitContext) -> Result<(Vec<EpochRecord>, String)> {
    let training = BurnSettings { epochs: 4, batch_rows: 16, accumulate: 4, ..BurnSettings::default() };
    let settings = MlpSettings { hidden_units: 8, training, ..MlpSettings::default() };
    let model = MlpTrainer.fit_settings(&xor(700, 4), &settings, context)?;
    Ok((model.history().to_vec(), model.to_package()?.digest()?.to_string()))
}

/// Checkpoints of [`fit`].
#[cfg_attr(not(feature = "mpi"), allow(dead_code, reason = "only processes can be killed"))]
pub(crate) fn checkpoints(home: &Path) -> Checkpoints {
    Checkpoints::new(home).with_every(NonZeroU64::MIN)
}

#[test]
fn threads_keep_the_promises() {
    for size in 1..=4 {
        std::thread::scope(|scope| {
            for member in ThreadGroup::members(size) {
                scope.spawn(move || check(Arc::new(member)));
            }
        });
    }
}
