#include "transport/tls.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "messages/validate.hpp"
#include "transport/openssl.hpp"

namespace tracewise {
namespace {

using State = TlsStep::State;

// AES-128 first: weights travel by the gigabyte, and it is the fastest with AES instructions.
constexpr char kCipherSuites[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
constexpr size_t kMaxCertificateBytes = size_t{16} << 10;

int send_without_signal(BIO* bio, const char* data, int size) {
  int fd = -1;
  BIO_get_fd(bio, &fd);
  const ssize_t sent = ::send(fd, data, static_cast<size_t>(size), MSG_NOSIGNAL);
  BIO_clear_retry_flags(bio);
  if (sent < 0 && BIO_sock_should_retry(static_cast<int>(sent)) != 0) BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

// OpenSSL's own socket BIO writes with write(), which raises SIGPIPE where the peer is gone. This
// is that BIO with a send() that doesn't, so that the process's signal handling stays its own
// affair.
const BIO_METHOD* quiet_socket() {
  static const BIO_METHOD* const method = [] {
    const BIO_METHOD* plain = BIO_s_socket();
    BIO_METHOD* made = BIO_meth_new(BIO_TYPE_SOCKET, "socket without SIGPIPE");
    TW_CHECK(made != nullptr && BIO_meth_set_write(made, send_without_signal) == 1 &&
                 BIO_meth_set_read(made, BIO_meth_get_read(plain)) == 1 &&
                 BIO_meth_set_ctrl(made, BIO_meth_get_ctrl(plain)) == 1 &&
                 BIO_meth_set_create(made, BIO_meth_get_create(plain)) == 1 &&
                 BIO_meth_set_destroy(made, BIO_meth_get_destroy(plain)) == 1,
             "out of memory");
    return made;
  }();
  return method;
}

void set_option(int fd, int level, int option, int value) {
  // Fails only on what is no TCP socket (a socket pair, say), which needs none of them.
  ::setsockopt(fd, level, option, &value, sizeof value);
}

void prepare_socket(int fd, int peer_timeout_ms) {
  const int flags = ::fcntl(fd, F_GETFL);
  TW_CHECK(flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0,
           "a connected socket can be made non-blocking");
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  // Keep-alive probes find the peer that is gone while nothing is sent, the user timeout the one
  // that acknowledges nothing of what is.
  const int idle_s = std::max(1, peer_timeout_ms / 3000);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_s);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, std::max(1, idle_s / 2));
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, peer_timeout_ms);
}

template <class T, auto Free, class Read>
OpenSslPtr<T, Free> from_pem(const std::string& pem, Read read) {
  const OpenSslPtr<BIO, BIO_free_all> bio(
      BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  const auto no_password = [](char*, int, int, void*) { return -1; };
  return OpenSslPtr<T, Free>(bio ? read(bio.get(), nullptr, no_password, nullptr) : nullptr);
}

// Trust in the run's authority alone, the node's own certificate and key.
bool use_identity(SSL_CTX* context, const Identity& identity) {
  const auto authority = from_pem<X509, X509_free>(identity.authority_pem, PEM_read_bio_X509);
  const auto certificate = from_pem<X509, X509_free>(identity.certificate_pem, PEM_read_bio_X509);
  const auto key = from_pem<EVP_PKEY, EVP_PKEY_free>(identity.key_pem, PEM_read_bio_PrivateKey);
  return authority && certificate && key &&
         X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority.get()) == 1 &&
         SSL_CTX_use_certificate(context, certificate.get()) == 1 &&
         SSL_CTX_use_PrivateKey(context, key.get()) == 1 && SSL_CTX_check_private_key(context) == 1;
}

bool set_rules(SSL_CTX* context) {
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_verify_depth(context, 0);  // no authority between the run's own and a node
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_AUTO_RETRY);
  SSL_CTX_set_max_cert_list(context, static_cast<long>(kMaxCertificateBytes));
  SSL_CTX_set_read_ahead(context, 0);  // or bytes would hide from poll()
  return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_ciphersuites(context, kCipherSuites) == 1 &&
         SSL_CTX_set_num_tickets(context, 0) == 1 && SSL_CTX_set_max_early_data(context, 0) == 1 &&
         SSL_CTX_set_recv_max_early_data(context, 0) == 1;
}

// As a wait names it; nobody before the handshake.
std::string who(const TlsStream& stream) {
  return stream.peer().empty() ? "the other side" : "node " + stream.peer();
}

// Repeats `step` until it is done, waiting for what it wants.
template <class Step>
Result<size_t> finish(TlsStream& stream, TimePoint deadline, int stop_fd, Step step) {
  for (;;) {
    TlsStep made = step();
    switch (made.state) {
      case State::kDone:
        return made.bytes;
      case State::kWantRead:
        TW_TRY(wait_readable(stream.fd(), deadline, stop_fd, who(stream)));
        break;
      case State::kWantWrite:
        TW_TRY(wait_writable(stream.fd(), deadline, stop_fd, who(stream)));
        break;
      case State::kClosed:
      case State::kCut:
        return io_error(std::move(made.message));
      case State::kFailed:
        return bad_input(std::move(made.message));
    }
  }
}

}  // namespace

TlsStream::~TlsStream() {
  SSL_free(ssl_);  // before the socket that it still names
}

