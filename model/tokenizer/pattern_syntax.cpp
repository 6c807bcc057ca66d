// Oniguruma's Ruby syntax as PCRE2 reads it. Both agree on most; what differs is rewritten, and
// what is neither known to agree nor rewritten is refused.
#include <set>

#include "model/tokenizer/pattern.hpp"
#include "model/tokenizer/unicode.hpp"

namespace tracewise::tok {
namespace {

std::string hex_range(char32_t first, char32_t last) {
  char text[40];
  std::snprintf(text, sizeof text, first == last ? "\\x{%x}" : "\\x{%x}-\\x{%x}",
                static_cast<unsigned>(first), static_cast<unsigned>(last));
  return text;
}

// The inside of a class with all characters of a general category: what PCRE2 knows, and newer
// ones.
std::string category_class(const std::string& name) {
  std::string inside = "\\p{" + name + "}";
  for (const NewCharacters& range : new_characters()) {
    if (std::string_view(range.category).starts_with(name))
      inside += hex_range(range.first, range.last);
  }
  return inside;
}

std::string word_class() {
  std::string inside = "\\p{Alphabetic}";
  for (const char* name : {"L", "M", "N", "Pc"}) inside += category_class(name);
  return inside;
}

class Translator {
 public:
  explicit Translator(const std::string& regex) : regex_(regex) {}

  Result<std::string> run() {
    if (const auto at = first_invalid_utf8(regex_)) return refused("bytes that are not UTF-8");
    while (at_ < regex_.size()) {
      if (regex_[at_] == '\\') {
        TW_TRY(escape());
      } else if (regex_[at_] == '[') {
        TW_TRY(open_class());
      } else if (in_class_ && regex_[at_] == ']') {
        in_class_ = false;
        out_ += regex_[at_++];
      } else if (in_class_ && regex_.compare(at_, 2, "&&") == 0) {
        return refused("&&");
      } else if (!in_class_ && regex_[at_] == '(') {
        TW_TRY(group());
      } else if (!in_class_ && regex_.compare(at_, 2, "{,") == 0) {
        out_ += "{0,";  // {,n}
        at_ += 2;
      } else {
        out_ += regex_[at_++];
      }
    }
    return std::move(out_);
  }

 private:
  Error refused(const std::string& what) const {
    return unsupported("the regular expression \"" + regex_ + "\" is not supported because of " +
                       what + " in it");
  }

  Result<void> open_class() {
    if (in_class_) return refused("a [ within a class");
    in_class_ = true;
    out_ += regex_[at_++];
    if (at_ < regex_.size() && regex_[at_] == '^') out_ += regex_[at_++];
    // Both read a ] here as itself, but Oniguruma warns; nobody writes it.
    if (at_ < regex_.size() && regex_[at_] == ']') return refused("an empty class");
    return {};
  }

  Result<void> group() {
    static const std::set<std::string> kKnown = {"(?:",  "(?=",  "(?!", "(?>",
                                                 "(?i:", "(?<=", "(?<!"};
    if (regex_.compare(at_, 2, "(?") != 0) {
      if (regex_.compare(at_, 2, "(*") == 0) return refused("(*");
      out_ += regex_[at_++];
      return {};
    }
    for (const std::string& known : kKnown) {
      if (regex_.compare(at_, known.size(), known) == 0) {
        out_ += known;
        at_ += known.size();
        return {};
      }
    }
    return refused(regex_.substr(at_, 3));
  }

  // Puts a set whose members `inside` lists.
  Result<void> put_set(const std::string& inside, bool negated) {
    if (in_class_ && negated) return refused("a negated set within a class");
    out_ += in_class_ ? inside : (negated ? "[^" : "[") + inside + "]";
    return {};
  }

  Result<void> escape() {
    if (at_ + 1 == regex_.size()) return refused("a \\ at its end");
    const char c = regex_[at_ + 1];
    if (c == 'p' || c == 'P') return property();
    at_ += 2;
    switch (c) {
      case 's':
        out_ += "\\p{White_Space}";
        return {};
      case 'S':
        out_ += "\\P{White_Space}";
        return {};
      case 'd':
        return put_set(category_class("Nd"), false);
      case 'D':
        return put_set(category_class("Nd"), true);
      case 'w':
        return put_set(word_class(), false);
      case 'W':
        return put_set(word_class(), true);
      case 'v':
        out_ += "\\x0b";
        return {};
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'a':
      case 'e':
        out_ += {'\\', c};
        return {};
      case 'A':
      case 'z':
      case 'Z':
        if (in_class_) break;
        out_ += {'\\', c};
        return {};
      case 'x':
        return hex(false);
      case 'u':
        return hex(true);
      default:
        break;
    }
    const auto byte = static_cast<uint8_t>(c);
    if (byte >= 0x80 || std::isalnum(byte) != 0) return refused(std::string("\\") + c);
    out_ += {'\\', c};
    return {};
  }

  // \xHH, \x{H..}, \uHHHH; at_ is behind the letter.
  Result<void> hex(bool four) {
    size_t begin = at_, end = at_ + (four ? 4 : 2);
    size_t next = end;
    if (!four && at_ < regex_.size() && regex_[at_] == '{') {
      begin = at_ + 1;
      end = regex_.find('}', begin);
      next = end + 1;
    }
    if (end == std::string::npos || end > regex_.size() || begin == end ||
        regex_.find_first_not_of("0123456789abcdefABCDEF", begin) < end) {
      return refused(four ? "\\u" : "\\x");
    }
    out_ += "\\x{" + regex_.substr(begin, end - begin) + "}";
    at_ = next;
    return {};
  }

  Result<void> property() {
    static const std::set<std::string> kCategories = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn",
                                                      "Mc", "Me", "N",  "Nd", "Nl", "No", "P", "Pc",
                                                      "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S", "Sm",
                                                      "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp"};
    const size_t end = regex_.find('}', at_);
    if (end == std::string::npos || regex_.compare(at_ + 2, 1, "{") != 0) return refused("\\p");
    std::string name = regex_.substr(at_ + 3, end - at_ - 3);
    bool negated = regex_[at_ + 1] == 'P';
    at_ = end + 1;
    if (name.starts_with('^')) {
      negated = !negated;
      name.erase(0, 1);
    }
    if (kCategories.contains(name)) return put_set(category_class(name), negated);
    // Unicode 15.0 and 15.1 added two blocks of ideographs.
    if (name == "Han")
      return put_set("\\p{Han}\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}", negated);
    return refused("\\p{" + name + "}");
  }

  const std::string& regex_;
  std::string out_;
  size_t at_ = 0;
  bool in_class_ = false;
};

}  // namespace

std::string rust_word_class() {
  std::string inside = "\\p{Alphabetic}\\p{Join_Control}";
  for (const char* name : {"L", "M", "Nd", "Pc"}) inside += category_class(name);
  return inside;
}

Result<std::string> pcre2_syntax(const std::string& regex) { return Translator(regex).run(); }

}  // namespace tracewise::tok
