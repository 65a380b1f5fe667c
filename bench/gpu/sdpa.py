#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Decode attention of PyTorch (flash and cuDNN backends, contiguous KV, and FlashInfer where it is
installed) at the shapes of gpu_attend_bench: bf16, 32 query heads, 8 KV heads, head dim 128.

Each backend runs in two ways, and the faster one counts: enable_gqa, and the four query heads of a
KV head as four rows of one head, which is the same attention when nothing is masked.
Times are medians over replays of a CUDA graph that rotates among buffers larger than the cache.

    sdpa.py [--out result.json]
"""
import json
import statistics
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

SHAPES = {"1x4k": (1, 4096), "1x32k": (1, 32768), "8x4k": (8, 4096), "1x128k": (1, 131072),
          "32x4k": (32, 4096), "8x32k": (8, 32768), "32x16k": (32, 16384)}
HEADS, KV_HEADS, DIM = 32, 8, 128


def median_us(calls):
    """Median microseconds of one call when all run in one graph."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for call in calls[:2]:
            call()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for call in calls:
            call()
    times = []
    for i in range(9):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        if i >= 2:
            times.append(1000 * begin.elapsed_time(end) / len(calls))
    return statistics.median(times)


def attempt(name, calls, into):
    try:
        into[name] = median_us(calls)
    except Exception as error:  # a backend may refuse a shape; say so and go on
        into[name] = None
        print(f"  {name}: {str(error).splitlines()[0][:100]}")
        torch.cuda.synchronize()


def sdpa_call(backend, q, k, v, gqa):
    def call():
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q, k, v, enable_gqa=gqa)
    return call


def flashinfer_calls(batch, length, count):
    import flashinfer
    pages = length // 16
    workspace = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")
    calls = []
    for _ in range(count):
        wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace, "HND")
        cache = torch.randn(batch * pages, 2, KV_HEADS, 16, DIM, device="cuda",
                            dtype=torch.bfloat16)
        indptr = torch.arange(batch + 1, dtype=torch.int32, device="cuda") * pages
        indices = torch.randperm(batch * pages, device="cuda").int()
        last = torch.full((batch,), 16, dtype=torch.int32, device="cuda")
        wrapper.plan(indptr, indices, last, HEADS, KV_HEADS, DIM, 16,
                     q_data_type=torch.bfloat16, kv_data_type=torch.bfloat16)
        q = torch.randn(batch, HEADS, DIM, device="cuda", dtype=torch.bfloat16)
        calls.append(lambda w=wrapper, q=q, c=cache: w.run(q, c))
    return calls


def main():
    try:
        import flashinfer  # noqa: F401
        has_flashinfer = True
    except ImportError:
        has_flashinfer = False
    results = []
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, cuDNN "
          f"{torch.backends.cudnn.version()}, FlashInfer {'yes' if has_flashinfer else 'no'}")
    for shape, (batch, length) in SHAPES.items():
        kv_bytes = batch * length * 2 * KV_HEADS * DIM * 2
        count = max(2, min(16, (1 << 30) // kv_bytes))
        sets = [[torch.randn(batch, h, n, DIM, device="cuda", dtype=torch.bfloat16)
                 for h, n in ((HEADS, 1), (KV_HEADS, length), (KV_HEADS, length))]
                for _ in range(count)]
        order = [sets[i % count] for i in range(max(8, count) // count * count)]
        times = {}
        for name, backend in (("flash", SDPBackend.FLASH_ATTENTION),
                              ("cudnn", SDPBackend.CUDNN_ATTENTION)):
            attempt(f"{name} gqa", [sdpa_call(backend, q, k, v, True) for q, k, v in order], times)
            packed = [(q.view(batch, KV_HEADS, HEADS // KV_HEADS, DIM), k, v) for q, k, v in order]
            attempt(f"{name} packed", [sdpa_call(backend, q, k, v, False) for q, k, v in packed],
                    times)
        del sets, order, packed
        torch.cuda.empty_cache()
        if has_flashinfer:
            attempt("flashinfer", flashinfer_calls(batch, length, count), times)
        best = min((x, n) for n, x in times.items() if x is not None and n != "flashinfer")
        results.append({"shape": shape, "us": times, "best_us": best[0], "best": best[1]})
        print(f"{shape:8} " + "  ".join(f"{n} {x:.1f}" if x else f"{n} -" for n, x in times.items()))
    if "--out" in sys.argv:
        with open(sys.argv[sys.argv.index("--out") + 1], "w") as f:
            json.dump({"torch": torch.__version__, "gpu": torch.cuda.get_device_name(),
                       "sdpa": results}, f, indent=1)


if __name__ == "__main__":
    main()
