#include "actors/sqlite.hpp"

#include <sqlite3.h>

#include <cmath>
#include <utility>

namespace tracewise {
namespace {

// A reader may hold the database for a moment; a writer waits this long for it.
constexpr int kBusyTimeoutMs = 10'000;

Error sqlite_error(sqlite3* db, const std::string& place, int code) {
  const std::string message =
      place + ": " + (db != nullptr ? sqlite3_errmsg(db) : sqlite3_errstr(code));
  switch (code & 0xff) {
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      return corrupt(message);
    case SQLITE_CONSTRAINT:
    case SQLITE_MISUSE:
    case SQLITE_ERROR:
      return {ErrorClass::kInternal, message};
    default:
      return io_error(message);
  }
}

}  // namespace

Statement::Statement(sqlite3* db, sqlite3_stmt* statement, std::string place)
    : db_(db), statement_(statement), place_(std::move(place)) {}

void Statement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

Error Statement::failure() const { return sqlite_error(db_, place_, sqlite3_errcode(db_)); }

Statement& Statement::bind(int index, int64_t value) {
  const int code = sqlite3_bind_int64(statement_.get(), index + 1, value);
  if (bind_failure_ == SQLITE_OK) bind_failure_ = code;
  return *this;
}

Statement& Statement::bind(int index, double value) {
  const int code = sqlite3_bind_double(statement_.get(), index + 1, value);
  if (bind_failure_ == SQLITE_OK) bind_failure_ = code;
  return *this;
}

Statement& Statement::bind(int index, std::string_view text) {
  const int code = sqlite3_bind_text64(statement_.get(), index + 1, text.data(), text.size(),
                                       SQLITE_TRANSIENT, SQLITE_UTF8);
  if (bind_failure_ == SQLITE_OK) bind_failure_ = code;
  return *this;
}

Statement& Statement::bind_blob(int index, std::string_view bytes) {
  const int code = sqlite3_bind_blob64(statement_.get(), index + 1, bytes.data(), bytes.size(),
                                       SQLITE_TRANSIENT);
  if (bind_failure_ == SQLITE_OK) bind_failure_ = code;
  return *this;
}

Statement& Statement::bind_null(int index) {
  const int code = sqlite3_bind_null(statement_.get(), index + 1);
  if (bind_failure_ == SQLITE_OK) bind_failure_ = code;
  return *this;
}

Result<bool> Statement::step() {
  if (bind_failure_ != SQLITE_OK) return sqlite_error(db_, place_, bind_failure_);
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) {
    Error error = failure();
    sqlite3_reset(statement_.get());
    return error;
  }
  sqlite3_reset(statement_.get());
  return false;
}

Result<void> Statement::run() {
  TW_ASSIGN(const bool row, step());
  TW_CHECK(!row, "a statement without rows gave one");
  return {};
}

int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

double Statement::real(int column) const {
  return is_null(column) ? std::nan("") : sqlite3_column_double(statement_.get(), column);
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

std::string Statement::text(int column) const {
  const void* bytes = sqlite3_column_blob(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  if (bytes == nullptr) return {};
  return {static_cast<const char*>(bytes), static_cast<size_t>(size)};
}

Database::Database(sqlite3* db, std::filesystem::path file) : db_(db), file_(std::move(file)) {}

void Database::Close::operator()(sqlite3* db) const { sqlite3_close_v2(db); }

Result<std::unique_ptr<Database>> Database::open(const std::filesystem::path& file, Mode mode) {
  const int flags =
      SQLITE_OPEN_NOMUTEX |
      (mode == Mode::kReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(file.c_str(), &raw, flags, nullptr);
  std::unique_ptr<Database> database(new Database(raw, file));
  if (code != SQLITE_OK) return sqlite_error(raw, file.string(), code);
  sqlite3_extended_result_codes(raw, 1);
  sqlite3_busy_timeout(raw, kBusyTimeoutMs);
  if (mode == Mode::kReadWrite) {
    TW_TRY(database->execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"));
  } else {
    TW_TRY(database->execute("SELECT count(*) FROM sqlite_master"));
  }
  return database;
}

Result<Statement> Database::prepare(const char* sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v2(db_.get(), sql, -1, &statement, nullptr);
  if (code != SQLITE_OK) return sqlite_error(db_.get(), file_.string(), code);
  return Statement(db_.get(), statement, file_.string());
}

Result<void> Database::execute(const char* sql) {
  const int code = sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return sqlite_error(db_.get(), file_.string(), code);
  return {};
}

int64_t Database::changed_rows() const { return sqlite3_changes64(db_.get()); }

Result<void> Database::transaction(bool durable, const std::function<Result<void>()>& body) {
  TW_TRY(execute(durable ? "PRAGMA synchronous=FULL; BEGIN IMMEDIATE"
                         : "PRAGMA synchronous=NORMAL; BEGIN IMMEDIATE"));
  Result<void> done = body();
  if (done.ok()) done = execute("COMMIT");
  // A rollback that fails has nothing more to undo: SQLite rolls back by itself on a full disk.
  if (!done.ok() && sqlite3_get_autocommit(db_.get()) == 0) {
    if (Result<void> undone = execute("ROLLBACK"); !undone.ok()) return undone.error();
  }
  return done;
}

}  // namespace tracewise
