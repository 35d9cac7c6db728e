//! Reading the history of a metric, segment by segment.
//!
//! Invariant: what is held in memory is a page and one segment, however long the history. A reader takes no lock: a closed
//! segment that merging removed meanwhile is noticed by its absence, and the reader begins anew.

use async_trait::async_trait;
use mlops_core::{Error, Metric, Result, RunId};
use mlops_store::{MetaStoreExt as _, Row, params};

use super::SqlTrackingStore;
use crate::{
    search::{Page, PageRequest},
    tracking::{
        sample::{PointSource, Take},
        segment::{Point, decode, normalize},
    },
};

/// How often reading begins anew because of concurrent merging.
const ATTEMPTS_MAX: u32 = 64;

/// Most points of segments that reach over one another that are held at once; with more, one reads page by page.
const OVERLAPPING_MAX: usize = 262_144;

/// Timestamp, step and order of the value.
type Order = (i64, i64, i64);

/// Why reading stopped, and behind which point.
enum Stopped {
    End,
    Gone(Option<Order>),
    Overlap(Option<Order>),
}

/// A segment that is still to be read.
struct Segment {
    run: i64,
    key: i64,
    number: i64,
    first: (i64, i64),
    /// The points of the open segment, which may be gone or changed by the time one asks again.
    open: Option<Vec<u8>>,
}

impl SqlTrackingStore {
    pub(super) async fn history_of(&self, id: &RunId, key: &str, request: &PageRequest) -> Result<Page<Metric>> {
        let of = format!("history {id} {key}");
        let after: Option<Order> = request.position(&of)?;
        let size = request.size()?;
        let mut points = self.points_after(id, key, after, size + 1).await?;
        let more = points.len() > size;
        points.truncate(size);
        let last = points.last().filter(|_| more);
        let next_page_token = last.map(|point| PageRequest::token(&of, &point.order())).transpose()?;
        Ok(Page { items: points.into_iter().map(|point| point.metric(key)).collect(), next_page_token })
    }

    /// The first `count` points of a series after a place in its order.
    async fn points_after(&self, id: &RunId, key: &str, after: Option<Order>, count: usize) -> Result<Vec<Point>> {
        for _ in 0..ATTEMPTS_MAX {
            let segments = self.segments(id, key, after.map_or(i64::MIN, |(at, _, _)| at)).await?;
            if let Some(points) = self.merge_segments(&segments, after, count).await? {
                return Ok(points);
            }
        }
        Err(merged_all_the_time(id, key))
    }

    /// Gives the points of a series behind a place in their order, in pieces, and says behind which place it stopped
    /// because a segment was gone.
    async fn visit_segments(
        &self,
        segments: &[Segment],
        mut after: Option<Order>,
        take: &mut Take<'_>,
    ) -> Result<Stopped> {
        let mut points: Vec<Point> = Vec::new();
        let mut give = |points: &mut Vec<Point>, count: usize, after: &mut Option<Order>| {
            take(points.get(..count).unwrap_or_default());
            *after = count.checked_sub(1).and_then(|last| points.get(last)).map(|last| last.order()).or(*after);
            points.drain(..count);
        };
        for segment in segments {
            // What comes before all that is still to be read is complete.
            let complete = points.partition_point(|point| (point.at, point.step) < segment.first);
            give(&mut points, complete, &mut after);
            if points.len() > OVERLAPPING_MAX {
                return Ok(Stopped::Overlap(after));
            }
            let Some(more) = self.points_of(segment).await? else { return Ok(Stopped::Gone(after)) };
            points.extend(more.into_iter().filter(|point| after.is_none_or(|after| point.order() > after)));
            normalize(&mut points);
        }
        let count = points.len();
        give(&mut points, count, &mut after);
        Ok(Stopped::End)
    }

    /// The segments that reach a time, by their first point.
    async fn segments(&self, id: &RunId, key: &str, at: i64) -> Result<Vec<Segment>> {
        let sql = "SELECT s.run, s.key, s.number, s.first_at, s.first_step,
                CASE WHEN s.number = 0 THEN s.points END AS open
            FROM tracking_run r CROSS JOIN tracking_metric_key k CROSS JOIN tracking_segment s
            WHERE r.id = $1 AND k.key = $2 AND s.run = r.seq AND s.key = k.id AND s.last_at >= $3
            ORDER BY s.first_at, s.first_step, s.number";
        let segment = |row: &Row| -> Result<Segment> {
            Ok(Segment {
                run: row.get("run")?,
                key: row.get("key")?,
                number: row.get("number")?,
                first: (row.get("first_at")?, row.get("first_step")?),
                open: row.get("open")?,
            })
        };
        self.meta.query(sql, params![id.as_str(), key, at]).await?.iter().map(segment).collect()
    }

    /// The first `count` points after a place; none when a segment is gone.
    async fn merge_segments(
        &self,
        segments: &[Segment],
        after: Option<Order>,
        count: usize,
    ) -> Result<Option<Vec<Point>>> {
        let mut points: Vec<Point> = Vec::new();
        for segment in segments {
            // All that is still to come lies behind the page.
            if points.len() >= count && points.last().is_some_and(|last| (last.at, last.step) < segment.first) {
                break;
            }
            let Some(more) = self.points_of(segment).await? else { return Ok(None) };
            points.extend(more.into_iter().filter(|point| after.is_none_or(|after| point.order() > after)));
            normalize(&mut points);
            points.truncate(count);
        }
        Ok(Some(points))
    }

    /// The points of a segment; none when it is gone.
    async fn points_of(&self, segment: &Segment) -> Result<Option<Vec<Point>>> {
        if let Some(bytes) = &segment.open {
            return decode(bytes).map(Some);
        }
        let sql = "SELECT points FROM tracking_segment WHERE run = $1 AND key = $2 AND number = $3";
        let row = self.meta.query_opt(sql, params![segment.run, segment.key, segment.number]).await?;
        row.map(|row| decode(&row.get::<Vec<u8>>("points")?)).transpose()
    }
}

#[async_trait]
impl PointSource for SqlTrackingStore {
    async fn visit(&self, run: &RunId, key: &str, take: &mut Take<'_>) -> Result<()> {
        let (mut after, mut attempts): (Option<Order>, u32) = (None, 0);
        loop {
            let segments = self.segments(run, key, after.map_or(i64::MIN, |(at, _, _)| at)).await?;
            match self.visit_segments(&segments, after, take).await? {
                Stopped::End => return Ok(()),
                Stopped::Gone(behind) if attempts < ATTEMPTS_MAX || behind != after => {
                    attempts += 1;
                    after = behind;
                }
                Stopped::Gone(_) => return Err(merged_all_the_time(run, key)),
                Stopped::Overlap(behind) => {
                    let points = self.points_after(run, key, behind, OVERLAPPING_MAX).await?;
                    take(&points);
                    after = points.last().map(|last| last.order()).or(behind);
                }
            }
        }
    }
}

fn merged_all_the_time(run: &RunId, key: &str) -> Error {
    Error::conflict(format!("metric {key:?} of run {run} is merged by others all the time; try again later"))
}
