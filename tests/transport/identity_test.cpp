#include "transport/identity.hpp"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <ctime>

#include "tests/temp_dir.hpp"
#include "tests/transport/run_of_nodes.hpp"
#include "transport/openssl.hpp"
#include "transport/secret_file.hpp"

namespace tracewise {
namespace {

using Certificate = OpenSslPtr<X509, X509_free>;

Certificate certificate_of(const std::string& pem) {
  const OpenSslPtr<BIO, BIO_free_all> bio(BIO_new_mem_buf(pem.data(), -1));
  Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  REQUIRE(certificate);
  return certificate;
}

mode_t mode_of(const std::filesystem::path& file) {
  struct stat status {};
  REQUIRE(::stat(file.c_str(), &status) == 0);
  return status.st_mode & 07777;
}

// Whether the certificate is valid `days` from now; half a day off the edges, as clocks tick.
bool valid_at(X509* certificate, double days) {
  time_t at = std::time(nullptr) + static_cast<time_t>(days * 86400);
  return X509_cmp_time(X509_get0_notBefore(certificate), &at) < 0 &&
         X509_cmp_time(X509_get0_notAfter(certificate), &at) > 0;
}

}  // namespace

TEST_CASE("a certificate names its node, and is valid from yesterday for the days asked") {
  const auto authority = good(RunAuthority::create(30));
  const Identity identity = good(authority.issue("generator-0", 10));
  CHECK(identity.node == "generator-0");
  const Certificate certificate = certificate_of(identity.certificate_pem);
  CHECK(X509_check_host(certificate.get(), "generator-0", 0, 0, nullptr) == 1);
  CHECK(X509_check_host(certificate.get(), "generator-1", 0, 0, nullptr) == 0);
  CHECK(X509_check_ca(certificate.get()) == 0);
  CHECK_FALSE(valid_at(certificate.get(), -1.5));
  CHECK(valid_at(certificate.get(), -0.5));
  CHECK(valid_at(certificate.get(), 9.5));
  CHECK_FALSE(valid_at(certificate.get(), 10.5));
}

TEST_CASE("no certificate outlives its authority") {
  const auto authority = good(RunAuthority::create(3));
  const Certificate certificate =
      certificate_of(good(authority.issue("generator-0", 100)).certificate_pem);
  CHECK(valid_at(certificate.get(), 2.5));
  CHECK_FALSE(valid_at(certificate.get(), 3.5));
}

TEST_CASE("names that don't fit a certificate, a log line or a file name are refused") {
  const auto authority = good(RunAuthority::create(30));
  for (const std::string name : {"", "a b", "../x", "n,DNS:head", "line\nline"}) {
    const auto refused = authority.issue(name, 10);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().error_class == ErrorClass::kBadInput);
  }
}

TEST_CASE("an identity comes back from its text and from its file") {
  const TempDir dir;
  const Identity identity = RunOfNodes().identity("head");
  CHECK(good(identity_from_text(to_text(identity))) == identity);
  good(write_identity(dir / "head.pem", identity));
  CHECK(mode_of(dir / "head.pem") == 0600);
  CHECK(good(read_identity(dir / "head.pem")) == identity);
  // Over an existing file of another mode too, and nothing is left beside it.
  dir.put("old.pem", "old");
  good(write_identity(dir / "old.pem", identity));
  CHECK(mode_of(dir / "old.pem") == 0600);
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(dir.path()))
    ++files;
  CHECK(files == 2);
}

TEST_CASE("a key that others may read is refused") {
  const TempDir dir;
  good(write_identity(dir / "head.pem", RunOfNodes().identity("head")));
  for (const mode_t mode : {0640, 0604, 0620, 0601}) {
    REQUIRE(::chmod((dir / "head.pem").c_str(), mode) == 0);
    const auto refused = read_identity(dir / "head.pem");
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().error_class == ErrorClass::kBadInput);
  }
  REQUIRE(::chmod((dir / "head.pem").c_str(), 0644) == 0);
  CHECK(read_identity(dir / "head.pem").error().message ==
        (dir / "head.pem").string() +
            " holds a private key but has mode 0644, open to others than its owner; make it anew, "
            "or chmod 600 it if nobody can have read it");
}

TEST_CASE("files that are no identity are refused in a sentence") {
  const TempDir dir;
  CHECK(read_identity(dir / "none.pem").error().error_class == ErrorClass::kIo);
  CHECK(read_identity(dir.path()).error().error_class == ErrorClass::kBadInput);
  REQUIRE(::mkfifo((dir / "pipe").c_str(), 0600) == 0);
  CHECK(read_identity(dir / "pipe").error().error_class == ErrorClass::kBadInput);
  good(write_secret_file(dir / "large.pem", std::string((64 << 10) + 1, 'x')));
  CHECK(read_identity(dir / "large.pem").error().error_class == ErrorClass::kBadInput);
  good(write_secret_file(dir / "words.pem", "no key"));
  CHECK(read_identity(dir / "words.pem").error().message ==
        (dir / "words.pem").string() + ": the text holds no readable private key");
  CHECK(write_identity(dir / "no folder" / "head.pem", RunOfNodes().identity("head"))
            .error()
            .error_class == ErrorClass::kIo);
}

TEST_CASE("parts of different identities are refused, and no error quotes the key") {
  const RunOfNodes run;
  const Identity head = run.identity("head");
  const Identity other = run.identity("generator-0");
  const Identity stranger = RunOfNodes().identity("head");
  const auto refusal = [&](const std::string& text) {
    const auto refused = identity_from_text(text);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().error_class == ErrorClass::kBadInput);
    const std::string key = head.key_pem.substr(head.key_pem.find('\n') + 1, 16);
    CHECK(refused.error().message.find(key) == std::string::npos);
    return refused.error().message;
  };
  CHECK(refusal(head.key_pem + other.certificate_pem + head.authority_pem) ==
        "the private key is not that of the node's certificate");
  CHECK(refusal(head.key_pem + head.certificate_pem + stranger.authority_pem) ==
        "the node's certificate is not signed by the run authority");
  CHECK(refusal(head.key_pem + head.certificate_pem) ==
        "the text lacks the certificate of the run authority");
  CHECK(refusal(head.key_pem) == "the text lacks the certificate of the node");
  const std::string whole = to_text(head);
  for (size_t cut = 0; cut + 40 < whole.size(); cut += 37) refusal(whole.substr(0, cut));
}

TEST_CASE("an authority read from its file goes on issuing for the same run") {
  const TempDir dir;
  const auto authority = good(RunAuthority::create(30));
  good(authority.write(dir / "authority.pem"));
  CHECK(mode_of(dir / "authority.pem") == 0600);
  const auto restarted = good(RunAuthority::read(dir / "authority.pem"));
  const Identity before = good(authority.issue("head", 10));
  const Identity after = good(restarted.issue("generator-0", 10));
  CHECK(before.authority_pem == after.authority_pem);
  // A node's identity is no authority.
  good(write_identity(dir / "head.pem", before));
  CHECK(RunAuthority::read(dir / "head.pem").error().error_class == ErrorClass::kBadInput);
}

}  // namespace tracewise
