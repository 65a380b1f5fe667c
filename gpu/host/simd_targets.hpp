// SPDX-License-Identifier: Apache-2.0
/// \file
/// Which of Highway's targets the host kernels are compiled for. Include before any of its headers.
/// Kept: the compiler's baseline, SSE4, AVX2 and AVX3 (AVX-512) on x86, NEON on Arm. Left out by
/// bit, because names differ between Highway's versions: later AVX-512 dialects (0 to 7) and SSSE3
/// (12), which gain nothing here; SVE (18 to 27) and RVV (37), whose vectors cannot be in arrays.
#pragma once

#define HWY_DISABLED_TARGETS (0xFFLL | 1LL << 12 | 0x3FFLL << 18 | 1LL << 37)
