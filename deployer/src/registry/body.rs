//! Bodies of requests, streamed from files.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::io::{self, SeekFrom};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, Take};
use tokio_util::io::ReaderStream;

/// As much of a file as is in memory at a time.
const PIECE: usize = 256 << 10;

/// How many bytes of a body were taken for sending, and who wants to know.
#[derive(Clone, Default)]
pub(super) struct Sent {
    bytes: Arc<AtomicU64>,
    failure: Arc<OnceLock<io::ErrorKind>>,
    observer: Option<Arc<dyn Fn(u64) + Send + Sync>>,
}

impl Sent {
    /// `observer` is told how many bytes of this body are sent after each piece.
    pub(super) fn observed(observer: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self { bytes: Arc::default(), failure: Arc::default(), observer: Some(Arc::new(observer)) }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Why the file could not be read: the fault is not the connection's.
    pub(super) fn failure(&self) -> Option<io::ErrorKind> {
        self.failure.get().copied()
    }

    fn fail(&self, error: io::Error) -> io::Error {
        let _ = self.failure.set(error.kind());
        error
    }

    fn add(&self, bytes: u64) {
        let total = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(observer) = &self.observer {
            observer(total);
        }
    }
}

/// A part of a file, of exactly the announced length.
pub(super) struct FileBody {
    pieces: ReaderStream<Take<File>>,
    left: u64,
    sent: Sent,
}

impl FileBody {
    pub(super) async fn open(path: &Path, offset: u64, length: u64, sent: Sent) -> io::Result<Self> {
        let mut file = File::open(path).await?;
        file.seek(SeekFrom::Start(offset)).await?;
        Ok(Self { pieces: ReaderStream::with_capacity(file.take(length), PIECE), left: length, sent })
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        use futures_util::Stream;
        let piece = match ready!(Pin::new(&mut self.pieces).poll_next(context)) {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => return Poll::Ready(Some(Err(self.sent.fail(error)))),
            None if self.left == 0 => return Poll::Ready(None),
            None => return Poll::Ready(Some(Err(self.sent.fail(io::ErrorKind::UnexpectedEof.into())))),
        };
        self.left = self.left.saturating_sub(piece.len() as u64);
        self.sent.add(piece.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
