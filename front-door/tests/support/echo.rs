//! A function that gives back what it gets, whatever its type: output `out_T` is input `in_T`.

use super::common::deployment;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tranche_driver::METRICS_HEADER;
use tranche_schema::{
    Address, ByteCount, Channel, Codec, Deployment, Edge, ElementType, FunctionMetrics, Millis, TensorSpec,
};
use tranche_transport::{CodedTensor, Frame, FrameLimits, Placement};

/// Ends with the test.
pub struct Echo(JoinHandle<()>);

impl Drop for Echo {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A deployment `name` with an input and an output of this shape for each type.
pub async fn echo(name: &str, types: &[ElementType], shape: &[u64]) -> (Deployment, Echo) {
    let specs = |prefix: &str| -> Vec<TensorSpec> {
        let spec = |&element_type: &ElementType| TensorSpec {
            name: format!("{prefix}_{element_type}"),
            element_type,
            shape: shape.to_vec(),
        };
        types.iter().map(spec).collect()
    };
    let mut deployment = deployment(&[], &[], &[("echo".to_owned(), vec![], vec![])]);
    deployment.name = name.to_owned();
    (deployment.inputs, deployment.outputs) = (specs("in"), specs("out"));
    deployment.edges = deployment.inputs.iter().map(edge).collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let function = &mut deployment.functions[0];
    (function.inputs, function.outputs) = (specs("in"), specs("out"));
    function.address = Address::Http { url: format!("http://{}", listener.local_addr().unwrap()) };
    (deployment, Echo(tokio::spawn(serve(listener))))
}

fn edge(tensor: &TensorSpec) -> Edge {
    Edge {
        tensor: tensor.clone(),
        from: None,
        to: Vec::new(),
        to_caller: false,
        codec: Codec::Raw,
        channel: Channel::Inline,
    }
}

async fn serve(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let service = service_fn(answer);
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() == hyper::Method::GET {
        return Ok(Response::new(Full::from("ready")));
    }
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let frame = Frame::parse(body, &FrameLimits::default()).unwrap();
    let inputs = frame.decode(&FrameLimits::default(), None).unwrap();
    let back = |(name, tensor): &(String, tranche_schema::Tensor)| {
        let name = name.replacen("in_", "out_", 1);
        CodedTensor::encode(&name, tensor, Codec::Raw, Placement::Inline).unwrap()
    };
    let bytes = ByteCount(frame.coded_bytes());
    let metrics = FunctionMetrics {
        request_id: frame.header.request_id_hex(),
        slice: "echo".to_owned(),
        attempt: frame.header.attempt,
        billed_ms: Millis(0.25),
        run_ms: Millis(0.125),
        input_bytes: bytes,
        output_bytes: bytes,
        input_coded_bytes: bytes,
        output_coded_bytes: bytes,
        ..FunctionMetrics::default()
    };
    let tensors = inputs.iter().map(back).collect();
    let body = Frame { header: frame.header.clone(), tensors }.to_bytes().unwrap();
    let metrics = serde_json::to_string(&metrics).unwrap();
    Ok(Response::builder().header(METRICS_HEADER, metrics).body(Full::new(body)).unwrap())
}
