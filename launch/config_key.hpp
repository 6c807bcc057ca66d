// One row of the table of keys: how a key is named, what it allows, what it means, where it is
// bound.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "launch/config.hpp"

namespace tracewise {

using Scalar = std::variant<bool, int64_t, double, std::string>;
struct Row;
using Value =
    std::variant<bool, int64_t, double, std::string, std::vector<Scalar>, std::vector<Row>>;
// A table inside a list: [[cluster.nodes]].
struct Row {
  std::vector<std::pair<std::string, Value>> fields;
  bool operator==(const Row&) const = default;
};

// The value as TOML spells it; reals in the fewest digits that read back to the same.
std::string toml_text(const Value& value);

// A key of the tables in a list; its name is the table's own.
struct Field {
  std::string name;
  std::string allowed;
  std::function<bool(const Value&)> allows;
};

template <class Owner>
struct KeyOf {
  std::string name;     // "advantage.beta"
  std::string allowed;  // "a real number of at least 0"
  std::string meaning;  // one sentence, with the unit
  bool bare = false;    // --set takes the text after '=' as it stands, without quotes
  std::function<Value(const Owner&)> get;
  // False: the value is not allowed, and the owner is as it was.
  std::function<bool(Owner&, const Value&)> set;
  std::vector<Field> fields = {};  // of a list of tables: what a table may have
};
using Key = KeyOf<Config>;

// Every key, in the order in which they are printed; keys of one group stand together.
const std::vector<Key>& config_keys();

// The rows of some groups, in files of their own.
void add_cluster_keys(std::vector<Key>& keys);
void add_data_keys(std::vector<Key>& keys);
void add_eval_keys(std::vector<Key>& keys);
void add_lora_keys(std::vector<Key>& keys);
void add_reward_keys(std::vector<Key>& keys);

// The key of this name, or nullptr.
const Key* find_key(const std::string& name);

// Bounds of a number. Integers are bounded by their member's type too.
struct Range {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false;
  bool high_open = false;

  bool holds(double x) const;
  std::string text() const;  // " of at least 0", " above 0 and at most 1"; empty without bounds
};

// "cpu" or "cuda:N".
bool is_device_name(const std::string& name);

inline Range at_least(double low) { return {.low = low}; }
inline Range above(double low) { return {.low = low, .low_open = true}; }
inline Range between(double low, double high) { return {.low = low, .high = high}; }

// --- row makers; `At` maps Owner& to the bound member --------------------------------------------

template <class Owner, class At>
using Member = std::remove_reference_t<std::invoke_result_t<At, Owner&>>;

template <class Owner, class At>
const Member<Owner, At>& member(At at, const Owner& owner) {
  return at(const_cast<Owner&>(owner));
}

template <class Owner = Config, class At>
KeyOf<Owner> flag_key(std::string name, At at, std::string meaning) {
  return {std::move(name),
          "true or false",
          std::move(meaning),
          false,
          [at](const Owner& c) -> Value { return member(at, c); },
          [at](Owner& c, const Value& v) {
            const bool* value = std::get_if<bool>(&v);
            if (value != nullptr) at(c) = *value;
            return value != nullptr;
          }};
}

template <class Owner = Config, class At>
KeyOf<Owner> integer_key(std::string name, At at, Range range, std::string meaning) {
  using T = Member<Owner, At>;
  return {std::move(name),
          "an integer" + range.text(),
          std::move(meaning),
          false,
          [at](const Owner& c) -> Value { return static_cast<int64_t>(member(at, c)); },
          [at, range](Owner& c, const Value& v) {
            const int64_t* value = std::get_if<int64_t>(&v);
            if (value == nullptr || !range.holds(static_cast<double>(*value))) return false;
            if (!std::in_range<T>(*value)) return false;
            at(c) = static_cast<T>(*value);
            return true;
          }};
}

// A real as the shortest decimal that reads back to the member says it: 0.7f is 0.7.
template <class T>
double shortest(T value) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  double out = 0;
  std::from_chars(text, end, out);
  return out;
}

std::optional<double> real_of(const Scalar& scalar);  // reals and integers
std::optional<double> real_of(const Value& value);

template <class Owner = Config, class At>
KeyOf<Owner> real_key(std::string name, At at, Range range, std::string meaning) {
  using T = Member<Owner, At>;
  return {std::move(name),
          "a real number" + range.text(),
          std::move(meaning),
          false,
          [at](const Owner& c) -> Value { return shortest(member(at, c)); },
          [at, range](Owner& c, const Value& v) {
            const auto value = real_of(v);
            if (!value || !std::isfinite(*value) || !range.holds(*value)) return false;
            if (!std::isfinite(static_cast<T>(*value))) return false;
            at(c) = static_cast<T>(*value);
            return true;
          }};
}

template <class Owner = Config, class At>
KeyOf<Owner> text_key(std::string name, At at, std::string meaning,
                      std::string allowed = "a text") {
  return {std::move(name),
          std::move(allowed),
          std::move(meaning),
          true,
          [at](const Owner& c) -> Value { return member(at, c); },
          [at](Owner& c, const Value& v) {
            const std::string* value = std::get_if<std::string>(&v);
            if (value != nullptr) at(c) = *value;
            return value != nullptr;
          }};
}

