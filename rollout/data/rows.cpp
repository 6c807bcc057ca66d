#include "rollout/data/rows.hpp"

#include <string_view>

#include "model/file_io.hpp"
#include "rollout/python/python_process.hpp"

namespace tracewise {
namespace {

using json = RowJson;
using Use = std::function<Result<void>(const Row&)>;

constexpr uint64_t kMaxFileBytes = uint64_t{8} << 30;
constexpr std::chrono::milliseconds kReadLimit{60'000};  // of some hundred rows

Row row_at(const std::string& file, size_t number) {
  return {{}, number, file + ":" + std::to_string(number)};
}

Result<size_t> each_line(const std::filesystem::path& path, const Use& use) {
  TW_ASSIGN(const std::string text, read_file(path, kMaxFileBytes));
  size_t rows = 0;
  size_t line = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view content(text.data() + begin, end - begin);
    begin = end + 1;
    ++line;
    if (content.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    Row row = row_at(path.string(), line);
    row.object = json::parse(content, nullptr, false);
    if (!row.object.is_object()) return row.wrong("not a JSON object");
    TW_TRY(use(row));
    ++rows;
  }
  return rows;
}

Result<size_t> each_parquet_row(const std::filesystem::path& path, const Use& use) {
  if (std::error_code error; !std::filesystem::is_regular_file(path, error))
    return io_error("there is no file " + path.string());
  PythonOptions options;
  options.service = PythonService::kRows;
  options.setup =
      json{{"path", path.string()}}.dump(-1, ' ', false, json::error_handler_t::replace);
  PythonProcess python(options);
  TW_TRY(python.start());
  for (size_t count = 0;;) {
    const auto reply = python.call("{}", kReadLimit);
    if (!reply.ok()) {
      const std::string behind = "behind row " + std::to_string(count) + ": ";
      return Error{reply.error().error_class,
                   path.string() + ", " + behind + reply.error().message};
    }
    json rows = json::parse(*reply);
    if (rows.empty()) return count;
    for (json& object : rows) {
      Row row = row_at(path.string(), ++count);
      row.object = std::move(object);
      TW_TRY(use(row));
    }
  }
}

}  // namespace

Error Row::missing(const std::string& column) const {
  std::string names;
  for (const auto& [name, value] : object.items())
    names += (names.empty() ? "\"" : ", \"") + name + "\"";
  return wrong("\"" + column + "\" is missing; the row " +
               (names.empty() ? "is empty" : "has " + names));
}

Result<std::string> Row::text(const std::string& column) const {
  if (!has(column)) return missing(column);
  if (!object[column].is_string()) return wrong("\"" + column + "\" is no text");
  return object[column].get<std::string>();
}

Result<void> for_each_row(const std::filesystem::path& path, const Use& use) {
  TW_ASSIGN(const size_t rows,
            path.extension() == ".parquet" ? each_parquet_row(path, use) : each_line(path, use));
  if (rows == 0) return bad_input(path.string() + ": the file has no rows");
  return {};
}

}  // namespace tracewise
