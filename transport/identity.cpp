#include "transport/identity.hpp"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "messages/validate.hpp"
#include "transport/openssl.hpp"
#include "transport/secret_file.hpp"

namespace tracewise {
namespace {

using Bio = OpenSslPtr<BIO, BIO_free_all>;
using Key = OpenSslPtr<EVP_PKEY, EVP_PKEY_free>;
using Certificate = OpenSslPtr<X509, X509_free>;

constexpr long kClockSkewSeconds = 24 * 3600;
constexpr char kAuthorityName[] = "tracewise run authority";

Error openssl_failed(const char* what) {
  return {ErrorClass::kInternal,
          std::string("OpenSSL could not ") + what + ": " + take_openssl_error()};
}

// Without this OpenSSL would ask the terminal for an encrypted key's password.
int no_password(char*, int, int, void*) { return -1; }

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<size_t>(size));
}

std::string pem_of(EVP_PKEY* key) {
  const Bio bio(BIO_new(BIO_s_mem()));
  TW_CHECK(bio && PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr,
                                                nullptr) == 1,
           "a key in memory can be written as text");
  return text_of(bio.get());
}

std::string pem_of(X509* certificate) {
  const Bio bio(BIO_new(BIO_s_mem()));
  TW_CHECK(bio && PEM_write_bio_X509(bio.get(), certificate) == 1,
           "a certificate in memory can be written as text");
  return text_of(bio.get());
}

Bio reader(std::string_view text) {
  Bio bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  TW_CHECK(bio, "out of memory");
  return bio;
}

// The next key or certificate of the text; both skip what is something else.
Result<Key> next_key(BIO* bio) {
  Key key(PEM_read_bio_PrivateKey(bio, nullptr, no_password, nullptr));
  ERR_clear_error();
  if (!key) return bad_input("the text holds no readable private key");
  return key;
}

Result<Certificate> next_certificate(BIO* bio, const char* whose) {
  Certificate certificate(PEM_read_bio_X509(bio, nullptr, no_password, nullptr));
  ERR_clear_error();
  if (!certificate) return bad_input(std::string("the text lacks the certificate of ") + whose);
  return certificate;
}

std::string common_name(X509* certificate) {
  char name[256];
  const int length = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName,
                                               name, sizeof name);
  return length < 0 ? "" : std::string(name, static_cast<size_t>(length));
}

bool add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const OpenSslPtr<X509_EXTENSION, X509_EXTENSION_free> extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool set_random_serial(X509* certificate) {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof bytes) != 1) return false;
  const OpenSslPtr<BIGNUM, BN_free> number(BN_bin2bn(bytes, sizeof bytes, nullptr));
  return number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool set_validity(X509* certificate, X509* issuer, int valid_days) {
  if (X509_gmtime_adj(X509_getm_notBefore(certificate), -kClockSkewSeconds) == nullptr ||
      X509_time_adj_ex(X509_getm_notAfter(certificate), valid_days, 0, nullptr) == nullptr) {
    return false;
  }
  const ASN1_TIME* end = X509_get0_notAfter(issuer);
  return ASN1_TIME_compare(X509_get0_notAfter(certificate), end) <= 0 ||
         X509_set1_notAfter(certificate, end) == 1;
}

// A certificate of `name` for `key`, not yet signed. `issuer` null: it issues itself.
Result<Certificate> make_certificate(const std::string& name, EVP_PKEY* key, X509* issuer,
                                     int valid_days) {
  Certificate certificate(X509_new());
  TW_CHECK(certificate, "out of memory");
  X509* const made = certificate.get();
  if (issuer == nullptr) issuer = made;
  const bool good = X509_set_version(made, X509_VERSION_3) == 1 && set_random_serial(made) &&
                    X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_ASC,
                                               reinterpret_cast<const unsigned char*>(name.c_str()),
                                               -1, -1, 0) == 1 &&
                    X509_set_issuer_name(made, X509_get_subject_name(issuer)) == 1 &&
                    X509_set_pubkey(made, key) == 1 && set_validity(made, issuer, valid_days) &&
                    add_extension(made, issuer, NID_subject_key_identifier, "hash");
  if (!good) return openssl_failed("make a certificate");
  return certificate;
}

Result<Key> make_key() {
  Key key(EVP_EC_gen("P-256"));
  if (!key) return openssl_failed("make a key");
  return key;
}

// The parts of an authority's text, which belong together.
struct AuthorityParts {
  Key key;
  Certificate certificate;
};

