#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "model/kernels/kernels.hpp"

namespace tracewise::kernels {
namespace {

const Table& choose() {
#if defined(__x86_64__)
  const char* wanted = std::getenv("TRACEWISE_ISA");
  const std::string_view isa = wanted == nullptr ? "" : wanted;
  if (!isa.empty() && isa != "amx" && isa != "avx512" && isa != "avx2" && isa != "generic") {
    // Bad input with no caller to return it to; other threads run, so nothing is torn down.
    std::fprintf(stderr,
                 "tracewise: TRACEWISE_ISA is '%s'; it can be amx, avx512, avx2 or generic\n",
                 wanted);
    std::_Exit(2);
  }
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  // All that the table is compiled with (model/CMakeLists.txt).
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw");
  const bool tiles = isa.empty() || isa == "amx";
  if (avx512 && tiles && has_amx()) return amx_table();
  if (avx512 && (tiles || isa == "avx512")) return avx512_table();
  if (avx2 && isa != "generic") return avx2_table();
#endif
  return generic_table();
}

}  // namespace

const Table& table() {
  static const Table& chosen = choose();
  return chosen;
}

}  // namespace tracewise::kernels
