//! Bodies that are made while they are sent.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

use crate::answer::{Answer, BoxError};

/// Long enough for a local connection to take what was written.
const FLUSH_PAUSE: Duration = Duration::from_millis(50);

type Piece = Result<Bytes, BoxError>;

/// What is sent into a channel.
pub(crate) struct Piped(mpsc::Receiver<Piece>);

impl Piped {
    pub fn new() -> (mpsc::Sender<Piece>, Self) {
        let (sender, receiver) = mpsc::channel(1);
        (sender, Self(receiver))
    }
}

impl Body for Piped {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// The same answer in pieces of `bytes`, each after a pause.
pub(crate) fn slow(answer: Answer, bytes: usize, pause: Duration) -> Answer {
    let (parts, mut body) = answer.into_parts();
    let (sender, piped) = Piped::new();
    tokio::spawn(async move {
        while let Some(frame) = body.frame().await {
            let mut data = match frame.map(Frame::into_data) {
                Ok(Ok(data)) => data,
                Ok(Err(_)) => continue,
                Err(error) => {
                    let _ = sender.send(Err(error)).await;
                    return;
                }
            };
            while !data.is_empty() {
                tokio::time::sleep(pause).await;
                let piece = data.split_to(bytes.clamp(1, data.len()));
                if sender.send(Ok(piece)).await.is_err() {
                    return;
                }
            }
        }
    });
    Answer::from_parts(parts, piped.boxed_unsync())
}

/// The same answer, broken off after `bytes`.
pub(crate) fn short(answer: Answer, bytes: usize) -> Answer {
    let (parts, mut body) = answer.into_parts();
    let (sender, piped) = Piped::new();
    tokio::spawn(async move {
        let mut left = bytes;
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(mut data) = frame.into_data() else { continue };
            data.truncate(left);
            left -= data.len();
            let sent = data.is_empty() || sender.send(Ok(data)).await.is_ok();
            if left == 0 || !sent {
                break;
            }
        }
        // Else hyper would drop what it has not written yet, the head included.
        tokio::time::sleep(FLUSH_PAUSE).await;
        let _ = sender.send(Err("broken off".into())).await;
    });
    Answer::from_parts(parts, piped.boxed_unsync())
}
