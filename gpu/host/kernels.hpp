// SPDX-License-Identifier: Apache-2.0
/// \file
/// The host backend's kernels: portable SIMD whose instruction set is chosen at run time.
#pragma once

#include <span>
#include <string_view>

#include <pikv/gpu/kernels.hpp>

namespace pikv::gpu {

/// The table of the host backend; valid for the life of the process. Any thread may call its
/// kernels; each call uses the threads of the executor that it is given.
const kernel_table& host_kernels() noexcept;

/// The instruction set in use, for status pages and benchmark reports: "AVX3", "AVX2", "NEON", ...
std::string_view host_simd_target() noexcept;

namespace detail {

void host_append(const append_args& args, executor& exec) noexcept;
void host_summarise(const summarise_args& args, executor& exec) noexcept;
void host_encode(const encode_args& args, executor& exec) noexcept;
void host_decode(const decode_args& args, executor& exec) noexcept;
void host_score(const score_args& args, executor& exec) noexcept;
void host_attend(const attend_args& args, executor& exec) noexcept;
void host_merge(const merge_args& args, executor& exec) noexcept;
void host_page_mass(const page_mass_args& args, executor& exec) noexcept;
void host_audit(const audit_args& args, executor& exec) noexcept;
void host_copy(std::span<const copy_item> items, executor& exec) noexcept;
void host_checksum(const checksum_args& args, executor& exec) noexcept;

} // namespace detail
} // namespace pikv::gpu
