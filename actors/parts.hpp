// Cuts what travels together into messages of bounded size: between nodes a large message would
// hold up the small ones behind it, and above kMaxMessageBytes it would not be sent at all.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace tracewise {

// Tokens that the records of one message add up to at most, unless a single one is larger. A token
// of a rollout is some 20 bytes, so a message is below 1 MB.
inline constexpr size_t kTokensPerMessage = 40'000;

// Calls send(part) for consecutive parts of `records`; tokens(record) is what one counts.
template <class Record, class Tokens, class Send>
void in_parts(std::vector<Record> records, Tokens tokens, Send send) {
  std::vector<Record> part;
  size_t sum = 0;
  for (Record& record : records) {
    const size_t count = tokens(record);
    if (!part.empty() && sum + count > kTokensPerMessage) {
      send(std::exchange(part, {}));
      sum = 0;
    }
    sum += count;
    part.push_back(std::move(record));
  }
  if (!part.empty()) send(std::move(part));
}

}  // namespace tracewise
