// Counter-based randomness: the number a token is drawn with depends on the run's seed and on which
// token it is, never on the batch, the order of events, or how often a group was issued.
#pragma once

#include <array>
#include <cstdint>

namespace tracewise {

// Philox 4x32-10 (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3").
inline std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter,
                                      std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// Which stream of draws a token belongs to.
struct DrawKey {
  uint64_t group = 0;     // up to 2^48
  uint32_t sample = 0;    // up to 2^16
  uint32_t position = 0;  // of the drawn token in prompt + response
  uint32_t probe = 0;     // 0: the rollout itself; else 1 + boundary * continuations + continuation
};

// Uniform in [0, 1), 53 bits.
inline double uniform(uint64_t seed, const DrawKey& key) {
  const auto word = philox({key.position, key.probe, static_cast<uint32_t>(key.group),
                            (static_cast<uint32_t>(key.group >> 32) << 16) | (key.sample & 0xFFFF)},
                           {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  const uint64_t bits = (uint64_t{word[0]} << 21) ^ (word[1] & ((1u << 21) - 1));
  return static_cast<double>(bits & ((uint64_t{1} << 53) - 1)) * 0x1p-53;
}

}  // namespace tracewise
