"""`tools.gpu_bench`, parent or child, over the fakes: a driver in C, GStreamer's real CUDA memory, ONNX Runtime on the
processor fed from device addresses. `test_gpu_bench_path.py` starts it; its children are started as itself.
"""

from __future__ import annotations

import os
import sys

import pytest

from edge.capture.gst import Gst
from tests.support import cuda_child, fake_cuda, fake_ort, gst_element, ptx
from tools.gpu_bench import __main__ as command
from tools.gpu_bench.children import bare, interface, path

REFUSE_GRAPHS = "FAKE_ORT_REFUSES_GRAPHS"


def main() -> int:
    fake_cuda.bindings()
    Gst.ElementFactory.find("cudaupload").load()
    ptx.teach_blacken(cuda_child.driver)
    fake_ort.install(pytest.MonkeyPatch(), cuda_child.driver).refuses_graphs = REFUSE_GRAPHS in os.environ
    bare.COPY_BYTES, interface.COUNT, path.WARM_S = 2**20, 12, 0.5
    with gst_element.registered("cudaconvertscale", cuda_child.CudaConvertScale):
        return command.main(sys.argv[1:], module="tests.support.gpu_bench_child")


if __name__ == "__main__":
    sys.exit(main())
