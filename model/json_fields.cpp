#include "model/json_fields.hpp"

#include <limits>
#include <utility>

namespace tracewise {

int64_t JsonFields::whole(const char* key, std::optional<int64_t> fallback, int64_t low,
                          int64_t high) {
  if (!has(key)) {
    if (!fallback) fail(std::string("\"") + key + "\" is missing");
    return fallback.value_or(low);
  }
  const nlohmann::json& value = object_[key];
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() ||
                     value.get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()}) &&
                    value.get<int64_t>() >= low && value.get<int64_t>() <= high;
  if (fits) return value.get<int64_t>();
  fail(std::string("\"") + key + "\" is " + value.dump() + ", but must be a whole number from " +
       std::to_string(low) + " to " + std::to_string(high));
  return low;
}

double JsonFields::positive(const char* key, std::optional<double> fallback) {
  if (!has(key)) {
    if (!fallback) fail(std::string("\"") + key + "\" is missing");
    return fallback.value_or(1);
  }
  const nlohmann::json& value = object_[key];
  if (value.is_number() && value.get<double>() > 0) return value.get<double>();
  fail(std::string("\"") + key + "\" is " + value.dump() + ", but must be a number above 0");
  return fallback.value_or(1);
}

bool JsonFields::flag(const char* key, bool fallback) {
  if (!has(key)) return fallback;
  if (object_[key].is_boolean()) return object_[key].get<bool>();
  fail(std::string("\"") + key + "\" is " + object_[key].dump() + ", but must be true or false");
  return fallback;
}

void JsonFields::fail(std::string what) {
  if (!error_) error_ = bad_input(place_ + ": " + std::move(what));
}

void JsonFields::refuse(const std::string& feature) {
  if (!error_) error_ = unsupported(place_ + ": " + feature + " is not supported");
}

}  // namespace tracewise