TlsStep TlsStream::outcome(int code) {
  const int system_failure = errno;
  switch (SSL_get_error(ssl_, code)) {
    case SSL_ERROR_WANT_READ:
      return {State::kWantRead, 0, ""};
    case SSL_ERROR_WANT_WRITE:
      return {State::kWantWrite, 0, ""};
    case SSL_ERROR_ZERO_RETURN:
      return {State::kClosed, 0, "the peer closed the connection"};
    case SSL_ERROR_SYSCALL:
      broken_ = true;
      return {State::kCut, 0,
              system_failure == 0 ? "the connection was cut" : std::strerror(system_failure)};
    default:
      break;
  }
  broken_ = true;
  if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
    ERR_clear_error();
    return {State::kCut, 0, "the connection was cut"};
  }
  const long verified = SSL_get_verify_result(ssl_);
  if (verified == X509_V_OK) return {State::kFailed, 0, "TLS failed: " + take_openssl_error()};
  ERR_clear_error();
  return {State::kFailed, 0,
          std::string("its certificate is not one of this run: ") +
              X509_verify_cert_error_string(verified)};
}

TlsStep TlsStream::handshake() {
  TW_CHECK(!broken_, "a stream is of no use after it failed");
  ERR_clear_error();
  errno = 0;
  const int code = SSL_do_handshake(ssl_);
  return code == 1 ? take_peer() : outcome(code);
}

TlsStep TlsStream::take_peer() {
  const OpenSslPtr<X509, X509_free> certificate(SSL_get1_peer_certificate(ssl_));
  char name[256];
  const int length = certificate
                         ? X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()),
                                                     NID_commonName, name, sizeof name)
                         : -1;
  const std::string peer(name, static_cast<size_t>(std::max(length, 0)));
  if (SSL_get_verify_result(ssl_) != X509_V_OK || !is_node_name(peer)) {
    broken_ = true;
    return {State::kFailed, 0, "its certificate names no node"};
  }
  peer_ = peer;
  return {};
}

TlsStep TlsStream::read_some(std::span<std::byte> buffer) {
  TW_CHECK(!broken_ && !buffer.empty(), "a usable stream reads into a buffer with room");
  ERR_clear_error();
  errno = 0;
  size_t bytes = 0;
  const int code = SSL_read_ex(ssl_, buffer.data(), buffer.size(), &bytes);
  return code == 1 ? TlsStep{State::kDone, bytes, ""} : outcome(code);
}

TlsStep TlsStream::write_some(std::span<const std::byte> bytes) {
  TW_CHECK(!broken_ && !bytes.empty(), "a usable stream is given something to write");
  ERR_clear_error();
  errno = 0;
  size_t written = 0;
  const int code = SSL_write_ex(ssl_, bytes.data(), bytes.size(), &written);
  return code == 1 ? TlsStep{State::kDone, written, ""} : outcome(code);
}

TlsStep TlsStream::shut_down() {
  if (broken_) return {State::kCut, 0, "the connection has failed before"};
  ERR_clear_error();
  errno = 0;
  const int code = SSL_shutdown(ssl_);
  return code >= 0 ? TlsStep{} : outcome(code);
}

size_t TlsStream::pending() const { return static_cast<size_t>(SSL_pending(ssl_)); }

TlsContext::TlsContext(ssl_ctx_st* context, int peer_timeout_ms)
    : context_(context, SSL_CTX_free), peer_timeout_ms_(peer_timeout_ms) {}

Result<TlsContext> TlsContext::create(const Identity& identity, int peer_timeout_ms) {
  TW_CHECK(peer_timeout_ms > 0, "a peer that is gone is noticed after a positive time");
  SSL_CTX* const made = SSL_CTX_new(TLS_method());
  TW_CHECK(made != nullptr, "out of memory");
  TlsContext context(made, peer_timeout_ms);
  if (!set_rules(made)) {
    return Error{ErrorClass::kInternal,
                 "this OpenSSL can't be held to TLS 1.3: " + take_openssl_error()};
  }
  if (!use_identity(made, identity)) {
    return bad_input("the identity of node '" + identity.node +
                     "' is unusable: " + take_openssl_error());
  }
  return context;
}

std::unique_ptr<TlsStream> TlsContext::stream(Fd socket) const {
  prepare_socket(socket.get(), peer_timeout_ms_);
  SSL* const ssl = SSL_new(context_.get());
  BIO* const bio = BIO_new(quiet_socket());
  TW_CHECK(ssl != nullptr && bio != nullptr, "out of memory");
  BIO_set_fd(bio, socket.get(), BIO_NOCLOSE);
  SSL_set_bio(ssl, bio, bio);
  return std::unique_ptr<TlsStream>(new TlsStream(std::move(socket), ssl));
}

std::unique_ptr<TlsStream> TlsContext::accepting(Fd socket) const {
  auto made = stream(std::move(socket));
  SSL_set_accept_state(made->ssl_);
  return made;
}

std::unique_ptr<TlsStream> TlsContext::connecting(Fd socket) const {
  auto made = stream(std::move(socket));
  SSL_set_connect_state(made->ssl_);
  return made;
}

Result<void> shake_hands(TlsStream& stream, TimePoint deadline, int stop_fd) {
  const auto done = finish(stream, deadline, stop_fd, [&] { return stream.handshake(); });
  if (!done.ok()) return done.error();
  return {};
}

Result<void> read_exactly(TlsStream& stream, std::span<std::byte> buffer, TimePoint deadline,
                          int stop_fd) {
  while (!buffer.empty()) {
    TW_ASSIGN(const size_t bytes,
              finish(stream, deadline, stop_fd, [&] { return stream.read_some(buffer); }));
    buffer = buffer.subspan(bytes);
  }
  return {};
}

Result<void> write_all(TlsStream& stream, std::span<const std::byte> bytes, TimePoint deadline,
                       int stop_fd) {
  while (!bytes.empty()) {
    TW_ASSIGN(const size_t written,
              finish(stream, deadline, stop_fd, [&] { return stream.write_some(bytes); }));
    bytes = bytes.subspan(written);
  }
  return {};
}

}  // namespace tracewise
