//! `traces/calculate-filter-correlation`: how far two filters find the same traces.
//!
//! Measured by pointwise mutual information, normalised to -1 (never together) to 1 (always together), 0 when they are
//! independent: ln(p(xy) / (p(x) p(y))) / -ln p(xy) (G. Bouma, "Normalized (Pointwise) Mutual Information in
//! Collocation Extraction", 2009). Undefined, and left out, when one of them finds nothing.

use mlops_core::{Error, Result};
use serde_json::Value;

use super::{Api, store};
use crate::{
    ExperimentId, PageRequest, Search,
    mlflow::{answer::object, request::Params},
};

/// Traces that are read at once, and counted at most.
const PAGE: usize = 500;
const COUNT_MAX: u64 = 200_000;
/// What is added to each cell of the table for the smoothed value: Jeffreys' prior.
const SMOOTHING: f64 = 0.5;

pub(super) async fn calculate(api: Api, params: Params) -> Result<Value> {
    params.required_list("experiment_ids")?;
    let experiments = params.experiment_ids()?;
    let (first, second) = (params.required("filter_string1")?, params.required("filter_string2")?);
    let base = params.text("base_filter")?.unwrap_or_default();
    let total = count(&api, &experiments, &[base]).await?;
    let first_count = count(&api, &experiments, &[base, first]).await?;
    let second_count = count(&api, &experiments, &[base, second]).await?;
    let joint = count(&api, &experiments, &[base, first, second]).await?;
    let table = Table::new(total, first_count, second_count, joint);
    Ok(object([
        ("npmi", table.and_then(Table::npmi).into()),
        ("npmi_smoothed", table.and_then(|table| table.smoothed().npmi()).into()),
        ("filter1_count", first_count.into()),
        ("filter2_count", second_count.into()),
        ("joint_count", joint.into()),
        ("total_count", total.into()),
    ]))
}

/// How many traces match all of the filters.
async fn count(api: &Api, experiments: &[ExperimentId], filters: &[&str]) -> Result<u64> {
    let filters: Vec<&str> = filters.iter().copied().filter(|filter| !filter.trim().is_empty()).collect();
    let page = PageRequest { max_results: Some(PAGE), token: None };
    let mut search = Search { filter: filters.join(" AND "), page, ..Search::default() };
    let mut count = 0;
    loop {
        let found = store(api)?.search(experiments, &search).await?;
        count += found.items.len() as u64;
        search.page.token = found.next_page_token;
        if search.page.token.is_none() {
            return Ok(count);
        }
        if count > COUNT_MAX {
            return Err(Error::resource_exhausted(format!(
                "more than {COUNT_MAX} traces match; narrow them by base_filter"
            )));
        }
    }
}

/// How often both, one and none of two filters match.
#[derive(Debug, Clone, Copy)]
struct Table {
    both: f64,
    first: f64,
    second: f64,
    neither: f64,
}

impl Table {
    /// None when a filter finds nothing, or when traces came or went while they were counted.
    fn new(total: u64, first: u64, second: u64, joint: u64) -> Option<Self> {
        if first == 0 || second == 0 {
            return None;
        }
        Some(Self {
            both: joint as f64,
            first: first.checked_sub(joint)? as f64,
            second: second.checked_sub(joint)? as f64,
            neither: (total + joint).checked_sub(first + second)? as f64,
        })
    }

    fn smoothed(self) -> Self {
        let more = |count: f64| count + SMOOTHING;
        Self { both: more(self.both), first: more(self.first), second: more(self.second), neither: more(self.neither) }
    }

    fn npmi(self) -> Option<f64> {
        let Self { both, first, second, neither } = self;
        let total = both + first + second + neither;
        if both == 0.0 {
            return Some(-1.0);
        }
        if both == total {
            return Some(1.0);
        }
        let information = (both * total / ((both + first) * (both + second))).ln();
        Some((information / -(both / total).ln()).clamp(-1.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of MLflow 3.17.2 for the same counts.
    #[test]
    fn the_information_is_mlflows() {
        let check = |(total, first, second, joint), plain: f64, smoothed: f64| {
            let table = Table::new(total, first, second, joint).unwrap();
            let close = |value: Option<f64>, expected: f64| (value.unwrap() - expected).abs() < 1e-12;
            assert!(close(table.npmi(), plain), "{table:?}");
            assert!(close(table.smoothed().npmi(), smoothed), "{table:?}");
        };
        check((10, 6, 7, 6), 0.698_232_287_779_921_5, 0.540_457_867_473_157_5);
        check((10, 4, 3, 3), 0.761_056_004_406_308_7, 0.602_151_645_132_016_5);
        check((10, 6, 3, 0), -1.0, -0.484_713_325_569_597_06);
        assert_eq!(Table::new(4, 4, 4, 4).unwrap().npmi(), Some(1.0));
        assert!(Table::new(10, 0, 7, 0).is_none() && Table::new(1, 2, 2, 1).is_none());
    }
}
