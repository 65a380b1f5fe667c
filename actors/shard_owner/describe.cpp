// SPDX-License-Identifier: Apache-2.0
// What window pages are like, for placements that look at keys.
#include <algorithm>

#include <pikv/actors/shard_owner/state.hpp>
#include <pikv/messages/caf_error.hpp>

namespace pikv {

void shard_owner_state::describe(const describe_work& w, promise<ack_atom> p) {
  struct described {
    std::vector<gpu::page_view> views;
    std::vector<std::byte*> out;
    std::vector<gpu::block> keep;
  };
  auto shared = device().device->scratch().share(w.out);
  if (!shared)
    return p.deliver(to_caf(shared.error()));
  auto x = std::make_shared<described>();
  const auto bytes = w.raw ? raw_layout_.page_bytes
                           : gpu::summary_layout_of(dims(), gpu::summary_mean_var).bytes;
  for (std::size_t i = 0; i < w.pages.size(); ++i) {
    auto* sequence = find(w.pages[i].sequence);
    if (sequence == nullptr)
      continue;
    const auto& window = sequence->layers[w.layer].window.read();
    const auto it = std::ranges::find(window.memory, w.pages[i].page, &page_memory::page);
    if (it == window.memory.end())
      continue;
    x->views.push_back(window.views[static_cast<std::size_t>(it - window.memory.begin())]);
    x->keep.push_back(it->data);
    x->out.push_back(shared->data() + i * bytes);
  }
  x->keep.push_back(std::move(*shared));
  jobs_.launch(
      self_, *device().compute, "describe",
      [x, raw = w.raw, bytes, of = dims(),
       &kernels = device().device->kernels()](gpu::executor& e, error&) {
        if (x->views.empty())
          return;
        if (!raw)
          return kernels.summarise({of, gpu::summary_mean_var, x->views, x->out}, e);
        std::vector<gpu::copy_item> items;
        for (std::size_t i = 0; i < x->views.size(); ++i)
          items.push_back({x->views[i].data, x->out[i], bytes});
        kernels.copy(items, e);
      },
      [p]() mutable { p.deliver(ack_atom_v); },
      [p](const error& e) mutable { p.deliver(to_caf(e)); });
}

} // namespace pikv
