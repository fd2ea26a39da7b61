//! Laws of layers, their orders and cuts, on random graphs; layers of known patterns.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod build;

use build::{Build, any_graph};
use petgraph::algo::is_cyclic_directed;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};
use tranche_graph::coarsen::{Layer, coarsen};
use tranche_graph::order::{branch_contiguous_order, cuts, file_order, quotient, view};
use tranche_graph::{Graph, NodeId, TensorId};

fn can_run(graph: &Graph, nodes: impl IntoIterator<Item = NodeId>) -> bool {
    let mut known: HashSet<TensorId> = graph.inputs().iter().copied().collect();
    nodes.into_iter().all(|id| {
        let ready = graph.node(id).reads().all(|t| graph.is_initializer(t) || known.contains(&t));
        known.extend(graph.node(id).writes());
        ready
    })
}

fn in_order(layers: &[Layer], order: &[usize]) -> Vec<NodeId> {
    order.iter().flat_map(|&index| layers[index].nodes.iter().copied()).collect()
}

fn crosses(graph: &Graph, tensor: TensorId, before: &[Layer], after: &[Layer]) -> bool {
    let has = |layers: &[Layer], id: NodeId| layers.iter().any(|layer| layer.nodes.contains(&id));
    let written = graph.producer(tensor).is_none_or(|producer| has(before, producer));
    written && graph.tensor(tensor).consumers.iter().any(|&id| has(after, id))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn each_node_is_in_one_layer_and_layers_can_run(graph in any_graph(40)) {
        let layers = coarsen(&graph);
        let order: Vec<usize> = (0..layers.len()).collect();
        let mut nodes = in_order(&layers, &order);
        prop_assert!(can_run(&graph, nodes.iter().copied()));
        nodes.sort_unstable();
        prop_assert_eq!(nodes, graph.node_ids().collect::<Vec<_>>());
        prop_assert!(!is_cyclic_directed(&quotient(&graph, &layers)));
        prop_assert!(!is_cyclic_directed(&view(&graph)));
        prop_assert_eq!(&coarsen(&graph), &layers);
    }

    #[test]
    fn borders_are_exact(graph in any_graph(40)) {
        for layer in coarsen(&graph) {
            let (mut inputs, mut weights, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
            for &id in &layer.nodes {
                for tensor in graph.node(id).reads() {
                    let inner = graph.producer(tensor).is_some_and(|id| layer.nodes.contains(&id));
                    let list = if graph.is_initializer(tensor) { &mut weights } else { &mut inputs };
                    if !inner && !list.contains(&tensor) {
                        list.push(tensor);
                    }
                }
                outputs.extend(graph.node(id).writes().filter(|tensor| {
                    graph.outputs().contains(tensor)
                        || graph.tensor(*tensor).consumers.iter().any(|id| !layer.nodes.contains(id))
                }));
            }
            prop_assert_eq!((&layer.inputs, &layer.weights, &layer.outputs), (&inputs, &weights, &outputs));
        }
    }

    #[test]
    fn names_are_unique(graph in any_graph(40)) {
        let layers = coarsen(&graph);
        let names: HashSet<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
        prop_assert_eq!(names.len(), layers.len());
    }

    #[test]
    fn every_order_can_run(graph in any_graph(40), seed in any::<u64>()) {
        let layers = coarsen(&graph);
        let size = |tensor: TensorId| seed.rotate_left(tensor.0) >> 40;
        for order in [file_order(&graph, &layers), branch_contiguous_order(&graph, &layers, &size)] {
            prop_assert_eq!(order.iter().copied().collect::<HashSet<_>>().len(), layers.len());
            prop_assert!(can_run(&graph, in_order(&layers, &order)));
        }
    }

    #[test]
    fn cuts_hold_what_is_written_before_and_read_after(graph in any_graph(30)) {
        let layers = coarsen(&graph);
        for (position, cut) in cuts(&graph, &layers).into_iter().enumerate() {
            let (before, after) = layers.split_at(position + 1);
            let all = (0..graph.tensors().len() as u32).map(TensorId);
            let expected: HashSet<TensorId> = all
                .filter(|&tensor| !graph.is_initializer(tensor) && crosses(&graph, tensor, before, after))
                .collect();
            let (made, given): (Vec<_>, Vec<_>) =
                expected.into_iter().partition(|&tensor| graph.producer(tensor).is_some());
            prop_assert_eq!(cut.activations.iter().copied().collect::<HashSet<_>>(), made.into_iter().collect());
            prop_assert_eq!(cut.from_caller.iter().copied().collect::<HashSet<_>>(), given.into_iter().collect());
        }
    }
}

/// Layers as `kind: nodes -> tensors crossing after it`.
fn listing(graph: &Graph) -> String {
    let layers = coarsen(graph);
    let mut text = String::new();
    for (layer, cut) in layers.iter().zip(cuts(graph, &layers)) {
        let nodes: Vec<&str> = layer.nodes.iter().map(|&id| graph.node(id).name.as_str()).collect();
        let crossing: Vec<&str> =
            cut.activations.iter().map(|&tensor| graph.tensor(tensor).name.as_str()).collect();
        text.push_str(&format!("{}: {} -> {}\n", layer.kind, nodes.join(" "), crossing.join(" ")));
    }
    text
}

fn weights(build: Build, names: &str) -> Build {
    names.split_whitespace().fold(build, |build, name| build.weight(name, &[2, 2]))
}

#[test]
fn a_residual_block() {
    let build = weights(Build::default().input("x"), "w0 w1 w2 w3 wd s b m v");
    let graph = build
        .nodes(
            "c0 = Conv(x, w0)
             n0 = BatchNormalization(c0, s, b, m, v)
             r0 = Relu(n0)
             p = MaxPool(r0)
             c1 = Conv(p, w1)
             r1 = Clip(c1)
             c2 = Conv(r1, w2)
             d = Conv(p, wd)
             a = Add(c2, d)
             r2 = Relu(a)
             g = GlobalAveragePool(r2)
             f = Flatten(g)
             y = Gemm(f, w3)",
        )
        .output("y")
        .graph();
    insta::assert_snapshot!(listing(&graph), @r"
    conv-batch-norm-activation: c0:Conv n0:BatchNormalization r0:Relu -> r0
    maxpool: p:MaxPool -> p
    conv-activation: c1:Conv r1:Clip -> p r1
    conv: c2:Conv -> p c2
    conv-add-activation: d:Conv a:Add r2:Relu -> r2
    globalaveragepool: g:GlobalAveragePool f:Flatten -> f
    gemm: y:Gemm ->
    ");
}

#[test]
fn a_transformer_block() {
    let build = Build::default().input("ids").input("mask").weight("table", &[9, 4]).integers("i", &[0]);
    let graph = weights(build, "g b wq bq wk bk wv bv wo bo w1 b1 w2 b2 half two one scale")
        .nodes(
            "e = Gather(table, ids)
             mu = Unsqueeze(mask, i)
             mf = Cast(mu)
             q0 = MatMul(e, wq)
             q1 = Add(q0, bq)
             es = Shape(e)
             eb = Gather(es, i)
             ec = Concat(eb, i)
             q2 = Reshape(q1, ec)
             q3 = Transpose(q2)
             k0 = MatMul(e, wk)
             k1 = Add(k0, bk)
             k2 = Reshape(k1, ec)
             k3 = Transpose(k2)
             v0 = MatMul(e, wv)
             v1 = Add(v0, bv)
             v2 = Reshape(v1, ec)
             v3 = Transpose(v2)
             qk = MatMul(q3, k3)
             sc = Div(qk, scale)
             ma = Add(sc, mf)
             so = Softmax(ma)
             at = MatMul(so, v3)
             at1 = Transpose(at)
             at2 = Reshape(at1, ec)
             o0 = MatMul(at2, wo)
             o1 = Add(bo, o0)
             r = Add(o1, e)
             n = LayerNormalization(r, g, b)
             f0 = MatMul(n, w1)
             f1 = Add(f0, b1)
             g0 = Div(f1, two)
             g1 = Erf(g0)
             g2 = Add(g1, one)
             g3 = Mul(f1, g2)
             g4 = Mul(g3, half)
             f2 = MatMul(g4, w2)
             f3 = Add(f2, b2)
             r2 = Add(f3, n)
             y = LayerNormalization(r2, g, b)",
        )
        .output("y")
        .graph();
    insta::assert_snapshot!(listing(&graph), @r"
    gather: e:Gather es:Shape -> e es
    matmul-bias: q0:MatMul q1:Add -> e es q1
    matmul-bias: k0:MatMul k1:Add -> e es q1 k1
    matmul-bias: v0:MatMul v1:Add -> e es q1 k1 v1
    attention: mu:Unsqueeze mf:Cast eb:Gather ec:Concat q2:Reshape q3:Transpose k2:Reshape k3:Transpose v2:Reshape v3:Transpose qk:MatMul sc:Div ma:Add so:Softmax at:MatMul at1:Transpose at2:Reshape -> e at2
    matmul-bias-add-layer-norm: o0:MatMul o1:Add r:Add n:LayerNormalization -> n
    matmul-bias-gelu: f0:MatMul f1:Add g0:Div g1:Erf g2:Add g3:Mul g4:Mul -> n g4
    matmul-bias-add-layer-norm: f2:MatMul f3:Add r2:Add y:LayerNormalization ->
    ");
}

#[test]
fn a_decoder_block_with_past_and_decomposed_norm() {
    let build = Build::default().input("x").input("past").input("cos").input("sin").integers("i", &[0]);
    let graph = weights(build, "two eps g wq wk wv wo wg wu wd scale")
        .nodes(
            "s0 = Pow(x, two)
             s1 = ReduceMean(s0)
             s2 = Add(s1, eps)
             s3 = Sqrt(s2)
             s4 = Div(x, s3)
             n = Mul(s4, g)
             q = MatMul(n, wq)
             qc = Mul(q, cos)
             qa, qb = Split(q)
             qn = Neg(qb)
             qr = Concat(qn, qa)
             qs = Mul(qr, sin)
             q1 = Add(qc, qs)
             k = MatMul(n, wk)
             kall = Concat(past, k)
             present = Identity(kall)
             kt = Transpose(kall)
             v = MatMul(n, wv)
             qk = MatMul(q1, kt)
             sc = Mul(qk, scale)
             so = Softmax(sc)
             at = MatMul(so, v)
             o = MatMul(at, wo)
             r = Add(x, o)
             gate = MatMul(r, wg)
             gs = Sigmoid(gate)
             ga = Mul(gate, gs)
             up = MatMul(r, wu)
             gu = Mul(ga, up)
             down = MatMul(gu, wd)
             y = Add(r, down)",
        )
        .output("y")
        .output("present")
        .graph();
    insta::assert_snapshot!(listing(&graph), @r"
    rms-norm: s0:Pow s1:ReduceMean s2:Add s3:Sqrt s4:Div n:Mul -> n
    matmul-rotary: q:MatMul qc:Mul qa:Split qn:Neg qr:Concat qs:Mul q1:Add -> n q1
    matmul: k:MatMul -> n q1 k
    matmul: v:MatMul -> q1 k v
    concat-attention: kall:Concat present:Identity kt:Transpose qk:MatMul sc:Mul so:Softmax at:MatMul -> at
    matmul-add: o:MatMul r:Add -> r
    matmul-silu: gate:MatMul gs:Sigmoid ga:Mul -> r ga
    matmul-elementwise: up:MatMul gu:Mul -> r gu
    matmul-add: down:MatMul y:Add ->
    ");
}

#[test]
fn branches_stay_apart_and_run_one_after_the_other() {
    let graph = weights(Build::default().input("x"), "w0 wa wb1 wb2 wc w1")
        .nodes(
            "c0 = Conv(x, w0)
             a0 = Conv(c0, wa)
             b0 = Conv(c0, wb1)
             p = AveragePool(c0)
             as = Sigmoid(a0)
             a1 = Mul(a0, as)
             b1 = HardSigmoid(b0)
             b2 = Mul(b0, b1)
             b3 = Conv(b2, wb2)
             b4 = LeakyRelu(b3)
             p1 = Conv(p, wc)
             z = Concat(a1, b4, p1)
             y = Conv(z, w1)
             y2 = MaxPool(z)",
        )
        .output("y")
        .output("y2")
        .graph();
    insta::assert_snapshot!(listing(&graph), @r"
    conv: c0:Conv -> c0
    conv-silu: a0:Conv as:Sigmoid a1:Mul -> c0 a1
    conv-hard-swish: b0:Conv b1:HardSigmoid b2:Mul -> c0 a1 b2
    conv-activation: b3:Conv b4:LeakyRelu -> c0 a1 b4
    averagepool: p:AveragePool -> a1 b4 p
    conv: p1:Conv -> a1 b4 p1
    concat: z:Concat -> z
    conv: y:Conv -> z
    maxpool: y2:MaxPool ->
    ");
}

#[test]
fn quantised_convolutions_keep_their_wrapping() {
    let graph = weights(Build::default().input("x"), "s z w w2")
        .nodes(
            "q0 = QuantizeLinear(x, s, z)
             d0 = DequantizeLinear(q0, s, z)
             dw = DequantizeLinear(w, s, z)
             c0 = Conv(d0, dw)
             r0 = Relu(c0)
             q1 = QuantizeLinear(r0, s, z)
             d1 = DequantizeLinear(q1, s, z)
             dw2 = DequantizeLinear(w2, s, z)
             c1 = Conv(d1, dw2)
             q2 = QuantizeLinear(c1, s, z)
             y = DequantizeLinear(q2, s, z)",
        )
        .output("y")
        .graph();
    insta::assert_snapshot!(listing(&graph), @r"
    quantise-dequantise-conv-activation: q0:QuantizeLinear d0:DequantizeLinear dw:DequantizeLinear c0:Conv r0:Relu q1:QuantizeLinear -> q1
    dequantise-conv-quantise: d1:DequantizeLinear dw2:DequantizeLinear c1:Conv q2:QuantizeLinear y:DequantizeLinear ->
    ");
}

#[test]
fn recurrent_layers_and_a_convolutional_cell() {
    let graph = weights(Build::default().input("x").input("h").input("c"), "w r wc")
        .nodes(
            "l = LSTM(x, w, r)
             lt = Transpose(l)
             xh = Concat(lt, h)
             g = Conv(xh, wc)
             i, f, o, u = Split(g)
             si = Sigmoid(i)
             sf = Sigmoid(f)
             sigma = Sigmoid(o)
             tu = Tanh(u)
             fc = Mul(sf, c)
             iu = Mul(si, tu)
             c1 = Add(fc, iu)
             tc = Tanh(c1)
             h1 = Mul(sigma, tc)
             xh2 = Concat(h1, lt)
             y = Conv(xh2, wc)
             z = Conv(c1, wc)",
        )
        .output("y")
        .output("z")
        .graph();
    insta::assert_snapshot!(listing(&graph), @r"
    lstm: l:LSTM lt:Transpose -> lt
    concat-conv-activation-elementwise-add: xh:Concat g:Conv i:Split si:Sigmoid sf:Sigmoid sigma:Sigmoid tu:Tanh fc:Mul iu:Mul c1:Add tc:Tanh h1:Mul -> lt c1 h1
    concat-conv: xh2:Concat y:Conv -> c1
    conv: z:Conv ->
    ");
}

#[test]
fn shapes_and_constants_go_where_they_are_used() {
    let graph = weights(Build::default().input("x").integers("i", &[0]), "w w2 w3")
        .nodes(
            "k0 = Constant()
             k1 = Sqrt(k0)
             c0 = Conv(x, w)
             s0 = Shape(c0)
             s1 = Gather(s0, i)
             c1 = Conv(c0, w2)
             m = Mul(c1, k1)
             c2 = Conv(m, w3)
             s2 = Concat(s1, i)
             f = Reshape(c2, s2)
             z = ConstantOfShape(s2)
             y = ScatterND(z, i, f)",
        )
        .output("y")
        .graph();
    insta::assert_snapshot!(listing(&graph), @r"
    conv: c0:Conv s0:Shape s1:Gather s2:Concat -> c0 s2
    conv-elementwise: k0:Constant k1:Sqrt c1:Conv m:Mul -> s2 m
    conv: c2:Conv f:Reshape -> s2 f
    scatternd: z:ConstantOfShape y:ScatterND ->
    ");
}

#[test]
fn a_graph_without_nodes_has_no_layers() {
    let graph = Build::default().input("x").output("x").graph();
    assert!(coarsen(&graph).is_empty());
    assert!(file_order(&graph, &[]).is_empty());
}

#[test]
fn a_layer_is_named_by_its_first_work() {
    let graph = weights(Build::default().input("x"), "w")
        .nodes("k = Constant()\n m = MatMul(x, w)\n y = Add(m, k)")
        .output("y")
        .graph();
    let names: BTreeMap<String, String> =
        coarsen(&graph).into_iter().map(|layer| (layer.name, layer.kind)).collect();
    assert_eq!(names, BTreeMap::from([("m:MatMul".to_owned(), "matmul-bias".to_owned())]));
}
