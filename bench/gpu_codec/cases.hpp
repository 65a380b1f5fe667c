// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace pikv::bench {

void bench_append();
void bench_codec();
void bench_select();
void bench_reductions();
void bench_copies();

} // namespace pikv::bench
