#include "rollout/http/http_post.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <exception>
#include <optional>
#include <regex>

#include "messages/waits.hpp"

namespace tracewise {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Stream = beast::tcp_stream;

constexpr uint64_t kMaxReplyBytes = uint64_t{1} << 20;

asio::awaitable<HttpReply> exchange(Stream& stream, asio::ip::tcp::resolver& resolver,
                                    const HttpUrl& url, const std::string& body) {
  const auto places = co_await resolver.async_resolve(url.host, url.port, asio::use_awaitable);
  co_await stream.async_connect(places, asio::use_awaitable);
  http::request<http::string_body> request(http::verb::post, url.target, 11);
  const bool is_v6 = url.host.find(':') != std::string::npos;
  request.set(http::field::host, (is_v6 ? "[" + url.host + "]" : url.host) + ":" + url.port);
  request.set(http::field::user_agent, "tracewise");
  request.set(http::field::content_type, "application/json");
  request.set(http::field::accept, "application/json");
  request.keep_alive(false);
  request.body() = body;
  request.prepare_payload();
  co_await http::async_write(stream, request, asio::use_awaitable);
  beast::flat_buffer buffer;
  http::response_parser<http::string_body> reply;
  reply.body_limit(kMaxReplyBytes);
  co_await http::async_read(stream, buffer, reply, asio::use_awaitable);
  co_return HttpReply{static_cast<int>(reply.get().result_int()), std::move(reply.get().body())};
}

Error to_error(const boost::system::system_error& error, const std::string& place) {
  const auto code = error.code();
  const auto& http_errors = http::make_error_code(http::error::bad_version).category();
  const bool ends = code == http::error::end_of_stream || code == http::error::partial_message;
  if (code.category() == http_errors && !ends)
    return {ErrorClass::kCorrupt, place + " sent no HTTP reply: " + code.message()};
  return io_error(place + ": " + code.message());
}

}  // namespace

Result<HttpUrl> parse_http_url(const std::string& text) {
  static const std::regex kForm(
      R"(([A-Za-z][A-Za-z0-9+.-]*)://(\[[0-9A-Fa-f:.]+\]|[^\s/?#:@\[\]]+)(?::([0-9]{1,5}))?([/?][^\s#]*)?)");
  std::smatch parts;
  if (!std::regex_match(text, parts, kForm))
    return bad_input("\"" + text + "\" is no URL of the form http://host:port/path");
  if (parts[1] != "http") {
    return unsupported("\"" + text + "\" is a URL of " + parts[1].str() +
                       ", but only http is spoken; put a proxy before it");
  }
  HttpUrl url;
  url.host = parts[2];
  if (url.host.front() == '[') url.host = url.host.substr(1, url.host.size() - 2);
  if (parts[3].matched) url.port = parts[3];
  if (std::stoul(url.port) < 1 || std::stoul(url.port) > 65535)
    return bad_input("\"" + text + "\" has a port that is not from 1 to 65535");
  if (parts[4].matched) url.target = (parts[4].str().front() == '?' ? "/" : "") + parts[4].str();
  return url;
}

Result<HttpReply> http_post(const HttpUrl& url, const std::string& body,
                            std::chrono::milliseconds limit, const std::stop_token& stop) {
  const std::string place = "http://" + url.host + ":" + url.port + url.target;
  asio::io_context io(1);
  Stream stream(io);
  asio::ip::tcp::resolver resolver(io);
  std::optional<HttpReply> reply;
  std::exception_ptr thrown;
  asio::co_spawn(io, exchange(stream, resolver, url, body),
                 [&](std::exception_ptr error, HttpReply got) {
                   thrown = error;
                   if (!error) reply = std::move(got);
                   io.stop();
                 });
  const std::stop_callback on_stop(stop, [&io] { io.stop(); });
  try {
    Wait("an answer", place, std::chrono::steady_clock::now() + limit).run(io);
    if (thrown) std::rethrow_exception(thrown);
  } catch (const boost::system::system_error& error) {
    return to_error(error, place);
  }
  if (reply) return std::move(*reply);
  if (stop.stop_requested())
    return Error{ErrorClass::kCancelled, "the call of " + place + " was given up"};
  return Error{ErrorClass::kDeadline,
               place + " did not answer within " + std::to_string(limit.count()) + " ms"};
}

}  // namespace tracewise
