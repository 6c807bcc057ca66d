// The rows of a data file as JSON objects: JSON lines, or Parquet through a Python process.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "messages/result.hpp"

namespace tracewise {

// Keys stay in the file's order: a chat template may write an object out.
using RowJson = nlohmann::ordered_json;

// One row, for reading and for error messages.
struct Row {
  RowJson object;
  size_t number = 0;  // from 1: a line of JSONL, a row of Parquet
  std::string place;  // "file:number"

  Error wrong(const std::string& what) const { return bad_input(place + ": " + what); }
  bool has(const std::string& column) const {
    return object.contains(column) && !object[column].is_null();
  }
  // That `column` is missing, and which columns there are.
  Error missing(const std::string& column) const;
  // A text column. kBadInput where it is missing or no text.
  Result<std::string> text(const std::string& column) const;
};

// Calls `use` for every row (blank lines aside) in the file's order, until one fails. A file whose
// name ends in .parquet is Parquet. kBadInput with file and line: no rows, a line that is no JSON
// object, a Parquet file that is none or cut short. kIo: it cannot be read.
Result<void> for_each_row(const std::filesystem::path& path,
                          const std::function<Result<void>(const Row&)>& use);

}  // namespace tracewise
