// SPDX-License-Identifier: Apache-2.0
// Calls ordered by an engine's CUDA stream: PiKV reads q after the stream has written it, the stream
// reads the output after PiKV has written it, and no failure stops a stream for ever. Each test is a
// process of its own, so that its first kernels are loaded while a stream waits; CMake runs them with
// kernels loaded at once and with kernels loaded lazily. Needs a GPU.
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <random>

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <pikv/actors/runtime.hpp>
#include <pikv/gpu/cuda/driver.hpp>

#include "gpu/cuda/device_array.hpp"
#include "support/cache_harness.hpp"

namespace pikv::test {
namespace {

using namespace std::chrono_literals;

constexpr model_shape shape{2, 8, 2, 64, 0};
constexpr std::uint32_t batch = 3, prompt = 700;

/// The parameter: logical devices. Several choose together what a call reads.
class cuda_ordered : public gpu_test, public ::testing::WithParamInterface<std::uint32_t> {
protected:
  void SetUp() override {
    gpu_test::SetUp();
    if (IsSkipped())
      return;
    auto s = small_settings();
    s.devices.backend = "cuda";
    s.devices.count = GetParam();
    s.cache.stored = dtype::bf16;
    s.selection = choose("mass", {{"share", 0.25}});
    s.fidelity.audit_share = 0.3; // some calls take the way of those that are audited
    auto rt = runtime::start(s);
    ASSERT_TRUE(rt.ok()) << rt.error().what;
    runtime_.emplace(std::move(*rt));
    auto kv = runtime_->open(shape);
    ASSERT_TRUE(kv.ok()) << kv.error().what;
    kv_.emplace(std::move(*kv));
    expect_cuda(cudaStreamCreateWithFlags(&engine_, cudaStreamNonBlocking));
    std::mt19937_64 rng(7);
    std::normal_distribution<float> normal;
    for (auto* x : {&host_rows_, &host_q_, &other_q_}) {
      x->resize(std::size_t{batch} * prompt * shape.query_heads * shape.head_dim);
      for (auto& v : *x)
        v = normal(rng);
    }
    rows_ = device_array<float>(host_rows_);
    q_ = device_array<float>(q_elements());
    out_ = device_array<float>(q_elements());
    expect_cuda(cudaHostAlloc(reinterpret_cast<void**>(&pinned_), q_elements() * 4,
                              cudaHostAllocDefault));
    slow_ = device_array<std::byte>(std::size_t{1} << 30);
    warm_up();
    for (std::uint32_t i = 0; i < batch; ++i)
      sequences_.push_back(*kv_->open());
  }

  /// CUDA loads even its own kernels, such as that of cudaMemsetAsync, when they are first launched:
  /// an engine has done so before its stream waits for anything.
  void warm_up() {
    write_q_late(rows_);
    expect_cuda(cudaMemcpyAsync(out_.data(), q_.data(), 4, cudaMemcpyDefault, engine_));
    expect_cuda(cudaStreamSynchronize(engine_));
  }

  static std::size_t q_elements() {
    return std::size_t{batch} * shape.query_heads * shape.head_dim;
  }

  std::vector<batch_part> parts(std::uint32_t at, std::uint32_t tokens) const {
    std::vector<batch_part> x;
    for (const auto id : sequences_)
      x.push_back({id, at, tokens});
    return x;
  }

  const_tensor rows(std::uint32_t tokens) const {
    return {rows_.data(), rows_.size() * 4, dtype::f32, layout::nhd, batch * tokens,
            shape.kv_heads, shape.head_dim, 0, 0};
  }
  const_tensor query() const {
    return {q_.data(), q_.size() * 4, dtype::f32, layout::nhd, batch, shape.query_heads,
            shape.head_dim, 0, 0};
  }
  tensor output() const {
    return {out_.data(), out_.size() * 4, dtype::f32, layout::nhd, batch, shape.query_heads,
            shape.head_dim, 0, 0};
  }

  /// Some milliseconds of the engine's work, and then q.
  void write_q_late(const device_array<float>& q) {
    for (int i = 0; i < 20; ++i)
      expect_cuda(cudaMemsetAsync(slow_.data(), i, slow_.size(), engine_));
    expect_cuda(cudaMemcpyAsync(q_.data(), q.data(), q_elements() * 4, cudaMemcpyDefault, engine_));
  }

  /// On the GPU: a copy from host memory to host memory would stop this thread.
  void keep_status(const completion<attend_report>& x) {
    expect_cuda(
        cudaMemcpyAsync(status_.data(), x.stream_status(), 4, cudaMemcpyDefault, engine_));
  }

  attend_options behind(cudaStream_t stream) const {
    attend_options o;
    o.stream = stream;
    return o;
  }

