//! A spine in pieces, and a training set of each, made one after the other within bounds.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use arrow_select::concat::concat_batches;
use futures::{
    Stream, StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use mlops_core::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The rows of `batches` in their order, `rows` of them at a time but for the last, as they lie.
pub(super) fn in_pieces(
    batches: impl Stream<Item = Result<RecordBatch>> + Send + Unpin + 'static,
    rows: usize,
) -> impl Stream<Item = Result<Vec<RecordBatch>>> + Send + Unpin + 'static {
    let rows = rows.max(1);
    let pieces = stream::try_unfold((batches, None::<RecordBatch>), move |(mut batches, mut left)| async move {
        let (mut piece, mut held) = (Vec::new(), 0);
        while held < rows {
            let next = match left.take() {
                Some(batch) => Some(batch),
                None => batches.try_next().await?,
            };
            let Some(batch) = next else { break };
            let taken = batch.num_rows().min(rows - held);
            if taken < batch.num_rows() {
                left = Some(batch.slice(taken, batch.num_rows() - taken));
            }
            if taken > 0 {
                piece.push(batch.slice(0, taken));
            }
            held += taken;
        }
        Ok((!piece.is_empty()).then_some((piece, (batches, left))))
    });
    pieces.boxed()
}

/// The batches of a piece, which has some, as one.
pub(super) async fn joined(piece: Vec<RecordBatch>) -> Result<RecordBatch> {
    match <[RecordBatch; 1]>::try_from(piece) {
        Ok([only]) => Ok(only),
        Err(piece) => {
            let schema = piece.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
            let work = move || concat_batches(&schema, &piece);
            let whole = tokio::task::spawn_blocking(work).await;
            Ok(whole.map_err(|_| Error::internal("putting the rows of a spine together panicked"))??)
        }
    }
}

/// What `work` makes of each of `pieces`, one after the other, each once it is asked for.
///
/// Reading a piece and the work on it hold one of `permits`, which is waited for, and run to their end on a task of
/// their own, whoever still listens; between pieces nothing is held but `open`. So an idle client keeps nobody from
/// working, and one that goes away gives its permit back with the work and no earlier.
pub(super) fn in_turn<P: Send + 'static, F: Future<Output = Result<RecordBatch>> + Send + 'static>(
    pieces: BoxStream<'static, Result<P>>,
    permits: Arc<Semaphore>,
    open: OwnedSemaphorePermit,
    work: impl Fn(P) -> F + Send + 'static,
) -> impl Stream<Item = Result<RecordBatch>> + Send + 'static {
    stream::try_unfold((pieces, permits, open, work), |(mut pieces, permits, open, work)| async move {
        let (mut answer, made) = oneshot::channel();
        let task = async move {
            let closed = |_| Error::internal("the permits of training sets are gone");
            let _permit = tokio::select! {
                permit = Arc::clone(&permits).acquire_owned() => permit.map_err(closed)?,
                () = answer.closed() => return Ok(()),
            };
            let piece = pieces.try_next().await;
            let made = match piece {
                Ok(Some(piece)) => {
                    let working = work(piece);
                    Some(working.await)
                }
                Ok(None) => None,
                Err(error) => Some(Err(error)),
            };
            // Nobody listens any more: the rows are not wanted.
            drop(answer.send(made.transpose().map(|made| made.map(|made| (made, (pieces, permits, open, work))))));
            Ok::<_, Error>(())
        };
        let task = tokio::spawn(task);
        if let Ok(made) = made.await {
            return made;
        }
        let ended = task.await.map_err(|_| Error::internal("making a training set panicked"))?;
        ended.and(Err(Error::internal("a piece of a training set was not made")))
    })
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, Int64Array, cast::AsArray, types::Int64Type};
    use tokio::sync::Notify;

    use super::*;

    fn batch(range: std::ops::Range<i64>) -> RecordBatch {
        let column = Arc::new(Int64Array::from_iter_values(range)) as ArrayRef;
        RecordBatch::try_from_iter([("k", column)]).unwrap()
    }

    #[tokio::test]
    async fn pieces_have_the_rows_in_order_and_the_size() {
        let batches = stream::iter([batch(0..3), batch(3..3), batch(3..20), batch(20..21)].map(Ok)).boxed();
        let pieces: Vec<RecordBatch> = in_pieces(batches, 8).and_then(joined).try_collect().await.unwrap();
        assert_eq!(pieces.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [8, 8, 5]);
        let values = pieces.iter().flat_map(|piece| piece.column(0).as_primitive::<Int64Type>().values().to_vec());
        assert!(values.eq(0..21));
        let none = in_pieces(stream::iter(Vec::<Result<RecordBatch>>::new()).boxed(), 8);
        assert_eq!(none.count().await, 0);
    }

    /// A stream over two pieces whose work waits until it is let go, and what tells that the work began.
    struct World {
        permits: Arc<Semaphore>,
        streams: Arc<Semaphore>,
        began: Arc<Notify>,
        go: Arc<Semaphore>,
    }

    impl World {
        fn new() -> Self {
            let one = || Arc::new(Semaphore::new(1));
            Self {
                permits: one(),
                streams: Arc::new(Semaphore::new(2)),
                began: Arc::default(),
                go: Arc::new(Semaphore::new(0)),
            }
        }

        fn stream(&self) -> BoxStream<'static, Result<RecordBatch>> {
            let (began, go) = (Arc::clone(&self.began), Arc::clone(&self.go));
            let open = Arc::clone(&self.streams).try_acquire_owned().unwrap();
            let work = move |rows: i64| {
                let (began, go) = (Arc::clone(&began), Arc::clone(&go));
                async move {
                    began.notify_one();
                    go.acquire().await.unwrap().forget();
                    Ok(batch(0..rows))
                }
            };
            in_turn(stream::iter([Ok(1), Ok(2)]).boxed(), Arc::clone(&self.permits), open, work).boxed()
        }
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_keeps_its_permit_to_its_end() {
        let world = World::new();
        let mut stream = world.stream();
        tokio::select! {
            _ = stream.next() => panic!("the work was not let go"),
            () = world.began.notified() => {}
        }
        drop(stream);
        assert_eq!((world.permits.available_permits(), world.streams.available_permits()), (0, 1));
        world.go.add_permits(1);
        drop(world.permits.acquire().await.unwrap());
        drop(world.streams.acquire_many(2).await.unwrap());
    }

    #[tokio::test]
    async fn an_idle_stream_keeps_nobody_from_working() {
        let world = World::new();
        world.go.add_permits(100);
        let mut idle = world.stream();
        assert_eq!(idle.next().await.unwrap().unwrap().num_rows(), 1);
        let rows: Vec<RecordBatch> = world.stream().try_collect().await.unwrap();
        assert_eq!(rows.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [1, 2]);
        let rest: Vec<RecordBatch> = idle.try_collect().await.unwrap();
        assert_eq!(rest.len(), 1);
    }
}
