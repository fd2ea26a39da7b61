"""Triton's own client against a front door. Arguments: ADDRESS:PORT, then which checks.

The door serves `types` (output `out_T` is input `in_T`, shape [2, 3]) and `toy` (`y` = 2x + 2).
"""

import sys
import unittest

import ml_dtypes
import numpy
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

ADDRESS = sys.argv.pop(1)

VALUES = {
    "bool": numpy.array([[True, False, True], [False, False, True]]),
    "uint8": numpy.array([[0, 1, 2], [253, 254, 255]], numpy.uint8),
    "uint16": numpy.array([[0, 1, 2], [3, 65534, 65535]], numpy.uint16),
    "uint32": numpy.array([[0, 1, 2], [3, 4, 2**32 - 1]], numpy.uint32),
    "uint64": numpy.array([[0, 1, 2], [3, 4, 2**64 - 1]], numpy.uint64),
    "int8": numpy.array([[-128, -1, 0], [1, 2, 127]], numpy.int8),
    "int16": numpy.array([[-(2**15), -1, 0], [1, 2, 2**15 - 1]], numpy.int16),
    "int32": numpy.array([[-(2**31), -1, 0], [1, 2, 2**31 - 1]], numpy.int32),
    "int64": numpy.array([[-(2**63), -1, 0], [1, 2, 2**63 - 1]], numpy.int64),
    "float16": numpy.array([[-1.5, 0, 6e-8], [1, 65504, numpy.inf]], numpy.float16),
    "float32": numpy.array([[-1.5, 0.1, 1e-45], [1, 3.4e38, numpy.pi]], numpy.float32),
    "float64": numpy.array([[-1.5, 0.1, 5e-324], [1, 1.7e308, numpy.pi]], numpy.float64),
    "bfloat16": numpy.array([[-1.5, 0, 1e-40], [2, 3, 3e38]], ml_dtypes.bfloat16),
    "string": numpy.array([[b"", b"a", "ünï".encode()], [b'"\\', b"\n", b"long" * 99]], numpy.object_),
}
NAMES = {
    "bool": "BOOL",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "bfloat16": "BF16",
    "string": "BYTES",
}
# The client itself sends and reads these behind the JSON only.
BINARY_ONLY = {"float16", "bfloat16"}


def datatype(name):
    return NAMES.get(name, name.upper())


def tensor(name, values, kind, binary):
    made = triton.InferInput(name, list(values.shape), kind)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def every_input(binary):
    inputs = []
    for name, values in VALUES.items():
        inputs.append(tensor(f"in_{name}", values, datatype(name), binary or name in BINARY_ONLY))
    return inputs


class Types(unittest.TestCase):
    def setUp(self):
        self.client = triton.InferenceServerClient(ADDRESS)
        self.addCleanup(self.client.close)

    def check(self, result):
        for name, values in VALUES.items():
            answered = result.as_numpy(f"out_{name}")
            if name == "string" and answered.dtype.kind == "U":
                answered = numpy.char.encode(answered)
            if name == "string":
                answered = numpy.vectorize(
                    lambda text: text.encode() if isinstance(text, str) else text, otypes=[object]
                )(answered)
            numpy.testing.assert_array_equal(answered, values, err_msg=name, strict=name != "string")

    def infer(self, binary_in, binary_out, **more):
        outputs = [
            triton.InferRequestedOutput(f"out_{name}", binary_data=binary_out or name in BINARY_ONLY)
            for name in VALUES
        ]
        return self.client.infer("types", every_input(binary_in), outputs=outputs, **more)

    def test_every_type_behind_the_json(self):
        self.check(self.infer(True, True))

    def test_every_type_in_the_json(self):
        self.check(self.infer(False, False))

    def test_in_behind_out_in_the_json_and_back(self):
        self.check(self.infer(True, False))
        self.check(self.infer(False, True))

    def test_no_outputs_asked_for_gives_all(self):
        self.check(self.client.infer("types", every_input(True)))

    def test_coded_bodies(self):
        for coding in ("gzip", "deflate"):
            more = {"request_compression_algorithm": coding, "response_compression_algorithm": coding}
            self.check(self.infer(True, True, **more))
            self.check(self.infer(False, False, **more))

    def test_an_output_alone_and_the_request_s_id(self):
        wanted = [triton.InferRequestedOutput("out_int64", binary_data=True)]
        result = self.client.infer("types", every_input(True), outputs=wanted, request_id="seven")
        self.assertEqual(result.get_response()["id"], "seven")
        self.assertIsNone(result.as_numpy("out_bool"))
        numpy.testing.assert_array_equal(result.as_numpy("out_int64"), VALUES["int64"])

    def test_many_at_once(self):
        client = triton.InferenceServerClient(ADDRESS, concurrency=8)
        self.addCleanup(client.close)
        for waiting in [client.async_infer("types", every_input(True)) for _ in range(200)]:
            self.check(waiting.get_result())

    def test_what_is_said_of_models(self):
        self.assertTrue(self.client.is_server_live())
        self.assertTrue(self.client.is_server_ready())
        self.assertTrue(self.client.is_model_ready("types"))
        self.assertTrue(self.client.is_model_ready("types", "1"))
        self.assertFalse(self.client.is_model_ready("types", "2"))
        self.assertFalse(self.client.is_model_ready("none"))
        self.assertIn("binary_tensor_data", self.client.get_server_metadata()["extensions"])
        told = self.client.get_model_metadata("types")
        for prefix, tensors in (("in", told["inputs"]), ("out", told["outputs"])):
            expected = [(f"{prefix}_{name}", datatype(name), [2, 3]) for name in VALUES]
            self.assertEqual([(t["name"], t["datatype"], t["shape"]) for t in tensors], expected)
        config = self.client.get_model_config("types")
        self.assertEqual(config["max_batch_size"], 0)
        self.assertEqual(config["input"][-1]["data_type"], "TYPE_STRING")
        index = self.client.get_model_repository_index()
        self.assertEqual({(m["name"], m["state"]) for m in index}, {("types", "READY"), ("toy", "READY")})

    def test_statistics_count(self):
        def counts():
            [model] = self.client.get_inference_statistics("toy")["model_stats"]
            stats = model["inference_stats"]
            return model["inference_count"], stats["success"]["count"], stats["fail"]["count"]

        before = counts()
        x = tensor("x", numpy.arange(4, dtype=numpy.float32), "FP32", True)
        y = self.client.infer("toy", [x]).as_numpy("y")
        numpy.testing.assert_array_equal(y, [2, 4, 6, 8])
        with self.assertRaises(InferenceServerException):
            self.client.infer("toy", [])
        self.assertEqual(counts(), (before[0] + 1, before[1] + 1, before[2] + 1))
        names = {m["name"] for m in self.client.get_inference_statistics()["model_stats"]}
        self.assertEqual(names, {"types", "toy"})


