//! Questions as SQL, in words that Spark, Databricks and Sail share.
//!
//! A point-in-time join without ASOF: spine rows and source rows in one relation, ordered by the moment at which a
//! source row becomes visible; `last_value(..., true)` gives each spine row the newest visible row before it. Where
//! rows become visible in another order than their rank - by creation time - only those that outrank all visible before
//! them count, which a running maximum tells.

use std::fmt::Write as _;

use crate::join::{Bound, Knowledge};

/// `name` as an identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// What the SQL of one view is made from.
#[derive(Debug)]
pub(super) struct ViewSql {
    /// Reads the source: `place`, `event`, `created`, `k0`..., `f0`...
    pub(super) source: String,
    /// The columns of the spine that are compared with `k0`...
    pub(super) spine_keys: Vec<String>,
    pub(super) features: usize,
    /// In microseconds.
    pub(super) ttl: Option<i64>,
    pub(super) bound: Bound,
}

/// Of every row of `spine` (columns `r`, `t` and the keys) that has a winner in any view: `r`, then by view the winner's
/// event time and features, null where it has none.
pub(super) fn point_in_time(spine: &str, views: &[ViewSql], knowledge: Knowledge) -> String {
    let mut sql = format!("WITH spine AS ({spine})");
    for (number, view) in views.iter().enumerate() {
        let _infallible = write!(sql, ", v{number} AS ({})", view.winners(knowledge));
    }
    let columns = |(number, view): (usize, &ViewSql)| {
        let features = (0..view.features).map(move |feature| format!("v{number}.p.f{feature} AS v{number}_f{feature}"));
        std::iter::once(format!("v{number}.p.e AS v{number}_e")).chain(features)
    };
    let columns: Vec<String> =
        std::iter::once("spine.r AS r".to_owned()).chain(views.iter().enumerate().flat_map(columns)).collect();
    let _infallible = write!(sql, " SELECT {} FROM spine", columns.join(", "));
    for number in 0..views.len() {
        let _infallible = write!(sql, " LEFT JOIN v{number} ON spine.r = v{number}.r");
    }
    sql
}

impl ViewSql {
    /// `r` and the winner `p` of each spine row that has one.
    fn winners(&self, knowledge: Knowledge) -> String {
        let order = match knowledge {
            Knowledge::Event => "at, kind, created NULLS FIRST, place",
            Knowledge::Known => "at, kind, place",
        };
        let frame = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW";
        let window = format!("({}ORDER BY {order} {frame})", partition(self.spine_keys.len()));
        let rows = self.rows(knowledge);
        let (rows, mark) = match knowledge {
            Knowledge::Event => (rows, "x"),
            Knowledge::Known => (
                format!("SELECT *, max(place) OVER {window} AS best FROM ({rows})"),
                "CASE WHEN place = best THEN x END",
            ),
        };
        // The spine's times are below 2^62, so this does not overflow.
        let alive = self.ttl.map(|ttl| format!(" AND p.e >= t - {}", ttl.min(1 << 62))).unwrap_or_default();
        format!(
            "SELECT r, p FROM (SELECT r, t, last_value({mark}, true) OVER {window} AS p FROM ({rows})) \
             WHERE r IS NOT NULL AND p IS NOT NULL{alive}"
        )
    }

    /// The rows of the source and of the spine, ready to be ordered.
    fn rows(&self, knowledge: Knowledge) -> String {
        // Of the rows of one moment a spine row sees those before it.
        let (source_kind, spine_kind) = match self.bound {
            Bound::Inclusive => (0, 1),
            Bound::Exclusive => (1, 0),
        };
        let count = self.spine_keys.len();
        let keys: String = (0..count).map(|key| format!(", k{key}")).collect();
        let spine_keys: String =
            self.spine_keys.iter().enumerate().map(|(key, from)| format!(", {from} AS k{key}")).collect();
        let some =
            |names: &mut dyn Iterator<Item = String>| names.map(|name| format!(" AND {name} IS NOT NULL")).collect();
        let keyed: String = some(&mut (0..count).map(|key| format!("k{key}")));
        let spine_keyed: String = some(&mut self.spine_keys.iter().cloned());
        let features: String = (0..self.features).map(|feature| format!(", 'f{feature}', f{feature}")).collect();
        let payload = format!("named_struct('e', event{features})");
        let (at, place, known) = match knowledge {
            Knowledge::Event => ("event", "place".to_owned(), ""),
            Knowledge::Known => (
                "greatest(event, created)",
                format!("CAST(row_number() OVER ({}ORDER BY event, created, place) AS BIGINT)", partition(count)),
                " AND created IS NOT NULL",
            ),
        };
        format!(
            "SELECT CAST(NULL AS BIGINT) AS r, CAST(NULL AS BIGINT) AS t, {at} AS at, {source_kind} AS kind, created, \
             {place} AS place{keys}, {payload} AS x FROM ({source}) WHERE event IS NOT NULL{known}{keyed} UNION ALL \
             SELECT r, t, t AS at, {spine_kind} AS kind, CAST(NULL AS BIGINT) AS created, CAST(NULL AS BIGINT) AS place\
             {spine_keys}, NULL AS x FROM spine WHERE t IS NOT NULL{spine_keyed}",
            source = self.source
        )
    }
}

/// The beginning of a window over rows of equal keys.
fn partition(keys: usize) -> String {
    if keys == 0 {
        return String::new();
    }
    let keys: Vec<String> = (0..keys).map(|key| format!("k{key}")).collect();
    format!("PARTITION BY {} ", keys.join(", "))
}

/// The latest row of each key of `source` (`place`, `event`, `created`, `k0`..., `f0`...) with event time in
/// `start..end`, in microseconds: keys, event time, features.
pub(super) fn latest(source: &str, keys: usize, features: usize, (start, end): (i64, i64)) -> String {
    let keyed: String = (0..keys).map(|key| format!(" AND k{key} IS NOT NULL")).collect();
    // The least number is one that not every server can read.
    let since = if start == i64::MIN { String::new() } else { format!("event >= {start} AND ") };
    let names = (0..keys).map(|key| format!("k{key}")).chain(["event".to_owned()]);
    let names: Vec<String> = names.chain((0..features).map(|feature| format!("f{feature}"))).collect();
    format!(
        "SELECT {} FROM (SELECT *, row_number() OVER ({}ORDER BY event DESC, created DESC NULLS LAST, place DESC) AS \
         newest FROM ({source}) WHERE {since}event < {end}{keyed}) WHERE newest = 1",
        names.join(", "),
        partition(keys)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_quotes() {
        assert_eq!(quoted("a`; DROP"), "`a``; DROP`");
    }

    #[test]
    fn a_view_without_keys_has_one_partition() {
        let view = ViewSql {
            source: "SELECT * FROM s".to_owned(),
            spine_keys: Vec::new(),
            features: 1,
            ttl: Some(7),
            bound: Bound::Exclusive,
        };
        let sql = point_in_time("SELECT * FROM q", &[view], Knowledge::Event);
        assert!(sql.contains("OVER (ORDER BY at, kind,") && !sql.contains("PARTITION"), "{sql}");
        assert!(sql.contains("event AS at, 1 AS kind") && sql.contains("t AS at, 0 AS kind"), "{sql}");
        assert!(sql.ends_with("FROM spine LEFT JOIN v0 ON spine.r = v0.r"), "{sql}");
    }
}
