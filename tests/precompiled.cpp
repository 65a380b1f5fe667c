// SPDX-License-Identifier: Apache-2.0
// Nothing: the tests share this target's precompiled header.
