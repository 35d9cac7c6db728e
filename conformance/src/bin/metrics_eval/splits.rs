//! Folds without shuffling.

use mlops_core::Result;
use mlops_train::{
    Fold, GroupKFold, Groups, KFold, LeaveOneGroupOut, PredefinedSplit, PurgedKFold, StratifiedGroupKFold,
    StratifiedKFold, TimeSeriesSplit,
};
use serde_json::{Value, json};

use crate::inputs::{field, part};

pub(crate) fn section(input: &Value) -> Result<Value> {
    let rows: usize = field(input, "n")?;
    let labels: Vec<f64> = field(input, "y")?;
    let groups = Groups::of(&field::<Vec<i64>>(input, "groups")?);
    // Eight rows to train on always, eight in fold 0, the others in fold 1.
    let predefined = (0..rows).map(|row| (row / 8).min(2).checked_sub(1)).collect();
    let purged = part(input, "purged_kfold")?;
    let (ends, folds, embargo): (Vec<usize>, usize, usize) =
        (field(purged, "t1")?, field(purged, "k")?, field(purged, "embargo")?);
    let purged = PurgedKFold::over_rows(folds, 0).with_embargo_rows(embargo).split_ends(&ends)?;
    let purged: Vec<Value> = purged.iter().map(|fold| json!({ "train": fold.train, "test": fold.test })).collect();
    Ok(json!({
        "test_indices": {
            "kfold5": tests(KFold::new(5).split_rows(rows)?),
            "stratified4": tests(StratifiedKFold::new(4).split_labels(&labels)?),
            "group4": tests(GroupKFold::new(4, groups.clone()).folds()?),
            "stratified_group3": tests(StratifiedGroupKFold::new(3, groups.clone()).split_labels(&labels)?),
            "leave_one_group_out": tests(LeaveOneGroupOut::new(groups).folds()?),
            "predefined": tests(PredefinedSplit::new(predefined).folds()?),
        },
        "time_series_ranges_end_exclusive": {
            "ts4": ranges(&TimeSeriesSplit::new(4).split_rows(rows)?),
            "ts3_gap2": ranges(&TimeSeriesSplit::new(3).with_gap_rows(2).split_rows(rows)?),
            "ts3_test3_max8": ranges(&TimeSeriesSplit::new(3).with_test_rows(3).with_train_rows_max(8).split_rows(rows)?),
        },
        "purged_kfold": { "folds": purged },
    }))
}

fn tests(folds: Vec<Fold>) -> Vec<Vec<usize>> {
    folds.into_iter().map(|fold| fold.test).collect()
}

/// First row and the one after the last, of sides without holes.
fn ranges(folds: &[Fold]) -> Vec<Value> {
    let range = |side: &[usize]| [side.first().copied().unwrap_or(0), side.last().map_or(0, |last| last + 1)];
    folds.iter().map(|fold| json!({ "train": range(&fold.train), "test": range(&fold.test) })).collect()
}