// A file or folder, made absolute when it is set; empty stays empty.
template <class Owner = Config, class At>
KeyOf<Owner> path_key(std::string name, At at, std::string meaning) {
  // The member is a std::string or a std::filesystem::path.
  return {std::move(name),
          "a path",
          std::move(meaning),
          true,
          [at](const Owner& c) -> Value { return std::string(member(at, c)); },
          [at](Owner& c, const Value& v) {
            const std::string* value = std::get_if<std::string>(&v);
            if (value == nullptr) return false;
            at(c) = value->empty() ? std::string()
                                   : std::filesystem::absolute(*value).lexically_normal().string();
            return true;
          }};
}

template <class T>
struct Choice {
  const char* name;
  T value;
};

std::string choices_text(const std::vector<std::string>& names);  // "one of a, b or c"

template <class Owner = Config, class At>
KeyOf<Owner> choice_key(std::string name, At at, std::vector<Choice<Member<Owner, At>>> choices,
                        std::string meaning) {
  std::vector<std::string> names;
  for (const auto& choice : choices) names.emplace_back(choice.name);
  return {std::move(name),
          choices_text(names),
          std::move(meaning),
          true,
          [at, choices](const Owner& c) -> Value {
            for (const auto& choice : choices) {
              if (choice.value == member(at, c)) return std::string(choice.name);
            }
            return std::string();
          },
          [at, choices](Owner& c, const Value& v) {
            const std::string* value = std::get_if<std::string>(&v);
            for (const auto& choice : choices) {
              if (value == nullptr || *value != choice.name) continue;
              at(c) = choice.value;
              return true;
            }
            return false;
          }};
}

// A list of texts, of integers or of reals, by the member's element type.
template <class Owner = Config, class At>
KeyOf<Owner> list_key(std::string name, At at, std::string allowed, Range range,
                      std::string meaning) {
  using T = typename Member<Owner, At>::value_type;
  return {std::move(name),
          std::move(allowed),
          std::move(meaning),
          false,
          [at](const Owner& c) -> Value {
            std::vector<Scalar> list;
            for (const T& entry : member(at, c)) {
              if constexpr (std::is_integral_v<T>) {
                list.emplace_back(static_cast<int64_t>(entry));
              } else if constexpr (std::is_floating_point_v<T>) {
                list.emplace_back(shortest(entry));
              } else {
                list.emplace_back(entry);
              }
            }
            return list;
          },
          [at, range](Owner& c, const Value& v) {
            const auto* list = std::get_if<std::vector<Scalar>>(&v);
            if (list == nullptr) return false;
            std::vector<T> entries;
            for (const Scalar& scalar : *list) {
              if constexpr (std::is_integral_v<T>) {
                const int64_t* entry = std::get_if<int64_t>(&scalar);
                if (entry == nullptr || !range.holds(static_cast<double>(*entry))) return false;
                if (!std::in_range<T>(*entry)) return false;
                entries.push_back(static_cast<T>(*entry));
              } else if constexpr (std::is_floating_point_v<T>) {
                const auto entry = real_of(scalar);
                if (!entry || !std::isfinite(*entry) || !range.holds(*entry)) return false;
                entries.push_back(static_cast<T>(*entry));
              } else {
                const std::string* entry = std::get_if<std::string>(&scalar);
                if (entry == nullptr) return false;
                entries.push_back(*entry);
              }
            }
            at(c) = std::move(entries);
            return true;
          }};
}

// A list of tables; `entries` are an entry's keys and live as long as the program.
template <class At, class Entry = typename Member<Config, At>::value_type>
Key tables_key(std::string name, At at, const std::vector<KeyOf<Entry>>& entries,
               std::string meaning) {
  Key key;
  key.name = std::move(name);
  key.meaning = std::move(meaning);
  key.allowed = "a list of tables with ";
  for (const KeyOf<Entry>& entry : entries) {
    key.allowed += (&entry == &entries.front() ? "" : ", ") + entry.name;
    key.fields.push_back({entry.name, entry.allowed, [set = entry.set](const Value& value) {
                            Entry scratch;
                            return set(scratch, value);
                          }});
  }
  key.get = [at, &entries](const Config& c) -> Value {
    std::vector<Row> rows;
    for (const Entry& item : member(at, c)) {
      Row& row = rows.emplace_back();
      for (const KeyOf<Entry>& entry : entries) {
        Value value = entry.get(item);
        // What is as it is without being said would only hide what is said.
        if (value != entry.get(Entry{})) row.fields.emplace_back(entry.name, std::move(value));
      }
    }
    return rows;
  };
  key.set = [at, &entries](Config& c, const Value& v) {
    Member<Config, At> items;
    // An empty list has no tables to tell it from one of scalars.
    const auto* empty = std::get_if<std::vector<Scalar>>(&v);
    const auto* rows = std::get_if<std::vector<Row>>(&v);
    if (rows == nullptr && (empty == nullptr || !empty->empty())) return false;
    for (const Row& row : rows == nullptr ? std::vector<Row>{} : *rows) {
      Entry& item = items.emplace_back();
      for (const auto& [field, value] : row.fields) {
        const auto entry = std::ranges::find(entries, field, &KeyOf<Entry>::name);
        if (entry == entries.end() || !entry->set(item, value)) return false;
      }
    }
    at(c) = std::move(items);
    return true;
  };
  return key;
}

}  // namespace tracewise
