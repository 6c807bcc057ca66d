// Rows of text as a table for a terminal.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tracewise {

// Columns as wide as their widest cell, two spaces between them, a line a row. Equally many cells a
// row; one row at least.
std::string aligned(const std::vector<std::vector<std::string>>& rows);

// "512 MiB", "1.5 GiB".
std::string bytes_text(int64_t bytes);

}  // namespace tracewise
