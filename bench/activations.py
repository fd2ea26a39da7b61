#!/usr/bin/env python3
"""Records tensors that cross cuts of ONNX models, as raw files for `transport/examples/codecs.rs`.

    python activations.py OUT MODEL.onnx...

A cut lies behind a node. The cuts with the fewest tensors alive are taken, at most eight
of them, evenly spaced; each live tensor becomes OUT/MODEL-CUT-OPERATOR.TYPE.SHAPE.bin.
Constants are folded first (ONNX Runtime, basic level). Needs onnx, onnxruntime, numpy
and scikit-image, whose sample pictures are the inputs of models that look at pictures.
"""

import os
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort

CUTS = 8
# What a layer goes on with at once: no cut lies before these.
ACTIVATIONS = {
    "Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Gelu",
    "Erf", "Softmax", "BatchNormalization",
}
LARGEST = 64 << 20
SMALLEST = 16 << 10
random = np.random.default_rng(1)


def fold(path, into):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = into
    options.log_severity_level = 3
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return onnx.load(into)


def live_sets(graph):
    """For the cut behind each node: the names of the tensors alive there."""
    last, before_activation = {}, set()
    for index, node in enumerate(graph.node):
        for name in node.input:
            last[name] = index
        if node.op_type in ACTIVATIONS:
            before_activation.add(node.input[0])
        for attribute in node.attribute:
            if attribute.HasField("g"):
                for inner in attribute.g.node:
                    for name in inner.input:
                        last[name] = index
    made, sets = {}, []
    for index, node in enumerate(graph.node):
        for name in node.output:
            if name and name in last:
                made[name] = node.op_type
        alive = [(n, op) for n, op in made.items() if last[n] > index]
        sets.append([] if any(n in before_activation for n, _ in alive) else alive)
    return sets


def choose(sets):
    inner = [(index, alive) for index, alive in enumerate(sets) if alive]
    if not inner:
        return []
    fewest = 1
    while len([1 for _, alive in inner if len(alive) <= fewest]) < CUTS and fewest < 64:
        fewest += 1
    narrow = [pair for pair in inner if len(pair[1]) <= fewest]
    steps = np.linspace(0, len(narrow) - 1, min(CUTS, len(narrow))).round().astype(int)
    return [narrow[step] for step in dict.fromkeys(steps)]


def picture(shape):
    from skimage import data, transform
    _, channels, height, width = shape
    image = data.page() if channels == 1 or height < width else data.coffee()
    image = transform.resize(image, (height, width))
    image = np.stack([image] * channels) if image.ndim == 2 else image.transpose(2, 0, 1)[:channels]
    return ((image - 0.5) / 0.25)[None].astype(np.float32)


def audio(shape):
    time = np.arange(int(np.prod(shape))) / 16000
    pitch = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * time)) / 16000
    voice = sum(np.sin(k * pitch) / k for k in range(1, 20))
    loud = np.clip(np.sin(2 * np.pi * 3 * time), 0, None)
    return (0.1 * voice * loud + 0.002 * random.standard_normal(time.size)).reshape(shape).astype(np.float32)


def given(value, model):
    """An input that fits; none that a model would be given outside pictures, sound and text."""
    kind = value.type
    shape = []
    for axis, extent in enumerate(value.shape):
        if isinstance(extent, int) and extent > 0:
            shape.append(extent)
        elif axis == 0:
            shape.append(1)
        elif "past" in value.name:
            shape.append(0)
        else:
            shape.append({4: 640}.get(len(value.shape), 128))
    if "det_small" in model and len(shape) == 4:
        shape = [1, 3, 640, 640]
    if "rec_small" in model and len(shape) == 4:
        shape = [1, 3, 48, 320]
    if "common" in model and len(shape) == 4:
        shape = [1, 1, 64, 256]
    if "gcn" in model:
        shape = {"x": [5000, 602], "edge_index": [2, 100_000], "edge_norm": [100_000]}[value.name]
    if "past" in value.name:
        shape[2] = 64
    if "int64" in kind or "int32" in kind:
        type_ = np.int64 if "int64" in kind else np.int32
        if "mask" in value.name:
            return np.ones(shape, type_)
        if "type" in value.name:
            return np.zeros(shape, type_)
        if "position" in value.name:
            return np.broadcast_to(np.arange(shape[-1]), shape).astype(type_)
        if "magika" in model:
            text = open(__file__, "rb").read()[:2048].ljust(2048)
            return np.frombuffer(text, np.uint8).reshape(shape).astype(type_)
        return random.integers(0, 5000, shape).astype(type_)
    if len(shape) == 4 and shape[1] in (1, 3):
        return picture(shape)
    if "mos" in model:
        return audio(shape)
    return random.standard_normal(shape).astype(np.float32)


def record(path, out):
    model = os.path.splitext(os.path.basename(path))[0]
    with tempfile.TemporaryDirectory() as folder:
        folded = os.path.join(folder, "folded.onnx")
        proto = fold(path, folded)
        cuts = choose(live_sets(proto.graph))
        wanted = {}
        for number, (_, alive) in enumerate(cuts):
            for name, op in alive:
                wanted.setdefault(name, (number, op))
        known = {value.name for value in proto.graph.output}
        for name in wanted:
            if name not in known:
                proto.graph.output.append(onnx.ValueInfoProto(name=name))
        onnx.save(proto, folded)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        session = ort.InferenceSession(folded, options, providers=["CPUExecutionProvider"])
        inputs = {value.name: given(value, model) for value in session.get_inputs()}
        names = list(wanted)[:: max(1, len(wanted) // 12)]
        for index, (name, tensor) in enumerate(zip(names, session.run(names, inputs))):
            if not SMALLEST <= tensor.nbytes <= LARGEST:
                continue
            if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
                print(model, name, "is not finite", flush=True)
            number, op = wanted[name]
            shape = "x".join(map(str, tensor.shape))
            file = f"{model}-{number}-{index:02}-{op}.{tensor.dtype}.{shape}.bin"
            np.ascontiguousarray(tensor).tofile(os.path.join(out, file))
            print(file, f"{(tensor == 0).mean():.3f} zero", flush=True)


if __name__ == "__main__":
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    for path in sys.argv[2:]:
        try:
            record(path, out)
        except Exception as error:
            print(path, "FAILED", str(error)[:300], flush=True)
