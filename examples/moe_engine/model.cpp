// SPDX-License-Identifier: Apache-2.0
#include <moe_engine/model.hpp>

#include <initializer_list>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include <moe_engine/files.hpp>

namespace pikv::moe_engine {

namespace {

/// Reads tensors and keeps the first error, so that the loading code below reads as a list of what
/// a model has.
class weight_reader {
public:
  explicit weight_reader(const tensor_file& file) : file_(file) {}

  std::vector<float> vector(const std::string& name, std::size_t n) { return read(name, {n}); }

  /// Matrices of `k` inputs stacked on top of each other: one product instead of several.
  packed_matrix stack(std::initializer_list<std::pair<std::string, std::size_t>> parts,
                      std::size_t k) {
    std::vector<float> all;
    std::size_t n = 0;
    for (const auto& [name, outputs] : parts) {
      const auto w = read(name, {outputs, k});
      all.insert(all.end(), w.begin(), w.end());
      n += outputs;
    }
    return complaint_ ? packed_matrix{} : packed_matrix{all, n, k};
  }

  std::vector<float> read(const std::string& name, const std::vector<std::size_t>& shape) {
    if (complaint_)
      return {};
    auto x = file_.read(name, shape);
    if (x)
      return std::move(*x);
    complaint_ = x.error();
    return {};
  }

  const std::optional<error>& complaint() const noexcept { return complaint_; }

private:
  const tensor_file& file_;
  std::optional<error> complaint_;
};

layer_weights read_layer(const model_config& c, weight_reader& in, std::uint32_t layer) {
  const auto name = [layer](std::string_view x) {
    return fmt::format("model.layers.{}.{}.weight", layer, x);
  };
  const std::size_t d = c.head_dim;
  const std::size_t q = c.query_heads * d;
  const std::size_t kv = c.kv_heads * d;
  layer_weights w;
  w.attention_norm = in.vector(name("input_layernorm"), c.width);
  w.query = in.stack({{name("self_attn.q_proj"), q}}, c.width);
  w.key = in.stack({{name("self_attn.k_proj"), kv}}, c.width);
  w.value = in.stack({{name("self_attn.v_proj"), kv}}, c.width);
  w.output = in.stack({{name("self_attn.o_proj"), c.width}}, q);
  w.expert_norm = in.vector(name("post_attention_layernorm"), c.width);
  w.gate = in.stack({{name("block_sparse_moe.gate"), c.experts}}, c.width);
  for (std::uint32_t e = 0; e < c.experts && !in.complaint(); ++e) {
    const auto expert = [&](std::string_view x) {
      return name(fmt::format("block_sparse_moe.experts.{}.{}", e, x));
    };
    w.experts.push_back(
        {in.stack({{expert("w1"), c.expert_width}, {expert("w3"), c.expert_width}}, c.width),
         in.stack({{expert("w2"), c.width}}, c.expert_width)});
  }
  return w;
}

} // namespace

result<model> build_model(const model_config& config, const tensor_file& file) {
  weight_reader in{file};
  model m;
  m.config = config;
  m.embedding = in.read("model.embed_tokens.weight", {config.vocabulary, config.width});
  for (std::uint32_t i = 0; i < config.layers && !in.complaint(); ++i)
    m.layers.push_back(read_layer(config, in, i));
  m.final_norm = in.vector("model.norm.weight", config.width);
  const auto head = config.tied_head ? "model.embed_tokens.weight" : "lm_head.weight";
  m.head = in.stack({{head, config.vocabulary}}, config.width);
  if (in.complaint())
    return *in.complaint();
  return m;
}

result<model> load_model(const std::string& folder) {
  const auto path = folder + "/config.json";
  const auto text = read_bytes(path);
  if (!text)
    return text.error();
  const auto config =
      parse_config({reinterpret_cast<const char*>(text->data()), text->size()}, path);
  if (!config)
    return config.error();
  const auto file = tensor_file::open(folder + "/model.safetensors");
  if (!file)
    return file.error();
  return build_model(*config, *file);
}

} // namespace pikv::moe_engine
