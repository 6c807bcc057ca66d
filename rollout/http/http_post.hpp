// One HTTP POST, for endpoints that are asked now and then.
#pragma once

#include <chrono>
#include <cstdint>
#include <stop_token>
#include <string>

#include "messages/result.hpp"

namespace tracewise {

struct HttpUrl {
  std::string host;  // a name, an IPv4 address, or an IPv6 address without brackets
  std::string port = "80";
  std::string target = "/";  // path and query
};

// kBadInput for a text that is no http URL, kUnsupported for https and other schemes.
Result<HttpUrl> parse_http_url(const std::string& text);

struct HttpReply {
  int status = 0;
  std::string body;  // at most 1 MiB
};

// Posts a JSON body on a connection of its own. Blocks for `limit` at most.
// kIo: nobody listens, no such host, or the connection broke. kDeadline. kCancelled by `stop`.
// kCorrupt: the reply is no HTTP, or larger than it may be.
Result<HttpReply> http_post(const HttpUrl& url, const std::string& body,
                            std::chrono::milliseconds limit, const std::stop_token& stop);

}  // namespace tracewise
