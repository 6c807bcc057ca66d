// A rank's entry in the store, as Gloo writes and reads it (torch 2.11): where the rank listens.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "messages/result.hpp"

namespace tracewise {

// The rank whose entry `key` names: "0/3" that of rank 3.
std::optional<int> rank_of(const std::string& key);

// The IPv4 port on which the rank listens; kUnsupported if the entry has another form.
Result<uint16_t> gloo_port(const std::string& entry);

// The entry with another IPv4 address and port.
Result<std::string> with_gloo_address(std::string entry, const std::string& address, uint16_t port);

}  // namespace tracewise
