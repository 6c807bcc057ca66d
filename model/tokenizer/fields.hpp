// Reading the parts of a tokenizer.json: each field by its name and type, and none passed over.
#pragma once

#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "messages/result.hpp"

namespace tracewise::tok {

// A part of the file. `place` names it in errors: "DIR/tokenizer.json:
// pre_tokenizer.pretokenizers[1]". The JSON must outlive it.
class Fields {
 public:
  // The whole file; parts of it come from part().
  Fields(const nlohmann::json& object, std::string file)
      : object_(&object), place_(std::move(file)) {}

  const nlohmann::json& json() const { return *object_; }
  const std::string& place() const { return place_; }

  // Its "type"; kBadInput if the part is no object with one.
  Result<std::string> type() const;
  // kUnsupported names a field that is not in `known`: it may mean something.
  Result<void> only(std::initializer_list<const char*> known) const;

  // Absent and null are `otherwise`; kBadInput for another type.
  Result<bool> flag(const char* name, bool otherwise) const;
  Result<std::string> text(const char* name, const std::string& otherwise) const;
  Result<uint64_t> count(const char* name, uint64_t otherwise) const;
  // These must be there.
  Result<bool> flag(const char* name) const;
  Result<std::string> text(const char* name) const;

  // Whether the field is there and not null.
  bool has(const char* name) const;
  // A part of this part, or element `i` of its list; what is absent reads as null.
  Fields part(const char* name) const;
  Fields element(const char* name, size_t i) const;
  // Elements of a list; kBadInput if the field is none.
  Result<size_t> size(const char* name) const;

  Error wrong(const std::string& what) const { return bad_input(place_ + ": " + what); }
  Error refused(const std::string& what) const { return unsupported(place_ + ": " + what); }

 private:
  const nlohmann::json* object_;
  std::string place_;
  bool whole_ = true;
};

}  // namespace tracewise::tok
