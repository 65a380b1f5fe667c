// SPDX-License-Identifier: Apache-2.0
/// \file
/// The layers' work on the streams of one device, each stage alone and all of them together.
#pragma once

#include <cstring>
#include <memory>
#include <vector>

#include "layers.hpp"

namespace pikv::bench {

/// Functions that run something block, and return its milliseconds.
class pipeline {
public:
  pipeline(gpu::device& device, const pipeline_sizes& sizes)
      : sizes_(sizes), work_(device, sizes), compute_(make(device, gpu::stream_role::compute)),
        codec_(make(device, gpu::stream_role::codec)), copy_(make(device, gpu::stream_role::copy)) {
  }

  double append() { return each(*compute_, &layers::append); }
  double attend() { return each(*compute_, &layers::attend); }
  double encode() { return each(*codec_, &layers::encode); }
  double copy() { return each(*copy_, &layers::copy); }
  double compute() {
    return milliseconds({compute_.get()}, [&] {
      for (std::uint32_t l = 0; l < sizes_.layers; ++l) {
        work_.append(*compute_, l);
        work_.attend(*compute_, l);
      }
    });
  }

  double together() {
    return milliseconds({compute_.get(), codec_.get(), copy_.get()}, [&] {
      for (std::uint32_t l = 0; l < sizes_.layers; ++l) {
        work_.append(*compute_, l);
        codec_->wait(compute_->record());
        work_.attend(*compute_, l);
        work_.encode(*codec_, l);
        copy_->wait(codec_->record());
        work_.copy(*copy_, l);
      }
    });
  }

  /// Whether the pipeline brings the host the bytes that stages one after another do.
  bool correct() {
    work_.blank(*compute_);
    append();
    encode();
    copy();
    const std::vector<std::byte> expected(work_.copied().begin(), work_.copied().end());
    work_.blank(*compute_);
    together();
    return std::memcmp(expected.data(), work_.copied().data(), expected.size()) == 0;
  }

  void enqueue_attention() {
    for (std::uint32_t l = 0; l < sizes_.layers; ++l)
      work_.attend(*compute_, l);
  }
  gpu::stream& compute_stream() { return *compute_; }

private:
  static std::unique_ptr<gpu::stream> make(gpu::device& device, gpu::stream_role role) {
    auto s = device.make_stream(role);
    if (!s)
      stop({errc::io_failed, "the device gives no stream"});
    return s;
  }

  double each(gpu::stream& s, void (layers::*task)(gpu::stream&, std::uint32_t)) {
    return milliseconds({&s}, [&] {
      for (std::uint32_t l = 0; l < sizes_.layers; ++l)
        (work_.*task)(s, l);
    });
  }

  const pipeline_sizes sizes_;
  layers work_; // outlives the streams, whose tasks use it
  std::unique_ptr<gpu::stream> compute_, codec_, copy_;
};

} // namespace pikv::bench
