#include "transport/hello.hpp"

#include <catch2/catch.hpp>

#include "tests/transport/run_of_nodes.hpp"

namespace tracewise {
namespace {

// What node "head" says to `theirs`, which comes with the certificate of `peer`.
Error refusal(const Hello& theirs, const std::string& peer = "g0") {
  const auto checked = check_hello(RunOfNodes::hello("head"), theirs, peer);
  REQUIRE_FALSE(checked.ok());
  return checked.error();
}

}  // namespace

TEST_CASE("nodes of one build, run and config may talk") {
  CHECK(check_hello(RunOfNodes::hello("head"), RunOfNodes::hello("g0"), "g0").ok());
}

TEST_CASE("a config that one of both doesn't know yet is no obstacle") {
  Hello joining = RunOfNodes::hello("g0");
  joining.config_hash.clear();
  CHECK(check_hello(RunOfNodes::hello("head"), joining, "g0").ok());
  CHECK(check_hello(joining, RunOfNodes::hello("head"), "head").ok());
}

TEST_CASE("a hello that doesn't fit is refused by a sentence that names both sides") {
  Hello theirs = RunOfNodes::hello("g0");
  theirs.protocol = kProtocol + 1;
  theirs.build = "b2";
  CHECK(refusal(theirs).error_class == ErrorClass::kUnsupported);
  CHECK(refusal(theirs).message == "node 'g0' speaks protocol " + std::to_string(kProtocol + 1) +
                                       ", node 'head' " + std::to_string(kProtocol) +
                                       " (builds 'b2' and 'b1'); start the same build on both");
  theirs = RunOfNodes::hello("g0");
  theirs.build = "b2";
  CHECK(refusal(theirs).error_class == ErrorClass::kUnsupported);
  CHECK(refusal(theirs).message ==
        "node 'g0' is of build 'b2', node 'head' 'b1'; start the same build on both");
  theirs = RunOfNodes::hello("g0");
  theirs.run = "run-8";
  CHECK(refusal(theirs).error_class == ErrorClass::kBadInput);
  CHECK(refusal(theirs).message == "node 'g0' belongs to run 'run-8', node 'head' 'run-9'");
  theirs = RunOfNodes::hello("g0");
  theirs.config_hash = "decaf";
  CHECK(refusal(theirs).error_class == ErrorClass::kBadInput);
  CHECK(refusal(theirs).message ==
        "node 'g0' was started with config 'decaf', node 'head' 'c0ffee'");
  CHECK(refusal(RunOfNodes::hello("g0"), "g1").error_class == ErrorClass::kBadInput);
  CHECK(refusal(RunOfNodes::hello("g0"), "g1").message ==
        "a node calls itself 'g0', but its certificate is that of 'g1'");
}

TEST_CASE("a message goes behind its length, little-endian, of at most 64 KiB") {
  CHECK(framed("abc") == std::string("\3\0\0\0abc", 7));
  const std::string frame = framed(std::string(0x1234, 'x'));
  CHECK(frame.substr(0, 4) == std::string("\x34\x12\0\0", 4));
  const auto prefix = [](uint32_t bytes) {
    return std::array<std::byte, 4>{std::byte(bytes), std::byte(bytes >> 8), std::byte(bytes >> 16),
                                    std::byte(bytes >> 24)};
  };
  CHECK(good(framed_bytes(prefix(0x1234))) == 0x1234);
  CHECK(good(framed_bytes(prefix(65536))) == 65536);
  CHECK(framed_bytes(prefix(65537)).error().error_class == ErrorClass::kCorrupt);
  CHECK(framed_bytes(prefix(0xffffffff)).error().message ==
        "a hello of 4294967295 bytes exceeds the limit of 65536");
}

}  // namespace tracewise
