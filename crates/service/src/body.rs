//! Bodies: read whole, under a limit, within a time, and within one budget of memory for all requests under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annulus_protocol::{ErrorCode, Problem};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bodies up to this size do not draw on the budget: the limit on connections bounds them.
const SMALL_BYTES: usize = 8 * 1024;
const PERMIT_BYTES: usize = 1024;
/// How long a request waits for others to give bytes back.
const BUDGET_PATIENCE: Duration = Duration::from_millis(500);
/// How much of a body without a declared length is drawn from the budget at a time.
const STEP_BYTES: usize = 64 * 1024;

/// The memory that bodies of requests under way may take, over all connections of a node.
#[derive(Debug, Clone)]
pub struct Budget {
    permits: Arc<Semaphore>,
    total: usize,
}

/// A share of the [`Budget`], given back when dropped. Keep it as long as the bytes.
#[derive(Debug, Default)]
pub struct Share(Option<OwnedSemaphorePermit>);

impl Budget {
    /// A budget of `bytes`, rounded to KiB.
    pub fn new(bytes: usize) -> Self {
        let total = (bytes / PERMIT_BYTES).clamp(1, u32::MAX as usize);
        Self { permits: Arc::new(Semaphore::new(total)), total }
    }

    /// Waits for room for a body of `bytes`.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] where there is none within `patience`.
    pub async fn acquire(&self, bytes: usize, patience: Duration) -> Result<Share, Problem> {
        if bytes <= SMALL_BYTES {
            return Ok(Share(None));
        }
        let permits = bytes.div_ceil(PERMIT_BYTES).min(self.total) as u32;
        let waiting = Arc::clone(&self.permits).acquire_many_owned(permits);
        match tokio::time::timeout(patience, waiting).await {
            Ok(Ok(permit)) => Ok(Share(Some(permit))),
            _ => Err(no_room()),
        }
    }

    /// Waits for room for `bytes`, however long it takes: for who reads nothing meanwhile, and is timed by others.
    pub async fn wait_for(&self, bytes: usize) -> Share {
        if bytes <= SMALL_BYTES {
            return Share(None);
        }
        let permits = bytes.div_ceil(PERMIT_BYTES).min(self.total) as u32;
        Share(Arc::clone(&self.permits).acquire_many_owned(permits).await.ok())
    }

    /// Room for `bytes` at once, or none.
    pub fn try_take(&self, bytes: usize) -> Option<Share> {
        if bytes <= SMALL_BYTES {
            return Some(Share(None));
        }
        let permits = bytes.div_ceil(PERMIT_BYTES).min(self.total) as u32;
        Arc::clone(&self.permits).try_acquire_many_owned(permits).ok().map(|permit| Share(Some(permit)))
    }

