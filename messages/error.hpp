// SPDX-License-Identifier: Apache-2.0
/// \file
/// Errors are values: `errc` names the kind, `error` adds a sentence that says what to do, and
/// `result<T>` is either a value or an error. Nothing throws across PiKV's public face.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

namespace pikv {

enum class errc : std::uint8_t {
  ok = 0,
  invalid_argument,  ///< a value outside its range; nothing was done
  shape_mismatch,    ///< a buffer's shape, strides or size do not fit the model
  dtype_mismatch,    ///< a buffer's element type is not supported here
  null_buffer,       ///< a buffer is empty or null
  out_of_range,      ///< layer, row or device index too large
  position_gap,      ///< appended positions do not continue the sequence
  unknown_sequence,  ///< no such sequence in this cache
  sequence_closed,   ///< the sequence was closed before this call
  not_finite,        ///< a value that must be finite is NaN or infinite
  over_budget,       ///< the tier is full and nothing may be evicted; retry after closing sequences
  overloaded,        ///< too many requests in flight; retry when one completes
  deadline_exceeded, ///< the request did not end in time
  cancelled,         ///< the runtime stopped before the request ended
  actor_down,        ///< an actor that worked on the request died; retry
  sequence_lost,     ///< the sequence's window is gone with a failed device or router; reopen it
  entries_lost,      ///< some pages are gone with a failed device; allow_lost reads the rest
  corrupt_page,      ///< a page did not match its checksum
  unknown_policy,    ///< no policy of that name in this kind
  config_syntax,     ///< the configuration is not valid YAML
  config_key,        ///< the configuration has a key that does not exist
  config_value,      ///< a value of the configuration has the wrong type or range
  config_restart,    ///< the key can only change at a restart
  io_failed,         ///< a file or socket operation failed
  model_file,        ///< a model file is broken or of an unsupported kind
  unsupported,       ///< this build or device cannot do that
  internal,          ///< a bug in PiKV; please report it
};

/// The enumerator's name, for logs and metric labels.
std::string_view to_string(errc x) noexcept;

/// True where the same call may succeed later without being changed.
bool retryable(errc x) noexcept;

/// A kind and a sentence for a person.
struct error {
  errc code = errc::ok;
  std::string what;

  error() = default;
  error(errc c, std::string w) : code(c), what(std::move(w)) {}
};

/// "over_budget: ..." for logs.
std::string to_string(const error& x);

/// A value or an error. `T` may be void.
template <class T>
class [[nodiscard]] result {
  using stored = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

public:
  using value_type = T;

  result() requires std::is_void_v<T>
  = default;
  template <class U = stored>
  requires(
      !std::is_same_v<
          std::remove_cvref_t<U>,
          result> && !std::is_same_v<std::remove_cvref_t<U>, pikv::error> && std::is_constructible_v<stored, U>)
      result(U&& x)
      : data_(std::in_place_index<0>, std::forward<U>(x)) {}
  result(pikv::error e) : data_(std::in_place_index<1>, std::move(e)) {}
  result(errc c, std::string what) : result(pikv::error{c, std::move(what)}) {}

  bool ok() const noexcept { return data_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }

  /// Precondition: ok().
  stored& value() & noexcept { return *std::get_if<0>(&data_); }
  const stored& value() const& noexcept { return *std::get_if<0>(&data_); }
  stored&& value() && noexcept { return std::move(*std::get_if<0>(&data_)); }
  stored& operator*() & noexcept { return value(); }
  const stored& operator*() const& noexcept { return value(); }
  stored&& operator*() && noexcept { return std::move(*this).value(); }
  stored* operator->() noexcept { return &value(); }
  const stored* operator->() const noexcept { return &value(); }

  /// Precondition: !ok().
  const pikv::error& error() const noexcept { return *std::get_if<1>(&data_); }

  errc code() const noexcept { return ok() ? errc::ok : error().code; }

private:
  std::variant<stored, pikv::error> data_;
};

} // namespace pikv
