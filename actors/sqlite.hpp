// The little of SQLite that a run folder needs, with failures as values. sqlite3.h is seen by the
// .cpp alone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "messages/result.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace tracewise {

// A prepared statement. Must not outlive its database. Parameters and columns count from 0.
class Statement {
 public:
  Statement& bind(int index, int64_t value);
  Statement& bind(int index, uint64_t value) { return bind(index, static_cast<int64_t>(value)); }
  Statement& bind(int index, double value);  // NaN becomes NULL
  Statement& bind(int index, std::string_view text);
  Statement& bind_blob(int index, std::string_view bytes);
  Statement& bind_null(int index);

  // Runs to the next row: true with a row, false at the end, after which it can be bound and run
  // again.
  Result<bool> step();
  // Runs a statement that gives no rows.
  Result<void> run();

  int64_t integer(int column) const;
  double real(int column) const;
  bool is_null(int column) const;
  std::string text(int column) const;  // also of a blob

 private:
  friend class Database;
  Statement(sqlite3* db, sqlite3_stmt* statement, std::string place);
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  Error failure() const;

  sqlite3* db_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  std::string place_;
  int bind_failure_ = 0;  // first SQLite code that a bind gave; reported by the next step()
};

// A connection in WAL mode: one process writes, any number read. Not thread-safe.
class Database {
 public:
  enum class Mode : uint8_t { kReadWrite, kReadOnly };

  // kReadWrite makes the file if it is missing. A file that is no database is kCorrupt.
  static Result<std::unique_ptr<Database>> open(const std::filesystem::path& file, Mode mode);

  Result<Statement> prepare(const char* sql);
  Result<void> execute(const char* sql);  // one or more statements without parameters

  // Runs `body` inside a transaction; if it or the commit fails, nothing of it is kept. A committed
  // transaction survives the death of the process; with `durable` it is also on the disk when this
  // returns, so that it survives the death of the machine.
  Result<void> transaction(bool durable, const std::function<Result<void>()>& body);

  // Rows that the last INSERT, UPDATE or DELETE touched.
  int64_t changed_rows() const;

  const std::filesystem::path& file() const { return file_; }

 private:
  struct Close {
    void operator()(sqlite3* db) const;
  };
  Database(sqlite3* db, std::filesystem::path file);

  std::unique_ptr<sqlite3, Close> db_;
  std::filesystem::path file_;
};

}  // namespace tracewise
