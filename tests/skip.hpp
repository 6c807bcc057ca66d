// A test binary that cannot run everywhere says why not, and ctest shows it as skipped.
#pragma once

#include <string>

namespace tracewise {

// ctest's SKIP_RETURN_CODE of every test.
inline constexpr int kSkipped = 77;

// One sentence; empty: the tests run. A binary that never skips does not define it.
std::string why_skipped();

}  // namespace tracewise
