//! Prints what the codec of Lambda's events takes for a frame of this many MiB, beside base64 alone.
#![allow(clippy::print_stdout, reason = "that is what it is for")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::time::{Duration, Instant};
use tranche_schema::{AnswerWish, Codec, LambdaAsk, Tensor};
use tranche_transport::lambda::{decode_event, decode_frame, encode_run};
use tranche_transport::{CodedTensor, Frame, FrameLimits, Placement, RequestHeader};

const ROUNDS: usize = 50;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mebibytes: f64 = std::env::args().nth(1).map_or(Ok(4.0), |text| text.parse())?;
    let count = (mebibytes * 1024.0 * 1024.0 / 4.0) as usize;
    let values: Vec<f32> = (0..count).map(|index| (index as f32).sin()).collect();
    let tensor = Tensor::from_f32(vec![count as u64], &values)?;
    let tensors = vec![CodedTensor::encode("x", &tensor, Codec::Raw, Placement::Inline)?];
    let frame = Frame { header: RequestHeader::new([7; 16], "s0"), tensors };
    let (wish, limits) = (AnswerWish::default(), FrameLimits::default());
    let bytes = frame.to_bytes()?;
    let text = STANDARD.encode(&bytes);
    let event = encode_run(&frame, &wish)?;
    let encode = best(|| encode_run(&frame, &wish).map(|event| event.len()).unwrap_or_default());
    let decode = best(|| match decode_event(&event).map(|event| event.ask) {
        Ok(LambdaAsk::Run { frame, .. }) => {
            decode_frame(&frame, &limits).map(|frame| frame.tensors.len()).unwrap_or_default()
        }
        _ => 0,
    });
    let plain_encode = best(|| STANDARD.encode(&bytes).len());
    let plain_decode = best(|| STANDARD.decode(&text).map(|bytes| bytes.len()).unwrap_or_default());
    let per = |time: Duration| time.as_secs_f64() * 1000.0 / mebibytes;
    println!("event: {} bytes for {} of frame", event.len(), bytes.len());
    println!("encode: {:.3} ms/MiB, base64 alone {:.3}", per(encode), per(plain_encode));
    println!("decode: {:.3} ms/MiB, base64 alone {:.3}", per(decode), per(plain_decode));
    Ok(())
}

fn best(mut work: impl FnMut() -> usize) -> Duration {
    let mut least = Duration::MAX;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        std::hint::black_box(work());
        least = least.min(started.elapsed());
    }
    least
}