class Mistakes(unittest.TestCase):
    def setUp(self):
        self.client = triton.InferenceServerClient(ADDRESS)
        self.addCleanup(self.client.close)

    def refused(self, status, words, inputs, model="toy", **more):
        with self.assertRaises(InferenceServerException) as caught:
            self.client.infer(model, inputs, **more)
        self.assertEqual(caught.exception.status(), str(status))
        self.assertIn(words, caught.exception.message())

    def test_what_is_wrong_is_named(self):
        four = numpy.zeros(4, numpy.float32)
        for binary in (True, False):
            x = tensor("x", four, "FP32", binary)
            self.refused(404, "there is no model `none`; the models are", [x], model="none")
            self.refused(404, "has no version `2`", [x], model_version="2")
            self.refused(400, "the model has no input `z`", [tensor("z", four, "FP32", binary)])
            self.refused(400, "input `x` is given twice", [x, x])
            wide = tensor("x", four.reshape(2, 2), "FP32", binary)
            self.refused(400, "input `x` is FP32 [2, 2], the model takes `x` FP32 [4]", [wide])
            double = tensor("x", four.astype(numpy.float64), "FP64", binary)
            self.refused(400, "input `x` is FP64 [4], the model takes `x` FP32 [4]", [double])
            out = [triton.InferRequestedOutput("z", binary_data=binary)]
            self.refused(400, "the model has no output `z`; its outputs are `y` FP32 [4]", [x], outputs=out)
            out = [triton.InferRequestedOutput("y", class_count=2)]
            self.refused(501, "parameter `classification`", [x], outputs=out)
        self.refused(400, "input `x` FP32 [4] is missing", [])
        shared = triton.InferInput("x", [4], "FP32")
        shared.set_shared_memory("region", 16)
        self.refused(501, "parameter `shared_memory_region`", [shared])

    def test_bytes_that_are_not_the_tensor(self):
        short = triton.InferInput("x", [4], "FP32")
        short._parameters["binary_data_size"] = 12
        short._raw_data = b"\0" * 12
        self.refused(400, "it has 12 bytes, 16 are needed", [short])
        more = triton.InferInput("x", [4], "FP32")
        more._parameters["binary_data_size"] = 16
        more._raw_data = b"\0" * 20
        self.refused(400, "4 bytes of the body belong to no input", [more])
        less = triton.InferInput("x", [4], "FP32")
        less._parameters["binary_data_size"] = 16
        less._raw_data = b"\0" * 8
        self.refused(400, "has 16 bytes by its size, 8 are left", [less])

    def test_a_timeout_in_microseconds(self):
        x = tensor("x", numpy.zeros(4, numpy.float32), "FP32", True)
        self.refused(504, "no answer within 0.0 s", [x], timeout=1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
