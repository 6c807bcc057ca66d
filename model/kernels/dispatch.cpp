#include <cstdlib>
#include <string_view>

#include "messages/check.hpp"
#include "model/kernels/kernels.hpp"

namespace tracewise::kernels {
namespace {

const Table& choose() {
#if defined(__x86_64__)
  const char* wanted = std::getenv("TRACEWISE_ISA");
  const std::string_view isa = wanted == nullptr ? "" : wanted;
  TW_CHECK(isa.empty() || isa == "avx512" || isa == "avx2" || isa == "generic",
           "TRACEWISE_ISA is '" + std::string(isa) + "'; it can be avx512, avx2 or generic");
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f");
  if (avx512 && (isa.empty() || isa == "avx512")) return avx512_table();
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