    /// Enlarges a share at once or not at all: waiting with a part in hand could wait for ever.
    fn grow(&self, share: &mut Share, bytes: usize) -> Result<(), Problem> {
        let permits = bytes.div_ceil(PERMIT_BYTES) as u32;
        let more = Arc::clone(&self.permits).try_acquire_many_owned(permits).map_err(|_| no_room())?;
        match &mut share.0 {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

fn no_room() -> Problem {
    Problem::new(
        ErrorCode::Overloaded,
        "too many bytes under way; try again after a moment or raise server.in_flight_bytes",
    )
}

/// Reads bodies for one node.
#[derive(Debug, Clone)]
pub struct BodyReader {
    budget: Budget,
    /// In microseconds.
    timeout_us: Arc<AtomicU64>,
    patience: Duration,
}

impl BodyReader {
    /// A reader that draws on `budget` and gives a body `timeout` to arrive whole.
    pub fn new(budget: Budget, timeout: Duration) -> Self {
        let timeout_us = Arc::new(AtomicU64::new(timeout.as_micros() as u64));
        Self { budget, timeout_us, patience: BUDGET_PATIENCE }
    }

    /// Gives bodies that begin from now on so long.
    pub fn set_timeout(&self, timeout: Duration) {
        self.timeout_us.store(timeout.as_micros() as u64, Ordering::Relaxed);
    }

    /// The same for answers of others, which are read while this node holds one share already: it waits for no further.
    pub fn impatient(&self) -> Self {
        Self { patience: Duration::ZERO, ..self.clone() }
    }

    /// The budget that it draws on.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Reads a body of at most `limit` bytes.
    ///
    /// # Errors
    /// [`ErrorCode::TooLarge`] over the limit, by the declared length where there is one and then unread;
    /// [`ErrorCode::BodyTimeout`], [`ErrorCode::Overloaded`], or [`ErrorCode::BadRequest`] where it breaks off.
    pub async fn read<B>(&self, headers: &HeaderMap, body: B, limit: usize) -> Result<(Bytes, Share), Problem>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let declared = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        if declared.is_some_and(|length: usize| length > limit) {
            return Err(over(limit));
        }
        let mut share = self.budget.acquire(declared.unwrap_or(0), self.patience).await?;
        let reading = self.collect(body, limit, declared, &mut share);
        let timeout = Duration::from_micros(self.timeout_us.load(Ordering::Relaxed));
        match tokio::time::timeout(timeout, reading).await {
            Ok(bytes) => Ok((bytes?, share)),
            Err(_) => Err(Problem::new(
                ErrorCode::BodyTimeout,
                format!("the body did not arrive whole within {} ms", timeout.as_millis()),
            )),
        }
    }

    async fn collect<B>(
        &self,
        mut body: B,
        limit: usize,
        declared: Option<usize>,
        share: &mut Share,
    ) -> Result<Bytes, Problem>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut whole = BytesMut::new();
        let mut drawn = if declared.is_some() { usize::MAX } else { SMALL_BYTES };
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                return Err(Problem::new(ErrorCode::BadRequest, "the body broke off before its end"));
            };
            let Ok(data) = frame.into_data() else { continue };
            if whole.is_empty() && body.is_end_stream() && data.len() <= limit {
                return Ok(data);
            }
            let len = whole.len() + data.len();
            if len > limit {
                return Err(over(limit));
            }
            if len > drawn {
                self.budget.grow(share, STEP_BYTES)?;
                drawn += STEP_BYTES;
            }
            if whole.is_empty() {
                whole.reserve(declared.unwrap_or(0).min(limit));
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }
}

fn over(limit: usize) -> Problem {
    Problem::new(ErrorCode::TooLarge, format!("the body is over the limit of {limit} bytes"))
}

impl Share {
    /// Ties the share to the bytes, so that it is given back when the last handle of them is dropped: for an answer,
    /// when the client has taken it.
    pub fn attach(self, bytes: Bytes) -> Bytes {
        struct Owned(Bytes, #[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);
        impl AsRef<[u8]> for Owned {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        match self.0 {
            None => bytes,
            Some(permit) => Bytes::from_owner(Owned(bytes, permit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use annulus_protocol::ErrorCode;
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};

    use super::*;

    fn reader(budget: usize) -> BodyReader {
        BodyReader::new(Budget::new(budget), Duration::from_secs(5))
    }

    fn chunks(count: usize) -> impl Body<Data = Bytes, Error = std::convert::Infallible> + Unpin {
        let frames = (0..count).map(|_| Ok(Frame::data(Bytes::from(vec![0; 64 * 1024]))));
        StreamBody::new(Box::pin(Frames(frames.collect())))
    }

    struct Frames(std::collections::VecDeque<Result<Frame<Bytes>, std::convert::Infallible>>);

    impl futures_core::Stream for Frames {
        type Item = Result<Frame<Bytes>, std::convert::Infallible>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(self.0.pop_front())
        }
    }

    #[tokio::test]
    async fn a_declared_length_over_the_limit_is_refused_unread() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, 101.into());
        let problem = reader(1 << 20).read(&headers, Full::from("unread"), 100).await.unwrap_err();
        assert_eq!(problem.code, ErrorCode::TooLarge);
    }

    #[tokio::test]
    async fn a_body_without_a_length_is_bounded_while_it_comes() {
        let reader = reader(16 << 20);
        let (bytes, _share) = reader.read(&HeaderMap::new(), chunks(16), 1 << 20).await.unwrap();
        assert_eq!(bytes.len(), 1 << 20);
        let problem = reader.read(&HeaderMap::new(), chunks(17), 1 << 20).await.unwrap_err();
        assert_eq!(problem.code, ErrorCode::TooLarge);
    }

    #[tokio::test]
    async fn bodies_together_stay_within_the_budget_and_give_it_back() {
        let reader = reader(1 << 20);
        let (bytes, share) = reader.read(&HeaderMap::new(), chunks(12), 1 << 20).await.unwrap();
        let answer = share.attach(bytes);
        let problem = reader.read(&HeaderMap::new(), chunks(12), 1 << 20).await.unwrap_err();
        assert_eq!(problem.code, ErrorCode::Overloaded);
        drop(answer);
        assert!(reader.read(&HeaderMap::new(), chunks(12), 1 << 20).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        struct Never;
        impl Body for Never {
            type Data = Bytes;
            type Error = std::convert::Infallible;
            fn poll_frame(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
                Poll::Pending
            }
        }
        let problem = reader(1 << 20).read(&HeaderMap::new(), Never, 100).await.unwrap_err();
        assert_eq!(problem.code, ErrorCode::BodyTimeout);
    }
}
