#include "model/tokenizer/fields.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

namespace tracewise::tok {
namespace {

const nlohmann::json kNull;

const nlohmann::json& at(const nlohmann::json& object, const char* name) {
  if (!object.is_object()) return kNull;
  const auto found = object.find(name);
  return found == object.end() ? kNull : *found;
}

}  // namespace

Result<std::string> Fields::type() const {
  const nlohmann::json& type = at(*object_, "type");
  if (!type.is_string()) return wrong("an object with a \"type\" is expected");
  return type.get<std::string>();
}

Result<void> Fields::only(std::initializer_list<const char*> known) const {
  for (const auto& [name, value] : object_->items()) {
    const bool is_known = std::any_of(known.begin(), known.end(),
                                      [&](const char* k) { return std::string_view(name) == k; });
    if (!is_known && name != "type") return refused("\"" + name + "\" is not supported");
  }
  return {};
}

Result<bool> Fields::flag(const char* name, bool otherwise) const {
  const nlohmann::json& value = at(*object_, name);
  if (value.is_null()) return otherwise;
  if (!value.is_boolean()) return wrong(std::string("\"") + name + "\" is neither true nor false");
  return value.get<bool>();
}

Result<std::string> Fields::text(const char* name, const std::string& otherwise) const {
  const nlohmann::json& value = at(*object_, name);
  if (value.is_null()) return otherwise;
  if (!value.is_string()) return wrong(std::string("\"") + name + "\" is no string");
  return value.get<std::string>();
}

Result<uint64_t> Fields::count(const char* name, uint64_t otherwise) const {
  const nlohmann::json& value = at(*object_, name);
  if (value.is_null()) return otherwise;
  if (!value.is_number_unsigned()) return wrong(std::string("\"") + name + "\" is no whole number");
  return value.get<uint64_t>();
}

Result<bool> Fields::flag(const char* name) const {
  if (!has(name)) return wrong(std::string("\"") + name + "\" is missing");
  return flag(name, false);
}

Result<std::string> Fields::text(const char* name) const {
  if (!has(name)) return wrong(std::string("\"") + name + "\" is missing");
  return text(name, "");
}

bool Fields::has(const char* name) const { return !at(*object_, name).is_null(); }

Fields Fields::part(const char* name) const {
  Fields part(at(*object_, name), place_ + (whole_ ? ": " : ".") + name);
  part.whole_ = false;
  return part;
}

Fields Fields::element(const char* name, size_t i) const {
  Fields element = part(name);
  element.object_ = &(*element.object_)[i];
  element.place_ += "[" + std::to_string(i) + "]";
  return element;
}

Result<size_t> Fields::size(const char* name) const {
  const nlohmann::json& value = at(*object_, name);
  if (!value.is_array()) return wrong(std::string("\"") + name + "\" is no list");
  return value.size();
}

}  // namespace tracewise::tok
