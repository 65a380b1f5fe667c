// SPDX-License-Identifier: Apache-2.0
/// \file
/// The functions behind the CUDA backend's kernel table (gpu/kernels.hpp): each stages what the GPU
/// cannot reach, launches on its queue's stream, and brings back what the caller reads on the host.
#pragma once

#include <span>

#include <pikv/gpu/kernels.hpp>

namespace pikv::gpu::cuda::table {

void append(const append_args& args, executor& x) noexcept;
void summarise(const summarise_args& args, executor& x) noexcept;
void encode(const encode_args& args, executor& x) noexcept;
void decode(const decode_args& args, executor& x) noexcept;
void score(const score_args& args, executor& x) noexcept;
void share(const share_args& args, executor& x) noexcept;
void choose(const choose_args& args, page_selection& out, executor& x) noexcept;
void attend(const attend_args& args, executor& x) noexcept;
void merge(const merge_args& args, executor& x) noexcept;
void page_mass(const page_mass_args& args, executor& x) noexcept;
void audit(const audit_args& args, executor& x) noexcept;
void copy(std::span<const copy_item> items, executor& x) noexcept;
void checksum(const checksum_args& args, executor& x) noexcept;

} // namespace pikv::gpu::cuda::table
