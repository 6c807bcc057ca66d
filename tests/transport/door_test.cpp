#include "transport/door.hpp"

#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <random>

#include "messages/codec.hpp"
#include "tests/transport/run_of_nodes.hpp"
#include "transport/hello.hpp"
#include "transport/openssl.hpp"

namespace tracewise {
namespace {

// A TLS client that trusts everybody, of `version`, with `identity` or (null) without a
// certificate. Shakes hands with the door and reads; returns once the door has ended the
// connection.
void stranger_comes(uint16_t port, int version, const Identity* identity) {
  const OpenSslPtr<SSL_CTX, SSL_CTX_free> context(SSL_CTX_new(TLS_client_method()));
  REQUIRE(context);
  SSL_CTX_set_min_proto_version(context.get(), version);
  SSL_CTX_set_max_proto_version(context.get(), version);
  if (identity != nullptr) {
    const auto bio = [](const std::string& pem) {
      return OpenSslPtr<BIO, BIO_free_all>(BIO_new_mem_buf(pem.data(), -1));
    };
    const OpenSslPtr<X509, X509_free> certificate(
        PEM_read_bio_X509(bio(identity->certificate_pem).get(), nullptr, nullptr, nullptr));
    const OpenSslPtr<EVP_PKEY, EVP_PKEY_free> key(
        PEM_read_bio_PrivateKey(bio(identity->key_pem).get(), nullptr, nullptr, nullptr));
    REQUIRE(SSL_CTX_use_certificate(context.get(), certificate.get()) == 1);
    REQUIRE(SSL_CTX_use_PrivateKey(context.get(), key.get()) == 1);
  }
  const Fd fd = plain_connection(port);
  const OpenSslPtr<SSL, SSL_free> ssl(SSL_new(context.get()));
  REQUIRE(SSL_set_fd(ssl.get(), fd.get()) == 1);
  char byte;
  if (SSL_connect(ssl.get()) == 1) CHECK(SSL_read(ssl.get(), &byte, 1) <= 0);
  CHECK(is_ended(fd));
}

// Sends `bytes` over a plain connection; whether the door ended it.
bool plain_words_end(uint16_t port, const std::string& bytes) {
  const Fd fd = plain_connection(port);
  REQUIRE(::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(bytes.size()));
  return is_ended(fd);
}

// A peer of the run as far as TLS goes, and not further.
std::unique_ptr<TlsStream> shaken(const RunOfNodes& run, uint16_t port) {
  auto stream = run.context("g0").connecting(plain_connection(port));
  good(shake_hands(*stream, in_ms(5000)));
  return stream;
}

}  // namespace

TEST_CASE("a node of the run is let in and its stream handed to the channel's handler") {
  const RunOfNodes run;
  Head head(run);
  Hello hello = run.hello("g0");
  hello.address = "10.0.0.7";
  hello.port = 4001;
  const auto ours = good(head.dialled(run.context("g0"), hello));
  const auto theirs = head.arrivals.take();
  CHECK(theirs.hello == hello);
  CHECK(theirs.stream->peer() == "g0");
  CHECK(ours->peer() == "head");
  CHECK(ours->pending() + theirs.stream->pending() == 0);
  CHECK(head.door->counters().accepted == 1);

  std::array<std::byte, 4> word;
  good(write_all(*ours, bytes_of("ping"), in_ms(5000)));
  good(read_exactly(*theirs.stream, word, in_ms(5000)));
  CHECK(std::memcmp(word.data(), "ping", 4) == 0);
  // What was handed over lives on without the door.
  head.door->close();
  good(write_all(*theirs.stream, bytes_of("pong"), in_ms(5000)));
  good(read_exactly(*ours, word, in_ms(5000)));
  CHECK(std::memcmp(word.data(), "pong", 4) == 0);
  CHECK(head.told().empty());
}

TEST_CASE("strangers get nowhere, whatever they speak, and are counted") {
  const RunOfNodes run;
  Head head(run);
  const uint16_t port = head.door->port();
  const auto refused = [&] { return head.refused(Refusal::kTls); };

  stranger_comes(port, TLS1_3_VERSION, nullptr);
  CHECK(eventually([&] { return refused() == 1; }));
  CHECK(head.told().back().sentence.find("peer did not return a certificate") != std::string::npos);
  const Identity other_run = RunOfNodes().identity("g0");
  stranger_comes(port, TLS1_3_VERSION, &other_run);
  CHECK(eventually([&] { return refused() == 2; }));
  CHECK(head.told().back().sentence.find("its certificate is not one of this run: ") == 0);
  const Identity ours = run.identity("g0");
  stranger_comes(port, TLS1_2_VERSION, &ours);
  CHECK(eventually([&] { return refused() == 3; }));
  CHECK(head.told().back().sentence == "TLS failed: unsupported protocol");
  CHECK(plain_words_end(port, "GET / HTTP/1.1\r\nHost: head\r\n\r\n"));
  CHECK(eventually([&] { return refused() == 4; }));
  CHECK(head.door->counters().accepted == 0);

  good(head.dialled(run.context("g0"), run.hello("g0")));
}

TEST_CASE("random bytes are refused and never crash the door") {
  const RunOfNodes run;
  Head head(run);
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::string bytes(1 + random() % 600, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    if (round % 2 == 0) bytes.replace(0, std::min<size_t>(3, bytes.size()), "\x16\x03\x01");
    const Fd fd = plain_connection(head.door->port());
    ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    ::shutdown(fd.get(), SHUT_WR);
    REQUIRE(is_ended(fd));
  }
  CHECK(eventually(
      [&] { return head.refused(Refusal::kTls) + head.refused(Refusal::kLeft) == 200; }));
  good(head.dialled(run.context("g0"), run.hello("g0")));
}

TEST_CASE("a handshake held open ends when its time is over, before TLS and before the hello") {
  const RunOfNodes run;
  DoorOptions options;
  options.handshake_ms = 100;
  Head head(run, options);
  const TimePoint start = std::chrono::steady_clock::now();
  const Fd silent = plain_connection(head.door->port());
  const Fd half = plain_connection(head.door->port());
  // The head of a record with 512 bytes of a ClientHello that never come.
  REQUIRE(::send(half.get(), "\x16\x03\x01\x02\x00\x01", 6, MSG_NOSIGNAL) == 6);
  const auto mute = shaken(run, head.door->port());
  CHECK(is_ended(silent));
  CHECK(is_ended(half));
  std::array<std::byte, 1> byte;
  CHECK(read_exactly(*mute, byte, in_ms(5000)).error().error_class == ErrorClass::kIo);
  CHECK(ms_since(start) >= 100);
  CHECK(eventually([&] { return head.refused(Refusal::kTimedOut) == 3; }));
  CHECK(head.told().front().sentence == "its hello was not there in time");
}

TEST_CASE("a hello that doesn't fit is refused with the door's own reason") {
  const RunOfNodes run;
  Head head(run);
  const TlsContext context = run.context("g0");
  const auto refusal = [&](auto change) {
    Hello hello = run.hello("g0");
    change(hello);
    const auto refused = head.dialled(context, hello);
    REQUIRE_FALSE(refused.ok());
    return refused.error();
  };
  const std::string place = "127.0.0.1:" + std::to_string(head.door->port());
  const std::string says = place + " refused the connection: ";

  const Error build = refusal([](Hello& hello) { hello.build = "b2"; });
  CHECK(build.error_class == ErrorClass::kUnsupported);
  CHECK(build.message ==
        says + "node 'g0' is of build 'b2', node 'head' 'b1'; start the same build on both");
  const Error protocol = refusal([](Hello& hello) { hello.protocol = 9; });
  CHECK(protocol.error_class == ErrorClass::kUnsupported);
  const Error other_run = refusal([](Hello& hello) { hello.run = "run-8"; });
  CHECK(other_run.error_class == ErrorClass::kBadInput);
  CHECK(other_run.message == says + "node 'g0' belongs to run 'run-8', node 'head' 'run-9'");
  const Error config = refusal([](Hello& hello) { hello.config_hash = "decaf"; });
  CHECK(config.error_class == ErrorClass::kBadInput);
  const Error name = refusal([](Hello& hello) { hello.node = "g1"; });
  CHECK(name.error_class == ErrorClass::kBadInput);
  CHECK(name.message == says + "a node calls itself 'g1', but its certificate is that of 'g0'");
  CHECK(eventually([&] { return head.refused(Refusal::kHello) == 5; }));
  const Error channel = refusal([](Hello& hello) { hello.channel = Channel::kShell; });
  CHECK(channel.error_class == ErrorClass::kIo);
  CHECK(channel.message == says + "node 'head' does not serve the channel 'shell' now");
  CHECK(eventually([&] { return head.refused(Refusal::kChannel) == 1; }));
  CHECK(head.door->counters().accepted == 0);
}

TEST_CASE("what is no hello is refused: too long, or other bytes") {
  const RunOfNodes run;
  Head head(run);
  std::array<std::byte, kHelloPrefixBytes> prefix;
  const auto lengthy = shaken(run, head.door->port());
  good(write_all(*lengthy, bytes_of("\xff\xff\xff\x7f"), in_ms(5000)));
  CHECK(read_exactly(*lengthy, prefix, in_ms(5000)).error().error_class == ErrorClass::kIo);
  CHECK(eventually([&] { return head.refused(Refusal::kHello) == 1; }));
  CHECK(head.told().back().sentence == "a hello of 2147483647 bytes exceeds the limit of 65536");

  const auto garbled = shaken(run, head.door->port());
  good(write_all(*garbled, bytes_of(framed("\xff\xff")), in_ms(5000)));
  good(read_exactly(*garbled, prefix, in_ms(5000)));
  std::string message(good(framed_bytes(prefix)), '\0');
  good(read_exactly(*garbled, std::as_writable_bytes(std::span(message)), in_ms(5000)));
  HelloReply reply;
  good(decode(message, reply));
  CHECK_FALSE(reply.accepted);
  CHECK(reply.reason == "Hello: 2 bytes are cut short or are no such message");
  CHECK(eventually([&] { return head.refused(Refusal::kHello) == 2; }));
}

TEST_CASE("channels come and go while the door is open") {
  const RunOfNodes run;
  Head head(run);
  const TlsContext context = run.context("g0");
  Arrivals weights;
  CHECK_FALSE(head.dialled(context, run.hello("g0", Channel::kWeights)).ok());
  head.door->serve(Channel::kWeights, weights.handler());
  good(head.dialled(context, run.hello("g0", Channel::kWeights)));
  CHECK(weights.take().hello.channel == Channel::kWeights);
  head.door->stop_serving(Channel::kWeights);
  CHECK_FALSE(head.dialled(context, run.hello("g0", Channel::kWeights)).ok());
  good(head.dialled(context, run.hello("g0")));
}

TEST_CASE("a port in use: the next free one is taken, or the door says so where it is fixed") {
  const RunOfNodes run;
  const Head first(run);
  DoorOptions options;
  options.address = "127.0.0.1";
  options.port = first.door->port();
  const auto next = good(Door::open(options, run.context("head"), run.hello("head")));
  CHECK(next->port() > options.port);
  CHECK(next->port() <= options.port + 64);

  options.fixed_port = true;
  const auto refused = Door::open(options, run.context("head"), run.hello("head"));
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().error_class == ErrorClass::kIo);
  CHECK(refused.error().message == "port " + std::to_string(options.port) +
                                       " on 127.0.0.1 is in use; give another one, or 0 for any");
  options.address = "head.example";
  CHECK(Door::open(options, run.context("head"), run.hello("head")).error().message ==
        "cannot listen on 'head.example': it is no IPv4 or IPv6 address");
}

TEST_CASE("a door closes at once although guests are at it, and opens again on its port") {
  const RunOfNodes run;
  DoorOptions options;
  options.fixed_port = true;
  std::vector<Fd> silent;
  {
    Head head(run);
    options.port = head.door->port();
    for (int i = 0; i < 10; ++i) silent.push_back(plain_connection(options.port));
    const auto mute = shaken(run, options.port);
    const TimePoint start = std::chrono::steady_clock::now();
    head.door->close();
    CHECK(ms_since(start) < 500);  // milliseconds, but for a machine with other work
  }
  for (const Fd& fd : silent) CHECK(is_ended(fd));
  const Head again(run, options);
  CHECK(again.door->port() == options.port);
}

}  // namespace tracewise