Result<AuthorityParts> authority_parts(std::string_view text) {
  const Bio bio = reader(text);
  AuthorityParts parts;
  TW_ASSIGN(parts.key, next_key(bio.get()));
  TW_ASSIGN(parts.certificate, next_certificate(bio.get(), "the run authority"));
  const bool fits = X509_check_private_key(parts.certificate.get(), parts.key.get()) == 1 &&
                    X509_check_ca(parts.certificate.get()) == 1;
  ERR_clear_error();
  if (!fits) return bad_input("the text's key and certificate are not those of a run authority");
  return parts;
}

Error in_file(const std::filesystem::path& file, const Error& error) {
  return {error.error_class, file.string() + ": " + error.message};
}

}  // namespace

std::string to_text(const Identity& identity) {
  return identity.key_pem + identity.certificate_pem + identity.authority_pem;
}

Result<Identity> identity_from_text(std::string_view text) {
  const Bio bio = reader(text);
  TW_ASSIGN(const Key key, next_key(bio.get()));
  TW_ASSIGN(const Certificate certificate, next_certificate(bio.get(), "the node"));
  TW_ASSIGN(const Certificate authority, next_certificate(bio.get(), "the run authority"));
  const bool has_key = X509_check_private_key(certificate.get(), key.get()) == 1;
  const bool is_signed = X509_verify(certificate.get(), X509_get0_pubkey(authority.get())) == 1;
  ERR_clear_error();
  const std::string node = common_name(certificate.get());
  if (!has_key) return bad_input("the private key is not that of the node's certificate");
  if (!is_signed) return bad_input("the node's certificate is not signed by the run authority");
  if (!is_node_name(node)) return bad_input("the certificate's name is not that of a node");
  return Identity{node, pem_of(key.get()), pem_of(certificate.get()), pem_of(authority.get())};
}

Result<void> write_identity(const std::filesystem::path& file, const Identity& identity) {
  return write_secret_file(file, to_text(identity));
}

Result<Identity> read_identity(const std::filesystem::path& file) {
  TW_ASSIGN(const std::string text, read_secret_file(file));
  auto identity = identity_from_text(text);
  if (!identity.ok()) return in_file(file, identity.error());
  return identity;
}

Result<RunAuthority> RunAuthority::create(int valid_days) {
  TW_CHECK(valid_days > 0, "a run authority is valid for a day at least");
  TW_ASSIGN(const Key key, make_key());
  TW_ASSIGN(const Certificate certificate,
            make_certificate(kAuthorityName, key.get(), nullptr, valid_days));
  X509* const made = certificate.get();
  // pathlen 0: what it issues can't issue in turn.
  const bool good =
      add_extension(made, made, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
      add_extension(made, made, NID_key_usage, "critical,keyCertSign") &&
      X509_sign(made, key.get(), EVP_sha256()) != 0;
  if (!good) return openssl_failed("make a run authority");
  return RunAuthority(pem_of(key.get()), pem_of(made));
}

Result<RunAuthority> RunAuthority::read(const std::filesystem::path& file) {
  TW_ASSIGN(const std::string text, read_secret_file(file));
  const auto parts = authority_parts(text);
  if (!parts.ok()) return in_file(file, parts.error());
  return RunAuthority(pem_of(parts->key.get()), pem_of(parts->certificate.get()));
}

Result<void> RunAuthority::write(const std::filesystem::path& file) const {
  return write_secret_file(file, key_pem_ + certificate_pem_);
}

Result<Identity> RunAuthority::issue(const std::string& node, int valid_days) const {
  TW_CHECK(valid_days > 0, "a certificate is valid for a day at least");
  if (!is_node_name(node)) {
    return bad_input("'" + node + "' is no node name: 1 to 64 letters, digits, '.', '-' and '_'");
  }
  TW_ASSIGN(const AuthorityParts authority, authority_parts(key_pem_ + certificate_pem_));
  TW_ASSIGN(const Key key, make_key());
  X509* const issuer = authority.certificate.get();
  TW_ASSIGN(const Certificate certificate, make_certificate(node, key.get(), issuer, valid_days));
  X509* const made = certificate.get();
  const bool good = add_extension(made, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
                    add_extension(made, issuer, NID_key_usage, "critical,digitalSignature") &&
                    add_extension(made, issuer, NID_ext_key_usage, "serverAuth,clientAuth") &&
                    add_extension(made, issuer, NID_authority_key_identifier, "keyid") &&
                    add_extension(made, issuer, NID_subject_alt_name, "DNS:" + node) &&
                    X509_sign(made, authority.key.get(), EVP_sha256()) != 0;
  if (!good) return openssl_failed("issue a certificate");
  return Identity{node, pem_of(key.get()), pem_of(made), certificate_pem_};
}

}  // namespace tracewise
