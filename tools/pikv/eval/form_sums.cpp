// SPDX-License-Identifier: Apache-2.0
#include "eval/form_sums.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include <pikv/gpu/host/kernels.hpp>
#include <pikv/gpu/host/worker_pool.hpp>

namespace pikv::tools {

namespace {

struct alignas(64) line {
  std::byte bytes[64];
};

class page_memory {
public:
  explicit page_memory(std::size_t bytes) : lines_((bytes + 63) / 64) {}
  std::byte* data() noexcept { return lines_.data()->bytes; }

private:
  std::vector<line> lines_;
};

/// Element offset, in a raw f32 page, of (head, slot, channel) of K (its second of V).
struct raw_places {
  const gpu::cache_dims& dims;
  gpu::page_layout layout = gpu::layout_of(dims, form::f32);

  float* k(std::byte* page, std::size_t head, std::size_t slot, std::size_t c) const {
    return reinterpret_cast<float*>(page + head * layout.head_bytes + layout.k_offset)
           + c * dims.page_tokens + slot;
  }
  float* v(std::byte* page, std::size_t head, std::size_t slot, std::size_t c) const {
    return reinterpret_cast<float*>(page + head * layout.head_bytes + layout.v_offset)
           + slot * dims.head_dim + c;
  }
};

/// K and V as a form gives them back, `[tokens, kv_heads, head_dim]`.
struct restored {
  std::vector<float> k, v;
};

restored through(const gpu::cache_dims& dims, form stored, const form_input& x, form_sums& sums) {
  restored out{std::vector<float>(x.k.size()), std::vector<float>(x.v.size())};
  const raw_places at{dims};
  page_memory raw(at.layout.page_bytes), coded(gpu::layout_of(dims, stored).page_bytes);
  const std::size_t heads = dims.kv_heads, dim = dims.head_dim;
  const std::size_t page_values = dims.page_tokens * heads * dim;
  gpu::serial_executor exec;
  const auto each = [&](std::size_t first, auto f) {
    for (std::size_t i = 0; i < page_values; ++i)
      f(first + i, i / dim % heads, i / (heads * dim), i % dim);
  };
  for (std::size_t first = 0; first < x.k.size(); first += page_values) {
    each(first, [&](std::size_t i, std::size_t h, std::size_t t, std::size_t c) {
      *at.k(raw.data(), h, t, c) = x.k[i];
      *at.v(raw.data(), h, t, c) = x.v[i];
    });
    gpu::page_view page{.data = raw.data(),
                        .tokens = static_cast<std::uint16_t>(dims.page_tokens),
                        .stored = form::f32};
    std::byte* const to[] = {coded.data()};
    gpu::codec_error error;
    gpu::host_kernels().encode({dims, stored, {&page, 1}, to, {&error, 1}}, exec);
    if (error.representable) {
      page.data = coded.data();
      page.stored = stored;
      std::byte* const back[] = {raw.data()};
      gpu::host_kernels().decode({dims, form::f32, {&page, 1}, back}, exec);
    } else {
      ++sums.raw_pages;
    }
    each(first, [&](std::size_t i, std::size_t h, std::size_t t, std::size_t c) {
      out.k[i] = *at.k(raw.data(), h, t, c);
      out.v[i] = *at.v(raw.data(), h, t, c);
    });
  }
  return out;
}

void add_difference(std::span<const float> a, std::span<const float> b, double& error,
                    double& norm) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = static_cast<double>(a[i]);
    error += std::pow(x - static_cast<double>(b[i]), 2);
    norm += x * x;
  }
}

/// Logits of one query over one KV head, without their mean; then their softmax over V into `out`.
void attend(const float* q, const float* k, const float* v, const gpu::cache_dims& dims,
            std::vector<float>& logits, std::vector<double>& out) {
  const std::size_t stride = std::size_t{dims.kv_heads} * dims.head_dim;
  const float scale = 1 / std::sqrt(static_cast<float>(dims.head_dim));
  double sum = 0;
  float top = -INFINITY;
  for (std::size_t t = 0; t < logits.size(); ++t) {
    float dot = 0;
    for (std::size_t c = 0; c < dims.head_dim; ++c)
      dot += q[c] * k[t * stride + c];
    logits[t] = dot * scale;
    sum += static_cast<double>(logits[t]);
    top = std::max(top, logits[t]);
  }
  const auto mean = static_cast<float>(sum / static_cast<double>(logits.size()));
  std::ranges::fill(out, 0);
  double total = 0;
  for (std::size_t t = 0; t < logits.size(); ++t) {
    const float weight = std::exp(logits[t] - top);
    total += static_cast<double>(weight);
    for (std::size_t c = 0; c < dims.head_dim; ++c)
      out[c] += static_cast<double>(weight * v[t * stride + c]);
    logits[t] -= mean;
  }
  for (double& y : out)
    y /= total;
}

} // namespace

form_sums& form_sums::operator+=(const form_sums& x) noexcept {
  k_error += x.k_error, k_norm += x.k_norm;
  v_error += x.v_error, v_norm += x.v_norm;
  logit_error += x.logit_error, logit_norm += x.logit_norm, logits += x.logits;
  out_error += x.out_error, out_norm += x.out_norm;
  raw_pages += x.raw_pages;
  return *this;
}

form_sums compare_form(const gpu::cache_dims& dims, form stored, const form_input& x) {
  form_sums sums;
  const restored back = through(dims, stored, x, sums);
  add_difference(x.k, back.k, sums.k_error, sums.k_norm);
  add_difference(x.v, back.v, sums.v_error, sums.v_norm);
  const std::size_t dim = dims.head_dim;
  const std::size_t tokens = x.k.size() / (dims.kv_heads * dim);
  std::vector<float> logits(tokens), logits_back(tokens);
  std::vector<double> out(dim), out_back(dim);
  for (std::size_t i = 0; tokens > 0 && i < x.q.size() / dim; ++i) { // (row, query head)
    const std::size_t head = i % dims.query_heads / dims.group();
    const float* q = x.q.data() + i * dim;
    attend(q, x.k.data() + head * dim, x.v.data() + head * dim, dims, logits, out);
    attend(q, back.k.data() + head * dim, back.v.data() + head * dim, dims, logits_back, out_back);
    add_difference(logits, logits_back, sums.logit_error, sums.logit_norm);
    sums.logits += static_cast<double>(tokens);
    for (std::size_t c = 0; c < dim; ++c) {
      sums.out_error += std::pow(out[c] - out_back[c], 2);
      sums.out_norm += out[c] * out[c];
    }
  }
  return sums;
}

} // namespace pikv::tools