  std::optional<runtime> runtime_;
  std::optional<cache> kv_;
  std::vector<sequence_id> sequences_;
  std::vector<float> host_rows_, host_q_, other_q_;
  device_array<float> rows_, q_, out_;
  device_array<std::byte> slow_;
  device_array<std::uint32_t> status_{1};
  cudaStream_t engine_ = nullptr;
  float* pinned_ = nullptr;
};

/// The first kernels of every kind are launched while the engine's stream waits.
TEST_P(cuda_ordered, a_stream_reads_what_a_waiting_thread_reads) {
  const device_array<float> first(host_q_), second(other_q_);
  append_options appends;
  appends.stream = engine_;
  auto filled = kv_->append(0, parts(0, prompt), rows(prompt), rows(prompt), appends);
  ASSERT_TRUE(filled.enqueue_wait(engine_).ok());
  std::vector<float> before;
  for (const auto* q : {&first, &second}) {
    write_q_late(*q);
    auto done = kv_->attend(0, parts(prompt - 1, 1), query(), output(), behind(engine_));
    ASSERT_TRUE(done.enqueue_wait(engine_).ok());
    // Behind the wait nothing may stop a thread inside CUDA, as copies of pageable memory and within host memory do.
    expect_cuda(cudaMemcpyAsync(pinned_, out_.data(), q_elements() * 4, cudaMemcpyDefault, engine_));
    keep_status(done);
    expect_cuda(cudaStreamSynchronize(engine_));
    const std::vector<float> got(pinned_, pinned_ + q_elements());
    const auto status = status_.download().front();
    std::vector<float> want(q_elements());
    const auto report = std::move(done).wait();
    ASSERT_TRUE(report.ok()) << report.error().what;
    EXPECT_EQ(status, 0U);
    EXPECT_TRUE(report->entries.adds_up());
    // The same by a thread that waits, with q in place.
    ASSERT_TRUE(kv_->attend(0, parts(prompt - 1, 1), query(), output()).wait().ok());
    out_.download(want);
    EXPECT_EQ(got, want);
    EXPECT_NE(got, before); // another q, another answer: a stale q would be seen
    before = got;
  }
}

TEST_P(cuda_ordered, many_layers_ahead_of_the_gpu_give_the_same) {
  ASSERT_TRUE(kv_->append(1, parts(0, prompt), rows(prompt), rows(prompt)).wait().ok());
  const device_array<float> first(host_q_), second(other_q_);
  constexpr std::size_t calls = 40;
  const device_array<float> kept(calls * q_elements());
  std::vector<completion<attend_report>> done;
  for (std::size_t i = 0; i < calls; ++i) { // nothing here waits for the GPU
    const auto* q = (i % 2 == 0 ? first : second).data();
    expect_cuda(cudaMemcpyAsync(q_.data(), q, q_elements() * 4, cudaMemcpyDefault, engine_));
    done.push_back(kv_->attend(1, parts(prompt - 1, 1), query(), output(), behind(engine_)));
    ASSERT_TRUE(done.back().enqueue_wait(engine_).ok());
    expect_cuda(cudaMemcpyAsync(kept.data() + i * q_elements(), out_.data(), q_elements() * 4,
                                cudaMemcpyDefault, engine_));
  }
  expect_cuda(cudaStreamSynchronize(engine_));
  for (auto& x : done)
    ASSERT_TRUE(x.wait().ok());
  const auto all = kept.download();
  const auto of = [&](std::size_t i) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(i * q_elements());
    return std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(q_elements()));
  };
  EXPECT_NE(of(0), of(1));
  for (std::size_t i = 2; i < calls; ++i)
    EXPECT_EQ(of(i), of(i % 2)) << i;
}

TEST_P(cuda_ordered, a_failure_lets_the_stream_go_on_and_tells_it) {
  auto done = kv_->attend(0, parts(5, 1), query(), output(), behind(engine_)); // nothing appended
  ASSERT_TRUE(done.enqueue_wait(engine_).ok());
  keep_status(done);
  expect_cuda(cudaStreamSynchronize(engine_));
  const auto status = status_.download().front();
  EXPECT_EQ(done.wait().code(), errc::position_gap);
  EXPECT_EQ(status, static_cast<std::uint32_t>(errc::position_gap));
}

/// PiKV itself cannot begin: the stream that q comes from stands still. Whoever waits for the attend
/// goes on at its deadline.
TEST_P(cuda_ordered, no_wait_outlasts_the_deadline) {
  if (!gpu::cuda::loads_eagerly())
    GTEST_SKIP() << "a kernel that is loaded now would wait for the stream that stands still";
  ASSERT_TRUE(kv_->append(0, parts(0, prompt), rows(prompt), rows(prompt)).wait().ok());
  std::uint32_t* gate = nullptr;
  expect_cuda(cudaHostAlloc(reinterpret_cast<void**>(&gate), 4, cudaHostAllocMapped));
  *gate = 0;
  cudaStream_t closed = nullptr;
  expect_cuda(cudaStreamCreateWithFlags(&closed, cudaStreamNonBlocking));
  ASSERT_TRUE(gpu::cuda::wait_value(closed, gate, 1).ok());
  auto o = behind(closed);
  o.deadline = 300ms;
  auto done = kv_->attend(0, parts(prompt - 1, 1), query(), output(), o);
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_TRUE(done.enqueue_wait(engine_).ok());
  keep_status(done);
  expect_cuda(cudaStreamSynchronize(engine_));
  const auto status = status_.download().front();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
  EXPECT_EQ(status, static_cast<std::uint32_t>(errc::deadline_exceeded));
  std::atomic_ref{*gate}.store(1);
  EXPECT_EQ(done.wait().code(), errc::deadline_exceeded);
  expect_cuda(cudaStreamSynchronize(closed));
}

INSTANTIATE_TEST_SUITE_P(devices, cuda_ordered, ::testing::Values(1U, 3U));

} // namespace
} // namespace pikv::test
