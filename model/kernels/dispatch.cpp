#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <string>
#include <string_view>

#include "model/kernels/kernels.hpp"

namespace tracewise::kernels {
namespace {

// The tables, fastest first.
struct Choice {
  const char* name;
  bool (*runs)();
  const Table& (*table)();
};
constexpr Choice kChoices[] = {
#if defined(__x86_64__)
    {"amx", [] { return has_avx512() && has_amx(); }, amx_table},
    {"avx512_bf16", has_avx512_bf16, avx512_bf16_table},
    {"avx512", has_avx512, avx512_table},
    {"avx2", has_avx2, avx2_table},
#endif
    {"generic", [] { return true; }, generic_table},
};

const Table& choose() {
  const char* wanted = std::getenv("TRACEWISE_ISA");
  const std::string_view isa = wanted == nullptr ? "" : wanted;
  const Choice* from = std::ranges::find(kChoices, isa, &Choice::name);
  if (isa.empty()) from = std::begin(kChoices);
  if (from == std::end(kChoices)) {
    // Bad input with no caller to return it to; other threads run, so nothing is torn down.
    std::string names;
    for (const Choice& choice : kChoices) names += std::string(" ") + choice.name;
    std::fprintf(stderr, "tracewise: TRACEWISE_ISA is '%s'; it can be%s\n", wanted, names.c_str());
    std::_Exit(2);
  }
  return std::find_if(from, std::end(kChoices), [](const Choice& c) { return c.runs(); })->table();
}

}  // namespace

#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
}

bool has_avx512_bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }
#endif

const Table& table() {
  static const Table& chosen = choose();
  return chosen;
}

}  // namespace tracewise::kernels
