#include <algorithm>

#include "launch/config_key.hpp"

namespace tracewise {
namespace {

std::string group_of(const Key& key) { return key.name.substr(0, key.name.rfind('.')); }
std::string leaf_of(const Key& key) { return key.name.substr(key.name.rfind('.') + 1); }

// `text` in lines of at most 98 columns, each after "# ".
std::string comment(const std::string& text) {
  std::string out;
  std::string line = "#";
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (line.size() + 1 + word.size() > 98) {
      out += line + "\n";
      line = "#";
    }
    line += " " + word;
    begin = end + 1;
  }
  return out + line + "\n";
}

bool picked(const Key& key, const std::string& prefix) {
  return prefix.empty() || key.name == prefix || key.name.starts_with(prefix + ".");
}

std::string markdown_cell(std::string text) {
  for (size_t i = text.find('|'); i != std::string::npos; i = text.find('|', i + 2)) {
    text.insert(i, "\\");
  }
  return text;
}

}  // namespace

std::string config_toml(const Config& config, bool comments, const std::string& prefix) {
  std::string out;
  std::string group;
  for (const Key& key : config_keys()) {
    if (!picked(key, prefix)) continue;
    if (group_of(key) != group) {
      group = group_of(key);
      out += (out.empty() ? "[" : "\n[") + group + "]\n";
    }
    if (comments) out += comment(key.meaning + " (" + key.allowed + ")");
    out += leaf_of(key) + " = " + toml_text(key.get(config)) + "\n";
  }
  return out;
}

std::string config_markdown() {
  const Config defaults;
  std::string out;
  std::string group;
  for (const Key& key : config_keys()) {
    if (group_of(key) != group) {
      group = group_of(key);
      out += (out.empty() ? "## [" : "\n## [") + group + "]\n\n";
      out += "| key | default | allowed | meaning |\n|---|---|---|---|\n";
    }
    out += "| `" + leaf_of(key) + "` | `" + markdown_cell(toml_text(key.get(defaults))) + "` | " +
           markdown_cell(key.allowed) + " | " + markdown_cell(key.meaning) + " |\n";
  }
  return out;
}

}  // namespace tracewise
