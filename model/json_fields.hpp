// Reading the fields of one JSON object with checks.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "messages/result.hpp"

namespace tracewise {

// The first thing wrong is kept in error(), with the place; later reads return fallbacks. A null
// counts as absent. The object and the place must outlive this.
class JsonFields {
 public:
  JsonFields(const nlohmann::json& object, const std::string& place)
      : object_(object), place_(place) {}

  bool has(const char* key) const { return object_.contains(key) && !object_[key].is_null(); }

  // In [low, high]; without a fallback the field must be there.
  int64_t whole(const char* key, std::optional<int64_t> fallback, int64_t low, int64_t high);
  // Above 0; without a fallback the field must be there.
  double positive(const char* key, std::optional<double> fallback);
  bool flag(const char* key, bool fallback = false);

  void fail(std::string what);              // kBadInput
  void refuse(const std::string& feature);  // kUnsupported: "... is not supported"
  const std::optional<Error>& error() const { return error_; }

  const nlohmann::json& object() const { return object_; }
  const std::string& place() const { return place_; }

 private:
  const nlohmann::json& object_;
  const std::string& place_;
  std::optional<Error> error_;
};

}  // namespace tracewise
