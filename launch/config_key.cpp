#include "launch/config_key.hpp"

#include <algorithm>
#include <cstdio>

namespace tracewise {
namespace {

// In the fewest digits that read back to the same: 0.5, 6e-4, 1e10.
std::string number_text(double x) {
  char buffer[64];
  std::string text(buffer, std::to_chars(buffer, buffer + sizeof buffer, x).ptr);
  const auto exponent = text.find('e');
  if (exponent == std::string::npos) return text;
  const std::string sign = text[exponent + 1] == '-' ? "-" : "";
  return text.substr(0, exponent + 1) + sign +
         text.substr(std::min(text.find_first_not_of("+-0", exponent + 1), text.size()));
}

// A TOML basic string.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          char escape[8];
          std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned char>(c));
          out += escape;
        } else {
          out += c;
        }
    }
  }
  return out + '"';
}

std::string scalar_text(const Scalar& scalar) {
  if (const auto* flag = std::get_if<bool>(&scalar)) return *flag ? "true" : "false";
  if (const auto* integer = std::get_if<int64_t>(&scalar)) return std::to_string(*integer);
  if (const auto* text = std::get_if<std::string>(&scalar)) return quoted(*text);
  std::string text = number_text(std::get<double>(scalar));
  // TOML tells reals from integers by their point or exponent.
  const bool plain = text.find_first_not_of("-0123456789") == std::string::npos;
  return plain ? text + ".0" : text;
}

// Inline tables, one a line.
std::string rows_text(const std::vector<Row>& rows) {
  std::string out = "[";
  for (const Row& row : rows) {
    out += out.size() > 1 ? ",\n  {" : "\n  {";
    const char* separator = " ";
    for (const auto& [name, field] : row.fields) {
      out += separator + name + " = " + toml_text(field);
      separator = ", ";
    }
    out += " }";
  }
  return out + (rows.empty() ? "]" : ",\n]");
}

}  // namespace

std::string toml_text(const Value& value) {
  if (const auto* list = std::get_if<std::vector<Scalar>>(&value)) {
    std::string out = "[";
    for (const Scalar& scalar : *list) out += (out.size() > 1 ? ", " : "") + scalar_text(scalar);
    return out + "]";
  }
  if (const auto* rows = std::get_if<std::vector<Row>>(&value)) return rows_text(*rows);
  return std::visit(
      [](const auto& x) -> std::string {
        if constexpr (std::is_constructible_v<Scalar, decltype(x)>) return scalar_text(Scalar(x));
        return "";
      },
      value);
}

bool Range::holds(double x) const {
  return (low_open ? x > low : x >= low) && (high_open ? x < high : x <= high);
}

std::string Range::text() const {
  std::string out;
  if (std::isfinite(low)) out += (low_open ? " above " : " of at least ") + number_text(low);
  if (std::isfinite(high)) {
    out += out.empty() ? " " : " and ";
    out += (high_open ? "below " : "at most ") + number_text(high);
  }
  return out;
}

bool is_device_name(const std::string& name) {
  const bool numbered = name.starts_with("cuda:") && name.size() > 5 &&
                        name.find_first_not_of("0123456789", 5) == std::string::npos;
  return numbered || name == "cpu";
}

std::optional<double> real_of(const Scalar& scalar) {
  if (const auto* real = std::get_if<double>(&scalar)) return *real;
  if (const auto* integer = std::get_if<int64_t>(&scalar)) return static_cast<double>(*integer);
  return std::nullopt;
}

std::optional<double> real_of(const Value& value) {
  if (const auto* real = std::get_if<double>(&value)) return *real;
  if (const auto* integer = std::get_if<int64_t>(&value)) return static_cast<double>(*integer);
  return std::nullopt;
}

std::string choices_text(const std::vector<std::string>& names) {
  if (names.size() == 1) return names.front();
  std::string out = "one of ";
  for (size_t i = 0; i < names.size(); ++i) {
    if (i > 0) out += i + 1 == names.size() ? " or " : ", ";
    out += names[i];
  }
  return out;
}

const Key* find_key(const std::string& name) {
  const auto& keys = config_keys();
  const auto place = std::ranges::find(keys, name, &Key::name);
  return place == keys.end() ? nullptr : &*place;
}

}  // namespace tracewise
