// Failures as values. Everything that can go wrong outside the program (files, peers, data) returns
// a Result; our own bugs stop the process through TW_CHECK (messages/check.hpp).
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "messages/check.hpp"

namespace tracewise {

enum class ErrorClass {
  kBadInput,     // config, data, checkpoint, message or command the user can mend; exit code 2
  kUnsupported,  // well-formed input that this build does not handle; exit code 2
  kIo,           // the operating system refused (disk full, permission, missing file)
  kCorrupt,      // bytes that contradict their own header or checksum
  kDeadline,     // a wait that ended by its deadline
  kResource,     // a limit of ours: cache blocks, queue length, context length
  kCancelled,    // somebody asked for it to stop
  kInternal,     // a library failed in a way that the caller cannot mend
};

// The class as a lower-case word, for logs and JSON: "bad_input", "io", ...
const char* to_string(ErrorClass error_class);

struct Error {
  ErrorClass error_class = ErrorClass::kInternal;
  std::string message;  // one sentence that names the place, the value and the nearest right one
};

inline Error bad_input(std::string message) { return {ErrorClass::kBadInput, std::move(message)}; }
inline Error unsupported(std::string message) {
  return {ErrorClass::kUnsupported, std::move(message)};
}
inline Error io_error(std::string message) { return {ErrorClass::kIo, std::move(message)}; }
inline Error corrupt(std::string message) { return {ErrorClass::kCorrupt, std::move(message)}; }

// Either a T or an Error. Reading the wrong one is a bug and stops the process.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(explicit)
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(explicit)

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    TW_CHECK(ok(), "Result read as a value, but it holds: " + std::get<1>(state_).message);
    return std::get<0>(state_);
  }
  const T& value() const& { return const_cast<Result*>(this)->value(); }
  T&& value() && { return std::move(value()); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(value()); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const {
    TW_CHECK(!ok(), "Result read as an error, but it holds a value");
    return std::get<1>(state_);
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}  // NOLINT(explicit)

  bool ok() const { return ok_; }
  explicit operator bool() const { return ok_; }
  const Error& error() const {
    TW_CHECK(!ok_, "Result read as an error, but it holds success");
    return error_;
  }

 private:
  Error error_;
  bool ok_ = true;
};

}  // namespace tracewise

// Returns the error of `expression` from the enclosing function, if it has one.
#define TW_TRY(expression)                                \
  do {                                                    \
    if (auto tw_result = (expression); !tw_result.ok()) { \
      return tw_result.error();                           \
    }                                                     \
  } while (false)

#define TW_CONCAT_INNER(a, b) a##b
#define TW_CONCAT(a, b) TW_CONCAT_INNER(a, b)

// TW_ASSIGN(auto x, f()): x is f()'s value, or f()'s error is returned from the enclosing function.
#define TW_ASSIGN(declaration, expression)             \
  auto TW_CONCAT(tw_result_, __LINE__) = (expression); \
  if (!TW_CONCAT(tw_result_, __LINE__).ok()) {         \
    return TW_CONCAT(tw_result_, __LINE__).error();    \
  }                                                    \
  declaration = std::move(TW_CONCAT(tw_result_, __LINE__)).value()
