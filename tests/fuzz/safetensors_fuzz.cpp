// SPDX-License-Identifier: Apache-2.0
// Any bytes are a file of tensors or refused with a sentence; no tensor is read beyond them.
#include <moe_engine/tensor_file.hpp>

#include <vector>

#include "target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pikv;
  using fuzz::expect;
  const auto file = moe_engine::tensor_file::parse({data, data + size}, "f");
  if (!file) {
    expect(file.code() == errc::model_file, file.error().what);
    expect(file.error().what.starts_with("f: "), "an error names its file");
    return 0;
  }
  // Names and shapes that the corpus has, so that what is found is also read.
  static const std::vector<std::vector<std::size_t>> shapes{{}, {0}, {1}, {2}, {3}, {4}, {2, 2}};
  for (const auto* name : {"a", "b", "c"})
    for (const auto& shape : shapes) {
      const auto x = file->read(name, shape);
      std::size_t wanted = 1;
      for (const auto n : shape)
        wanted *= n;
      expect(!x || (file->has(name) && x->size() == wanted),
             "a tensor has the numbers of its shape");
    }
  return 0;
}
